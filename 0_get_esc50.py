"""Get ESC-50: find the folder that is there, or download it.

Reads   an ESC-50 folder: the one that --esc50-dir or else the environment variable ESC50_DIR names,
        else <DATASET>/ESC-50. It is whole if it holds meta/esc50.csv and every clip of ESC-10.
Writes  <DATASET>/ESC-50/{audio,meta}: 2,000 clips, where none was named and none is there.
        With --synthetic, and only then, a synthetic stand-in of 400 clips, marked as such.
Takes   a second if it is there; else a download of 646 MB; a minute for the synthetic set.
"""

import shutil
import sys
import textwrap
import zipfile
import zlib
from pathlib import Path

import pooch
import requests

import crs_lib
import tmr
from crs_lib import InputError
from pipeline.data import synthetic_set
from pipeline.files import locks, provenance, running
from pipeline.settings import command_line

# ---- constants: edit here, or override, e.g.  python 0_get_esc50.py --dataset elsewhere
COMMIT = "33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6"  # of the repository karolpiczak/ESC-50
URL = "https://github.com/karolpiczak/ESC-50/archive/{commit}.zip"  # 645,832,161 bytes
SHA256 = "661183a6f53ef04f12c9bd618fed0ddc1713280d6c94a5a5431e844ba6f6a21f"  # of the archive
DATASET = "dataset"  # root of all prepared data
ESC50_DIR = ""  # ESC-50 folder that you already have; empty: environment, then <DATASET>/ESC-50
SYNTHETIC = False  # make the synthetic stand-in
CLIPS_PER_CLASS = 40  # of the synthetic set, spread evenly over five folds
NB_CLASSES = 10  # of the synthetic set
SEED = 0  # of the synthetic set
command_line.constants_from_command_line(
    globals(), CLIPS_PER_CLASS=range(10, 1001), NB_CLASSES=range(2, 1001)
)


def download(folder: Path, reason: str) -> None:
    """Download the archive, check its hash, and unpack audio and meta into `folder`.

    reason: why the folder that is there will not do.
    """
    if crs_lib.is_synthetic(DATASET):
        again = command_line.command("0_get_esc50.py", DATASET=DATASET, SYNTHETIC=True)
        raise InputError(f"{reason}, and {DATASET} is marked SYNTHETIC: run  {again}  again")
    url = URL.replace("{commit}", COMMIT)
    with locks.held(folder), crs_lib.replaced_folder(folder) as part:
        try:
            archive = pooch.retrieve(
                url,
                known_hash=SHA256,
                fname="archive.zip",
                path=part,
                downloader=pooch.HTTPDownloader(progressbar=sys.stderr.isatty()),
            )
        except (requests.RequestException, ValueError) as error:
            raise InputError(
                f"{reason}, and {url} could not be downloaded "
                f"({type(error).__name__}: {textwrap.shorten(str(error), 200)}): try again, or "
                "name a folder with --esc50-dir, or run  python 0_get_esc50.py --synthetic"
            ) from None
        unpack(Path(archive), part)
        Path(archive).unlink()
        provenance.esc10_rows(part)
    print(f"downloaded and unpacked into {folder}")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack audio/ and meta/, which lie in the archive's one top-level folder."""
    try:
        with zipfile.ZipFile(archive) as content:
            for member in content.infolist():
                inside = Path(*Path(member.filename).parts[1:])
                if inside.parts[:1] not in (("audio",), ("meta",)) or member.is_dir():
                    continue
                if not (folder / inside).resolve().is_relative_to(folder.resolve()):
                    raise InputError(f"the archive holds {member.filename}, outside its own folder")
                (folder / inside).parent.mkdir(parents=True, exist_ok=True)
                with content.open(member) as source, open(folder / inside, "wb") as target:
                    shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"the downloaded archive is damaged: {error}") from None


def make_synthetic() -> None:
    """Make the synthetic set and mark the root; a root with anything real in it is refused."""
    if ESC50_DIR:
        raise InputError("--synthetic makes <DATASET>/ESC-50: leave --esc50-dir out")
    root, folder = Path(DATASET), Path(DATASET, "ESC-50")
    if not crs_lib.is_synthetic(root) and (folder.exists() or crs_lib.esc10_dir(root).exists()):
        raise InputError(f"{root} holds real recordings: name another root, --dataset dataset_demo")
    root.mkdir(parents=True, exist_ok=True)
    (root / "SYNTHETIC").write_text(synthetic_set.MARK)
    with locks.held(folder), crs_lib.replaced_folder(folder) as part:
        nb_clips = synthetic_set.make_esc50(part, CLIPS_PER_CLASS, NB_CLASSES, SEED)
    print(f"{nb_clips} synthetic clips written to {folder}")


def find_or_download() -> None:
    """Accept the folder that is there; if it is not whole, download the default one only."""
    folder = crs_lib.esc50_dir(DATASET, ESC50_DIR)
    try:
        nb_clips = len(provenance.esc10_rows(folder))
    except InputError as error:
        if not crs_lib.explicit_esc50_dir(DATASET, ESC50_DIR):
            return download(folder, str(error))
        raise InputError(
            f"{error}; name a whole one with --esc50-dir, or name none (and no ESC50_DIR) and "
            "python 0_get_esc50.py  downloads it"
        ) from None
    print(f"{folder} is whole: it holds the {nb_clips} ESC-10 clips")


def main() -> None:
    timer = tmr.start()
    if SYNTHETIC:
        make_synthetic()
    else:
        find_or_download()
    print(f"done in {tmr.elapsed(timer)}")


if __name__ == "__main__":
    running.run(main, DATASET, synthetic=lambda: SYNTHETIC)
