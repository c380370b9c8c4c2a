"""Numbers, digits, folds and parts: from a file's name to the table of mixtures, by hand."""

import csv
import json
from pathlib import Path

import pytest
import tiny_set
from conftest import load_script

from crs_lib import InputError
from pipeline.data import esc10_data
from pipeline.files import provenance

# The digit that validates and the one that tests, of sets 1 to 10.
VAL = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
TEST = (1, 3, 5, 7, 9, 0, 2, 4, 6, 8)


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


# ------------------------------------------------------------------------------------- renaming


@pytest.fixture(scope="module")
def rename():
    return load_script("0_rename_files.py")


def paths_of(*names):
    return [Path("x", f"{name}-7.wav") for name in names]


def halves(rename, *names):
    """Both halves of clips of a fold, as recording and take."""
    found = rename.share_digits([rename.parse(path) for path in paths_of(*names)])
    return [" ".join(f"{clip.recording}{clip.take}" for clip in half) for half in found]


def test_a_files_name_says_fold_recording_and_take(rename):
    clip = rename.parse(Path("x", "3-0417-AB-29.wav"))
    assert clip == (Path("x", "3-0417-AB-29.wav"), 3, 417, "AB")
    assert [rename.parse(path).fold for path in paths_of("1-2-C", "5-2-C")] == [1, 5]


@pytest.mark.parametrize(
    "name",
    (
        *("0-1-A-2.wav", "6-1-A-2.wav", "1-1-a-2.wav", "1-1--2.wav", "1--A-2.wav", "1-1-A-.wav"),
        *("1-1-A-2xwav", "1-1-A-2.wav.wav", "x1-1-A-2.wav", "11-1-A-2.wav", "1-1-A.wav"),
    ),
)
def test_another_name_is_refused(rename, name):
    with pytest.raises(InputError, match="not called fold-recording-take-target"):
        rename.parse(Path("x", name))


def test_a_fold_is_halved_by_whole_recordings(rename):
    assert halves(rename, "1-5-A", "1-5-B", "1-5-C", "1-3-A", "1-9-B", "1-9-A") == [
        "5A 5B 5C",
        "3A 9A 9B",
    ]
    # The first choice of several, by the recordings' numbers: 9 before 10.
    assert halves(rename, "1-10-A", "1-9-B", "1-11-A", "1-12-A") == ["9B 10A", "11A 12A"]
    assert halves(rename, "2-4-A", "2-4-B", "2-7-A", "2-6-A") == ["4A 4B", "6A 7A"]
    # Together two small ones are half; no two recordings are more than they hold.
    assert halves(rename, "1-1-A", "1-2-A", "1-2-B", "1-3-A", "1-3-B", "1-3-C") == [
        "1A 2A 2B",
        "3A 3B 3C",
    ]


def test_an_odd_clip_goes_to_the_first_half(rename):
    assert halves(rename, "1-1-A", "1-2-A", "1-3-A") == ["1A 2A", "3A"]
    assert halves(rename, "1-1-A", "1-2-A", "1-2-B") == ["2A 2B", "1A"]
    assert halves(rename, "1-1-A") == ["1A", ""]
    assert halves(rename) == ["", ""]


def test_one_recording_is_split_where_no_choice_gives_half(rename):
    """The larger ones come first, of equal ones that of the smaller number."""
    names = ["1-20-A", "1-20-B", *(f"1-{r}-{take}" for r in (30, 9) for take in "CAB")]
    assert halves(rename, *names) == ["9A 9B 9C 30A", "30B 30C 20A 20B"]
    assert halves(rename, "1-1-A", "1-2-C", "1-2-A", "1-2-B") == ["2A 2B", "2C 1A"]


def test_the_order_of_files_does_not_matter(rename):
    names = ["1-5-A", "1-5-B", "1-5-C", "1-3-A", "1-9-B", "1-9-A", "1-4-A", "1-4-B"]
    assert halves(rename, *names) == halves(rename, *names[::-1]) == halves(rename, *sorted(names))


def test_the_last_digit_says_fold_and_half_and_the_tens_the_order(rename):
    names = ["1-1-A", "1-2-A", "1-3-A", "1-3-B", "1-3-C", "2-4-A", "2-4-B", "5-6-A", "5-8-B"]
    found = rename.number_class(paths_of(*names[::-1]))
    assert {number: clip.path.name[:-6] for number, clip in found.items()} == {
        0: "1-3-A", 1: "1-1-A", 2: "2-4-A", 3: "2-4-B", 8: "5-6-A", 9: "5-8-B",
        10: "1-3-B", 11: "1-2-A", 20: "1-3-C",
    }  # fmt: skip
    assert list(found) == sorted(found)


def test_renamed_clips_are_copies_and_listed(here, tmp_path):
    names = ("ant/1-07-A-0.wav", "ant/1-07-B-0.wav", "ant/4-12-C-0.wav", "bee/3-5-A-1.wav")
    touch(tmp_path / "esc10", *names)
    out = here("0_rename_files.py", "--dataset", tmp_path, status=0)
    renamed = tmp_path / "esc10_rename"
    assert out.startswith(f"4 clips renamed into {renamed}, listed in {renamed / 'names.csv'}\n")
    assert rows_of(renamed / "names.csv") == [
        ["file", "class", "number", "original", "fold", "src_file", "take"],
        ["ant0.wav", "ant", "0", "1-07-A-0.wav", "1", "7", "A"],
        ["ant1.wav", "ant", "1", "1-07-B-0.wav", "1", "7", "B"],
        ["ant6.wav", "ant", "6", "4-12-C-0.wav", "4", "12", "C"],
        ["bee4.wav", "bee", "4", "3-5-A-1.wav", "3", "5", "A"],
    ]
    found = {p.relative_to(renamed).as_posix(): p.read_text() for p in renamed.rglob("*.wav")}
    new = ("ant/ant0.wav", "ant/ant1.wav", "ant/ant6.wav", "bee/bee4.wav")
    assert found == dict(zip(new, names, strict=True))
    stamp = json.loads((tmp_path / "esc10_rename.json").read_text())
    assert stamp == {"constants": {}, "input": {"esc10": None}}


# ------------------------------------------------------------------------- classes and numbers


def test_classes_and_files_are_in_the_order_of_their_names(tmp_path):
    touch(tmp_path, "bee/b2.wav", "bee/b10.wav", "bee/notes.txt", "ant/z.wav", "ant/y.wav", "x.wav")
    found = esc10_data.class_files(tmp_path)
    assert list(found) == ["ant", "bee"]
    assert [path.name for path in found["ant"]] == ["y.wav", "z.wav"]
    assert [path.name for path in found["bee"]] == ["b10.wav", "b2.wav"]


def test_a_class_without_files_is_named(tmp_path):
    with pytest.raises(InputError, match=f"^{tmp_path}: no WAV files there"):
        esc10_data.class_files(tmp_path)
    touch(tmp_path, "ant/a.wav", "bee/b.txt", "cat/c.txt")
    with pytest.raises(InputError, match=f"^{tmp_path}/bee, {tmp_path}/cat: no WAV files there"):
        esc10_data.class_files(tmp_path)


def test_numbers_are_those_of_every_class_in_order(tmp_path):
    files = [f"{name}/{name}{n}.wav" for name in ("b.e", "ant") for n in (2, 10, 1)]
    touch(tmp_path, *files)
    assert esc10_data.class_numbers(tmp_path) == (["ant", "b.e"], [1, 2, 10])


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("bee/ant3.wav", "bee/ant3.wav: not called bee<number>.wav"),
        ("bee/bee3x.wav", "bee/bee3x.wav: not called bee<number>.wav"),
        ("bee/bee.wav", "bee/bee.wav: not called bee<number>.wav"),
        ("bee/bee3.wav", "the clips of bee and ant differ in number"),
        ("a+b/a+b1.wav", "a+b: a class may not have a + in its name"),
        ("a.b/axb1.wav", "a.b/axb1.wav: not called a.b<number>.wav"),
        ("cat/cat2.wav", "the clips of cat and ant differ in number"),
    ],
)
def test_classes_that_do_not_fit_each_other_are_refused(tmp_path, file, message):
    touch(tmp_path, "ant/ant1.wav", "ant/ant2.wav", "bee/bee1.wav", "bee/bee2.wav", file)
    with pytest.raises(InputError) as error:
        esc10_data.class_numbers(tmp_path)
    assert str(error.value).endswith(message)


# ----------------------------------------------------------------------------------- divisions


def test_a_set_is_divided_by_the_last_digit():
    divide = load_script("0_txt_div.py").divide
    numbers = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 17, 23, 36, 48, 59]
    for number, (val, test) in enumerate(zip(VAL, TEST, strict=True), start=1):
        assert list(divide(numbers, number).items()) == [
            ("train", [n for n in numbers if n % 10 not in (val, test)]),
            ("val", [n for n in numbers if n % 10 == val]),
            ("test", [n for n in numbers if n % 10 == test]),
        ]


def test_the_texts_of_all_sets(here, tmp_path):
    touch(tmp_path, *(f"esc10_rename/{c}/{c}{n}.wav" for c in ("ant", "bee") for n in range(13)))
    out = here("0_txt_div.py", "--dataset", tmp_path, status=0)
    texts = tmp_path / "esc10_811div_txts"
    assert out.startswith(f"10 sets of 9 / 2 / 2 numbers a class (train / val / test) in {texts}\n")
    assert len(list(texts.rglob("*.txt"))) == 30
    for number, (val, test) in enumerate(zip(VAL, TEST, strict=True), start=1):
        for part, digits in (
            ("val", [val]),
            ("test", [test]),
            ("train", set(range(10)) - {val, test}),
        ):
            members = [str(n) for n in range(13) if n % 10 in digits]
            content = (texts / f"set{number}" / f"set{number}_{part}.txt").read_bytes()
            assert content.decode() == ", ".join(members) + "\n"
    stamp = json.loads((tmp_path / "esc10_811div_txts.json").read_text())
    assert stamp == {"constants": {}, "input": {"esc10_rename": None}}


def test_texts_elsewhere_get_no_stamp_and_replace_only_texts(here, tmp_path):
    touch(tmp_path, *(f"data/esc10_rename/ant/ant{n}.wav" for n in range(10)))
    flags = ("--dataset", tmp_path / "data", "--division-dir", tmp_path / "mine")
    touch(tmp_path / "mine", "set1/set1_val.txt", "set12/set12_train.txt", ".DS_Store")
    touch(tmp_path / "mine", "set1/.DS_Store")
    here("0_txt_div.py", *flags, status=0)
    assert (tmp_path / "mine" / "set4" / "set4_test.txt").read_text() == "7\n"
    assert not (tmp_path / "mine" / "set12").exists()
    assert [path.name for path in tmp_path.rglob("*.json")] == []
    assert not (tmp_path / "data" / "esc10_811div_txts").exists()
    for name in ("set1/set1_all.txt", "set1/x.DS_Store", "set1_val.txt", "set1/set1_val.txt~"):
        touch(tmp_path / "mine", name)
        assert here("0_txt_div.py", *flags) == f"{tmp_path}/mine holds {name} and is not replaced"
        (tmp_path / "mine" / name).unlink()


def test_every_last_digit_is_needed(here, tmp_path):
    touch(tmp_path, *(f"esc10_rename/ant/ant{n}.wav" for n in (0, 1, 2, 4, 5, 6, 7, 8, 13)))
    message = here("0_txt_div.py", "--dataset", tmp_path)
    assert message == f"{tmp_path}/esc10_rename: no clip's number ends in 9"
    touch(tmp_path, "esc10_rename/ant/ant29.wav")
    (tmp_path / "esc10_rename" / "ant" / "ant0.wav").unlink()
    (tmp_path / "esc10_rename" / "ant" / "ant13.wav").unlink()
    message = here("0_txt_div.py", "--dataset", tmp_path)
    assert message.endswith("no clip's number ends in 0, 3")


def test_the_texts_of_a_set_are_read_part_by_part(tmp_path):
    for number in (1, 2):
        texts = {"train": "12, 3,7", "val": f" {number} \n", "test": "20 , 10\n"}
        (tmp_path / f"set{number}").mkdir()
        for part, text in texts.items():
            (tmp_path / f"set{number}" / f"set{number}_{part}.txt").write_text(text)
    there = (n for n in (1, 2, 3, 7, 10, 12, 20, 99))  # more of them than the texts divide
    found = esc10_data.read_division(tmp_path, 2, there, "redo")
    assert list(found.items()) == [("train", [12, 3, 7]), ("val", [2]), ("test", [20, 10])]
    with pytest.raises(InputError, match=r"set1: no clip has the number 10$"):
        esc10_data.read_division(tmp_path, 1, [1, 3, 7, 12], "redo")
    (tmp_path / "set1" / "set1_test.txt").write_text("7, 2")
    with pytest.raises(InputError, match="set1: a number stands in two parts"):
        esc10_data.read_division(tmp_path, 1, range(30), "redo")


def test_the_table_of_a_root_is_that_made_by_hand(here, tmp_path):
    tiny = tiny_set.make(tmp_path, oversamples=())
    expected = rows_of(tmp_path / "esc10_mixes.csv")
    (tmp_path / "esc10_mixes.csv").unlink()
    out = here("0_2mix_csv.py", "--dataset", tmp_path, status=0)
    assert rows_of(tmp_path / "esc10_mixes.csv") == expected
    parts = tiny.divisions[1]
    sizes = [3 * len(parts[part]) ** 2 for part in ("train", "val", "test")]
    assert sizes == [243, 12, 12] and f"507 mixtures in {tmp_path}/esc10_mixes.csv; " in out
    assert "; set 1: 243 / 12 / 12 / 240 train / val / test / not used\n" in out
    fingerprint = provenance.division_fingerprint(tmp_path / "esc10_811div_txts")
    stamp = json.loads((tmp_path / "esc10_mixes.csv.json").read_text())
    assert stamp == {"constants": {"DIVISION": fingerprint}, "input": {"esc10_rename": None}}


def test_a_clip_in_no_part_is_in_no_mixture_that_is_used():
    sets = [{"train": [5], "val": [9], "test": [2]}, {"train": [2], "val": [5], "test": [9, 7]}]
    table = esc10_data.mixture_table(["ant", "bee"], [9, 2, 7, 5], sets)
    found = {(row.A_num, row.B_num): (row.set1, row.set2) for row in table.itertuples()}
    assert len(found) == len(table) == 16
    used = {(5, 5): (1, 2), (9, 9): (2, 3), (2, 2): (3, 1), (7, 7): (-1, 3)}
    used |= {(9, 7): (-1, 3), (7, 9): (-1, 3)}
    assert found == {pair: used.get(pair, (-1, -1)) for pair in found}
    assert table["filename"][1] == "ant9_bee2.wav"
