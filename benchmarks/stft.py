"""STFT of 4,096 clips at 4 kHz, batched, window of 256 samples.

Straightforward: `librosa.stft` in a loop, timed on 256 clips and scaled. Floor: the bare windowed
FFTs of the same frames, on both cores. Beside them, as the STFT is linear: the magnitude of
mixtures as that of the sum of two cached stem spectra, against mixing and transforming. It is not
used: what it saves of a clip is to be held against that clip's share of a whole epoch
(train_epoch), and clips that are rolled in time have no cached spectrum.
"""

from collections.abc import Callable

import bench_lib
import librosa
import numpy as np
import torch

from pipeline.data import audio
from pipeline.networks import features, registry
from UNet_utils import audio_STFT_torch

N_FFT = 256
NB_CLIPS = 4096
NB_STRAIGHTFORWARD = 256
BATCH = 32  # clips
NB_SAMPLES = 20_000  # 5 s at 4 kHz


def transform(clips: torch.Tensor) -> None:
    """Ours."""
    for some in clips.split(BATCH):
        audio_STFT_torch(some, N_FFT)


def bare_ffts(padded: torch.Tensor, window: torch.Tensor) -> None:
    """The floor: frames that lie ready, times the window, and their FFTs."""
    for some in padded.split(BATCH):
        torch.fft.rfft(some.unfold(-1, N_FFT, N_FFT // 4) * window)


def transformed_mixtures(stems: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """What a training does: waveforms summed and levelled, their STFT, its magnitude."""
    return features.stft_magnitude(features.waveforms_of(stems, pairs), N_FFT)[:, 0]


def summed_spectra(stems: torch.Tensor, spectra: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """The same without an FFT: cached spectra summed, and scaled as the waveforms would be."""
    mixed = audio.mix(stems[pairs[:, 0]], stems[pairs[:, 1]])
    scale = audio.LEVEL_RMS / (mixed**2).mean(dim=1) ** 0.5 / 2
    magnitude = features.magnitudes_of(spectra[pairs[:, 0]] + spectra[pairs[:, 1]])
    return magnitude * scale[:, None, None]


def main() -> None:
    registry.choose_device("cpu")
    rng = np.random.default_rng(0)
    clips = torch.from_numpy(rng.normal(0, 0.1, (NB_CLIPS, NB_SAMPLES)).astype(np.float32))
    padded = torch.nn.functional.pad(clips, (N_FFT // 2, N_FFT // 2))
    window = torch.hann_window(N_FFT)
    some = clips[:NB_STRAIGHTFORWARD].numpy()
    expected = np.stack([librosa.stft(clip, n_fft=N_FFT) for clip in some[:4]])
    found = audio_STFT_torch(clips[:4], N_FFT).numpy()
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()

    ours, floor = bench_lib.alternately(
        lambda: transform(clips), lambda: bare_ffts(padded, window), repeats=10
    )
    way = bench_lib.seconds(lambda: [librosa.stft(clip, n_fft=N_FFT) for clip in some], repeats=3)

    stems = clips[:400]
    pairs = torch.from_numpy(rng.integers(0, 400, (NB_CLIPS, 2)))
    spectra = torch.cat([audio_STFT_torch(part, N_FFT) for part in stems.split(BATCH)])
    first = transformed_mixtures(stems, pairs[:8])
    assert (first - summed_spectra(stems, spectra, pairs[:8])).abs().max() <= 1e-4 * first.max()

    def each_batch(work: Callable[[torch.Tensor], object]) -> float:
        return bench_lib.seconds(lambda: [work(part) for part in pairs.split(BATCH)], repeats=3)

    fft = each_batch(lambda some: transformed_mixtures(stems, some).shape)
    cached = each_batch(lambda some: summed_spectra(stems, spectra, some).shape)
    rows = [
        bench_lib.row(
            "stft", f"{NB_CLIPS} clips", ours, way * NB_CLIPS / NB_STRAIGHTFORWARD, floor
        ),
        bench_lib.row("stft", f"{NB_CLIPS} mixtures: mix, level, STFT, magnitude", fft),
        bench_lib.row("stft", f"{NB_CLIPS} mixtures: sums of cached spectra (not used)", cached),
    ]
    bench_lib.finish(rows)


if __name__ == "__main__":
    main()
