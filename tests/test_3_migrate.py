"""Results of the first format are renewed in their words alone: no number changes."""

import gzip
import json
import os
import re
import shutil
import sys
import zipfile

import pandas as pd
import pytest
import torch
from conftest import HERE, load_script

from crs_lib import InputError
from pipeline.evaluation import run_records, strategies
from pipeline.networks import weights_file
from pipeline.training import checkpoints

PUBLISHED = HERE / "results_published"
with zipfile.ZipFile(HERE / "tests" / "old_format.zip") as archive:
    NAMES = sorted({name.split("/")[0] for name in archive.namelist() if "/" in name})
RUNS = {name: next(PUBLISHED.glob(f"*/{name}")) for name in NAMES}
FLOW_4K, LOGMEL_FLOW = (name for name in NAMES if "overall_flow" in name)


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """A folder of runs and a summary, as they were published in the first format."""
    folder = tmp_path_factory.mktemp("old")
    with zipfile.ZipFile(HERE / "tests" / "old_format.zip") as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def migrate(monkeypatch):
    script = load_script("tools/migrate.py")

    def run(*folders):
        monkeypatch.setattr(sys, "argv", ["migrate.py", *map(str, folders)])
        script.main()

    run.script = script
    return run


def leaves(content, path=()):
    """Every value of nested dictionaries and lists, with the keys that lead to it."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from leaves(value, (*path, key))
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from leaves(value, (*path, index))
    else:
        yield path, content


@pytest.mark.parametrize("name", sorted(RUNS))
def test_a_published_run_is_the_old_one_number_for_number(migrate, old, tmp_path, name):
    """The old and the new of one run side by side; and the old, renewed, is the published one."""
    record = json.loads((old / name / "run.json").read_text())
    new = json.loads((RUNS[name] / "run.json").read_text())
    assert new.pop("format") == 2 and "format" not in record
    before, after = list(leaves(record)), list(leaves(new))
    assert [value for _, value in before] == [value for _, value in after]
    assert len(before) > 50
    shutil.copytree(old / name, tmp_path / name)
    migrate(tmp_path)
    assert (tmp_path / name / "run.json").read_bytes() == (RUNS[name] / "run.json").read_bytes()
    if "_audit_" in name:  # of counts alone, whose columns stay
        packed = [folder / name / "answers.csv.gz" for folder in (old, RUNS[name].parent)]
        assert packed[0].read_bytes() == packed[1].read_bytes()
        return
    tables = [
        pd.read_csv(folder / "predictions.csv.gz", keep_default_na=False)
        for folder in (old / name, RUNS[name])
    ]
    assert tables[0].to_numpy().tolist() == tables[1].to_numpy().tolist()
    assert list(tables[0]) != list(tables[1])
    renewed, published = (
        gzip.decompress((folder / "predictions.csv.gz").read_bytes())
        for folder in (tmp_path / name, RUNS[name])
    )
    assert renewed == published


def test_the_columns_of_a_flow_are_todays(migrate, old):
    """Of the log-mel flow, whose classifiers are the joint network, and of one that has both."""
    for name, nb_changed in ((LOGMEL_FLOW, 9), (FLOW_4K, 12)):
        check_columns(migrate.script.WORDS, old / name, RUNS[name], nb_changed)


def check_columns(words, old, new, nb_changed):
    before, after = (list(pd.read_csv(folder / "predictions.csv.gz")) for folder in (old, new))
    changed = {a: b for a, b in zip(before, after, strict=True) if a != b}
    assert len(changed) == nb_changed and changed == {a: words[a] for a in changed}
    joint = {name for name in strategies.STRATEGIES if name.startswith("joint")}
    lacking = set(strategies.STRATEGIES) - set(after)
    assert lacking == (joint if nb_changed == 9 else set())
    assert set(words) & set(after) == set()


def test_a_summary_is_renewed_with_its_tables(migrate, old, tmp_path):
    for name in ("summary_4k_1.json", "summary_4k_1_pairs.csv"):
        shutil.copyfile(old / name, tmp_path / name)
    (tmp_path / "summary_4k_1_ways.md").write_text("| way |\n")
    migrate(tmp_path)
    published = HERE / "results_published" / "4k"
    names = sorted(path.name for path in published.glob("summary_4k_1[._]*"))
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name in names:
        assert (tmp_path / name).read_text() == (published / name).read_text(), name
    before = json.loads((old / "summary_4k_1.json").read_text())["figures"]
    after = json.loads((tmp_path / "summary_4k_1.json").read_text())["figures"]
    assert list(before.values()) == list(after.values()) and len(before) > 50
    parts = {part for name in after for part in re.split(r"\.|_over_", name)}
    assert parts & migrate.script.WORDS.keys() == set()


def old_weights(**more):
    """Weights or a checkpoint of the first format, as far as both have the same keys."""
    return {
        "weights": {"dense.0.weight": torch.ones(2), "names": torch.zeros(1)},
        "constants": {"JOINT": True, "NAMES_WEIGHT": 0.5, "SET": 1},
        "data": {},
        "metrics": {"validation": {"val_exact_set_balanced": 0.25}},
        "forgotten": {"bias": torch.arange(3.0)},
        **more,
    }


def test_weights_and_checkpoints_are_renewed_but_not_their_layers(migrate, tmp_path):
    (tmp_path / "run").mkdir()
    record = {"constants": {"JOINT": False}, "test": {"for_names": {"exact_set_single": 1.0}}}
    torch.save(old_weights(record=record), tmp_path / "a.pt")
    state = {"history": [{"val_exact_set_single": 0.5}], "best": None}
    torch.save(old_weights(state=state, network={"names": 1}), tmp_path / "run" / "last.pt")
    migrate(tmp_path)
    found = torch.load(tmp_path / "a.pt", weights_only=True)
    keys = ["format", "weights", "constants", "data", "metrics", "label_head", "record"]
    assert list(found) == keys
    assert list(found["weights"]) == ["dense.0.weight", "names"]
    assert found["constants"] == {"BOTH_KINDS": True, "LABELS_WEIGHT": 0.5, "SET": 1}
    assert found["metrics"] == {"validation": {"val_exact_match_balanced": 0.25}}
    assert found["label_head"]["bias"].tolist() == [0, 1, 2]
    exact = {"with_counter_for_exact_match": {"exact_match_single": 1.0}}
    assert found["record"] == {"format": 2, "constants": {"BOTH_KINDS": False}, "test": exact}
    last = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert last["state"]["history"] == [{"val_exact_match_single": 0.5}]
    assert last["network"] == {"names": 1}


def test_what_is_renewed_already_stays_as_it_is(migrate, old, tmp_path, capsys):
    torch.save(old_weights(), tmp_path / "a.pt")
    for name in RUNS:
        shutil.copytree(old / name, tmp_path / name)
    migrate(tmp_path)
    assert "run.json: 4 of 4 renewed\n*.pt: 1 of 1 renewed\n" in capsys.readouterr().out
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*.*")
              if path.is_file()}  # fmt: skip
    migrate(tmp_path)
    assert "run.json: 0 of 4 renewed\n*.pt: 0 of 1 renewed\n" in capsys.readouterr().out
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in before} == before


def test_damaged_files_are_listed_and_the_others_go_on(migrate, old, tmp_path, capsys):
    name = sorted(RUNS)[0]
    for folder in ("a", "b"):
        shutil.copytree(old / name, tmp_path / folder / name)
    (tmp_path / "a" / name / "run.json").write_text("{")
    (tmp_path / "a.pt").write_text("no weights")
    (tmp_path / "summary_x_1.json").write_text('{"figures": {"flow.for_names.x": 1}}')
    torch.save(old_weights(), tmp_path / "b.pt")
    with pytest.raises(
        InputError, match=r"^left as they are: .*/a/.*run\.json cannot be read"
    ) as e:
        migrate(tmp_path)
    assert "a.pt cannot be read" in str(e.value) and "summary_x_1.json cannot" in str(e.value)
    assert "run.json: 1 of 2 renewed\n*.pt: 1 of 2 renewed\n" in capsys.readouterr().out
    with pytest.raises(InputError, match="gone: no such folder"):
        migrate(tmp_path, tmp_path / "gone")
    with pytest.raises(SystemExit, match=r"tools/migrate\.py FOLDER"):
        migrate()


def test_a_wrong_checksum_stays_one(migrate, tmp_path):
    """Else the damage would be saved again, with a checksum that fits."""
    path = tmp_path / "a.pt"
    torch.save(old_weights(big=torch.arange(4000.0)), path)
    content = bytearray(path.read_bytes())
    at = content.index(torch.arange(100.0).numpy().tobytes()[200:])
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.pt cannot be read \(wrong checksum"):
        migrate(tmp_path)
    assert path.read_bytes() == content


def test_what_is_of_others_is_left_as_it_is(migrate, tmp_path):
    torch.save({"names": torch.ones(2), "layer.bias": torch.ones(1)}, tmp_path / "theirs.pt")
    (tmp_path / "run.json").write_text('{"names": 1}')
    (tmp_path / "predictions.csv").write_text("names\nx\n")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    migrate(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_times_stay_and_plots_with_old_words_go(migrate, old, tmp_path):
    """Which of two runs is the newer one is read from the time of its record."""
    name = sorted(RUNS)[0]
    shutil.copytree(old / name, tmp_path / name)
    torch.save(old_weights(), tmp_path / "a.pt")
    for plot in ("flow.png", "confusion.png", "curves.png"):
        (tmp_path / name / plot).touch()
    paths = [tmp_path / "a.pt", *(tmp_path / name).glob("*.*[nz]")]
    for number, path in enumerate(paths):
        os.utime(path, ns=(1_000_000_000, 2_000_000_000 + number))
    migrate(tmp_path)
    there = {path.name for path in (tmp_path / name).glob("*.png")}
    assert there == {"curves.png"}
    for number, path in enumerate(paths):
        if path.exists():
            assert path.stat().st_mtime_ns == 2_000_000_000 + number, path


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_the_last_column_is_renewed_with_any_line_end(migrate, old, tmp_path, line_end):
    """On Windows lines end in two characters."""
    name = LOGMEL_FLOW
    shutil.copytree(old / name, tmp_path / name)
    (tmp_path / name / "predictions.csv.gz").unlink()
    table = line_end.join(["clip,giveaway_count", "a,1", ""])
    (tmp_path / name / "predictions.csv").write_bytes(table.encode())
    migrate(tmp_path)
    found = (tmp_path / name / "predictions.csv").read_bytes().decode()
    assert found == line_end.join(["clip,shortcut_count", "a,1", ""])


def test_a_script_that_meets_an_old_file_says_what_to_run(old, tmp_path):
    command = r"of an earlier version: run  python tools/migrate\.py {}  first"
    name = sorted(RUNS)[0]
    shutil.copytree(old / name, tmp_path / "results" / name)
    with pytest.raises(run_records.OldFormat, match=command.format(tmp_path / "results")):
        run_records.read_record(tmp_path / "results" / name)
    (tmp_path / "models").mkdir()
    torch.save(old_weights(), tmp_path / "models" / "a.pt")
    with pytest.raises(run_records.OldFormat, match=command.format(tmp_path / "models")):
        weights_file.read_weights(tmp_path / "models" / "a.pt")


def test_a_file_that_holds_no_more_than_every_version_is_an_old_one(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({key: {} for key in weights_file.ALWAYS_THERE}, path)
    with pytest.raises(run_records.OldFormat):
        weights_file.read(path, weights_file.WEIGHTS_KINDS, tmp_path)


def test_an_old_checkpoint_is_not_passed_over(tmp_path, monkeypatch):
    """Who resumes a training of days is not to begin anew without being told."""
    constants = {"RESULTS": str(tmp_path), "MODELS": str(tmp_path / "m"), "RESUME": True, "SET": 1}
    constants |= {"DATASET": str(tmp_path), "SAMPLE_RATE": 4000}
    run = run_records.describe("audio_source_counter", "asc", constants, {})
    last = tmp_path / f"1_{run.name}" / "last.pt"
    last.parent.mkdir()
    torch.save(old_weights(), last)
    with pytest.raises(run_records.OldFormat, match=f"{last} is of an earlier version: run"):
        checkpoints.start_run("audio_source_counter", "asc", constants, {})


def test_what_is_of_a_later_version_or_no_record_is_refused(tmp_path):
    for content, reason in (('{"format": 3}', "of a later version"), ("[1]", "no record of a run")):
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(InputError, match=reason):
            run_records.read_record(tmp_path)
