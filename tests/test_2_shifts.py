"""Clips as other recorders would have them: each shift is what shifts.toml says, measured."""

import numpy as np
import pytest
import scipy.signal
import soundfile as sf

from crs_lib import InputError
from pipeline.data import shifts

RATE = 16_000
NAMES = shifts.names()
HAS_MP3 = "MP3" in sf.available_formats()


def noises(nb_clips=3, seconds=5):
    return 0.1 * np.random.default_rng(3).standard_normal((nb_clips, seconds * RATE)).astype("f")


def spectrum(wave):
    """Mean power at frequencies 0, 125, 250, ... Hz."""
    return scipy.signal.welch(wave, RATE, nperseg=128)[1]


def number_of(name):
    return next(number for number, found in enumerate(NAMES) if found.startswith(name))


def shifted(name, clips):
    return shifts.shifted(clips, RATE, number_of(name))


@pytest.mark.parametrize("number", range(len(NAMES)))
def test_a_shift_keeps_the_shape_and_repeats_itself(number):
    if NAMES[number].startswith("MP3") and not HAS_MP3:
        pytest.skip("this libsndfile has no MP3")
    clips = noises(3, 2)
    before = clips.copy()
    found = shifts.shifted(clips, RATE, number)
    assert (found.shape, found.dtype) == (clips.shape, np.float32)
    assert np.isfinite(found).all() and np.array_equal(clips, before)
    assert np.array_equal(found, shifts.shifted(clips, RATE, number))
    # A clip's random numbers are those of its row, whoever comes behind it.
    assert np.array_equal(found[:2], shifts.shifted(clips[:2], RATE, number))
    assert not np.allclose(found, clips, atol=1e-3)


def test_there_are_as_many_kinds_as_the_file_names():
    _, found = shifts.read()
    assert len(set(NAMES)) == len(found) == 8
    assert {shift["kind"] for shift in found} == set(shifts.KINDS)


def test_an_equalisation_is_a_gain_of_up_to_9_db_in_each_octave_a_clip_its_own():
    clips = noises(20)
    found = shifted("equalised", clips)
    gains = []
    for clip, other in zip(clips, found, strict=True):
        gain = 10 * np.log10(spectrum(other) / spectrum(clip))[1:-1]
        assert np.abs(gain).max() < 9.3
        gains.append(gain[[3, 7, 15, 31]])  # 500, 1000, ... Hz
    gains = np.array(gains)
    assert np.abs(gains).max() > 7 and np.abs(gains.mean(axis=0)).max() < 4
    assert np.abs(np.corrcoef(gains.T) - np.eye(4)).max() < 0.75


@pytest.mark.parametrize("hz", [4000, 6000])
def test_a_low_pass_leaves_what_lies_below(hz):
    clips = noises(1)
    found = shifted(f"low-pass at {hz // 1000} kHz", clips)
    gain = 10 * np.log10(spectrum(found[0]) / spectrum(clips[0]))
    place = hz // 125
    assert np.abs(gain[1 : place * 7 // 10]).max() < 0.5
    assert gain[place] == pytest.approx(-3, abs=1)
    assert gain[place * 5 // 4 :].max() < -12


def test_a_rate_that_holds_nothing_above_is_left_as_it_is():
    clip, rng = noises(1)[0], np.random.default_rng(0)
    assert shifts.low_pass(clip, 8000, rng, hz=4000) is clip


@pytest.mark.skipif(not HAS_MP3, reason="this libsndfile has no MP3")
def test_an_mp3_is_in_time_and_alike_but_not_the_same():
    times = np.arange(5 * RATE) / RATE
    clip = (0.2 * np.sin(2 * np.pi * (300 + 200 * times) * times)).astype("f")
    (found,) = shifted("MP3", clip[None])
    middle = slice(RATE, 4 * RATE)
    assert np.corrcoef(found[middle], clip[middle])[0, 1] > 0.99
    loud = shifted("MP3", 30 * clip[None])[0]  # beyond full scale it is not clipped
    assert np.abs(loud).max() > 5


@pytest.mark.skipif(not HAS_MP3, reason="this libsndfile has no MP3")
@pytest.mark.parametrize("rate", [2000, 4000, 22_050])
def test_clips_of_rates_that_mp3_does_not_know_become_mp3s_too(rate):
    times = np.arange(2 * rate) / rate
    clip = (0.2 * np.sin(2 * np.pi * 300 * times)).astype("f")
    (found,) = shifts.shifted(clip[None], rate, number_of("MP3"))
    middle = slice(rate // 2, 3 * rate // 2)
    assert len(found) == len(clip)
    assert np.corrcoef(found[middle], clip[middle])[0, 1] > 0.99


@pytest.mark.skipif(not HAS_MP3, reason="this libsndfile has no MP3")
def test_an_mp3_has_the_bit_rate_that_is_said(monkeypatch):
    sizes = []
    read = sf.read
    monkeypatch.setattr(
        sf, "read", lambda file, **more: sizes.append(len(file.getvalue())) or read(file, **more)
    )
    shifted("MP3", noises(1, 20))
    assert sizes[0] * 8 / 20 / 1000 == pytest.approx(32, rel=0.03)


def test_where_no_mp3_can_be_written_it_is_said(monkeypatch):
    def refuse(*_, **__):
        raise sf.LibsndfileError(1)

    monkeypatch.setattr(shifts.sf, "write", refuse)
    with pytest.raises(InputError, match="this soundfile cannot write MP3"):
        shifted("MP3", noises(1))


def test_a_room_answers_a_click_for_six_tenths_of_a_second():
    click = np.zeros((1, 2 * RATE), "f")
    click[0, 100] = 1
    (found,) = shifted("reverberation", click)
    assert found[100] == pytest.approx(1, abs=1e-5) and np.abs(found[:100]).max() < 1e-6
    tail = found[101:].astype(float)
    assert (tail**2).sum() == pytest.approx(1, rel=1e-3)  # as much as the direct sound
    assert np.abs(tail[int(0.6 * RATE) :]).max() < 1e-6
    # Schroeder's backward integral falls by 60 dB over the whole, so by 20 dB over a third.
    left_db = 10 * np.log10(np.cumsum(tail[::-1] ** 2)[::-1][: int(0.5 * RATE)])
    assert left_db[int(0.3 * RATE)] - left_db[int(0.1 * RATE)] == pytest.approx(-20, abs=1.5)


@pytest.mark.parametrize("below", [20, 10])
def test_noise_lies_so_far_below_and_is_coloured(below):
    clips = noises(12)
    added = shifted(f"noise {below} dB", clips).astype(float) - clips
    ratio = (added**2).mean(axis=1) / (clips.astype(float) ** 2).mean(axis=1)
    np.testing.assert_allclose(10 * np.log10(ratio), -below, atol=0.01)
    slopes = []
    for noise in added:
        power = spectrum(noise)[[2, 4, 8, 16, 32]]
        slopes.append(-np.polyfit(np.log(2.0 ** np.arange(5)), np.log(power), 1)[0])
    assert -0.2 < min(slopes) < 0.6 and 1.4 < max(slopes) < 2.2


def test_a_tenth_of_the_samples_is_clipped():
    clips = noises(2)
    found = shifted("a tenth", clips)
    for clip, other in zip(clips, found, strict=True):
        most = np.abs(other).max()
        assert (np.abs(clip) > most).mean() == pytest.approx(0.1, abs=0.001)
        np.testing.assert_allclose(other, np.clip(clip, -most, most), atol=1e-7)


def test_silence_stays_silence():
    for number, name in enumerate(NAMES):
        if name.startswith("MP3") and not HAS_MP3:
            continue
        found = shifts.shifted(np.zeros((1, RATE), "f"), RATE, number)
        assert np.abs(found).max() < 1e-4, name
