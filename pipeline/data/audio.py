"""Clips as waveforms: read from a sound file, at one rate and length, levelled, mixed.

A clip is a float32 waveform of CLIP_SECONDS at the sample rate of its folder, full scale 1.
"""

from collections.abc import Iterable
from pathlib import Path

import librosa
import numpy as np
import soundfile as sf
import soxr

from crs_lib import InputError
from pipeline.files import sound_files
from pipeline.files.sound_files import CLIP_SECONDS

LEVEL_RMS = 0.1  # of every waveform a network gets
METHODS = ("load", "resample", "soxr", "scipy")  # of downsampling


def read_clip(path: Path, sample_rate: int, method: str = "soxr") -> np.ndarray:
    """The first CLIP_SECONDS of a sound file at `sample_rate` (Hz), as every network gets it.

    Reads any format, rate, length, sample type and number of channels (their mean) that soundfile
    reads. method: who resamples, one of METHODS; the first three are one (soxr_hq), but librosa
    takes two seconds to be imported, which nobody with a recording should wait for.
    Returns what `as_clip` makes of it. Raises InputError as `read_fitted` does.
    """
    return sound_files.rounded(read_fitted(path, sample_rate, method))


def read_fitted(path: Path, sample_rate: int, method: str) -> np.ndarray:
    """The same before it is rounded, for who writes it as 16 bits anyway: what `fit` returns.

    Raises InputError, naming the file, if it cannot be read, is empty or is not finite.
    """
    # One more second than is kept: the resampling looks ahead.
    seconds = CLIP_SECONDS + 1
    with sound_files.opened(path) as file:
        if method == "load":
            # librosa falls to 22,050 Hz where sr is left out, and from a path of no sound to
            # another reader, which wants other programs.
            with sound_files.quiet_decoder(file.format == "MP3"):
                waveform, _ = librosa.load(file, sr=sample_rate, duration=seconds)
        else:
            rate = file.samplerate
            samples = sound_files.samples_of(file, seconds * rate)
            waveform = resample(sound_files.as_mono(samples), rate, sample_rate, method)
    if len(waveform) == 0 and sound_files.info_of(path).frames == 0:
        raise InputError(f"{path}: holds no samples")
    sound_files.refuse_not_finite(path, waveform)
    return fit(waveform, sample_rate)


def as_clip(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """What `fit` makes of a waveform, rounded to 16 bits: a clip as every network gets it."""
    return sound_files.rounded(fit(waveform, sample_rate))


def resample(waveform: np.ndarray, rate: int, new_rate: int, method: str) -> np.ndarray:
    """A waveform at `rate` Hz, resampled to `new_rate` Hz by `soxr`, `resample` or `scipy`."""
    if len(waveform) == 0:
        return waveform
    if method == "soxr":
        return soxr.resample(waveform, rate, new_rate, quality="HQ")
    if method == "resample":
        return librosa.resample(waveform, orig_sr=rate, target_sr=new_rate)
    import scipy.signal  # takes a second, which no other method has to wait for

    nb_samples = int(np.ceil(len(waveform) * new_rate / rate))
    return scipy.signal.resample(waveform, nb_samples).astype(np.float32)


def fit(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """CLIP_SECONDS of a waveform, cut or padded with zeros; scaled down if beyond full scale."""
    waveform = waveform[: CLIP_SECONDS * sample_rate]
    nb_missing = CLIP_SECONDS * sample_rate - len(waveform)
    if nb_missing:
        waveform = np.pad(waveform, (0, nb_missing))
    return waveform / max(1, np.abs(waveform).max() / sound_files.FULL_SCALE)


def uploader(files: Iterable[Path], sample_rate: int) -> np.ndarray:
    """Load prepared clips into memory.

    files: mono 16-bit WAVs of CLIP_SECONDS at `sample_rate` (Hz), as the 0_ scripts write them.
    Returns float32, shape (files, CLIP_SECONDS * sample_rate).
    Raises InputError that lists every file that is missing or is not such a clip.
    """
    files = list(files)
    clips = np.empty((len(files), CLIP_SECONDS * sample_rate), dtype=np.float32)
    header = sound_files.wav_header(clips.shape[1], sample_rate)
    wrong = []
    for row, path in enumerate(files):
        if not Path(path).is_file():
            wrong.append(f"{path}: cannot be read (no such file)")
            continue
        try:
            content = Path(path).read_bytes()
            if content.startswith(header) and len(content) == len(header) + 2 * clips.shape[1]:
                # Just as write_wav wrote it: read so, it takes a tenth of a library's time.
                samples = np.frombuffer(content, dtype="<i2", offset=len(header))
                clips[row] = sound_files.from_pcm16(samples)
                continue
            samples, rate = sf.read(path, dtype="int16")
        except (sf.LibsndfileError, OSError, UnicodeError) as error:
            wrong.append(f"{path}: cannot be read ({error})")
            continue
        if (rate, *samples.shape) != (sample_rate, clips.shape[1]):
            wrong.append(
                f"{path}: {samples.shape} samples at {rate} Hz, "
                f"not {clips.shape[1]} at {sample_rate} Hz"
            )
            continue
        clips[row] = sound_files.from_pcm16(samples)
    if wrong:
        raise InputError("; ".join(wrong))
    return clips


# ------------------------------------------------------------- levels and mixing, numpy or torch


def name_silent(names: Iterable[object], clips: np.ndarray) -> None:
    """Print the names of clips that hold nothing but zeros: nothing can make them louder."""
    silent = [str(name) for name, clip in zip(names, clips, strict=True) if not clip.any()]
    if silent:
        print(f"silent clips, which stay silent: {', '.join(silent)}")


def normalise_volume(clips: np.ndarray, loudest: float | None = None) -> np.ndarray:
    """Scale every clip so that its own loudest sample equals that of the loudest clip.

    clips: float32, shape (clips, samples).
    loudest: the absolute sample to scale to, where it is not to be found in `clips`.
    Returns a new array of the same shape. A silent clip stays silent.
    """
    peaks = np.maximum(clips.max(axis=1), -clips.min(axis=1))
    loudest = peaks.max() if loudest is None else loudest
    return clips * (loudest / (peaks + (peaks == 0)))[:, None]


def mix(clips_a, clips_b):
    """Half the sample-wise sum of two normalised clips, or of two batches that broadcast.

    Half gain, because the sum of two full-scale clips reaches twice full scale.
    """
    return (clips_a + clips_b) / 2


def level_rms(waveforms):
    """Waveforms, samples in the last axis, scaled to an RMS of LEVEL_RMS. Silence stays silent."""
    rms = (waveforms**2).mean(axis=-1, keepdims=True) ** 0.5
    return waveforms * (LEVEL_RMS / (rms + (rms == 0)))
