"""One division set as rows of stems: its files, singles, mixtures, draws.

A clip is a row (stem, second stem): two indices into the table of stems, the second NO_STEM for
a single clip. So singles and mixtures are handled alike.
"""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

import crs_lib
from crs_lib import InputError
from pipeline.data import esc10_data
from pipeline.files import provenance
from pipeline.settings import command_line

NO_STEM = -1  # in place of a single clip's second stem


class SetData(NamedTuple):
    """What the three trainings and the flow take from one division set."""

    stems: pd.DataFrame  # as choose_stems has it
    classes: list[str]  # sorted
    singles: dict[str, np.ndarray]  # part -> rows (clips, 2), the copies of training clips included
    mixtures: dict[str, np.ndarray]  # part -> rows (mixtures, 2) of originals
    stamps: dict[str, dict | None]  # of what these are read from, before they were


def choose_files(
    dataset: str, division_flag: str, set_number: int, sample_rate: int, oversample: int
) -> SetData:
    """Choose the files of a set and what they are; nothing is loaded yet. Of ALL_CLIPS every clip
    is one to train on.

    Raises InputError, naming the script to run, if an earlier step's output is missing.
    """
    here = {"DATASET": dataset, "SAMPLE_RATE": sample_rate, "DIVISION_DIR": division_flag}
    here["OVERSAMPLE"] = oversample
    originals = crs_lib.rate_dir(dataset, sample_rate)
    texts = crs_lib.division_dir(dataset, division_flag)
    steps = {originals: "0_downsampling.py", crs_lib.mixes_csv(dataset): "0_2mix_csv.py"}
    if oversample > 1:
        copies = crs_lib.oversample_dir(dataset, sample_rate, oversample)
        steps[copies] = "0_pitch_oversample_4k.py"
    for output, script in steps.items():
        provenance.need(output, script, **here)
    stamps_before = provenance.read_stamps(dataset, [output.name for output in steps])
    redo_table = command_line.command("0_2mix_csv.py", **here)
    redo = command_line.command("0_txt_div.py", DATASET=dataset, DIVISION_DIR=division_flag)
    classes, numbers = esc10_data.class_numbers(originals)
    if set_number == crs_lib.ALL_CLIPS:
        division = {"train": list(numbers), "val": [], "test": []}
    else:
        division = esc10_data.read_division(texts, set_number, numbers, redo)
    fingerprint = provenance.division_fingerprint(texts)
    for output, script in steps.items():
        again = command_line.command(script, **here)
        provenance.refuse_stale(dataset, output, again, DIVISION=fingerprint)
    stems = choose_stems(dataset, sample_rate, oversample, classes, division)
    table = read_mixes(dataset, set_number, redo_table)
    singles, mixtures = {}, {}
    for part in crs_lib.PARTS:
        rows = np.flatnonzero(stems["part"] == part)
        singles[part] = np.column_stack([rows, np.full(len(rows), NO_STEM)])
        mixtures[part] = choose_mixtures(table, set_number, part, stems)
        nb_mixtures = math.comb(len(classes), 2) * len(division[part]) ** 2
        fits = len(mixtures[part]) == nb_mixtures and mixtures[part].min(initial=0) >= 0
        if not fits or (nb_mixtures == 0 and set_number != crs_lib.ALL_CLIPS):
            raise InputError(
                f"{crs_lib.mixes_csv(dataset)} does not fit the clips and the division: "
                f"run  {redo_table}  first"
            )
    return SetData(stems, classes, singles, mixtures, stamps_before)


def read_mixes(dataset: str, set_number: int, redo: str) -> pd.DataFrame:
    """What one set needs of the mixture table: of millions of rows the rest would fill gigabytes.

    set_number: ALL_CLIPS needs the column of none. redo: the command that writes the table.
    Returns A_class, A_num, B_class, B_num and the column of the set. Raises InputError if a column
    is missing or holds something else.
    """
    columns = {"A_class": "category", "A_num": int, "B_class": "category", "B_num": int}
    if set_number != crs_lib.ALL_CLIPS:
        columns[f"set{set_number}"] = np.int8
    path = crs_lib.mixes_csv(dataset)
    try:
        return pd.read_csv(path, usecols=list(columns), dtype=columns)
    except ValueError as error:  # columns that are missing, or values that are no such numbers
        raise InputError(f"{path}: not a table of mixtures ({error}): run  {redo}  first") from None


def choose_stems(
    dataset: str,
    sample_rate: int,
    oversample: int,
    classes: list[str],
    division: dict[str, list[int]],
) -> pd.DataFrame:
    """The files of one set: every clip, and behind each training clip its pitch-shifted copies.

    Returns one row a file: file, part, class_name, class_index, number, copy (0 is the original),
    recording. The copies of a clip follow it, in the order of `esc10_data.copy_shifts`.
    Raises InputError if names.csv is missing or does not have a clip.
    """
    originals = crs_lib.rate_dir(dataset, sample_rate)
    copies = crs_lib.oversample_dir(dataset, sample_rate, oversample)
    names_csv = crs_lib.rename_dir(dataset) / "names.csv"
    provenance.need(names_csv, "0_rename_files.py", DATASET=dataset)
    redo = command_line.command("0_rename_files.py", DATASET=dataset)
    try:
        names = pd.read_csv(names_csv, dtype=str, usecols=["file", "src_file"])
    except ValueError as error:  # nothing in it, not UTF-8, or a column that is missing
        raise InputError(f"{names_csv}: not a table ({error}): run  {redo}  first") from None
    recordings = dict(zip(names["file"], names["src_file"], strict=True))
    part_of = {number: part for part, members in division.items() for number in members}
    rows = []
    for class_index, name in enumerate(classes):
        for number, part in sorted(part_of.items()):
            endings = esc10_data.copy_shifts(oversample if part == "train" else 1, 0)
            for copy, ending in enumerate(endings):
                file = (copies if copy else originals) / name / f"{name}{number}{ending}.wav"
                recording = recordings.get(f"{name}{number}.wav")
                rows.append((file, part, name, class_index, number, copy, recording))
    columns = ["file", "part", "class_name", "class_index", "number", "copy", "recording"]
    stems = pd.DataFrame(rows, columns=columns)
    if stems["recording"].isna().any():
        clip = stems["file"][stems["recording"].isna()].iloc[0]
        raise InputError(f"{names_csv} does not know {clip.name}: run  {redo}  first")
    return stems


def choose_mixtures(
    table: pd.DataFrame, set_number: int, part: str, stems: pd.DataFrame
) -> np.ndarray:
    """The mixtures of one part of a set, as rows of originals in `stems`: int (mixtures, 2).

    table: as read_mixes has it. A clip that `stems` lacks in this part is row -1.
    """
    if set_number != crs_lib.ALL_CLIPS:
        table = table[table[f"set{set_number}"] == esc10_data.DIVISION_CODES[part]]
    elif part != "train":
        table = table[:0]
    originals = stems[(stems["copy"] == 0) & (stems["part"] == part)]
    row_of = pd.Series(
        originals.index, index=pd.MultiIndex.from_frame(originals[["class_name", "number"]])
    )
    pairs = [
        row_of.reindex(pd.MultiIndex.from_frame(table[[f"{s}_class", f"{s}_num"]]), fill_value=-1)
        for s in "AB"
    ]
    return np.column_stack(pairs)


def undersample(nb_mixtures: int, nb_wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Random undersampling: `nb_wanted` of `nb_mixtures` indices (or all), none twice."""
    return rng.choice(nb_mixtures, size=min(nb_wanted, nb_mixtures), replace=False)


def pick_copies(rows: np.ndarray, oversample: int, rng: np.random.Generator) -> np.ndarray:
    """For each mixture both originals, as often as singles are originals, or of each stem one of
    its shifted copies at random: else a clip without a trace of shifting would mostly be a single.

    rows: of training originals in the stems, int (mixtures, 2); the copies of each follow it.
    """
    is_original = rng.random((len(rows), 1)) < 1 / oversample
    return rows + np.where(is_original, 0, rng.integers(1, max(2, oversample), size=rows.shape))


def repeated_singles(data: SetData, constants: dict) -> np.ndarray:
    """An epoch's rows of training singles with their copies, each REPEAT times: (clips, 2)."""
    return np.tile(data.singles["train"], (constants["REPEAT"], 1))


def draw_mixtures(data: SetData, constants: dict, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Random undersampling: as many training mixtures as an epoch takes training singles.

    With REDRAW each epoch draws anew, else all have the first one's. The pair of clips is drawn
    first, then their copies.
    Returns rows (mixtures, 2), and which of data.mixtures["train"] they are (indices).
    """
    seeds = [constants["SEED"], constants["SET"], epoch if constants["REDRAW"] else 0]
    rng = np.random.default_rng(seeds)
    mixtures = data.mixtures["train"]
    drawn = undersample(len(mixtures), constants["REPEAT"] * len(data.singles["train"]), rng)
    return pick_copies(mixtures[drawn], constants["OVERSAMPLE"], rng), drawn


def is_mixture(rows: np.ndarray) -> np.ndarray:
    """Which rows have a second stem: bool (clips,)."""
    return rows[:, 1] != NO_STEM


def set_in_words(set_number: int) -> str:
    """What trains: a set, or all clips."""
    return "all clips" if set_number == crs_lib.ALL_CLIPS else f"set {set_number}"


def in_words(rows: np.ndarray, data: SetData) -> str:
    """What rows of training clips are: how many singles, and how many of all mixtures."""
    nb_mixtures = int(is_mixture(rows).sum())
    singles = [f"{len(rows) - nb_mixtures} training singles"] * (nb_mixtures < len(rows))
    mixtures = [f"{nb_mixtures} of {len(data.mixtures['train'])} mixtures"] * (nb_mixtures > 0)
    return " and ".join(singles + mixtures)


def split_by_drawn(data: SetData, constants: dict, nb_epochs: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the training mixtures (originals) that the first epochs of a run drew, and of those
    that none of them did.
    """
    is_drawn = np.zeros(len(data.mixtures["train"]), dtype=bool)
    for epoch in range(nb_epochs):
        is_drawn[draw_mixtures(data, constants, epoch)[1]] = True
    return data.mixtures["train"][is_drawn], data.mixtures["train"][~is_drawn]


def recordings_of(stems: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    """The first columns of a table of predictions: clip, recording_a, recording_b, truth."""
    first = stems.iloc[rows[:, 0]].reset_index(drop=True)
    second = stems.iloc[rows[:, 1]].reset_index(drop=True)
    has_second = pd.Series(is_mixture(rows))

    def join(ending_a: pd.Series, ending_b: pd.Series, sign: str) -> pd.Series:
        return ending_a + (sign + ending_b).where(has_second, "")

    names = [part["file"].map(lambda path: path.stem) for part in (first, second)]
    return pd.DataFrame(
        {
            "clip": join(*names, sign="_") + ".wav",
            "recording_a": first["recording"],
            "recording_b": second["recording"].where(has_second, ""),
            "truth": join(first["class_name"], second["class_name"], sign="+"),
        }
    )
