"""Plots of a run (learning curves, confusion, attention, the flow's bars) and of a summary."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import crs_lib
from pipeline.evaluation import metrics, strategies
from pipeline.evaluation.run_records import Run, read_predictions, read_record
from pipeline.files.sound_files import CLIP_SECONDS

# Script -> the validation figure that picks its epoch; of the no-counter baseline the last.
SELECT_BY = {
    crs_lib.COUNTER: "accuracy_balanced",
    crs_lib.SINGLE: "accuracy",
    crs_lib.TWO_LABEL: "exact_pair",
}
SELECT_BY_OF_BASELINE = "exact_match_balanced"
MISSED = "missed"  # in place of an answer, in a confusion matrix of several labels
NO_SOUND = -20  # dB, of a spectrogram's loudest bin; that of the softest ESC-10 clip is -19


def save_plot(figure: plt.Figure, path: Path, synthetic: bool) -> None:
    """Write a figure whole; one from the synthetic set says so."""
    finish(figure, synthetic)
    path.parent.mkdir(parents=True, exist_ok=True)
    with crs_lib.replaced_file(path) as part:
        figure.savefig(part, format="png", dpi=80)
    plt.close(figure)


def finish(figure: plt.Figure, synthetic: bool) -> None:
    """Lay a figure out; one from the synthetic set says so."""
    if synthetic:
        figure.text(0.99, 0.99, "SYNTHETIC data", color="red", ha="right", va="top", weight="bold")
    figure.tight_layout()


def plot_curves(run: Run, history: list[dict], best_epoch: int, select_by: str) -> None:
    """curves.png: losses and the validation figure that picks the epoch."""
    path = run.folder / "curves.png"
    draw_curves(path, run.synthetic, history, best_epoch, select_by)


def draw_curves(
    path: Path, synthetic: bool, history: list[dict], best_epoch: int, select_by: str
) -> None:
    """As plot_curves, into any file."""
    table = pd.DataFrame(history)
    epochs = table["epoch"] + 1
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5))
    left.plot(epochs, table["train_loss"], "o-", label="training")
    left.plot(epochs, table["val_loss"], "o-", label="validation")
    left.set(xlabel="epoch", ylabel="loss", title="loss")
    left.legend()
    right.plot(epochs, 100 * table[f"val_{select_by}"], "o-", color="C1", label="validation")
    right.axvline(best_epoch + 1, color="grey", linestyle=":", label="epoch taken")
    right.set(xlabel="epoch", ylim=(0, 102), title=f"{select_by.replace('_', ' ')} (%)")
    for axis in (left, right):
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_xlim(0.5, len(table) + 0.5)
    right.legend()
    save_plot(figure, path, synthetic)


def plot_confusion(
    run: Run, truth: pd.Series, answers: pd.Series, labels: list, title: str
) -> None:
    """confusion.png: how often each true label (row) got each answer (column), in clips."""
    title = f"{run.model}, set {run.constants['SET']}: {title}"
    draw_confusion(run.folder / "confusion.png", run.synthetic, truth, answers, labels, title)


def draw_confusion(
    path: Path, synthetic: bool, truth: pd.Series, answers: pd.Series, labels: list, title: str
) -> None:
    """As plot_confusion, into any file."""
    columns = [*labels, *[MISSED] * (MISSED in set(answers))]
    counts = pd.crosstab(truth, answers).reindex(index=labels, columns=columns, fill_value=0)
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    texts = counts.astype(str).where(counts > 0, "")
    draw_matrix(path, synthetic, shares, texts, ("answer", "truth"), title)


def draw_pairs(
    path: Path, synthetic: bool, truth: pd.Series, shares: pd.Series, title: str
) -> None:
    """How many per cent are right of each class's single clips (diagonal) and each pair's mixtures.

    truth: labels joined by +, sorted, each once. shares: in [0, 1], of each.
    """
    parts = truth.str.split("+")
    labels = sorted(parts.explode().unique())
    shares = shares.set_axis(pd.MultiIndex.from_arrays([parts.str[-1], parts.str[0]]))
    shares = shares.unstack().reindex(index=labels, columns=labels)
    texts = (100 * shares).round().astype("Int64").astype(str).where(shares.notna(), "")
    draw_matrix(path, synthetic, shares, texts, ("", ""), title)


def draw_matrix(
    path: Path,
    synthetic: bool,
    shares: pd.DataFrame,
    texts: pd.DataFrame,
    axes: tuple[str, str],
    title: str,
) -> None:
    """A square of shares in [0, 1] as shades of blue, with a text in each field."""
    size = 2.5 + 0.45 * len(shares)
    figure, axis = plt.subplots(figsize=(size + 1.2, size))
    axis.imshow(shares.to_numpy(dtype=float), cmap="Blues", vmin=0, vmax=1)
    for (row, column), text in np.ndenumerate(texts.to_numpy()):
        color = "w" if shares.iat[row, column] > 0.5 else "k"
        axis.text(column, row, text, ha="center", va="center", color=color)
    axis.set_xticks(range(len(shares.columns)), shares.columns, rotation=60, ha="right")
    axis.set_yticks(range(len(shares)), shares.index)
    axis.set(xlabel=axes[0], ylabel=axes[1], title=title)
    save_plot(figure, path, synthetic)


def plot_summary(results: Path, summary: dict, path: Path) -> list[Path]:
    """The plots of a summary, all its sets together, beside its JSON file `path`.

    Confusion of single clips by the single-label classifier; for every class and pair of classes
    how often the counter and the whole flow are right; the audit, where there is one. Returns
    their paths.
    """
    flows = pd.concat([read_predictions(results / run) for run in summary["flows"]])
    shares = metrics.shares_by_truth(flows)
    singles = pd.concat([read_predictions(results / run) for run in summary["singles"]])
    found = [path.with_name(f"{path.stem}_{n}.png") for n in ("confusion", "counter", "pairs")]
    labels = sorted(singles["truth"].unique())
    synthetic = summary["synthetic"]
    title = "single clips: the single-label classifier"
    draw_confusion(found[0], synthetic, singles["truth"], singles["labels"], labels, title)
    title = "counter: right count (%); diagonal: one class"
    draw_pairs(found[1], synthetic, shares["truth"], shares["counted_right"], title)
    title = "flow: exact match (%); diagonal: one class"
    draw_pairs(found[2], synthetic, shares["truth"], shares["exact_match"], title)
    if summary["audit"]:
        found.append(path.with_name(f"{path.stem}_audit.png"))
        draw_audit(found[-1], synthetic, summary["audit"])
    return found


def label_pairs(truth: pd.Series, answers: pd.Series) -> tuple[pd.Series, pd.Series]:
    """For a confusion matrix of labels joined by +: (class in the clip, predicted class) pairs.

    A class of the clip counts with itself where it was predicted, with MISSED where it was not, and
    with every predicted class that the clip does not hold.
    """
    pairs = [
        (here, answer)
        for labels, predicted in zip(truth.str.split("+"), answers.str.split("+"), strict=True)
        for here in labels
        for answer in [here if here in predicted else MISSED, *sorted({*predicted} - {*labels})]
    ]
    return tuple(pd.Series(column) for column in zip(*pairs, strict=True))


def plot_attention(
    run: Run, spectrograms: np.ndarray, attentions: np.ndarray, titles: list[str]
) -> None:
    """attention.png: clips' spectrograms, and over them where in time the counter attended.

    spectrograms: (clips, bins, frames), magnitude, drawn in decibels. attentions: (clips, frames).
    """
    figure, axes = plt.subplots(
        2, len(titles), figsize=(4.5 * len(titles), 4.5), height_ratios=(1, 2.5), squeeze=False
    )
    seconds = np.linspace(0, CLIP_SECONDS, spectrograms.shape[-1])
    rate = run.constants["SAMPLE_RATE"]
    for column, title in enumerate(titles):
        axes[0, column].plot(seconds, attentions[column], color="C3")
        axes[0, column].set(title=title, xlim=(0, CLIP_SECONDS), ylabel="attention")
        draw_spectrogram(axes[1, column], spectrograms[column], rate)
    save_plot(figure, run.folder / "attention.png", run.synthetic)


def plot_spectrogram(
    path: Path, synthetic: bool, spectrogram: np.ndarray, sample_rate: int
) -> None:
    """One clip's magnitudes (bins, frames), small."""
    figure, axis = plt.subplots(figsize=(5, 2.2))
    draw_spectrogram(axis, spectrogram, sample_rate)
    save_plot(figure, path, synthetic)


def draw_spectrogram(
    axis: plt.Axes, spectrogram: np.ndarray, sample_rate: int, seconds: float = CLIP_SECONDS
) -> None:
    """Magnitudes (bins, frames) of so many seconds in decibels, down to 80 below the loudest.

    What is softer than NO_SOUND at its loudest is drawn dark: silence is no loud sound.
    """
    decibels = 20 * np.log10(np.maximum(spectrogram, 1e-5))
    extent, loudest = (0, seconds, 0, sample_rate / 2000), max(decibels.max(), NO_SOUND)
    levels = {"vmin": loudest - 80, "vmax": loudest}
    axis.imshow(decibels, origin="lower", aspect="auto", extent=extent, **levels)
    axis.set(xlabel="time (s)", ylabel="frequency (kHz)")


def plot_flow(run: Run, record: dict) -> None:
    """flow.png: exact match of each strategy, with 95 % intervals."""
    draw_strategies(run.folder / "flow.png", run.synthetic, record)


def draw_strategies(path: Path, synthetic: bool, record: dict) -> None:
    """As plot_flow, into any file."""
    columns = [column for column in strategies.STRATEGIES if column in record["test"]]
    groups = {"single": "single clips", "mixture": "mixtures", "balanced": "macro average"}
    size = (11, 1 + 0.25 * len(columns))
    figure, axes = plt.subplots(1, len(groups), figsize=size, sharey=True)
    for axis, (group, title) in zip(axes, groups.items(), strict=True):
        name = f"exact_match_{group}"
        values = np.array([record["test"][column][name] for column in columns])
        lows, highs = np.array([record["test_interval"][column][name] for column in columns]).T
        errors = 100 * error_bars(values, lows, highs)
        labels = [strategies.STRATEGIES[column] for column in columns]
        axis.barh(labels, 100 * values, xerr=errors, capsize=3, ecolor="grey")
        axis.set(xlim=(0, 100), title=title)
    axes[0].invert_yaxis()
    axes[1].set_xlabel(f"exact match (%), test clips of set {record['set']}")
    save_plot(figure, path, synthetic)


def error_bars(values: np.ndarray, lows: np.ndarray, highs: np.ndarray) -> np.ndarray:
    """How far bars reach below and above the values, shape (2, values)."""
    # A quantile interval need not hold the point estimate: no bar then on that side.
    return np.maximum(0, (values - lows, highs - values))


def draw_audit(path: Path, synthetic: bool, answers: dict[str, dict]) -> None:
    """The share counted as two, with its 95 % interval, of every group of clips and over the level
    of a mixture's stem. answers: as `metrics.audit_answers` has them.
    """

    def shares(groups: Iterable[dict]) -> tuple[np.ndarray, np.ndarray]:
        of_groups = [group["counted_as_two"] for group in groups]
        found = 100 * np.array([[one[key] for key in ("mean", "low", "high")] for one in of_groups])
        means, lows, highs = found.T
        return means, error_bars(means, lows, highs)

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), width_ratios=(3, 2))
    groups = {group: answer for group, answer in answers.items() if "softer_db" not in answer}
    means, errors = shares(groups.values())
    left.barh(list(groups), means, xerr=errors, capsize=3, ecolor="grey")
    left.invert_yaxis()
    left.set(xlim=(0, 100), xlabel="counted as two (%)")
    softer = [answer for answer in answers.values() if "softer_db" in answer]
    levels = [answer["softer_db"] for answer in softer]
    softer_means, softer_errors = shares(softer)
    right.errorbar(levels, softer_means, softer_errors, fmt="o-", capsize=3)
    right.axhline(means[0], color="grey", linestyle=":", label=next(iter(groups)))
    right.set(ylim=(-3, 103), xlabel="one stem of a mixture softer by (dB)", title="mixtures")
    right.set_ylabel("counted as two (%)")
    right.legend()
    save_plot(figure, path, synthetic)


# ------------------------------------------------------------------- plots that a run lacks


def select_by(script: str, model: str) -> str:
    """The validation figure that picked a run's epoch."""
    is_baseline = script == crs_lib.TWO_LABEL and model.endswith(crs_lib.BOTH)
    return SELECT_BY_OF_BASELINE if is_baseline else SELECT_BY[script]


def draw_missing(folder: Path, target: Path) -> None:
    """Draw into `target` what a run of a training or of the flow lacks: curves.png where it has a
    history, confusion.png, and flow.png of the flow.
    """
    record = read_record(folder)
    script, synthetic = record["script"], record["synthetic"]
    if record["history"] and not (folder / "curves.png").exists():
        draw_curves(
            target / "curves.png",
            synthetic,
            record["history"],
            record["best_epoch"],
            select_by(script, record["model"]),
        )
    if script == crs_lib.FLOW and not (folder / "flow.png").exists():
        draw_strategies(target / "flow.png", synthetic, record)
    if not (folder / "confusion.png").exists():
        title = f"{record['model']}, set {record['set']}"
        table = read_predictions(folder)
        confusion = confused(script, table)
        draw_confusion(target / "confusion.png", synthetic, *confusion, title)


def confused(script: str, table: pd.DataFrame) -> tuple[pd.Series, pd.Series, list]:
    """Truth, answers and their labels, of the predictions of a script."""
    if script == crs_lib.COUNTER:
        return 1 + (table["recording_b"] != "").astype(int), table["count"], [1, 2]
    classes = sorted(set(table["truth"].str.split("+").explode()))
    if script == crs_lib.SINGLE:
        return table["truth"], table["labels"], classes
    column = "labels" if "labels" in table else "pair" if "pair" in table else "with_counter"
    return *label_pairs(table["truth"], table[column]), classes
