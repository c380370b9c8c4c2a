"""The scripts that train and test, whole, on a set of short noise: their figures by second_hand.py.

In this process, in seconds. Networks know nothing here; whose clips they get, what is chosen by
which, and what is written down is what is looked at.
"""

import json

import numpy as np
import pandas as pd
import pytest
import second_hand
import tiny_set
import torch
from conftest import COUNTER, SINGLE, TWO_LABEL, load_script, only_run
from test_7_second_hand import check_audit, check_flow, check_training

import checkpoints
import crs_lib
import hearing
import networks
import report
import set_data

CPU = torch.device("cpu")
PLACE = ("--sample-rate", 2000, "--set", 2, "--threads", 1)
TASKS = {
    "counter": (COUNTER, "asc"),
    "single": (SINGLE, "asc"),
    "two_label": (TWO_LABEL, "asc"),
    "both": (TWO_LABEL, "asc" + crs_lib.BOTH),
}
CONSTANTS = {"SET": 2, "SAMPLE_RATE": 2000, "N_FFT": 256, "OVERSAMPLE": 2, "MODEL": "asc"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    tiny_set.make(root, oversamples=(2,))
    return root


@pytest.fixture(scope="module")
def clips(root):
    """The set, its stems, and the rows of its validation and test clips by kind."""
    data = set_data.choose_files(str(root), "", 2, 2000, 2)
    return data, hearing.load(data.stems, 2000, CPU)


def never_drawn(constants):
    """How many of 300 training mixtures no epoch drew, 60 each."""
    draws = [
        np.random.default_rng([constants["SEED"], 2, epoch]).choice(300, 60, replace=False)
        for epoch in range(2)
    ]
    return 300 - len(set(np.concatenate(draws)))


@pytest.mark.parametrize("task", TASKS)
def test_a_training(root, clips, tmp_path, here, task):
    script, model = TASKS[task]
    flags = ["--dataset", root, "--results", tmp_path, "--models", tmp_path / "m", *PLACE]
    flags += ["--model", "asc", "--oversample", 2, "--epochs", 2, "--seed", 4]
    flags += [] if task == "single" else ["--test-unselected"]
    flags += ["--train-on", "both"] if task == "both" else []
    out = here(script, *flags, status=0)
    assert "set 2: 60 training singles and 60 of 300 mixtures an epoch\n" in out
    folder = only_run(tmp_path)
    check_training(root, folder, task)
    record = json.loads((folder / "run.json").read_text())
    assert len(record["history"]) == 2 and record["constants"]["SEED"] == 4
    drawn = {path.name for path in folder.glob("*.png")}
    of_counters = {"attention.png"} if task == "counter" else set()
    assert drawn == {"curves.png", "confusion.png"} | of_counters

    # The weights that were left give these answers, each of its own clips.
    place = (str(tmp_path / "m"), script[:-3], model, 2, 2000, CPU, str(root))
    network, content = networks.load_network(*place)
    assert content["run"] == folder.name
    row = record["history"][record["best_epoch"]]
    assert content["metrics"] == {"test": record["test"], "validation": row}
    data, stems = clips
    module = load_script(script)
    module.BOTH = task == "both"
    threshold = {"threshold": row["val_threshold"]} if task == "both" else {}

    def answers(rows):
        logits = networks.logits_of(network, stems, rows, content["constants"]["N_FFT"])
        return module.predictions(logits, rows, data, **threshold)

    singles, mixtures = data.singles["test"], data.mixtures["test"]
    rows = {"single": singles, "two_label": mixtures}
    expected = answers(rows.get(task, np.concatenate([singles, mixtures])))
    table = report.read_predictions(folder)
    pd.testing.assert_frame_equal(table, expected, check_dtype=False, rtol=1e-5, atol=1e-6)
    if task == "counter":  # moved by the threshold that validation chose: there one half is it
        found = pd.read_csv(folder / "validation.csv")
        odds = (found["logit_two"] - found["logit_one"]).to_numpy()
        rows = np.concatenate([data.singles["val"], data.mixtures["val"]])
        moved = networks.logits_of(network, stems, rows, 256).double().numpy()
        by = np.log(row["val_threshold"] / (1 - row["val_threshold"]))
        np.testing.assert_allclose(moved[:, 1] - moved[:, 0], odds - by, atol=1e-4)
    if task == "single":
        return
    _, never = set_data.split_by_drawn(data, content["constants"], 2)
    assert len(never) == record["unselected"]["mixtures"] == never_drawn(content["constants"])
    found = answers(never)
    right = (found["count"] == 2) if task == "counter" else (found["pair"] == found["truth"])
    share = record["unselected"]["accuracy" if task == "counter" else "exact_pair"]
    assert share == pytest.approx(right.mean())


@pytest.mark.parametrize(("script", "task"), [(SINGLE, "single"), (TWO_LABEL, "two_label")])
def test_a_training_on_its_own_kind_alone(root, tmp_path, here, script, task):
    flags = ["--dataset", root, "--results", tmp_path, "--models", tmp_path / "m", *PLACE]
    out = here(script, *flags, "--model", "asc", "--oversample", 2, "--epochs", 1, "--no-joint",
               status=0)  # fmt: skip
    wanted = {"single": "60 training singles", "two_label": "60 of 300 mixtures"}[task]
    assert f"set 2: {wanted} an epoch\n" in out
    check_training(root, only_run(tmp_path), task)


def test_what_is_shared_is_not_trained(root, tmp_path, here):
    flags = ["--dataset", root, "--results", tmp_path, "--models", tmp_path / "m", *PLACE]
    flags += ["--shared", "--oversample", 2, "--model", "asc"]
    for more in (["--train-on", "both"], ["--test-unselected"]):
        message = here(TWO_LABEL, *flags, *more)
        assert message.startswith("--shared trains nothing: leave out --train-on both")
    for script in (SINGLE, TWO_LABEL):
        message = here(script, *flags)
        assert f"is missing: run  python {COUNTER}" in message


# -------------------------------------------------------------------------------- flow and audit


@pytest.fixture(scope="module")
def trained(root, clips, tmp_path_factory):
    """Runs and weights of four networks that answer unlike clips unlike, none of them trained."""
    data, stems = clips
    place = tmp_path_factory.mktemp("trained")
    torch.manual_seed(8)
    for task, (script, model) in TASKS.items():
        constants = {**CONSTANTS, "DATASET": str(root), "MODELS": str(place / "m"), "SHARED": False}
        constants |= {"SEED": 3, "REDRAW": True}
        folder = place / f"2026-01-01_00-00-00_{task}"
        run = report.Run(folder, script[:-3], model, constants, {}, "")
        network = networks.build("asc", 3 + 2 * (task == "counter"), 2000, 256, CPU).eval()
        rows = np.concatenate([*data.singles.values(), *data.mixtures.values()])[:150]
        logits = networks.logits_of(network, stems, rows, 256)
        with torch.no_grad():  # unlike enough, and as often one as two
            last = network.dense[-1]
            spread = 2 / logits.std(dim=0)
            last.bias.copy_((last.bias - logits.mean(dim=0)) * spread)
            last.weight.mul_(spread[:, None])
        forgotten = networks.forget_names(network) if task == "counter" else {}
        singles, mixtures = data.singles["test"], data.mixtures["test"]
        rows = {"single": singles, "two_label": mixtures}
        rows = rows.get(task, np.concatenate([singles, mixtures]))
        logits = networks.logits_of(network, stems, rows, 256)
        # Between the second scores of test clips, so that one half is no threshold as good.
        middle = torch.sigmoid(logits).sort(dim=1).values[:, -2].median().item() - 1e-4
        measured = {"test": {}, "validation": {"epoch": 1, "val_threshold": middle}}
        checkpoints.save_weights(run, network, data.classes, measured, forgotten)
        module = load_script(script)
        module.BOTH = task == "both"
        threshold = {"threshold": middle} if task == "both" else {}
        folder.mkdir(parents=True)
        table = module.predictions(logits, rows, data, **threshold)
        table.to_csv(folder / "predictions.csv", index=False, float_format="%.9g")
    return place


def test_the_flow(root, trained, tmp_path, here):
    flags = ["--dataset", root, "--results", tmp_path, "--models", trained / "m", *PLACE]
    out = here("overall_flow.py", *flags, "--classifier-model", "asc", status=0)
    folder = only_run(tmp_path)
    for run in trained.glob("2026*"):
        (tmp_path / run.name).symlink_to(run)
    check_flow(root, tmp_path, folder)
    assert folder.name.endswith("_overall_flow_asc-asc_set2_2k")
    record = json.loads((folder / "run.json").read_text())
    assert record["trained_in"] == {task: f"2026-01-01_00-00-00_{task}" for task in TASKS}
    assert record["constants"]["OVERSAMPLE"] == 2 and record["seed"] == 0
    table = pd.read_csv(folder / "predictions.csv", keep_default_na=False)
    assert {*table["count"]} == {1, 2}, "else it would tell too little"
    for way in ("with_counter", "no_counter", "together"):
        figures = record["test"][way].items()
        line = "  ".join(f"{name} {100 * value:.1f} %" for name, value in figures)
        assert f"{way}:  {line}\n" in out
    assert (folder / "flow.png").exists() and (folder / "confusion.png").exists()


def test_the_audit(root, clips, trained, tmp_path, here):
    flags = ["--dataset", root, "--results", tmp_path, "--models", trained / "m", *PLACE]
    out = here("audit.py", *flags, status=0)
    folder = only_run(tmp_path)
    check_audit(folder)
    record = json.loads((folder / "run.json").read_text())
    assert record["audited"] == "2026-01-01_00-00-00_counter"
    assert (folder / "audit.md").read_text() in out and (folder / "audit.png").exists()
    # Clips as they are get the counts that the counter's test gave them.
    counted = report.read_predictions(trained / "2026-01-01_00-00-00_counter")
    table = report.read_answers(folder)
    is_mixture = counted["recording_b"] != ""
    for group, expected in (
        ("single clips", counted[~is_mixture]),
        ("mixtures, one stem 0 dB down", counted[is_mixture]),
    ):
        found = table[table["group"] == group]
        for name in ("count", "recording_a", "recording_b"):
            assert found[name].tolist() == expected[name].tolist()
    sizes = table.groupby("group", sort=False).size().to_dict()
    assert sizes["training clips"] == 30 and sizes["mixtures, one stem 6 dB down"] == 2 * 3
    assert sizes["training mixtures never drawn"] == never_drawn({"SEED": 3})
    assert sizes["training mixtures that were drawn"] == 300 - never_drawn({"SEED": 3})
    learned = {second for second in table[table["group"].str.startswith("training")]["recording_a"]}
    tested = {clip[0] for clip in second_hand.clips_of(root, 2, "test")[0].values()}
    assert learned.isdisjoint(tested)
