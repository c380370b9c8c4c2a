"""From logits to answers: thresholds, names kept and cut off, pairs, scores, batches, devices."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn

from crs_lib import InputError
from pipeline.data.set_data import NO_STEM
from pipeline.networks import cpu_speed, features, heads, registry

CPU, META = torch.device("cpu"), torch.device("meta")


class Last(nn.Module):
    """A network of which only the last layer does something, with 3 values."""

    def __init__(self, nb_outputs):
        super().__init__()
        self.dense = nn.Sequential(nn.Identity(), nn.Identity(), nn.Linear(3, nb_outputs))

    def forward(self, values):
        return self.dense(values)


@pytest.mark.parametrize("threshold", [1e-9, 0.1, 0.37, 0.5, 0.8, 1 - 1e-9])
def test_a_moved_threshold_asks_for_its_odds(threshold):
    """The score of two is the threshold where its logit is above the other's by the log odds."""
    network = Last(5)
    before = [value.detach().double().clone() for value in network.parameters()]
    heads.move_threshold(network, threshold)
    weight, bias = (value.detach().double() for value in network.parameters())
    odds = np.log(threshold / (1 - threshold))
    np.testing.assert_allclose(before[1][1] - bias[1], odds, atol=1e-5)
    kept = [0, 2, 3, 4]
    assert torch.equal(weight, before[0]) and torch.equal(bias[kept], before[1][kept])
    logits = torch.tensor([[0.3, 0.3 + odds + step] for step in (-0.01, 0.01)])
    two = torch.softmax(logits.double(), dim=1)[:, 1] > threshold
    moved = logits + torch.tensor([0, bias[1] - before[1][1]])
    assert moved.argmax(dim=1).tolist() == two.tolist() == [False, True]


@pytest.mark.parametrize(("threshold", "moved"), [(0.0, 100), (1.0, -100)])
def test_a_threshold_of_all_or_none_moves_a_logit_by_a_hundred(threshold, moved):
    network = Last(2)
    before = network.dense[-1].bias.detach().clone()
    heads.move_threshold(network, threshold)
    np.testing.assert_allclose(network.dense[-1].bias.detach() - before, [0, moved], atol=1e-5)


def test_a_counters_label_head_is_cut_off_and_joined_again():
    network, values = Last(2 + 3), torch.randn(4, 3, generator=torch.manual_seed(3))
    before = network(values).detach()
    weight, bias = (value.detach().clone() for value in network.parameters())
    label_head = heads.cut_label_head(network)
    assert list(label_head) == ["weight", "bias"]
    assert torch.equal(label_head["weight"], weight[2:])
    assert torch.equal(label_head["bias"], bias[2:])
    torch.testing.assert_close(network(values), before[:, :2])
    last = network.dense[-1]
    assert last.out_features == 2 and last.weight.shape == (2, 3)
    assert all(value.requires_grad for value in last.parameters())
    last.bias.data[1] -= 7.5  # the threshold is moved before or after: names stay as they are
    network.dense[-1].double()
    heads.join_label_head(network, label_head)
    assert network.dense[-1].weight.dtype == network.dense[-1].bias.dtype == torch.float64
    network.dense[-1].float()
    torch.testing.assert_close(network(values), before - torch.tensor([0, 7.5, 0, 0, 0]))
    assert network.dense[-1].out_features == 5
    network.dense[-1].weight.data.fill_(0)
    assert torch.equal(label_head["weight"], weight[2:])
    heads.keep_logits(network.to(META), slice(2))
    heads.join_label_head(network, label_head)
    assert network.dense[-1].weight.device == network.dense[-1].bias.device == META


def chances_of_two(sums):
    """Of what a last layer sums up (one, two, the labels), set by set: the chance of two labels."""
    one, two, *labels = sums
    singles = sum(math.exp(one + label) for label in labels)
    pairs = sum(math.exp(two + a + b) for a, b in combinations(labels, 2))
    return pairs / (singles + pairs)


def test_counting_by_labels_weighs_every_set_of_one_or_two():
    network, values = Last(2 + 4), torch.randn(5, 3, generator=torch.manual_seed(8))
    sums = network(values).detach()
    heads.count_by_labels(network)
    logits = network(values).detach()
    torch.testing.assert_close(logits[:, 2:], sums[:, 2:])
    expected = [chances_of_two(row) for row in sums.double().tolist()]
    np.testing.assert_allclose(heads.scores_of_count(logits)[:, 1], expected, rtol=1e-4)
    # The threshold is moved, and the label head cut off and joined, as of any counter.
    heads.move_threshold(network, 0.8)
    assert (network(values)[:, :2].argmax(dim=1) == 1).tolist() == [two > 0.8 for two in expected]
    label_head = heads.cut_label_head(network)
    assert type(network.dense[-1]) is nn.Linear and network(values).shape == (5, 2)
    heads.join_label_head(network, label_head)
    heads.count_by_labels(network)
    torch.testing.assert_close(network(values)[:, ::2], logits[:, ::2])
    assert len(list(network.parameters())) == 2  # none is held twice


@pytest.mark.parametrize("by_labels", [False, True])
def test_slopes_are_how_the_odds_of_two_grow_with_each_sum(by_labels):
    network, values = Last(2 + 4), torch.randn(5, 3, generator=torch.manual_seed(8))
    if by_labels:
        heads.count_by_labels(network)
    last = network.dense[-1]
    logits = network(values)
    (logits[:, 1] - logits[:, 0]).sum().backward()
    found = heads.slopes(last, logits.detach())
    np.testing.assert_allclose(found.T @ values, last.weight.grad, atol=1e-5)
    np.testing.assert_allclose(found.sum(dim=0), last.bias.grad, atol=1e-5)
    assert bool(found[:, 2:].any()) == by_labels


def test_of_a_last_layer_any_logits_can_be_left():
    network, values = Last(6), torch.randn(4, 3, generator=torch.manual_seed(3))
    before = network(values).detach()
    shared = network.dense[-1].weight.data
    heads.keep_logits(network, slice(2, None))
    torch.testing.assert_close(network(values), before[:, 2:])
    assert network.dense[-1].out_features == 4
    shared.zero_()  # what it was cut from is not held in memory
    torch.testing.assert_close(network(values), before[:, 2:])


LOGITS = torch.tensor([[0.5, -2.0, 3.0, 1.0], [4.0, 4.0, -1.0, 0.0], [-3.0, 0.25, 0.0, 9.0]])


def test_pairs_are_in_the_order_of_the_classes():
    expected = [[float(row[a] + row[b]) for a, b in combinations(range(4), 2)] for row in LOGITS]
    assert heads.pair_logits(LOGITS).tolist() == expected
    assert heads.pair_logits(LOGITS[:, :2]).tolist() == LOGITS[:, :2].sum(1, True).tolist()


def test_scores_of_each_task_are_of_its_own_kind():
    weights = np.exp(LOGITS.double().numpy())
    shares = weights / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(heads.SCORES_OF["single"](LOGITS), shares, rtol=1e-5)
    counts = weights[:, :2] / weights[:, :2].sum(axis=1, keepdims=True)  # its labels' left out
    np.testing.assert_allclose(heads.SCORES_OF["counter"](LOGITS), counts, rtol=1e-5)
    pairs = {(a, b): weights[:, a] * weights[:, b] for a, b in combinations(range(4), 2)}
    scores = np.stack([sum(pairs[p] for p in pairs if name in p) for name in range(4)], axis=1)
    scores /= sum(pairs.values())[:, None]
    np.testing.assert_allclose(heads.SCORES_OF["two_label"](LOGITS), scores, rtol=1e-5)
    assert list(heads.SCORES_OF) == ["counter", "single", "two_label"]


class Peaks(nn.Module):
    """Answers with the two loudest bins of each clip, and what it was given."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.seen = []
        self.n_fft = 16

    def forward(self, spectrograms):
        self.seen.append((tuple(spectrograms.shape), self.training))
        return self.scale * spectrograms.mean(dim=3)[:, 0].topk(2, dim=1).indices.float()


@pytest.mark.parametrize("nb_rows", [1, 64, 150, 5010])
def test_logits_of_many_rows_are_in_their_order_and_all_there(nb_rows):
    time = torch.arange(160) / 160
    stems = torch.stack([torch.sin(2 * torch.pi * 10 * (1 + i) * time) for i in range(7)])
    rng = np.random.default_rng(4)
    pairs = [rng.permutation(7)[:2] for _ in range(nb_rows)]
    network = Peaks().train()
    logits = heads.logits_of(network, stems, np.array(pairs))
    assert logits.shape == (nb_rows, 2) and logits.dtype == torch.float32
    assert not logits.requires_grad and logits.device == CPU
    # With windows of 16 samples a bin is 10 Hz wide.
    np.testing.assert_array_equal(np.sort(logits, axis=1), 1 + np.sort(pairs, axis=1))
    sizes = [64] * (nb_rows // 64) + [nb_rows % 64] * (nb_rows % 64 > 0)
    assert network.seen == [((size, 1, 9, 41), False) for size in sizes]


def test_logits_are_those_of_levelled_clips():
    """Of a clip and of the same one softer, alone and as both its stems."""
    stems = torch.randn(1, 160, generator=torch.manual_seed(3)) * torch.tensor([[1.0], [0.01]])
    rows = np.array([[0, NO_STEM], [1, NO_STEM], [0, 1], [1, 1]])
    network = nn.Flatten()
    network.n_fft = 16
    logits = heads.logits_of(network, stems, rows)
    levelled = stems[:1] * 0.1 / stems[:1].square().mean().sqrt()
    expected = features.stft_magnitude(levelled, 16).flatten(1)
    torch.testing.assert_close(logits, expected.expand(4, -1), rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------- devices and new networks


@pytest.fixture
def devices(monkeypatch):
    """A machine that has the devices it is told to have; what was done on it is noted."""
    there, done = {"cpu"}, []

    def zeros(size, device):
        assert device.type in there
        done.append(("zeros", str(device)))

    monkeypatch.setattr(torch, "zeros", zeros)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: done.append(("threads", threads)))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in there)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in there)
    monkeypatch.setattr(cpu_speed, "keep_memory", lambda: done.append("memory is kept"))
    return there, done


@pytest.mark.parametrize(
    ("more", "chosen"), [("", "cpu"), ("mps", "mps"), ("cuda", "cuda"), ("mps cuda", "cuda")]
)
def test_auto_is_cuda_or_else_mps_or_else_the_cpu(devices, more, chosen):
    there, done = devices
    there.update(more.split())
    assert registry.choose_device("auto") == torch.device(chosen)
    assert done == [("zeros", chosen)] + ["memory is kept"] * (chosen == "cpu")


def test_a_device_that_is_named_is_taken_and_the_threads_are_set(devices):
    there, done = devices
    there.update({"cuda", "mps"})
    assert registry.choose_device("cpu", 3) == CPU
    assert registry.choose_device("cuda:1", 1) == torch.device("cuda:1")
    assert registry.choose_device("mps") == torch.device("mps")
    expected = [("threads", 3), ("zeros", "cpu"), "memory is kept", ("threads", 1)]
    assert done == [*expected, ("zeros", "cuda:1"), ("zeros", "mps")]


@pytest.mark.parametrize("kind", [RuntimeError, AssertionError, NotImplementedError, ImportError])
def test_a_device_that_is_not_there_is_named(devices, monkeypatch, kind):
    def zeros(size, device):
        raise kind("no such device " * 10)

    monkeypatch.setattr(torch, "zeros", zeros)
    with pytest.raises(InputError) as error:
        registry.choose_device("cuda:1")
    reason = ("no such device " * 10)[:80]
    assert str(error.value) == f"--device cuda:1: not to be had here ({reason})"
    for name, reason in (("meta", "good ones are auto, cpu, cuda, mps"), ("no device", "")):
        with pytest.raises(InputError, match=rf"^--device {name}: not to be had here \({reason}"):
            registry.choose_device(name)
    assert devices[1] == []


@pytest.mark.parametrize(("rate", "n_fft"), [(4000, 256), (4003, 260), (2000, 152), (22_050, 1024)])
def test_a_network_is_built_of_the_size_of_its_spectrograms(monkeypatch, rate, n_fft):
    asked = []

    def kind(*sizes):
        asked.append(sizes)
        return nn.Sequential(nn.Conv2d(2, 3, 5), nn.Dropout(0.25))

    monkeypatch.setitem(registry.NETWORKS, "isocc", kind)
    for device in (CPU, META):
        network = registry.build("isocc", 7, rate, n_fft, device)
        assert network[0].weight.device == device
        assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
        assert isinstance(network[1], nn.Dropout) == (device == META)  # quick ones are the CPU's
    bins, frames = features.stft_magnitude(torch.ones(1, 5 * rate), n_fft).shape[2:]
    assert asked == [(7, bins, frames, rate)] * 2


def test_each_name_is_its_own_network_of_the_size_asked_for():
    for model, kind in (("asc", "ASC"), ("isocc", "CNN_ISOCC"), ("logmel", "LogMel")):
        network = registry.NETWORKS[model](7, 79, 83, 4000).eval()
        assert type(network).__name__ == kind and network.dense[-1].out_features == 7
        assert network(torch.rand(2, 1, 79, 83)).shape == (2, 7)
        assert registry.attends(network) == (model in ("asc", "logmel"))


def test_what_is_too_small_for_a_network_is_said_in_words_of_the_command_line():
    with pytest.raises(InputError, match=r"^--sample-rate 2000 --n-fft 8192: .* of 5 frames"):
        registry.build("logmel", 2, 2000, 8192, CPU)
