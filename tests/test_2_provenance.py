"""What counts as changed, as cut off and as up to date, by stamps written by hand."""

import json
import os
import shutil
from pathlib import Path

import pytest

from crs_lib import InputError
from pipeline.files import provenance


def refused(call, *given):
    with pytest.raises(InputError) as error:
        call(*given)
    return str(error.value)


def test_what_is_needed_is_a_file_or_a_folder_that_is_there(tmp_path):
    file, folder, pipe = tmp_path / "file", tmp_path / "folder", tmp_path / "pipe"
    file.touch()
    folder.mkdir()
    os.mkfifo(pipe)
    for path in (file, folder):
        provenance.need(path, "run_all.py")
    assert refused(provenance.need, pipe, "run_all.py") == (
        f"{pipe} is neither a file nor a folder: remove it"
    )
    gone = tmp_path / "gone"
    expected = f"{gone} is missing: run  python run_all.py  first"
    assert refused(provenance.need, gone, "run_all.py") == expected


def test_a_fingerprint_of_divisions_is_of_every_text(tmp_path):
    def fill(folder):
        for number in (1, 2, 10):
            (folder / f"set{number}").mkdir(parents=True)
            for part in ("train", "val", "test"):
                (folder / f"set{number}" / f"set{number}_{part}.txt").write_text(f"{number} {part}")
        return folder

    texts = fill(tmp_path / "a")
    first = provenance.division_fingerprint(texts)
    assert len(first) == 16 and provenance.division_fingerprint(fill(tmp_path / "b")) == first
    (texts / "set1" / "notes.txt").write_text("x")
    (texts / "set1_val.txt").write_text("x")
    (texts / "set1" / "set1_all.txt").mkdir()
    assert provenance.division_fingerprint(texts) == first
    found = {first}
    for text in sorted(texts.glob("set*/set*_*.txt"))[:-1]:
        if text.is_file():
            text.write_text(text.read_text() + "1")
            found.add(provenance.division_fingerprint(texts))
    shutil.rmtree(texts / "set2")
    found.add(provenance.division_fingerprint(texts))
    (texts / "set10" / "set10_val.txt").rename(texts / "set10" / "set10_vat.txt")
    found.add(provenance.division_fingerprint(texts))
    assert len(found) == 1 + 8 + 2


def put(root, output, content):
    Path(root, f"{output}.json").write_text(json.dumps(content))


def stamp_of(constants=None, inputs=None, **others):
    return {"constants": constants or {}, "input": inputs or {}, **others}


def test_what_cannot_be_read_is_no_stamp(tmp_path):
    root = str(tmp_path)
    assert provenance.read_stamp(root, "a") is None
    for bad in ([], 7, {"input": {}}, {"constants": {}}, stamp_of() | {"constants": []}):
        put(root, "a", bad)
        assert provenance.read_stamp(root, "a") is None
    put(root, "a", stamp_of() | {"input": "x"})
    assert provenance.read_stamp(root, "a") is None
    Path(root, "a.json").write_bytes(b"{")
    assert provenance.read_stamp(root, "a") is None
    put(root, "a", stamp_of({"A": 1}))
    assert provenance.read_stamp(root, "a") == stamp_of({"A": 1})
    assert provenance.read_stamps(root, ["b", "a"]) == {"b": None, "a": stamp_of({"A": 1})}


def test_what_was_replaced_while_it_was_read_is_refused(tmp_path):
    root = str(tmp_path)
    before = {"a": stamp_of({"A": 1}), "b": None}
    put(root, "a", stamp_of({"A": 1}))
    provenance.refuse_changed(root, before)
    put(root, "b", stamp_of())
    message = f"{tmp_path / 'b'} was replaced while it was read: run it again"
    assert refused(provenance.refuse_changed, root, before) == message
    put(root, "a", stamp_of({"A": 2}))
    assert refused(provenance.refuse_changed, root, before).startswith(f"{tmp_path / 'a'} was")
    provenance.refuse_changed(root, {"a": stamp_of({"A": 2}), "b": stamp_of()})


def test_an_output_whose_input_changes_meanwhile_is_not_made(tmp_path):
    root, output = str(tmp_path), tmp_path / "made"
    put(root, "first", stamp_of({"A": 1}))
    with (
        pytest.raises(InputError, match="first was replaced while it was read"),
        provenance.made(root, output, {"B": 2}, ["first"]),
    ):
        put(root, "first", stamp_of({"A": 2}))
    assert not output.exists() and not provenance.stamp_path(root, "made").exists()
    with provenance.made(root, output, {"B": 2}, ["first", "second"]):
        pass
    inputs = {"first": stamp_of({"A": 2}), "second": None}
    assert provenance.read_stamp(root, "made") == stamp_of({"B": 2}, inputs)
    with provenance.made(root, tmp_path / "own", {"B": 2}, ["first"], stamped=False):
        pass
    assert (tmp_path / "own").is_dir() and provenance.read_stamp(root, "own") is None


def test_who_is_killed_between_output_and_stamp_leaves_neither_fitting(tmp_path, monkeypatch):
    root, output = str(tmp_path), tmp_path / "made"
    put(root, "made", stamp_of({"A": 1}))
    written = []
    monkeypatch.setattr(
        provenance.crs_lib, "write_json", lambda path, text: written.append((output.exists(), text))
    )
    with provenance.made(root, output, {"A": 2}, []):
        pass
    (before, cut_off), (after, whole) = written
    assert (before, after) == (False, True) and whole == stamp_of({"A": 2})
    assert list(cut_off) == ["constants", "input", "cut_off"]
    output.rmdir()
    put(root, "made", cut_off)
    output.mkdir()
    assert not provenance.is_up_to_date(root, output, {})
    message = refused(provenance.refuse_stale, root, output, "python x.py")
    assert message == f"{output} was being replaced when that was cut off: run  python x.py  again"


def test_up_to_date_means_made_with_these_constants_from_these_inputs(tmp_path):
    root, output = str(tmp_path), tmp_path / "made"
    output.mkdir()
    first, second = stamp_of({"A": 1}), stamp_of({"A": 2})
    put(root, "first", first)
    put(root, "second", second)
    put(root, "made", stamp_of({"B": 2, "C": 3}, {"first": first, "second": second}))
    assert provenance.is_up_to_date(root, output, {"B": 2, "C": 3, "D": 4})
    for other in ({"B": 2}, {"B": 3, "C": 3}, {"B": 2, "C": 2}, {}):
        assert not provenance.is_up_to_date(root, output, other)
    for name, earlier in (("first", first), ("second", second)):
        put(root, name, stamp_of({"A": 9}))
        assert not provenance.is_up_to_date(root, output, {"B": 2, "C": 3})
        Path(root, f"{name}.json").unlink()
        assert not provenance.is_up_to_date(root, output, {"B": 2, "C": 3})
        put(root, name, earlier)
        assert provenance.is_up_to_date(root, output, {"B": 2, "C": 3})
    Path(root, "made.json").unlink()
    assert not provenance.is_up_to_date(root, output, {})


def test_stale_means_made_from_another_input_or_constant_that_is_known(tmp_path):
    root, output = str(tmp_path), tmp_path / "made"
    provenance.refuse_stale(root, output, "redo", A=1)  # without a stamp it is somebody's own
    put(root, "first", stamp_of({"A": 1}))
    inputs = {"first": stamp_of({"A": 1}), "gone": stamp_of()}
    put(root, "made", stamp_of({"A": 1, "B": 2}, inputs))
    provenance.refuse_stale(
        root, output, "redo"
    )  # an input that is no longer there may be given away
    provenance.refuse_stale(root, output, "redo", A=1, C=3)
    provenance.refuse_stale(root, output, "redo", A=1, B=2)
    message = f"{output} was made from another B: run  redo  again"
    with pytest.raises(InputError, match=message):
        provenance.refuse_stale(root, output, "redo", A=1, B=3)
    put(root, "first", stamp_of({"A": 2}))
    with pytest.raises(InputError, match=f"{output} was made from another first: run  redo"):
        provenance.refuse_stale(root, output, "redo", B=3)
    put(root, "made", stamp_of({}, {"first": None}))
    with pytest.raises(InputError, match="made from another first"):
        provenance.refuse_stale(root, output, "redo")
    Path(root, "first.json").unlink()
    provenance.refuse_stale(root, output, "redo")
