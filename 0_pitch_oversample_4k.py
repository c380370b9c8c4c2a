"""Oversample the clips: each beside copies of itself that are shifted a little in pitch.

The research shifted down only, by very little. Here OVERSAMPLE - 1 copies are spread evenly over
both directions up to MAX_SHIFT; an odd one goes down. Reference: librosa.effects.pitch_shift.

Reads   <DATASET>/esc10_rename_4k/<class>/chainsaw0.wav (the 4k of the script's name: 4 kHz)
Writes  <DATASET>/esc10_rename_4k_p5/<class>/chainsaw0.wav, chainsaw0_Down1.wav ... _Up2.wav:
        10 classes x 200; folders of several factors (p5, p20) live side by side.
Takes   7 seconds for OVERSAMPLE = 5 on two cores.
"""

import shutil
from pathlib import Path

import joblib
import librosa
from tqdm import tqdm

import crs_lib
import stamps
import tmr
from esc10_data import class_files, copy_shifts, fit, uploader, write_wav

# ---- constants: edit here, or override, e.g.  python 0_pitch_oversample_4k.py --oversample 20
DATASET = "dataset"  # root of all prepared data
SAMPLE_RATE = 4000  # Hz, of the folder 0_downsampling.py made
OVERSAMPLE = 5  # files per single clip, itself included
MAX_SHIFT = 0.25  # semitones, the furthest shift in either direction
N_JOBS = 2  # processes
crs_lib.constants_from_command_line(globals())


def write_copies(path: Path, folder: Path) -> None:
    """Copy one clip into `folder`, and write its shifted copies beside it."""
    shutil.copyfile(path, folder / path.name)
    waveform = uploader([path], SAMPLE_RATE)[0]
    shifts = copy_shifts(OVERSAMPLE, MAX_SHIFT)
    for ending, shift_semitones in list(shifts.items())[1:]:
        shifted = librosa.effects.pitch_shift(waveform, sr=SAMPLE_RATE, n_steps=shift_semitones)
        write_wav(folder / f"{path.stem}{ending}.wav", fit(shifted, SAMPLE_RATE), SAMPLE_RATE)


def main() -> None:
    timer = tmr.start()
    originals = crs_lib.rate_dir(DATASET, SAMPLE_RATE)
    crs_lib.need(originals, "0_downsampling.py", DATASET=DATASET, SAMPLE_RATE=SAMPLE_RATE)
    copies = crs_lib.oversample_dir(DATASET, SAMPLE_RATE, OVERSAMPLE)
    files = class_files(originals)
    uploader([path for paths in files.values() for path in paths], SAMPLE_RATE)
    made_with = {"OVERSAMPLE": OVERSAMPLE, "MAX_SHIFT": MAX_SHIFT}
    with (
        stamps.stamped(DATASET, copies.name, made_with, inputs=[originals.name]),
        crs_lib.replaced_folder(copies) as part,
    ):
        for name in files:
            (part / name).mkdir()
        work = [(path, part / name) for name, paths in files.items() for path in paths]
        jobs = (joblib.delayed(write_copies)(path, folder) for path, folder in work)
        done = joblib.Parallel(n_jobs=N_JOBS, return_as="generator_unordered")(jobs)
        for _ in tqdm(done, total=len(work), desc="clips", disable=None):
            pass
    print(f"{len(work)} clips, {OVERSAMPLE} files each, written to {copies}")
    print(f"done in {tmr.elapsed(timer)}")


if __name__ == "__main__":
    crs_lib.run(main, DATASET)
