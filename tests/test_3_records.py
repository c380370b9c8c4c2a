"""What a run's record says, what makes two runs the same work, and how figures are written."""

import json
import math
import os
import subprocess
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import crs_lib
from pipeline.evaluation import markdown, metrics, run_records
from pipeline.files import running

CONSTANTS = {"SAMPLE_RATE": 22050, "SET": 3, "SEED": 4, "OVERSAMPLE": 1, "EPOCHS": 7}


def constants_in(tmp_path, **more):
    places = {"DATASET": str(tmp_path / "data"), "RESULTS": str(tmp_path / "results")}
    return {**CONSTANTS, **places, **more}


def put_stamps(tmp_path, *outputs):
    (tmp_path / "data").mkdir(exist_ok=True)
    for number, output in enumerate(outputs):
        stamp = {"constants": {"N": number}, "input": {}}
        (tmp_path / "data" / f"{output}.json").write_text(json.dumps(stamp))


@pytest.fixture
def at_end(monkeypatch):
    """What a script undoes when it ends; here when the test ends."""
    with ExitStack() as stack:
        monkeypatch.setattr(running, "AT_END", stack)
        yield stack


def a_run(folder, **more):
    return run_records.Run(
        folder, crs_lib.SINGLE, "isocc", {**CONSTANTS, **more}, {"d": 1}, "c0ffee"
    )


def test_a_run_is_called_by_script_model_set_and_rate(tmp_path):
    run = a_run(tmp_path, DATASET=str(tmp_path))
    assert run.name == f"{crs_lib.SINGLE}_isocc_set3_22.05k" and not run.synthetic
    (tmp_path / "SYNTHETIC").touch()
    assert run.synthetic


def test_runs_of_one_second_get_a_folder_each_and_hold_it(tmp_path, monkeypatch, at_end):
    monkeypatch.setattr(run_records.tmr, "now", lambda: "2026-01-02_03-04-05")
    monkeypatch.setattr(run_records, "commit", lambda: "c0ffee")
    given = (crs_lib.AUDIT, "asc", constants_in(tmp_path), {})
    runs = [run_records.new_run(*given) for _ in range(3)]
    name = "audit_asc_set3_22.05k"
    assert [run.folder.relative_to(tmp_path / "results").as_posix() for run in runs] == [
        f"2026-01-02_03-04-05{repeat}_{name}" for repeat in ("", "-2", "-3")
    ]
    assert all(run[1:] == (*given, "c0ffee") for run in runs)
    assert all((run.folder / "run.json.lock").exists() for run in runs)
    described = run_records.describe(*given)
    assert described.folder == Path() and described[1:] == runs[0][1:]
    at_end.close()  # nothing was written
    assert not list((tmp_path / "results").iterdir())


def test_no_run_is_of_data_that_was_replaced_meanwhile(tmp_path):
    put_stamps(tmp_path, "x")
    constants = constants_in(tmp_path)
    read = {"x": {"constants": {"N": 0}, "input": {}}}
    assert run_records.describe(crs_lib.AUDIT, "asc", constants, read).data == read
    read["x"]["constants"]["N"] = 1
    with pytest.raises(crs_lib.InputError):
        run_records.describe(crs_lib.AUDIT, "asc", constants, read)


def test_the_stamps_are_of_the_data_that_is_read(tmp_path):
    clips, mixes = "esc10_rename_22.05k", "esc10_mixes.csv"
    put_stamps(tmp_path, clips, mixes, f"{clips}_p2", f"{clips}_p1", "esc10_rename_4k")
    numbers = [
        {
            name: stamp["constants"]["N"]
            for name, stamp in run_records.data_stamps(
                constants_in(tmp_path, OVERSAMPLE=oversample)
            ).items()
        }
        for oversample in (1, 2)
    ]
    assert numbers == [{clips: 0, mixes: 1}, {clips: 0, mixes: 1, f"{clips}_p2": 2}]
    assert (
        run_records.data_stamps(constants_in(tmp_path, SAMPLE_RATE=8000))["esc10_rename_8k"] is None
    )


def test_where_and_how_fast_a_run_runs_is_no_other_work():
    passing = {"RESULTS", "MODELS", "RESUME", "DEVICE", "THREADS", "TEST_UNSELECTED"}
    constants = {name: name for name in passing} | {"SET": 1, "DATASET": "d"}
    later = {"SPEED": 0.0, "TILT": 0.0, "NOISE": False, "ALL_CLIPS": False, "THRESHOLD": 0.5}
    later |= {"REPEAT": 1, "COUNT_BY_LABELS": False}
    later |= {"ENCODER_RATE": 0.3, "LAYER_DECAY": 1.0, "FROZEN": 0, "KEEP": 0.0}
    assert run_records.work_of(constants) == {"SET": 1, "DATASET": "d", **later}
    assert run_records.work_of({"SPEED": 0.25}) == {**later, "SPEED": 0.25}
    method = run_records.METHODS[crs_lib.FLOW]
    record = {"constants": constants, "data": {"x": 1}, "method": method}
    for name in constants:
        other = run_records.other_work(record, crs_lib.FLOW, {**constants, name: "y"}, {"x": 1})
        expected = f"it has {name} {constants[name]}, not y"
        assert other == ("" if name in passing else expected)
    found = run_records.other_work(
        record, crs_lib.FLOW, {**constants, "SET": 2, "EPOCHS": 9, "SPEED": 0.1}, {"x": 1}
    )
    assert found == "it has SPEED 0.0, not 0.1; SET 1, not 2; EPOCHS None, not 9"
    fewer = {name: value for name, value in constants.items() if name != "SET"}
    other = run_records.other_work(record, crs_lib.FLOW, fewer, {"x": 1})
    assert other == "it has SET 1, not None"
    assert (
        run_records.other_work(record, crs_lib.FLOW, constants, {"x": 2}) == "it is of other data"
    )
    for changed in (method + 1, method - 1):
        found = run_records.other_work(
            {**record, "method": changed}, crs_lib.FLOW, constants, {"x": 1}
        )
        assert found == "it is of an earlier or later overall_flow.py"


def test_each_script_has_a_method_and_the_first_records_had_the_first():
    assert run_records.method_of({"method": 5}) == 5 and run_records.method_of({}) == 1
    scripts = {crs_lib.COUNTER, crs_lib.SINGLE, crs_lib.TWO_LABEL, crs_lib.FLOW, crs_lib.AUDIT}
    assert set(run_records.METHODS) == scripts and min(run_records.METHODS.values()) > 1


def test_a_header_says_what_the_run_was_made_of(tmp_path):
    run = a_run(tmp_path, DATASET=str(tmp_path))
    header = run_records.header(run, {"device": "mine"})
    versions = header.pop("versions")
    assert header == {
        "format": 2,
        "script": crs_lib.SINGLE,
        "model": "isocc",
        "set": 3,
        "sample_rate": 22050,
        "synthetic": False,
        "constants": {**CONSTANTS, "DATASET": str(tmp_path)},
        "data": {"d": 1},
        "method": run_records.METHODS[crs_lib.SINGLE],
        "seed": 4,
        "commit": "c0ffee",
        "machine": {"device": "mine"},
    }
    libraries = {"torch": torch, "numpy": np, "pandas": pd}
    assert {name: versions[name] for name in libraries} == {
        name: library.__version__ for name, library in libraries.items()
    }
    wanted = {"python", "librosa", "scipy", "soundfile", "soxr", "scikit-learn", *libraries}
    assert set(versions) == wanted
    used = run_records.machine("cuda:1", 6)
    assert (used["device"], used["threads"], used["cores"]) == ("cuda:1", 6, os.cpu_count())
    assert set(used) == {"platform", "processor", "cores", "device", "threads"}


def test_the_commit_says_whether_files_differ_from_it(tmp_path, monkeypatch):
    def git(*words):
        author = ("-c", "user.name=a", "-c", "user.email=a@b")
        command = ("git", "-C", str(tmp_path), *author, *words)
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    monkeypatch.setattr(crs_lib, "HERE", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert run_records.commit() == ""
    git("init", "-q")
    (tmp_path / "a.py").write_text("1")
    git("add", "a.py")
    git("commit", "-q", "-m", "first")
    git("tag", "-a", "v1", "-m", "a tag is no commit")
    assert run_records.commit() == git("rev-parse", "HEAD")
    (tmp_path / "a.py").write_text("2")
    assert run_records.commit() == git("rev-parse", "HEAD") + "-dirty"


PREDICTED = pd.DataFrame(
    {
        "clip": ["NA", "x.wav", "None"],
        "recording_a": ["007", "12", "1e5"],
        "recording_b": ["", "3", ""],
        "truth": ["a", "a+b", "b"],
        "names": ["a", "", "a"],
        "score_a": [0.123456789, 1 / 3, 1e-12],
        "count": [1, 2, 2],
    }
)


def test_a_record_holds_each_figure_and_its_interval(tmp_path):
    run = a_run(tmp_path, DATASET=str(tmp_path))

    def figures(predictions, weights):
        right = (predictions["count"] == 1).to_numpy(float)
        return {"all": metrics.weighted_mean(right, weights), "two.parts": weights.sum(axis=1)}

    history = [{"epoch": 0, "loss": 0.5}, {"epoch": 1, "loss": 0.25}]
    record = run_records.make_record(
        run, figures, PREDICTED, history, 12.5, {"device": "x"}, best=1
    )
    found = metrics.with_intervals(figures, [PREDICTED])
    assert record["test"] == {"all": pytest.approx(1 / 3), "two": {"parts": 3}}
    assert record["test_interval"] == {
        "all": [found["all"]["low"], found["all"]["high"]],
        "two": {"parts": [found["two.parts"]["low"], found["two.parts"]["high"]]},
    }
    assert found["two.parts"]["low"] < 3 < found["two.parts"]["high"]
    assert (record["seconds"], record["best"], record["history"]) == (12.5, 1, history)
    assert record["machine"] == {"device": "x"} and record["script"] == crs_lib.SINGLE
    run_records.write_run(run, record, PREDICTED, PREDICTED[:1])
    assert run_records.read_record(tmp_path) == json.loads(json.dumps(record))
    assert pd.read_csv(tmp_path / "history.csv").to_dict("records") == history
    read = run_records.read_predictions(tmp_path)
    pd.testing.assert_frame_equal(read, PREDICTED, rtol=1e-8, check_exact=False)
    header, *lines = (tmp_path / "predictions.csv").read_text().splitlines()
    assert (tmp_path / "validation.csv").read_text().splitlines() == [header, lines[0]]
    assert header.split(",") == list(PREDICTED)
    assert lines[:2] == ["NA,007,,a,a,0.123456789,1", "x.wav,12,3,a+b,,0.333333333,2"]


def test_recordings_stay_texts_where_every_clip_has_two(tmp_path):
    mixtures = PREDICTED.assign(recording_b=["010", "2", "03"])
    run_records.write_run(a_run(tmp_path), {"history": []}, mixtures, mixtures)
    read = run_records.read_predictions(tmp_path)
    assert read[["recording_a", "recording_b"]].to_numpy().tolist() == [
        ["007", "010"],
        ["12", "2"],
        ["1e5", "03"],
    ]
    (weights,) = metrics.draw_weights([read], nb_draws=3)
    assert weights.shape == (3, 3)


def test_a_run_without_epochs_has_no_history_and_one_without_record_is_unfinished(tmp_path):
    assert run_records.read_record(tmp_path) is None
    run_records.write_run(a_run(tmp_path), {"history": []}, PREDICTED, PREDICTED)
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"predictions.csv", "validation.csv", "run.json"}
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(crs_lib.InputError, match=r"run\.json: no record of a run .*: remove it"):
        run_records.read_record(tmp_path)


def test_the_newest_finished_run_is_the_one_written_last(tmp_path):
    assert run_records.newest_finished(tmp_path, "m_set1_4k") is None
    folders = ["a_m_set1_4k", "b_m_set1_4k", "c_m_set1_4k", "d_m_set1_4k", "e_m_set11_4k"]
    for name, seconds in zip(folders, (5, 9, 7, None, 99), strict=True):
        (tmp_path / name).mkdir()
        if seconds:
            (tmp_path / name / "run.json").touch()
            # A billionth of a second is enough to be newer.
            os.utime(tmp_path / name / "run.json", ns=(0, 1_700_000_000_000_000_000 + seconds))
    assert run_records.newest_finished(tmp_path, "m_set1_4k") == tmp_path / "b_m_set1_4k"


def test_the_answers_of_an_audit_are_read_as_they_were_written(tmp_path):
    answers = pd.DataFrame(
        {
            "group": ["alone", "6 dB"],
            "softer_db": [math.nan, 6.0],
            "recording_a": ["007", "12"],
            "recording_b": ["", "010"],
            "count": [1, 2],
        }
    )
    run_records.write_packed(tmp_path / run_records.ANSWERS, answers)
    pd.testing.assert_frame_equal(run_records.read_packed(tmp_path / run_records.ANSWERS), answers)
    packed = (tmp_path / "answers.csv.gz").read_bytes()
    assert packed[:2] == b"\x1f\x8b" and packed[4:8] == bytes(4)  # the same at any time


def test_dots_of_names_are_levels():
    flat = {"a.b": 1, "c": 2, "a.d.e": 3, "a.d.f": 4}
    assert run_records.nest(flat) == {"a": {"b": 1, "d": {"e": 3, "f": 4}}, "c": 2}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12345, "12.3"),
        (0.1236, "12.4"),
        (1, "100.0"),
        (-0.0304, "-3.0"),
        (-0.0004, "0.0"),
        (-0.0006, "-0.1"),
        (0.0, "0.0"),
    ],
)
def test_shares_are_written_in_per_cent_and_zero_has_no_sign(value, text):
    assert markdown.in_percent(value) == text
    assert markdown.interval(value, 0.5) == f"{text} to 50.0"
    figure = {"mean": 0.25, "std": 0.3, "low": value, "high": 0.75, "sets": [0.4]}
    assert markdown.percent(figure) == ["25.0", f"{text} to 75.0"]


def test_tables_have_their_columns_names_and_the_note_above(tmp_path):
    rows = [["a", "b"], [1, "x"], [2, "y"]]
    table = "| a | b |\n| --- | --- |\n| 1 | x |\n| 2 | y |"
    path = tmp_path / "table.md"
    for note, above in (("Beware.", "Beware.\n\n"), ("", "")):
        assert markdown.write_table(path, rows, note) == above + table
        assert path.read_text() == above + table + "\n"
    assert markdown.write_table(path, rows) == markdown.markdown_table(rows[0], rows[1:]) == table


def test_rows_of_an_audit_show_every_set_where_there_are_several():
    two = {"mean": 0.3, "std": 0.1, "low": 0.21, "high": 0.42, "sets": [0.25, 0.35]}
    more = {"mean": 0.1, "std": 0.2, "low": -0.05, "high": 0.15, "sets": [0.13, 0.07]}
    answers = {"some": {"clips": 40, "counted_as_two": two, "above_alone": more}}
    head = ["clips", "number", "counted as two, %", "95 %", "above single clips", "95 %"]
    row = ["some", 40, "30.0", "21.0 to 42.0", "10.0", "-5.0 to 15.0"]
    several = [[*head, "set 2", "set 5"], [*row, "25.0", "35.0"]]
    assert markdown.audit_rows(answers, [2, 5]) == several
    assert markdown.audit_rows(answers, [2]) == [head, row]
