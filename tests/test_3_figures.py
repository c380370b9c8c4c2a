"""Figures, thresholds, intervals and their pictures, against slow direct computations."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from sklearn.metrics import average_precision_score
from torch import nn

from pipeline.evaluation import metrics, plots, strategies
from pipeline.networks import heads


def table(truths, recordings, **columns):
    a, b = zip(*recordings, strict=True)
    return pd.DataFrame({"truth": truths, "recording_a": a, "recording_b": b, **columns})


MIXED = table(
    ["x", "x", "y", "x+y", "x+y"],
    [("1", ""), ("2", ""), ("3", ""), ("1", "3"), ("2", "3")],
    count=[1, 2, 1, 2, 1],
    labels=["x", "y", "y", "x+y", "x"],
)


def test_balanced_accuracy_is_the_mean_of_the_two_kinds():
    figures = metrics.unweighted(metrics.counter_figures, MIXED)
    assert figures == pytest.approx(
        {"accuracy_single": 2 / 3, "accuracy_mixture": 1 / 2, "accuracy_balanced": 7 / 12}
    )
    exact = metrics.exact_match_figures(MIXED, "labels", np.ones((1, 5)))
    assert exact["exact_match_balanced"] == pytest.approx(7 / 12)


def test_average_precision_is_scikit_learns():
    rng = np.random.default_rng(0)
    scores = np.round(rng.random(60), 1)  # with ties
    positives = rng.random(60) < 0.3
    weights = np.vstack([np.ones(60), rng.integers(0, 4, (5, 60))]).astype(float)
    got = metrics.average_precision(scores, positives, weights)
    for value, weight in zip(got, weights, strict=True):
        expected = average_precision_score(positives, scores, sample_weight=weight)
        assert value == pytest.approx(expected)
    assert np.isnan(metrics.average_precision(scores, positives, weights * ~positives)).all()


def test_two_label_figures_look_at_mixtures_only():
    predictions = table(
        ["x", "x+y", "x+z"],
        [("1", ""), ("1", "2"), ("1", "3")],
        pair=["y+z", "x+y", "x+y"],
        score_x=[0.0, 0.9, 0.8],
        score_y=[0.9, 0.8, 0.9],
        score_z=[0.9, 0.1, 0.2],
    )
    figures = metrics.unweighted(metrics.two_label_figures, predictions)
    # x: both hold it; y: the one that holds it comes second; z: the one that holds it comes first.
    assert figures == pytest.approx(
        {"exact_pair": 0.5, "mean_average_precision": (1 + 0.5 + 1) / 3}
    )
    figures = metrics.unweighted(
        metrics.two_label_figures, predictions.assign(labels=["x", "x+y", "x"])
    )
    assert figures["exact_match_balanced"] == pytest.approx(0.75)


def test_a_clip_weighs_the_product_of_its_recordings_counts():
    weights = list(metrics.draw_weights([MIXED, MIXED.iloc[:3]], nb_draws=200, seed=1))
    assert weights[0].shape == (200, 5)
    np.testing.assert_array_equal(weights[0][:, :3], weights[1])
    np.testing.assert_array_equal(weights[0][:, :3].sum(axis=1), 3)
    np.testing.assert_array_equal(weights[0][:, 3], weights[0][:, 0] * weights[0][:, 2])
    np.testing.assert_array_equal(weights[0][:, 4], weights[0][:, 1] * weights[0][:, 2])


def test_clips_of_one_recording_widen_the_interval():
    rng = np.random.default_rng(0)
    correct = np.repeat(rng.random(50) < 0.7, 4)  # takes of a recording stand or fall together

    def width(recordings):
        names = np.where(correct, "x", "y")
        rows = table(["x"] * 200, [(str(r), "") for r in recordings], labels=names)
        figure = metrics.with_intervals(metrics.single_figures, [rows])["accuracy"]
        assert figure["low"] < figure["mean"] < figure["high"]
        return figure["high"] - figure["low"]

    independent, grouped = width(range(200)), width(np.repeat(range(50), 4))
    assert independent == pytest.approx(2 * 1.96 * np.sqrt(0.7 * 0.3 / 200), rel=0.2)
    assert grouped == pytest.approx(2 * independent, rel=0.2)


def test_a_gain_is_of_the_same_clips_and_so_surer_than_its_parts():
    rng = np.random.default_rng(0)
    nb_singles, nb_mixtures = 60, 200
    recordings = [(str(i), "") for i in range(nb_singles)]
    recordings += [tuple(map(str, rng.integers(60, size=2))) for _ in range(nb_mixtures)]
    truth = np.array(["x"] * nb_singles + ["x+y"] * nb_mixtures)
    # Both are right of the same recordings, but one of them misses three tenths more.
    easy = rng.random(60) < 0.6
    right = np.array([all(easy[int(r)] for r in pair if r) for pair in recordings])
    fewer = right & (rng.random(len(truth)) < 0.7)
    shown = {"with_counter": right, "with_counter_for_exact_match": right, "no_counter": fewer}
    columns = {strategy: np.where(good, truth, "z") for strategy, good in shown.items()}
    counts = np.where(right, 1 + np.char.count(truth, "+"), 3)
    columns |= {"count": counts, "shortcut_count": np.ones(len(truth))}
    found = metrics.with_intervals(strategies.flow_figures, [table(truth, recordings, **columns)])
    gain, with_counter, without = (
        found[name]
        for name in (
            "gain.with_counter_for_exact_match_over_no_counter",
            "with_counter_for_exact_match.exact_match_balanced",
            "no_counter.exact_match_balanced",
        )
    )
    assert gain["mean"] == pytest.approx(with_counter["mean"] - without["mean"])
    assert 0 < gain["low"] < gain["mean"] < gain["high"]
    spans = [figure["high"] - figure["low"] for figure in (gain, with_counter, without)]
    assert spans[0] < math.hypot(*spans[1:]) / 2
    above = found["gain.counter_over_shortcuts"]["mean"]
    assert found["shortcut_balanced"]["mean"] == 0.5
    assert above == pytest.approx(with_counter["mean"] - 0.5)
    assert "gain.with_counter_for_exact_match_over_joint_for_exact_match" not in found


def test_two_clips_of_one_recording_weigh_as_often_as_it_was_drawn():
    recordings = [("1", ""), ("2", ""), ("1", "1"), ("1", "2"), ("2", "1")]
    (weights,) = metrics.draw_weights([table(list("aabbb"), recordings)], 50)
    assert len(np.unique(weights[:, 0])) == 3
    assert (weights[:, 2] == weights[:, 0]).all()
    assert (weights[:, 3] == weights[:, 0] * weights[:, 1]).all()
    assert (weights[:, 4] == weights[:, 3]).all()


def test_shares_of_each_class_and_each_pair():
    flow = pd.DataFrame(
        [
            ("a", 1, "a", "a"),
            ("a", 2, "b", "b+c"),
            ("b+c", 2, "b+c", "b+c"),
            ("b+c", 1, "b+c", "b"),
        ],
        columns=["truth", "count", "oracle_count", "with_counter"],
    )
    shares = metrics.shares_by_truth(flow).set_index("truth")
    assert shares.loc["a"].tolist() == [2, 0.5, 0.5, 0.5]
    assert shares.loc["b+c"].tolist() == [2, 0.5, 1, 0.5]


def test_figures_over_sets_are_means_with_their_spread():
    tables = [MIXED.assign(labels=MIXED["truth"]), MIXED.assign(labels="x")]
    figure = metrics.with_intervals(metrics.single_figures, tables)["accuracy"]
    assert figure["sets"] == [1.0, 0.4]
    assert figure["mean"] == pytest.approx(0.7)
    assert figure["std"] == pytest.approx(np.std([1.0, 0.4], ddof=1))


def test_the_interval_over_sets_is_students():
    values = [0.1, 0.3, 0.2, 0.6, 0.4]
    figure = {"mean": np.mean(values), "std": np.std(values, ddof=1), "sets": values}
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert metrics.over_sets(figure) == pytest.approx(expected)


def test_the_picture_of_pairs_shows_the_share_that_is_right(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(plots, "draw_matrix", lambda *given: drawn.append(given))
    truth = pd.Series(["a", "a+b", "b", "b+c"])
    plots.draw_pairs(tmp_path / "x.png", False, truth, pd.Series([0.5, 2 / 3, 1, 0]), "title")
    shares, texts = drawn[0][2:4]
    assert shares.loc["a", "a"] == 0.5 and shares.loc["b", "b"] == 1
    assert shares.loc["b", "a"] == pytest.approx(2 / 3) and shares.loc["c", "b"] == 0
    assert texts.loc["b", "a"] == "67" and texts.loc["c", "b"] == "0"
    assert shares.isna().sum().sum() == 5 and texts.loc["a", "b"] == texts.loc["c", "c"] == ""


def test_the_confusion_of_several_names_has_what_was_missed():
    truth, answers = pd.Series(["a", "a+b", "b+c", "c"]), pd.Series(["a", "a", "b+d", "a+d"])
    pairs = zip(*plots.label_pairs(truth, answers), strict=True)
    expected = ["aa", "aa", "b-", "bb", "bd", "c-", "cd", "c-", "ca", "cd"]
    assert sorted(pairs) == sorted((p[0], p[1].replace("-", plots.MISSED)) for p in expected)


def test_a_confusion_shows_what_was_missed_where_something_was(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(plots, "draw_matrix", lambda *given: drawn.append(given[2]))
    truth = pd.Series(["a", "a", "b", "b"])
    for answers in (["a", "b", "b", "b"], ["a", plots.MISSED, "b", "b"]):
        given = (truth, pd.Series(answers), ["a", "b"], "title")
        plots.draw_confusion(tmp_path / "x.png", False, *given)
    assert drawn[0].to_numpy().tolist() == [[0.5, 0.5], [0, 1]]
    assert list(drawn[1]) == ["a", "b", plots.MISSED]
    assert drawn[1].to_numpy().tolist() == [[0.5, 0, 0.5], [0, 1, 0]]


def test_silence_is_drawn_dark(monkeypatch):
    drawn = {}
    _, axis = plots.plt.subplots()
    monkeypatch.setattr(axis, "imshow", lambda values, **levels: drawn.update(levels, a=values))
    plots.draw_spectrogram(axis, np.zeros((5, 7), dtype=np.float32), 4000)
    assert (drawn["a"] <= drawn["vmin"]).all()
    loud = np.full((5, 7), 1e-4, dtype=np.float32)
    loud[2, 3] = 10  # 20 dB; the rest is 100 dB below
    plots.draw_spectrogram(axis, loud, 4000)
    assert (drawn["vmin"], drawn["vmax"]) == pytest.approx((-60, 20))
    plots.plt.close()


def test_the_threshold_is_the_best_of_all():
    rng = np.random.default_rng(0)
    for _ in range(50):
        size = 12
        truth = rng.choice(["x", "y", "x+y"], size)
        truth[:2] = ["x", "x+y"]
        best, pairs = rng.choice(["x", "y"], size), rng.choice(["x+y", "x+z"], size)
        scores = np.round(rng.random(size), 1)

        def balanced(threshold, best=best, pairs=pairs, truth=truth, scores=scores):
            exact = np.where(scores > threshold, pairs, best) == truth
            mixture = np.char.find(truth, "+") >= 0
            return (exact[mixture].mean() + exact[~mixture].mean()) / 2

        mixture = np.char.find(truth, "+") >= 0
        chosen = metrics.best_threshold(mixture, scores, best == truth, pairs == truth)
        assert 0 <= chosen <= 1
        assert balanced(chosen) == pytest.approx(max(map(balanced, np.arange(0, 1.01, 0.05))))


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_a_counter_that_knows_nothing_gets_a_threshold_too(score):
    """One of 0 or 1 would have no logit to move the counter's by."""
    counter = nn.Module()
    counter.dense = nn.Sequential(nn.Linear(3, 2))
    is_mixture = np.array([False, True, True])
    threshold = metrics.best_threshold(is_mixture, np.full(3, score), ~is_mixture, is_mixture)
    heads.move_threshold(counter, threshold)
    assert torch.isfinite(counter.dense[0].bias).all()
