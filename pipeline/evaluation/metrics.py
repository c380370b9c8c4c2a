"""The figures of each task, from a table of predictions, and their 95 % intervals.

A table of predictions has one row a clip: `clip`, `recording_a`, `recording_b` (empty for a
single clip), `truth` (class labels joined by +), and what the task predicted. Every figure is a
function of that table and of weights over its clips, so that a bootstrap is the same figure under
other weights.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from scipy.special import stdtrit

NB_DRAWS = 1000  # of the bootstrap
Figures = dict[str, np.ndarray]


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of `values` (clips,) under each row of `weights` (draws, clips): shape (draws,)."""
    total = weights.sum(axis=1)
    return np.divide(weights @ values, total, out=np.full(len(total), np.nan), where=total > 0)


def per_count(correct: np.ndarray, predictions: pd.DataFrame, weights: np.ndarray) -> Figures:
    """Share of correct clips among singles, among mixtures, and their macro average (balanced)."""
    is_mixture = predictions["recording_b"].to_numpy() != ""
    single = weighted_mean(correct, weights * ~is_mixture)
    mixture = weighted_mean(correct, weights * is_mixture)
    return {"single": single, "mixture": mixture, "balanced": (single + mixture) / 2}


def counter_figures(predictions: pd.DataFrame, weights: np.ndarray) -> Figures:
    """Accuracy of the column `count` (1 or 2) on singles, on mixtures, and balanced."""
    truth = np.where(predictions["recording_b"] == "", 1, 2)
    found = per_count((predictions["count"] == truth).to_numpy(float), predictions, weights)
    return {f"accuracy_{name}": value for name, value in found.items()}


def single_figures(predictions: pd.DataFrame, weights: np.ndarray) -> Figures:
    """Accuracy of the column `labels`."""
    correct = (predictions["labels"] == predictions["truth"]).to_numpy(float)
    return {"accuracy": weighted_mean(correct, weights)}


def two_label_figures(predictions: pd.DataFrame, weights: np.ndarray) -> Figures:
    """Exact pair of the column `pair` and mean average precision of `score_*`, on mixtures.

    With the column `labels` (of a network trained on both) also exact match.
    """
    is_mixture = (predictions["recording_b"] != "").to_numpy()
    mixtures, mixture_weights = predictions[is_mixture], weights[:, is_mixture]
    correct = (mixtures["pair"] == mixtures["truth"]).to_numpy(float)
    classes = [name.removeprefix("score_") for name in mixtures if name.startswith("score_")]
    truths = mixtures["truth"].str.split("+")
    precisions = [
        average_precision(
            mixtures[f"score_{name}"].to_numpy(),
            truths.map(lambda labels, name=name: name in labels).to_numpy(bool),
            mixture_weights,
        )
        for name in classes
    ]
    # A draw may leave a class without a positive clip: the mean is over the others.
    by_class = pd.DataFrame(precisions)
    figures = {
        "exact_pair": weighted_mean(correct, mixture_weights),
        "mean_average_precision": by_class.mean().to_numpy(),  # NaN where there is none
    }
    if "labels" in predictions:
        figures |= exact_match_figures(predictions, "labels", weights)
    return figures


def exact_match_figures(predictions: pd.DataFrame, column: str, weights: np.ndarray) -> Figures:
    """Exact match (subset accuracy): share of clips whose labels in `column` are the truth, none
    missing and none too many.
    """
    correct = (predictions[column] == predictions["truth"]).to_numpy(float)
    found = per_count(correct, predictions, weights)
    return {f"exact_match_{name}": value for name, value in found.items()}


def shares_by_truth(flow: pd.DataFrame) -> pd.DataFrame:
    """How often a flow is right on the single clips of each class and the mixtures of each pair.

    flow: its predictions, of one or more sets. Returns truth, clips, and the shares counted_right,
    exact_match (of the flow) and oracle_exact_match (the same with the oracle count).
    """
    right = pd.DataFrame(
        {
            "truth": flow["truth"],
            "counted_right": flow["count"] == 1 + flow["truth"].str.count(r"\+"),
            "oracle_exact_match": flow["oracle_count"] == flow["truth"],
            "exact_match": flow["with_counter"] == flow["truth"],
        }
    )
    shares = right.groupby("truth").mean()
    shares.insert(0, "clips", right.groupby("truth").size())
    return shares.reset_index()


def audit_figures(predictions: pd.DataFrame, weights: np.ndarray) -> Figures:
    """Share of the clips of each `group` whose `count` is two, and `above_alone`, how much more
    that is than of the single clips, the first group.
    """
    groups, is_two = predictions["group"], (predictions["count"] == 2).to_numpy(float)
    shares = {}
    for name in groups.unique():
        rows = np.flatnonzero(groups == name)
        shares[name] = weighted_mean(is_two[rows], weights[:, rows])
    alone = shares[groups.iloc[0]]
    above = {f"above_alone.{name}": share - alone for name, share in shares.items()}
    return {f"counted_as_two.{name}": share for name, share in shares.items()} | above


def joint_figures(predictions: pd.DataFrame, weights: np.ndarray) -> Figures:
    """Of a joint network: with the oracle count (`oracle_labels`) accuracy on single clips, exact
    pair on mixtures; with its own count (`labels`) exact match.
    """
    oracle = exact_match_figures(predictions, "oracle_labels", weights)
    own = exact_match_figures(predictions, "labels", weights)
    return {
        "accuracy": oracle["exact_match_single"],
        "exact_pair": oracle["exact_match_mixture"],
        "exact_match_balanced": own["exact_match_balanced"],
    }


def shift_figures(predictions: pd.DataFrame, weights: np.ndarray) -> Figures:
    """A joint network's figures of clips under each `shift`, the first being none; of each figure
    its `mean of the shifts`, and what is `lost` by them.
    """
    figures = {}
    shifts = predictions["shift"].unique()
    for shift in shifts:
        rows = np.flatnonzero(predictions["shift"] == shift)
        table, some = predictions.iloc[rows], weights[:, rows]
        counted = counter_figures(table, some)["accuracy_balanced"]
        found = {"accuracy_balanced": counted, **joint_figures(table, some)}
        figures |= {f"{shift}.{name}": value for name, value in found.items()}
    for name in found:
        shifted = np.mean([figures[f"{shift}.{name}"] for shift in shifts[1:]], axis=0)
        figures[f"mean of the shifts.{name}"] = shifted
        figures[f"lost.{name}"] = figures[f"{shifts[0]}.{name}"] - shifted
    return figures


def average_precision(scores: np.ndarray, positives: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision under each row of weights, as scikit-learn defines it.

    scores: (clips,). positives: bool (clips,). weights: (draws, clips). Returns (draws,), NaN
    where no positive clip has weight. Clips of equal score count as one threshold.
    """
    order = np.argsort(-scores, kind="stable")
    # The last clip of each run of equal scores.
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    everything = np.cumsum(weights[:, order], axis=1)[:, last]
    hits = np.cumsum(weights[:, order] * positives[order], axis=1)[:, last]
    precision = hits / np.maximum(everything, 1e-12)
    total = hits[:, -1]
    area = (np.diff(hits, axis=1, prepend=0) * precision).sum(axis=1)
    return np.divide(area, total, out=np.full(len(total), np.nan), where=total > 0)


def best_threshold(
    is_mixture: np.ndarray,
    scores_of_two: np.ndarray,
    one_is_right: np.ndarray,
    two_is_right: np.ndarray,
) -> float:
    """The threshold on a clip's score of being two that gives the best balanced share of right.

    is_mixture: bool (clips,). scores_of_two: (clips,) in [0, 1]; a clip is answered as two where
    its score exceeds the threshold. one_is_right, two_is_right: bool (clips,), whether the answer
    as one, and as two, would be right. Of equally good thresholds the middle one is taken.
    """
    order = np.argsort(scores_of_two, kind="stable")
    # One threshold below all scores, and one behind each run of equal ones.
    steps = np.append(0.0, scores_of_two[order])
    weight = np.where(is_mixture, 1 / max(1, is_mixture.sum()), 1 / max(1, (~is_mixture).sum()))
    gain_of_one = weight * (one_is_right.astype(float) - two_is_right)
    right = (weight * two_is_right).sum() + np.append(0.0, np.cumsum(gain_of_one[order]))
    last = np.append(np.diff(steps) != 0, True)
    good = np.flatnonzero(last & (right >= right[last].max() - 1e-12))
    middle = good[len(good) // 2]
    above = steps[middle + 1] if middle + 1 < len(steps) else 1.0
    return float((steps[middle] + above) / 2)


# ------------------------------------------------------------------------------------ intervals


def draw_weights(
    tables: list[pd.DataFrame], nb_draws: int = NB_DRAWS, seed: int = 0
) -> Iterator[np.ndarray]:
    """Bootstrap over recordings: weights of the clips of each table, each (nb_draws, clips).

    A draw takes as many recordings as the tables have, with replacement; a single clip weighs as
    often as its recording was drawn, a mixture the product of its two recordings' counts (of two
    clips of one recording: its count). All tables share the draws, as they share recordings.
    """
    columns = [table[side] for table in tables for side in ("recording_a", "recording_b")]
    recordings = np.setdiff1d(np.concatenate(columns).astype(str), [""])
    chances = np.full(len(recordings), 1 / len(recordings))
    counts = np.random.default_rng(seed).multinomial(len(recordings), chances, size=nb_draws)
    # A row for each recording, and one of ones for the second that a single clip has not.
    counts = np.vstack([counts.T, np.ones(nb_draws)])
    for table in tables:
        first, second = (table[side].to_numpy(str) for side in ("recording_a", "recording_b"))
        second = np.where(second == first, "", second)
        rows = np.searchsorted(recordings, first), np.searchsorted(recordings, second)
        yield (counts[rows[0]] * counts[np.where(second == "", -1, rows[1])]).T


def unweighted(
    figures: Callable[[pd.DataFrame, np.ndarray], Figures], table: pd.DataFrame
) -> dict[str, float]:
    """Each figure of one table, every clip counting once."""
    found = figures(table, np.ones((1, len(table))))
    return {name: float(value[0]) for name, value in found.items()}


def with_intervals(
    figures: Callable[[pd.DataFrame, np.ndarray], Figures], tables: list[pd.DataFrame]
) -> dict[str, dict]:
    """Each figure of several tables (one a set): mean, std, its 95 % interval, value per set.

    Returns {name: {"mean", "std", "low", "high", "sets"}}; the interval is of the mean over sets.
    """
    values = [unweighted(figures, table) for table in tables]
    weights = draw_weights(tables)  # table after table: those of many would fill gigabytes
    draws = [figures(table, weight) for table, weight in zip(tables, weights, strict=True)]
    found = {}
    for name in values[0]:
        per_set = [value[name] for value in values]
        low, high = np.nanquantile(np.mean([draw[name] for draw in draws], axis=0), (0.025, 0.975))
        std = float(np.std(per_set, ddof=1)) if len(per_set) > 1 else 0.0
        mean = float(np.mean(per_set))
        found[name] = {"mean": mean, "std": std, "low": float(low), "high": float(high)}
        found[name]["sets"] = per_set
    return found


def over_sets(figure: dict) -> tuple[float, float]:
    """The 95 % interval of a figure's mean by its spread over sets (Student's t), each of which
    was trained once: so chance in training is in it, which the bootstrap over clips leaves out.

    figure: as `with_intervals` has it, of two sets or more.
    """
    nb_sets = len(figure["sets"])
    reach = stdtrit(nb_sets - 1, 0.975) * figure["std"] / math.sqrt(nb_sets)
    return figure["mean"] - reach, figure["mean"] + reach


def audit_answers(tables: list[pd.DataFrame]) -> dict[str, dict]:
    """The answers of an audit, of several sets their mean.

    tables: of each set the audited clips: group, softer_db (NaN where no stem is softer),
    recording_a, recording_b, count. Groups that not every set has are left out: where all
        training mixtures were drawn, none was never drawn.
    Returns group -> {"clips", "counted_as_two" and "above_alone" as `with_intervals` has figures,
    and of mixtures with a softer stem "softer_db"}.
    """
    shared = set.intersection(*(set(table["group"]) for table in tables))
    tables = [table[table["group"].isin(shared)] for table in tables]
    found = with_intervals(audit_figures, tables)
    answers = {}
    for group, clips in pd.concat(tables).groupby("group", sort=False):
        shares = {name: found[f"{name}.{group}"] for name in ("counted_as_two", "above_alone")}
        softer = {} if clips["softer_db"].isna().all() else {"softer_db": clips["softer_db"].max()}
        answers[group] = {"clips": len(clips), **shares, **softer}
    return answers
