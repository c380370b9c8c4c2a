import numpy as np
import pandas as pd
import pytest
import soundfile as sf
import torch

import UNet_utils
from crs_lib import InputError
from pipeline.data import audio, esc10_data
from pipeline.files import sound_files

RATE = 4000
SAMPLES = 5 * RATE


def band_limited(rate, seconds=5.0):
    """A few sines below 1.2 kHz under a smooth fade, so that every resampler agrees."""
    time = np.arange(int(rate * seconds)) / rate
    wave = sum(np.sin(2 * np.pi * f * time + f) / 5 for f in (110, 317, 800, 1190))
    return (wave * np.sin(np.pi * time / seconds) ** 2).astype(np.float32)


@pytest.mark.parametrize(
    ("rate", "n_fft"), [(4000, 256), (8000, 512), (16000, 1024), (22050, 1024)]
)
def test_stft_is_librosas(rate, n_fft):
    import librosa

    wave = np.random.default_rng(0).standard_normal(5 * rate).astype(np.float32)
    expected = np.abs(librosa.stft(wave, n_fft=n_fft))
    got = UNet_utils.audio_STFT_lib(wave, n_fft)
    assert got.dtype == torch.float32
    assert got.shape == (1, n_fft // 2 + 1, 1 + len(wave) // (n_fft // 4))
    np.testing.assert_array_equal(got[0].numpy(), expected)


def test_four_khz_gives_129_by_313():
    assert UNet_utils.audio_STFT_lib(np.zeros(SAMPLES), 256).shape == (1, 129, 313)


@pytest.mark.parametrize("n_fft", [256, 512, 1024])
def test_stft_against_a_direct_sum(n_fft):
    hop = n_fft // 4
    wave = np.random.default_rng(1).standard_normal(2000).astype(np.float32)
    padded = np.pad(wave.astype(np.float64), n_fft // 2)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    got = UNet_utils.audio_STFT_lib(wave, n_fft)[0]
    for frame, bin_ in [(0, 0), (3, 17), (5, 128), (2000 // hop, 64)]:
        piece = padded[frame * hop : frame * hop + n_fft] * window
        direct = abs(np.sum(piece * np.exp(-2j * np.pi * bin_ * np.arange(n_fft) / n_fft)))
        assert got[bin_, frame] == pytest.approx(direct, rel=1e-4, abs=1e-4)


def test_batch_and_librosa_agree_and_forward_then_inverse_returns_the_signal():
    waves = np.random.default_rng(2).standard_normal((3, SAMPLES)).astype(np.float32) / 4
    batch = UNet_utils.audio_STFT_torch(torch.from_numpy(waves), 256)
    one_by_one = torch.cat([UNet_utils.audio_STFT_lib(wave, 256) for wave in waves])
    assert (batch.abs() - one_by_one).abs().max() < 1e-4 * one_by_one.max()
    back = UNet_utils.STFT_audio_torch(batch, 256, SAMPLES)
    np.testing.assert_allclose(back, waves, atol=1e-5)
    for spectrogram in (batch[1], batch[1][None]):
        back = UNet_utils.STFT_audio_lib(spectrogram, 256, SAMPLES)
        assert back.dtype == np.float32
        np.testing.assert_allclose(back, waves[1], atol=1e-5)


@pytest.mark.parametrize("in_len", [19_937, 20_000, 20_001])
def test_the_inverse_has_the_length_asked_for(in_len):
    wave = band_limited(RATE)[:in_len]
    wave = np.pad(wave, (0, in_len - len(wave)))
    spectrogram = UNet_utils.audio_STFT_torch(torch.from_numpy(wave)[None], 256)
    back = UNet_utils.STFT_audio_lib(spectrogram, 256, in_len)
    assert back.shape == (in_len,)
    np.testing.assert_allclose(back, wave, atol=1e-5)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"\(2, 100\)"):
        UNet_utils.audio_STFT_lib(np.zeros((2, 100)), 256)
    with pytest.raises(ValueError, match=r"\(129, frames\), not \(130, 9\)"):
        UNet_utils.STFT_audio_lib(torch.zeros(130, 9, dtype=torch.complex64), 256, 100)


# ------------------------------------------------------------------------------ reading clips


def test_the_ways_of_downsampling_agree_on_a_band_limited_signal(tmp_path):
    sf.write(tmp_path / "a.wav", 0.8 * band_limited(44_100), 44_100, subtype="FLOAT")
    load, resample, soxr, scipy = (
        audio.read_clip(tmp_path / "a.wav", RATE, method) for method in audio.METHODS
    )
    np.testing.assert_allclose(load, resample, atol=2 / 32768)
    np.testing.assert_array_equal(load, soxr)
    np.testing.assert_allclose(load, scipy, atol=2e-3)
    np.testing.assert_allclose(load, 0.8 * band_limited(RATE), atol=2e-3)


@pytest.mark.parametrize(
    ("ending", "subtype", "rate"),
    [
        ("wav", "PCM_U8", 4000),
        ("wav", "PCM_16", 44_100),
        ("wav", "PCM_24", 96_000),
        ("wav", "FLOAT", 8000),
        ("wav", "DOUBLE", 22_050),
        ("flac", "PCM_16", 48_000),
        ("ogg", "VORBIS", 44_100),
    ],
)
def test_every_format_gives_the_same_clip(tmp_path, ending, subtype, rate):
    left = 0.5 * band_limited(rate)
    stereo = np.stack([left, left / 2], axis=1)
    sf.write(tmp_path / f"a.{ending}", stereo, rate, subtype=subtype)
    clip = audio.read_clip(tmp_path / f"a.{ending}", RATE)
    assert clip.shape == (SAMPLES,) and clip.dtype == np.float32
    np.testing.assert_allclose(clip, 0.375 * band_limited(RATE), atol=0.02)


@pytest.mark.parametrize(("seconds", "kept"), [(0.01, 40), (4.99, 19_960), (7.3, 20_000)])
def test_other_lengths_are_padded_or_cut(tmp_path, seconds, kept):
    wave = np.full(int(seconds * RATE), 0.25, dtype=np.float32)
    sf.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
    clip = audio.read_clip(tmp_path / "a.wav", RATE)
    assert clip.shape == (SAMPLES,)
    assert (clip[:kept] == 0.25).all() and not clip[kept:].any()


def test_what_overshoots_full_scale_is_scaled_down_not_clipped(tmp_path):
    wave = 1.65 * band_limited(RATE) / np.abs(band_limited(RATE)).max()
    sf.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
    clip = audio.read_clip(tmp_path / "a.wav", RATE)
    assert np.abs(clip).max() == sound_files.FULL_SCALE
    np.testing.assert_allclose(clip, wave / 1.65, atol=2 / 32768)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no sound at all", "cannot be read as sound"),
        (b"", "cannot be read as sound"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "cannot be read as sound"),
    ],
)
@pytest.mark.parametrize("method", ["load", "soxr"])
def test_a_damaged_file_is_named(tmp_path, content, message, method):
    (tmp_path / "bad.wav").write_bytes(content)
    with pytest.raises(InputError, match=rf"bad\.wav: {message}"):
        audio.read_clip(tmp_path / "bad.wav", RATE, method)


@pytest.mark.parametrize(
    ("wave", "message"),
    [
        (np.zeros(0), "holds no samples"),
        (np.array([0.1, np.nan]), "cannot be read as sound"),
        (np.array([0.1, np.inf]), "cannot be read as sound"),
    ],
)
@pytest.mark.parametrize("rate", [4000, 44_100])
@pytest.mark.parametrize("method", ["load", "soxr"])
def test_odd_samples_are_named(tmp_path, wave, message, rate, method):
    sf.write(tmp_path / "odd.wav", np.resize(wave, 100 * len(wave)), rate, subtype="FLOAT")
    with pytest.raises(InputError, match=rf"odd\.wav: {message}"):
        audio.read_clip(tmp_path / "odd.wav", RATE, method)


def test_uploader_returns_what_was_written_and_lists_every_wrong_file(tmp_path):
    rng = np.random.default_rng(3)
    clips = rng.uniform(-sound_files.FULL_SCALE, sound_files.FULL_SCALE, (4, SAMPLES))
    files = [tmp_path / f"{i}.wav" for i in range(4)]
    for path, clip in zip(files, clips, strict=True):
        sound_files.write_wav(path, clip, RATE)
    loaded = audio.uploader(files, RATE)
    assert loaded.dtype == np.float32
    np.testing.assert_allclose(loaded, clips, atol=0.51 / 32768)
    np.testing.assert_array_equal(loaded[2], sf.read(files[2], dtype="float32")[0])
    files[0].write_bytes(b"")
    files[1].unlink()
    sf.write(files[2], clips[2], 8000)
    sf.write(files[3], clips[3][:-1], RATE)
    with pytest.raises(InputError) as error:
        audio.uploader(files, RATE)
    for path, reason in zip(files, ("cannot", "cannot", "8000 Hz", "19999"), strict=True):
        assert f"{path}: " in str(error.value) and reason in str(error.value)


# ------------------------------------------------------------------------- levels and mixing


def test_every_clip_gets_the_peak_of_the_loudest_and_silence_stays():
    clips = np.array([[0.1, -0.2], [-0.8, 0.3], [0.0, 0.0]], dtype=np.float32)
    got = audio.normalise_volume(clips)
    np.testing.assert_allclose(got, [[0.4, -0.8], [-0.8, 0.3], [0, 0]], rtol=1e-6)
    got = audio.normalise_volume(clips[:1], loudest=0.5)
    np.testing.assert_allclose(got, [[0.25, -0.5]], rtol=1e-6)


def test_two_full_scale_clips_mix_without_clipping_or_wrapping(tmp_path):
    full = np.full((1, SAMPLES), sound_files.FULL_SCALE, dtype=np.float32)
    full[0, ::2] *= -1
    mixture = audio.mix(full, full)[0]
    sound_files.write_wav(tmp_path / "mix.wav", mixture, RATE)
    np.testing.assert_array_equal(sf.read(tmp_path / "mix.wav", dtype="float32")[0], full[0])


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_levelling_gives_one_rms_in_numpy_and_torch(kind):
    waves = np.random.default_rng(4).standard_normal((3, 500)).astype(np.float32)
    waves *= np.array([[0.001], [1], [0]], dtype=np.float32)
    got = np.asarray(audio.level_rms(kind(waves)))
    rms = np.sqrt((got.astype(np.float64) ** 2).mean(axis=1))
    np.testing.assert_allclose(rms, [0.1, 0.1, 0], rtol=1e-5)
    np.testing.assert_allclose(got[0] / got[0, 0], waves[0] / waves[0, 0], rtol=1e-4)


def test_copies_are_spread_over_both_directions():
    assert esc10_data.copy_shifts(5, 1.0) == {
        "": 0, "_Down1": -0.5, "_Down2": -1.0, "_Up1": 0.5, "_Up2": 1.0
    }  # fmt: skip
    assert esc10_data.copy_shifts(1, 1.0) == {"": 0}
    assert esc10_data.copy_shifts(2, 0.4) == {"": 0, "_Down1": -0.4}
    shifts = esc10_data.copy_shifts(20, 2.0)
    assert len(shifts) == 20 and shifts["_Down10"] == -2 and shifts["_Up9"] == 2


# ------------------------------------------------------------------------ table and divisions


def test_the_table_against_a_slow_loop():
    classes, numbers = ["ant", "bee", "cat"], [0, 1, 2, 10]
    sets = [{"train": [0, 10], "val": [1], "test": [2]}, {"train": [1], "val": [2], "test": [10]}]
    code = {"train": 1, "val": 2, "test": 3}
    rows = []
    for i, a in enumerate(classes):
        for b in classes[i + 1 :]:
            for n in numbers:
                for m in numbers:
                    row = [f"{a}{n}_{b}{m}.wav", a, n, b, m]
                    for division in sets:
                        parts = [[p for p in division if k in division[p]] for k in (n, m)]
                        same = parts[0] == parts[1] != []
                        row.append(code[parts[0][0]] if same else -1)
                    rows.append(row)
    table = esc10_data.mixture_table(classes, numbers, sets)
    columns = ["filename", "A_class", "A_num", "B_class", "B_num", "set1", "set2"]
    pd.testing.assert_frame_equal(table, pd.DataFrame(rows, columns=columns), check_dtype=False)


def write_texts(folder, **parts):
    for part, text in parts.items():
        (folder / "set1").mkdir(exist_ok=True)
        (folder / "set1" / f"set1_{part}.txt").write_text(text)


def test_division_texts_are_read_and_wrong_ones_named(tmp_path):
    def read(set_number=1):
        return esc10_data.read_division(tmp_path, set_number, [0, 1, 2, 3, 11], redo="python x.py")

    write_texts(tmp_path, train="2, 3\n", val="0\n", test="1, 11\n")
    assert read() == {"train": [2, 3], "val": [0], "test": [1, 11]}
    for text, message in (
        ("0 1", r"set1_val\.txt: not one line of numbers"),
        ("3", "a number stands in two parts"),
        ("0, 0", "a number stands in two parts, or twice in one"),
        ("12", "no clip has the number 12"),
    ):
        write_texts(tmp_path, val=text)
        with pytest.raises(InputError, match=message):
            read()
    with pytest.raises(InputError, match=r"set2_train\.txt is missing: run  python x\.py  first"):
        read(2)
