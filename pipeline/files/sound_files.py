"""Sound files: errors that name them, samples of 16 bits, WAVs as this project writes them."""

import functools
import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import librosa
import numpy as np
import scipy.io.wavfile
import soundfile as sf

from crs_lib import InputError

CLIP_SECONDS = 5  # of every WAV that this project writes
LOWEST_RATE, HIGHEST_RATE = 100, 1_000_000  # Hz, of what may be a recording
FULL_SCALE = 32767 / 32768  # the loudest sample that 16 bits hold on both sides of zero


@contextmanager
def opened(path: Path) -> Iterator[sf.SoundFile]:
    """A sound file to be read; what goes wrong with it is an InputError that names the file."""
    with reading(path), opened_quietly(path) as file:
        # Else five seconds would last for days, or fill the memory.
        if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE:
            rate = f"its rate is said to be {file.samplerate} Hz"
            raise InputError(f"{path}: cannot be read as sound ({rate})")
        yield file


def opened_quietly(path: Path) -> sf.SoundFile:
    """A sound file to be read, its decoder's own messages left out."""
    with quiet_decoder(is_mp3(path)):
        return sf.SoundFile(path)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Around what reads a sound file: what goes wrong is an InputError that names the file."""
    try:
        if not Path(path).exists():
            raise InputError(f"{path}: there is no such file")
        if not Path(path).is_file():  # to open a pipe would be to wait for a writer
            raise InputError(f"{path}: cannot be read as sound (it is no file)")
        yield
    except (sf.LibsndfileError, librosa.ParameterError, OSError, UnicodeError, TypeError) as error:
        # A TypeError: of a .raw, which does not say what it holds.
        raise InputError(f"{path}: cannot be read as sound ({error})") from None


def samples_of(file: sf.SoundFile, nb_samples: int) -> np.ndarray:
    """The next samples of an opened file: float32 (samples,) or (samples, channels)."""
    with quiet_decoder(file.format == "MP3"):
        return file.read(nb_samples, dtype="float32")


def info_of(path: Path) -> "sf._SoundFileInfo":
    """What soundfile knows of a file: frames, samplerate, duration. Raises as `reading` does."""
    with reading(path), quiet_decoder(is_mp3(path)):
        return sf.info(path)


def is_mp3(path: Path) -> bool:
    """Whether a file is an MP3 by its name."""
    return Path(path).suffix.lower() == ".mp3"


@contextmanager
def quiet_decoder(is_mp3: bool) -> Iterator[None]:
    """Around what decodes an MP3: libmpg123 prints pages of its own errors to the terminal, past
    Python; those that matter soundfile raises. Meanwhile nothing of this process reaches standard
    error; several threads may be inside at once.
    """
    if not is_mp3:
        yield
        return
    with QUIET.lock:
        if QUIET.nb_inside == 0:
            QUIET.silence()
        QUIET.nb_inside += 1
    try:
        yield
    finally:
        with QUIET.lock:
            QUIET.nb_inside -= 1
            if QUIET.nb_inside == 0:
                QUIET.restore()


class Quiet:
    """Standard error of the process, silenced while somebody is inside of `quiet_decoder`."""

    def __init__(self):
        self.lock, self.nb_inside, self.terminal = threading.Lock(), 0, None

    def silence(self) -> None:
        """Put nothing in its place; where there is no standard error it stays so."""
        with suppress(OSError, AttributeError):
            sys.stderr.flush()
            self.terminal = os.dup(2)
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)

    def restore(self) -> None:
        """Put it back."""
        if self.terminal is not None:
            os.dup2(self.terminal, 2)
            os.close(self.terminal)
            self.terminal = None


QUIET = Quiet()


def refuse_not_finite(path: Path, waveform: np.ndarray) -> None:
    """Raise InputError, naming the file, if it holds infinities or what is no number."""
    if not np.isfinite(waveform).all():
        raise InputError(f"{path}: cannot be read as sound (some samples are not finite)")


def as_mono(samples: np.ndarray) -> np.ndarray:
    """The mean of the channels of samples as soundfile reads them: (samples,) of (samples[, n])."""
    return samples if samples.ndim == 1 else samples.mean(axis=1)


def to_pcm16(waveform: np.ndarray) -> np.ndarray:
    """Float samples within FULL_SCALE rounded to int16."""
    scaled = np.multiply(waveform, 32768)
    return np.rint(scaled, out=scaled).astype("<i2")


def from_pcm16(samples: np.ndarray) -> np.ndarray:
    """int16 samples as float32; a power of two divides exactly, multiplied or not."""
    return np.multiply(samples, 1 / 32768, dtype=np.float32)


def rounded(waveform: np.ndarray) -> np.ndarray:
    """A waveform within FULL_SCALE as a 16-bit file would give it back."""
    return from_pcm16(to_pcm16(waveform))


def write_wav(path: Path, waveform: np.ndarray, sample_rate: int) -> None:
    """Write a waveform within FULL_SCALE as mono 16-bit WAV."""
    Path(path).write_bytes(wav_of(to_pcm16(waveform), sample_rate))


def wav_of(samples: np.ndarray, sample_rate: int) -> bytes:
    """What a mono WAV of int16 samples holds. Its header is made once: a library takes several
    times as long for a file, and there are 72,000.
    """
    return wav_header(len(samples), sample_rate) + samples.tobytes()


def wavs_of(clips: np.ndarray, sample_rate: int) -> np.ndarray:
    """The same of many clips (clips, samples), floats within FULL_SCALE: int16, a row a file."""
    header = np.frombuffer(wav_header(clips.shape[1], sample_rate), dtype="<i2")
    wavs = np.empty((len(clips), len(header) + clips.shape[1]), dtype="<i2")
    wavs[:, : len(header)] = header
    wavs[:, len(header) :] = to_pcm16(clips)
    return wavs


@functools.cache
def wav_header(nb_samples: int, sample_rate: int) -> bytes:
    """What stands before the samples of a mono 16-bit WAV."""
    buffer = io.BytesIO()
    scipy.io.wavfile.write(buffer, sample_rate, np.zeros(nb_samples, dtype=np.int16))
    return buffer.getvalue()[: -2 * nb_samples]
