"""Pick ESC-10 out of ESC-50: copy the recordings that its table marks as ESC-10.

Reads   ESC-50: meta/esc50.csv and audio/ (--esc50-dir, ESC50_DIR or <DATASET>/ESC-50).
Writes  <DATASET>/esc10/<class>/1-116765-A-41.wav: 10 classes x 40, byte for byte.
Takes   a second.
"""

import shutil
from pathlib import Path

from tqdm import tqdm

import crs_lib
import tmr
from crs_lib import InputError
from pipeline.files import provenance, running
from pipeline.settings import command_line

# ---- constants: edit here, or override, e.g.  python 0_make_esc10.py --esc50-dir ~/ESC-50
DATASET = "dataset"  # root of all prepared data
ESC50_DIR = ""  # ESC-50 folder that you already have; empty: environment, then <DATASET>/ESC-50
command_line.constants_from_command_line(globals())


def whole_rows(esc50: Path) -> list[dict[str, str]]:
    """The table's ESC-10 rows; a folder that is not whole names the script that gets it."""
    try:
        return provenance.esc10_rows(esc50)
    except InputError as error:
        get = command_line.command("0_get_esc50.py", DATASET=DATASET)
        raise InputError(f"{error}: run  {get}  first") from None


def keep_synthetic_apart(esc50: Path) -> None:
    """A root holds real recordings or synthetic ones, and the synthetic one carries the mark."""
    root = Path(DATASET)
    if crs_lib.is_synthetic(esc50) == crs_lib.is_synthetic(root):
        return
    if crs_lib.is_synthetic(root):
        raise InputError(f"{root} is marked SYNTHETIC and {esc50} is not: name another --dataset")
    if crs_lib.esc10_dir(root).exists():
        raise InputError(
            f"{root} holds real recordings, {esc50} is SYNTHETIC: name another --dataset"
        )
    root.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(esc50 / "SYNTHETIC", root / "SYNTHETIC")


def main() -> None:
    timer = tmr.start()
    esc50 = crs_lib.esc50_dir(DATASET, ESC50_DIR)
    rows = whole_rows(esc50)
    keep_synthetic_apart(esc50)
    esc10 = crs_lib.esc10_dir(DATASET)
    made_with = {"ESC10": provenance.esc10_fingerprint(esc50, rows)}
    with provenance.made(DATASET, esc10, made_with, inputs=[]) as part:
        for row in tqdm(rows, desc="clips", disable=None):
            folder = part / row["category"]
            folder.mkdir(exist_ok=True)
            shutil.copyfile(esc50 / "audio" / row["filename"], folder / row["filename"])
    nb_classes = len({row["category"] for row in rows})
    print(f"{len(rows)} clips of {nb_classes} classes copied to {esc10}")
    print(f"done in {tmr.elapsed(timer)}")


if __name__ == "__main__":
    running.run(
        main,
        DATASET,
        synthetic=lambda: crs_lib.is_synthetic(crs_lib.esc50_dir(DATASET, ESC50_DIR)),
    )
