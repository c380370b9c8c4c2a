"""The data: classes, divisions, the mixture table, clips of sound files, levels, mixing.

A clip is a float32 waveform of CLIP_SECONDS at the sample rate of its folder, full scale 1.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import joblib
import librosa
import numpy as np
import pandas as pd
import soundfile as sf
import soxr
from tqdm import tqdm

import crs_lib
import sound_files
import stamps
from crs_lib import InputError

CLIP_SECONDS = 5
LEVEL_RMS = 0.1  # of every waveform a network gets
METHODS = ("load", "resample", "soxr", "scipy")  # of downsampling
DIVISION_CODES = {"train": 1, "val": 2, "test": 3}  # as the mixture table has them
NOT_USED = -1  # the code of a mixture whose two clips lie in different divisions


# -------------------------------------------------------------------------------------- clips


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
            waveform, _ = librosa.load(file, sr=sample_rate, duration=seconds)
        else:
            rate = file.samplerate
            samples = file.read(seconds * rate, dtype="float32")
            waveform = resample(sound_files.as_mono(samples), rate, sample_rate, method)
    if len(waveform) == 0 and sf.info(path).frames == 0:
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


def downsample(dataset: str, sample_rate: int, method: str, n_jobs: int) -> tuple[Path, int]:
    """The step of 0_downsampling.py: every renamed clip at `sample_rate` (Hz).

    Returns the folder it wrote and the number of clips. Raises InputError that lists every clip
    that cannot be read.
    """
    renamed, folder = crs_lib.rename_dir(dataset), crs_lib.rate_dir(dataset, sample_rate)
    crs_lib.need(renamed, "0_rename_files.py", DATASET=dataset)
    made_with = {"SAMPLE_RATE": sample_rate, "METHOD": method}
    with stamps.made(dataset, folder, made_with, inputs=[renamed.name]) as part:
        files = [path for paths in class_files(renamed).values() for path in paths]

        def write(path: Path) -> str:
            """Why a clip could not be read; empty where it could."""
            try:
                clip = read_fitted(path, sample_rate, method)
            except InputError as error:
                return str(error)
            sound_files.write_wav(part / path.parent.name / path.name, clip, sample_rate)
            return ""

        for name in {path.parent.name for path in files}:
            (part / name).mkdir()
        # Threads: reading and resampling leave Python's lock, and processes start slowly.
        parallel = joblib.Parallel(n_jobs, prefer="threads", return_as="generator", batch_size=8)
        messages = parallel(joblib.delayed(write)(path) for path in files)
        wrong = [text for text in tqdm(messages, "clips", len(files), disable=None) if text]
        if wrong:
            raise InputError("; ".join(wrong))
    return folder, len(files)


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


# ------------------------------------------------------------------ classes, numbers, divisions


def class_files(folder: Path) -> dict[str, list[Path]]:
    """The WAV files of every class folder: class names sorted, files by name."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    files = {name: sorted((folder / name).glob("*.wav")) for name in names}
    empty = [str(folder / name) for name in names if not files[name]]
    if empty or not files:
        raise InputError(f"{', '.join(empty) or folder}: no WAV files there")
    return files


def class_numbers(folder: Path) -> tuple[list[str], list[int]]:
    """The classes of a folder of renamed clips (sorted) and the numbers they all have.

    Raises InputError if a file is not called class-and-number, the numbers of two classes differ
    (one division text serves every class), or a class has the + in its name that joins two names.
    """
    numbers = {}
    for name, files in class_files(folder).items():
        found = [re.fullmatch(re.escape(name) + r"(\d+)\.wav", path.name) for path in files]
        wrong = [str(path) for path, match in zip(files, found, strict=True) if not match]
        if "+" in name:
            raise InputError(f"{folder / name}: a class may not have a + in its name")
        if wrong:
            raise InputError(f"{', '.join(wrong)}: not called {name}<number>.wav")
        numbers[name] = sorted(int(match[1]) for match in found)
    classes = list(numbers)
    odd = [name for name in classes if numbers[name] != numbers[classes[0]]]
    if odd:
        raise InputError(
            f"{folder}: the clips of {', '.join(odd)} and {classes[0]} differ in number"
        )
    return classes, numbers[classes[0]]


def read_division(
    folder: Path, set_number: int, numbers_there: Iterable[int], redo: str
) -> dict[str, list[int]]:
    """The numbers of each part of a set, from its three texts.

    numbers_there: those that clips have. redo: the command that writes the texts.
    Returns {"train": [...], "val": [...], "test": [...]}. Raises InputError if a text is missing
    or is not a line of numbers, if two parts share a number, or if no clip has it.
    """
    numbers = {}
    for part in crs_lib.PARTS:
        path = crs_lib.division_txt(folder, set_number, part)
        if not path.is_file():
            raise InputError(f"{path} is missing: run  {redo}  first")
        text = path.read_bytes().decode("ascii", errors="replace")
        if not re.fullmatch(r"\s*\d{1,9}(\s*,\s*\d{1,9})*\s*", text):
            raise InputError(f"{path}: not one line of numbers such as  1, 11, 21")
        numbers[part] = [int(word) for word in text.split(",")]
    together = [number for members in numbers.values() for number in members]
    if len(set(together)) < len(together):
        raise InputError(f"{folder}/set{set_number}: a number stands in two parts, or twice in one")
    unknown = sorted(set(together) - set(numbers_there))
    if unknown:
        raise InputError(f"{folder}/set{set_number}: no clip has the number {unknown[0]}")
    return numbers


def mixture_table(
    classes: list[str], numbers: list[int], sets: list[dict[str, list[int]]]
) -> pd.DataFrame:
    """Every mixture of two clips of different classes, and its division in every set.

    classes: sorted. numbers: of the clips of each class. sets: one `read_division` a set.
    Returns filename, A_class, A_num, B_class, B_num, set1, set2, ...: one row a mixture, pairs of
    classes in sorted order, A before B; 1 train, 2 validation, 3 test, -1 not used.
    """
    pair_a, pair_b = np.triu_indices(len(classes), k=1)
    position_a, position_b = np.indices((len(numbers), len(numbers))).reshape(2, -1)
    nb_pairs, nb_each = len(pair_a), len(position_a)
    class_a, class_b = np.repeat(pair_a, nb_each), np.repeat(pair_b, nb_each)
    clip_a, clip_b = np.tile(position_a, nb_pairs), np.tile(position_b, nb_pairs)
    names, clips = np.array(classes, dtype=object), np.array(numbers)
    stems = np.array([[f"{name}{number}" for number in numbers] for name in classes], dtype=object)
    table = pd.DataFrame(
        {
            "filename": stems[class_a, clip_a] + "_" + stems[class_b, clip_b] + ".wav",
            "A_class": names[class_a],
            "A_num": clips[clip_a],
            "B_class": names[class_b],
            "B_num": clips[clip_b],
        }
    )
    for number, division in enumerate(sets, start=1):
        code = {n: DIVISION_CODES[part] for part, members in division.items() for n in members}
        codes = np.array([code.get(n, NOT_USED) for n in numbers])
        same = codes[position_a] == codes[position_b]
        table[f"set{number}"] = np.tile(np.where(same, codes[position_a], NOT_USED), nb_pairs)
    return table


def copy_shifts(oversample: int, max_shift: float) -> dict[str, float]:
    """The copies of a clip: name ending -> shift in semitones; the original's is "" -> 0.

    Shifts are spread evenly over both directions up to `max_shift`; an odd copy goes down.
    5 copies: "", "_Down1", "_Down2", "_Up1", "_Up2" at 0, half and full span.
    """
    nb_up = (oversample - 1) // 2
    nb_down = oversample - 1 - nb_up
    down = {f"_Down{i}": -max_shift * i / nb_down for i in range(1, nb_down + 1)}
    up = {f"_Up{i}": max_shift * i / nb_up for i in range(1, nb_up + 1)}
    return {"": 0.0, **down, **up}
