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
import numpy as np
from tqdm import tqdm

import crs_lib
import tmr
from pipeline.data.audio import fit, uploader
from pipeline.data.esc10_data import class_files, copy_shifts
from pipeline.files import provenance, running
from pipeline.files.sound_files import write_wav
from pipeline.settings import command_line

# ---- constants: edit here, or override, e.g.  python 0_pitch_oversample_4k.py --oversample 20
DATASET = "dataset"  # root of all prepared data
SAMPLE_RATE = 4000  # Hz, of the folder 0_downsampling.py made
OVERSAMPLE = 5  # files per single clip, itself included
MAX_SHIFT = 0.25  # semitones, the furthest shift in either direction
N_JOBS = 2  # threads
command_line.constants_from_command_line(globals())

AT_ONCE = 10  # clips that librosa shifts together: enough to be fast, little memory at any rate


def write_shifted(paths: list[Path], clips: np.ndarray, ending: str, shift: float) -> int:
    """Write one shift's copies of several clips; returns how many.

    paths: where the clips themselves lie, their copies beside them. clips: float32
    (paths, samples), which librosa shifts all at once. shift: in semitones.
    """
    shifted = librosa.effects.pitch_shift(clips, sr=SAMPLE_RATE, n_steps=shift)
    for path, waveform in zip(paths, shifted, strict=True):
        write_wav(path.with_stem(path.stem + ending), fit(waveform, SAMPLE_RATE), SAMPLE_RATE)
    return len(paths)


def main() -> None:
    timer = tmr.start()
    originals = crs_lib.rate_dir(DATASET, SAMPLE_RATE)
    provenance.need(originals, "0_downsampling.py", DATASET=DATASET, SAMPLE_RATE=SAMPLE_RATE)
    copies = crs_lib.oversample_dir(DATASET, SAMPLE_RATE, OVERSAMPLE)
    shifts = list(copy_shifts(OVERSAMPLE, MAX_SHIFT).items())[1:]
    made_with = {"OVERSAMPLE": OVERSAMPLE, "MAX_SHIFT": MAX_SHIFT}
    with (
        provenance.made(DATASET, copies, made_with, inputs=[originals.name]) as part,
        tqdm(desc="files", disable=None) as bar,
    ):
        files = [path for paths in class_files(originals).values() for path in paths]
        clips = uploader(files, SAMPLE_RATE)
        bar.reset(total=len(files) * OVERSAMPLE)
        copied = [part / path.parent.name / path.name for path in files]
        for path, copy in zip(files, copied, strict=True):
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, copy)
        bar.update(len(files))
        jobs = (
            joblib.delayed(write_shifted)(copied[some], clips[some], ending, shift)
            for some in (slice(i, i + AT_ONCE) for i in range(0, len(files), AT_ONCE))
            for ending, shift in shifts
        )
        # Threads: the arithmetic leaves Python's lock, and processes start slowly.
        parallel = joblib.Parallel(N_JOBS, prefer="threads", return_as="generator_unordered")
        for nb_written in parallel(jobs):
            bar.update(nb_written)
    print(f"{len(files)} clips, {OVERSAMPLE} files each, written to {copies}")
    print(f"done in {tmr.elapsed(timer)}")


if __name__ == "__main__":
    running.run(main, DATASET)
