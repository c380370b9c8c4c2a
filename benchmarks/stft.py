"""STFT of 4,096 clips at 4 kHz, batched, window of 256 samples.

Straightforward: `librosa.stft` in a loop, timed on 256 clips and scaled. Floor: the bare windowed
FFTs of the same frames, on both cores. Beside them, as the STFT is linear: the magnitude of
mixtures as that of the sum of two cached stem spectra, against mixing and transforming.
"""

import bench_lib
import librosa
import numpy as np
import torch

import esc10_data
import hearing
from UNet_utils import audio_STFT_torch

N_FFT = 256
NB_CLIPS = 4096
NB_STRAIGHTFORWARD = 256
BATCH = 32  # clips
NB_SAMPLES = 20_000  # 5 s at 4 kHz


def batches(clips: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return clips.split(BATCH)


def bare_ffts(clips: torch.Tensor, window: torch.Tensor) -> None:
    """The floor: frames that lie ready, times the window, and their FFTs."""
    for some in batches(clips):
        torch.fft.rfft(some.unfold(-1, N_FFT, N_FFT // 4) * window)


def transform_mixtures(stems: torch.Tensor, pairs: torch.Tensor) -> list[torch.Tensor]:
    """What a training does: waveforms summed and levelled, their STFT, its magnitude."""
    return [
        hearing.features(hearing.waveforms_of(stems, some), N_FFT)[:, 0] for some in batches(pairs)
    ]


def sum_spectra(
    stems: torch.Tensor, spectra: torch.Tensor, pairs: torch.Tensor
) -> list[torch.Tensor]:
    """The same without an FFT: cached spectra summed, and scaled as the waveforms would be."""
    found = []
    for some in batches(pairs):
        mixed = esc10_data.mix(stems[some[:, 0]], stems[some[:, 1]])
        scale = esc10_data.LEVEL_RMS / (mixed**2).mean(dim=1) ** 0.5 / 2
        magnitude = (spectra[some[:, 0]] + spectra[some[:, 1]]).abs()
        found.append(magnitude * scale[:, None, None])
    return found


def main() -> None:
    rng = np.random.default_rng(0)
    clips = torch.from_numpy(rng.normal(0, 0.1, (NB_CLIPS, NB_SAMPLES)).astype(np.float32))
    padded = torch.nn.functional.pad(clips, (N_FFT // 2, N_FFT // 2))
    window = torch.hann_window(N_FFT)
    some = clips[:NB_STRAIGHTFORWARD].numpy()
    expected = np.stack([librosa.stft(clip, n_fft=N_FFT) for clip in some[:4]])
    found = audio_STFT_torch(clips[:4], N_FFT).numpy()
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()

    floor = bench_lib.seconds(lambda: bare_ffts(padded, window), repeats=3)
    ours = bench_lib.seconds(
        lambda: [audio_STFT_torch(some, N_FFT) for some in batches(clips)], repeats=3
    )
    way = bench_lib.seconds(lambda: [librosa.stft(clip, n_fft=N_FFT) for clip in some])

    stems = clips[:400]
    pairs = torch.from_numpy(rng.integers(0, 400, (NB_CLIPS, 2)))
    spectra = torch.cat([audio_STFT_torch(some, N_FFT) for some in batches(stems)])
    first, second = (
        transform_mixtures(stems, pairs[:8])[0],
        sum_spectra(stems, spectra, pairs[:8])[0],
    )
    assert (first - second).abs().max() <= 1e-4 * first.max()
    fft = bench_lib.seconds(lambda: transform_mixtures(stems, pairs), repeats=3)
    cached = bench_lib.seconds(lambda: sum_spectra(stems, spectra, pairs), repeats=3)
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
