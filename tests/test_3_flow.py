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
from pipeline.evaluation import metrics
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
        "for_names": 0.3,
        "rival_for_names": 0.6,
        "one_network_for_names": 0.2,
        "together": 0.55,
    }
    table = flow.predictions(trained, logits, ROWS, DATA, thresholds)
    pd.testing.assert_frame_equal(table.iloc[:, :4], set_data.recordings_of(DATA.stems, ROWS))
    counts = set()
    for row in table.itertuples():
        of = {task: logits[task][row.Index].double().tolist() for task in OUTPUTS}
        one, two, *names = of["counter"]
        chance = 1 / (1 + math.exp(one - two))
        truth, count = 1 + row.truth.count("+"), 1 + (two > one)
        counts.add((truth, count))
        assert row.count == count and row.score_two == pytest.approx(chance, rel=1e-5)
        asked = {1: of["single"], 2: of["two_label"]}
        assert row.with_counter == best(asked[count], count)
        assert row.true_count == best(asked[truth], truth)
        over = 1 + (chance > 0.3)
        assert row.for_names == best(asked[over], over)
        rival = of["both"]
        second = sorted(1 / (1 + math.exp(-value)) for value in rival)[1]
        assert row.no_counter == best(rival, 1 + (second > 0.45))
        assert row.rival_with_counter == best(rival, count)
        assert row.rival_true_count == best(rival, truth)
        assert row.rival_for_names == best(rival, 1 + (chance > 0.6))
        assert row.one_network == best(names, count)
        assert row.one_network_true_count == best(names, truth)
        assert row.one_network_for_names == best(names, 1 + (chance > 0.2))
        # The odds of two by the network without a counter: all pairs against all single classes.
        weights = [math.exp(value) for value in rival]
        odds = sum(a * b for a, b in itertools.combinations(weights, 2)) / sum(weights)
        both = math.sqrt(odds * chance / (1 - chance))
        assert row.together_score_two == pytest.approx(both / (1 + both), rel=1e-4)
        summed = {n: [a + b for a, b in zip(asked[n], rival, strict=True)] for n in (1, 2)}
        assert row.together_true_count == best(summed[truth], truth)
        over = 1 + (both / (1 + both) > 0.55)
        assert row.together == best(summed[over], over)
        scores = [getattr(row, f"score_{name}") for name in CLASSES]
        assert scores == pytest.approx(shares_of(asked[count], count), rel=1e-4)
    assert counts == {(1, 1), (1, 2), (2, 1), (2, 2)}
    assert [way for way in table if way in metrics.WAYS] == list(
        dict.fromkeys(way for way in table if way in metrics.WAYS)
    )
    assert set(metrics.WAYS) <= set(table)


def test_thresholds_not_chosen_yet_are_one_half(flow):
    logits, trained = given(5)
    table = flow.predictions(trained, logits, ROWS, DATA)
    halves = dict.fromkeys(flow.CHOSEN_FOR_NAMES, 0.5)
    pd.testing.assert_frame_equal(table, flow.predictions(trained, logits, ROWS, DATA, halves))


def test_classifiers_that_took_the_counters_labels_are_no_other_strategy(flow):
    for change in ("shared", "no labels"):
        logits, trained = given(5, shared=change == "shared")
        if change == "no labels":
            logits["counter"] = logits["counter"][:, :2]
        table = flow.predictions(trained, logits, ROWS, DATA)
        assert set(metrics.WAYS) - set(table) == {
            "one_network",
            "one_network_for_names",
            "one_network_true_count",
        }
        assert "one_network_for_names" not in flow.thresholds_for_names(table)


def test_each_networks_logits_are_of_its_own_stft(flow, monkeypatch):
    asked = []
    monkeypatch.setattr(heads, "logits_of", lambda *given: asked.append(given) or "logits")
    trained = {task: (f"net {task}", {"constants": {"N_FFT": n}}) for task, n in OUTPUTS.items()}
    assert flow.logits_of(trained, "stems", "rows") == dict.fromkeys(OUTPUTS, "logits")
    assert asked == [(f"net {task}", "stems", "rows", n) for task, n in OUTPUTS.items()]


def test_thresholds_for_labels_are_the_best_for_exact_match(flow):
    """Each strategy's own: of its chance of two, and of where its labels would be right."""
    table = pd.DataFrame({"truth": TRUTH, "recording_b": ["", "", "", "1", "2", "3", "4"]})
    table["score_two"] = [0.1, 0.35, 0.6, 0.2, 0.3, 0.7, 0.8]
    table["together_score_two"] = [0.4, 0.5, 0.9, 0.1, 0.6, 0.7, 0.95]
    right = {
        "true_count": [1, 1, 1, 0, 0, 1, 1],
        "rival_true_count": [1, 0, 0, 1, 1, 1, 1],
        "one_network_true_count": [1, 0, 1, 1, 1, 0, 0],
        "together_true_count": [1, 1, 0, 0, 1, 1, 1],
    }
    for way, of_way in right.items():
        table[way] = [t if good else "wrong" for t, good in zip(TRUTH, of_way, strict=True)]
    found = flow.thresholds_for_names(table)
    expected = {
        "for_names": 0.65,  # all singles are right below it, both mixtures that can be above
        "rival_for_names": 0.15,  # one single is right, all four mixtures
        "one_network_for_names": 0.15,  # below 0.2: one of two singles, both mixtures
        "together": 0.55,  # two singles, three mixtures
    }
    assert found == pytest.approx(expected)
    assert list(found) == list(flow.CHOSEN_FOR_NAMES)
    for way, (chance, told) in flow.CHOSEN_FOR_NAMES.items():
        mixed = table["recording_b"] != ""
        good = (table[told] == table["truth"]).to_numpy()

        def balanced(at, chance=chance, good=good, mixed=mixed):
            is_right = good & ((table[chance] > at) == mixed)
            return is_right[mixed].mean() + is_right[~mixed].mean()

        most = max(balanced(at) for at in np.linspace(0, 1, 201))
        assert balanced(found[way]) == pytest.approx(most), way


# ---------------------------------------------------------------------------- the shortcut baseline


def test_shortcut_features_against_slow_ones(flow):
    waves = torch.randn(3, 2000, generator=torch.manual_seed(0)) * torch.tensor([[0.1], [1], [3]])
    waves[1, 500:900] = 0
    found = flow.giveaways(waves, 128)
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
    assert np.isfinite(flow.giveaways(torch.zeros(1, 2000), 128)).all()


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
    counter = {"SEED": 3, "SET": 1, "REDRAW": True, "OVERSAMPLE": 1, "N_FFT": 64}
    parts = [rows, rows[7:0:-1].copy(), np.repeat(rows, 20, axis=0)]
    every, few, many = flow.giveaway_chances(stems, data, parts, counter)
    assert asked == [(3, 0)]
    np.testing.assert_allclose(few, every[7:0:-1], rtol=1e-6)
    np.testing.assert_allclose(many, np.repeat(every, 20), rtol=1e-6)
    assert every[:30].max() < every[30:].min()
