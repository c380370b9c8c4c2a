import hashlib
import os
import re
import shutil
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from conftest import CLASSES, PREPARATION, fail, load_script, prepare, succeed

import crs_lib
from pipeline.data import audio, esc10_data, synthetic_set
from pipeline.files import provenance, sound_files

HASHES = {}  # of files that were read before: links to the same ones are many


def bytes_below(folder):
    """Path -> hash of the content of every file below a folder."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hash_of(path) for path in files}


def hash_of(path):
    status = path.stat()
    known = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    if known not in HASHES:
        HASHES[known] = hashlib.sha256(path.read_bytes()).hexdigest()
    return HASHES[known]


def names_of(root):
    return pd.read_csv(root / "esc10_rename" / "names.csv", dtype={"src_file": str})


def check_numbers(names):
    """The last digit says the fold; numbers are complete; takes share a digit where they can."""
    assert (names["number"] % 10 // 2 + 1 == names["fold"]).all()
    split = 0
    for _, clips in names.groupby(["class", "fold"]):
        sizes = clips.groupby("src_file").size()
        digits = clips.groupby("src_file")["number"].agg(lambda numbers: (numbers % 10).nunique())
        half = len(clips) // 2
        sums = {0}
        for size in sizes:
            sums |= {size + reached for reached in sums}
        assert digits.sum() - len(digits) == (half not in sums)
        split += half not in sums
    for _, clips in names.groupby("class"):
        assert sorted(clips["number"]) == list(range(len(clips)))
    return split


def check_divisions(names, texts):
    """No recording on both sides; every clip tested once; every number in one part of each set."""
    tested = Counter()
    for number in range(1, 11):
        division = esc10_data.read_division(texts, number, names["number"].unique(), redo="")
        part_of = {n: part for part, members in division.items() for n in members}
        assert sorted(part_of) == sorted(names["number"].unique())
        parts = names["number"].map(part_of)
        training = set(names["src_file"][parts == "train"])
        assert not training & set(names["src_file"][parts != "train"])
        assert len(set(names["fold"][parts == "train"])) == 4
        tested.update(division["test"])
    assert set(tested.values()) == {1} and len(tested) == names["number"].nunique()


def test_copies_are_byte_for_byte(demo):
    originals = bytes_below(demo / "ESC-50" / "audio")
    copies = bytes_below(demo / "esc10")
    assert {Path(name).name: value for name, value in copies.items()} == originals
    renamed = bytes_below(demo / "esc10_rename")
    names = names_of(demo)
    assert len(names) == 40
    for row in names.itertuples():
        assert renamed[f"{row[2]}/{row.file}"] == originals[row.original]


def test_numbers_carry_the_folds_and_divisions_do_not_leak(demo):
    check_numbers(names_of(demo))
    check_divisions(names_of(demo), demo / "esc10_811div_txts")
    text = (demo / "esc10_811div_txts" / "set3" / "set3_train.txt").read_text()
    assert text == "0, 1, 2, 3, 6, 7, 8, 9\n"


@pytest.mark.parametrize("seed", range(5))
def test_numbering_of_many_takes(seed):
    """A class of 40 with recordings of many sizes, as the real ones are."""
    number_class = load_script("0_rename_files.py").number_class
    rng = np.random.default_rng(seed)
    rows, paths = [], []
    for fold in range(1, 6):
        recordings = rng.integers(1, 4 + seed, size=8)
        for clip in range(8):
            recording, take = 1000 * fold + recordings[clip], "ABCDEFGH"[clip]
            paths.append(Path(f"{fold}-{recording}-{take}-3.wav"))
    shuffled = [paths[i] for i in rng.permutation(40)]
    for number, clip in number_class(shuffled).items():
        rows.append(("x", number, clip.fold, str(clip.recording), clip.path.name))
    names = pd.DataFrame(rows, columns=["class", "number", "fold", "src_file", "original"])
    check_numbers(names)
    again = {number: clip.path for number, clip in number_class(sorted(paths)).items()}
    assert again == {row[1]: Path(row[4]) for row in rows}


def test_downsampled_clips_are_what_librosa_gives(demo):
    import librosa

    for path in list((demo / "esc10_rename").rglob("*.wav"))[::7]:
        expected, _ = librosa.load(path, sr=4000)
        expected = expected / max(1, np.abs(expected).max())
        got, rate = sf.read(demo / "esc10_rename_4k" / path.parent.name / path.name)
        assert rate == 4000 and got.shape == (20_000,)
        np.testing.assert_allclose(got, expected, atol=2e-3)


def test_pitch_shifted_copies(demo):
    folder = demo / "esc10_rename_4k_p5"
    names = [path.name for path in (folder / "clock_tick").iterdir()]
    endings = ("", "_Down1", "_Down2", "_Up1", "_Up2")
    assert sorted(names) == sorted(f"clock_tick{n}{e}.wav" for n in range(10) for e in endings)
    original = "chainsaw/chainsaw4.wav"
    assert (folder / original).read_bytes() == (demo / "esc10_rename_4k" / original).read_bytes()
    assert {sf.info(path).subtype for path in folder.rglob("*.wav")} == {"PCM_16"}
    assert {sf.info(path).frames for path in folder.rglob("*.wav")} == {20_000}


def test_a_shifted_sine_lands_where_it_should(tmp_path):
    root = tmp_path / "data"
    wave = 0.5 * np.sin(2 * np.pi * 500 * np.arange(20_000) / 4000)
    (root / "esc10_rename_4k" / "hum").mkdir(parents=True)
    sound_files.write_wav(root / "esc10_rename_4k" / "hum" / "hum0.wav", wave, 4000)
    succeed("0_pitch_oversample_4k.py", "--dataset", root, "--oversample", 4, "--max-shift", 2)
    for ending, semitones in {"_Down1": -1, "_Down2": -2, "_Up1": 2}.items():
        shifted, _ = sf.read(root / "esc10_rename_4k_p4" / "hum" / f"hum0{ending}.wav")
        spectrum = np.abs(np.fft.rfft(shifted * np.hanning(20_000), 2**20))
        found = np.argmax(spectrum) * 4000 / 2**20
        assert 1200 * np.log2(found / 500) == pytest.approx(100 * semitones, abs=2)


def test_mixtures_are_half_the_sum_of_normalised_stems_and_none_clips(demo):
    clips = {}
    for path in (demo / "esc10_rename_4k").rglob("*.wav"):
        clips[path.stem] = sf.read(path)[0]
    loudest = max(np.abs(clip).max() for clip in clips.values())
    files = list((demo / "esc10_2mix_vol_norm_4k").iterdir())
    assert len(files) == 6 * 10 * 10
    for path in files:
        a, b = re.fullmatch(r"([a-z_]+\d+)_([a-z_]+\d+)", path.stem).groups()
        expected = sum(clips[stem] * (loudest / np.abs(clips[stem]).max()) for stem in (a, b)) / 2
        got, rate = sf.read(path)
        assert rate == 4000
        np.testing.assert_allclose(got, expected, atol=0.51 / 32768)
        assert np.abs(got).max() <= sound_files.FULL_SCALE


def test_the_mixtures_on_disk_are_those_that_training_adds_in_memory(demo):
    import torch

    from pipeline.data import set_data
    from pipeline.networks import features

    data = set_data.choose_files(str(demo), "", 1, 4000, 5)
    stems = features.load(data.stems, 4000, torch.device("cpu"))
    rows = data.mixtures["test"]
    files = set_data.recordings_of(data.stems, rows)["clip"]
    on_disk = audio.uploader([demo / "esc10_2mix_vol_norm_4k" / f for f in files], 4000)
    in_memory = audio.mix(stems[rows[:, 0]], stems[rows[:, 1]]).numpy()
    np.testing.assert_allclose(on_disk, in_memory, atol=0.51 / 32768)


def test_which_files_a_set_reads(demo):
    from pipeline.data import set_data

    data = set_data.choose_files(str(demo), "", 2, 4000, 5)
    stems = data.stems
    assert stems["part"].value_counts().to_dict() == {"train": 4 * 8 * 5, "val": 4, "test": 4}
    assert stems["file"].nunique() == len(stems) and stems["file"].map(Path.exists).all()
    assert set(stems["number"][stems["part"] == "val"]) == {2}
    assert set(stems["number"][stems["part"] == "test"]) == {3}
    recordings = stems.groupby("part")["recording"].agg(set)
    assert not recordings["train"] & (recordings["val"] | recordings["test"])
    sizes = {part: len(rows) for part, rows in data.mixtures.items()}
    assert sizes == {"train": 6 * 64, "val": 6, "test": 6}
    for part, rows in data.mixtures.items():
        assert (stems["part"].to_numpy()[rows] == part).all()
        assert (stems["copy"].to_numpy()[rows] == 0).all()
        classes = stems["class_index"].to_numpy()[rows]
        assert (classes[:, 0] < classes[:, 1]).all()
    # The copies of a clip stand behind it, in the order of their names.
    copies = stems[stems["part"] == "train"]["file"].map(lambda path: path.stem)[:5]
    assert list(copies) == [f"chainsaw0{e}" for e in ("", "_Down1", "_Down2", "_Up1", "_Up2")]


def test_table_of_the_data_set(demo):
    table = pd.read_csv(demo / "esc10_mixes.csv")
    assert len(table) == len(list(combinations(CLASSES, 2))) * 100
    assert set(table["filename"]) == {p.name for p in (demo / "esc10_2mix_vol_norm_4k").iterdir()}
    for number in range(1, 11):
        counts = table[f"set{number}"].value_counts().to_dict()
        assert counts == {1: 6 * 64, 2: 6, 3: 6, -1: 6 * 34}


@pytest.mark.parametrize(("write", "nb_files"), [("test", 6), ("set", 6 * 66)])
def test_write_says_which_mixtures_become_files(demo, tmp_path, write, nb_files):
    root = tmp_path / "data"
    shutil.copytree(demo / "esc10_rename", root / "esc10_rename")
    shutil.copytree(demo / "esc10_811div_txts", root / "esc10_811div_txts")
    mixtures = root / "esc10_2mix_vol_norm_4k"
    succeed("0_2mix_norm_vol.py", "--dataset", root, "--write", write, "--set", 4)
    # The downsampling that was missing was made, with the same result.
    assert bytes_below(root / "esc10_rename_4k") == bytes_below(demo / "esc10_rename_4k")
    table = pd.read_csv(demo / "esc10_mixes.csv")
    wanted = table["set4"] == 3 if write == "test" else table["set4"] > 0
    assert {path.name for path in mixtures.iterdir()} == set(table["filename"][wanted])
    assert len(list(mixtures.iterdir())) == nb_files
    before = bytes_below(mixtures)
    succeed("0_2mix_norm_vol.py", "--dataset", root, "--write", "none")
    assert bytes_below(mixtures) == before


def test_the_same_bytes_again_elsewhere_and_in_another_order(demo, tmp_path):
    root = tmp_path / "again"
    # Files laid down in reverse, so that the folder's own order is another.
    for path in sorted((demo / "ESC-50").rglob("*"), reverse=True):
        if path.is_file():
            target = root / "ESC-50" / path.relative_to(demo / "ESC-50")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    prepare(root)
    succeed("0_pitch_oversample_4k.py", "--dataset", root, "--oversample", 2, "--n-jobs", 1)
    first, second = bytes_below(demo), bytes_below(root)
    assert first == second and len(first) > 1000


def test_a_synthetic_source_marks_the_root_and_is_kept_apart(demo, tmp_path):
    root = tmp_path / "data"
    out = succeed("0_make_esc10.py", "--dataset", root, "--esc50-dir", demo / "ESC-50")
    assert (root / "SYNTHETIC").exists()
    assert out.rstrip().split("\n")[-1].startswith("SYNTHETIC: ")
    out = succeed("0_rename_files.py", "--dataset", root).rstrip().split("\n")
    assert out[0] == out[-1] == f"SYNTHETIC: {root} holds the synthetic set, not real recordings"
    os.remove(root / "SYNTHETIC")
    message = fail("0_make_esc10.py", "--dataset", root, "--esc50-dir", demo / "ESC-50")
    assert "holds real recordings" in message and "name another --dataset" in message


def test_a_second_run_replaces_and_a_failed_one_leaves_the_first(demo, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(demo / "esc10_rename", root / "esc10_rename")
    succeed("0_downsampling.py", "--dataset", root)
    before = bytes_below(root / "esc10_rename_4k")
    stamp = provenance.read_stamp(str(root), "esc10_rename_4k")
    (root / "esc10_rename" / "chainsaw" / "chainsaw3.wav").write_bytes(b"text")
    (root / "esc10_rename" / "clock_tick" / "clock_tick0.wav").write_bytes(b"")
    message = fail("0_downsampling.py", "--dataset", root)
    assert "chainsaw3.wav" in message and "clock_tick0.wav" in message
    assert bytes_below(root / "esc10_rename_4k") == before
    assert not list(root.glob("*.part"))
    assert provenance.read_stamp(str(root), "esc10_rename_4k") == stamp


def test_tables_saved_by_a_spreadsheet_are_read(demo, tmp_path):
    esc50 = tmp_path / "ESC-50"
    shutil.copytree(demo / "ESC-50", esc50)
    table = esc50 / "meta" / "esc50.csv"
    text = table.read_text().replace("True", "TRUE")
    extra = "1-1-A-0.wav,1,49,dog,FALSE,1,A\n"
    table.write_bytes(b"\xef\xbb\xbf" + (text + extra).replace("\n", "\r\n").encode())
    succeed("0_make_esc10.py", "--dataset", tmp_path / "data", "--esc50-dir", esc50)
    assert len(list((tmp_path / "data" / "esc10").rglob("*.wav"))) == 40


def test_the_synthetic_set_has_any_number_of_classes_and_a_seed(tmp_path):
    first = tmp_path / "a"
    synthetic_set.make_esc50(first, clips_per_class=10, nb_classes=12, seed=1)
    table = pd.read_csv(first / "meta" / "esc50.csv")
    assert table["category"].nunique() == 12 and len(table) == 120
    assert (table.groupby(["category", "fold"]).size() == 2).all()
    assert table.groupby("src_file")["fold"].nunique().max() == 1
    assert table.groupby("src_file").size().max() > 1
    infos = [sf.info(path) for path in (first / "audio").iterdir()]
    assert {(i.samplerate, i.channels, i.frames, i.subtype) for i in infos} == {
        (44_100, 1, 220_500, "PCM_16")
    }
    second = tmp_path / "b"
    synthetic_set.make_esc50(second, clips_per_class=10, nb_classes=2, seed=1)
    uneven = tmp_path / "d"
    synthetic_set.make_esc50(uneven, clips_per_class=12, nb_classes=1, seed=1)
    sizes = pd.read_csv(uneven / "meta" / "esc50.csv").groupby("fold").size()
    assert list(sizes) == [3, 3, 2, 2, 2]
    third = tmp_path / "c"
    synthetic_set.make_esc50(third, clips_per_class=10, nb_classes=2, seed=2)
    same, other = (bytes_below(f / "audio") for f in (second, third))
    assert same.items() <= bytes_below(first / "audio").items()
    assert not set(other.values()) & set(same.values())


def test_every_preparation_script_is_in_the_list():
    scripts = {path.name for path in Path(crs_lib.HERE).glob("0_*.py")}
    assert scripts == {*PREPARATION, "0_get_esc50.py"}
