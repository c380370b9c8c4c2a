"""The flow's answers in every strategy, from logits that are given, one clip after the other."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import load_script
from test_3_finished import CLASSES
from test_3_trainers import DATA, ROWS, TRUTH

from pipeline.data import set_data
from pipeline.evaluation import shortcuts, strategies
from pipeline.networks import heads

NB = len(ROWS)
OUTPUTS = {"counter": 2 + 3, "single": 3, "two_label": 3, "both": 3}


@pytest.fixture
def flow():
    return load_script("overall_flow.py")


def given(seed, shared=False, threshold=0.45):
    """Logits of every task, and the four networks' files as far as the flow reads them."""
    draw = torch.Generator().manual_seed(seed)
    logits = {task: 2 * torch.randn(NB, n, generator=draw) for task, n in OUTPUTS.items()}
    content = {"constants": {"N_FFT": 256, "SHARED": shared}}
    content["metrics"] = {"validation": {"val_threshold": threshold}}
    return logits, {task: (None, content) for task in OUTPUTS}


def best(values, count):
    order = sorted(range(3), key=lambda i: -values[i])[:count]
    return "+".join(CLASSES[i] for i in sorted(order))


def shares_of(logits, count):
    """Of each class its share among all sets of so many, in exponentials."""
    sums = {s: math.exp(sum(logits[i] for i in s)) for s in itertools.combinations(range(3), count)}
    total = sum(sums.values())
    return [sum(v for s, v in sums.items() if i in s) / total for i in range(3)]


@pytest.mark.parametrize("seed", [3, 4])
def test_every_strategy_against_a_slow_telling(flow, seed):
    logits, trained = given(seed)
    thresholds = {
        "with_counter_for_exact_match": 0.3,
        "baseline_with_counter_for_exact_match": 0.6,
        "joint_for_exact_match": 0.2,
        "ensemble": 0.55,
    }
    found = flow.strategies_of(trained, logits)
    table = flow.predictions(found, ROWS, DATA, thresholds)
    pd.testing.assert_frame_equal(table.iloc[:, :4], set_data.recordings_of(DATA.stems, ROWS))
    counts = set()
    for row in table.itertuples():
        of = {task: logits[task][row.Index].double().tolist() for task in OUTPUTS}
        one, two, *joint = of["counter"]
        chance = 1 / (1 + math.exp(one - two))
        truth, count = 1 + row.truth.count("+"), 1 + (two > one)
        counts.add((truth, count))
        assert row.count == count and row.score_two == pytest.approx(chance, rel=1e-5)
        asked = {1: of["single"], 2: of["two_label"]}
        assert row.with_counter == best(asked[count], count)
        assert row.oracle_count == best(asked[truth], truth)
        over = 1 + (chance > 0.3)
        assert row.with_counter_for_exact_match == best(asked[over], over)
        baseline = of["both"]
        second = sorted(1 / (1 + math.exp(-value)) for value in baseline)[1]
        assert row.no_counter == best(baseline, 1 + (second > 0.45))
        assert row.baseline_with_counter == best(baseline, count)
        assert row.baseline_oracle_count == best(baseline, truth)
        assert row.baseline_with_counter_for_exact_match == best(baseline, 1 + (chance > 0.6))
        assert row.joint == best(joint, count)
        assert row.joint_oracle_count == best(joint, truth)
        assert row.joint_for_exact_match == best(joint, 1 + (chance > 0.2))
        # The odds of two by the network without a counter: all pairs against all single classes.
        weights = [math.exp(value) for value in baseline]
        odds = sum(a * b for a, b in itertools.combinations(weights, 2)) / sum(weights)
        both = math.sqrt(odds * chance / (1 - chance))
        assert row.ensemble_score_two == pytest.approx(both / (1 + both), rel=1e-4)
        summed = {n: [a + b for a, b in zip(asked[n], baseline, strict=True)] for n in (1, 2)}
        assert row.ensemble_oracle_count == best(summed[truth], truth)
        over = 1 + (both / (1 + both) > 0.55)
        assert row.ensemble == best(summed[over], over)
        scores = [getattr(row, f"score_{name}") for name in CLASSES]
        assert scores == pytest.approx(shares_of(asked[count], count), rel=1e-4)
    assert counts == {(1, 1), (1, 2), (2, 1), (2, 2)}
    assert [name for name in table if name in strategies.STRATEGIES] == list(strategies.STRATEGIES)


def test_classifiers_that_took_the_counters_labels_are_no_other_strategy(flow):
    for change in ("shared", "no labels"):
        logits, trained = given(5, shared=change == "shared")
        if change == "no labels":
            logits["counter"] = logits["counter"][:, :2]
        found = flow.strategies_of(trained, logits)
        assert set(found) == {"with_counter", "baseline_with_counter", "no_counter", "ensemble"}
        thresholds = dict.fromkeys(strategies.OPTIMISED.values(), 0.5)
        table = flow.predictions(found, ROWS, DATA, thresholds)
        assert set(strategies.STRATEGIES) - set(table) == {
            "joint",
            "joint_for_exact_match",
            "joint_oracle_count",
        }
        is_mixture = set_data.is_mixture(ROWS)
        got = strategies.optimise(found, np.array(TRUTH), is_mixture, CLASSES)
        assert list(got) == [
            "with_counter_for_exact_match",
            "baseline_with_counter_for_exact_match",
            "ensemble",
        ]


def test_each_networks_logits_are_its_own(flow, monkeypatch):
    asked = []
    monkeypatch.setattr(heads, "logits_of", lambda *given: asked.append(given) or given[0])
    trained = {task: (f"net {task}", {}) for task in OUTPUTS}
    assert flow.logits_of(trained, "stems", "rows") == {task: f"net {task}" for task in OUTPUTS}
    assert asked == [(f"net {task}", "stems", "rows") for task in OUTPUTS]


def scores_for(labels):
    """Scores (clips, classes) of which these labels are the best."""
    return np.array([[name in label.split("+") for name in CLASSES] for label in labels], float)


def test_optimised_thresholds_are_the_best_for_exact_match():
    """Each strategy's own: of its score of two, and of where its labels would be right."""
    is_mixture = np.array(["+" in truth for truth in TRUTH])
    score_two = np.array([0.1, 0.35, 0.6, 0.2, 0.3, 0.7, 0.8])
    of_ensemble = np.array([0.4, 0.5, 0.9, 0.1, 0.6, 0.7, 0.95])
    right = {
        "with_counter": [1, 1, 1, 0, 0, 1, 1],
        "baseline_with_counter": [1, 0, 0, 1, 1, 1, 1],
        "joint": [1, 0, 1, 1, 1, 0, 0],
        "ensemble": [1, 1, 0, 0, 1, 1, 1],
    }
    given = {"no_counter": strategies.Strategy(None, None)}
    for name, of_clips in right.items():
        wrong = [next(c for c in CLASSES if c not in truth) for truth in TRUTH]
        best = [t if good else w for t, good, w in zip(TRUTH, of_clips, wrong, strict=True)]
        scores = scores_for(best)
        chance = of_ensemble if name == "ensemble" else score_two
        given[name] = strategies.Strategy(scores, scores, chance)
    found = strategies.optimise(given, np.array(TRUTH), is_mixture, CLASSES)
    expected = {
        # All singles are right below it, both mixtures that can be above.
        "with_counter_for_exact_match": 0.65,
        "baseline_with_counter_for_exact_match": 0.15,  # one single is right, all four mixtures
        "joint_for_exact_match": 0.15,  # below 0.2: one of two singles, both mixtures
        "ensemble": 0.55,  # two singles, three mixtures
    }
    assert found == pytest.approx(expected)
    assert list(found) == list(expected)
    for name, column in strategies.OPTIMISED.items():
        good, chance = np.array(right[name], bool), given[name].score_two

        def balanced(at, chance=chance, good=good):
            is_right = good & ((chance > at) == is_mixture)
            return is_right[is_mixture].mean() + is_right[~is_mixture].mean()

        most = max(balanced(at) for at in np.linspace(0, 1, 201))
        assert balanced(found[column]) == pytest.approx(most), name


def test_each_column_takes_its_own_decision():
    """By the strategy's own threshold, by the optimised one, by the oracle count."""
    one, two = scores_for(["bee", "ant", "cat"]), scores_for(["ant+bee", "bee+cat", "ant+cat"])
    own, is_mixture = np.array([True, False, False]), np.array([False, False, True])
    given = strategies.Strategy(one, two, np.array([0.2, 0.6, 0.4]), own)
    found = strategies.all_labels(
        {"with_counter": given, "no_counter": strategies.Strategy(two, two, is_two=own)},
        is_mixture,
        {"with_counter_for_exact_match": 0.5},
        CLASSES,
    )
    assert {name: labels.tolist() for name, labels in found.items()} == {
        "with_counter": ["ant+bee", "ant", "cat"],
        "with_counter_for_exact_match": ["bee", "bee+cat", "cat"],
        "oracle_count": ["bee", "ant", "ant+cat"],
        "no_counter": ["ant+bee", "bee", "ant"],
    }
    ensemble = strategies.Strategy(one, two, np.array([0.2, 0.6, 0.4]))
    columns = strategies.all_labels({"ensemble": ensemble}, own, {"ensemble": 0.5}, CLASSES)
    assert list(columns) == ["ensemble", "ensemble_oracle_count"]


# ---------------------------------------------------------------------------- the shortcut baseline


def test_shortcut_features_against_slow_ones():
    waves = torch.randn(3, 2000, generator=torch.manual_seed(0)) * torch.tensor([[0.1], [1], [3]])
    waves[1, 500:900] = 0
    found = shortcuts.shortcut_features(waves, 128)
    assert found.dtype == np.float64 and found.shape == (3, 5)
    for wave, row in zip(waves.double(), found, strict=True):
        peak, rms = wave.abs().max(), (wave**2).mean() ** 0.5
        silence = (wave == 0).double().mean()
        power = torch.stft(
            wave,
            128,
            32,
            window=torch.hann_window(128, dtype=torch.float64),
            pad_mode="constant",
            return_complex=True,
        )
        power = (power.abs() ** 2).mean(dim=1)
        flatness = torch.exp(torch.log(power).mean()) / power.mean()
        expected = list(map(float, (peak, rms, peak / rms, silence, flatness)))
        assert row == pytest.approx(expected, rel=1e-4)
    assert found[1, 3] == pytest.approx(0.2)
    assert np.isfinite(shortcuts.shortcut_features(torch.zeros(1, 2000), 128)).all()


def test_the_shortcut_baselines_threshold_is_that_of_validation_clips():
    """Where test clips would have another: all of them lie above it."""
    validation = pd.DataFrame({"recording_b": ["", "", "", "5", "6"]})
    tested = pd.DataFrame({"recording_b": ["", "5", "6", ""]})
    chances = [np.array([0.1, 0.3, 0.2, 0.5, 0.9]), np.array([0.6, 0.7, 0.8, 0.3])]
    threshold = shortcuts.count(validation, tested, chances)
    assert threshold == pytest.approx(0.4)
    assert validation["shortcut_count"].tolist() == [1, 1, 1, 2, 2]
    assert tested["shortcut_count"].tolist() == [2, 2, 2, 1]
    assert tested["shortcut_score_two"].tolist() == [0.6, 0.7, 0.8, 0.3]


def test_the_shortcut_baseline_learns_from_what_the_counter_draws(flow, monkeypatch):
    """Its clips, its seed, its STFT; and it answers each part by itself, whatever its size."""
    rows = np.array([[i, -1] for i in range(30)] + [[i, i + 30] for i in range(30)])
    data = set_data.SetData(None, [], {"train": rows[:30]}, {"train": rows[30:]}, {})
    stems = torch.randn(60, 500, generator=torch.manual_seed(2))
    stems[:30, ::3] = 0
    asked, draw = [], set_data.draw_mixtures

    def draw_mixtures(of, constants, epoch):
        asked.append((constants["SEED"], epoch))
        return draw(of, constants, epoch)

    monkeypatch.setattr(set_data, "draw_mixtures", draw_mixtures)
    counter = {"SEED": 3, "SET": 1, "REDRAW": True, "OVERSAMPLE": 1, "REPEAT": 1, "N_FFT": 64}
    parts = [rows, rows[7:0:-1].copy(), np.repeat(rows, 20, axis=0)]
    every, few, many = flow.shortcut_scores(stems, data, parts, counter)
    assert asked == [(3, 0)]
    np.testing.assert_allclose(few, every[7:0:-1], rtol=1e-6)
    np.testing.assert_allclose(many, np.repeat(every, 20), rtol=1e-6)
    assert every[:30].max() < every[30:].min()
