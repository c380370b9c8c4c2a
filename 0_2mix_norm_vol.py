"""Normalise the clips' volume and write mixtures of two classes as WAV.

Every clip is scaled to the peak of the loudest one; a mixture is half the sum of two clips of
different classes, so that no file clips. Training does not read these files (it adds the same
stems in memory): they are for listening and for other tools.

Reads   <DATASET>/esc10_rename_4k (made first, as 0_downsampling.py does, if it is missing)
        and, for WRITE = set or test, the division texts.
Writes  <DATASET>/esc10_2mix_vol_norm_4k/chainsaw0_clock_tick3.wav ...: 72,000 files, 2.9 GB
        (all); 47,520 (set); 720 (test); none leaves the folder alone.
Takes   10 seconds for all of them.
"""

from itertools import combinations
from pathlib import Path

import joblib
import numpy as np
from tqdm import tqdm

import crs_lib
import tmr
from pipeline.data import audio, esc10_data
from pipeline.files import provenance, running, sound_files
from pipeline.settings import command_line

# ---- constants: edit here, or override, e.g.  python 0_2mix_norm_vol.py --write test
DATASET = "dataset"  # root of all prepared data
DIVISION_DIR = ""  # folder of the texts; empty: esc10_811div_txts, for another root below it
SAMPLE_RATE = 4000  # Hz
WRITE = "all"  # which mixtures: all, set (those that SET uses), test (the test ones of SET), none
SET = 1  # division set, 1 to 10
N_JOBS = 2  # threads
command_line.constants_from_command_line(globals())


def parts_to_write(numbers: list[int]) -> list[list[int]]:
    """The groups of numbers of which any two clips of different classes are mixed."""
    if WRITE == "all":
        return [numbers]
    texts = crs_lib.division_dir(DATASET, DIVISION_DIR)
    redo = command_line.command("0_txt_div.py", DATASET=DATASET, DIVISION_DIR=DIVISION_DIR)
    division = esc10_data.read_division(texts, SET, numbers, redo)
    return [division["test"]] if WRITE == "test" else list(division.values())


def load_normalised(folder: Path, classes: list[str], numbers: list[int]) -> dict[str, np.ndarray]:
    """Stem name -> normalised clip, of all clips of the data set; silent ones are named."""
    names = [(name, number) for name in classes for number in numbers]
    clips = audio.uploader(
        [folder / name / f"{name}{number}.wav" for name, number in names], SAMPLE_RATE
    )
    stems = [f"{name}{number}" for name, number in names]
    audio.name_silent(stems, clips)
    return dict(zip(stems, audio.normalise_volume(clips), strict=True))


def write_mixtures(
    stem_a: str,
    clip_a: np.ndarray,
    stems_b: list[str],
    clips_b: np.ndarray,
    folder: Path,
) -> int:
    """Write the mixtures of one clip with several; returns how many."""
    wavs = sound_files.wavs_of(audio.mix(clip_a, clips_b), SAMPLE_RATE)
    for stem_b, wav in zip(stems_b, wavs, strict=True):
        with open(f"{folder}/{stem_a}_{stem_b}.wav", "wb") as file:  # in half of a Path's time
            file.write(wav)
    return len(stems_b)


def main() -> None:
    timer = tmr.start()
    if WRITE == "none":
        print("WRITE is none: no mixtures written")
        return
    originals = crs_lib.rate_dir(DATASET, SAMPLE_RATE)
    if not originals.exists():
        esc10_data.downsample(DATASET, SAMPLE_RATE, "load", N_JOBS)
    mixtures = crs_lib.mix_dir(DATASET, SAMPLE_RATE)
    made_with = {"WRITE": WRITE}
    if WRITE != "all":
        texts = crs_lib.division_dir(DATASET, DIVISION_DIR)
        made_with |= {"SET": SET, "DIVISION": provenance.division_fingerprint(texts)}
    with provenance.made(DATASET, mixtures, made_with, inputs=[originals.name]) as part:
        classes, numbers = esc10_data.class_numbers(originals)
        clips = load_normalised(originals, classes, numbers)
        jobs = []
        for members in parts_to_write(numbers):
            for class_a, class_b in combinations(classes, 2):
                stems_b = [f"{class_b}{number}" for number in members]
                clips_b = np.stack([clips[stem] for stem in stems_b])
                for stem_a in (f"{class_a}{number}" for number in members):
                    jobs.append((stem_a, clips[stem_a], stems_b, clips_b, part))
        nb_files = sum(len(job[2]) for job in jobs)
        with tqdm(total=nb_files, desc="mixtures", disable=None) as bar:
            work = (joblib.delayed(write_mixtures)(*job) for job in jobs)
            # Threads: files are written outside of Python's lock, and processes start slowly.
            parallel = joblib.Parallel(N_JOBS, prefer="threads", return_as="generator_unordered")
            for nb_written in parallel(work):
                bar.update(nb_written)
    print(f"{nb_files} mixtures written to {mixtures}")
    print(f"done in {tmr.elapsed(timer)}")


if __name__ == "__main__":
    running.run(main, DATASET)
