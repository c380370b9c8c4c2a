import math
import random
from itertools import combinations, product

import librosa
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import nn

import good_values
import hearing
import metrics
import networks
import pictures
import set_data
import training
from asc_model import ASC
from CNN_ISOCC_copy import CNN_ISOCC
from more_models import LogMel


def nb_parameters(network):
    return sum(p.numel() for p in network.parameters())


def test_asc_has_its_size_and_two_logits():
    network = ASC().eval()
    assert nb_parameters(network) < 1_000_000
    logits, attention = network(torch.rand(2, 1, 129, 313), with_attention=True)
    assert logits.shape == (2, 2) and attention.shape == (2, 313)
    torch.testing.assert_close(attention.sum(dim=1), torch.ones(2))
    assert (attention >= 0).all()


def test_asc_reads_spectra_one_after_the_other():
    network = ASC(nb_bins=129).eval()
    seen = []
    network.convolutions = torch.nn.Identity()
    network.recurrent.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    spectrogram = torch.rand(1, 1, 129, 20)
    network(spectrogram)
    for frame in range(20):
        assert torch.equal(seen[0][0, frame], spectrogram[0, 0, :, frame])


def test_asc_convolutions_keep_the_spectrograms_size():
    assert ASC().convolutions(torch.rand(2, 1, 129, 313)).shape == (2, 1, 129, 313)


def test_isocc_has_its_size():
    network = CNN_ISOCC(10, 129, 313).eval()
    assert round(nb_parameters(network) / 1e6, 2) == 4.63
    assert network.convolutions(torch.rand(1, 1, 129, 313)).shape == (1, 64, 4, 15)
    spectrograms = torch.rand(3, 1, 129, 313)
    assert torch.equal(network(spectrograms, as_scores=True), torch.sigmoid(network(spectrograms)))


def test_logmel_hears_a_sine_in_its_band_and_silence_as_numbers():
    network = LogMel(10, nb_bins=1025, nb_frames=157, sample_rate=16000).eval()
    assert nb_parameters(network) < 1_000_000
    seconds = torch.arange(80_000) / 16000
    sine = hearing.features(torch.sin(2 * torch.pi * 1000 * seconds)[None], 2048)
    bands = (network.mel @ sine)[0, 0, :, 80]
    centres = librosa.mel_frequencies(n_mels=66, fmax=8000)[1:-1]
    assert bands.argmax() == np.abs(centres - 1000).argmin()
    # A band is a mean of bins, none of which is louder than the sine's own.
    assert 0.1 * sine.max() < bands.max() < sine.max()
    assert network(torch.zeros(1, 1, 1025, 157)).isfinite().all()


def test_logmel_says_how_much_each_frame_weighs_in_its_count():
    """The votes of all frames, and the biases, are the difference of the logits."""
    torch.manual_seed(0)
    network = LogMel(2, 129, 313, 4000).eval()
    kept = []
    network.frames.register_forward_hook(lambda *found: kept.append(found[2]))
    spectrograms = torch.rand(3, 1, 129, 313)
    spectrograms[0, :, :, 100:200] *= 30
    with torch.no_grad():
        logits, attention = network(spectrograms, with_attention=True)
        votes = network.votes(kept[0])
        assert torch.equal(logits, network(spectrograms))
    bias = network.dense[-1].bias.detach()
    torch.testing.assert_close(votes.sum(dim=1) + bias[1] - bias[0], logits[:, 1] - logits[:, 0])
    assert attention.shape == (3, 313) and (attention >= 0).all()
    torch.testing.assert_close(attention.sum(dim=1), torch.ones(3))


@pytest.mark.parametrize(
    ("rate", "n_fft"), [(4000, 256), (8000, 512), (16000, 1024), (22050, 1024)]
)
@pytest.mark.parametrize("model", networks.NETWORKS)
def test_networks_are_built_for_every_rate(model, rate, n_fft):
    network = networks.build(model, 7, rate, n_fft, torch.device("cpu")).eval()
    waves = torch.rand(1, 5 * rate)
    assert network(hearing.features(waves, n_fft)).shape == (1, 7)


def test_a_spectrogram_that_is_too_small_is_named():
    with pytest.raises(ValueError, match="75 x 313 is too small: 76 x 76 or more"):
        CNN_ISOCC(10, 75, 313)
    CNN_ISOCC(10, 76, 76)
    with pytest.raises(ValueError, match="of 7 frames is too short: 8 or more"):
        LogMel(10, 129, 7, 4000)


@pytest.mark.parametrize("model", networks.NETWORKS)
def test_an_answer_does_not_depend_on_the_neighbours_in_the_batch(model):
    torch.manual_seed(0)
    network = networks.build(model, 3, 4000, 256, torch.device("cpu"))
    stems = torch.rand(6, 20_000) - 0.5
    rows = np.array([[i, -1] for i in range(6)])
    together = networks.logits_of(network, stems, rows, 256)
    alone = torch.cat([networks.logits_of(network, stems, row[None], 256) for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_best_names_are_sorted_and_as_many_as_counted():
    scores = np.array([[0.1, 0.9, 0.5], [0.8, 0.1, 0.7]])
    classes = ["ant", "bee", "cat"]
    assert list(set_data.best_names(scores, 2, classes)) == ["bee+cat", "ant+cat"]
    assert list(set_data.best_names(scores, np.array([1, 2]), classes)) == ["bee", "ant+cat"]


# ------------------------------------------------------------------------------------- figures


def table(truths, recordings, **columns):
    a, b = zip(*recordings, strict=True)
    return pd.DataFrame({"truth": truths, "recording_a": a, "recording_b": b, **columns})


MIXED = table(
    ["x", "x", "y", "x+y", "x+y"],
    [("1", ""), ("2", ""), ("3", ""), ("1", "3"), ("2", "3")],
    count=[1, 2, 1, 2, 1],
    names=["x", "y", "y", "x+y", "x"],
)


def test_balanced_accuracy_is_the_mean_of_the_two_kinds():
    figures = metrics.unweighted(metrics.counter_figures, MIXED)
    assert figures == pytest.approx(
        {"accuracy_single": 2 / 3, "accuracy_mixture": 1 / 2, "accuracy_balanced": 7 / 12}
    )
    exact = metrics.exact_set_figures(MIXED, "names", np.ones((1, 5)))
    assert exact["exact_set_balanced"] == pytest.approx(7 / 12)


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
        metrics.two_label_figures, predictions.assign(names=["x", "x+y", "x"])
    )
    assert figures["exact_set_balanced"] == pytest.approx(0.75)


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
        rows = table(["x"] * 200, [(str(r), "") for r in recordings], names=names)
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
    # Both ways are right of the same recordings, but one of them misses three tenths more.
    easy = rng.random(60) < 0.6
    right = np.array([all(easy[int(r)] for r in pair if r) for pair in recordings])
    fewer = right & (rng.random(len(truth)) < 0.7)
    ways = {"with_counter": right, "for_names": right, "no_counter": fewer}
    columns = {way: np.where(good, truth, "z") for way, good in ways.items()}
    counts = np.where(right, 1 + np.char.count(truth, "+"), 3)
    columns |= {"count": counts, "giveaway_count": np.ones(len(truth))}
    found = metrics.with_intervals(metrics.flow_figures, [table(truth, recordings, **columns)])
    gain, with_counter, without = (
        found[name]
        for name in (
            "gain.for_names_over_no_counter",
            "for_names.exact_set_balanced",
            "no_counter.exact_set_balanced",
        )
    )
    assert gain["mean"] == pytest.approx(with_counter["mean"] - without["mean"])
    assert 0 < gain["low"] < gain["mean"] < gain["high"]
    spans = [figure["high"] - figure["low"] for figure in (gain, with_counter, without)]
    assert spans[0] < math.hypot(*spans[1:]) / 2
    above = found["gain.counter_over_giveaways"]["mean"]
    assert found["giveaway_balanced"]["mean"] == 0.5
    assert above == pytest.approx(with_counter["mean"] - 0.5)
    assert "gain.with_counter_over_one_network" not in found


def test_two_clips_of_one_recording_weigh_as_often_as_it_was_drawn():
    recordings = [("1", ""), ("2", ""), ("1", "1"), ("1", "2"), ("2", "1")]
    (weights,) = metrics.draw_weights([table(list("aabbb"), recordings)], 50)
    assert len(np.unique(weights[:, 0])) == 3
    assert (weights[:, 2] == weights[:, 0]).all()
    assert (weights[:, 3] == weights[:, 0] * weights[:, 1]).all()
    assert (weights[:, 4] == weights[:, 3]).all()


def test_the_rival_is_told_a_count_and_gives_as_many_of_its_best_names():
    recordings = [("1", ""), ("2", ""), ("1", "2"), ("1", "3")]
    flow = table(["a", "b", "a+b", "a+c"], recordings, count=[1, 2, 2, 1])
    flow["clip"] = list("pqrs")
    rival = flow.drop(columns="count").assign(
        score_a=[0.9, 0.1, 0.4, 0.2], score_b=[0.8, 0.3, 0.5, 0.1], score_c=[0, 0.2, 0.1, 0.3]
    )
    rival["pair"] = ["a+b", "b+c", "a+b", "a+c"]
    told = metrics.tell_rival(flow, rival[::-1])
    assert told["rival_true_count"].tolist() == ["a", "b", "a+b", "a+c"]
    assert told["rival_with_counter"].tolist() == ["a", "b+c", "a+b", "c"]
    assert told[list(flow)].equals(flow)


def test_shares_of_each_class_and_each_pair():
    flow = pd.DataFrame(
        [
            ("a", 1, "a", "a"),
            ("a", 2, "b", "b+c"),
            ("b+c", 2, "b+c", "b+c"),
            ("b+c", 1, "b+c", "b"),
        ],
        columns=["truth", "count", "true_count", "with_counter"],
    )
    shares = metrics.shares_by_truth(flow).set_index("truth")
    assert shares.loc["a"].tolist() == [2, 0.5, 0.5, 0.5]
    assert shares.loc["b+c"].tolist() == [2, 0.5, 1, 0.5]


def test_figures_over_sets_are_means_with_their_spread():
    tables = [MIXED.assign(names=MIXED["truth"]), MIXED.assign(names="x")]
    figure = metrics.with_intervals(metrics.single_figures, tables)["accuracy"]
    assert figure["sets"] == [1.0, 0.4]
    assert figure["mean"] == pytest.approx(0.7)
    assert figure["std"] == pytest.approx(np.std([1.0, 0.4], ddof=1))


def test_the_picture_of_pairs_shows_the_share_that_is_right(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(pictures, "draw_matrix", lambda *given: drawn.append(given))
    truth = pd.Series(["a", "a+b", "b", "b+c"])
    pictures.draw_pairs(tmp_path / "x.png", False, truth, pd.Series([0.5, 2 / 3, 1, 0]), "title")
    shares, texts = drawn[0][2:4]
    assert shares.loc["a", "a"] == 0.5 and shares.loc["b", "b"] == 1
    assert shares.loc["b", "a"] == pytest.approx(2 / 3) and shares.loc["c", "b"] == 0
    assert texts.loc["b", "a"] == "67" and texts.loc["c", "b"] == "0"
    assert shares.isna().sum().sum() == 5 and texts.loc["a", "b"] == texts.loc["c", "c"] == ""


def test_the_confusion_of_several_names_has_what_was_missed():
    truth, answers = pd.Series(["a", "a+b", "b+c", "c"]), pd.Series(["a", "a", "b+d", "a+d"])
    pairs = zip(*pictures.named_and_absent(truth, answers), strict=True)
    expected = ["aa", "aa", "b-", "bb", "bd", "c-", "cd", "c-", "ca", "cd"]
    assert sorted(pairs) == sorted((p[0], p[1].replace("-", pictures.MISSED)) for p in expected)


def test_a_confusion_shows_what_was_missed_where_something_was(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(pictures, "draw_matrix", lambda *given: drawn.append(given[2]))
    truth = pd.Series(["a", "a", "b", "b"])
    for answers in (["a", "b", "b", "b"], ["a", pictures.MISSED, "b", "b"]):
        given = (truth, pd.Series(answers), ["a", "b"], "title")
        pictures.draw_confusion(tmp_path / "x.png", False, *given)
    assert drawn[0].to_numpy().tolist() == [[0.5, 0.5], [0, 1]]
    assert list(drawn[1]) == ["a", "b", pictures.MISSED]
    assert drawn[1].to_numpy().tolist() == [[0.5, 0, 0.5], [0, 1, 0]]


def test_silence_is_drawn_dark(monkeypatch):
    drawn = {}
    _, axis = pictures.plt.subplots()
    monkeypatch.setattr(axis, "imshow", lambda values, **levels: drawn.update(levels, a=values))
    pictures.draw_spectrogram(axis, np.zeros((5, 7), dtype=np.float32), 4000)
    assert (drawn["a"] <= drawn["vmin"]).all()
    loud = np.full((5, 7), 1e-4, dtype=np.float32)
    loud[2, 3] = 10  # 20 dB; the rest is 100 dB below
    pictures.draw_spectrogram(axis, loud, 4000)
    assert (drawn["vmin"], drawn["vmax"]) == pytest.approx((-60, 20))
    pictures.plt.close()


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
    networks.move_threshold(counter, threshold)
    assert torch.isfinite(counter.dense[0].bias).all()


# --------------------------------------------------------------------------------------- names


def test_the_loss_of_names_and_their_scores_against_every_set():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(6, 5, generator=generator, dtype=torch.float64)
    truths = [(0,), (3,), (0, 1), (2, 4), (1, 3), (4,)]
    targets = torch.zeros(6, 5, dtype=torch.float64)
    losses, scores = [], torch.zeros(6, 5, dtype=torch.float64)
    for clip, truth in enumerate(truths):
        targets[clip, list(truth)] = 1
        weights = {
            names: math.exp(sum(logits[clip, name].item() for name in names))
            for names in combinations(range(5), len(truth))
        }
        losses.append(-math.log(weights[truth] / sum(weights.values())))
        pairs = {n: math.exp(logits[clip, list(n)].sum().item()) for n in combinations(range(5), 2)}
        for name in range(5):
            share = sum(weight for names, weight in pairs.items() if name in names)
            scores[clip, name] = share / sum(pairs.values())
    assert training.names_loss(logits, targets).item() == pytest.approx(sum(losses) / 6)
    torch.testing.assert_close(networks.scores_of_two(logits), scores)
    # One name is one of k: the loss is cross-entropy.
    expected = nn.functional.cross_entropy(logits[:2], torch.tensor([0, 3]))
    torch.testing.assert_close(training.names_loss(logits[:2], targets[:2]), expected)


def test_the_loss_of_names_stays_a_number_where_one_name_drowns_the_others():
    logits = torch.tensor([[90.0, 0.0, -5.0], [90.0, 0.0, -5.0]], requires_grad=True)
    loss = training.names_loss(logits, torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]))
    loss.backward()
    one_of_two = math.log(1 + math.exp(-5))
    assert loss.item() == pytest.approx((2 * one_of_two + 5) / 2, rel=1e-4)
    assert torch.isfinite(logits.grad).all()


def test_a_moved_threshold_is_where_the_count_turns():
    torch.manual_seed(0)
    network = ASC().eval()
    spectrograms = torch.rand(40, 1, 129, 313) * torch.rand(40, 1, 1, 1)
    with torch.no_grad():
        before = torch.softmax(network(spectrograms), dim=1)[:, 1]
        threshold = before.sort().values[19:21].mean().item()  # between two clips
        networks.move_threshold(network, threshold)
        counts = network(spectrograms).argmax(dim=1)
    assert counts.sum() == 20
    assert counts.tolist() == (before > threshold).int().tolist()


# ------------------------------------------------------------------------------------- drawing


def test_drawing_is_without_replacement_from_all_pairs_and_all_copies():
    data = set_data.SetData(
        None,
        [],
        {"train": np.array([[i, -1] for i in range(20)])},
        {"train": np.array(list(product(range(0, 20, 5), range(20, 40, 5))))},
        {},
    )
    constants = {"SEED": 3, "SET": 1, "REDRAW": True, "OVERSAMPLE": 5}
    rows, drawn = set_data.draw_mixtures(data, constants, epoch=0)
    assert sorted(drawn) == list(range(16))  # no more than there are, none twice
    np.testing.assert_array_equal(rows // 5 * 5, data.mixtures["train"][drawn])
    assert len(np.unique(rows % 5)) == 5
    again, _ = set_data.draw_mixtures(data, constants, epoch=0)
    other, _ = set_data.draw_mixtures(data, constants, epoch=1)
    np.testing.assert_array_equal(rows, again)
    assert not np.array_equal(rows, other)
    of_set_6, _ = set_data.draw_mixtures(data, {**constants, "SET": 6}, epoch=0)
    assert not np.array_equal(rows, of_set_6)  # which has the same training clips
    still, _ = set_data.draw_mixtures(data, {**constants, "REDRAW": False}, epoch=1)
    np.testing.assert_array_equal(rows, still)


def test_mixtures_are_of_originals_as_often_as_singles_are():
    """Else clips that were never pitch-shifted would mostly be singles."""
    rows = np.array([[0, 5]] * 20_000)
    picked = set_data.pick_copies(rows, 5, np.random.default_rng(0)) - rows
    is_original = (picked == 0).all(axis=1)
    assert is_original.mean() == pytest.approx(1 / 5, abs=0.02)
    shifted = picked[~is_original]
    assert shifted.min() == 1 and shifted.max() == 4
    shares = np.bincount(4 * (shifted[:, 0] - 1) + shifted[:, 1] - 1) / len(shifted)
    np.testing.assert_allclose(shares, 1 / 16, atol=0.01)
    alone = set_data.pick_copies(rows, 1, np.random.default_rng(0))
    np.testing.assert_array_equal(alone, rows)


def test_an_epoch_in_words():
    single, mixture = np.array([[0, -1], [1, -1]]), np.array([[0, 1]])
    data = set_data.SetData(None, [], {}, {"train": np.zeros((7, 2), dtype=int)}, {})
    assert set_data.in_words(single, data) == "2 training singles"
    assert set_data.in_words(mixture, data) == "1 of 7 mixtures"
    both = np.concatenate([single, mixture])
    assert set_data.in_words(both, data) == "2 training singles and 1 of 7 mixtures"


def test_what_was_never_drawn_is_the_rest():
    data = set_data.SetData(
        None,
        [],
        {"train": np.zeros((30, 2), dtype=int)},
        {"train": np.stack([np.arange(100), np.arange(100, 200)], axis=1)},
        {},
    )
    constants = {"SEED": 0, "SET": 1, "REDRAW": True, "OVERSAMPLE": 1}
    drawn = set().union(*(set_data.draw_mixtures(data, constants, e)[1].tolist() for e in range(3)))
    found, rest = set_data.split_by_drawn(data, constants, 3)
    assert 30 < len(drawn) < 91
    assert set(rest[:, 0].tolist()) == set(range(100)) - drawn
    assert set(found[:, 0].tolist()) == drawn


def test_no_two_scripts_or_sets_share_their_random_numbers():
    """Neither sets k and k + 5, which learn from the same clips, nor the two classifiers."""

    def first_numbers(*of):
        training.seed_everything(*of)
        return torch.rand(1).item(), np.random.random(), random.random()

    assert first_numbers(0, 1, "a") == first_numbers(0, 1, "a")
    every = [(seed, number, script) for seed in (0, 1) for number in (1, 6) for script in "ab"]
    columns = zip(*(first_numbers(*of) for of in every), strict=True)
    assert all(len(set(column)) == 8 for column in columns)


def test_averaged_weights_against_a_slow_sum():
    """A step's share fades over the span, and at the beginning no step is long remembered."""
    network, averaged = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    averaged.weight.data.fill_(99.0)  # of no step: must be forgotten
    values, span = [3.0, 5.0, -2.0, *np.linspace(0, 1, 60)], 4.5
    expected = 99.0
    for step, value in enumerate(values, start=1):
        network.weight.data.fill_(value)
        network.num_batches_tracked.fill_(step)
        training.average_in(averaged, network, step, span)
        keep = min(span, step / 9) / (1 + min(span, step / 9))
        expected = keep * expected + (1 - keep) * value
        assert averaged.weight.item() == pytest.approx(expected, rel=1e-5)
        assert averaged.num_batches_tracked.item() == step
    assert abs(expected - np.mean(values[-9:])) < 0.05
    training.average_in(averaged, network, 1000, 0)
    assert averaged.weight.item() == network.weight.item()


def test_every_network_can_be_named():
    assert tuple(networks.NETWORKS) == good_values.NETWORKS
