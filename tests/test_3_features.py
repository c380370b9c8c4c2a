"""Features of batches, and what makes their training faster."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import HERE
from torch import nn

from pipeline.data import set_data
from pipeline.networks import cpu_speed, features, registry


def test_waveforms_of_a_batch_against_a_slow_sum():
    stems = torch.rand(4, 100, generator=torch.manual_seed(0)) - 0.5
    stems[3] = 0
    rows = np.array([[0, 1], [2, set_data.NO_STEM], [0, 3], [3, set_data.NO_STEM]])
    got = features.waveforms_of(stems, rows)
    for wave, (a, b) in zip(got, rows, strict=True):
        expected = stems[a] + (stems[b] if b >= 0 else 0)
        rms = expected.double().square().mean().sqrt()
        torch.testing.assert_close(wave, (expected * 0.1 / rms).nan_to_num().float())


VARY = {"ROLL": False, "SPEED": 0.0, "GAIN": 0.0, "MASK": False}
NETWORK = SimpleNamespace(n_fft=256)  # takes the STFT magnitude


def test_a_batch_without_augmentation_is_that_of_validation():
    stems, rows = torch.rand(4, 20_000), np.array([[0, 1], [2, -1], [3, 0]])
    found = features.augmented_features(NETWORK, stems, rows, VARY)
    assert torch.equal(found, features.stft_magnitude(features.waveforms_of(stems, rows), 256))


def test_rolled_stems_go_on_where_they_start_and_fade_where_they_end():
    torch.manual_seed(0)
    waves = torch.arange(1000.0).repeat(50, 1)
    rolled = features.rolled(waves)
    steps = rolled.diff(dim=1)
    nb_fade = int(features.FADE_SHARE * 1000)
    # Behind the fade every sample is followed by the one that followed it.
    assert ((steps - 1).abs() < 1e-3).sum(dim=1).min() >= 999 - 2 * nb_fade
    assert len(rolled[:, 0].unique()) > 40
    torch.manual_seed(0)
    assert torch.equal(features.rolled(waves), rolled)
    later = features.rolled(waves, later=300)
    torch.testing.assert_close(later[:, 300 + nb_fade :], waves[:, nb_fade:-300])
    assert len(later.unique(dim=0)) == 1


def test_rolling_leaves_no_seam(monkeypatch):
    """A seam a stem would tell mixtures from single clips."""
    waves = []
    monkeypatch.setattr(
        features, "stft_magnitude", lambda waveforms, n_fft: waves.append(waveforms)
    )
    stems = torch.linspace(-1, 1, 20_000).repeat(2, 1) * torch.tensor([[1.0], [0.7]])
    features.augmented_features(
        NETWORK, stems, np.array([[0, -1], [0, 1]] * 20), {**VARY, "ROLL": True}
    )
    levels = waves[0].abs().amax(dim=1)
    assert (waves[0].diff(dim=1).abs().amax(dim=1) < 0.1 * levels).all()


@pytest.mark.parametrize("roll", [True, False])
def test_stems_play_up_to_a_quarter_faster_or_slower_and_leave_no_seam(monkeypatch, roll):
    """A sine's frequency tells its speed; that of the second stem is drawn by itself."""
    waves = []
    monkeypatch.setattr(
        features, "stft_magnitude", lambda waveforms, n_fft: waves.append(waveforms)
    )
    stems = torch.sin(2 * torch.pi * 401.3 / 4000 * torch.arange(20_000))[None].repeat(2, 1)
    torch.manual_seed(0)
    varied = {**VARY, "ROLL": roll, "SPEED": 0.25}
    features.augmented_features(NETWORK, stems, np.array([[0, -1]] * 300 + [[0, 1]] * 50), varied)
    spectra = torch.fft.rfft(waves[0] * torch.hann_window(20_000), dim=1).abs()
    speeds = spectra.argmax(dim=1)[:300] / 5 / 401.3  # bins are a fifth of a hertz
    assert 0.799 < speeds.min() < 0.82 and 1.22 < speeds.max() < 1.251
    assert abs(speeds.log().mean()) < 0.03  # as often slower as faster: a standard error of 0.0075
    both = (spectra[300:] > spectra[300:].amax(dim=1, keepdim=True) / 3).nonzero()
    spread = [both[both[:, 0] == i, 1] for i in range(50)]
    assert sum((bins.max() - bins.min()).item() > 50 for bins in spread) > 40  # two frequencies
    steps = waves[0][:300].diff(dim=1).abs().amax(dim=1) / waves[0][:300].abs().amax(dim=1)
    assert (steps < 1.05 * 2 * np.sin(np.pi * 1.25 * 401.3 / 4000)).all()


def test_a_speed_of_its_own_is_linear_interpolation(monkeypatch):
    """Against numpy's, of the loop that `rolled` gives."""
    torch.manual_seed(0)
    rolled = features.rolled(torch.randn(3, 1000))
    exponents = torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64)
    monkeypatch.setattr(torch, "rand", lambda *_, **__: (exponents + 1) / 2)
    found = features.at_other_speeds(rolled, 0.25)
    for wave, played, factor in zip(rolled, found, (0.8, 1, 1.25), strict=True):
        expected = np.interp(factor * np.arange(1000), np.arange(980), wave[:980], period=980)
        np.testing.assert_allclose(played, expected, atol=1e-5)


def test_the_second_stem_is_at_most_so_many_decibels_away():
    """Stems that are sines of two frequencies: their levels are read off the spectrum."""
    time = torch.arange(20_000) / 4000
    stems = torch.stack([torch.sin(2 * torch.pi * f * time) for f in (500, 1500)])
    torch.manual_seed(0)
    rows = np.array([[0, 1]] * 200)
    spectrograms = features.augmented_features(NETWORK, stems, rows, {**VARY, "GAIN": 6.0})[:, 0]
    first, second = spectrograms[:, 32, 150], spectrograms[:, 96, 150]
    decibels = 20 * torch.log10(second / first)
    assert -6.01 < decibels.min() < -5.5 and 5.5 < decibels.max() < 6.01
    assert abs(decibels.mean()) < 0.75  # uniform: a standard error of 0.25
    levels = spectrograms.square().mean(dim=(1, 2))
    assert levels.std() / levels.mean() < 0.01  # the whole is levelled after the gain


def test_masks_hide_one_band_and_one_stretch_of_each_clip():
    torch.manual_seed(0)
    ones = torch.ones(400, 1, 129, 313)
    hidden = features.masked(ones)[:, 0] == 0
    bins, frames = hidden.all(dim=2), hidden.all(dim=1)
    assert torch.equal(hidden, bins[:, :, None] | frames[:, None, :])
    for some, size in ((bins, 129), (frames, 313)):
        widths = some.sum(dim=1)
        assert widths.min() == 0 and widths.max() == size // 8
        assert widths.float().mean() == pytest.approx(size / 16, rel=0.1)
        edges = (some[:, 1:] != some[:, :-1]).sum(dim=1) + some[:, 0].int() + some[:, -1].int()
        assert edges.max() == 2  # one piece
        assert some.any(dim=0).float().mean() > 0.95  # anywhere


def test_magnitudes_are_those_of_complex_numbers():
    spectra = torch.randn(3, 129, 50, dtype=torch.complex64)
    spectra[0] = 0
    torch.testing.assert_close(features.magnitudes_of(spectra), spectra.abs())


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(3, 8, 31, 17), (1, 1, 1, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_quick_dropout_is_dropout(memory, shape, dtype):
    dropout = cpu_speed.QuickDropout(0.2)
    values = torch.ones(shape, dtype=dtype).to(memory_format=memory).requires_grad_()
    torch.manual_seed(0)
    dropped = dropout(values)
    dropped.sum().backward()
    assert set(dropped.unique().tolist()) <= {0.0, 1.25}
    assert torch.equal(values.grad, dropped) and dropped.dtype == dtype
    torch.manual_seed(0)
    assert torch.equal(dropout(values), dropped)
    assert torch.equal(dropout.eval()(values), values)


def test_quick_dropout_drops_its_share_independently():
    torch.manual_seed(0)
    kept = cpu_speed.QuickDropout(0.1)(torch.ones(1000, 1000)) > 0
    assert kept.float().mean() == pytest.approx(0.9, abs=0.002)  # six standard deviations
    neighbours = (kept[:, 1:] & kept[:, :-1]).float().mean()
    assert neighbours == pytest.approx(0.81, abs=0.003)
    assert kept.float().mean(dim=0).std() == pytest.approx((0.09 / 1000) ** 0.5, rel=0.15)


@pytest.mark.parametrize("shape", [(4, 8, 29, 31), (2, 1, 5, 7)])
def test_quick_batch_norm_is_batch_norm(shape):
    torch.manual_seed(0)
    plain, quick = nn.BatchNorm2d(shape[1]), cpu_speed.QuickBatchNorm2d(shape[1])
    with torch.no_grad():
        plain.weight.uniform_(0.5, 2)
        plain.bias.uniform_(-1, 1)
    quick.load_state_dict(plain.state_dict())
    for _ in range(3):
        values = 3 * torch.rand(shape) + torch.rand(shape[1], 1, 1)
        slopes = torch.randn(shape)
        found = []
        for layer, memory in ((plain, torch.contiguous_format), (quick, torch.channels_last)):
            given = values.to(memory_format=memory).requires_grad_()
            out = layer(given)
            wanted = (given, layer.weight, layer.bias)
            found.append([out, *torch.autograd.grad(out, wanted, slopes)])
        for expected, got in zip(*found, strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert plain.state_dict().keys() == quick.state_dict().keys()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(quick.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    assert torch.equal(plain.eval()(values), nn.BatchNorm2d.forward(plain, values))
    torch.testing.assert_close(quick.eval()(values), plain(values))


def test_layers_of_few_channels_on_the_cpu_have_quick_batch_norms():
    network = registry.build("asc", 2, 4000, 256, torch.device("cpu"))
    found = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [type(m) for m in found] == [cpu_speed.QuickBatchNorm2d] * 3
    network = registry.build("isocc", 2, 4000, 256, torch.device("cpu"))
    assert not any(isinstance(m, cpu_speed.QuickBatchNorm2d) for m in network.modules())


def test_every_dropout_of_a_network_on_the_cpu_is_a_quick_one():
    network = registry.build("isocc", 10, 4000, 256, torch.device("cpu"))
    found = [m for m in network.modules() if isinstance(m, (nn.Dropout, cpu_speed.QuickDropout))]
    assert len(found) == 6 and all(isinstance(m, cpu_speed.QuickDropout) for m in found)


FAULTS = """
import resource, sys, torch
from pipeline.networks import cpu_speed
if sys.argv[1] == "keep":
    cpu_speed.keep_memory()
for _ in range(60):
    torch.zeros(20_000_000)  # 80 MB, 20,000 pages
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's own doing")
def test_memory_that_was_freed_serves_again():
    def faults(word):
        command = [sys.executable, "-c", FAULTS, word]
        return int(subprocess.run(command, cwd=HERE, capture_output=True, check=True).stdout)

    assert faults("keep") < faults("let go") / 2
