"""Sound files with something wrong: each is read as what it holds, or one line says what it is."""

import os
import shutil
import struct

import numpy as np
import pytest
import scipy.io.wavfile
import soundfile as sf
from conftest import start, untrained_networks
from hypothesis import given
from hypothesis import strategies as st

from crs_lib import InputError
from pipeline.data import audio
from pipeline.files import sound_files

RATE = 44_100
SINE = 0.5 * np.sin(2 * np.pi * 500 * np.arange(5 * RATE) / RATE)
NO_SOUND = "cannot be read as sound"
NOT_FINITE = "not finite"
EMPTY = "holds no samples"


def written(samples, rate=RATE, subtype="PCM_16", form="WAV"):
    """A sound file's writer, whatever the file's ending says."""
    return lambda path: sf.write(path, samples, rate, subtype=subtype, format=form)


def sine(seconds=5.0, rate=RATE):
    return 0.5 * np.sin(2 * np.pi * 500 * np.arange(round(seconds * rate)) / rate)


def spoilt(change, *arguments, **options):
    """A sound file's bytes, changed."""

    def write(path):
        written(SINE, *arguments, **options)(path)
        path.write_bytes(change(path.read_bytes()))

    return write


def with_sample(value):
    samples = SINE.astype(np.float32)
    samples[1000] = value
    return written(samples, subtype="FLOAT")


def header(place, form, value):
    """A WAV file whose header says something else."""
    size = struct.calcsize(form)
    new = struct.pack(form, value)
    return spoilt(lambda content: content[:place] + new + content[place + size :])


# What is read of a clip: the sine, silence, anything finite; or the message.
READ, SILENCE, FINITE = "read", "silence", "finite"
CLIPS = {
    "8 bits": (written(SINE, subtype="PCM_U8"), READ),
    "24 bits": (written(SINE, subtype="PCM_24"), READ),
    "32 bits": (written(SINE, subtype="PCM_32"), READ),
    "float": (written(SINE, subtype="FLOAT"), READ),
    "double": (written(SINE, subtype="DOUBLE"), READ),
    "mu-law": (written(SINE, subtype="ULAW"), READ),
    "FLAC": (written(SINE, subtype="PCM_16", form="FLAC"), READ),
    "OGG": (written(SINE, subtype="VORBIS", form="OGG"), READ),
    "AIFF": (written(SINE, subtype="PCM_16", form="AIFF"), READ),
    "stereo": (written(np.column_stack([SINE, SINE])), READ),
    "six channels": (written(np.column_stack([SINE] * 6)), READ),
    "96 kHz": (written(sine(rate=96_000), 96_000), READ),
    "8 kHz": (written(sine(rate=8000), 8000), READ),
    "11 seconds": (written(sine(11)), READ),
    "beyond full scale": (written(100 * SINE, subtype="FLOAT"), READ),
    "far beyond full scale": (written(1e30 * SINE, subtype="FLOAT"), READ),
    "as loud as a float can be": (written(6e38 * SINE, subtype="FLOAT"), (READ, NOT_FINITE)),
    "half a second": (written(sine(0.5)), FINITE),
    "no sample": (written(np.zeros(0)), EMPTY),
    "one sample": (written(np.full(1, 0.5)), FINITE),
    "two samples": (written(np.full(2, 0.5)), FINITE),
    "silence": (written(np.zeros(5 * RATE)), SILENCE),
    "silence below 16 bits": (written(np.full(5 * RATE, 1e-6), subtype="FLOAT"), SILENCE),
    "DC": (written(np.full(5 * RATE, 0.5)), FINITE),
    "NaN": (with_sample(np.nan), NOT_FINITE),
    "infinity": (with_sample(np.inf), NOT_FINITE),
    "minus infinity": (with_sample(-np.inf), NOT_FINITE),
    "only NaN": (written(np.full(5 * RATE, np.nan), subtype="FLOAT"), NOT_FINITE),
    "an empty file": (lambda path: path.write_bytes(b""), NO_SOUND),
    "a text": (lambda path: path.write_text("no sound at all\n" * 99), NO_SOUND),
    "a picture": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(999)), NO_SOUND),
    "bytes of any kind": (lambda path: path.write_bytes(bytes(range(256)) * 99), NO_SOUND),
    "RIFF and no more": (spoilt(lambda content: content[:4]), NO_SOUND),
    "half a header": (spoilt(lambda content: content[:20]), NO_SOUND),
    "a header and no more": (spoilt(lambda content: content[:44]), EMPTY),
    "cut off": (spoilt(lambda content: content[: len(content) // 2]), FINITE),
    "cut off within a sample": (spoilt(lambda content: content[:-1]), READ),
    "FLAC cut off": (spoilt(lambda c: c[: len(c) // 2], form="FLAC"), (FINITE, NO_SOUND)),
    "OGG cut off": (
        spoilt(lambda c: c[: len(c) // 2], subtype="VORBIS", form="OGG"),
        (FINITE, EMPTY),
    ),
    "said to have no rate": (header(24, "<I", 0), NO_SOUND),
    "said to have 1 Hz": (header(24, "<I", 1), NO_SOUND),
    "said to have 4 GHz": (header(24, "<I", 2**32 - 1), (FINITE, NO_SOUND)),
    "said to have 2 GHz": (header(24, "<I", 2**31 - 1), (FINITE, NO_SOUND)),
    "said to have no channel": (header(22, "<H", 0), NO_SOUND),
    "said to have 65,535 channels": (header(22, "<H", 65_535), (FINITE, NO_SOUND, EMPTY)),
    "said to be longer": (header(40, "<I", 2**31), (READ, NO_SOUND)),
    "said to be empty": (header(40, "<I", 0), (EMPTY, READ)),
    "of an unknown coding": (header(20, "<H", 0x1234), NO_SOUND),
    "a pipe": (os.mkfifo, NO_SOUND),
    "a folder": (os.mkdir, NO_SOUND),
    "a link to nothing": (lambda path: path.symlink_to("gone"), "there is no such file"),
    "not there": (lambda path: None, "there is no such file"),
}


def check_heard(clip, wanted):
    """What read_clip gives: five seconds, finite, within full scale; and the sound itself."""
    assert clip.dtype == np.float32 and clip.shape == (20_000,)
    assert np.isfinite(clip).all() and np.abs(clip).max() <= sound_files.FULL_SCALE
    if wanted == SILENCE:
        assert not clip.any()
    if wanted == READ:
        expected = np.sin(2 * np.pi * 500 * np.arange(20_000) / 4000)
        assert abs(np.corrcoef(clip, expected)[0, 1]) > 0.99


@pytest.mark.parametrize("method", audio.METHODS)
@pytest.mark.parametrize("kind", CLIPS)
def test_a_clip(tmp_path, kind, method):
    write, wanted = CLIPS[kind]
    path = tmp_path / "clip.wav"
    write(path)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    messages = [text for text in wanted if text not in (READ, SILENCE, FINITE)]
    try:
        clip = audio.read_clip(path, 4000, method)
    except InputError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
        assert any(text in str(error) for text in messages)
        return
    check_heard(clip, next(text for text in wanted if text not in messages))


def test_a_name_that_is_no_utf_8(tmp_path):
    path = tmp_path / "clip\udcff.wav"
    written(SINE)(tmp_path / "clip.wav")
    (tmp_path / "clip.wav").rename(path)
    with pytest.raises(InputError, match=NO_SOUND):
        audio.read_clip(path, 4000)


def test_all_bad_clips_are_named_in_one_line(tmp_path, here):
    """By the script that reads the recordings; and nothing is left of it."""
    clips = tmp_path / "data" / "esc10_rename" / "hum"
    clips.mkdir(parents=True)
    named = []
    for number, (write, wanted) in enumerate(CLIPS.values()):
        path = clips / f"hum{number}.wav"
        write(path)
        if isinstance(wanted, str) and wanted not in (READ, SILENCE, FINITE):
            named.append(path)
    message = here("0_downsampling.py", "--dataset", tmp_path / "data")
    wrong = [text.split(": ")[0] for text in message.split("; ")]
    assert {str(path) for path in named if path.is_symlink() or path.exists()} <= set(wrong)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["esc10_rename"]
    for name in wrong:
        path = clips / name.split("/")[-1]
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    here("0_downsampling.py", "--dataset", tmp_path / "data", status=0)
    made = list((tmp_path / "data" / "esc10_rename_4k" / "hum").iterdir())
    assert len(made) == len(list(clips.iterdir())) > 20
    assert {(sf.info(path).subtype, sf.info(path).frames) for path in made} == {("PCM_16", 20_000)}


def test_predict_lists_bad_clips_and_labels_the_others(tmp_path):
    """In a process, as a user runs it: a pipe must not make it wait."""
    untrained_networks(tmp_path / "models")
    clips = tmp_path / "clips"
    clips.mkdir()
    for number, (write, _) in enumerate(CLIPS.values()):
        write(clips / f"{number}.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    flags = ("--models", tmp_path / "models", clips, tmp_path / "pipe.wav")
    done = start("predict.py", *flags)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert str(tmp_path / "pipe.wav") in done.stderr
    for number, (_, wanted) in enumerate(CLIPS.values()):
        path = clips / f"{number}.wav"
        if path.is_file() and isinstance(wanted, str):
            is_bad = wanted not in (READ, SILENCE, FINITE)
            assert (str(path) + ":" in done.stderr) == is_bad, path
            assert is_bad or f"\n{path.name} " in done.stdout


# ------------------------------------------------------------------------------- prepared clips

GOOD = (0.5 * SINE[:20_000] * 32767).astype(np.int16)
PREPARED = {
    "another rate": (lambda path: scipy.io.wavfile.write(path, 8000, GOOD), "at 8000 Hz"),
    "a sample less": (lambda path: scipy.io.wavfile.write(path, 4000, GOOD[:-1]), "19999"),
    "twice as long": (lambda p: scipy.io.wavfile.write(p, 4000, np.tile(GOOD, 2)), "40000"),
    "no samples": (lambda path: scipy.io.wavfile.write(path, 4000, GOOD[:0]), "(0,) samples"),
    "stereo": (
        lambda path: scipy.io.wavfile.write(path, 4000, np.column_stack([GOOD, GOOD])),
        "(20000, 2) samples",
    ),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:5000]), "samples at 4000 Hz"),
    "no sound": (lambda path: path.write_bytes(b"RIFF"), "cannot be read"),
    "not there": (lambda path: path.unlink(), "cannot be read (no such file)"),
    "a pipe": (lambda path: (path.unlink(), os.mkfifo(path)), "cannot be read (no such file)"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "cannot be read (no such file)"),
}


@pytest.mark.parametrize("kind", PREPARED)
def test_a_prepared_clip(tmp_path, kind):
    write, wanted = PREPARED[kind]
    paths = [tmp_path / f"{number}.wav" for number in range(3)]
    for path in paths:
        scipy.io.wavfile.write(path, 4000, GOOD)
    write(paths[1])
    with pytest.raises(InputError) as error:
        audio.uploader(paths, 4000)
    assert str(error.value).startswith(f"{paths[1]}: ") and wanted in str(error.value)
    paths.pop(1)
    assert (audio.uploader(paths, 4000) == GOOD / np.float32(32768)).all()


# ----------------------------------------------------------------------------------- properties


@given(
    st.integers(0, 2000),
    st.sampled_from((2000, 4000, 11_025, 44_100, 96_000)),
    st.integers(1, 3),
    st.sampled_from(("PCM_U8", "PCM_16", "PCM_24", "FLOAT", "DOUBLE")),
    st.floats(width=32),
    st.sampled_from(audio.METHODS),
)
def test_any_sound_is_heard_or_named(
    tmp_path_factory, frames, rate, channels, subtype, top, method
):
    path = tmp_path_factory.mktemp("clip") / "clip.wav"
    samples = top * np.random.default_rng(frames).standard_normal((frames, channels))
    with np.errstate(over="ignore"):
        sf.write(path, samples, rate, subtype=subtype)
    try:
        check_heard(audio.read_clip(path, 4000, method), FINITE)
    except InputError as error:
        assert EMPTY in str(error) if frames == 0 else NOT_FINITE in str(error)


@given(
    st.sampled_from(("WAV", "FLAC", "OGG", "AIFF")),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
    st.integers(0, 3000),
)
def test_a_damaged_file_is_heard_or_named(damaged, form, changes, length):
    """Bytes changed in and behind the header, and the end cut off."""
    folder, files = damaged
    content = bytearray(files[form])
    for place, value in changes:
        content[place] = value
    path = folder / "clip.wav"
    path.write_bytes(content[: len(content) - length])
    try:
        check_heard(audio.read_clip(path, 4000), FINITE)
    except InputError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """A folder, and the bytes of a short clip in several formats."""
    folder = tmp_path_factory.mktemp("damaged")
    files = {}
    for form in ("WAV", "FLAC", "OGG", "AIFF"):
        sf.write(folder / "good", sine(0.2), RATE, format=form)
        files[form] = (folder / "good").read_bytes()
    return folder, files
