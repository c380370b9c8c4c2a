"""Sound files as clips: what is read of them, by what they were made of."""

import io
import json
import os
import struct
import threading
import wave

import librosa
import numpy as np
import pytest
import scipy.signal
import soundfile as sf
import soxr
import tiny_set

from crs_lib import InputError
from pipeline.data import audio, esc10_data
from pipeline.files import sound_files

METHODS = ("load", "resample", "soxr", "scipy")
RATE = 2000  # of the clips; the recordings have others


def tones(rate, seconds):
    """Sines far below both Nyquist frequencies."""
    time = np.arange(int(rate * seconds)) / rate
    return 0.3 * np.sin(2 * np.pi * 97 * time) + 0.2 * np.cos(2 * np.pi * 211 * time)


@pytest.mark.parametrize("method", METHODS[:3])
@pytest.mark.parametrize("rate", [8000, 11_025])
def test_a_clip_ends_as_if_the_recording_went_on(tmp_path, method, rate):
    """It does, and the resampling looks ahead: else the last samples would bend."""
    sf.write(tmp_path / "a.wav", tones(rate, 7), rate, subtype="FLOAT")
    clip = audio.read_clip(tmp_path / "a.wav", RATE, method)
    assert clip.shape == (5 * RATE,) and clip.dtype == np.float32
    np.testing.assert_allclose(clip[100:], tones(RATE, 5)[100:], atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_what_comes_behind_the_sixth_second_is_not_read(tmp_path, method):
    sound = tones(8000, 7)
    sf.write(tmp_path / "a.wav", sound, 8000, subtype="FLOAT")
    sound[48_000:] = 5
    sound[50_000] = np.nan
    sf.write(tmp_path / "b.wav", sound, 8000, subtype="FLOAT")
    sound[47_990:48_000] = 5
    sf.write(tmp_path / "c.wav", sound, 8000, subtype="FLOAT")
    a, b, c = (audio.read_fitted(tmp_path / f"{n}.wav", RATE, method) for n in "abc")
    np.testing.assert_array_equal(a, b)
    assert np.abs(a).max() < 0.6  # nor does it count for full scale
    if method == "scipy":  # which makes each sample from all of them
        assert not np.array_equal(b, c)


def test_the_resamplers_are_those_of_librosa_soxr_and_scipy(tmp_path):
    sound = np.random.default_rng(0).uniform(-0.4, 0.4, 8 * 3001).astype(np.float32)
    sf.write(tmp_path / "a.wav", sound, 3001, subtype="FLOAT")
    six = sound[: 6 * 3001]
    expected = {
        "load": librosa.load(tmp_path / "a.wav", sr=RATE, duration=6)[0],
        "resample": librosa.resample(six, orig_sr=3001, target_sr=RATE, res_type="soxr_hq"),
        "soxr": soxr.resample(six, 3001, RATE, quality="HQ"),
        "scipy": scipy.signal.resample(six, 6 * RATE),
    }
    for method, wanted in expected.items():
        clip = audio.read_fitted(tmp_path / "a.wav", RATE, method)
        assert clip.dtype == np.float32
        np.testing.assert_allclose(clip, wanted[: 5 * RATE], atol=1e-6)
    default = audio.read_clip(tmp_path / "a.wav", RATE)
    np.testing.assert_allclose(default, expected["soxr"][: 5 * RATE], atol=0.51 / 32768)
    np.testing.assert_array_equal(default * 32768, np.rint(default * 32768))


@pytest.mark.parametrize("method", METHODS[1:])
@pytest.mark.parametrize(("rate", "new_rate", "length"), [(3, 7, 10), (7, 3, 10), (5, 5, 4)])
def test_the_length_of_what_is_resampled(method, rate, new_rate, length):
    """So many samples that they last as long, the last one begun (soxr may round it off)."""
    sound = np.linspace(0.1, 0.5, length, dtype=np.float32)
    found = audio.resample(sound, rate, new_rate, method)
    assert found.dtype == np.float32
    exact = length * new_rate / rate
    assert len(found) == int(np.ceil(exact)) if method != "soxr" else abs(len(found) - exact) <= 1
    assert len(audio.resample(sound[:0], rate, new_rate, method)) == 0


@pytest.mark.parametrize("method", METHODS)
def test_channels_are_averaged(tmp_path, method):
    channels = np.array([0.4, -0.1, 0.3]) * tones(RATE, 6)[:, None]
    sf.write(tmp_path / "a.wav", channels, RATE, subtype="FLOAT")
    clip = audio.read_clip(tmp_path / "a.wav", RATE, method)
    np.testing.assert_allclose(clip, 0.2 * tones(RATE, 5), atol=2 / 32768)
    mono = np.array([0.1, 0.2])
    assert sound_files.as_mono(mono) is mono
    np.testing.assert_allclose(sound_files.as_mono(np.array([[1, 2, 6], [0, -3, 0]])), [3, -1])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("rate", "is_good"), [(99, False), (100, True), (10**6, True)])
def test_rates_of_no_recording_are_refused(tmp_path, method, rate, is_good):
    tiny_set.write(tmp_path / "a.wav", np.full(rate // 10, 1000), rate)
    if is_good:
        assert audio.read_clip(tmp_path / "a.wav", RATE, method).any()
    for bad in (99, 1_000_001):
        tiny_set.write(tmp_path / "a.wav", np.full(200, 1000), bad)
        message = rf"a\.wav: cannot be read as sound \(its rate is said to be {bad} Hz\)"
        with pytest.raises(InputError, match=message):
            audio.read_clip(tmp_path / "a.wav", RATE, method)


def test_what_is_no_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.wav: there is no such file"):
        audio.read_clip(tmp_path / "gone.wav", RATE)
    with pytest.raises(InputError, match=r"cannot be read as sound \(it is no file\)"):
        audio.read_clip(tmp_path, RATE)


def test_infinities_of_either_sign_are_refused():
    sound_files.refuse_not_finite("a.wav", np.array([0, 1e30, -1e30]))
    for bad in (np.inf, -np.inf, np.nan):
        with pytest.raises(InputError, match=r"a\.wav: .*not finite"):
            sound_files.refuse_not_finite("a.wav", np.array([0, bad, 0]))


# ------------------------------------------------------------------------- lengths and levels


def test_a_clip_is_cut_or_padded_behind_its_end():
    ramp = np.arange(1, 61, dtype=np.float32) / 100
    np.testing.assert_array_equal(audio.fit(ramp, 10), ramp[:50])
    np.testing.assert_array_equal(audio.fit(ramp[:50], 10), ramp[:50])
    np.testing.assert_array_equal(audio.fit(ramp, 14)[:60], ramp)
    np.testing.assert_array_equal(audio.fit(ramp, 14)[60:], np.zeros(10))
    assert audio.fit(ramp[:0], 10).tolist() == [0] * 50
    assert audio.CLIP_SECONDS == 5


@pytest.mark.parametrize("sign", [1, -1])
def test_only_what_overshoots_is_scaled_and_what_is_cut_off_does_not_count(sign):
    quiet = sign * np.array([0.2, -0.1, 0.5, 0.1, 0.0])
    full = 32767 / 32768
    np.testing.assert_array_equal(audio.fit(quiet, 1), quiet)
    np.testing.assert_array_equal(audio.fit(2 * full * quiet, 1), 2 * full * quiet)
    np.testing.assert_allclose(audio.fit(2 * quiet, 1), 2 * full * quiet, rtol=1e-12)
    np.testing.assert_allclose(audio.fit(6 * quiet, 1), 2 * full * quiet, rtol=1e-12)
    longer = np.concatenate([quiet, [7]])
    np.testing.assert_array_equal(audio.fit(longer, 1), quiet)


def test_clips_are_rounded_to_sixteen_bits():
    steps = np.array([0, 1, -1, 0.4, 0.6, -0.6, 1.5, 2.5, -2.5, 32767, -32767, 12345.4])
    expected = [0, 1, -1, 0, 1, -1, 2, 2, -2, 32767, -32767, 12345]  # half: to the even one
    wave_of = (steps / 32768).astype(np.float32)
    samples = sound_files.to_pcm16(wave_of)
    assert samples.dtype == np.int16 and samples.tolist() == expected
    back = sound_files.from_pcm16(np.array([-32768, *expected], dtype=np.int16))
    assert back.dtype == np.float32 and (back * 32768).tolist() == [-32768, *expected]
    assert (sound_files.rounded(wave_of) * 32768).tolist() == expected
    np.testing.assert_array_equal(wave_of, (steps / 32768).astype(np.float32))  # as they were
    clip = audio.as_clip(np.concatenate([3 * wave_of, np.zeros(10, dtype=np.float32)]), 3)
    assert np.abs(clip).max() == 32767 / 32768 and len(clip) == 15
    found, scale = clip[:12] * 32768, 32767 / (3 * 32767)
    np.testing.assert_allclose(found, 3 * steps * scale, atol=0.5001)
    assert (found == np.rint(found)).all()


# ------------------------------------------------------------------------------ written files


def unpacked(content):
    with wave.open(io.BytesIO(content)) as file:
        kind = (file.getnchannels(), file.getsampwidth(), file.getframerate())
        frames = file.readframes(file.getnframes())
    return kind, list(struct.unpack(f"<{len(frames) // 2}h", frames))


def test_a_written_file_is_a_plain_wav_of_its_own_rate_and_length(tmp_path):
    rows = np.array([[1, -2, 300, -32767, 5], [6, 7, 8, 9, 32767]], dtype=np.int16)
    for rate, nb_samples in ((2000, 5), (44_100, 5), (2000, 3), (48_000, 1)):
        some = rows[:, :nb_samples]
        wavs = sound_files.wavs_of(some / 32768, rate)
        assert len(wavs) == 2
        for samples, row in zip(some, wavs, strict=True):
            sound_files.write_wav(tmp_path / "a.wav", samples / 32768, rate)
            content = (tmp_path / "a.wav").read_bytes()
            assert unpacked(content) == ((1, 2, rate), samples.tolist())
            assert len(content) == 44 + 2 * nb_samples
            assert row.tobytes() == content == sound_files.wav_of(samples, rate)


def test_both_ways_of_reading_a_prepared_clip_give_its_samples(tmp_path):
    """Plain ones are read at once, all others by a library."""
    rng = np.random.default_rng(0)
    clips = rng.integers(-32768, 32768, (5, 5 * RATE)).astype(np.int16)
    clips[:, 0] = [-32768, 32767, 0, 1, -1]
    paths = [tmp_path / name for name in ("a.wav", "b.wav", "c.flac", "d.wav", "e.wav")]
    sound_files.write_wav(paths[0], clips[0] / 32768, RATE)
    tiny_set.write(paths[1], clips[1], RATE)
    sf.write(paths[2], clips[2], RATE)
    sf.write(paths[3], clips[3], RATE, format="WAVEX")
    tiny_set.write(paths[4], clips[4], RATE)
    paths[4].write_bytes(paths[4].read_bytes() + b"LIST\x04\x00\x00\x00INFO")  # behind the samples
    found = audio.uploader((path for path in paths), RATE)
    assert found.dtype == np.float32 and found.shape == clips.shape
    np.testing.assert_array_equal(found * 32768, clips)
    np.testing.assert_array_equal(audio.uploader(paths[3:0:-1], RATE) * 32768, clips[3:0:-1])


@pytest.mark.parametrize(
    ("shape", "rate", "message"),
    [
        ((9999,), 2000, r"\(9999,\) samples at 2000 Hz, not 10000 at 2000 Hz"),
        ((10_001,), 2000, r"\(10001,\) samples at 2000 Hz"),
        ((10_000,), 2001, r"\(10000,\) samples at 2001 Hz"),
        ((10_000, 2), 2000, r"\(10000, 2\) samples at 2000 Hz"),
        ((10_000, 1), 2000, None),
    ],
)
def test_only_clips_of_the_right_length_rate_and_one_channel_are_taken(
    tmp_path, shape, rate, message
):
    tiny_set.write(tmp_path / "a.wav", np.full(shape, 7), rate)
    if message is None:
        assert (audio.uploader([tmp_path / "a.wav"], 2000) == 7 / 32768).all()
        return
    with pytest.raises(InputError, match=message):
        audio.uploader([tmp_path / "a.wav"], 2000)


def test_a_cut_off_clip_is_refused_and_so_is_what_is_no_sound(tmp_path):
    sound_files.write_wav(tmp_path / "a.wav", np.full(10_000, 0.5), 2000)
    whole = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "b.wav").write_bytes(whole[:-2])
    (tmp_path / "c.wav").write_bytes(whole[:20])
    with pytest.raises(InputError) as error:
        audio.uploader([tmp_path / f"{name}.wav" for name in "abcd"], 2000)
    messages = str(error.value).split("; ")
    assert len(messages) == 3
    assert messages[0].startswith(f"{tmp_path}/b.wav: (9999,) samples")
    assert messages[1].startswith(f"{tmp_path}/c.wav: cannot be read (")
    assert messages[2] == f"{tmp_path}/d.wav: cannot be read (no such file)"


# ------------------------------------------------------------------------------- downsampling


@pytest.mark.parametrize("method", METHODS)
def test_every_clip_is_downsampled_into_its_class(here, tmp_path, method):
    sounds = {f"{name}/{name}{n}": None for name in ("ant", "bee") for n in (0, 1)}
    rng = np.random.default_rng(0)
    for name in sounds:
        sounds[name] = rng.integers(-12_000, 12_000, 6 * 8000)
        (tmp_path / "esc10_rename" / name).parent.mkdir(parents=True, exist_ok=True)
        tiny_set.write(tmp_path / "esc10_rename" / f"{name}.wav", sounds[name], 8000)
    flags = ("--sample-rate", 2000, "--method", method, "--n-jobs", 1)
    out = here("0_downsampling.py", "--dataset", tmp_path, *flags, status=0)
    folder = tmp_path / "esc10_rename_2k"
    assert out.startswith(f"4 clips at 2000 Hz written to {folder}\n")
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.wav"))
    assert found == [f"{name}.wav" for name in sounds]
    for name, sound in sounds.items():
        sound = (sound / 32768).astype(np.float32)
        if method == "scipy":
            expected = scipy.signal.resample(sound, 12_000)[:10_000]
        else:
            expected = soxr.resample(sound, 8000, 2000, quality="HQ")[:10_000]
        with wave.open(str(folder / f"{name}.wav")) as file:
            assert file.getframerate() == 2000 and file.getnframes() == 10_000
        written, _ = sf.read(folder / f"{name}.wav", dtype="int16")
        np.testing.assert_allclose(written, 32768 * expected, atol=0.51)
    stamp = json.loads((tmp_path / "esc10_rename_2k.json").read_text())
    made_with = {"SAMPLE_RATE": 2000, "METHOD": method}
    assert stamp == {"constants": made_with, "input": {"esc10_rename": None}}


def test_every_clip_that_cannot_be_read_is_listed(tmp_path):
    for name in ("ant0", "ant1", "ant2"):
        (tmp_path / "esc10_rename" / "ant").mkdir(parents=True, exist_ok=True)
        (tmp_path / "esc10_rename" / "ant" / f"{name}.wav").write_bytes(b"x")
    tiny_set.write(tmp_path / "esc10_rename" / "ant" / "ant1.wav", np.full(900, 9), 8000)
    with pytest.raises(InputError, match=r"ant0\.wav: cannot .*; .*ant2\.wav: cannot"):
        esc10_data.downsample(str(tmp_path), 2000, "soxr", 1)
    assert not (tmp_path / "esc10_rename_2k").exists()


@pytest.mark.skipif("MP3" not in sf.available_formats(), reason="this libsndfile has no MP3")
def test_the_decoder_of_mp3_prints_nothing_of_its_own(tmp_path, capfd):
    """Cut in the middle of a frame and damaged, libmpg123 prints to the terminal by itself."""
    path = tmp_path / "a.mp3"
    noise = 0.1 * np.random.default_rng(0).standard_normal(8 * 16_000)
    sf.write(path, noise, 16_000, format="MP3")
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 700] = bytes(700)
    path.write_bytes(content[:-100])
    with sf.SoundFile(path) as file:
        file.read()
    assert "mpg123" in capfd.readouterr().err  # else this test could not fail
    with sound_files.opened(path) as file:
        assert sound_files.info_of(path).frames > 0
        assert len(sound_files.samples_of(file, 200_000)) > 0
    for method in audio.METHODS:
        assert audio.read_fitted(path, 16_000, method).any()
    os.write(2, b"said")
    assert capfd.readouterr().err == "said"


@pytest.mark.parametrize("name", ["a.mp3", "a.MP3", "a.b.mp3"])
def test_an_mp3_is_known_by_its_name(name):
    assert sound_files.is_mp3(name)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "mp3", "a.mp3.wav", "a"])
def test_what_is_not_called_so_is_no_mp3(name):
    assert not sound_files.is_mp3(name)


def test_threads_that_decode_at_once_leave_standard_error_as_it_was(capfd):
    inside = threading.Barrier(3)

    def decode():
        with sound_files.quiet_decoder(True):
            inside.wait()
            os.write(2, b"noise")
            inside.wait()

    threads = [threading.Thread(target=decode) for _ in range(2)]
    for thread in threads:
        thread.start()
    inside.wait()
    inside.wait()
    for thread in threads:
        thread.join()
    with sound_files.quiet_decoder(False):
        os.write(2, b"said")
    assert capfd.readouterr().err == "said"


def test_without_standard_error_an_mp3_is_decoded_all_the_same(monkeypatch):
    def no_such_file(*_):
        raise OSError("bad descriptor")

    with monkeypatch.context() as patch:
        patch.setattr(sound_files.os, "dup", no_such_file)
        patch.setattr(sound_files.sys, "stderr", None)
        with sound_files.quiet_decoder(True):
            pass
    assert sound_files.QUIET.nb_inside == 0 and sound_files.QUIET.terminal is None
