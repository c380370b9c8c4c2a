"""What `run_all.py` takes up, keeps and makes anew."""

import json
import shutil
import subprocess
import threading
from pathlib import Path

from conftest import COUNTER, SINGLE, TWO_LABEL, edit_weights, fail, load_script, succeed

from pipeline.evaluation import run_records


def test_a_classifier_that_shares_an_older_counters_names_is_made_anew(home, tmp_path, monkeypatch):
    results, models = tmp_path / "results", tmp_path / "models"
    monkeypatch.chdir(home)
    shutil.copytree("models", models)
    for folder in Path("results").glob("*a*_asc_set1_4k"):  # the counter and its audit
        shutil.copytree(folder, results / folder.name)
    places = ("--dataset", "dataset_demo", "--results", results, "--models", models)
    flags = (*places, "--shared", "--no-both-kinds", "--oversample", 2, "--epochs", 1)
    for script in (SINGLE, TWO_LABEL):
        succeed(script, *flags, "--model", "asc", cwd=home)
    (counter,) = results.glob(f"*{COUNTER[:-3]}*")

    def scripts_that_run():
        run_all, ran = load_script("run_all.py"), []
        run_all.CLASSIFIER_MODEL = "asc"

        def run_script(script, *_, **__):
            ran.append(script)
            if script == COUNTER:  # trained anew: a run that was not there yet
                anew = shutil.copytree(counter, counter.with_name(f"2099{counter.name[4:]}"))
                (anew / "run.json").touch()

        run_all.run_script = run_script
        handed = {"DATASET": "dataset_demo", "RESULTS": str(results), "MODELS": str(models)}
        handed |= {"SHARED": True, "BOTH_KINDS": False, "OVERSAMPLE": 2, "EPOCHS": 1}
        run_all.train_and_test(1, {**run_all.CONSTANTS, **handed}, {})
        return ran

    assert scripts_that_run() == [TWO_LABEL, "overall_flow.py"]  # the baseline, and the flow
    (single,) = results.glob(f"*{SINGLE[:-3]}*/run.json")
    record = json.loads(single.read_text())
    single.write_text(json.dumps({**record, "label_head_of": "another"}))
    assert scripts_that_run() == [SINGLE, TWO_LABEL, "overall_flow.py"]
    single.write_text(json.dumps(record))
    assert scripts_that_run() == [TWO_LABEL, "overall_flow.py"]
    # A counter without weights is trained again: then none of the old names is kept.
    (models / "audio_source_counter_asc_set1_4k.pt").unlink()
    every = [COUNTER, SINGLE, TWO_LABEL, TWO_LABEL, "overall_flow.py", "audit.py"]
    assert scripts_that_run() == every


def test_with_more_jobs_than_sets_the_baseline_trains_beside_the_others(tmp_path, monkeypatch):
    """Each of the two starts before the other ends; with one job they come in order."""
    run_all, ran = load_script("run_all.py"), []
    both_started = threading.Barrier(2, timeout=20)

    def run_script(script, environment, **constants):
        is_both = constants.get("TRAIN_ON") == "both"
        ran.append(script + " both" * is_both)
        if run_all.N_JOBS > 1 and (is_both or script == COUNTER):
            both_started.wait()

    run_all.run_script = run_script
    monkeypatch.setattr(run_records, "newest_finished", lambda *_: None)
    handed = {"DATASET": str(tmp_path), "RESULTS": str(tmp_path), "MODELS": str(tmp_path)}
    expected = [COUNTER, SINGLE, TWO_LABEL, f"{TWO_LABEL} both", "overall_flow.py", "audit.py"]
    for run_all.N_JOBS in (1, 2):
        ran.clear()
        run_all.train_and_test(1, {**run_all.CONSTANTS, **handed}, {})
        assert sorted(ran) == sorted(expected) and ran[-2:] == expected[-2:]
        assert run_all.N_JOBS > 1 or ran == expected


def test_a_record_without_a_later_constant_is_of_what_it_then_was():
    """The first published trainings say nothing of SPEED: they played every stem as it is."""
    counter = COUNTER[:-3]
    record = {"constants": {"EPOCHS": 3}, "data": {}, "method": run_records.METHODS[counter]}
    constants = {"EPOCHS": 3, "SPEED": 0.0}
    assert run_records.other_work(record, counter, {**constants, "DEVICE": "cuda"}, {}) == ""
    other = run_records.other_work(record, counter, {"EPOCHS": 4, "SPEED": 0.25}, {})
    assert other == "it has SPEED 0.0, not 0.25; EPOCHS 3, not 4"
    assert run_records.other_work(record, counter, constants, {"a": {}}) == "it is of other data"
    other = run_records.other_work({**record, "method": 0}, counter, constants, {})
    assert other == "it is of an earlier or later audio_source_counter.py"


def test_what_is_finished_but_of_other_constants_is_named(home, monkeypatch, capsys):
    """So that nobody who forgot a flag wonders why a long training starts."""
    monkeypatch.chdir(home)
    run_all, name = load_script("run_all.py"), "audio_source_counter_asc_set1_4k"
    (folder,) = Path("results").glob(f"*_{name}")
    handed = {**run_all.CONSTANTS, "DATASET": "dataset_demo", "RESULTS": "results", "OVERSAMPLE": 2}
    del handed["PATIENCE"], handed["BATCH"], handed["LEARNING_RATE"]
    found = [
        run_all.finished_run(name, COUNTER[:-3], {**handed, "SET": 1, "EPOCHS": nb_epochs})
        for nb_epochs in (1, 7)
    ]
    assert found == [folder, None]
    message = f"{folder} is finished, but not kept: it has EPOCHS 1, not 7\n"
    assert capsys.readouterr().out == message


def test_more_sets_than_the_headlines_bring_its_summary_too(monkeypatch, tmp_path):
    run_all, written = load_script("run_all.py"), []
    monkeypatch.setattr(run_all.plots, "plot_summary", lambda *_: [])
    monkeypatch.setattr(run_all.summary, "summary_table", lambda _: "")

    def summarise(results, flows, path):
        written.append((path.name, len(flows)))
        return {"runs": []}

    monkeypatch.setattr(run_all.summary, "summarise", summarise)
    for sets in ([6, 5, 4, 3, 2, 1], [1, 2, 3, 4, 5], [2]):
        run_all.SETS = sets
        run_all.show_summary({**run_all.CONSTANTS, "RESULTS": str(tmp_path / str(len(sets)))})
    six, five = ("summary_4k_6.json", 6), ("summary_4k_5.json", 5)
    assert written == [five, six, five, ("summary_4k_1.json", 1)]


def test_runs_without_their_weights_are_kept_where_the_flow_tested_them(
    home, tmp_path, monkeypatch, capsys
):
    """As results_published/ holds them; a flow of other runs is none of theirs."""
    monkeypatch.chdir(home)
    shutil.copytree(
        "results", tmp_path, ignore=shutil.ignore_patterns("last.pt"), dirs_exist_ok=True
    )
    handed = {
        "DATASET": "dataset_demo",
        "RESULTS": str(tmp_path),
        "MODELS": str(tmp_path / "models"),
    }
    handed |= {"BOTH_KINDS": False, "OVERSAMPLE": 2, "EPOCHS": 1}

    def scripts_that_run():
        run_all, ran = load_script("run_all.py"), []
        run_all.run_script = lambda script, *_, **__: ran.append(script)
        run_all.train_and_test(1, {**run_all.CONSTANTS, **handed}, {})
        return ran

    assert scripts_that_run() == []
    assert capsys.readouterr().out.count("is finished") == 6
    (flow,) = tmp_path.glob("*_overall_flow_*/run.json")
    record = json.loads(flow.read_text())
    flow.write_text(json.dumps({**record, "method": record["method"] - 1}))
    assert scripts_that_run() == [COUNTER, SINGLE, TWO_LABEL, TWO_LABEL, "overall_flow.py"]
    record["trained_in"]["single"] = "another"
    flow.write_text(json.dumps(record))
    assert scripts_that_run() == [COUNTER, SINGLE, TWO_LABEL, TWO_LABEL, "overall_flow.py"]


def test_a_run_whose_weights_are_anothers_is_not_kept(home, tmp_path, monkeypatch):
    run_all = load_script("run_all.py")
    name = "audio_source_counter_asc_set1_4k"
    (folder,) = (home / "results").glob(f"*_{name}")
    weights = tmp_path / f"{name}.pt"
    assert not run_all.has_weights(folder, weights)
    shutil.copy(home / "models" / f"{name}.pt", weights)
    assert run_all.has_weights(folder, weights)
    edit_weights(weights, weights, lambda content: content.update(run="another"))
    assert not run_all.has_weights(folder, weights)


def test_run_all_makes_the_stand_in_where_there_is_none(monkeypatch, tmp_path):
    run_all = load_script("run_all.py")
    started = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        run_all.jobs, "start", lambda words, **_: subprocess.CompletedProcess(words, 1)
    )
    monkeypatch.setattr(run_all, "run_script", lambda script, **c: started.append((script, c)))
    handed = run_all.get_esc50()
    assert started == [("0_get_esc50.py", {"DATASET": "dataset_demo", "SYNTHETIC": True})]
    assert handed["DATASET"] == "dataset_demo" and handed["MODELS"] == "dataset_demo/models"


def test_run_all_goes_on_with_recordings_that_were_prepared(demo, tmp_path, monkeypatch):
    """Where ESC-50 itself is gone: nothing is downloaded, nothing synthetic made."""
    root = tmp_path / "data"
    shutil.copytree(demo, root, ignore=shutil.ignore_patterns("ESC-50"))
    (root / "SYNTHETIC").unlink()  # as real ones would lie there
    (root / "esc10_mixes.csv").unlink()
    run_all = load_script("run_all.py")
    for name, value in {"DATASET": str(root), "OVERSAMPLE": 2, "WRITE": "none"}.items():
        setattr(run_all, name, value)
        run_all.CONSTANTS[name] = value
    made = []
    run_all.run_script = lambda script, **_: made.append(script)
    run_all.prepare(run_all.get_esc50())
    assert made == ["0_2mix_csv.py"]


def test_run_all_never_falls_back_from_a_folder_that_was_named(tmp_path):
    message = fail("run_all.py", "--esc50-dir", tmp_path / "mine", cwd=tmp_path)
    assert message == "there is no whole ESC-50 folder: the message stands above"
    message = fail("run_all.py", environment={"ESC50_DIR": str(tmp_path / "mine")}, cwd=tmp_path)
    assert message == "there is no whole ESC-50 folder: the message stands above"
    assert not list(tmp_path.iterdir())
