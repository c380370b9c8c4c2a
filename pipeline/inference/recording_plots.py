"""Plots of a recording: attention, spectrogram and timeline; the counter's score over the level."""

import warnings
from collections.abc import Sequence

import numpy as np

from pipeline.evaluation.plots import draw_spectrogram, plt

# No font has all characters that the name of a recording may have: boxes stand for the others.
warnings.filterwarnings("ignore", message="Glyph .* missing from font")


def draw_recording(
    title: str,
    answer: dict,
    spectrogram: np.ndarray,
    attention: np.ndarray | None,
    sample_rate: int,
) -> plt.Figure:
    """A recording: the counter's attention, if it has one, spectrogram, and when what sounds.

    answer: `seconds` and `spans`, as classify.answer has them. spectrogram: magnitude (bins,
    columns). attention: (columns,).
    """
    seconds, spans = answer["seconds"], answer["spans"]
    # Silence at the bottom, the class that begins first at the top.
    names = list(dict.fromkeys(span.name or "silence" for span in spans))
    names.sort(key=lambda name: name == "silence")
    heights = [*([] if attention is None else [1]), 2.5, 0.5 + 0.25 * len(names)]
    figure, axes = plt.subplots(
        len(heights), figsize=(9, 1.6 * sum(heights)), height_ratios=heights, sharex=True
    )
    *over, middle, below = axes
    draw_spectrogram(middle, spectrogram, sample_rate, seconds)
    middle.set_xlabel("")
    for axis in over:
        columns = (np.arange(len(attention)) + 0.5) * seconds / len(attention)
        axis.plot(columns, attention, color="C3")
        axis.set(ylabel="attention", ylim=(0, None))
    for span in spans:
        color = "C0" if span.name else "lightgrey"
        row = names.index(span.name or "silence")
        below.barh(row, span.end - span.start, left=span.start, height=0.8, color=color)
    below.set_yticks(range(len(names)), names)
    below.set(xlabel="time (s)", xlim=(0, seconds), ylim=(len(names) - 0.4, -0.6))
    # A name is no formula, whatever signs are in it.
    axes[0].set_title(title, parse_math=False)
    return figure


def draw_score_over_level(
    levels_db: Sequence[float], chances: np.ndarray, level_db: float
) -> plt.Figure:
    """The counter's probability of two classes over the level of a mixture's second sound.

    chances: of each of the levels (dB above the first sound), in [0, 1]. level_db: the one chosen.
    """
    figure, axis = plt.subplots(figsize=(9, 3))
    axis.plot(levels_db, chances, "o-")
    axis.plot(level_db, np.interp(level_db, levels_db, chances), "o", color="C3", markersize=10)
    axis.axhline(0.5, color="grey", linestyle=":")
    axis.set(xlabel="second sound above the first (dB)", ylabel="score of two", ylim=(-0.02, 1.02))
    axis.set_title("the counter's score of two")
    return figure
