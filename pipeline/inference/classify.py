"""Classify a recording of any length: its windows, the predictions for each, the answer.

A recording of up to LONG_SECONDS is one window: its first CLIP_SECONDS, padded where it is shorter.
A longer one is read in a stream: a window starts every second, the last one is padded.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soxr
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import nn

from crs_lib import InputError
from pipeline.data import audio
from pipeline.data.audio import CLIP_SECONDS
from pipeline.evaluation import strategies
from pipeline.files import sound_files
from pipeline.inference import timeline
from pipeline.networks import features, heads, registry

LONG_SECONDS = 6  # a recording beyond it gets a timeline
BLOCK_SECONDS = 48  # of sound read at a time
# A second softer than this, its mean apart, is silence: -66 dB of full scale. The loudest second of
# the softest ESC-10 clip has more than twice as much, the rounding of a 16-bit file a fiftieth.
SILENT_RMS = 5e-4
NB_COLUMNS = 1000  # of a plot at most
ROUNDING = 1e-6  # of a column


class Predicted(NamedTuple):
    """Predictions for windows: a row each."""

    counts: np.ndarray  # int, of classes: 0 of a silent window, else 1 or 2
    count_scores: np.ndarray  # float32, the counter's probability of that count
    labels: np.ndarray  # bool (windows, classes)
    scores: np.ndarray  # float32 (windows, classes), of the classifier that was asked
    silent: np.ndarray  # bool (windows, CLIP_SECONDS), which seconds are silence


# ------------------------------------------------------------------------- from file to windows


def read_blocks(path: Path, sample_rate: int) -> Iterator[np.ndarray]:
    """A sound file of any length in mono at `sample_rate` (Hz), a block after the other.

    The samples are those of audio.resample by soxr of the whole, which never is in memory.
    Yields float32 (samples,), about BLOCK_SECONDS of them. Raises InputError, naming the file, if
    it cannot be read to its end or is not finite.
    """
    with sound_files.opened(path) as file:
        stream = soxr.ResampleStream(file.samplerate, sample_rate, 1, "float32", quality="HQ")
        is_last = False
        while not is_last:
            # Not file.blocks: where a file ends too early that gives the last block again.
            samples = sound_files.samples_of(file, BLOCK_SECONDS * file.samplerate)
            is_last = len(samples) == 0
            mono = sound_files.as_mono(samples)
            sound_files.refuse_not_finite(path, mono)
            yield stream.resample_chunk(mono, last=is_last)


def windows_of(path: Path, sample_rate: int) -> Iterator[tuple[np.ndarray, int]]:
    """The windows of a recording, several at a time, as every network gets clips.

    Yields float32 (windows, CLIP_SECONDS * sample_rate), and how many samples of the recording they
    hold that none before did. Raises InputError, naming the file, as audio.read_clip does.
    """
    info = sound_files.info_of(path)
    if info.frames <= LONG_SECONDS * info.samplerate:
        clip = audio.read_clip(path, sample_rate)
        nb_held = round(info.frames * sample_rate / info.samplerate)
        yield clip[None], min(len(clip), max(1, nb_held))  # one sample is some sound too
        return
    nb_samples, nb_covered = CLIP_SECONDS * sample_rate, 0
    held = np.zeros(0, dtype=np.float32)  # from the next window's start; earlier ones covered some
    for block in read_blocks(path, sample_rate):
        held = np.concatenate([held, block])
        nb_windows = max(0, 1 + (len(held) - nb_samples) // sample_rate)
        if nb_windows:
            whole = sliding_window_view(held, nb_samples)[::sample_rate]
            windows = np.stack([audio.as_clip(window, sample_rate) for window in whole])
            yield windows, nb_samples - nb_covered + (nb_windows - 1) * sample_rate
            held, nb_covered = held[nb_windows * sample_rate :], nb_samples - sample_rate
    # What an encoder adds to whole seconds is no second of its own.
    if len(held) > nb_covered + sample_rate // 10:
        yield audio.as_clip(held, sample_rate)[None], len(held) - nb_covered


# ------------------------------------------------------------------------------ their predictions


def silent_seconds(windows: np.ndarray) -> np.ndarray:
    """Which seconds of windows (windows, samples) are silence: bool (windows, CLIP_SECONDS)."""
    return windows.reshape(len(windows), CLIP_SECONDS, -1).std(axis=2) < SILENT_RMS


@torch.no_grad()
def logits_of(
    network: nn.Module,
    windows: np.ndarray,
    rows: np.ndarray,
    device: torch.device,
    consecutive: bool,
) -> torch.Tensor:
    """Logits of some rows of windows, on the CPU: float32 (rows, outputs).

    consecutive: the windows are of one recording, each a second after the one before. A network of
    patches then gets each patch once, not with every window that it lies in.
    """
    if consecutive and hasattr(network, "of_windows"):
        later = windows[1:, -windows.shape[1] // CLIP_SECONDS :]
        waveform = torch.from_numpy(np.append(windows[0], later)).to(device)
        return network.of_windows(waveform, len(windows)).cpu()[rows]
    waveforms = levelled(torch.from_numpy(windows[rows]).to(device), network)
    return heads.logits_of_waveforms(network, waveforms)


def levelled(windows: torch.Tensor, network: nn.Module) -> torch.Tensor:
    """Windows at the level at which a network learned; one with features of its own sees to it."""
    return windows if hasattr(network, "features") else audio.level_rms(windows)


def predict(
    windows: np.ndarray, trained: dict, device: torch.device, consecutive: bool = False
) -> Predicted:
    """Count the classes of windows, then classify them; a silent window is answered by no network.

    windows: float32 (windows, CLIP_SECONDS * sample rate). trained: task -> (network, what its file
    says), of `counter`, `single` and `two_label`, on the device. consecutive: see `logits_of`.
    A window's scores are shares of one where it holds one class, of two where two.
    """
    classes = trained["counter"][1]["classes"]
    silent = silent_seconds(windows)
    sounds = np.flatnonzero(~silent.all(axis=1))
    counts = np.zeros(len(windows), dtype=int)
    count_scores = np.ones(len(windows), dtype=np.float32)
    labels = np.zeros((len(windows), len(classes)), dtype=bool)
    scores = np.zeros(labels.shape, dtype=np.float32)
    counter = trained["counter"][0]
    if len(sounds):
        of_counter = logits_of(counter, windows, sounds, device, consecutive)
        chances = heads.scores_of_count(of_counter).numpy()
        counts[sounds], count_scores[sounds] = 1 + chances.argmax(axis=1), chances.max(axis=1)
    for count, task in ((1, "single"), (2, "two_label")):
        rows, network = np.flatnonzero(counts == count), trained[task][0]
        if len(rows):
            if network is counter:  # the joint network, whose last logits are those of the labels
                logits = of_counter[counts[sounds] == count][:, -len(classes) :]
            else:
                logits = logits_of(network, windows, rows, device, consecutive)
            scores[rows] = heads.SCORES_OF[task](logits).numpy()
            best = strategies.best_labels(scores[rows], count, classes)
            labels[rows] = [np.isin(classes, text.split("+")) for text in best]
    return Predicted(counts, count_scores, labels, scores, silent)


def predict_recording(
    path: Path, sample_rate: int, predict: Callable[[np.ndarray], Predicted]
) -> tuple[Predicted, float]:
    """Predictions for the windows of a recording, and the seconds that they hold.

    Raises InputError, naming the file, if it cannot be read or is empty.
    """
    parts, nb_samples = [], 0
    for windows, nb_new in windows_of(path, sample_rate):
        parts.append(predict(windows))
        nb_samples += nb_new
    if not parts:  # where the header promises what does not follow
        raise InputError(f"{path}: holds no samples")
    return Predicted(*map(np.concatenate, zip(*parts, strict=True))), nb_samples / sample_rate


def answer(path: Path, trained: dict, device: torch.device) -> dict:
    """What is in a recording, by trained networks (see `predict`).

    Returns `seconds` (classified) and `spans` (see timeline.spans), and of a recording that is one
    window `of_seconds` (its length), `count`, `count_score`, `names` (the best first) and `scores`
    (class -> score).
    Raises InputError, naming the file, if it cannot be read or is empty.
    """
    content = trained["counter"][1]
    classes = content["classes"]
    found, seconds = predict_recording(
        path,
        content["constants"]["SAMPLE_RATE"],
        partial(predict, trained=trained, device=device, consecutive=True),
    )
    spans = timeline.spans(found.labels, found.scores, found.silent, seconds, classes)
    row = {"seconds": seconds}
    if len(found.counts) == 1:
        scores = dict(zip(classes, found.scores[0].tolist(), strict=True))
        names = [name for name, is_there in zip(classes, found.labels[0], strict=True) if is_there]
        row |= {
            "of_seconds": sound_files.info_of(path).duration,
            "count": int(found.counts[0]),
            "count_score": float(found.count_scores[0]),
            "names": sorted(names, key=lambda name: -scores[name]),
            "scores": scores,
        }
    return {**row, "spans": spans}


# ------------------------------------------------------------------------- to make a plot of it


def columns_of(
    path: Path, seconds: float, trained: dict, device: torch.device
) -> tuple[np.ndarray, np.ndarray | None, int]:
    """The spectrogram of a recording and what the counter attends to, in columns of equal length.

    seconds: of the recording, as `answer` says. However long it is, there are no more than
    NB_COLUMNS columns, each the mean over its frames.
    Returns magnitudes, float32 (bins, columns); the attention, (columns,), in shares of a window's
    whole, None of a network that has none; the sample rate (Hz).
    """
    network, content = trained["counter"]
    sample_rate, n_fft = content["constants"]["SAMPLE_RATE"], content["constants"]["N_FFT"]
    frame_seconds = n_fft // 4 / sample_rate
    # Of whole frames that end with the recording none begins at its end: but for rounding.
    nb_columns = min(NB_COLUMNS, max(1, math.ceil(seconds / frame_seconds - ROUNDING)))
    sums = torch.zeros(n_fft // 2 + 2, nb_columns)  # the attention lies behind the last bin
    nb_frames, start = torch.zeros(nb_columns), 0
    for windows, _ in windows_of(path, sample_rate):
        frames = frames_of(torch.from_numpy(windows).to(device), network, n_fft).cpu()
        times = frame_seconds * torch.arange(frames.shape[2], dtype=torch.float64)
        times = times + start + torch.arange(len(windows))[:, None]
        columns = (times * (nb_columns / seconds) + ROUNDING).long().flatten()
        inside = columns < nb_columns  # what a window is padded with is left out
        values = frames.transpose(0, 1).flatten(1)
        sums.index_add_(1, columns[inside], values[:, inside])
        nb_frames += torch.bincount(columns[inside], minlength=nb_columns)
        start += len(windows)
    means = (sums / nb_frames.clamp(min=1)).numpy()
    return means[:-1], means[-1] if registry.attends(network) else None, sample_rate


@torch.no_grad()
def frames_of(windows: torch.Tensor, network: nn.Module, n_fft: int) -> torch.Tensor:
    """Magnitudes of windows as they are, and behind the last bin the network's attention, 0 where
    it has none: float32 (windows, bins + 1, frames).
    """
    magnitudes = features.stft_magnitude(windows, n_fft)[:, 0]
    attention = torch.zeros_like(magnitudes[:, 0])
    if registry.attends(network):
        _, attention = heads.attention_of(network, levelled(windows, network), magnitudes.shape[2])
    return torch.cat([magnitudes, attention[:, None]], dim=1)
