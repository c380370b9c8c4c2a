"""ESC-10 as prepared: downsampling, classes, divisions, the mixture table, shifted copies."""

import re
from collections.abc import Iterable
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from tqdm import tqdm

import crs_lib
from crs_lib import InputError
from pipeline.data import audio
from pipeline.files import provenance, sound_files

DIVISION_CODES = {"train": 1, "val": 2, "test": 3}  # as the mixture table has them
NOT_USED = -1  # the code of a mixture whose two clips lie in different divisions


def downsample(dataset: str, sample_rate: int, method: str, n_jobs: int) -> tuple[Path, int]:
    """The step of 0_downsampling.py: every renamed clip at `sample_rate` (Hz).

    Returns the folder it wrote and the number of clips. Raises InputError that lists every clip
    that cannot be read.
    """
    renamed, folder = crs_lib.rename_dir(dataset), crs_lib.rate_dir(dataset, sample_rate)
    provenance.need(renamed, "0_rename_files.py", DATASET=dataset)
    made_with = {"SAMPLE_RATE": sample_rate, "METHOD": method}
    with provenance.made(dataset, folder, made_with, inputs=[renamed.name]) as part:
        files = [path for paths in class_files(renamed).values() for path in paths]

        def write(path: Path) -> str:
            """Why a clip could not be read; empty where it could."""
            try:
                clip = audio.read_fitted(path, sample_rate, method)
            except InputError as error:
                return str(error)
            sound_files.write_wav(part / path.parent.name / path.name, clip, sample_rate)
            return ""

        for name in {path.parent.name for path in files}:
            (part / name).mkdir()
        # Threads: reading and resampling leave Python's lock, and processes start slowly.
        parallel = joblib.Parallel(n_jobs, prefer="threads", return_as="generator", batch_size=8)
        messages = parallel(joblib.delayed(write)(path) for path in files)
        wrong = [text for text in tqdm(messages, "clips", len(files), disable=None) if text]
        if wrong:
            raise InputError("; ".join(wrong))
    return folder, len(files)


# ------------------------------------------------------------------ classes, numbers, divisions


def class_files(folder: Path) -> dict[str, list[Path]]:
    """The WAV files of every class folder: class names sorted, files by name."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    files = {name: sorted((folder / name).glob("*.wav")) for name in names}
    empty = [str(folder / name) for name in names if not files[name]]
    if empty or not files:
        raise InputError(f"{', '.join(empty) or folder}: no WAV files there")
    return files


def class_numbers(folder: Path) -> tuple[list[str], list[int]]:
    """The classes of a folder of renamed clips (sorted) and the numbers they all have.

    Raises InputError if a file is not called class-and-number, the numbers of two classes differ
    (one division text serves every class), or a class has the + in its name that joins two names.
    """
    numbers = {}
    for name, files in class_files(folder).items():
        found = [re.fullmatch(re.escape(name) + r"(\d+)\.wav", path.name) for path in files]
        wrong = [str(path) for path, match in zip(files, found, strict=True) if not match]
        if "+" in name:
            raise InputError(f"{folder / name}: a class may not have a + in its name")
        if wrong:
            raise InputError(f"{', '.join(wrong)}: not called {name}<number>.wav")
        numbers[name] = sorted(int(match[1]) for match in found)
    classes = list(numbers)
    odd = [name for name in classes if numbers[name] != numbers[classes[0]]]
    if odd:
        raise InputError(
            f"{folder}: the clips of {', '.join(odd)} and {classes[0]} differ in number"
        )
    return classes, numbers[classes[0]]


def read_division(
    folder: Path, set_number: int, numbers_there: Iterable[int], redo: str
) -> dict[str, list[int]]:
    """The numbers of each part of a set, from its three texts.

    numbers_there: those that clips have. redo: the command that writes the texts.
    Returns {"train": [...], "val": [...], "test": [...]}. Raises InputError if a text is missing
    or is not a line of numbers, if two parts share a number, or if no clip has it.
    """
    numbers = {}
    for part in crs_lib.PARTS:
        path = crs_lib.division_txt(folder, set_number, part)
        if not path.is_file():
            raise InputError(f"{path} is missing: run  {redo}  first")
        text = path.read_bytes().decode("ascii", errors="replace")
        if not re.fullmatch(r"\s*\d{1,9}(\s*,\s*\d{1,9})*\s*", text):
            raise InputError(f"{path}: not one line of numbers such as  1, 11, 21")
        numbers[part] = [int(word) for word in text.split(",")]
    together = [number for members in numbers.values() for number in members]
    if len(set(together)) < len(together):
        raise InputError(f"{folder}/set{set_number}: a number stands in two parts, or twice in one")
    unknown = sorted(set(together) - set(numbers_there))
    if unknown:
        raise InputError(f"{folder}/set{set_number}: no clip has the number {unknown[0]}")
    return numbers


def mixture_table(
    classes: list[str], numbers: list[int], sets: list[dict[str, list[int]]]
) -> pd.DataFrame:
    """Every mixture of two clips of different classes, and its division in every set.

    classes: sorted. numbers: of the clips of each class. sets: one `read_division` a set.
    Returns filename, A_class, A_num, B_class, B_num, set1, set2, ...: one row a mixture, pairs of
    classes in sorted order, A before B; 1 train, 2 validation, 3 test, -1 not used.
    """
    pair_a, pair_b = np.triu_indices(len(classes), k=1)
    position_a, position_b = np.indices((len(numbers), len(numbers))).reshape(2, -1)
    nb_pairs, nb_each = len(pair_a), len(position_a)
    class_a, class_b = np.repeat(pair_a, nb_each), np.repeat(pair_b, nb_each)
    clip_a, clip_b = np.tile(position_a, nb_pairs), np.tile(position_b, nb_pairs)
    names, clips = np.array(classes, dtype=object), np.array(numbers)
    stems = np.array([[f"{name}{number}" for number in numbers] for name in classes], dtype=object)
    table = pd.DataFrame(
        {
            "filename": stems[class_a, clip_a] + "_" + stems[class_b, clip_b] + ".wav",
            "A_class": names[class_a],
            "A_num": clips[clip_a],
            "B_class": names[class_b],
            "B_num": clips[clip_b],
        }
    )
    for number, division in enumerate(sets, start=1):
        code = {n: DIVISION_CODES[part] for part, members in division.items() for n in members}
        codes = np.array([code.get(n, NOT_USED) for n in numbers])
        same = codes[position_a] == codes[position_b]
        table[f"set{number}"] = np.tile(np.where(same, codes[position_a], NOT_USED), nb_pairs)
    return table


def copy_shifts(oversample: int, max_shift: float) -> dict[str, float]:
    """The copies of a clip: name ending -> shift in semitones; the original's is "" -> 0.

    Shifts are spread evenly over both directions up to `max_shift`; an odd copy goes down.
    5 copies: "", "_Down1", "_Down2", "_Up1", "_Up2" at 0, half and full span.
    """
    nb_up = (oversample - 1) // 2
    nb_down = oversample - 1 - nb_up
    down = {f"_Down{i}": -max_shift * i / nb_down for i in range(1, nb_down + 1)}
    up = {f"_Up{i}": max_shift * i / nb_up for i in range(1, nb_up + 1)}
    return {"": 0.0, **down, **up}
