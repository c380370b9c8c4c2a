"""ESC-50 folders and division texts with something wrong: each works, or one line says what it is.

docs/robustness.md.md counts these kinds of bad input, and those of the files beside this one.
"""

import os
import shutil

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_4_preparation import bytes_below

from crs_lib import InputError
from pipeline.data import esc10_data
from pipeline.files import provenance

WORKS = None  # in place of a message
ODD_NAME = "not a plain name"
OTHER_CLIP = ["1-9-A-9.wav", 1, 9, "hen", "False", 9, "A"]  # none of ESC-10's


# ------------------------------------------------------------------------------ ESC-50's table


def rows_of(text):
    return [line.split(",") for line in text.splitlines()]


def text_of(rows, sign=","):
    return "".join(sign.join(map(str, row)) + "\n" for row in rows)


def cell(column, value):
    """A change of the first clip's cell."""

    def change(text):
        head, first, *rest = rows_of(text)
        first[head.index(column)] = value
        return text_of([head, first, *rest])

    return change


def without(*columns):
    def change(text):
        rows = rows_of(text)
        keep = [i for i, name in enumerate(rows[0]) if name not in columns]
        return text_of([row[i] for i in keep] for row in rows)

    return change


def doubled(column):
    def change(text):
        rows = rows_of(text)
        place = rows[0].index(column)
        return text_of([*row, row[place]] for row in rows)

    return change


def marked(true):
    return lambda text: text.replace(",True,", f",{true},")


TABLES = {
    "empty": (lambda text: "", "has no column filename, category, esc10"),
    "only a header": (lambda text: text_of(rows_of(text)[:1]), "has 0 ESC-10 rows, not 1 or more"),
    "no column filename": (without("filename"), "has no column filename"),
    "no column category": (without("category"), "has no column category"),
    "no column esc10": (without("esc10"), "has no column esc10"),
    "only the columns that are read": (without("target", "take", "fold", "src_file"), WORKS),
    "columns in another order": (lambda text: text_of(r[::-1] for r in rows_of(text)), WORKS),
    "column filename twice": (doubled("filename"), "has filename as several columns"),
    "column category twice": (doubled("category"), "has category as several columns"),
    "column esc10 twice": (doubled("esc10"), "has esc10 as several columns"),
    "another column twice": (doubled("take"), WORKS),
    "rows in another order": (lambda t: text_of([rows_of(t)[0], *rows_of(t)[:0:-1]]), WORKS),
    "clips of other classes": (lambda text: text + text_of([OTHER_CLIP] * 2), WORKS),
    "mark TRUE": (marked("TRUE"), WORKS),
    "mark 1": (marked("1"), WORKS),
    "mark with spaces": (marked(" true "), WORKS),
    "mark yes": (marked("yes"), "row 2: esc10 is 'yes', not True or False"),
    "mark empty": (marked(""), "row 2: esc10 is '', not True or False"),
    "quoted": (lambda t: text_of([f'"{value}"' for value in row] for row in rows_of(t)), WORKS),
    "semicolons": (lambda text: text_of(rows_of(text), ";"), "has no column filename, category"),
    "CRLF": (lambda text: text.replace("\n", "\r\n"), WORKS),
    "BOM": (lambda text: "\ufeff" + text, WORKS),
    "blank lines": (lambda text: text.replace("\n", "\n\n"), WORKS),
    "UTF-16": (lambda text: text.encode("utf-16"), "not a table in UTF-8"),
    "Latin-1": (
        lambda t: t.replace("chainsaw", "s\xe4ge").encode("latin-1"),
        "not a table in UTF-8",
    ),
    "bytes of any kind": (lambda text: bytes(range(256)) * 9, "not a table in UTF-8"),
    "a cell of a megabyte": (cell("take", "A" * 2**20), "field larger than"),
    "breaks off in a row": (lambda text: text[: text.rindex(",True")], "esc10 is None, not True"),
    "a row too long": (lambda text: text + text_of([[*OTHER_CLIP, "x", "y"]]), WORKS),
    "a row twice": (lambda text: text + text_of(rows_of(text)[1:2]), "more than once"),
    "a clip in two classes": (
        lambda text: text + text_of(rows_of(text)[1:2]).replace("chainsaw", "dog"),
        "more than once",
    ),
    "a clip that is not there": (cell("filename", "9-9-Z-9.wav"), "lacks 1 of 40 ESC-10 clips"),
    "a file above": (cell("filename", "../x.wav"), ODD_NAME),
    "an absolute file": (cell("filename", "/etc/hostname"), ODD_NAME),
    "a file below": (cell("filename", "sub/x.wav"), ODD_NAME),
    "a file with a backslash": (cell("filename", "..\\x.wav"), ODD_NAME),
    "a file on a drive": (cell("filename", "C:x.wav"), ODD_NAME),
    "file ..": (cell("filename", ".."), ODD_NAME),
    "file .": (cell("filename", "."), ODD_NAME),
    "no file": (cell("filename", ""), ODD_NAME),
    "a file with NUL": (cell("filename", "x\0.wav"), ODD_NAME),
    "a class above": (cell("category", "../../evil"), ODD_NAME),
    "an absolute class": (cell("category", "/tmp/evil"), ODD_NAME),
    "class ..": (cell("category", ".."), ODD_NAME),
    "no class": (cell("category", ""), ODD_NAME),
}


@pytest.fixture
def esc50(demo, tmp_path):
    """A folder of the small set's clips, with a table of its own, to be spoilt."""
    folder = tmp_path / "ESC-50"
    (folder / "meta").mkdir(parents=True)
    shutil.copytree(demo / "ESC-50" / "audio", folder / "audio", copy_function=os.link)
    for name in ("SYNTHETIC", "meta/esc50.csv"):
        shutil.copy(demo / "ESC-50" / name, folder / name)
    return folder


def refused(here, esc50, root, wanted):
    """0_make_esc10.py says what is wrong, and makes nothing."""
    message = here("0_make_esc10.py", "--dataset", root, "--esc50-dir", esc50)
    assert wanted in message and str(esc50) in message
    assert not root.exists() and not list(root.parent.rglob("evil"))
    return message


@pytest.mark.parametrize("kind", TABLES)
def test_a_table(demo, esc50, tmp_path, kind, here):
    change, wanted = TABLES[kind]
    table, root = esc50 / "meta" / "esc50.csv", tmp_path / "data"
    content = change(table.read_text())
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    if wanted:
        assert "run  python 0_get_esc50.py" in refused(here, esc50, root, wanted)
        return
    out = here("0_make_esc10.py", "--dataset", root, "--esc50-dir", esc50, status=0)
    assert "40 clips of 4 classes copied" in out
    assert bytes_below(root / "esc10") == bytes_below(demo / "esc10")


@given(
    st.lists(st.integers(0, 6), min_size=0, max_size=8),
    st.lists(
        st.tuples(
            st.integers(0, 5),
            st.sampled_from(("filename", "category", "esc10", "take")),
            st.sampled_from(
                ["a.wav", "../a.wav", "/a", "", "True", "1", "false", ",", '"', "x\ny", "é", "\0"]
            )
            | st.text(max_size=5),
        ),
        max_size=4,
    ),
)
def test_whatever_a_table_holds_no_row_leads_out(esc50_of_five, order, changes):
    """Rows drawn at random (some doubled, some left out) and cells changed at random."""
    folder, head, rows = esc50_of_five
    table = [list(rows[i]) for i in order if i < len(rows)]
    for row, column, value in changes:
        if row < len(table):
            table[row][head.index(column)] = value
    (folder / "meta" / "esc50.csv").write_text(text_of([head, *table]), encoding="utf-8")
    try:
        found = provenance.esc10_rows(folder)
    except InputError as error:
        assert "\n" not in str(error) and str(folder) in str(error)
        return
    names = [row["filename"] for row in found]
    assert len(set(names)) == len(names) >= 1
    assert set(names) <= {path.name for path in (folder / "audio").iterdir()}
    assert all("/" not in row["category"] not in ("", ".", "..") for row in found)


@pytest.fixture(scope="module")
def esc50_of_five(tmp_path_factory):
    folder = tmp_path_factory.mktemp("five")
    (folder / "audio").mkdir()
    (folder / "meta").mkdir()
    (folder / "SYNTHETIC").touch()
    head = ["filename", "category", "esc10", "take"]
    rows = [[f"1-{i}-A-0.wav", "abc"[i % 3], "True", "A"] for i in range(5)]
    for row in rows:
        (folder / "audio" / row[0]).touch()
    return folder, head, rows


# ----------------------------------------------------------------------------- ESC-50's folder


def in_place_of(name, make):
    """Something else in place of a file of the folder."""

    def change(folder):
        path = next(folder.glob(name))
        path.unlink()
        make(path)

    return change


LACKS = "audio/ lacks 1 of 40 ESC-10 clips"
FOLDERS = {
    "no table": (in_place_of("meta/esc50.csv", lambda path: None), "esc50.csv is missing"),
    "table a folder": (in_place_of("meta/esc50.csv", os.mkdir), "esc50.csv is missing"),
    "table a pipe": (in_place_of("meta/esc50.csv", os.mkfifo), "esc50.csv is missing"),
    "clip a pipe": (in_place_of("audio/*.wav", os.mkfifo), LACKS),
    "clip a folder": (in_place_of("audio/*.wav", os.mkdir), LACKS),
    "clip a link to nothing": (in_place_of("audio/*.wav", lambda p: os.symlink("gone", p)), LACKS),
    "not there": (shutil.rmtree, "is not a whole ESC-50 folder"),
    "a file": (lambda folder: (shutil.rmtree(folder), folder.touch()), "is not a whole ESC-50"),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_folder(esc50, tmp_path, kind, here):
    change, wanted = FOLDERS[kind]
    change(esc50)
    refused(here, esc50, tmp_path / "data", wanted)


# ------------------------------------------------------------------------------- division texts

NO_LINE = "not one line of numbers such as  1, 11, 21"
# Of set 1, whose texts are 0 (val), 1 (test) and 2 to 9 (train).
TEXTS = {
    "numbers in another order": ("9, 8, 7, 6, 5, 4, 3, 2\n", WORKS),
    "no end of line": ("2, 3, 4, 5, 6, 7, 8, 9", WORKS),
    "spaces and CRLF": ("  2,3 ,4,  5,6,7,8,9 \r\n", WORKS),
    "numbers left out": ("2, 3\n", WORKS),
    "empty": ("", NO_LINE),
    "letters": ("2, three\n", NO_LINE),
    "parts of numbers": ("2, 3.5\n", NO_LINE),
    "below zero": ("2, -3\n", NO_LINE),
    "underscores": ("2, 0_3\n", NO_LINE),
    "a sign too many": ("2, 3,\n", NO_LINE),
    "semicolons": ("2; 3\n", NO_LINE),
    "two lines": ("2, 3\n4, 5\n", NO_LINE),
    "digits of another alphabet": ("\u0662, \u0663\n", NO_LINE),
    "thousands of digits": ("2" * 5000 + "\n", NO_LINE),
    "BOM": ("\ufeff2, 3\n", NO_LINE),
    "bytes of any kind": (bytes(range(256)), NO_LINE),
    "a number of another part": ("1, 2, 3\n", "a number stands in two parts, or twice in one"),
    "a number twice": ("2, 3, 2\n", "a number stands in two parts, or twice in one"),
    "a number that no clip has": ("2, 3, 10\n", "no clip has the number 10"),
    "not there": (lambda path: None, "set1_train.txt is missing: run  python 0_txt_div.py"),
    "a folder": (os.mkdir, "set1_train.txt is missing: run  python 0_txt_div.py"),
    "a pipe": (os.mkfifo, "set1_train.txt is missing: run  python 0_txt_div.py"),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_a_division_text(demo, tmp_path, kind, here):
    content, wanted = TEXTS[kind]
    root = tmp_path / "data"
    root.mkdir()
    (root / "esc10_rename").symlink_to(demo / "esc10_rename")
    shutil.copytree(demo / "esc10_811div_txts", root / "esc10_811div_txts")
    path = root / "esc10_811div_txts" / "set1" / "set1_train.txt"
    path.unlink()
    if callable(content):
        content(path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if wanted:
        message = here("0_2mix_csv.py", "--dataset", root)
        assert wanted in message and str(path.parent) in message
        assert not (root / "esc10_mixes.csv").exists()
        return
    here("0_2mix_csv.py", "--dataset", root, status=0)
    table, expected = (pd.read_csv(r / "esc10_mixes.csv") for r in (root, demo))
    if kind == "numbers left out":
        used = table["A_num"].isin((2, 3)) & table["B_num"].isin((2, 3))
        expected.loc[(expected["set1"] == 1) & ~used, "set1"] = -1
    pd.testing.assert_frame_equal(table, expected)


@given(
    st.lists(st.text(alphabet="0123456789, \n\t;-+._x\u0663", max_size=30), min_size=3, max_size=3)
)
def test_whatever_the_texts_hold_no_number_stands_in_two_parts(texts_folder, contents):
    for part, content in zip(("train", "val", "test"), contents, strict=True):
        (texts_folder / "set1" / f"set1_{part}.txt").write_text(content, encoding="utf-8")
    try:
        division = esc10_data.read_division(texts_folder, 1, range(10), "python 0_txt_div.py")
    except InputError as error:
        assert "\n" not in str(error) and str(texts_folder) in str(error)
        return
    together = [number for members in division.values() for number in members]
    assert len(set(together)) == len(together) and set(together) <= set(range(10))
    assert all(division.values())


@pytest.fixture(scope="module")
def texts_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    (folder / "set1").mkdir()
    return folder
