"""Windows of recordings, and what spans become of their labels.

The recordings are made of tones, a class each, so that the truth is known; a stand-in predicts a
class where its tone fills so many seconds of a window, whatever a network may need.
"""

import tracemalloc
from functools import partial

import numpy as np
import pytest
import soundfile as sf
import soxr
import torch

from crs_lib import InputError
from pipeline.inference import classify, timeline
from pipeline.networks import registry

RATE = 4000
TONES = {"a": 300, "b": 700, "c": 1300}  # Hz


def recording(path, seconds, *sounds, rate=44_100, noise=0.0):
    """A WAV of tones: each sound is (class, start, end), in seconds."""
    wave = noise * np.random.default_rng(0).standard_normal(round(seconds * rate))
    for name, start, end in sounds:
        piece = wave[round(start * rate) : round(end * rate)]
        time = np.arange(len(piece)) / rate
        # Faded, so that no resampler rings into the silence beside.
        fade = np.clip(np.minimum(time, time[::-1]) / 0.02, 0, 1)
        piece += 0.2 * np.sin(2 * np.pi * TONES[name] * time) * fade
    sf.write(path, wave, rate)
    return path


def predict(windows, least_seconds):
    """A stand-in: a class counts where its tone fills `least_seconds` of a window or more.

    As networks do it always names something that is there.
    """
    quarters = windows.reshape(len(windows), 20, RATE // 4)
    time = np.arange(RATE // 4) / RATE
    waves = np.exp(2j * np.pi * time * np.array([*TONES.values()])[:, None])
    levels = 2 * np.abs(quarters @ waves.T) / len(time)  # (windows, quarters, classes)
    scores = (levels > 0.1).mean(axis=1)
    most = scores.max(axis=1, keepdims=True)
    named = (scores * 5 >= least_seconds) | ((scores == most) & (most > 0))
    silent = classify.silent_seconds(windows)
    counts = named.sum(axis=1)
    return classify.Predicted(counts, np.ones(len(counts), np.float32), named, scores, silent)


def spans_of(path, least_seconds):
    got, seconds = classify.predict_recording(
        path, RATE, partial(predict, least_seconds=least_seconds)
    )
    found = timeline.spans(got.labels, got.scores, got.silent, seconds, [*TONES])
    return [(span.name, span.start, span.end) for span in found]


# -------------------------------------------------------------------------------------- windows


@pytest.mark.parametrize("rate", [4000, 8000, 22_050, 44_100, 96_000])
@pytest.mark.parametrize("seconds", [6.2, 16.0, 70.3])
def test_windows_are_those_of_the_whole_recording(tmp_path, rate, seconds):
    """Read at once, resampled at once, cut one by one."""
    rng = np.random.default_rng(1)
    wave = np.cumsum(rng.standard_normal((round(seconds * rate), 2)), axis=0)
    sf.write(tmp_path / "a.wav", 1.2 * wave / np.abs(wave).max(), rate, subtype="FLOAT")
    parts = list(classify.windows_of(tmp_path / "a.wav", RATE))
    windows = np.concatenate([part for part, _ in parts])
    assert max(len(part) for part, _ in parts) <= classify.BLOCK_SECONDS
    nb_heard = sum(nb_new for _, nb_new in parts)
    assert nb_heard == pytest.approx(seconds * RATE, abs=1)
    samples = sf.read(tmp_path / "a.wav", dtype="float32")[0].mean(axis=1)
    whole = soxr.resample(samples, rate, RATE, quality="HQ")
    assert len(windows) == np.ceil(seconds - 5) + 1
    for start, window in enumerate(windows):
        piece = whole[start * RATE : (start + 5) * RATE]
        piece = piece / max(1, np.abs(piece).max() * 32768 / 32767)
        np.testing.assert_allclose(window[: len(piece)], piece, atol=1.1 / 32768)
        assert not window[len(piece) :].any()


@pytest.mark.parametrize("seconds", [0.3, 5, 6])
def test_a_recording_of_up_to_six_seconds_is_one_window(tmp_path, seconds):
    path = recording(tmp_path / "a.wav", seconds, ("a", 0, 9))
    ((windows, nb_heard),) = classify.windows_of(path, RATE)
    assert windows.shape == (1, 5 * RATE) and nb_heard == min(seconds, 5) * RATE


def test_what_an_encoder_adds_is_no_second(tmp_path):
    assert spans_of(recording(tmp_path / "a.wav", 12.05, ("a", 0, 20)), 1) == [("a", 0, 12)]
    ((name, start, end),) = spans_of(recording(tmp_path / "b.wav", 12.3, ("a", 0, 20)), 1)
    assert (name, start) == ("a", 0) and end == pytest.approx(12.3, abs=1e-3)


def test_a_recording_that_ends_too_early_is_heard_to_there(tmp_path):
    path = recording(tmp_path / "a.wav", 60, ("a", 0, 60), rate=8000)
    path.write_bytes(path.read_bytes()[: 44 + 2 * 8000 * 20])
    assert spans_of(path, 1) == [("a", 0, 20)]
    path = recording(tmp_path / "b.flac", 60, ("a", 0, 60), rate=8000)
    path.write_bytes(path.read_bytes()[:-20_000])
    with pytest.raises(InputError, match=r"b\.flac: cannot be read as sound"):
        spans_of(path, 1)


def test_a_long_recording_must_be_finite(tmp_path):
    wave = np.zeros(40 * RATE, dtype=np.float32)
    wave[35 * RATE] = np.nan
    sf.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
    with pytest.raises(InputError, match=r"a\.wav: cannot be read .* not finite"):
        spans_of(tmp_path / "a.wav", 1)


# -------------------------------------------------------------------------------------- silence


def test_silence_is_what_is_softer_than_the_threshold():
    windows = np.zeros((1, 5 * RATE), dtype=np.float32)
    tone = np.sin(np.arange(RATE)).astype(np.float32) * 2**0.5  # of an RMS of one
    windows[0, RATE : 2 * RATE] = 1.05 * classify.SILENT_RMS * tone
    windows[0, 2 * RATE : 3 * RATE] = 0.95 * classify.SILENT_RMS * tone
    windows[0, 3 * RATE : 4 * RATE] = 0.3  # a constant is no sound
    assert classify.silent_seconds(windows).tolist() == [[True, False, True, True, True]]
    assert 20 * np.log10(classify.SILENT_RMS) == pytest.approx(-66, abs=0.1)  # as README has it


def test_silent_windows_go_to_no_network_and_others_do_not_hear_them():
    device = torch.device("cpu")
    content = {"classes": [*TONES], "constants": {"N_FFT": 256, "SAMPLE_RATE": RATE}}
    torch.manual_seed(0)
    sizes = {"counter": ("asc", 2), "single": ("isocc", 3), "two_label": ("isocc", 3)}
    trained = {
        task: (registry.build(model, nb, RATE, 256, device).eval(), content)
        for task, (model, nb) in sizes.items()
    }
    windows = np.random.default_rng(0).uniform(-0.1, 0.1, (4, 5 * RATE)).astype(np.float32)
    windows[[0, 2]] *= 1e-3
    got = classify.predict(windows, trained, device)
    assert (got.counts > 0).tolist() == [False, True, False, True]
    assert got.labels.sum(axis=1).tolist() == got.counts.tolist()
    assert not got.scores[[0, 2]].any() and got.silent.all(axis=1).tolist() == [1, 0, 1, 0]
    for row in range(4):
        alone = classify.predict(windows[row : row + 1], trained, device)
        for together, one in zip(got, alone, strict=True):
            np.testing.assert_allclose(together[row], one[0], atol=1e-5)
    silence = classify.predict(np.zeros((2, 5 * RATE), np.float32), trained, device)
    assert not silence.counts.any() and (silence.count_scores == 1).all()


# ---------------------------------------------------------------------------------------- spans


def test_two_sounds_that_overlap(tmp_path):
    """8 s: the few windows of so short a recording tell the parts apart where half is needed."""
    path = recording(tmp_path / "a.wav", 8, ("a", 0, 5), ("b", 3, 8))
    assert spans_of(path, 2.5) == [("a", 0, 5), ("b", 3, 8)]
    assert spans_of(path, 0.5) == [("a", 0, 8), ("b", 0, 8)]  # all four windows hold both


@pytest.mark.parametrize(("least_seconds", "off"), [(0.25, 1), (1, 1), (2.5, 0), (4, 0)])
def test_one_sound_after_the_other(tmp_path, least_seconds, off):
    path = recording(tmp_path / "a.wav", 10, ("a", 0, 5), ("b", 5, 10))
    assert spans_of(path, least_seconds) == [("a", 0, 5 + off), ("b", 5 - off, 10)]


@pytest.mark.parametrize("least_seconds", [0.25, 1, 2.5])
@pytest.mark.parametrize("noise", [0.0, 2e-4])
def test_silence_between_two_sounds(tmp_path, least_seconds, noise):
    path = recording(tmp_path / "a.wav", 12, ("a", 0, 5), ("b", 7, 12), noise=noise)
    assert spans_of(path, least_seconds) == [("a", 0, 5), (None, 5, 7), ("b", 7, 12)]


@pytest.mark.parametrize("least_seconds", [0.25, 1, 1.5, 2, 2.5, 3])
def test_spans_are_a_second_off_at_most(tmp_path, least_seconds):
    """Sounds of 10 s and more, that overlap or not, for stand-ins that need up to 3 of 5 s."""
    sounds = [("a", 0, 15), ("b", 15, 40), ("c", 28, 50), ("a", 50, 60)]
    found = spans_of(recording(tmp_path / "a.wav", 60, *sounds), least_seconds)
    assert len(found) == len(sounds)
    for (name, start, end), (truth, begins, ends) in zip(found, sounds, strict=True):
        assert name == truth and abs(start - begins) <= 1 and abs(end - ends) <= 1


def test_an_hour(tmp_path):
    """Every minute another sound for 20 s; no more memory than for five minutes."""
    peaks = []
    for minutes in (5, 60):
        sounds = [("abc"[i % 3], 60 * i + 10, 60 * i + 30) for i in range(minutes)]
        path = recording(tmp_path / "a.wav", 60 * minutes, *sounds, rate=8000)
        tracemalloc.start()
        found = spans_of(path, 1.0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        expected = [(None, 0, 10)]
        for i, (name, start, end) in enumerate(sounds):
            expected += [(name, start, end), (None, end, 60 * i + 70)]
        assert found == [*expected[:-1], (None, 60 * minutes - 30, 60 * minutes)]
    assert peaks[1] < peaks[0] + 2e6  # a window's answers are 100 bytes, its samples 80,000


def test_seconds_against_a_slow_count():
    rng = np.random.default_rng(3)
    named = rng.random((40, 3)) < 0.6
    named[np.arange(40), rng.integers(3, size=40)] = True  # each window names something
    quiet = rng.random(44) < 0.2
    silent = np.array([quiet[start : start + 5] for start in range(40)])
    named &= ~silent.all(axis=1, keepdims=True)
    found = timeline.classes_of_seconds(named, silent)
    assert found.shape == (44, 3)
    for second in range(44):
        windows = [start for start in range(40) if start <= second < start + 5]
        votes = [sum(named[start][c] for start in windows) for c in range(3)]
        agreed = [vote * 5 >= 4 * len(windows) for vote in votes]
        middle = min(windows, key=lambda start: abs(start + 2 - second))
        expected = agreed if any(agreed) else named[middle].tolist()
        assert found[second].tolist() == ([False] * 3 if quiet[second] else expected)


def test_scores_of_spans_against_a_slow_mean():
    rng = np.random.default_rng(4)
    scores = rng.random((6, 2))
    named = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0, 1]], dtype=bool)
    spans = timeline.spans(named, scores, np.zeros((6, 5), bool), 9.5, ["a", "b"])
    assert [(s.start, s.end, s.name) for s in spans] == [(0, 5, "a"), (5, 9.5, "b")]
    for column, span in enumerate(spans):
        seconds = range(span.start, int(np.ceil(span.end)))
        means = [scores[max(0, s - 4) : min(s, 5) + 1, column].mean() for s in seconds]
        assert span.score == pytest.approx(np.mean(means))


# -------------------------------------------------------------------------------------- pictures


def test_columns_hold_where_a_tone_sounds_and_where_the_counter_attends(tmp_path):
    path = recording(tmp_path / "a.wav", 40, ("a", 0, 20), ("c", 20, 40))
    content = {"classes": [*TONES], "constants": {"N_FFT": 256, "SAMPLE_RATE": RATE}}
    network = registry.build("asc", 2, RATE, 256, torch.device("cpu")).eval()
    trained = {"counter": (network, content)}
    columns = classify.columns_of(path, 40.0, trained, torch.device("cpu"))
    spectrogram, attention, sample_rate = columns
    assert spectrogram.shape == (129, 1000) and attention.shape == (1000,) and sample_rate == RATE
    bins = [round(TONES[name] * 256 / RATE) for name in "ac"]
    assert (spectrogram[bins[0], 20:490] > 5).all() and (spectrogram[bins[0], 510:] < 0.1).all()
    assert (spectrogram[bins[1], :490] < 0.1).all() and (spectrogram[bins[1], 510:980] > 5).all()
    # Of a window of 313 frames, attention that knows nothing is a share of 1 / 313 everywhere.
    assert attention.mean() == pytest.approx(1 / 313, rel=0.1)
    trained["counter"] = registry.build("isocc", 2, RATE, 256, torch.device("cpu")).eval(), content
    spectrogram, attention, _ = classify.columns_of(path, 40.0, trained, torch.device("cpu"))
    assert attention is None and spectrogram.shape == (129, 1000)
