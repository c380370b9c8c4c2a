"""The files of a set, its mixtures, and their recordings, against a root made by hand."""

import json
import shutil
from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
import tiny_set
import torch

import crs_lib
from crs_lib import InputError
from pipeline.data import audio, set_data
from pipeline.files import provenance
from pipeline.networks import features

PARTS = ("train", "val", "test")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A root that is not changed, and what is in it."""
    root = tmp_path_factory.mktemp("tiny")
    return root, tiny_set.make(root)


@pytest.fixture
def own(made, tmp_path):
    """A root of one's own, whose tables and texts may be changed; its sounds are the other's."""
    root = tmp_path / "own"
    (root / "esc10_rename").mkdir(parents=True)
    for table in ("esc10_mixes.csv", "esc10_rename/names.csv"):
        shutil.copyfile(made[0] / table, root / table)
    shutil.copytree(made[0] / "esc10_811div_txts/set2", root / "esc10_811div_txts/set2")
    for folder in ("esc10_rename_2k", "esc10_rename_2k_p3", "esc10_811div_txts/set3"):
        (root / folder).symlink_to(made[0] / folder)
    return root


def choose(root, set_number=2, oversample=3):
    return set_data.choose_files(str(root), "", set_number, tiny_set.RATE, oversample)


def stem_names(data):
    return [path.stem for path in data.stems["file"]]


def change_table(root, change):
    path = root / "esc10_mixes.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)


@pytest.mark.parametrize(("set_number", "oversample"), [(2, 3), (7, 2), (3, 1), (10, 3)])
def test_every_stem_is_a_clip_of_its_part_and_only_training_has_copies(
    made, set_number, oversample
):
    root, tiny = made
    expected = []
    for index, name in enumerate(["ant", "bee", "cat"]):
        for number in range(13):
            (part,) = (p for p in PARTS if number in tiny.divisions[set_number][p])
            for copy, ending in enumerate(["", "_Down1", "_Up1"][:oversample]):
                if copy and part != "train":
                    continue
                folder = "esc10_rename_2k" + (f"_p{oversample}" if copy else "")
                file = root / folder / name / f"{name}{number}{ending}.wav"
                assert file.is_file()
                recording = tiny.recordings[f"{name}{number}"]  # text: it begins with a zero
                expected.append((file, part, name, index, number, copy, recording))
    data = choose(root, set_number, oversample)
    columns = ["file", "part", "class_name", "class_index", "number", "copy", "recording"]
    assert list(data.stems) == columns and data.classes == ["ant", "bee", "cat"]
    assert list(data.stems.itertuples(index=False, name=None)) == expected
    for part in PARTS:
        rows = [[i, -1] for i, stem in enumerate(expected) if stem[1] == part]
        assert data.singles[part].tolist() == rows


@pytest.mark.parametrize(("set_number", "oversample"), [(2, 3), (7, 2), (3, 1), (10, 3)])
def test_the_mixtures_of_a_part_are_all_pairs_of_its_originals(made, set_number, oversample):
    root, tiny = made
    data = choose(root, set_number, oversample)
    names = stem_names(data)
    assert list(data.mixtures) == list(data.singles) == list(PARTS)
    for part, rows in data.mixtures.items():
        members = tiny.divisions[set_number][part]
        expected = [
            [f"{a}{n}", f"{b}{m}"]
            for a, b in combinations(["ant", "bee", "cat"], 2)
            for n, m in product(members, members)
        ]
        assert [[names[a], names[b]] for a, b in rows] == expected


def test_validation_and_test_are_not_taken_for_each_other(made):
    sizes = {part: len(rows) for part, rows in choose(made[0], 2).singles.items()}
    assert sizes == {"train": 3 * 10 * 3, "val": 6, "test": 3}
    sizes = {part: len(rows) for part, rows in choose(made[0], 7, 2).mixtures.items()}
    assert sizes == {"train": 3 * 100, "val": 3, "test": 3 * 4}


def test_of_all_clips_every_clip_and_every_mixture_is_to_train_on(made):
    """The table's columns of the sets are not even read."""
    data = choose(made[0], crs_lib.ALL_CLIPS)
    some = choose(made[0], 2)
    originals = data.stems[data.stems["copy"] == 0]
    assert sorted(originals["file"]) == sorted(some.stems[some.stems["copy"] == 0]["file"])
    assert set(data.stems["part"]) == {"train"} and len(data.stems) == 3 * len(originals)
    names = np.array(stem_names(data))
    found = {tuple(names[row]) for row in data.mixtures["train"]}
    pairs = combinations(originals.itertuples(), 2)
    expected = {(a.file.stem, b.file.stem) for a, b in pairs if a.class_name != b.class_name}
    assert found == expected and len(data.mixtures["train"]) == len(expected)
    for part in ("val", "test"):
        assert data.singles[part].shape == data.mixtures[part].shape == (0, 2)


def test_four_classes_have_six_pairs(tmp_path):
    """Three have three, as many as classes."""
    tiny_set.make(tmp_path, ("ant", "bee", "cat", "doe"), nb_numbers=10, oversamples=())
    data = choose(tmp_path, 1, 1)
    assert {part: len(rows) for part, rows in data.mixtures.items()} == {
        "train": 6 * 64, "val": 6, "test": 6
    }  # fmt: skip


def test_one_class_has_no_mixtures_and_is_refused(tmp_path):
    tiny_set.make(tmp_path, ("ant",), nb_numbers=10, oversamples=())
    with pytest.raises(InputError, match=r"does not fit the clips .* run  python 0_2mix_csv\.py"):
        choose(tmp_path, 1, 1)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("how", ["fewer", "more", "unknown"])
def test_a_table_that_does_not_fit_is_refused(own, part, how):
    code = {"train": 1, "val": 2, "test": 3}[part]

    def change(table):
        row = np.flatnonzero(table["set2"] == code)[0]
        if how == "fewer":
            return table.drop(row)
        if how == "more":
            return pd.concat([table, table.iloc[[row]]])
        table.loc[row, "B_num"] = 77
        return table

    change_table(own, change)
    with pytest.raises(InputError) as error:
        choose(own)
    again = f"does not fit the clips and the division: run  python 0_2mix_csv.py --dataset {own} "
    assert str(error.value).startswith(f"{own}/esc10_mixes.csv {again}")


def test_a_clip_of_another_part_is_no_clip_of_this_one(made):
    """Also where the table says so."""
    data = choose(made[0])
    table = pd.DataFrame({"A_class": ["ant", "ant"], "A_num": [2, 3], "B_class": ["cat", "cat"]})
    table = table.assign(B_num=[12, 12], set2=[2, 2])
    ((a, b), (other, _)) = set_data.choose_mixtures(table, 2, "val", data.stems)
    assert [stem_names(data)[i] for i in (a, b)] == ["ant2", "cat12"] and other == -1


def test_only_the_column_of_the_set_is_read(made):
    table = set_data.read_mixes(str(made[0]), 7, "redo")
    whole = pd.read_csv(made[0] / "esc10_mixes.csv")
    columns = ["A_class", "A_num", "B_class", "B_num", "set7"]
    assert list(table) == columns and table["set7"].dtype == np.int8
    for column in columns:
        assert table[column].tolist() == whole[column].tolist()


@pytest.mark.parametrize("column", ["A_class", "A_num", "B_class", "B_num", "set2"])
def test_a_table_without_a_column_is_refused(own, column):
    change_table(own, lambda table: table.drop(columns=column))
    with pytest.raises(InputError, match=r"not a table of mixtures .*run  python 0_2mix_csv\.py"):
        choose(own)


@pytest.mark.parametrize("column", ["A_num", "B_num", "set2"])
def test_a_table_of_other_than_numbers_is_refused(own, column):
    change_table(own, lambda table: table.assign(**{column: "x"}))
    with pytest.raises(InputError, match="not a table of mixtures"):
        choose(own)


@pytest.mark.parametrize(
    ("gone", "script"),
    [
        ("esc10_rename_2k", "0_downsampling.py --dataset {} --sample-rate 2000"),
        ("esc10_rename_2k_p3", "0_pitch_oversample_4k.py --dataset {} --sample-rate 2000 "),
        ("esc10_mixes.csv", "0_2mix_csv.py --dataset {}"),
        ("esc10_rename/names.csv", "0_rename_files.py --dataset {}"),
        ("esc10_811div_txts/set2/set2_val.txt", "0_txt_div.py --dataset {}"),
    ],
)
def test_what_is_missing_names_the_step_that_makes_it(own, gone, script):
    path = own / gone
    path.rename(own / "elsewhere")
    with pytest.raises(InputError) as error:
        choose(own)
    assert f"{path} is missing: run  python {script.format(own)}" in str(error.value)


def test_no_folder_of_copies_is_asked_for_where_there_are_none(own):
    """That of two files a clip is one."""
    assert len(choose(own, 2, 1).stems) == 39
    for oversample in (2, 4):
        with pytest.raises(InputError, match=f"esc10_rename_2k_p{oversample} is missing"):
            choose(own, 2, oversample)


def test_a_clip_that_names_csv_does_not_know_is_named(own):
    names = own / "esc10_rename" / "names.csv"
    lines = names.read_text().splitlines(keepends=True)
    names.write_text("".join(line for line in lines if not line.startswith("bee5.")))
    with pytest.raises(InputError, match=r"names\.csv does not know bee5\.wav: run  python 0_ren"):
        choose(own)
    names.write_text("file,class\nant0.wav,ant\n")
    with pytest.raises(InputError, match=r"names\.csv: not a table .*run  python 0_rename_fil"):
        choose(own)


def stamp(root, output, constants, inputs):
    (root / f"{output}.json").write_text(json.dumps({"constants": constants, "input": inputs}))


def test_the_stamps_of_what_is_read_are_kept_and_those_that_fit_are_taken(own):
    division = provenance.division_fingerprint(own / "esc10_811div_txts")
    stamp(own, "esc10_mixes.csv", {"DIVISION": division}, {})
    stamp(own, "esc10_rename_2k", {"SAMPLE_RATE": 2000}, {})
    expected = {
        "esc10_rename_2k": {"constants": {"SAMPLE_RATE": 2000}, "input": {}},
        "esc10_mixes.csv": {"constants": {"DIVISION": division}, "input": {}},
    }
    assert choose(own, 2, 1).stamps == expected
    assert choose(own, 2, 3).stamps == {**expected, "esc10_rename_2k_p3": None}


def test_stamps_are_those_from_before_the_reading(own, monkeypatch):
    """By them it is found out, later, whether something was replaced meanwhile."""
    stamp(own, "esc10_mixes.csv", {"A": 1}, {})
    read = set_data.read_mixes

    def replaced(*given):
        stamp(own, "esc10_mixes.csv", {"A": 2}, {})
        return read(*given)

    monkeypatch.setattr(set_data, "read_mixes", replaced)
    assert choose(own).stamps["esc10_mixes.csv"]["constants"] == {"A": 1}


@pytest.mark.parametrize(
    ("output", "script"),
    [
        ("esc10_rename_2k", "0_downsampling"),
        ("esc10_rename_2k_p3", "0_pitch_oversample_4k"),
        ("esc10_mixes.csv", "0_2mix_csv"),
    ],
)
def test_what_is_older_than_its_input_or_the_division_is_refused(own, output, script):
    for constants, inputs, what in (
        ({"DIVISION": "of yesterday"}, {}, "DIVISION"),
        ({}, {"esc10_rename": None}, "esc10_rename"),
    ):
        stamp(own, "esc10_rename", {}, {})
        stamp(own, output, constants, inputs)
        with pytest.raises(InputError) as error:
            choose(own)
        assert f"{own / output} was made from another {what}: run  python {script}" in str(
            error.value
        )


def test_a_clip_is_told_by_its_recordings_and_names(made):
    root, tiny = made
    data = choose(root)
    names = stem_names(data)
    pairs = [("ant0", "bee11"), ("ant5_Up1", "cat6_Down1"), ("bee12", "cat2"), ("bee1", "bee1")]
    pairs += [("cat3", None), ("ant10_Down1", None)]
    rows = np.array([[names.index(a), names.index(b) if b else -1] for a, b in pairs])
    table = set_data.recordings_of(data.stems, rows)
    assert list(table) == ["clip", "recording_a", "recording_b", "truth"]
    of = {name: tiny.recordings[name.split("_")[0]] for name in names}
    for (a, b), row in zip(pairs, table.itertuples(index=False), strict=True):
        assert row.clip == (f"{a}_{b}.wav" if b else f"{a}.wav")
        assert (row.recording_a, row.recording_b) == (of[a], of[b] if b else "")
        assert row.truth == (f"{a[:3]}+{b[:3]}" if b else a[:3])
    assert set_data.is_mixture(rows).tolist() == [True] * 4 + [False] * 2


def test_stems_are_normalised_to_the_loudest_original(made):
    """All copies of the tiny set are louder."""
    root, tiny = made
    data = choose(root)
    loaded = features.load(data.stems, tiny.rate, torch.device("cpu")).numpy()
    originals = [clip for name, clip in tiny.samples.items() if isinstance(name, str)]
    loudest = max(abs(int(value)) for clip in originals for value in (clip.min(), clip.max()))
    for name, wave in zip(stem_names(data), loaded, strict=True):
        clip = tiny.samples[(name, 3) if "_" in name else name].astype(float)
        np.testing.assert_allclose(
            wave, clip / np.abs(clip).max() * loudest / 32768, rtol=1e-5, atol=1e-7
        )


def test_what_a_mixture_of_the_set_sounds_like(made):
    root, tiny = made
    data = choose(root)
    stems = features.load(data.stems, tiny.rate, torch.device("cpu"))
    names = stem_names(data)
    rows = np.concatenate([data.mixtures["test"], data.singles["val"]])
    for (a, b), wave in zip(rows, features.waveforms_of(stems, rows).numpy(), strict=True):
        parts = [tiny.samples[names[i]].astype(float) for i in (a, b) if i >= 0]
        total = sum(part / np.abs(part).max() for part in parts)
        expected = 0.1 * total / np.sqrt(np.mean(total**2))
        np.testing.assert_allclose(wave, expected, rtol=1e-4, atol=1e-6)
    assert audio.LEVEL_RMS == 0.1
