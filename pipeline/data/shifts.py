"""Clips as other recorders, rooms and codecs would have them: fixed changes to test networks under.

What is changed, by how much and from which seed stands in shifts.toml. A clip is the waveform that
a network would get, a mixture as a whole: a recorder hears both sounds.
"""

import io
import tomllib
from pathlib import Path

import numpy as np
import scipy.signal
import soundfile as sf
import soxr

from crs_lib import InputError

PARAMETERS = Path(__file__).with_suffix(".toml")
OCTAVES_HZ = 62.5 * 2.0 ** np.arange(8)  # at which an equalisation draws gains: to 8 kHz
MP3_RATE = 16_000  # Hz: MP3 knows no rate below 8 kHz, and few others
MP3_DELAY = 1105  # samples by which encoder and decoder together come late
FILTER_ORDER = 8  # of the low-pass, Butterworth


def read() -> tuple[int, list[dict]]:
    """The seed, and the shifts: `name`, `kind` (a function of this module) and its parameters."""
    content = tomllib.loads(PARAMETERS.read_text(encoding="utf-8"))
    return content["seed"], content["shift"]


def names() -> list[str]:
    """What the shifts are called."""
    return [shift["name"] for shift in read()[1]]


def shifted(clips: np.ndarray, sample_rate: int, number: int) -> np.ndarray:
    """Clips under one of the shifts.

    clips: float32 (clips, samples). number: of the shift in `read`'s list, from 0. A clip's random
    numbers are those of its row. Returns float32 of the same shape.
    """
    seed, found = read()
    parameters = {**found[number]}
    del parameters["name"]
    change = KINDS[parameters.pop("kind")]
    changed = [
        change(clip, sample_rate, np.random.default_rng([seed, number, row]), **parameters)
        for row, clip in enumerate(clips)
    ]
    return np.stack(changed).astype(np.float32)


def equalise(
    clip: np.ndarray, sample_rate: int, rng: np.random.Generator, most_db: float
) -> np.ndarray:
    """A gain for each octave, in between interpolated over the logarithm of frequency."""
    gains_db = rng.uniform(-most_db, most_db, len(OCTAVES_HZ))
    hz = np.fft.rfftfreq(len(clip), 1 / sample_rate).clip(OCTAVES_HZ[0])
    gains = 10 ** (np.interp(np.log(hz), np.log(OCTAVES_HZ), gains_db) / 20)
    return np.fft.irfft(np.fft.rfft(clip) * gains, len(clip))


def low_pass(clip: np.ndarray, sample_rate: int, rng: np.random.Generator, hz: float) -> np.ndarray:
    """Without what lies above a frequency; as it is where its rate holds nothing there."""
    if hz >= sample_rate / 2:
        return clip
    sections = scipy.signal.butter(FILTER_ORDER, hz, fs=sample_rate, output="sos")
    return scipy.signal.sosfilt(sections, clip)


def mp3(
    clip: np.ndarray, sample_rate: int, rng: np.random.Generator, kbit_per_second: int
) -> np.ndarray:
    """Written as MP3 at MP3_RATE and read again, in time with the clip.

    Raises InputError where this soundfile cannot write MP3.
    """
    there = soxr.resample(clip, sample_rate, MP3_RATE)
    peak = max(1, np.abs(there).max())  # MP3 holds no more than full scale
    # libsndfile's level 0 to 1 is the highest bit rate to the lowest of MPEG-2: 160 to 8 kbit/s.
    options = {"compression_level": (160 - kbit_per_second) / (160 - 8)}
    file = io.BytesIO()
    try:
        sf.write(
            file,
            np.pad(there, (0, MP3_DELAY)) / peak,
            MP3_RATE,
            format="MP3",
            bitrate_mode="CONSTANT",
            **options,
        )
    except sf.LibsndfileError as error:
        raise InputError(f"this soundfile cannot write MP3 ({error})") from None
    file.seek(0)
    decoded = sf.read(file, dtype="float32")[0][MP3_DELAY:][: len(there)] * peak
    back = soxr.resample(decoded, MP3_RATE, sample_rate)
    return np.pad(back, (0, max(0, len(clip) - len(back))))[: len(clip)]


def reverberate(
    clip: np.ndarray,
    sample_rate: int,
    rng: np.random.Generator,
    t60_seconds: float,
    direct_db: float,
) -> np.ndarray:
    """A room: behind the direct sound noise that falls by 60 dB in `t60_seconds`."""
    nb_samples = int(t60_seconds * sample_rate)
    tail = rng.standard_normal(nb_samples) * 10 ** (-3 * np.arange(nb_samples) / nb_samples)
    tail[0] = 0
    tail *= 10 ** (-direct_db / 20) / np.sqrt((tail**2).sum())
    tail[0] = 1
    return scipy.signal.fftconvolve(clip, tail)[: len(clip)]


def add_noise(
    clip: np.ndarray,
    sample_rate: int,
    rng: np.random.Generator,
    below_db: float,
    lowest_slope: float,
    highest_slope: float,
) -> np.ndarray:
    """Noise so far below the clip's RMS, of a power over frequency f that falls as f^-slope."""
    slope = rng.uniform(lowest_slope, highest_slope)
    spectrum = np.fft.rfft(rng.standard_normal(len(clip)))
    hz = np.fft.rfftfreq(len(clip), 1 / sample_rate).clip(OCTAVES_HZ[0])
    noise = np.fft.irfft(spectrum * hz ** (-slope / 2), len(clip))
    level = np.sqrt((clip**2).mean() / (noise**2).mean())
    return clip + noise * level * 10 ** (-below_db / 20)


def clip_peaks(
    clip: np.ndarray, sample_rate: int, rng: np.random.Generator, share: float
) -> np.ndarray:
    """As an amplifier that is driven too far: the loudest share of the samples cut off."""
    most = np.quantile(np.abs(clip), 1 - share)
    return clip.clip(-most, most)


KINDS = {
    "equalise": equalise,
    "low_pass": low_pass,
    "mp3": mp3,
    "reverberate": reverberate,
    "add_noise": add_noise,
    "clip": clip_peaks,
}
