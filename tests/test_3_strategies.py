"""Decision strategies and what one gains over another; precision, thresholds and shares."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from pipeline.evaluation import metrics, strategies

STRATEGIES = (
    "with_counter",
    "with_counter_for_exact_match",
    "oracle_count",
    "no_counter",
    "baseline_with_counter",
    "baseline_with_counter_for_exact_match",
    "baseline_oracle_count",
    "joint",
    "joint_for_exact_match",
    "joint_oracle_count",
    "ensemble",
    "ensemble_oracle_count",
)
NB_SINGLES, NB_MIXTURES = 5, 8
TRUTH = ["a", "b", "c", "a", "b", "a+b", "a+c", "b+c", "a+b", "a+c", "b+c", "a+b", "b+c"]
# Every clip counts another number of times, in the second row some not at all.
WEIGHTS = np.array(
    [[1, 2, 3, 5, 7, 2, 3, 1, 4, 6, 5, 8, 9], [0, 1, 0, 2, 4, 0, 3, 0, 0, 7, 1, 2, 0]]
)


def flow():
    """Right answers of every strategy on clips of its own choice, and counts of two kinds."""
    rng = np.random.default_rng(7)
    is_single = np.arange(len(TRUTH)) < NB_SINGLES
    columns = {name: np.where(rng.random(len(TRUTH)) < 0.5, TRUTH, "none") for name in STRATEGIES}
    return pd.DataFrame(
        {
            "recording_a": [str(i) for i in range(len(TRUTH))],
            "recording_b": np.where(is_single, "", "77"),
            "truth": TRUTH,
            "count": [1, 2, 1, 1, 2, 2, 2, 1, 2, 2, 2, 1, 2],
            "shortcut_count": [2, 2, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1, 2],
            **columns,
        }
    )


def shares_of(right, weights):
    """Share of right clips among singles and among mixtures, and their mean, clip by clip."""
    found = []
    for clips in (range(NB_SINGLES), range(NB_SINGLES, len(TRUTH))):
        found.append(sum(weights[i] * right[i] for i in clips) / sum(weights[i] for i in clips))
    return {"single": found[0], "mixture": found[1], "balanced": (found[0] + found[1]) / 2}


def test_the_figures_of_a_flow_are_those_of_a_loop_over_its_clips():
    table = flow()
    got = strategies.flow_figures(table, WEIGHTS)
    counts = [1] * NB_SINGLES + [2] * NB_MIXTURES
    for draw, weights in enumerate(WEIGHTS.tolist()):
        expected, of_strategy = {}, {}
        for name in STRATEGIES:
            right = [answer == truth for answer, truth in zip(table[name], TRUTH, strict=True)]
            of_strategy[name] = shares_of(right, weights)
            expected |= {f"{name}.exact_match_{kind}": v for kind, v in of_strategy[name].items()}
        pairs = [(name, "no_counter") for name in STRATEGIES if name != "no_counter"]
        pairs.append(("oracle_count", "baseline_oracle_count"))
        pairs.append(("with_counter_for_exact_match", "joint_for_exact_match"))
        pairs.append(("ensemble", "with_counter_for_exact_match"))
        for a, b in pairs:
            gain = of_strategy[a]["balanced"] - of_strategy[b]["balanced"]
            expected[f"gain.{a}_over_{b}"] = gain
        counted, of_shortcuts = (
            shares_of([n == m for n, m in zip(table[column], counts, strict=True)], weights)
            for column in ("count", "shortcut_count")
        )
        expected["gain.counter_over_shortcuts"] = counted["balanced"] - of_shortcuts["balanced"]
        expected["shortcut_balanced"] = of_shortcuts["balanced"]
        assert list(got) == list(expected)
        assert {name: values[draw] for name, values in got.items()} == pytest.approx(expected)
    balanced = [got[f"{name}.exact_match_balanced"][0] for name in STRATEGIES]
    assert len(set(balanced)) == len(
        STRATEGIES
    )  # else a gain could be of another strategy unnoticed


def test_a_flow_has_the_figures_of_the_strategies_it_holds():
    kept = ["with_counter", "with_counter_for_exact_match", "no_counter", "joint_for_exact_match"]
    got = strategies.flow_figures(flow().drop(columns=set(STRATEGIES) - set(kept)), WEIGHTS)
    gains = [name.removeprefix("gain.") for name in got if name.startswith("gain.")]
    assert gains == [
        "with_counter_over_no_counter",
        "with_counter_for_exact_match_over_no_counter",
        "joint_for_exact_match_over_no_counter",
        "with_counter_for_exact_match_over_joint_for_exact_match",
        "counter_over_shortcuts",
    ]
    assert [name.split(".")[0] for name in got][:12:3] == kept


def test_the_label_of_a_strategy_says_what_it_is():
    assert tuple(strategies.STRATEGIES) == STRATEGIES
    for name, words in strategies.STRATEGIES.items():
        assert ("oracle count" in words) == ("oracle_count" in name), name
        assert ("(threshold: exact match)" in words) == name.endswith("_for_exact_match"), name
        assert ("joint network" in words) == name.startswith("joint"), name
        assert ("ensemble" in words) == name.startswith("ensemble"), name
        is_baseline = name.startswith(("baseline", "no_counter")) or name == "ensemble"
        assert ("baseline" in words) == is_baseline, name
    assert len(set(strategies.STRATEGIES.values())) == len(STRATEGIES)
    assert {*strategies.OPTIMISED.values(), *strategies.ORACLE.values()} < set(STRATEGIES)
    assert strategies.OPTIMISED.keys() == strategies.ORACLE.keys()


def test_single_clips_are_right_by_their_labels():
    table = pd.DataFrame({"truth": ["a", "b", "b"], "labels": ["a", "a", "b"], "pair": ["z"] * 3})
    got = metrics.single_figures(table, np.array([[1, 1, 1], [1, 5, 2], [0, 0, 0]]))
    assert list(got) == ["accuracy"]
    assert got["accuracy"] == pytest.approx([2 / 3, 3 / 8, np.nan], nan_ok=True)


def test_two_label_figures_against_scikit_learn_class_by_class():
    """One class's name is part of another's; a draw may leave a class without a positive clip."""
    table = pd.DataFrame(
        {
            "recording_a": list("123456"),
            "recording_b": ["", "2", "3", "4", "", "6"],
            "truth": ["dog", "dog+ox", "dog+hotdog", "hotdog+ox", "ox", "dog+ox"],
            "labels": ["dog", "dog", "dog+hotdog", "dog+ox", "dog", "dog+ox"],
            "pair": ["dog+ox", "dog+ox", "dog+ox", "hotdog+ox", "dog+ox", "dog+hotdog"],
            "score_dog": [0.9, 0.4, 0.6, 0.6, 0.8, 0.1],
            "score_hotdog": [0.8, 0.7, 0.7, 0.2, 0.9, 0.3],
            "score_ox": [0.7, 0.2, 0.3, 0.9, 0.1, 0.6],
        }
    )
    weights = np.array([[1, 1, 1, 1, 1, 1], [3, 2, 0, 0, 5, 1], [0, 1, 4, 2, 9, 3]])
    mixtures = [1, 2, 3, 5]
    got = metrics.two_label_figures(table, weights)
    for draw, weight in enumerate(weights[:, mixtures]):
        right = (table["pair"] == table["truth"])[mixtures]
        assert got["exact_pair"][draw] == pytest.approx(np.average(right, weights=weight))
        precisions = []
        for name in ("dog", "hotdog", "ox"):
            truth = [name in table["truth"][i].split("+") for i in mixtures]
            scores = table[f"score_{name}"][mixtures]
            if any(truth & (weight > 0)):
                precisions.append(average_precision_score(truth, scores, sample_weight=weight))
        assert len(precisions) == (2 if draw == 1 else 3)
        assert got["mean_average_precision"][draw] == pytest.approx(np.mean(precisions))
    kinds = {"exact_match_single": [0.5, 3 / 8, 0], "exact_match_mixture": [0.5, 1 / 3, 0.7]}
    assert got["exact_match_single"] == pytest.approx(kinds["exact_match_single"])
    assert got["exact_match_mixture"] == pytest.approx(kinds["exact_match_mixture"])
    without = metrics.two_label_figures(table.drop(columns="labels"), weights)
    assert set(without) == {"exact_pair", "mean_average_precision"}


def test_average_precision_by_hand():
    """Of clips in the order of their scores 1, (2, 3), 4 the second and fourth are positive."""
    scores, positives = np.array([0.2, 0.9, 0.5, 0.5]), np.array([True, False, True, False])
    weights = np.array([[1.0, 1, 1, 1], [3, 1, 2, 1], [1, 1, 0, 1], [0, 1, 0, 1], [0.25, 0, 0, 0]])
    got = metrics.average_precision(scores, positives, weights)
    expected = [(1 / 3 + 2 / 4) / 2, (2 * 2 / 4 + 3 * 5 / 7) / 5, 1 / 3, np.nan, 1]
    assert got == pytest.approx(expected, nan_ok=True)


def chosen_by_hand(is_mixture, scores, one_is_right, two_is_right):
    """Every threshold that answers otherwise, one after the other, in exact fractions."""
    edges = [*sorted({0.0, *scores}), 1.0]
    kinds, shares = [sum(is_mixture), sum(not m for m in is_mixture)], []
    for edge in edges[:-1]:
        right = [Fraction(0), Fraction(0)]
        for mixture, score, one, two in zip(
            is_mixture, scores, one_is_right, two_is_right, strict=True
        ):
            right[0 if mixture else 1] += int(two if score > edge else one)
        shares.append(sum(r / n for r, n in zip(right, kinds, strict=True) if n))
    good = [i for i, value in enumerate(shares) if value == max(shares)]
    middle = good[len(good) // 2]
    return (edges[middle] + edges[middle + 1]) / 2, len(good)


def test_of_equally_good_thresholds_the_middle_one_is_taken():
    rng = np.random.default_rng(0)
    ties = []
    for nb_mixtures in [0, 1, 2, 5, 7, 11, 12] * 40:
        is_mixture = rng.permutation(np.arange(12) < nb_mixtures)
        scores = rng.integers(0, 9, 12) / 8  # 0 and 1 among them, and some twice
        one, two = rng.random((2, 12)) < [[0.5], [0.6]]
        expected, nb_good = chosen_by_hand(
            is_mixture.tolist(), scores.tolist(), one.tolist(), two.tolist()
        )
        assert metrics.best_threshold(is_mixture, scores, one, two) == expected
        ties.append(nb_good)
    assert {1, 2, 3, 4} <= set(ties)


@pytest.mark.parametrize(
    ("scores", "knows", "threshold"),
    [
        ([0.1, 0.3, 0.6, 0.9], [0, 0, 1, 1], 0.45),  # the middle between the two that matter
        ([0.4, 0.4, 0.4, 0.4], [0, 0, 1, 1], 0.7),  # as good below as above: above
        ([0.4, 0.4, 0.4, 0.4], [1, 1, 1, 1], 0.2),
        ([0.2, 0.5, 0.6, 0.9], [0, 0, 0, 0], 0.95),
        ([0.2, 0.5, 0.6, 0.9], [1, 1, 1, 1], 0.1),
    ],
)
def test_a_threshold_lies_halfway_between_two_scores(scores, knows, threshold):
    is_mixture = np.array(knows, dtype=bool)
    got = metrics.best_threshold(is_mixture, np.array(scores), ~is_mixture, is_mixture)
    assert got == pytest.approx(threshold)


def test_shares_by_truth_are_counted_truth_by_truth():
    flow = pd.DataFrame(
        [
            ("b_c", 1, "b_c", "b_c"),
            ("a", 1, "b_c", "a"),
            ("a", 1, "b_c", "b_c"),
            ("a", 2, "b_c", "b_c"),
            ("a", 1, "a", "b_c"),
            ("a+b_c", 2, "a+b_c", "a+b_c"),
            ("a+b_c", 1, "a+b_c", "d"),
            ("a+b_c", 1, "a+b_c", "a"),
            ("a+b_c", 1, "a+d", "a"),
        ],
        columns=["truth", "count", "oracle_count", "with_counter"],
    )
    got = metrics.shares_by_truth(flow)
    assert list(got) == ["truth", "clips", "counted_right", "oracle_exact_match", "exact_match"]
    assert got.to_numpy().tolist() == [
        ["a", 4, 0.75, 0.25, 0.25],
        ["a+b_c", 4, 0.25, 0.75, 0.25],
        ["b_c", 1, 1, 1, 1],
    ]
    assert got["clips"].dtype.kind == "i"
