"""From windows to spans: which classes sound when in a recording of any length.

A window of CLIP_SECONDS starts every second, so a second lies in up to five windows. The
label of a window does not say when in it the class sounds: one network gives it for the last moment
of a sound, another only where the sound fills half of the window. A second is decided so:

1. A second that is silent holds nothing.
2. Else it holds the labels that a share of AGREE of the windows around it have. A label that comes
   too early or too late is one of windows that lie mostly beside the sound, and is outvoted.
3. Where so many agree on no class, it holds those of the window that has it in the middle.

Times are whole seconds, so a span begins or ends a second beside the sound at times; where a
recording lasts little longer than a window, the few windows tell its parts apart less well.
"""

from typing import NamedTuple

import numpy as np

AGREE = 0.8  # share of the windows around a second: four of five


class Span(NamedTuple):
    """A stretch of a recording in which a class sounds, or nothing: then name and score are None.

    start, end: in seconds. score: of the class, in [0, 1], the mean over the windows around.
    """

    start: float
    end: float
    name: str | None
    score: float | None


def around(nb_windows: int, window_seconds: int) -> tuple[np.ndarray, np.ndarray]:
    """For each second of a recording the windows it lies in: first, and behind the last (int)."""
    seconds = np.arange(nb_windows + window_seconds - 1)
    first = np.maximum(0, seconds - window_seconds + 1)
    return first, np.minimum(seconds, nb_windows - 1) + 1


def means_around(values: np.ndarray, window_seconds: int) -> np.ndarray:
    """For each second the mean over the windows it lies in.

    values: (windows, classes). Returns float64 (seconds, classes).
    """
    first, behind = around(len(values), window_seconds)
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0, dtype=float)])
    return (sums[behind] - sums[first]) / (behind - first)[:, None]


def classes_of_seconds(labels: np.ndarray, silent: np.ndarray) -> np.ndarray:
    """Which classes hold in each second of a recording: bool (seconds, classes).

    labels: bool (windows, classes), a window each second. silent: bool (windows, seconds of a
    window), which of its seconds hold nothing.
    """
    nb_windows, window_seconds = silent.shape
    shares = means_around(labels, window_seconds)
    holds = shares >= AGREE - 1e-9  # the means are of sums of ones: but for rounding
    seconds = np.arange(len(shares))
    middle = np.clip(seconds - window_seconds // 2, 0, nb_windows - 1)
    holds = np.where(holds.any(axis=1, keepdims=True), holds, labels[middle])
    last = np.minimum(seconds, nb_windows - 1)
    return holds & ~silent[last, seconds - last][:, None]


def spans(
    labels: np.ndarray, scores: np.ndarray, silent: np.ndarray, seconds: float, classes: list[str]
) -> list[Span]:
    """The spans of a recording, by their start, those in which nothing sounds between them.

    labels, silent: see `classes_of_seconds`. scores: (windows, classes), in [0, 1]. seconds: of the
    recording, where the last span ends at the latest.
    """
    nb_seconds = int(np.ceil(seconds))
    holds = classes_of_seconds(labels, silent)[:nb_seconds]
    scores = means_around(scores, silent.shape[1])
    found = [Span(*run, None, None) for run in runs(~holds.any(axis=1))]
    for index, name in enumerate(classes):
        for start, end in runs(holds[:, index]):
            found.append(Span(start, end, name, float(scores[start:end, index].mean())))
    found = [span._replace(end=min(span.end, seconds)) for span in found]
    return sorted(found, key=lambda span: (span.start, span.end, span.name or ""))


def runs(flags: np.ndarray) -> list[list[int]]:
    """The runs of True among flags: [first, behind the last] of each."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    return edges.reshape(-1, 2).tolist()
