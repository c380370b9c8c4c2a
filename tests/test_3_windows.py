"""Windows of a recording at their borders, and its picture's columns against a slow sum.

Recordings lie at the rate of the windows, 16 bits: what comes out is to the sample what is in.
"""

import math

import numpy as np
import pytest
import soundfile as sf
import soxr
import torch

from crs_lib import InputError
from pipeline.inference import classify

CPU = torch.device("cpu")


def noise_of(path, nb_samples, rate):
    """A recording of noise that grows louder; its samples."""
    noise = np.random.default_rng(5).integers(-20_000, 20_000, nb_samples)
    samples = np.rint(noise * np.linspace(0.02, 1, nb_samples)).astype(np.int16)
    sf.write(path, samples, rate)
    return samples / np.float32(32768)


def windows_of(path, rate):
    windows, nb_new = zip(*classify.windows_of(path, rate), strict=True)
    return list(windows), list(nb_new)


def cut(samples, rate, nb_windows):
    """Window after window, a second apart, the last one padded."""
    padded = np.pad(samples, (0, 5 * rate))
    return np.stack([padded[s * rate : (s + 5) * rate] for s in range(nb_windows)])


@pytest.mark.parametrize("rate", [200, 1000, 4000])
@pytest.mark.parametrize("seconds", [1, 2, 16, 100])
def test_windows_and_what_they_cover_do_not_depend_on_the_blocks(
    tmp_path, monkeypatch, rate, seconds
):
    """Of a second each no block has a window of its own; 13.4 s are 9 windows and a padded one."""
    monkeypatch.setattr(classify, "BLOCK_SECONDS", seconds)
    samples = noise_of(tmp_path / "a.wav", 13 * rate + 2 * rate // 5, rate)
    windows, nb_new = windows_of(tmp_path / "a.wav", rate)
    np.testing.assert_array_equal(np.concatenate(windows), cut(samples, rate, 10))
    # A window after the first covers a second more than the one before, the last one what is left.
    nb_heard, expected = 0, []
    for part in windows:
        before, nb_heard = nb_heard, nb_heard + len(part)
        ends = [min((n + 4) * rate, len(samples)) if n else 0 for n in (before, nb_heard)]
        expected.append(ends[1] - ends[0])
    assert nb_new == expected and sum(nb_new) == len(samples)
    assert max(map(len, windows)) <= max(seconds, 9)


@pytest.mark.parametrize(("beyond", "nb_windows"), [(0, 4), (100, 4), (101, 5), (999, 5)])
def test_what_is_longer_than_a_tenth_of_a_second_is_heard_in_a_window_more(
    tmp_path, beyond, nb_windows
):
    samples = noise_of(tmp_path / "a.wav", 8000 + beyond, 1000)
    windows, nb_new = windows_of(tmp_path / "a.wav", 1000)
    np.testing.assert_array_equal(
        np.concatenate(windows),
        cut(samples if nb_windows > 4 else samples[:8000], 1000, nb_windows),
    )
    assert sum(nb_new) == (8000 + beyond if nb_windows > 4 else 8000)


@pytest.mark.parametrize(("beyond", "nb_windows", "nb_heard"), [(0, 1, 5000), (1, 2, 6000)])
def test_six_seconds_are_one_window_and_a_sample_more_is_a_long_recording(
    tmp_path, beyond, nb_windows, nb_heard
):
    samples = noise_of(tmp_path / "a.wav", 6000 + beyond, 1000)
    windows, nb_new = windows_of(tmp_path / "a.wav", 1000)
    np.testing.assert_array_equal(np.concatenate(windows), cut(samples, 1000, nb_windows))
    assert sum(nb_new) == nb_heard


@pytest.mark.parametrize(
    ("nb_samples", "nb_heard"),
    [(1, 1), (5, 1), (16, 1), (17, 2), (44_100, 4000), (220_500, 20_000), (264_600, 20_000)],
)
def test_a_short_recording_holds_its_length_at_the_windows_rate(tmp_path, nb_samples, nb_heard):
    """To the nearest sample, but never none; at most a window."""
    noise_of(tmp_path / "a.wav", nb_samples, 44_100)
    ((windows,), (found,)) = windows_of(tmp_path / "a.wav", 4000)
    assert windows.shape == (1, 20_000) and windows.dtype == np.float32 and found == nb_heard


def test_each_window_beyond_full_scale_is_scaled_by_itself(tmp_path):
    """Only windows that hold the loud second are softer."""
    rate, wave = 1000, np.tile([0.25, -0.5], 6000).astype(np.float32)
    wave[7000:8000] *= 4
    sf.write(tmp_path / "a.wav", wave, rate, subtype="FLOAT")
    windows = np.concatenate(windows_of(tmp_path / "a.wav", rate)[0])
    holds = [3 <= start <= 7 for start in range(8)]
    peaks = [32767 / 32768 if loud else 0.5 for loud in holds]
    assert np.abs(windows).max(axis=1).tolist() == pytest.approx(peaks, abs=1e-6)


@pytest.mark.parametrize(("rate", "new_rate"), [(8000, 4000), (1000, 1000), (3000, 4000)])
def test_blocks_are_the_whole_in_pieces_of_their_length(tmp_path, monkeypatch, rate, new_rate):
    """In stereo, of which the mean counts."""
    monkeypatch.setattr(classify, "BLOCK_SECONDS", 3)
    wave = np.cumsum(np.random.default_rng(6).standard_normal((10 * rate, 2)), axis=0) / 1000
    wave[:, 1] *= -0.2
    sf.write(tmp_path / "a.wav", wave, rate, subtype="FLOAT")
    blocks = list(classify.read_blocks(tmp_path / "a.wav", new_rate))
    whole = soxr.resample(wave.mean(axis=1).astype(np.float32), rate, new_rate, quality="HQ")
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-5)
    assert len(blocks) == 5 and max(map(len, blocks)) <= 3.2 * new_rate
    assert {block.dtype for block in blocks} == {np.dtype("float32")}


def test_what_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.wav").write_text("no sound")
    for name, reason in (("a.wav", "cannot be read as sound"), ("b.wav", "there is no such file")):
        with pytest.raises(InputError, match=f"{name}: {reason}"):
            list(classify.windows_of(tmp_path / name, 1000))
    loud = np.zeros(8000, dtype=np.float32)
    loud[7000] = np.inf
    sf.write(tmp_path / "c.wav", loud, 1000, subtype="FLOAT")
    with pytest.raises(InputError, match=r"c\.wav: .* not finite"):
        list(classify.windows_of(tmp_path / "c.wav", 1000))


# ---------------------------------------------------------------------- the picture of a recording


def attentive_at(n_fft):
    """A network whose attention is what the loudest bin of each frame tells."""

    def attentive(spectrograms, with_attention=False):
        assert with_attention and spectrograms.shape[1] == 1
        return None, spectrograms[:, 0].amax(dim=1) ** 2

    attentive.forward, attentive.n_fft = attentive, n_fft
    return attentive


def magnitudes_of(window, n_fft):
    """Frame after frame: float64 (bins, frames)."""
    padded = np.pad(window.astype(float), n_fft // 2)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    starts = range(0, len(window) + 1, n_fft // 4)
    return np.abs([np.fft.rfft(padded[s : s + n_fft] * hann) for s in starts]).T


@pytest.mark.parametrize(
    ("seconds", "rate", "n_fft", "most", "nb_columns"),
    [
        (0.35, 4000, 256, 1000, 22),  # a column for every frame
        (3.77, 2000, 200, 1000, 151),
        (7.3, 4000, 256, 1000, 457),
        (13.43, 2000, 160, 97, 97),  # several frames each
        (11.41, 1000, 152, 31, 31),
    ],
)
def test_columns_are_means_over_the_frames_of_all_windows(
    tmp_path, monkeypatch, seconds, rate, n_fft, most, nb_columns
):
    """What lies behind the recording's end is in no column. The counter gets levelled windows."""
    monkeypatch.setattr(classify, "NB_COLUMNS", most)
    monkeypatch.setattr(classify, "BLOCK_SECONDS", 2)  # several parts
    samples = noise_of(tmp_path / "a.wav", round(seconds * rate), rate)
    # What the classifiers' files say is of no concern here.
    attentive = attentive_at(n_fft)
    trained = {
        "counter": (attentive, {"constants": {"SAMPLE_RATE": rate, "N_FFT": n_fft}}),
        "single": (attentive, {"constants": {"SAMPLE_RATE": 9, "N_FFT": 99}}),
    }
    found = classify.columns_of(tmp_path / "a.wav", seconds, trained, CPU)
    frames = [[] for _ in range(nb_columns)]
    for start, window in enumerate(cut(samples, rate, max(1, int(np.ceil(seconds)) - 4))):
        magnitudes = magnitudes_of(window, n_fft)
        levelled = magnitudes * 0.1 / np.sqrt(np.mean(window**2))
        for i, frame in enumerate(magnitudes.T):
            column = int((start + i * (n_fft // 4) / rate) / seconds * nb_columns)
            if column < nb_columns:
                frames[column].append([*frame, levelled[:, i].max() ** 2])
    expected = np.array([np.mean(column, axis=0) for column in frames]).T
    assert found[2] == rate and found[0].shape == (n_fft // 2 + 1, nb_columns)
    assert found[0].dtype == found[1].dtype == np.float32
    np.testing.assert_allclose(found[0], expected[:-1], rtol=1e-3, atol=2e-4)
    np.testing.assert_allclose(found[1], expected[-1], rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("seconds", [0.8, 2.0, 4.0, 5.0, 8.0, 10.0])
def test_a_recording_of_whole_frames_has_a_column_for_each(tmp_path, seconds):
    """And none behind them, which would be empty."""
    noise_of(tmp_path / "a.wav", round(4000 * seconds), 4000)
    constants = {"SAMPLE_RATE": 4000, "N_FFT": 256}
    trained = {"counter": (attentive_at(256), {"constants": constants})}
    magnitudes, attention, _ = classify.columns_of(tmp_path / "a.wav", seconds, trained, CPU)
    assert magnitudes.shape == (129, math.ceil(seconds / 0.016 - 1e-9))
    assert (magnitudes.mean(axis=0) > 0.01).all() and (attention > 0).all()
    trained = {"counter": (torch.nn.Identity(), trained["counter"][1])}
    without = classify.columns_of(tmp_path / "a.wav", seconds, trained, CPU)
    assert without[1] is None
    np.testing.assert_array_equal(without[0], magnitudes)


def test_frames_have_the_attention_behind_the_last_bin():
    windows = np.random.default_rng(7).uniform(-0.4, 0.1, (2, 3000)).astype(np.float32)
    windows[1] *= 0.01
    given = torch.from_numpy(windows)
    attentive = attentive_at(200)
    found = classify.frames_of(given, attentive, 200).numpy()
    without = classify.frames_of(given, torch.nn.Identity(), 200).numpy()
    assert found.shape == without.shape == (2, 102, 61)
    for window, frames, plain in zip(windows, found, without, strict=True):
        magnitudes = magnitudes_of(window, 200)
        levelled = magnitudes * 0.1 / np.sqrt(np.mean(window.astype(float) ** 2))
        np.testing.assert_allclose(frames[:-1], magnitudes, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(frames[-1], levelled.max(axis=0) ** 2, rtol=1e-3)
        np.testing.assert_array_equal(plain[:-1], frames[:-1])
        assert not plain[-1].any()
