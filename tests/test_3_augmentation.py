"""Augmentation of training batches: rolls, speeds, gains and masks, each drawn as it is said."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch

from pipeline.data.set_data import NO_STEM
from pipeline.networks import features

VARY = {"ROLL": False, "SPEED": 0.0, "GAIN": 0.0, "MASK": False}
NETWORK = SimpleNamespace(n_fft=16)  # takes the STFT magnitude
PAIR, SINGLE = [0, 1], [0, NO_STEM]


def slow_loop(wave):
    """The end of a clip faded into its beginning at equal power, a sample at a time."""
    nb_fade = len(wave) // 50
    nb_loop = len(wave) - nb_fade
    loop = list(wave[:nb_loop])
    for i in range(nb_fade):
        rising = i / (nb_fade - 1)
        loop[i] = math.sqrt(rising) * wave[i] + math.sqrt(1 - rising) * wave[nb_loop + i]
    return loop


def waves_of(monkeypatch, stems, rows, **vary):
    """The waveforms that an augmented batch is made of."""
    kept = []
    monkeypatch.setattr(features, "stft_magnitude", lambda waveforms, n_fft: kept.append(waveforms))
    features.augmented_features(NETWORK, stems, np.array(rows), {**VARY, **vary})
    return kept[0].double()


# ---------------------------------------------------------------------------------------- rolls


@pytest.mark.parametrize("later", [0, 1, 300, 1009, 1010, -7])
def test_a_roll_by_so_many_samples_against_a_slow_loop(later):
    waves = torch.randn(2, 1030, generator=torch.manual_seed(3))
    before = waves.clone()
    found = features.rolled(waves, later)
    assert torch.equal(waves, before)  # stems stay in memory for the next batch
    for wave, rolled in zip(waves.tolist(), found, strict=True):
        loop = slow_loop(wave)
        assert (len(loop), len(rolled)) == (1010, 1030)
        expected = [loop[(i - later) % 1010] for i in range(1030)]
        np.testing.assert_allclose(rolled, expected, atol=1e-6)


def test_the_fade_keeps_the_power_of_noise_and_has_no_seam():
    nb_fade = 400
    beginning, end = torch.zeros(2, 20_000)
    beginning[:nb_fade], end[-nb_fade:] = 1, 1
    rises, falls = features.rolled(torch.stack([beginning, end]), 0)[:, :nb_fade]
    np.testing.assert_allclose(rises**2 + falls**2, np.ones(nb_fade), atol=1e-6)
    assert (rises.diff() > 0).all() and (falls.diff() < 0).all()
    # The loop's last sample is followed by the one that followed it in the clip.
    assert (rises[0], falls[0], rises[-1], falls[-1]) == (0, 1, 1, 0)
    rest = features.rolled(end[None], 0)[0, nb_fade : 20_000 - nb_fade]
    assert not rest.any()


def test_a_clip_too_short_to_fade_is_rolled_all_the_same():
    found = features.rolled(torch.arange(40.0)[None], 3)[0]
    assert found.tolist() == [37, 38, 39, *range(37)]


def test_every_start_is_as_likely_and_each_clip_has_its_own():
    torch.manual_seed(3)
    waves = torch.arange(100.0).repeat(8000, 1)  # a loop of 98 samples, whose first is the end's
    starts = features.rolled(waves)[:, 0]
    counts = torch.unique(starts, return_counts=True)
    assert counts[0].tolist() == list(range(1, 99))
    assert scipy.stats.chisquare(counts[1]).pvalue > 0.001
    assert scipy.stats.pearsonr(starts[1:], starts[:-1]).pvalue > 0.001


def test_both_stems_of_every_clip_are_rolled_by_themselves(monkeypatch):
    """Clicks of another sign in either stem tell where each of the two begins."""
    stems = torch.zeros(2, 100)
    stems[0, 20], stems[1, 70] = 1, -1
    torch.manual_seed(4)
    waves = waves_of(monkeypatch, stems, [PAIR, [1, 0]] * 2000, ROLL=True)
    waves = waves[waves.any(dim=1)]  # one in a hundred has both at one place
    starts = torch.stack([(20 - waves.argmax(dim=1)) % 98, (70 - waves.argmin(dim=1)) % 98])
    assert all(len(some.unique()) == 98 for some in starts)
    assert scipy.stats.pearsonr(*starts).pvalue > 0.001
    # Nothing but its start is changed: each stem is there with all it has, as loud as the other.
    np.testing.assert_allclose(waves.amax(dim=1), -waves.amin(dim=1), rtol=1e-5)
    np.testing.assert_allclose(waves.square().mean(dim=1), 0.01, rtol=1e-4)


# --------------------------------------------------------------------------------------- speeds


@pytest.mark.parametrize("most", [0.25, 0.6])
def test_the_logarithm_of_a_speed_is_anywhere_as_likely(most):
    torch.manual_seed(3)
    ramps = torch.arange(100.0).repeat(3000, 1)
    played = features.at_other_speeds(ramps, most)
    speeds = played[:, 1].double()  # where a ramp is one sample later is how fast it plays
    assert speeds.min() >= 1 / (1 + most) - 1e-6 and speeds.max() <= 1 + most + 1e-6
    exponents = speeds.log() / math.log(1 + most)
    assert scipy.stats.kstest(exponents, scipy.stats.uniform(-1, 2).cdf).pvalue > 0.001
    assert scipy.stats.pearsonr(exponents[1:], exponents[:-1]).pvalue > 0.001
    for clip in range(5):
        np.testing.assert_allclose(
            played[clip, :60], speeds[clip].item() * np.arange(60), rtol=1e-5
        )


@pytest.mark.parametrize("draw", [0.0, 0.3, 1.0])
def test_what_plays_faster_goes_on_as_a_loop_to_the_last_sample(monkeypatch, draw):
    loops = features.rolled(torch.randn(2, 20_000, generator=torch.manual_seed(4)), 0)
    monkeypatch.setattr(
        torch, "rand", lambda *size, dtype, **_: torch.full(size, draw, dtype=dtype)
    )
    found = features.at_other_speeds(loops, 0.6)
    assert found.dtype == torch.float32
    times = 1.6 ** (2 * draw - 1) * np.arange(20_000)
    for loop, played in zip(loops.double().numpy(), found, strict=True):
        whole = np.tile(loop[:19_600], 3)
        expected = np.interp(times, np.arange(len(whole)), whole)
        np.testing.assert_allclose(played, expected, atol=2e-5)


@pytest.mark.parametrize("roll", [False, True])
def test_what_plays_at_other_speeds_is_a_loop_that_starts_elsewhere_only_where_asked(
    monkeypatch, roll
):
    """At a speed of nearly one the loops themselves are left."""
    stems = torch.randn(2, 1000, generator=torch.manual_seed(3))
    loops = torch.tensor([slow_loop(wave) for wave in stems.tolist()], dtype=torch.float64)
    torch.manual_seed(3)
    waves = waves_of(monkeypatch, stems, [SINGLE, [1, NO_STEM]] * 20, ROLL=roll, SPEED=1e-12)
    ratios = waves[::2, :980] / loops[0]
    assert (ratios.std(dim=1) < 1e-4 * ratios.mean(dim=1)).all() == (not roll)
    fits = torch.fft.irfft(torch.fft.rfft(waves[:, :980]) * torch.fft.rfft(loops[0]).conj(), n=980)
    highest, starts = fits[::2].max(dim=1)
    power = (waves[::2, :980].square().sum(dim=1) * loops[0].square().sum()).sqrt()
    np.testing.assert_allclose(highest, power, rtol=1e-3)
    assert len(starts.unique()) > 15 if roll else not starts.any()


def test_both_stems_of_every_clip_have_a_speed_of_their_own(monkeypatch):
    """Sines of two registers tell both speeds, also beyond a quarter."""
    time = torch.arange(8000) / 4000
    stems = torch.stack([torch.sin(2 * torch.pi * f * time) for f in (200, 1000)])
    torch.manual_seed(3)
    waves = waves_of(monkeypatch, stems, [PAIR] * 300, SPEED=0.5)
    spectra = torch.fft.rfft(waves * torch.hann_window(8000), dim=1).abs()
    low, high = spectra[:, :750].argmax(dim=1) / 400, spectra[:, 1200:].argmax(dim=1) + 1200
    speeds = torch.stack([low, high / 2000])
    assert (speeds.amin(dim=1) < 0.7).all() and (speeds.amax(dim=1) > 1.45).all()
    assert speeds.min() > 0.66 and speeds.max() < 1.51
    assert scipy.stats.pearsonr(*speeds.log()).pvalue > 0.001


# ---------------------------------------------------------------------------------------- gains

LOUD = torch.tensor([[2.0, 0, -2, 0] * 16, [0, 1.0, 0, -1] * 16])  # one has what the other lacks


def test_the_gain_is_uniform_in_decibels_and_each_mixtures_own(monkeypatch):
    torch.manual_seed(3)
    waves = waves_of(monkeypatch, LOUD, [PAIR] * 3000, GAIN=9.0)
    decibels = 20 * torch.log10(2 * waves[:, 1] / waves[:, 0])
    assert scipy.stats.kstest(decibels, scipy.stats.uniform(-9, 18).cdf).pvalue > 0.001
    assert scipy.stats.pearsonr(decibels[1:], decibels[:-1]).pvalue > 0.001
    np.testing.assert_allclose(waves.square().mean(dim=1), 0.01, rtol=1e-4)


def test_the_gain_is_the_second_stems(monkeypatch):
    draws = torch.tensor([[0.0], [0.5], [0.75], [1.0]])
    monkeypatch.setattr(torch, "rand", lambda *_, **__: draws)
    waves = waves_of(monkeypatch, LOUD, [PAIR, [1, 0], PAIR, PAIR], GAIN=6.0)
    ratios = (2 * waves[:, 1] / waves[:, 0]).log10() * 20  # of the second stem to the first
    np.testing.assert_allclose(ratios, [-6, 0, 3, 6], atol=1e-4)


def test_a_single_clip_has_no_gain_and_who_names_none_gets_none(monkeypatch):
    rows = [SINGLE, [1, NO_STEM], [1, 1]]
    plain = waves_of(monkeypatch, LOUD, rows)
    np.testing.assert_allclose(plain[1], plain[2], atol=1e-7)
    np.testing.assert_allclose(waves_of(monkeypatch, LOUD, rows[:2], GAIN=40.0), plain[:2])
    constants = {name: value for name, value in VARY.items() if name != "GAIN"}
    monkeypatch.undo()
    found = features.augmented_features(NETWORK, LOUD, np.array([PAIR]), constants)
    assert torch.equal(found, features.augmented_features(NETWORK, LOUD, np.array([PAIR]), VARY))


# ---------------------------------------------------------------------------------------- masks


def test_masks_of_every_width_lie_anywhere_as_likely():
    """Of 17 bins up to 2, of 41 frames up to 5; where they begin leaves room for the widest."""
    torch.manual_seed(3)
    whole = torch.rand(6000, 1, 17, 41) + 0.5
    before = whole.clone()
    found = features.masked(whole)
    assert torch.equal(whole, before) and found.dtype == torch.float32
    hidden = (found == 0)[:, 0]
    assert torch.equal(found[:, 0], torch.where(hidden, 0, whole[:, 0]))
    widths = []
    for one, size, widest in ((hidden.all(dim=2), 17, 2), (hidden.all(dim=1), 41, 5)):
        width, start = one.sum(dim=1), one.int().argmax(dim=1)
        places = torch.arange(size)
        piece = (places >= start[:, None]) & (places < (start + width)[:, None])
        assert torch.equal(one, piece)
        table = torch.zeros(widest + 1, size, dtype=torch.long)
        table.index_put_((width, start), torch.tensor(1), accumulate=True)
        assert scipy.stats.chisquare(table.sum(dim=1)).pvalue > 0.001
        assert not table[1:, size - widest + 1 :].any()
        starts = table[1:, : size - widest + 1].flatten()
        assert (starts > 0).all() and scipy.stats.chisquare(starts).pvalue > 0.001
        widths.append(width)
    both = torch.zeros(3, 6, dtype=torch.long)
    both.index_put_(tuple(widths), torch.tensor(1), accumulate=True)
    assert scipy.stats.chisquare(both.flatten()).pvalue > 0.001  # the axes know nothing of another


def test_features_are_masked_last_of_all():
    """So that what is hidden is nothing at all, and does not make the rest louder."""
    stems = torch.randn(3, 800, generator=torch.manual_seed(3))
    rows = np.array([PAIR, [2, NO_STEM]] * 10)
    vary = {**VARY, "ROLL": True, "SPEED": 0.25, "GAIN": 6.0}
    torch.manual_seed(4)
    plain = features.augmented_features(NETWORK, stems, rows, vary)
    torch.manual_seed(4)
    found = features.augmented_features(NETWORK, stems, rows, {**vary, "MASK": True})
    assert plain.shape == found.shape == (20, 1, 9, 201) and (plain > 0).all()
    assert torch.equal(found, plain * (found > 0))
    assert ((found == 0).sum(dim=(1, 2, 3)) > 0).sum() > 10
