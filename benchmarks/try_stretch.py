"""Would python-stretch shift pitch better than librosa? A trial, not part of `make bench`.

Taken only if a shifted sine lands within 2 cents, its level stays within 0.5 dB, a click stays a
click, and it is faster. Writes benchmarks/results/try_stretch.txt.

    pip install python-stretch==0.3.1 && python benchmarks/try_stretch.py
"""

import time

import bench_lib
import librosa
import numpy as np
import python_stretch

SAMPLE_RATE = 4000
NB_SAMPLES = 5 * SAMPLE_RATE
MIDDLE = slice(SAMPLE_RATE, 4 * SAMPLE_RATE)
SHIFTS = (-2, -0.25, 0.25, 2)  # semitones
FREQUENCIES = (100, 440, 1500)  # Hz


def by_stretch(waveform: np.ndarray, shift: float) -> np.ndarray:
    """python-stretch with its preset, its latency cut off."""
    stretch = python_stretch.Signalsmith.Stretch(0)
    stretch.preset(1, SAMPLE_RATE)
    stretch.setTransposeSemitones(shift)
    latency = stretch.inputLatency() + stretch.outputLatency()
    padded = np.pad(waveform, (0, latency)).astype(np.float32)
    return stretch.process(padded[None])[0][latency:]


def by_librosa(waveform: np.ndarray, shift: float) -> np.ndarray:
    return librosa.effects.pitch_shift(waveform, sr=SAMPLE_RATE, n_steps=shift)


def frequency_of(sine: np.ndarray) -> float:
    """The highest peak of the spectrum of its middle, Hz."""
    middle = sine[MIDDLE] * np.hanning(len(sine[MIDDLE]))
    return np.abs(np.fft.rfft(middle, 2**20)).argmax() * SAMPLE_RATE / 2**20


def main() -> None:
    time_s = np.arange(NB_SAMPLES) / SAMPLE_RATE
    clicks = np.zeros(NB_SAMPLES, dtype=np.float32)
    clicks[SAMPLE_RATE // 2 :: SAMPLE_RATE // 2] = 0.9
    noise = np.random.default_rng(0).normal(0, 0.1, NB_SAMPLES).astype(np.float32)
    lines = []
    for name, way in (("python-stretch", by_stretch), ("librosa", by_librosa)):
        cents, decibels = [], []
        for frequency in FREQUENCIES:
            sine = (0.3 * np.sin(2 * np.pi * frequency * time_s)).astype(np.float32)
            for shift in SHIFTS:
                shifted = way(sine, shift)
                wanted = frequency * 2 ** (shift / 12)
                cents.append(abs(1200 * np.log2(frequency_of(shifted) / wanted)))
                decibels.append(abs(20 * np.log10(shifted[MIDDLE].std() / sine[MIDDLE].std())))
        peaks = [np.abs(way(clicks, shift)).max() / 0.9 for shift in SHIFTS]
        start = time.perf_counter()
        for _ in range(20):
            way(noise, 0.25)
        milliseconds = (time.perf_counter() - start) / 20 * 1e3
        lines.append(
            f"{name}: sines up to {max(cents):.1f} cents off, level up to {max(decibels):.2f} dB; "
            f"clicks keep {min(peaks):.0%} of their peak or more; {milliseconds:.1f} ms a clip"
        )
    text = "\n".join(lines) + "\n"
    bench_lib.RESULTS.mkdir(exist_ok=True)
    (bench_lib.RESULTS / "try_stretch.txt").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
