"""Give the clips class-and-number names whose last digit says the official fold.

Digits 0-1 are fold 1, 2-3 fold 2, ... 8-9 fold 5. Within a fold the takes of one field recording
share a digit wherever the sizes allow it (44 of ESC-10's 50 class-folds); elsewhere one recording
spans the two digits of its fold. So a division by digits never splits a recording between
training and the rest.

Reads   <DATASET>/esc10/<class>/<fold>-<recording>-<take>-<target>.wav
Writes  <DATASET>/esc10_rename/<class>/chainsaw0.wav ...: the same clips, byte for byte;
        names.csv: file, class, number, original, fold, src_file, take
Takes   a second.
"""

import csv
import re
import shutil
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

import crs_lib
import tmr
from crs_lib import InputError
from pipeline.data.esc10_data import class_files
from pipeline.files import provenance, running
from pipeline.settings import command_line

# ---- constants: edit here, or override, e.g.  python 0_rename_files.py --dataset elsewhere
DATASET = "dataset"  # root of all prepared data
command_line.constants_from_command_line(globals())

NB_FOLDS = 5


class Clip(NamedTuple):
    """What a file's own name says."""

    path: Path
    fold: int
    recording: int
    take: str


def parse(path: Path) -> Clip:
    """Fold, recording and take out of `fold-recording-take-target.wav`."""
    match = re.fullmatch(rf"([1-{NB_FOLDS}])-(\d+)-([A-Z]+)-\d+\.wav", path.name)
    if not match:
        raise InputError(f"{path}: not called fold-recording-take-target.wav as ESC-50 files are")
    return Clip(path, int(match[1]), int(match[2]), match[3])


def share_digits(clips: list[Clip]) -> tuple[list[Clip], list[Clip]]:
    """The clips of one class and fold in two equal halves, one a digit, by whole recordings.

    Where no choice of recordings gives half of the clips, one recording is split. An odd clip
    goes to the first half. The answer depends on the names alone.
    """
    takes = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: (clip.recording, clip.take)):
        takes[clip.recording].append(clip)
    half = (len(clips) + 1) // 2
    # Subset sums: for each reachable number of clips, the first choice of recordings that has it.
    chosen = {0: []}
    for recording in takes:
        for size, members in list(chosen.items()):
            chosen.setdefault(size + len(takes[recording]), [*members, recording])
    if half in chosen:
        order = [*chosen[half], *(r for r in takes if r not in chosen[half])]
    else:
        order = sorted(takes, key=lambda recording: (-len(takes[recording]), recording))
    in_order = [clip for recording in order for clip in takes[recording]]
    return in_order[:half], in_order[half:]


def number_class(paths: list[Path]) -> dict[int, Clip]:
    """Number -> clip for one class: the last digit from fold and half, the tens in order."""
    clips = [parse(path) for path in paths]
    numbers = {}
    for fold in range(1, NB_FOLDS + 1):
        halves = share_digits([clip for clip in clips if clip.fold == fold])
        for digit, half in zip((2 * fold - 2, 2 * fold - 1), halves, strict=True):
            numbers |= {digit + 10 * tens: clip for tens, clip in enumerate(half)}
    return dict(sorted(numbers.items()))


def main() -> None:
    timer = tmr.start()
    esc10, renamed = crs_lib.esc10_dir(DATASET), crs_lib.rename_dir(DATASET)
    provenance.need(esc10, "0_make_esc10.py", DATASET=DATASET)
    with (
        provenance.made(DATASET, renamed, {}, inputs=[esc10.name]) as part,
        open(part / "names.csv", "w", newline="", encoding="utf-8") as file,
    ):
        names = csv.writer(file)
        names.writerow(("file", "class", "number", "original", "fold", "src_file", "take"))
        nb_clips = 0
        for name, paths in tqdm(class_files(esc10).items(), desc="classes", disable=None):
            (part / name).mkdir()
            for number, clip in number_class(paths).items():
                new = f"{name}{number}.wav"
                shutil.copyfile(clip.path, part / name / new)
                original = clip.path.name
                names.writerow((new, name, number, original, clip.fold, clip.recording, clip.take))
                nb_clips += 1
    print(f"{nb_clips} clips renamed into {renamed}, listed in {renamed / 'names.csv'}")
    print(f"done in {tmr.elapsed(timer)}")


if __name__ == "__main__":
    running.run(main, DATASET)
