"""The flow and the audit of a tiny run, against its networks; its figures: test_7_second_hand."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import CLASSES, COUNTER, HERE, SINGLE, TINY, TWO_LABEL, edit_weights, load_script

import crs_lib
from pipeline.data import set_data
from pipeline.evaluation import metrics, run_records, strategies
from pipeline.networks import features, heads, registry
from pipeline.training import loop


def test_joint_counts_and_names(home):
    """The counter before it forgot the names: the flow names with them."""
    place = (home / "models", COUNTER[:-3], "asc", 1, 4000, torch.device("cpu"))
    network, content = registry.load_network(*place)
    assert network.dense[-1].weight.shape == (2 + len(CLASSES), 32)
    constants = content["constants"]
    data = set_data.choose_files(str(home / "data"), "", 1, 4000, constants["OVERSAMPLE"])
    stems = features.load(data.stems, 4000, torch.device("cpu"))
    rows = np.concatenate([data.singles["test"], data.mixtures["test"]])
    logits = heads.logits_of(network, stems, rows)
    counts = 1 + logits[:, :2].argmax(dim=1)
    best = logits[:, 2:].argsort(dim=1, descending=True)
    expected = [
        "+".join(sorted(CLASSES[i] for i in order[:count]))
        for order, count in zip(best.tolist(), counts.tolist(), strict=True)
    ]
    (predicted,) = home.glob("results/*_overall_flow_asc-isocc_set1_4k/predictions.csv")
    table = pd.read_csv(predicted)
    assert table["joint"].tolist() == expected
    for row, order in zip(table.itertuples(), best.tolist(), strict=True):
        names = ["+".join(sorted(CLASSES[i] for i in order[:count])) for count in (1, 2)]
        assert row.joint_oracle_count == names["+" in row.truth]
        assert row.joint_for_exact_match in names


def test_thresholds_are_chosen_on_validation_clips(home):
    """Those that the networks and the flow have are the best of validation, not of test clips."""
    flow, baseline = load_script("overall_flow.py"), load_script(TWO_LABEL)
    baseline.BOTH = True
    classifier = f"isocc{crs_lib.BOTH}"
    tasks = {
        "counter": (crs_lib.COUNTER, "asc"),
        "single": (crs_lib.SINGLE, "isocc"),
        "two_label": (crs_lib.TWO_LABEL, "isocc"),
        "both": (crs_lib.TWO_LABEL, classifier),
    }
    trained = registry.load_networks(tasks, str(home / "models"), 1, 4000, torch.device("cpu"))
    counter, content = trained["counter"]
    chosen = {
        task: c["metrics"]["validation"].get("val_threshold") for task, (_, c) in trained.items()
    }
    # The counter's was moved to one half: back, for its chances to be those that were validated.
    heads.move_threshold(counter, 1 - chosen["counter"])
    (record,) = home.glob("results/*_overall_flow_asc-isocc_set1_4k/run.json")
    chosen |= json.loads(record.read_text())["thresholds"]
    data = set_data.choose_files(str(home / "data"), "", 1, 4000, 2)
    stems = features.load(data.stems, 4000, torch.device("cpu"))
    rows = np.concatenate([data.singles["val"], data.mixtures["val"]])
    is_mixture = set_data.is_mixture(rows)
    logits = heads.logits_of(counter, stems, rows)
    chances = torch.softmax(logits[:, :2], dim=1)[:, 1].numpy()
    best = {"counter": metrics.best_threshold(is_mixture, chances, ~is_mixture, is_mixture)}
    logits = heads.logits_of(trained["both"][0], stems, rows)
    best["both"] = baseline.best_threshold(logits, rows, data)
    heads.move_threshold(counter, chosen["counter"])
    found = flow.strategies_of(trained, flow.logits_of(trained, stems, rows))
    truth = set_data.recordings_of(data.stems, rows)["truth"].to_numpy()
    best |= strategies.optimise(found, truth, is_mixture, data.classes)
    (given,) = flow.shortcut_scores(stems, data, [rows], {**content["constants"], "SEED": 0})
    best["shortcuts"] = metrics.best_threshold(is_mixture, given, ~is_mixture, is_mixture)
    for name in ("counter", "both", "shortcuts", *strategies.OPTIMISED.values()):
        assert best[name] == pytest.approx(chosen[name], abs=1e-6), name


def test_the_epochs_are_validated_on_validation_clips(home):
    data = set_data.choose_files(str(home / "data"), "", 1, 4000, 2)
    stems = features.load(data.stems, 4000, torch.device("cpu"))
    labels = torch.tensor(data.stems["class_index"].to_numpy(copy=True))
    place = (str(home / "models"), crs_lib.TWO_LABEL, "isocc", 1, 4000, torch.device("cpu"))
    network, content = registry.load_network(*place)
    losses = {}
    for part in ("val", "test"):
        rows = data.mixtures[part]
        logits = heads.logits_of(network, stems, rows)
        truth = loop.many_hot(rows, labels, len(CLASSES))
        losses[part] = loop.labels_loss(logits, truth).item()
    found = content["metrics"]["validation"]["val_loss"]
    assert losses["val"] == pytest.approx(found, rel=1e-5)
    assert losses["test"] != pytest.approx(found, rel=1e-5)


def test_classifiers_that_share_the_counters_names(home, tmp_path, here):
    models, (flow,) = tmp_path / "models", home.glob("results/*_overall_flow_*/predictions.csv")
    shutil.copytree(home / "models", models)
    places = ("--dataset", home / "data", "--results", tmp_path, "--models", models)
    flags = (*places, "--model", "asc", "--oversample", 2, "--shared")
    (counter,) = home.glob("results/*audio_source_counter*")
    for script, named in ((SINGLE, "labels"), (TWO_LABEL, "pair")):
        here(script, *flags, status=0)
        (folder,) = tmp_path.glob(f"*{script[:-3]}*")
        record = json.loads((folder / "run.json").read_text())
        assert record["label_head_of"] == counter.name and record["history"] == []
        assert not (folder / "curves.png").exists()
        # Given the count, they answer as the one network does, which is given it as well.
        found = pd.read_csv(folder / "predictions.csv").set_index("clip")[named]
        expected = pd.read_csv(flow).set_index("clip")["joint_oracle_count"]
        assert len(found) and (found == expected[found.index]).all()

    baseline = (*flags[:-1], "--train-on", "both", "--epochs", 1)
    here(TWO_LABEL, *baseline, status=0)
    here("overall_flow.py", *places, "--classifier-model", "asc", status=0)
    (tested,) = tmp_path.glob("*_overall_flow_asc-asc_*/predictions.csv")
    assert "joint" not in pd.read_csv(tested), "the flow is the one network"

    both = here(TWO_LABEL, *flags, "--train-on", "both", status=1)
    assert "--shared trains nothing: leave out --train-on both" in both
    path = models / "audio_source_counter_asc_set1_4k.pt"
    content = torch.load(path, weights_only=True)
    torch.save({**content, "label_head": {}}, path)  # as one of --labels-weight 0
    message = here(SINGLE, *flags, status=1)
    assert f"the counter of {counter.name} learned no such labels: run  python {COUNTER}" in message
    path.unlink()
    assert f"is missing: run  python {COUNTER}" in here(SINGLE, *flags, status=1)


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
    edit_weights(single, single, change)
    places = ("--dataset", home / "data", "--models", models, "--results", tmp_path / "results")
    assert message in here("overall_flow.py", *places)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("script", ["overall_flow.py", "audit.py"])
def test_nobody_is_told_to_train_into_the_shipped_weights(script, home, here):
    message = here(script, "--dataset", home / "data", "--models", HERE / "pretrained")
    assert message.startswith(f"{HERE}/pretrained has no {COUNTER[:-3]}_asc_set1_4k.pt, but ")
    assert message.endswith("or name a folder of your own with  --models")


def test_synthetic_weights_do_not_replace_real_ones(home, tmp_path, here):
    models = tmp_path / "models"
    models.mkdir()
    name = "audio_source_counter_asc_set1_4k.pt"
    edit_weights(
        home / "models" / name, models / name, lambda content: content.update(synthetic=False)
    )
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
    every = run_records.read_packed(folder / run_records.ANSWERS)
    # What the counter learned from is no test clip.
    learned = {name: of for name, of in every.groupby("group") if name.startswith("training")}
    assert len(learned) == 3
    tested = set(table["recording_a"])
    assert all(tested.isdisjoint(of["recording_a"]) for of in learned.values())
    drawn, never = (learned[f"training mixtures {n}"] for n in ("that were drawn", "never drawn"))
    assert len(drawn) and len(never)
    assert record["synthetic"] and os.path.getsize(folder / "audit.png") < 300_000
