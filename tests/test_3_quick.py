"""The quick layers of the CPU: which numbers drop what, and slow sums in double precision."""

import ctypes
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pipeline.networks import cpu_speed, registry

CPU = torch.device("cpu")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.9])
def test_of_all_numbers_of_16_bits_a_share_drops_its_value(monkeypatch, share):
    asked = []

    def every_number_once(words, low, high):
        asked.append((len(words), low, high))
        numbers = torch.arange(-(2**15), 2**15).to(torch.int16)
        return words.copy_(numbers.view(torch.int64)[: len(words)])

    dropout = cpu_speed.QuickDropout(share)
    monkeypatch.setattr(torch.Tensor, "random_", every_number_once)
    dropped = dropout(torch.full((256, 256), 3.0))
    assert (dropped == 0).sum() == round(share * 65536)
    kept = dropped[dropped != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 3 / (1 - share)))
    assert len(dropout(torch.ones(7))) == 7
    assert asked == [(16_384, -(2**63), None), (2, -(2**63), None)]  # of all words of 64 bits


def test_each_of_the_four_elements_of_a_word_is_dropped_as_often():
    torch.manual_seed(3)
    zero = cpu_speed.QuickDropout(0.1)(torch.ones(100_000, 4)) == 0
    torch.testing.assert_close(zero.double().mean(dim=0), torch.full((4,), 0.1).double(), **NEAR)
    for one, other in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)):
        assert (zero[:, one] & zero[:, other]).double().mean() == pytest.approx(0.01, abs=0.002)


NEAR = {"rtol": 0, "atol": 0.005}  # five standard deviations


def slow_norm(maps, weight, bias, eps):
    """Each channel of maps (clips, channels, height, width) by its own mean and variance."""
    channels = []
    for channel in range(maps.shape[1]):
        values = maps[:, channel]
        mean = values.sum() / values.numel()
        variance = ((values - mean) ** 2).sum() / values.numel()
        channels.append(weight[channel] * (values - mean) / (variance + eps).sqrt() + bias[channel])
    return torch.stack(channels, dim=1)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(3, 5, 4, 7), (1, 1, 2, 3), (2, 15, 3, 1)])
def test_quick_batch_norm_and_its_slopes_against_a_slow_sum(shape, memory):
    """With an eps that weighs, and channels of unequal level and spread."""
    generator = torch.manual_seed(3)
    maps = torch.randn(shape, generator=generator)
    maps = maps * torch.linspace(0.3, 3, shape[1])[:, None, None]
    maps += torch.linspace(-2, 1, shape[1])[:, None, None]
    layer = cpu_speed.QuickBatchNorm2d(shape[1], eps=0.3, momentum=0.2)
    layer.weight.data = torch.linspace(0.5, 2, shape[1])
    layer.bias.data = torch.linspace(-3, -1, shape[1])
    layer.running_mean.fill_(0.5)
    slopes = torch.randn(shape, generator=generator)
    given = [maps.to(memory_format=memory).requires_grad_(), layer.weight, layer.bias]
    exact = [value.detach().double().clone().requires_grad_() for value in given]
    expected = slow_norm(*exact, eps=0.3)
    found = layer(given[0])
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
    of_expected = torch.autograd.grad(expected, exact, slopes.double())
    for got, wanted in zip(torch.autograd.grad(found, given, slopes), of_expected, strict=True):
        torch.testing.assert_close(got.double(), wanted, rtol=1e-4, atol=1e-4)
    mean, var = maps.mean(dim=(0, 2, 3)), maps.var(dim=(0, 2, 3))  # the one of n - 1
    torch.testing.assert_close(layer.running_mean, 0.8 * 0.5 + 0.2 * mean)
    torch.testing.assert_close(layer.running_var, 0.8 * 1 + 0.2 * var)
    assert layer.num_batches_tracked == 1
    state = {name: value.clone() for name, value in layer.state_dict().items()}
    rms = (state["running_var"] + 0.3).sqrt()[:, None, None]
    steady = (maps - state["running_mean"][:, None, None]) / rms
    steady = steady * layer.weight[:, None, None] + layer.bias[:, None, None]
    torch.testing.assert_close(layer.eval()(maps), steady)
    assert all(torch.equal(value, state[name]) for name, value in layer.state_dict().items())


def test_quick_batch_norm_of_what_is_all_alike_or_of_few_digits_is_numbers():
    layer = cpu_speed.QuickBatchNorm2d(15)
    # Of some of these the mean square is a little less than the square of the mean, by rounding.
    alike = torch.linspace(100.1, 1500.7, 15).view(15, 1, 1).expand(2, 15, 40, 50)
    assert layer(alike).isfinite().all() and layer.running_var.min() >= 0.9
    coarse = torch.rand(2, 3, 4, 5, generator=torch.manual_seed(3)).bfloat16()
    found = cpu_speed.QuickBatchNorm2d(3)(coarse)
    assert found.dtype == torch.float32
    expected = slow_norm(coarse.float(), torch.ones(3), torch.zeros(3), 1e-5)
    torch.testing.assert_close(found, expected)


def test_a_network_is_quickened_through_and_through_and_stays_what_it_was():
    network = nn.Sequential(
        nn.Dropout(0.2),
        nn.Sequential(nn.Conv2d(1, 15, 3), nn.BatchNorm2d(15, eps=0.01, momentum=0.3)),
        nn.Sequential(nn.Conv2d(15, 16, 3), nn.Sequential(nn.BatchNorm2d(16), nn.Dropout(0.7))),
    )
    kept = network[2][1][0]
    assert cpu_speed.quicken(network) is network
    quick = network[1][1]
    assert type(quick) is cpu_speed.QuickBatchNorm2d
    assert (quick.num_features, quick.eps, quick.momentum) == (15, 0.01, 0.3)
    assert network[2][1][0] is kept  # of 16 channels on PyTorch's own is as fast
    for dropout, share in ((network[0], 0.2), (network[2][1][1], 0.7)):
        assert type(dropout) is cpu_speed.QuickDropout
        assert (dropout.threshold + 2**15) / 2**16 == pytest.approx(share, abs=1e-5)
        assert dropout.scale == pytest.approx(1 / (1 - share))
    assert (type(network[1][0]), type(network[2][0])) == (nn.Conv2d, nn.Conv2d)


@pytest.mark.parametrize("model", registry.NETWORKS)
def test_a_networks_answers_are_the_same_with_quick_layers(model):
    torch.manual_seed(3)
    network = registry.NETWORKS[model](3, 79, 100, 16_000).eval()
    spectrograms = torch.rand(2, 1, 64 if model == "yamnet" else 79, 100)
    before = network(spectrograms)
    dropouts = [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)]
    quick = cpu_speed.quicken(network).eval()
    torch.testing.assert_close(quick(spectrograms), before)
    scales = [m.scale for m in quick.modules() if isinstance(m, cpu_speed.QuickDropout)]
    assert scales == pytest.approx([1 / (1 - share) for share in dropouts])


@pytest.mark.parametrize(
    ("platform", "asked"), [("linux", [(-4, 0), (-1, -1)]), ("darwin", []), ("win32", [])]
)
def test_glibc_is_asked_to_map_nothing_anew_and_to_hand_nothing_back(monkeypatch, platform, asked):
    """By the numbers of M_MMAP_MAX and M_TRIM_THRESHOLD in malloc.h."""
    done = []
    library = SimpleNamespace(mallopt=lambda *words: done.append(words))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(sys, "platform", platform)
    cpu_speed.keep_memory()
    assert done == asked
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())  # another C library
    cpu_speed.keep_memory()
