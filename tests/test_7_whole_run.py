"""The whole run, the flow, predictions, with tiny settings."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import (
    CLASSES,
    COUNTER,
    SINGLE,
    TINY,
    TINY_RUN,
    TWO_LABEL,
    fail,
    load_script,
    start,
    succeed,
)

import crs_lib
import hearing
import labellers
import metrics
import networks
import report
import set_data
import summary
import training


@pytest.fixture(scope="session")
def home(demo, tmp_path_factory):
    """A folder where run_all.py ran: no ESC-50, no network, so on the stand-in.

    A small one lay there, prepared, so that nothing has to be made.
    """
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(demo, home / "dataset_demo")
    nowhere = "http://127.0.0.1:9"
    blocked = {"http_proxy": nowhere, "https_proxy": nowhere, "no_proxy": "", "NO_PROXY": ""}
    done = start("run_all.py", *TINY_RUN, cwd=home, environment=blocked)
    assert done.returncode == 0, done.stderr
    (home / "out.txt").write_text(done.stdout)
    (home / "err.txt").write_text(done.stderr)
    for name in ("results", "models", "data"):
        (home / name).symlink_to(home / "dataset_demo" / ("" if name == "data" else name))
    return home


def test_run_all_falls_back_to_the_synthetic_set_and_says_so(home):
    lines = (home / "out.txt").read_text().rstrip().split("\n")
    assert lines[0] == "SYNTHETIC: dataset_demo holds the synthetic set, not real recordings"
    assert lines[-1] == lines[0]
    assert "ESC-50 is neither there nor to be downloaded" in lines[1]
    assert "could not be downloaded (ProxyError" in (home / "err.txt").read_text()
    assert (home / "dataset_demo" / "results" / "summary_4k_1.json").exists()
    assert not list((home / "dataset").iterdir())


def test_the_whole_run_ends_with_the_table_and_the_pictures(home):
    out = (home / "out.txt").read_text()
    for label in ("counter:", "single-label", "two-label", "overall flow", "without a counter"):
        assert label in out
    pictures = re.findall(r"^  (\S+\.png)$", out, flags=re.MULTILINE)
    assert len(pictures) == 4 + 12
    for path in pictures:
        assert os.path.getsize(home / path) < 300_000
    # What `demo` had prepared is passed over, also where it was prepared elsewhere; all mixtures
    # are more than those of the test.
    assert out.count("is up to date") == 7


def test_every_run_is_recorded(home):
    records = [json.loads(path.read_text()) for path in home.glob("results/*/run.json")]
    assert len(records) == 6
    wanted = {
        "audio_source_counter": {"accuracy_single", "accuracy_mixture", "accuracy_balanced"},
        "sep_opt_isocc_single_volnorm_STFT": {"accuracy"},
        "sep_opt_isocc_multi_random_volnorm_STFT": {"exact_pair", "mean_average_precision"},
        "overall_flow": {"with_counter", "true_count", "no_counter", "giveaway_balanced"},
        "audit": {"single clips", "single clips, pitch-shifted", "mixtures, one stem 20 dB down"},
    }
    for record in records:
        assert wanted[record["script"]] <= set(record["test"])
        assert record["synthetic"] and record["set"] == 1 and record["sample_rate"] == 4000
        assert {"constants", "seed", "commit", "versions", "machine", "seconds"} <= set(record)
        assert record["data"]["esc10_rename_4k_p2"]["constants"]["MAX_SHIFT"] > 0
        if record["script"] == "audit":
            continue
        assert record["test_interval"].keys() == record["test"].keys()
        if record["script"] != "overall_flow":
            assert len(record["history"]) == 1 and record["constants"]["EPOCHS"] == 1
    flow = next(r for r in records if r["script"] == "overall_flow")
    exact = {"exact_set_single", "exact_set_mixture", "exact_set_balanced"}
    assert all(
        set(flow["test"][way]) == exact
        for way in metrics.WAYS
        if not way.startswith("rival_")  # the summary adds these
    )
    for task, folder in flow["trained_in"].items():
        assert (home / "results" / folder / "history.csv").exists(), task


def test_the_flow_is_the_counter_and_then_a_classifier(home):
    """Recomputed clip by clip from what the three trainings predicted on the same test clips."""
    folders = {path.name[20:]: path for path in (home / "results").iterdir() if path.is_dir()}

    def read(name):
        table = pd.read_csv(folders[name] / "predictions.csv", keep_default_na=False)
        return table.set_index("clip")

    flow = read("overall_flow_asc-isocc_set1_4k")
    counter = read("audio_source_counter_asc_set1_4k")
    single = read("sep_opt_isocc_single_volnorm_STFT_isocc_set1_4k")
    pairs = read("sep_opt_isocc_multi_random_volnorm_STFT_isocc_set1_4k")
    both = read("sep_opt_isocc_multi_random_volnorm_STFT_isocc_both_set1_4k")
    assert len(flow) == 4 + 6
    record = json.loads((folders["overall_flow_asc-isocc_set1_4k"] / "run.json").read_text())
    thresholds = record["thresholds"]
    for clip, row in flow.iterrows():
        assert row["count"] == counter["count"][clip]
        is_mixture = "+" in row["truth"]
        right = pairs["pair"][clip] if is_mixture else single["names"][clip]
        assert row["true_count"] == right
        assert row["for_names"].count("+") == (row["score_two"] > thresholds["for_names"])
        assert row["together"].count("+") == (row["together_score_two"] > thresholds["together"])
        assert (row["together_true_count"] == row["together"]) or (
            row["together"].count("+") != is_mixture
        )
        assert row["no_counter"] == both["names"][clip]
        if row["count"] == 1 + is_mixture:
            assert row["with_counter"] == right
        else:
            assert row["with_counter"].count("+") == row["count"] - 1
    test = json.loads((folders["overall_flow_asc-isocc_set1_4k"] / "run.json").read_text())["test"]
    correct = flow["with_counter"] == flow["truth"]
    mixture = flow["truth"].str.contains("+", regex=False)
    expected = (correct[mixture].mean() + correct[~mixture].mean()) / 2
    assert test["with_counter"]["exact_set_balanced"] == pytest.approx(expected)


def test_one_network_counts_and_names(home):
    """The counter before it forgot the names: the flow names with them."""
    place = (home / "models", COUNTER[:-3], "asc", 1, 4000, torch.device("cpu"))
    counter, content = networks.load_network(*place)
    network = networks.remember_names(counter, content["forgotten"])
    assert network.dense[-1].weight.shape == (2 + len(CLASSES), 32)
    assert counter.dense[-1].weight.shape == (2, 32)
    constants = content["constants"]
    data = set_data.choose_files(str(home / "data"), "", 1, 4000, constants["OVERSAMPLE"])
    stems = hearing.load(data.stems, 4000, torch.device("cpu"))
    rows = np.concatenate([data.singles["test"], data.mixtures["test"]])
    logits = networks.logits_of(network, stems, rows, constants["N_FFT"])
    counts = 1 + logits[:, :2].argmax(dim=1)
    best = logits[:, 2:].argsort(dim=1, descending=True)
    expected = [
        "+".join(sorted(CLASSES[i] for i in order[:count]))
        for order, count in zip(best.tolist(), counts.tolist(), strict=True)
    ]
    (predicted,) = home.glob("results/*_overall_flow_asc-isocc_set1_4k/predictions.csv")
    table = pd.read_csv(predicted)
    assert table["one_network"].tolist() == expected
    for row, order in zip(table.itertuples(), best.tolist(), strict=True):
        names = ["+".join(sorted(CLASSES[i] for i in order[:count])) for count in (1, 2)]
        assert row.one_network_true_count == names["+" in row.truth]
        assert row.one_network_for_names in names


def test_thresholds_are_chosen_on_validation_clips(home):
    """Those that the networks and the flow have are the best of validation, not of test clips."""
    flow, rival = load_script("overall_flow.py"), load_script(TWO_LABEL)
    rival.BOTH = True
    classifier = f"isocc{crs_lib.BOTH}"
    tasks = {
        "counter": (crs_lib.COUNTER, "asc"),
        "single": (crs_lib.SINGLE, "isocc"),
        "two_label": (crs_lib.TWO_LABEL, "isocc"),
        "both": (crs_lib.TWO_LABEL, classifier),
    }
    trained = networks.load_networks(tasks, str(home / "models"), 1, 4000, torch.device("cpu"))
    counter, content = trained["counter"]
    chosen = {
        task: c["metrics"]["validation"].get("val_threshold") for task, (_, c) in trained.items()
    }
    # The counter's was moved to one half: back, for its chances to be those that were validated.
    networks.move_threshold(counter, 1 - chosen["counter"])
    (record,) = home.glob("results/*_overall_flow_asc-isocc_set1_4k/run.json")
    chosen |= json.loads(record.read_text())["thresholds"]
    data = set_data.choose_files(str(home / "data"), "", 1, 4000, 2)
    stems = hearing.load(data.stems, 4000, torch.device("cpu"))
    best = {}
    for part in ("val", "test"):
        rows = np.concatenate([data.singles[part], data.mixtures[part]])
        is_mixture = set_data.is_mixture(rows)
        logits = networks.logits_of(counter, stems, rows, 256)
        chances = torch.softmax(logits, dim=1)[:, 1].numpy()
        best["counter", part] = metrics.best_threshold(is_mixture, chances, ~is_mixture, is_mixture)
        logits = networks.logits_of(trained["both"][0], stems, rows, 256)
        best["both", part] = rival.best_threshold(logits, rows, data)
    networks.move_threshold(counter, chosen["counter"])
    trained["counter"] = networks.remember_names(counter, content["forgotten"]), content
    for part in ("val", "test"):
        rows = np.concatenate([data.singles[part], data.mixtures[part]])
        table = flow.predictions(trained, stems, rows, data)
        best |= {(way, part): t for way, t in flow.thresholds_for_names(table).items()}
    for name in ("counter", "both", *flow.CHOSEN_FOR_NAMES):
        assert best[name, "val"] == pytest.approx(chosen[name], abs=1e-6), name
        assert best[name, "test"] != pytest.approx(chosen[name], abs=1e-6), name


def test_the_epochs_are_validated_on_validation_clips(home):
    data = set_data.choose_files(str(home / "data"), "", 1, 4000, 2)
    stems = hearing.load(data.stems, 4000, torch.device("cpu"))
    labels = torch.tensor(data.stems["class_index"].to_numpy(copy=True))
    place = (str(home / "models"), crs_lib.TWO_LABEL, "isocc", 1, 4000, torch.device("cpu"))
    network, content = networks.load_network(*place)
    losses = {}
    for part in ("val", "test"):
        rows = data.mixtures[part]
        logits = networks.logits_of(network, stems, rows, 256)
        truth = training.many_hot(rows, labels, len(CLASSES))
        losses[part] = training.names_loss(logits, truth).item()
    found = content["metrics"]["validation"]["val_loss"]
    assert losses["val"] == pytest.approx(found, rel=1e-5)
    assert losses["test"] != pytest.approx(found, rel=1e-5)


def test_classifiers_that_share_the_counters_names(home, tmp_path, here):
    models, (flow,) = tmp_path / "models", home.glob("results/*_overall_flow_*/predictions.csv")
    shutil.copytree(home / "models", models)
    places = ("--dataset", home / "data", "--results", tmp_path, "--models", models)
    flags = (*places, "--model", "asc", "--oversample", 2, "--shared")
    (counter,) = home.glob("results/*audio_source_counter*")
    by_count = []
    for script, named in ((SINGLE, "names"), (TWO_LABEL, "pair")):
        here(script, *flags, status=0)
        (folder,) = tmp_path.glob(f"*{script[:-3]}*")
        record = json.loads((folder / "run.json").read_text())
        assert record["taken_from"] == counter.name and record["history"] == []
        assert not (folder / "curves.png").exists()
        by_count.append(pd.read_csv(folder / "predictions.csv").set_index("clip")[named])
    # Told how many there are, they name what the one network names where it counts so many.
    table = pd.read_csv(flow).set_index("clip")
    for count, names in enumerate(by_count, 1):
        alike = table[(table["count"] == count) & table.index.isin(names.index)]
        assert (alike["one_network"] == names[alike.index]).all()
    assert len(table[table["count"] == 1]) and len(table[table["count"] == 2])

    rival = (*flags[:-1], "--train-on", "both", "--epochs", 1)
    here(TWO_LABEL, *rival, status=0)
    here("overall_flow.py", *places, "--classifier-model", "asc", status=0)
    (tested,) = tmp_path.glob("*_overall_flow_asc-asc_*/predictions.csv")
    assert "one_network" not in pd.read_csv(tested), "the flow is the one network"

    both = here(TWO_LABEL, *flags, "--train-on", "both", status=1)
    assert "--shared trains nothing: leave out --train-on both" in both
    path = models / "audio_source_counter_asc_set1_4k.pt"
    content = torch.load(path, weights_only=True)
    torch.save({**content, "forgotten": {}}, path)  # as one of --names-weight 0
    message = here(SINGLE, *flags, status=1)
    assert f"the counter of {counter.name} learned no such names: run  python {COUNTER}" in message
    path.unlink()
    assert f"is missing: run  python {COUNTER}" in here(SINGLE, *flags, status=1)


def test_a_classifier_that_shares_an_older_counters_names_is_made_anew(home, tmp_path, monkeypatch):
    results, models = tmp_path / "results", tmp_path / "models"
    monkeypatch.chdir(home)
    shutil.copytree("models", models)
    for folder in Path("results").glob("*a*_asc_set1_4k"):  # the counter and its audit
        shutil.copytree(folder, results / folder.name)
    places = ("--dataset", "dataset_demo", "--results", results, "--models", models)
    flags = (*places, "--shared", "--no-joint", "--oversample", 2, "--epochs", 1)
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
        handed |= {"SHARED": True, "JOINT": False, "OVERSAMPLE": 2, "EPOCHS": 1}
        run_all.train_and_test(1, {**run_all.CONSTANTS, **handed}, {})
        return ran

    assert scripts_that_run() == [TWO_LABEL, "overall_flow.py"]  # the rival, and the flow
    (single,) = results.glob(f"*{SINGLE[:-3]}*/run.json")
    record = json.loads(single.read_text())
    single.write_text(json.dumps({**record, "taken_from": "another"}))
    assert scripts_that_run() == [SINGLE, TWO_LABEL, "overall_flow.py"]
    single.write_text(json.dumps(record))
    assert scripts_that_run() == [TWO_LABEL, "overall_flow.py"]
    # A counter without weights is trained again: then none of the old names is kept.
    (models / "audio_source_counter_asc_set1_4k.pt").unlink()
    every = [COUNTER, SINGLE, TWO_LABEL, TWO_LABEL, "overall_flow.py", "audit.py"]
    assert scripts_that_run() == every


def test_more_sets_than_the_headlines_bring_its_summary_too(monkeypatch, tmp_path):
    run_all, written = load_script("run_all.py"), []
    monkeypatch.setattr(run_all.pictures, "plot_summary", lambda *_: [])
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


def test_an_audit_that_is_gone_leaves_no_older_table(home, tmp_path):
    results, path = tmp_path / "results", tmp_path / "summary_4k_1.json"
    shutil.copytree(home / "results", results)
    flows = [crs_lib.flow_name("asc", "isocc", 1, 4000)]
    assert summary.summarise(results, flows, path)["audit"]
    assert path.with_name("summary_4k_1_audit.md").exists()
    for folder in results.glob("*_audit_*"):
        shutil.rmtree(folder)
    assert not summary.summarise(results, flows, path)["audit"]
    assert not path.with_name("summary_4k_1_audit.md").exists()


def test_summary(home):
    written = json.loads((home / "results" / "summary_4k_1.json").read_text())
    assert written["synthetic"] is True
    figures = written["figures"]
    for name in (
        "counter.accuracy_balanced",
        "single.accuracy",
        "two_label.exact_pair",
        "flow.with_counter.exact_set_balanced",
        "flow.true_count.exact_set_single",
        "flow.no_counter.exact_set_mixture",
        "flow.one_network.exact_set_balanced",
        "flow.gain.for_names_over_no_counter",
        "audit.giveaway_balanced",
    ):
        figure = figures[name]
        assert set(figure) == {"mean", "std", "low", "high", "sets"}
        assert figure["sets"] == [figure["mean"]] and figure["low"] <= figure["high"]
    (counter,) = home.glob("results/*audio_source_counter*/run.json")
    test = json.loads(counter.read_text())["test"]
    assert figures["counter.accuracy_balanced"]["mean"] == test["accuracy_balanced"]
    assert (home / "results" / "summary_4k_1.md").read_text().startswith("SYNTHETIC data.")
    lines = (home / "results" / "summary_4k_1_ways.md").read_text().splitlines()[2:]
    assert len(lines) == len(metrics.WAYS)
    for line, (way, label) in zip(lines, metrics.WAYS.items(), strict=True):
        kinds = [figures[f"flow.{way}.exact_set_{n}"] for n in ("single", "mixture", "balanced")]
        means = [f"{100 * figure['mean']:.1f}" for figure in kinds]
        interval = f"{100 * kinds[-1]['low']:.1f} to {100 * kinds[-1]['high']:.1f}"
        gain = kinds[-1]["mean"] - figures["flow.no_counter.exact_set_balanced"]["mean"]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[:-2] == [label, *means, interval]
        assert cells[-2] == ("" if way == "no_counter" else f"{100 * gain:.1f}")


def test_a_second_whole_run_keeps_what_is_finished(home):
    before = sorted((home / "results").iterdir())
    places = ("--dataset", "dataset_demo", "--results", "results", "--models", "models")
    out = succeed("run_all.py", *places, *TINY_RUN, cwd=home)
    assert sorted((home / "results").iterdir()) == before
    assert out.count("is finished") == 6 and out.count("is up to date") == 7


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
    handed |= {"JOINT": False, "OVERSAMPLE": 2, "EPOCHS": 1}

    def scripts_that_run():
        run_all, ran = load_script("run_all.py"), []
        run_all.run_script = lambda script, *_, **__: ran.append(script)
        run_all.train_and_test(1, {**run_all.CONSTANTS, **handed}, {})
        return ran

    assert scripts_that_run() == []
    assert capsys.readouterr().out.count("is finished") == 6
    (flow,) = tmp_path.glob("*_overall_flow_*/run.json")
    record = json.loads(flow.read_text())
    record["trained_in"]["single"] = "another"
    flow.write_text(json.dumps(record))
    assert scripts_that_run() == [COUNTER, SINGLE, TWO_LABEL, TWO_LABEL, "overall_flow.py"]


def test_weights_hold_what_prediction_needs_and_no_code(home):
    paths = sorted((home / "models").iterdir())
    assert [path.name for path in paths] == [
        "audio_source_counter_asc_set1_4k.pt",
        "sep_opt_isocc_multi_random_volnorm_STFT_isocc_both_set1_4k.pt",
        "sep_opt_isocc_multi_random_volnorm_STFT_isocc_set1_4k.pt",
        "sep_opt_isocc_single_volnorm_STFT_isocc_set1_4k.pt",
    ]
    for path in paths:
        content = torch.load(path, weights_only=True)
        assert content["classes"] == list(CLASSES)
        assert content["constants"]["SAMPLE_RATE"] == 4000 and content["constants"]["SET"] == 1
        assert content["synthetic"] is True


def edit(path, target, change):
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, target)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["constants"].update(SET=2), "holds weights of set 2 at 4000 Hz, not of set 1"),
        (lambda c: c["constants"].update(SAMPLE_RATE=8000), "holds weights of set 1 at 8000 Hz"),
        (lambda c: c.update(classes=["a", "b", "c", "d"]), "trained on different classes or data"),
        (lambda c: c.update(classes=["a"]), "the weights do not fit the network"),
        (lambda c: c.update(synthetic=False), "trained on real recordings, which"),
        (
            lambda c: c["data"]["esc10_mixes.csv"]["constants"].update(DIVISION="0"),
            "trained on other recordings or under another division than",
        ),
        (lambda c: c.pop("metrics"), "not weights that can be read"),
        (lambda c: c["constants"].update(MODEL="rnn"), "its network rnn is none of this version"),
    ],
)
def test_the_flow_refuses_weights_of_another_kind(home, tmp_path, change, message, here):
    models = tmp_path / "models"
    shutil.copytree(home / "models", models)
    single = models / "sep_opt_isocc_single_volnorm_STFT_isocc_set1_4k.pt"
    edit(single, single, change)
    places = ("--dataset", home / "data", "--models", models, "--results", tmp_path / "results")
    assert message in here("overall_flow.py", *places)
    assert not (tmp_path / "results").exists()


def test_forgotten_names_are_remembered():
    network = networks.build("asc", 2 + 3, 4000, 256, torch.device("cpu")).eval()
    spectrograms = torch.rand(2, 1, 129, 313)
    before = network(spectrograms)
    forgotten = networks.forget_names(network)
    assert torch.allclose(network(spectrograms), before[:, :2])
    assert torch.allclose(networks.remember_names(network, forgotten)(spectrograms), before)
    assert network(spectrograms).shape == (2, 2)
    # Of a counter that learned no names there is nothing to remember.
    assert networks.remember_names(network, {})(spectrograms).shape == (2, 2)


def test_a_run_whose_weights_are_anothers_is_not_kept(home, tmp_path, monkeypatch):
    run_all = load_script("run_all.py")
    name = "audio_source_counter_asc_set1_4k"
    (folder,) = (home / "results").glob(f"*_{name}")
    weights = tmp_path / f"{name}.pt"
    assert not run_all.has_weights(folder, weights)
    shutil.copy(home / "models" / f"{name}.pt", weights)
    assert run_all.has_weights(folder, weights)
    edit(weights, weights, lambda content: content.update(run="another"))
    assert not run_all.has_weights(folder, weights)


def test_synthetic_weights_do_not_replace_real_ones(home, tmp_path, here):
    models = tmp_path / "models"
    models.mkdir()
    name = "audio_source_counter_asc_set1_4k.pt"
    edit(home / "models" / name, models / name, lambda content: content.update(synthetic=False))
    before = (models / name).read_bytes()
    message = here(COUNTER, "--dataset", home / "data", "--models", models, *TINY)
    assert "was trained on real recordings: name another folder with --models" in message
    assert (models / name).read_bytes() == before


def test_the_audit_asks_the_counter(home, tmp_path, here):
    places = ("--dataset", home / "data", "--models", home / "models", "--results", tmp_path)
    out = here("audit.py", *places, status=0)
    (folder,) = tmp_path.glob("*_audit_asc_set1_4k")
    record = json.loads((folder / "run.json").read_text())
    (counter,) = (home / "results").glob("*_audio_source_counter_asc_set1_4k/predictions.csv")
    table = pd.read_csv(counter, keep_default_na=False)
    is_mixture = table["recording_b"] != ""
    answers, is_two = record["test"], table["count"] == 2
    alone, mixed = is_two[~is_mixture].mean(), is_two[is_mixture].mean()
    assert answers["single clips"]["clips"] == 4
    assert answers["single clips"]["counted_as_two"]["mean"] == pytest.approx(alone)
    mixtures = answers["mixtures, one stem 0 dB down"]
    assert mixtures["clips"] == is_mixture.sum() and mixtures["softer_db"] == 0
    assert mixtures["counted_as_two"]["mean"] == pytest.approx(mixed)
    assert mixtures["above_alone"]["mean"] == pytest.approx(mixed - alone)
    assert answers["mixtures, one stem 3 dB down"]["clips"] == 2 * is_mixture.sum()
    assert "| single clips | 4 |" in out and (folder / "audit.md").read_text() in out
    every = report.read_answers(folder)
    # What the counter learned from is no test clip.
    learned = {name: of for name, of in every.groupby("group") if name.startswith("training")}
    assert len(learned) == 3
    tested = set(table["recording_a"])
    assert all(tested.isdisjoint(of["recording_a"]) for of in learned.values())
    drawn, never = (learned[f"training mixtures {n}"] for n in ("that were drawn", "never drawn"))
    assert len(drawn) and len(never)
    assert record["synthetic"] and os.path.getsize(folder / "audit.png") < 300_000


def test_the_page_shows_the_whole_run(home, tmp_path, here):
    results = tmp_path / "results"
    shutil.copytree(home / "results", results)
    out = here("show_report.py", "--dataset", home / "data", "--results", results, status=0)
    assert out.startswith("SYNTHETIC") and "sets 1: " in out and "without their sounds" not in out
    page = (results / "report.html").read_text()
    (flow,) = results.glob("*_overall_flow_*/predictions.csv")
    table = pd.read_csv(flow)
    nb_wrong = (table["with_counter"] != table["truth"]).sum()
    assert page.count("<article>") == page.count("<audio") == nb_wrong > 0
    assert "is not there any more" not in page
    # Two of the flow, four of each of two kinds, one of attention, four over all sets.
    assert page.count("<img") == 2 + 8 + 1 + 4 + nb_wrong
    written = json.loads((results / "summary_4k_1.json").read_text())
    for _, figure, *_ in summary.summary_rows(written)[1][1:]:
        assert f"<td>{figure}</td>" in page
    # run_all.py ends with the command that makes it.
    command = "python show_report.py --dataset dataset_demo --results dataset_demo/results"
    assert f"a page of all this: {command}\n" in (home / "out.txt").read_text()


def test_predict_answers_as_the_flow_does(home):
    """The test mixtures written as WAV get the names that the flow gave them in memory."""
    (flow,) = home.glob("results/*overall_flow*/predictions.csv")
    expected = pd.read_csv(flow).set_index("clip")["with_counter"]
    folder = home / "data" / "esc10_2mix_vol_norm_4k"
    out = succeed("predict.py", "--models", home / "models", "--json", folder)
    rows = json.loads(out)["recordings"]
    rows = [row for row in rows if row["file"].split("/")[-1] in expected.index]
    assert len(rows) == 6
    for row in rows:
        assert "+".join(sorted(row["names"])) == expected[row["file"].split("/")[-1]]


def shipping(home, target, *flags):
    """The words of docs/ship.py on what `home` trained."""
    places = (
        "--dataset",
        home / "data",
        "--results",
        home / "results",
        "--models",
        home / "models",
    )
    return ("docs/ship.py", *places, "--target", target, *flags)


def test_shipped_weights_answer_as_those_that_were_trained(home, tmp_path, here):
    target = tmp_path / "pretrained"
    out = here(*shipping(home, target), status=0)
    assert "10 test clips are answered as before" in out
    card = (target / "README.md").read_text()
    assert "SYNTHETIC data" in card and str(home) not in card
    names = [path.name for path in target.iterdir()]
    assert len(names) == 4 and "sep_opt_isocc_multi_random_volnorm_STFT_isocc_both" not in card
    for path in target.glob("*.pt"):
        assert f"`{path.name}`" in card
        content = torch.load(path, weights_only=True)
        trained = torch.load(home / "models" / path.name, weights_only=True)
        is_half = f"{target}/{path.name}: half precision" in out
        kinds = {value.dtype for value in content["weights"].values() if value.is_floating_point()}
        assert kinds == {torch.float16 if is_half else torch.float32}
        assert path.stat().st_size < (0.55 if is_half else 1.1) * trained_size(home, path) + 20_000
        assert content["classes"] == list(CLASSES) and content["metrics"] == trained["metrics"]
        assert content["record"]["test"] and len(content["record"]["history"]) == 1
        assert str(home) not in repr(content["constants"]) + repr(content["record"])
    assert "half precision" in out
    for network, _ in labellers.load(str(target), 0, 0, "", "", torch.device("cpu")).values():
        assert {p.dtype for p in network.parameters()} == {torch.float32}
    singles = [home / "data" / "esc10_rename_4k" / name / f"{name}1.wav" for name in CLASSES]
    words = ("predict.py", "--json", home / "data" / "esc10_2mix_vol_norm_4k", *singles, "--models")
    answers = [json.loads(succeed(*words, models)) for models in (target, home / "models")]
    tested = set(pd.read_csv(next(home.glob("results/*overall_flow*/predictions.csv")))["clip"])
    kept = [
        {Path(row["file"]).name: row["names"] for row in answer["recordings"]} for answer in answers
    ]
    assert len(tested & set(kept[0])) == 10
    for name in tested:
        assert kept[0][name] == kept[1][name]


def trained_size(home, path):
    return (home / "models" / path.name).stat().st_size


def test_the_card_shows_what_the_runs_recorded(home, tmp_path, here):
    here(*shipping(home, tmp_path / "pretrained"), status=0)
    card = (tmp_path / "pretrained" / "README.md").read_text()
    (record,) = home.glob("results/*_audio_source_counter_*/run.json")
    record = json.loads(record.read_text())
    low, high = (f"{100 * value:.1f}" for value in record["test_interval"]["accuracy_balanced"])
    figure = f"{100 * record['test']['accuracy_balanced']:.1f}"
    assert re.search(rf"\| counter: one class.*\| {figure} \| {low} to {high} \|", card)
    (table,) = home.glob("results/*_single_volnorm_STFT_isocc_set1_4k/predictions.csv")
    table = pd.read_csv(table)
    for name in CLASSES:
        clips = table[table["truth"] == name]
        right = (clips["names"] == name).sum()
        others = [f"{n} (1)" for n in clips["names"][clips["names"] != name]]
        row = rf"\| {name} \| \d of 1 \| {right} of 1 \| {re.escape(', '.join(others))} \|"
        assert re.search(row, card)
    assert len(re.findall(r"^\| \w+ \+ \w+ \| \d of 1 \| \d of 1 \|$", card, re.MULTILINE)) == 6


def test_half_precision_is_taken_only_where_no_answer_changes(home, tmp_path, monkeypatch):
    """A network whose answers differ keeps its full precision, another does not."""
    ship = load_script("docs/ship.py")
    places = {"DATASET": home / "data", "RESULTS": home / "results", "MODELS": home / "models"}
    for name, value in {**places, "TARGET": tmp_path / "pretrained"}.items():
        monkeypatch.setattr(ship, name, str(value))
    given = ship.answers

    def answers(trained, *more):
        found = given(trained, *more)
        weights = trained["counter"][1]["weights"]
        if any(value.dtype == torch.float16 for value in weights.values()):
            found["counter"] = 3 - found["counter"]
        return found

    monkeypatch.setattr(ship, "answers", answers)
    ship.main()
    for path in (tmp_path / "pretrained").glob("*.pt"):
        weights = torch.load(path, weights_only=True)["weights"]
        expected = torch.float32 if "counter" in path.name else torch.float16
        assert {v.dtype for v in weights.values() if v.is_floating_point()} == {expected}
    monkeypatch.setattr(ship, "MOST_BYTES", 1_000_000)
    with pytest.raises(crs_lib.InputError, match=r"more than 1 together .*: counter\)"):
        ship.main()


def test_weights_are_shipped_only_with_the_run_that_tested_them(home, tmp_path, here):
    models = shutil.copytree(home / "models", tmp_path / "models")
    flags = ("--models", models)
    last = ("dense.4.weight", "dense.4.bias")  # every count is then the other one
    name = "audio_source_counter_asc_set1_4k.pt"
    edit(models / name, models / name, lambda c: [c["weights"][key].neg_() for key in last])
    message = here(*shipping(home, tmp_path / "pretrained", *flags))
    assert "tested other weights: run  python overall_flow.py --dataset " in message
    edit(models / name, models / name, lambda content: content.update(run="gone"))
    message = here(*shipping(home, tmp_path / "pretrained", *flags))
    assert f"{home}/results/gone/run.json is missing: run  python run_all.py" in message
    assert not (tmp_path / "pretrained").exists()


def test_who_recorded_what_goes_with_the_weights(home, tmp_path, here):
    names = pd.read_csv(home / "data" / "esc10_rename" / "names.csv")
    clips = ["-".join(original.split("-")[:3]) for original in names["original"]]
    lines = [
        f"- [{clip}.ogg]:  clip derived from a|b ({i}).wav (http://x.org/{i}/) by me {i} [CC-BY]"
        for i, clip in enumerate(clips)
    ]
    (tmp_path / "LICENSE").write_text("\n".join(lines))
    flags = ("--attribution", tmp_path / "LICENSE")
    here(*shipping(home, tmp_path / "pretrained", *flags), status=0)
    text = (tmp_path / "pretrained" / "ATTRIBUTION.md").read_text()
    for i, (clip, number) in enumerate(zip(clips, names["number"], strict=True)):
        row = f"| {clip} | [a\\|b ({i}).wav](http://x.org/{i}/) | me {i} | CC-BY |"
        assert (row in text) == (number != 1)  # number 1 is tested
    assert "`ATTRIBUTION.md`" in (tmp_path / "pretrained" / "README.md").read_text()
    (tmp_path / "LICENSE").write_text("\n".join(lines[:5]))
    message = here(*shipping(home, tmp_path / "pretrained", *flags))
    assert message.startswith(f"{tmp_path}/LICENSE does not say who recorded 1-")


def test_run_all_makes_the_stand_in_where_there_is_none(monkeypatch, tmp_path):
    run_all = load_script("run_all.py")
    started = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ESC50_DIR", raising=False)
    monkeypatch.setattr(run_all, "start", lambda words, **_: subprocess.CompletedProcess(words, 1))
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
    monkeypatch.delenv("ESC50_DIR", raising=False)
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
