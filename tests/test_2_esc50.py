"""ESC-50's table and ESC-10's clips: which rows, which files, which fingerprint."""

import csv
import json
import shutil
import zipfile
from collections import Counter

import numpy as np
import pytest
import soundfile as sf
from conftest import load_script

from crs_lib import InputError
from pipeline.data import synthetic_set
from pipeline.files import provenance

NAMES = [f"{fold}-{100 + n}-A-{n % 2}.wav" for n in range(6) for fold in (1, 2)]


def esc50(folder, header=("filename", "fold", "category", "esc10"), marks=None, synthetic=True):
    """An ESC-50 folder of 12 clips, whose table marks all but the last two as ESC-10."""
    (folder / "audio").mkdir(parents=True)
    (folder / "meta").mkdir()
    if synthetic:
        (folder / "SYNTHETIC").touch()
    marks = marks or ["True"] * 10 + ["False"] * 2
    rows = []
    for name, mark in zip(NAMES, marks, strict=True):
        (folder / "audio" / name).write_text(f"sound {name}")
        cells = {"filename": name, "fold": name[0], "esc10": mark}
        cells["category"] = ("dog", "rain")[int(name[-5])]
        rows.append([cells.get(column, "x") for column in header])
    write_table(folder, header, rows)
    return folder


def write_table(folder, header, rows, encoding="utf-8"):
    with open(folder / "meta" / "esc50.csv", "w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows([header, *rows])


def names_of(folder):
    return [row["filename"] for row in provenance.esc10_rows(folder)]


def refused(call, *given):
    with pytest.raises(InputError) as error:
        call(*given)
    return str(error.value)


def test_the_rows_of_esc10_are_those_it_marks(tmp_path):
    marks = ["True", "False", " TRUE", "0", "1", "false ", "true", "FALSE", *["1"] * 4]
    folder = esc50(tmp_path / "a", marks=marks)
    expected = [n for n, mark in zip(NAMES, marks, strict=True) if mark.strip().lower() in "true1"]
    assert names_of(folder) == expected and len(expected) == 8
    assert provenance.esc10_rows(folder)[1] == {
        "filename": NAMES[2], "fold": "1", "category": "rain", "esc10": " TRUE"
    }  # fmt: skip


def test_clips_of_other_classes_may_be_missing_those_of_esc10_may_not(tmp_path):
    folder = esc50(tmp_path / "a")
    for name in NAMES[10:]:
        (folder / "audio" / name).unlink()
    assert names_of(folder) == NAMES[:10]
    for nb_gone, names in ((3, ", ".join(NAMES[:3])), (4, ", ".join(NAMES[:3]) + ", ...")):
        for name in NAMES[:nb_gone]:
            (folder / "audio" / name).unlink(missing_ok=True)
        message = refused(provenance.esc10_rows, folder)
        assert message.endswith(f"audio/ lacks {nb_gone} of 10 ESC-10 clips ({names})")


def test_a_real_folder_has_four_hundred_clips_or_more(tmp_path):
    folder = esc50(tmp_path / "a", synthetic=False)
    table = folder / "meta" / "esc50.csv"
    assert refused(provenance.esc10_rows, folder) == f"{table} has 10 ESC-10 rows, not 400 or more"
    rows = [[f"{n}.wav", "1", "dog", "True"] for n in range(400)]
    for name, *_ in rows:
        (folder / "audio" / name).touch()
    write_table(folder, ("filename", "fold", "category", "esc10"), rows)
    assert len(names_of(folder)) == 400
    write_table(folder, ("filename", "fold", "category", "esc10"), rows[1:])
    assert refused(provenance.esc10_rows, folder) == f"{table} has 399 ESC-10 rows, not 400 or more"


def test_a_synthetic_folder_has_a_clip_or_more(tmp_path):
    folder = esc50(tmp_path / "a", marks=["False"] * 11 + ["True"])
    assert names_of(folder) == NAMES[-1:]
    shutil.rmtree(folder)
    folder = esc50(tmp_path / "a", marks=["False"] * 12)
    assert refused(provenance.esc10_rows, folder).endswith(" has 0 ESC-10 rows, not 1 or more")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (("filename", "fold", "esc10"), " has no column category"),
        (("fold", "category"), " has no column filename, esc10"),
        (("filename", "category", "esc10", "filename"), " has filename as several columns"),
        (("filename", "x", "x", "category", "esc10"), None),  # of columns that are not read
    ],
)
def test_columns_that_are_read_are_there_once(tmp_path, header, message):
    folder = esc50(tmp_path / "a", header)
    if message is None:
        assert names_of(folder) == NAMES[:10]
    else:
        assert refused(provenance.esc10_rows, folder).endswith(f"esc50.csv{message}")


def test_a_clip_stands_in_the_table_once(tmp_path):
    folder = esc50(tmp_path / "a")
    header = ("filename", "category", "esc10")
    rows = [[name, "dog", "1"] for name in [*NAMES[:5], *NAMES[:4]]]
    write_table(folder, header, [*rows, [NAMES[5], "dog", "0"], [NAMES[5], "dog", "1"]])
    message = refused(provenance.esc10_rows, folder)
    assert message.endswith(f"esc50.csv has {', '.join(NAMES[:3])} more than once")
    write_table(folder, header, [*rows[:5], [NAMES[5], "dog", "0"], [NAMES[5], "dog", "1"]])
    assert names_of(folder) == NAMES[:6]


def test_a_folder_without_a_table_or_with_another_coding_is_refused(tmp_path):
    folder = esc50(tmp_path / "a")
    rows = [["a.wav", "hübsch", "True"]]
    write_table(folder, ("filename", "category", "esc10"), rows, encoding="latin-1")
    assert "esc50.csv: not a table in UTF-8" in refused(provenance.esc10_rows, folder)
    write_table(folder, ("filename", "category", "esc10"), rows[:0], encoding="utf-8-sig")
    assert "has 0 ESC-10 rows" in refused(provenance.esc10_rows, folder)
    write_table(folder, ("filename", "category", "esc10"), [["a.wav", "x" * 200_000, "True"]])
    assert "esc50.csv: not a table in UTF-8 (field larger" in refused(provenance.esc10_rows, folder)
    (folder / "meta" / "esc50.csv").write_bytes(b"")
    message = refused(provenance.esc10_rows, folder)
    assert message.endswith("esc50.csv has no column filename, category, esc10")
    (folder / "meta" / "esc50.csv").unlink()
    assert refused(provenance.esc10_rows, folder).endswith("meta/esc50.csv is missing")


@pytest.mark.parametrize("column", ["filename", "category"])
@pytest.mark.parametrize("bad", ["", "..", "a/b", "/a", "a\\b", "C:a", "a\0b", None])
def test_a_name_that_leads_elsewhere_is_refused_where_it_is_read(column, bad):
    row = {"filename": "a.wav", "category": "dog", "esc10": "True", column: bad}
    message = f"table, row 7: {column} is {bad or ''!r}, not a plain name"
    assert refused(provenance.is_esc10, row, "table, row 7") == message
    assert provenance.is_esc10({**row, "esc10": "False"}, "") is False
    assert provenance.is_esc10({**row, column: "a b.c"}, "") is True


def test_a_mark_is_one_of_four_words(tmp_path):
    for bad in ("", "yes", "2", "tru", None):
        row = {"filename": "a.wav", "category": "dog", "esc10": bad}
        assert (
            refused(provenance.is_esc10, row, "there")
            == f"there: esc10 is {bad!r}, not True or False"
        )
    folder = esc50(tmp_path / "a", marks=["True"] * 3 + ["?"] + ["True"] * 8)
    assert "esc50.csv, row 5: esc10 is '?'" in refused(provenance.esc10_rows, folder)


def test_a_fingerprint_is_of_names_classes_and_bytes_wherever_they_lie(tmp_path):
    folder = esc50(tmp_path / "a")
    rows = provenance.esc10_rows(folder)
    first = provenance.esc10_fingerprint(folder, rows)
    assert len(first) == 16 and set(first) <= set("0123456789abcdef")
    assert provenance.esc10_fingerprint(folder, rows[::-1]) == first
    assert provenance.esc10_fingerprint(shutil.copytree(folder, tmp_path / "b"), rows) == first
    found = {first, provenance.esc10_fingerprint(folder, rows[:-1])}
    found.add(provenance.esc10_fingerprint(folder, [{**rows[0], "category": "x"}, *rows[1:]]))
    shutil.copyfile(folder / "audio" / NAMES[0], folder / "audio" / "new.wav")
    found.add(provenance.esc10_fingerprint(folder, [{**rows[0], "filename": "new.wav"}, *rows[1:]]))
    (folder / "audio" / NAMES[9]).write_text(f"sounD {NAMES[9]}")
    found.add(provenance.esc10_fingerprint(folder, rows))
    a, b = ((folder / "audio" / name) for name in NAMES[:2])
    a.write_text("sound of b"), b.write_text("sound of a")
    found.add(provenance.esc10_fingerprint(folder, rows))
    a.write_text("sound of a"), b.write_text("sound of b")
    found.add(provenance.esc10_fingerprint(folder, rows))
    assert len(found) == 7


def test_esc10_is_copied_class_by_class(here, tmp_path):
    folder = esc50(tmp_path / "a")
    rows = provenance.esc10_rows(folder)
    root = tmp_path / "root"
    out = here("0_make_esc10.py", "--dataset", root, "--esc50-dir", folder, status=0)
    assert f"10 clips of 2 classes copied to {root}/esc10\n" in out
    found = {p.relative_to(root / "esc10").as_posix(): p for p in root.rglob("*.wav")}
    expected = {f"{('dog', 'rain')[int(name[-5])]}/{name}": name for name in NAMES[:10]}
    assert set(found) == set(expected)
    assert all(path.read_text() == f"sound {expected[name]}" for name, path in found.items())
    stamp = json.loads((root / "esc10.json").read_text())
    fingerprint = provenance.esc10_fingerprint(folder, rows)
    assert stamp == {"constants": {"ESC10": fingerprint}, "input": {}}
    (folder / "SYNTHETIC").unlink()
    message = here("0_make_esc10.py", "--dataset", root, "--esc50-dir", folder)
    assert message.startswith(f"{folder}/meta/esc50.csv has 10 ESC-10 rows, not 400 or more: run ")
    assert message.endswith(f"run  python 0_get_esc50.py --dataset {root}  first")


@pytest.mark.parametrize(
    ("root_is", "esc50_is", "has_clips", "message"),
    [
        (False, False, True, None),
        (True, True, True, None),
        (True, False, False, "is marked SYNTHETIC and "),
        (False, True, True, "holds real recordings, "),
        (False, True, False, None),
    ],
)
def test_real_and_synthetic_recordings_are_kept_apart(
    monkeypatch, tmp_path, root_is, esc50_is, has_clips, message
):
    script, root = load_script("0_make_esc10.py"), tmp_path / "root" / "data"
    folder = esc50(tmp_path / "a", synthetic=esc50_is)
    if has_clips:
        (root / "esc10").mkdir(parents=True)
    if root_is:
        root.mkdir(parents=True, exist_ok=True)
        (root / "SYNTHETIC").touch()
    monkeypatch.setattr(script, "DATASET", str(root))
    if message:
        assert message in refused(script.keep_synthetic_apart, folder)
    else:
        script.keep_synthetic_apart(folder)
    assert (root / "SYNTHETIC").exists() == (root_is or (esc50_is and not message))


def test_of_the_archive_only_sounds_and_tables_are_unpacked(tmp_path):
    unpack = load_script("0_get_esc50.py").unpack
    names = (
        "top/audio/a.wav",
        "top/meta/x/b.csv",
        "top/README",
        "audio/c.wav",
        "top/tests/audio/d",
    )
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.mkdir("top/audio")
        for name in names:
            archive.writestr(name, name)
    unpack(tmp_path / "a.zip", tmp_path / "to")
    found = {p.relative_to(tmp_path / "to").as_posix() for p in (tmp_path / "to").rglob("*.*")}
    assert found == {"audio/a.wav", "meta/x/b.csv"}
    assert (tmp_path / "to" / "audio" / "a.wav").read_text() == "top/audio/a.wav"


# ------------------------------------------------------------------------- the synthetic set


def test_the_synthetic_set_has_so_many_clips_a_class_and_fold(monkeypatch, tmp_path):
    """Its sounds are replaced by what they were asked to be."""
    asked = {}

    def sound(target, recording, take, seed):
        asked[target, recording, take] = len(asked)
        assert seed == 7
        return np.full(50, len(asked) / 1000)

    monkeypatch.setattr(synthetic_set, "sound", sound)
    assert synthetic_set.make_esc50(tmp_path / "a", 13, 11, seed=7) == 13 * 11
    with open(tmp_path / "a" / "meta" / "esc50.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert Counter((row["target"], row["fold"]) for row in rows) == {
        (str(target), str(fold)): 3 if fold < 4 else 2
        for target in range(11)
        for fold in range(1, 6)
    }
    assert [row["filename"] for row in provenance.esc10_rows(tmp_path / "a")] == [
        "{fold}-{src_file}-{take}-{target}.wav".format(**row) for row in rows
    ]
    classes = {row["target"]: row["category"] for row in rows}
    assert classes["4"] == "dog" and classes["10"] == "tone_10" and len(set(classes.values())) == 11
    folds = Counter((row["src_file"], row["fold"], row["target"]) for row in rows)
    assert len({recording for recording, *_ in folds}) == len(folds)  # each in one fold and class
    assert {1, 2, 3} == set(folds.values())
    assert {row["src_file"] for row in rows} == {str(recording) for _, recording, _ in asked}
    for row, value in zip(rows, range(1, 200), strict=False):
        read, rate = sf.read(tmp_path / "a" / "audio" / row["filename"])
        assert rate == 44_100 and read == pytest.approx(np.full(50, value / 1000), abs=1e-4)
        assert (
            asked[int(row["target"]), int(row["src_file"]), "ABC".index(row["take"])] == value - 1
        )


def test_takes_of_a_recording_share_their_character_and_no_two_are_the_same(monkeypatch):
    def kind(character, detail):
        return np.full(len(synthetic_set.time), character.uniform(1, 2) + 0 * detail.uniform())

    monkeypatch.setattr(synthetic_set, "KINDS", {"a": kind})
    one, take, other, seeded = (
        synthetic_set.sound(0, *given) for given in ((5, 0, 1), (5, 1, 1), (6, 0, 1), (5, 0, 2))
    )
    peaks = [float(np.abs(wave).max()) for wave in (one, take, other, seeded)]
    assert peaks[0] == pytest.approx(peaks[1]) and len({round(p, 4) for p in peaks}) == 3
    assert all(0.2 <= peak <= 0.95 for peak in peaks) and one.dtype == np.float32
    assert not np.array_equal(one, take)
    assert np.abs(one - take).max() < 0.03  # the noise that each take has beside its sound
    assert len(one) == 220_500
