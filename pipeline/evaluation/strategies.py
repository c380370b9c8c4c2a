"""Decision strategies: how a clip gets its class labels, one or two, from the networks' scores.

A strategy has scores of which the best label is taken, scores of which the best two are, and a
score of two classes. Whether a clip gets one label or two is decided by a threshold on that score:
the one that counts best, or the one optimised for exact match; or by the oracle count.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.evaluation import metrics
from pipeline.evaluation.metrics import Figures

# Column of predictions -> what it is. The no-counter baseline is the multi-label network.
STRATEGIES = {
    "with_counter": "overall flow",
    "with_counter_for_exact_match": "overall flow (threshold: exact match)",
    "oracle_count": "overall flow, oracle count",
    "no_counter": "no-counter baseline",
    "baseline_with_counter": "baseline with the counter's count",
    "baseline_with_counter_for_exact_match": "baseline with that count (threshold: exact match)",
    "baseline_oracle_count": "baseline, oracle count",
    "joint": "joint network",
    "joint_for_exact_match": "joint network (threshold: exact match)",
    "joint_oracle_count": "joint network, oracle count",
    "ensemble": "ensemble of flow and baseline",
    "ensemble_oracle_count": "ensemble, oracle count",
}
# Strategy -> its column under the threshold optimised for exact match, and under the oracle count.
# The baseline's own threshold is optimised for exact match already.
OPTIMISED = {
    "with_counter": "with_counter_for_exact_match",
    "baseline_with_counter": "baseline_with_counter_for_exact_match",
    "joint": "joint_for_exact_match",
    "ensemble": "ensemble",
}
ORACLE = {
    "with_counter": "oracle_count",
    "baseline_with_counter": "baseline_oracle_count",
    "joint": "joint_oracle_count",
    "ensemble": "ensemble_oracle_count",
}
# Of two columns, what the first gains over the second in balanced exact match. `no_counter`,
# `ensemble` and what ends in `for_exact_match` have thresholds optimised alike.
GAINS = (
    *((column, "no_counter") for column in STRATEGIES if column != "no_counter"),
    ("oracle_count", "baseline_oracle_count"),
    ("with_counter_for_exact_match", "joint_for_exact_match"),
    ("ensemble", "with_counter_for_exact_match"),
)


class Strategy(NamedTuple):
    """What labels are decided by."""

    one: np.ndarray  # float (clips, classes), of which the best label is taken; logits will do
    two: np.ndarray  # float (clips, classes), of which the best two are
    score_two: np.ndarray | None = None  # float (clips,) in [0, 1], of two classes
    is_two: np.ndarray | None = None  # bool (clips,), the decision by the strategy's own threshold


def best_labels(scores: np.ndarray, counts: int | np.ndarray, classes: list[str]) -> np.ndarray:
    """The best one or two labels of each clip, in sorted order, joined by +.

    scores: (clips, classes). counts: 1 or 2, one for all clips or one each. Returns texts (clips,).
    """
    names = np.array(classes, dtype=object)
    first, second = np.sort(np.argsort(-scores, axis=1, kind="stable")[:, :2], axis=1).T
    pairs = names[first] + "+" + names[second]
    return np.where(np.asarray(counts) == 2, pairs, names[scores.argmax(axis=1)])


def second_exceeds(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Without a counter: where the second-best score, of (clips, classes), exceeds a threshold."""
    return np.sort(scores, axis=1)[:, -2] > threshold


def labels_over_threshold(scores: np.ndarray, threshold: float, classes: list[str]) -> np.ndarray:
    """The best label, and the second where its score exceeds a threshold: texts (clips,)."""
    return best_labels(scores, 1 + second_exceeds(scores, threshold), classes)


def labels(strategy: Strategy, is_two: np.ndarray, classes: list[str]) -> np.ndarray:
    """Labels by a strategy, texts (clips,): the best two where `is_two`, bool (clips,), says so."""
    best_one = best_labels(strategy.one, 1, classes)
    return np.where(is_two, best_labels(strategy.two, 2, classes), best_one)


def joint_labels(
    scores: np.ndarray, is_two: np.ndarray, is_mixture: np.ndarray, classes: list[str]
) -> dict[str, np.ndarray]:
    """A joint network's `labels`, as many as it counts, and `oracle_labels`, as many as there are.

    scores: of its class labels, (clips, classes). is_two, is_mixture: its count and the truth, bool
    (clips,). Texts (clips,) both.
    """
    joint = Strategy(scores, scores)
    return {
        "labels": labels(joint, is_two, classes),
        "oracle_labels": labels(joint, is_mixture, classes),
    }


def all_labels(
    strategies: dict[str, Strategy],
    is_mixture: np.ndarray,
    thresholds: dict[str, float],
    classes: list[str],
) -> dict[str, np.ndarray]:
    """Each column of STRATEGIES that these strategies have: its labels, texts (clips,).

    is_mixture: bool (clips,), the oracle. thresholds: as `optimise` has them.
    """
    decisions = {}
    for name, strategy in strategies.items():
        if strategy.is_two is not None:
            decisions[name] = strategy, strategy.is_two
        if name in OPTIMISED:
            column = OPTIMISED[name]
            decisions[column] = strategy, strategy.score_two > thresholds[column]
            decisions[ORACLE[name]] = strategy, is_mixture
    return {
        column: labels(*decisions[column], classes) for column in STRATEGIES if column in decisions
    }


def optimise(
    strategies: dict[str, Strategy], truth: np.ndarray, is_mixture: np.ndarray, classes: list[str]
) -> dict[str, float]:
    """The thresholds on the score of two with the best balanced exact match: column -> threshold.

    The clips are those of validation. truth: labels, texts (clips,). is_mixture: bool (clips,).
    """
    thresholds = {}
    for name, column in OPTIMISED.items():
        if name in strategies:
            strategy = strategies[name]
            is_right = labels(strategy, is_mixture, classes) == truth
            thresholds[column] = metrics.best_threshold(
                is_mixture, strategy.score_two, is_right & ~is_mixture, is_right & is_mixture
            )
    return thresholds


def flow_figures(predictions: pd.DataFrame, weights: np.ndarray) -> Figures:
    """Exact match in each of the STRATEGIES that the predictions hold; the GAINS between them, of
    the same draws; the shortcut baseline's counting, and what the counter has above it.
    """
    figures = {}
    for column in [column for column in STRATEGIES if column in predictions]:
        for name, value in metrics.exact_match_figures(predictions, column, weights).items():
            figures[f"{column}.{name}"] = value
    for better, worse in GAINS:
        if better in predictions and worse in predictions:
            figures[f"gain.{better}_over_{worse}"] = (
                figures[f"{better}.exact_match_balanced"] - figures[f"{worse}.exact_match_balanced"]
            )
    counts = predictions.drop(columns="count").rename(columns={"shortcut_count": "count"})
    shortcuts = metrics.counter_figures(counts, weights)["accuracy_balanced"]
    counter = metrics.counter_figures(predictions, weights)["accuracy_balanced"]
    return {
        **figures,
        "gain.counter_over_shortcuts": counter - shortcuts,
        "shortcut_balanced": shortcuts,
    }
