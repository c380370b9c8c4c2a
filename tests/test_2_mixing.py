"""Levels, mixtures and shifted copies: arrays and files, against sums by hand."""

import json
from itertools import combinations, product
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile as sf
import tiny_set
import torch
from conftest import HERE, load_script

from pipeline.data import audio, esc10_data
from pipeline.files import provenance
from pipeline.settings import command_line


def samples_of(path):
    samples, rate = sf.read(path, dtype="int16")
    assert rate == tiny_set.RATE
    return samples.astype(float)


# ---------------------------------------------------------------------------- levels and sums


@pytest.mark.parametrize("sign", [1, -1])
def test_the_loudest_sample_of_every_clip_is_that_of_the_loudest_clip(sign):
    clips = sign * np.array([[0.1, -0.2, 0.0], [0.05, 0.4, -0.8], [0.3, 0.2, 0.1], [0, 0, 0]])
    clips = clips.astype(np.float32)
    before = clips.copy()
    expected = sign * np.array(
        [[0.4, -0.8, 0], [0.05, 0.4, -0.8], [0.8, 1.6 / 3, 0.8 / 3], [0, 0, 0]]
    )
    np.testing.assert_allclose(audio.normalise_volume(clips), expected, rtol=1e-6)
    for loudest in (0.4, 1.0):  # quieter, and louder, than one of them
        found = audio.normalise_volume(clips, loudest)
        np.testing.assert_allclose(found, expected * loudest / 0.8, rtol=1e-6)
        assert found.dtype == np.float32
    np.testing.assert_array_equal(clips, before)


def test_a_mixture_is_half_the_sum_one_by_one_or_one_with_many():
    a, b = np.array([[0.5, -1.0, 0.25], [1, 0, 0]]), np.array([[0.5, 0.5, -0.25], [0.5, 1, -1]])
    expected = np.array([[0.5, -0.25, 0], [0.75, 0.5, -0.5]])
    np.testing.assert_array_equal(audio.mix(a, b), expected)
    np.testing.assert_array_equal(audio.mix(a[0], b), [[0.5, -0.25, 0], [0.5, 0, -0.375]])
    np.testing.assert_array_equal(audio.mix(*map(torch.tensor, (a, b))), expected)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_a_level_is_the_root_of_the_mean_square_not_of_the_spread(kind):
    waves = np.array([[[0.3, 0.3, 0.3, 0.3], [4, 0, 0, 0]], [[0, 0, 0, 0], [1, -7, 5, 5]]])
    found = np.asarray(audio.level_rms(kind(waves)))
    expected = [[[0.1, 0.1, 0.1, 0.1], [0.2, 0, 0, 0]], [[0, 0, 0, 0], [0.02, -0.14, 0.1, 0.1]]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(audio.level_rms(kind(waves[0, 1])), expected[0][1], rtol=1e-6)


def test_silent_clips_are_named(capsys):
    clips = np.array([[0, 0], [0, -1e-9], [0, 0], [1, -1]])
    audio.name_silent(map(Path, "abcd"), clips)
    assert capsys.readouterr().out == "silent clips, which stay silent: a, c\n"
    audio.name_silent("bd", clips[1::2])
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="zip"):
        audio.name_silent("abc", clips)


# ------------------------------------------------------------------------------ mixture files


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Its loudest clip, and a silent one, are training clips of set 2."""
    root = tmp_path_factory.mktemp("tiny")
    tiny = tiny_set.make(root, oversamples=())
    for stem, peak in (("bee11", -32_000), ("cat5", 0)):
        tiny.samples[stem] = np.full(5 * tiny.rate, peak // 2, dtype=np.int16)
        tiny.samples[stem][7] = peak
        tiny_set.write(
            root / "esc10_rename_2k" / stem[:3] / f"{stem}.wav", tiny.samples[stem], 2000
        )
    return root, tiny


@pytest.mark.parametrize("write", ["all", "set", "test"])
def test_files_are_half_the_sum_of_clips_as_loud_as_the_loudest_of_all(made, here, write):
    root, tiny = made
    flags = ("--sample-rate", 2000, "--write", write, "--set", 2, "--n-jobs", 1)
    out = here("0_2mix_norm_vol.py", "--dataset", root, *flags, status=0)
    groups = {"all": [tiny.numbers], "set": tiny.divisions[2].values()}
    groups["test"] = [tiny.divisions[2]["test"]]
    stems = {name: clip.astype(float) for name, clip in tiny.samples.items()}
    stems = {name: clip / max(1, np.abs(clip).max()) * 32_000 for name, clip in stems.items()}
    expected = {}
    for members in groups[write]:
        for (a, b), n, m in product(combinations(tiny.classes, 2), members, members):
            expected[f"{a}{n}_{b}{m}.wav"] = (stems[f"{a}{n}"] + stems[f"{b}{m}"]) / 2
    assert len(expected) == {"all": 3 * 169, "set": 3 * (100 + 4 + 1), "test": 3}[write]
    folder = root / "esc10_2mix_vol_norm_2k"
    assert {path.name for path in folder.iterdir()} == set(expected)
    for name, wanted in list(expected.items())[:: 1 if write == "test" else 7]:
        np.testing.assert_allclose(samples_of(folder / name), wanted, atol=0.51)
    assert "silent clips, which stay silent: cat5\n" in out
    assert f"{len(expected)} mixtures written to {folder}\n" in out
    division = provenance.division_fingerprint(root / "esc10_811div_txts")
    made_with = {"WRITE": write} | ({} if write == "all" else {"SET": 2, "DIVISION": division})
    stamp = json.loads((root / "esc10_2mix_vol_norm_2k.json").read_text())
    assert stamp == {"constants": made_with, "input": {"esc10_rename_2k": None}}
    # None leaves all of that alone.
    out = here("0_2mix_norm_vol.py", "--dataset", root, *flags[:2], "--write", "none", status=0)
    assert out.startswith("WRITE is none") and len(list(folder.iterdir())) == len(expected)


def test_clips_that_were_not_downsampled_yet_are(here, tmp_path):
    tiny = tiny_set.make(tmp_path, nb_numbers=2, oversamples=())
    flags = ("--dataset", tmp_path, "--sample-rate", 2001, "--n-jobs", 1)
    here("0_2mix_norm_vol.py", *flags, status=0)
    assert len(list((tmp_path / "esc10_2mix_vol_norm_2.001k").iterdir())) == 3 * 4
    stamp = json.loads((tmp_path / "esc10_rename_2.001k.json").read_text())
    assert stamp["constants"] == {"SAMPLE_RATE": 2001, "METHOD": "load"}
    expected = librosa.resample(
        tiny.samples["ant1"] / np.float32(32768), orig_sr=2000, target_sr=2001
    )
    found, _ = sf.read(tmp_path / "esc10_rename_2.001k" / "ant" / "ant1.wav", dtype="float32")
    np.testing.assert_allclose(found, expected[:10_005], atol=1 / 32768)


def test_the_files_of_one_clip_with_several(tmp_path):
    script = load_script("0_2mix_norm_vol.py")
    clip_a, clips_b = np.array([0.5, -0.5, 0.25]), np.array([[0.5, 0, 0], [0, 0, -0.75]])
    nb_files = script.write_mixtures("ant1", clip_a, ["bee2", "bee3"], clips_b, tmp_path)
    assert nb_files == 2
    for stem, wanted in (("bee2", [0.5, -0.25, 0.125]), ("bee3", [0.25, -0.25, -0.25])):
        found, rate = sf.read(tmp_path / f"ant1_{stem}.wav")
        assert found.tolist() == wanted and rate == 4000
    with pytest.raises(ValueError, match="zip"):
        script.write_mixtures("ant1", clip_a, ["bee2"], clips_b, tmp_path)


# ---------------------------------------------------------------------------- shifted copies


@pytest.mark.parametrize(
    ("oversample", "shifts"),
    [
        (1, {}),
        (2, {"_Down1": -0.6}),
        (3, {"_Down1": -0.6, "_Up1": 0.6}),
        (4, {"_Down1": -0.3, "_Down2": -0.6, "_Up1": 0.6}),
        (7, {f"_{way}{i}": s * i / 5 for way, s in (("Down", -1), ("Up", 1)) for i in (1, 2, 3)}),
    ],
)
def test_shifts_are_spread_evenly_over_both_directions(oversample, shifts):
    found = esc10_data.copy_shifts(oversample, 0.6)
    assert list(found) == ["", *shifts]  # downwards first: this order is that of the stems
    assert found == pytest.approx({"": 0, **shifts})


def test_copies_are_shifted_as_their_names_say(here, tmp_path, monkeypatch):
    """A shift that halves a clip once a semitone, in place of librosa's, tells which it was."""
    tiny = tiny_set.make(tmp_path, nb_numbers=7, oversamples=())
    asked = []

    def shift(clips, sr, n_steps):
        asked.append((len(clips), sr, n_steps))
        return np.pad(clips * 2 ** (n_steps - 4), [(0, 0), (0, 9)], constant_values=1)

    monkeypatch.setattr(librosa.effects, "pitch_shift", shift)
    flags = ("--sample-rate", 2000, "--oversample", 4, "--max-shift", 3, "--n-jobs", 1)
    out = here("0_pitch_oversample_4k.py", "--dataset", tmp_path, *flags, status=0)
    folder = tmp_path / "esc10_rename_2k_p4"
    assert out.startswith(f"21 clips, 4 files each, written to {folder}\n")
    shifts = {"": 4, "_Down1": -1.5, "_Down2": -3, "_Up1": 3}
    assert {(sr, steps) for _, sr, steps in asked} == {(2000, s) for s in list(shifts.values())[1:]}
    assert sum(nb_clips for nb_clips, _, _ in asked) == 3 * 21
    assert len(list(folder.rglob("*.wav"))) == 4 * 21
    for name, clip in tiny.samples.items():
        for ending, steps in shifts.items():
            found = samples_of(folder / name[:3] / f"{name}{ending}.wav")
            assert len(found) == 10_000
            np.testing.assert_allclose(found, clip * 2.0 ** (steps - 4), atol=0.51)
        original = f"{name[:3]}/{name}.wav"
        written, read = folder / original, tmp_path / "esc10_rename_2k" / original
        assert written.read_bytes() == read.read_bytes()
    stamp = json.loads((tmp_path / "esc10_rename_2k_p4.json").read_text())
    made_with = {"OVERSAMPLE": 4, "MAX_SHIFT": 3}
    assert stamp == {"constants": made_with, "input": {"esc10_rename_2k": None}}


@pytest.mark.parametrize("semitones", [-0.25, 0.25])
def test_librosas_shift_is_in_semitones_upwards(tmp_path, monkeypatch, semitones):
    script = load_script("0_pitch_oversample_4k.py")
    sines = 0.5 * np.sin(2 * np.pi * np.array([[300], [700]]) * np.arange(20_000) / 4000)
    paths = [tmp_path / "a1.wav", tmp_path / "b.c2.wav"]
    assert script.write_shifted(paths, sines.astype(np.float32), "_X", semitones) == 2
    for name, frequency in (("a1_X.wav", 300), ("b.c2_X.wav", 700)):
        shifted, rate = sf.read(tmp_path / name)
        spectrum = np.abs(np.fft.rfft(shifted * np.hanning(20_000), 2**19))
        found = np.argmax(spectrum) * rate / 2**19
        assert 1200 * np.log2(found / frequency) == pytest.approx(100 * semitones, abs=2)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("script", "defaults"),
    [
        ("0_downsampling.py", {"SAMPLE_RATE": 4000, "METHOD": "load"}),
        ("0_pitch_oversample_4k.py", {"SAMPLE_RATE": 4000, "OVERSAMPLE": 5, "MAX_SHIFT": 0.25}),
        ("0_2mix_norm_vol.py", {"SAMPLE_RATE": 4000, "WRITE": "all", "SET": 1, "DIVISION_DIR": ""}),
        ("0_2mix_csv.py", {"DIVISION_DIR": ""}),
        ("0_txt_div.py", {"DIVISION_DIR": ""}),
        ("0_make_esc10.py", {"ESC50_DIR": ""}),
        (
            "0_get_esc50.py",
            {"SYNTHETIC": False, "CLIPS_PER_CLASS": 40, "NB_CLASSES": 10, "SEED": 0},
        ),
    ],
)
def test_the_constants_that_the_published_data_were_made_with(script, defaults):
    constants = {
        name: value for name, (value, _) in command_line.read_constants(HERE / script).items()
    }
    assert constants == {**constants, **defaults, "DATASET": "dataset"}


@pytest.mark.parametrize(
    ("script", "lacks", "first"),
    [
        ("0_rename_files.py", "esc10", "0_make_esc10.py"),
        ("0_txt_div.py", "esc10_rename", "0_rename_files.py"),
        ("0_2mix_csv.py", "esc10_rename", "0_rename_files.py"),
        ("0_downsampling.py", "esc10_rename", "0_rename_files.py"),
        ("0_2mix_norm_vol.py", "esc10_rename", "0_rename_files.py"),
        ("0_pitch_oversample_4k.py", "esc10_rename_4k", "0_downsampling.py"),
    ],
)
def test_a_step_names_the_one_before_it(here, tmp_path, script, lacks, first):
    message = here(script, "--dataset", tmp_path)
    expected = f"{tmp_path}/{lacks} is missing: run  python {first} --dataset {tmp_path}  first"
    assert message == expected
