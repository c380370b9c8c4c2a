"""Training, the data side: the data of one epoch of each training at its defaults.

Ours: choose the files, load them, draw, and make every batch that the network would get, with
augmentation. Straightforward: for each clip of the epoch its files read, normalised, mixed,
levelled and transformed, one by one with soundfile and librosa, without augmentation; timed on 512
clips and scaled.
"""

from types import SimpleNamespace

import bench_lib
import numpy as np
import pandas as pd
import soundfile as sf
import torch

from pipeline.data import audio, set_data
from pipeline.networks import features, registry
from UNet_utils import audio_STFT_lib

SAMPLE_RATE = 4000
N_FFT = 256
NETWORK = SimpleNamespace(n_fft=N_FFT)  # takes the STFT magnitude
OVERSAMPLE = 5
NB_STRAIGHTFORWARD = 512
CPU = registry.choose_device("cpu")
TRAININGS = {
    "counter": ("audio_source_counter.py", {}),
    "single-label": ("sep_opt_isocc_single_volnorm_STFT.py", {}),
    "two-label": ("sep_opt_isocc_multi_random_volnorm_STFT.py", {}),
    "two-label, both": ("sep_opt_isocc_multi_random_volnorm_STFT.py", {"BOTH": True}),
}


def batches(script, root: str) -> list[torch.Tensor]:
    """Ours, from the files to the last batch."""
    data = set_data.choose_files(root, "", 1, SAMPLE_RATE, OVERSAMPLE)
    stems = features.load(data.stems, SAMPLE_RATE, CPU)
    rows = script.draw(0, data)
    for start in range(0, len(rows), script.BATCH):
        last = features.augmented_features(
            NETWORK, stems, rows[start : start + script.BATCH], script.CONSTANTS
        )
    return last


def straightforward(rows: np.ndarray, stems: pd.DataFrame, loudest: float) -> torch.Tensor:
    for row in rows:
        clips = []
        for stem in row[row != set_data.NO_STEM]:
            clip, _ = sf.read(stems["file"][stem], dtype="float32")
            clips.append(clip * (loudest / np.abs(clip).max()))
        waveform = sum(clips) / 2
        waveform = waveform * (0.1 / np.sqrt(np.mean(waveform**2)))
        last = audio_STFT_lib(waveform, N_FFT)
    return last


def main() -> None:
    root = bench_lib.prepared_root()
    data = set_data.choose_files(root, "", 1, SAMPLE_RATE, OVERSAMPLE)
    originals = audio.uploader(data.stems["file"][data.stems["copy"] == 0], SAMPLE_RATE)
    loudest = np.abs(originals).max()
    lines = []
    for name, (file, constants) in TRAININGS.items():
        script = bench_lib.script(file, **constants)
        rows = script.draw(0, data)
        some = np.random.default_rng(0).permutation(rows)[:NB_STRAIGHTFORWARD]
        stems = features.load(data.stems, SAMPLE_RATE, CPU)
        mine = features.stft_magnitude(features.waveforms_of(stems, some[-1:]), N_FFT)[0]
        theirs = straightforward(some[-1:], data.stems, loudest)
        assert (mine - theirs).abs().max() <= 1e-4 * theirs.max()
        way = bench_lib.seconds(lambda rows=some: straightforward(rows, data.stems, loudest), 2)
        ours = bench_lib.seconds(lambda script=script: batches(script, root), repeats=2)
        work = f"{name}: the {len(rows)} clips of an epoch"
        lines.append(bench_lib.row("train_data", work, ours, way * len(rows) / len(some)))
    bench_lib.finish(lines, root)


if __name__ == "__main__":
    main()
