"""The three networks, layer by layer, against slow forwards in numpy of what they are said to be.

Weights and the running means of batch norms are random, as nothing is told apart by zeros.
"""

import numpy as np
import pytest
import torch
from torch import nn

from asc_model import ASC
from CNN_ISOCC_copy import CNN_ISOCC
from pipeline.networks.logmel import LogMel


def shaken(network, seed=3):
    """The network in evaluation mode, with every weight, mean and variance another one."""
    generator = torch.manual_seed(seed)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            noise = torch.rand(value.shape, generator=generator)
            if "running_var" in name:
                value.copy_(0.5 + noise)
            elif value.ndim > 1:  # so that what goes through stays of one size
                value.copy_((2 * noise - 1) * (6 / value[0].numel()) ** 0.5)
            else:
                value.copy_(noise - 0.2)
    return network.eval()


def conv(maps, layer, padding, stride=(1, 1)):
    """Maps (channels, height, width) through a convolution that has these weights."""
    weight, bias = (None if p is None else p.detach().numpy() for p in (layer.weight, layer.bias))
    maps = np.pad(maps, ((0, 0), (padding, padding), (padding, padding)))
    pieces = np.lib.stride_tricks.sliding_window_view(maps, weight.shape[2:], axis=(1, 2))
    pieces = pieces[:, :: stride[0], :: stride[1]]
    found = np.tensordot(weight, pieces, axes=([1, 2, 3], [0, 3, 4]))
    return found if bias is None else found + bias[:, None, None]


def norm(maps, layer):
    state = {name: value.double().numpy() for name, value in layer.state_dict().items()}
    scale = state["weight"] / np.sqrt(state["running_var"] + 1e-5)
    shift = state["bias"] - scale * state["running_mean"]
    return maps * scale[:, None, None] + shift[:, None, None]


def pool(maps, high, wide):
    """The maximum of every whole piece of so many rows and columns."""
    channels, height, width = maps.shape[0], maps.shape[1] // high, maps.shape[2] // wide
    maps = maps[:, : height * high, : width * wide]
    return maps.reshape(channels, height, high, width, wide).max(axis=(2, 4))


def linear(values, layer):
    return values @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def relu(values):
    return np.maximum(values, 0)


def softmax(values):
    return np.exp(values - values.max()) / np.exp(values - values.max()).sum()


def layers_in(network):
    """Kinds of layers with what they are called for, in their order: of a dropout its share."""
    told = []
    for layer in network:
        name = type(layer).__name__
        told.append(f"{name} {layer.p}" if isinstance(layer, nn.Dropout) else name)
    return told


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


# ---------------------------------------------------------------------------------- the counter


def slow_lstm(sequence, lstm, layer, direction):
    """States (frames, 64) of one layer in one direction, by Hochreiter's equations."""
    end = f"l{layer}{direction}"
    names = (f"weight_ih_{end}", f"weight_hh_{end}", f"bias_ih_{end}", f"bias_hh_{end}")
    of_input, of_state, bias, other = (getattr(lstm, n).detach().numpy() for n in names)
    state, cell, states = np.zeros(64), np.zeros(64), []
    for value in sequence[::-1] if direction else sequence:
        gates = np.split(of_input @ value + bias + of_state @ state + other, 4)
        let_in, forget, out = (sigmoid(gates[i]) for i in (0, 1, 3))
        cell = forget * cell + let_in * np.tanh(gates[2])
        state = out * np.tanh(cell)
        states.append(state)
    return np.array(states[::-1] if direction else states)


def test_asc_against_a_slow_forward():
    network = shaken(ASC(nb_bins=11, nb_outputs=3))
    network.query.weight.data *= 3  # else it would attend to all alike
    spectrograms = torch.rand(2, 1, 11, 7, generator=torch.manual_seed(4)) * 2
    logits, attention = network(spectrograms, with_attention=True)
    assert torch.equal(network(spectrograms), logits)
    for maps, found, weights in zip(spectrograms.double().numpy(), logits, attention, strict=True):
        for at in (0, 4, 8):
            maps = norm(relu(conv(maps, network.convolutions[at], 1)), network.convolutions[at + 3])
        assert maps.shape == (1, 11, 7)
        states = maps[0].T
        for layer in (0, 1):
            both = [slow_lstm(states, network.recurrent, layer, way) for way in ("", "_reverse")]
            states = np.concatenate(both, axis=1)
        query = linear(states[6], network.query)  # of the last frame
        expected = softmax(states @ query)
        assert expected.max() > 2 / 7
        np.testing.assert_allclose(weights.detach(), expected, rtol=1e-4)
        values = expected @ states
        for at in (0, 2, 4):
            values = linear(values, network.dense[at])
            values = values if at == 4 else relu(values)
        np.testing.assert_allclose(found.detach(), values, rtol=1e-4, atol=1e-5)


def test_asc_has_these_layers():
    network = ASC()
    block = ["Conv2d", "ReLU", "Dropout 0.1", "BatchNorm2d"]
    assert layers_in(network.convolutions) == block * 3
    assert layers_in(network.dense) == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]
    shapes = [tuple(layer.weight.shape) for layer in network.convolutions[::4]]
    assert shapes == [(8, 1, 3, 3), (8, 8, 3, 3), (1, 8, 3, 3)]
    shapes = [tuple(layer.weight.shape) for layer in (network.query, *network.dense[::2])]
    assert shapes == [(128, 128), (64, 128), (32, 64), (2, 32)]
    lstm = network.recurrent
    assert (lstm.input_size, lstm.hidden_size, lstm.num_layers, lstm.dropout) == (129, 64, 2, 0)
    assert lstm.bidirectional and all(p.requires_grad for p in network.parameters())


# ------------------------------------------------------------------------------- the classifiers


def test_isocc_against_a_slow_forward():
    network = shaken(CNN_ISOCC(3, 79, 108))
    spectrograms = torch.rand(2, 1, 79, 108, generator=torch.manual_seed(4)) * 2
    logits, scores = network(spectrograms), network(spectrograms, as_scores=True)
    for maps, found, score in zip(spectrograms.double().numpy(), logits, scores, strict=True):
        for at in (0, 5, 10, 15):
            maps = relu(conv(maps, network.convolutions[at], 0))
            maps = pool(norm(maps, network.convolutions[at + 2]), 2, 2)
        assert maps.shape == (64, 1, 3)
        values = maps.reshape(-1)
        for at in (1, 4, 7):
            values = linear(values, network.dense[at])
            values = values if at == 7 else relu(values)
        np.testing.assert_allclose(found.detach(), values, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(score.detach(), sigmoid(values), rtol=1e-4)


def test_isocc_has_these_layers():
    network = CNN_ISOCC()
    block = ["Conv2d", "ReLU", "BatchNorm2d", "MaxPool2d", "Dropout 0.2"]
    assert layers_in(network.convolutions) == block * 4
    dense = ["Linear", "ReLU", "Dropout 0.5"]
    assert layers_in(network.dense) == ["Flatten", *dense, *dense, "Linear"]
    shapes = [tuple(layer.weight.shape) for layer in network.convolutions[::5]]
    assert shapes == [(16, 1, 5, 5), (32, 16, 5, 5), (64, 32, 5, 5), (64, 64, 5, 5)]
    shapes = [tuple(layer.weight.shape) for layer in network.dense[1::3]]
    assert shapes == [(1024, 64 * 4 * 15), (512, 1024), (10, 512)]


@pytest.mark.parametrize(("bins", "frames"), [(75, 76), (76, 75)])
def test_isocc_asks_for_76_by_76(bins, frames):
    with pytest.raises(ValueError, match=f"of {bins} x {frames} is too small: 76 x 76 or more"):
        CNN_ISOCC(2, bins, frames)
    assert CNN_ISOCC(2, 76, 76).dense[1].in_features == 64


# ------------------------------------------------------------------------------------- log-mel

KERNELS = (5, 3, 3, 3, 3, 3, 3)
POOLS = ((1, 1), (2, 2), (1, 1), (2, 2), (1, 1), (2, 1), (1, 1))  # mel bands x frames


def triangles(sample_rate, n_fft, nb_mels=64):
    """Slaney's mel bands: 15 mels up to 1000 Hz, from there 27 to a factor of 6.4."""

    def mel(hertz):
        return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4)

    def hertz(mels):
        return mels * 200 / 3 if mels < 15 else 1000 * 6.4 ** ((mels - 15) / 27)

    edges = [hertz(m) for m in np.linspace(0, mel(sample_rate / 2), nb_mels + 2)]
    bands = np.zeros((nb_mels, n_fft // 2 + 1))
    for (band, bin_), _ in np.ndenumerate(bands):
        low, middle, high = edges[band : band + 3]
        at = bin_ * sample_rate / n_fft
        height = min((at - low) / (middle - low), (high - at) / (high - middle))
        # A triangle of this height has the area of one bin: so a band is a mean of bins.
        bands[band, bin_] = max(0, height) * 2 / (high - low) * sample_rate / n_fft
    return bands


@pytest.mark.parametrize(("rate", "bins"), [(4000, 129), (16_000, 513)])
def test_logmel_bands_are_means_of_bins_under_slaneys_triangles(rate, bins):
    network = LogMel(2, bins, 8, rate)
    np.testing.assert_allclose(network.mel, triangles(rate, 2 * (bins - 1)), atol=1e-5)
    assert "mel" not in network.state_dict()


def test_logmel_against_a_slow_forward():
    network = shaken(LogMel(2, 129, 18, 4000))
    spectrograms = torch.rand(2, 1, 129, 18, generator=torch.manual_seed(4)) ** 3
    spectrograms[1, :, :, 5:] = 0  # a sound that ends
    logits, weights = network(spectrograms, with_attention=True)
    assert torch.equal(network(spectrograms), logits)
    for maps, found, weight in zip(spectrograms.double().numpy(), logits, weights, strict=True):
        maps = np.log10(triangles(4000, 256) @ maps + 1e-3)
        maps, at = norm(maps, network.convolutions[0]), 1
        for number, (kernel, reach) in enumerate(zip(KERNELS, POOLS, strict=True)):
            stride = (1, 2) if number == 0 else (1, 1)
            maps = conv(maps, network.convolutions[at], kernel // 2, stride)
            maps = pool(relu(norm(maps, network.convolutions[at + 1])), *reach)
            at += 3 if reach == (1, 1) else 4
        assert maps.shape == (256, 8, 2)
        frames = np.concatenate([maps.mean(axis=1), maps.max(axis=1)]).T
        frames = relu(linear(frames, network.frames[0]))
        whole = np.concatenate([frames.mean(axis=0), frames.max(axis=0)])
        expected = linear(whole, network.dense[1])
        np.testing.assert_allclose(found.detach(), expected, rtol=1e-3, atol=1e-4)
        # What a frame adds: its share of the means, and the maxima that are its own.
        rows = network.dense[1].weight.detach().numpy()
        slope, votes = rows[1] - rows[0], np.zeros(2)
        for channel in range(256):
            votes += slope[channel] * frames[:, channel] / 2
            first = frames[:, channel].argmax()
            votes[first] += slope[256 + channel] * frames[first, channel]
        expected = np.repeat(np.abs(votes), 9)  # frames of the spectrogram to one of these
        np.testing.assert_allclose(weight.detach(), expected / expected.sum(), rtol=2e-3)


def test_logmel_has_these_layers():
    network = LogMel(7, 129, 313, 4000)
    block, pooled = ["Conv2d", "BatchNorm2d", "ReLU"], "MaxPool2d"
    expected = ["BatchNorm2d", *block, *block, pooled, *block, *block, pooled, *block]
    expected += [*block, pooled, *block, "Dropout 0.2"]
    assert layers_in(network.convolutions) == expected
    assert layers_in(network.frames) == ["Linear", "ReLU", "Dropout 0.3"]
    assert layers_in(network.dense) == ["Dropout 0.3", "Linear"]
    convolutions = [layer for layer in network.convolutions if isinstance(layer, nn.Conv2d)]
    assert [layer.weight.shape[0] for layer in convolutions] == [32, 32, 64, 64, 128, 128, 256]
    assert [layer.weight.shape[2:] for layer in convolutions] == [(k, k) for k in KERNELS]
    assert all(layer.bias is None for layer in convolutions)
    assert network.frames[0].weight.shape == (256, 512)
    assert network.dense[1].weight.shape == (7, 512)


def test_logmel_gives_silent_networks_no_weights_and_takes_eight_frames():
    network = shaken(LogMel(2, 129, 8, 4000))
    nn.init.zeros_(network.dense[1].weight)
    logits, weights = network(torch.rand(2, 1, 129, 8), with_attention=True)
    assert torch.equal(logits, network.dense[1].bias.expand(2, 2)) and not weights.any()
    with pytest.raises(ValueError, match="a spectrogram of 7 frames is too short: 8 or more"):
        LogMel(2, 129, 7, 4000)


def test_logmel_hears_soft_sounds_in_full_precision():
    """Also where the rest is computed in bfloat16."""
    network, kept = shaken(LogMel(2, 129, 18, 4000)), []
    network.convolutions.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
    soft = 1e-3 * torch.rand(1, 1, 129, 18, generator=torch.manual_seed(3))
    with torch.autocast("cpu", torch.bfloat16):
        network(soft)
    expected = np.log10(triangles(4000, 256) @ soft[0, 0].double().numpy() + 1e-3)
    assert kept[0].dtype == torch.float32
    assert kept[0].is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(kept[0][0, 0], expected, atol=1e-5)
