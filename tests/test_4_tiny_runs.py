"""The scripts that train and test, whole, on a set of short noise: their figures by second_hand.py.

In this process, in seconds. Networks know nothing here; whose clips they get, what is chosen by
which, and what is written down is what is looked at.
"""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import second_hand
import tiny_set
import torch
from check_runs import SELECT_BY, check_audit, check_flow, check_training
from conftest import COUNTER, SINGLE, TWO_LABEL, load_script, only_run

import crs_lib
from pipeline.data import set_data
from pipeline.evaluation import plots, run_records
from pipeline.inference import choose_weights
from pipeline.networks import features, heads, registry, weights_file
from pipeline.training import loop

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
    return data, features.load(data.stems, 2000, CPU)


def never_drawn(constants):
    """How many of 300 training mixtures no epoch drew, 60 each."""
    draws = [
        np.random.default_rng([constants["SEED"], 2, epoch]).choice(300, 60, replace=False)
        for epoch in range(2)
    ]
    return 300 - len(set(np.concatenate(draws)))


@pytest.fixture
def drawn(monkeypatch):
    """What each plot was given, by its function; it is drawn all the same."""
    kept = {}
    names = ("plot_curves", "plot_confusion", "plot_attention", "plot_flow", "label_pairs")
    for name in names:
        draw = getattr(plots, name)
        monkeypatch.setattr(
            plots, name, lambda *of, name=name, draw=draw: kept.update({name: of}) or draw(*of)
        )
    return kept


def of_confusion(table, task):
    """Truth and answers of a confusion: of several labels a row for each that is there."""
    if task == "counter":
        return [(1 + (table["recording_b"] != "")).tolist(), table["count"].tolist()]
    if task == "single":
        return [table["truth"].tolist(), table["labels"].tolist()]
    answer = {"two_label": "pair", "both": "labels"}.get(task, task)
    return [list(some) for some in plots.label_pairs(table["truth"], table[answer])]


@pytest.mark.parametrize("task", TASKS)
def test_a_training(root, clips, tmp_path, here, task, drawn):
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
    pngs = {path.name for path in folder.glob("*.png")}
    of_counters = {"attention.png"} if task == "counter" else set()
    assert pngs == {"curves.png", "confusion.png"} | of_counters
    run, history, best_epoch, select_by = drawn["plot_curves"]
    assert (run.folder, history, best_epoch) == (folder, record["history"], record["best_epoch"])
    assert select_by == SELECT_BY[task].removeprefix("val_")
    confused = [list(column) for column in drawn["plot_confusion"][1:3]]
    if task in ("two_label", "both"):  # whose answers may be alike
        columns = [column.name for column in drawn["label_pairs"]]
        assert columns == ["truth", "pair" if task == "two_label" else "labels"]
    assert confused == of_confusion(run_records.read_predictions(folder), task)
    kinds = [1, 2] if task == "counter" else ["ant", "bee", "cat"]
    assert drawn["plot_confusion"][3] == kinds
    if task == "counter":
        first = [next(i for i, t in enumerate(confused[0]) if t == count) for count in (1, 2)]
        table = run_records.read_predictions(folder)
        assert drawn["plot_attention"][3] == [
            f"{table['clip'][i]}: {confused[0][i]}, counted {confused[1][i]}" for i in first
        ]

    # The weights that were left give these answers, each of its own clips.
    place = (str(tmp_path / "m"), script[:-3], model, 2, 2000, CPU, str(root))
    network, content = registry.load_network(*place)
    assert content["run"] == folder.name
    row = record["history"][record["best_epoch"]]
    assert content["metrics"] == {"test": record["test"], "validation": row}
    data, stems = clips
    module = load_script(script)
    module.BOTH = task == "both"
    threshold = {"threshold": row["val_threshold"]} if task == "both" else {}

    def answers(rows):
        logits = heads.logits_of(network, stems, rows)
        return module.predictions(logits, rows, data, **threshold)

    singles, mixtures = data.singles["test"], data.mixtures["test"]
    rows = {"single": singles, "two_label": mixtures}
    expected = answers(rows.get(task, np.concatenate([singles, mixtures])))
    table = run_records.read_predictions(folder)
    pd.testing.assert_frame_equal(table, expected, check_dtype=False, rtol=1e-5, atol=1e-6)
    if task == "counter":  # moved by the threshold that validation chose: there one half is it
        found = pd.read_csv(folder / "validation.csv")
        odds = (found["logit_two"] - found["logit_one"]).to_numpy()
        rows = np.concatenate([data.singles["val"], data.mixtures["val"]])
        moved = heads.logits_of(network, stems, rows).double().numpy()
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


def test_a_count_by_labels_that_nobody_learns_is_refused(root, tmp_path, here):
    flags = ["--dataset", root, "--results", tmp_path, "--models", tmp_path, *PLACE]
    message = here(COUNTER, *flags, "--count-by-labels", "--labels-weight", 0)
    assert message == "--count-by-labels needs labels that are learned: --labels-weight 1"


def test_all_clips_are_trained_on_and_none_is_tested(root, tmp_path, here):
    """The joint network of a counter by labels, its classifiers, the no-counter baseline."""
    flags = ["--dataset", root, "--results", tmp_path, "--models", tmp_path / "m", *PLACE[:2]]
    flags += ["--model", "asc", "--oversample", 2, "--all-clips"]
    missing = here(SINGLE, *flags, "--shared")
    assert "audio_source_counter_asc_all_2k.pt is missing: run  python audio_source" in missing
    assert "--all-clips" in missing and "--set" not in missing
    counter = [COUNTER, "--epochs", 2, "--repeat", 2, "--count-by-labels", "--threshold", 0.8]
    shared = ([SINGLE, "--shared"], [TWO_LABEL, "--shared"])
    baseline = [TWO_LABEL, "--train-on", "both", "--epochs", 1]
    for script, *more in (counter, *shared, baseline):
        out = here(script, *flags, *more, status=0)
        nb = 156 if script == COUNTER else 78
        assert f"all clips: {nb} training singles and {nb} of 507 mixtures" in out
    names = sorted(path.name.removesuffix(".pt") for path in (tmp_path / "m").glob("*.pt"))
    assert names == [
        "audio_source_counter_asc_all_2k",
        "sep_opt_isocc_multi_random_volnorm_STFT_asc_all_2k",
        "sep_opt_isocc_multi_random_volnorm_STFT_asc_both_all_2k",
        "sep_opt_isocc_single_volnorm_STFT_asc_all_2k",
    ]
    for name in names:
        (folder,) = tmp_path.glob(f"*_{name}")
        record = json.loads((folder / "run.json").read_text())
        assert record["test"] == record["test_interval"] == {} and record["set"] == 0
        assert not [key for row in record["history"] for key in row if key.startswith("val")]
        assert not list(folder.glob("*.png"))
        assert len(run_records.read_predictions(folder)) == 0
    trained = choose_weights.load(str(tmp_path / "m"), 0, 0, "", "", CPU)
    joint = registry.joined(trained)
    assert {network for network, _ in joint.values()} == {trained["counter"][0]}
    last = trained["counter"][0].dense[-1]
    assert isinstance(last, heads.CountByLabels)


@pytest.mark.parametrize(("script", "task"), [(SINGLE, "single"), (TWO_LABEL, "two_label")])
def test_a_training_on_its_own_kind_alone(root, tmp_path, here, script, task):
    flags = ["--dataset", root, "--results", tmp_path, "--models", tmp_path / "m", *PLACE]
    flags += ["--model", "asc", "--oversample", 2, "--epochs", 1, "--no-both-kinds"]
    out = here(script, *flags, status=0)
    wanted = {"single": "60 training singles", "two_label": "60 of 300 mixtures"}[task]
    assert f"set 2: {wanted} an epoch\n" in out
    check_training(root, only_run(tmp_path), task)


@pytest.mark.parametrize("task", TASKS)
def test_a_training_is_seeded_first_and_draws_each_epoch_anew(
    root, clips, tmp_path, here, monkeypatch, task
):
    """What the loop is given, and in which order a script comes to it."""
    script, _ = TASKS[task]
    called, given = [], {}
    seed, build = loop.seed_everything, registry.build
    monkeypatch.setattr(loop, "seed_everything", lambda *of: called.append(of) or seed(*of))
    monkeypatch.setattr(registry, "build", lambda *of: called.append("build") or build(*of))

    def fit(run, network, stems, **asked):
        given.update(asked, run=run)
        raise crs_lib.InputError("not here")

    monkeypatch.setattr(loop, "fit", fit)
    flags = ["--dataset", root, "--results", tmp_path, "--models", tmp_path / "m", *PLACE]
    flags += ["--model", "asc", "--oversample", 2, "--seed", 4]
    flags += ["--train-on", "both"] if task == "both" else []
    assert here(script, *flags) == "not here"
    assert called == [(4, 2, script[:-3]), "build"]
    data, _ = clips
    for epoch in (0, 2):
        mixtures, _ = set_data.draw_mixtures(data, given["run"].constants, epoch)
        assert given["draw"](epoch).tolist() == [
            *data.singles["train"].tolist(),
            *mixtures.tolist(),
        ]
    kinds = {"single": [data.singles], "two_label": [data.mixtures]}
    kinds = kinds.get(task, [data.singles, data.mixtures])
    assert given["validation_rows"].tolist() == [
        row for kind in kinds for row in kind["val"].tolist()
    ]


@pytest.mark.parametrize(("script", "task"), [(SINGLE, "single"), (TWO_LABEL, "two_label")])
def test_what_is_shared_is_validated_on_validation_clips(
    root, clips, trained, tmp_path, here, script, task
):
    flags = ["--dataset", root, "--results", tmp_path, "--models", trained / "m", *PLACE]
    flags += ["--shared", "--oversample", 2, "--model", "asc"]
    models = shutil.copytree(trained / "m", tmp_path / "m")
    here(script, *flags, "--models", models, status=0)
    folder = only_run(tmp_path)
    record = json.loads((folder / "run.json").read_text())
    assert record["label_head_of"] == "2026-01-01_00-00-00_counter" and record["history"] == []
    check_training(root, folder, task)
    content = weights_file.read_weights(models / f"{folder.name[20:]}.pt")
    validated = second_hand.validated(task, second_hand.read_table(folder / "validation.csv"))
    found = content["metrics"]["validation"]
    for name in {"single": ["accuracy"], "two_label": ["exact_pair"]}[task]:
        assert found[f"val_{name}"] == pytest.approx(validated[name])


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
        constants |= {"SEED": 3, "REDRAW": True, "REPEAT": 1}
        folder = place / f"2026-01-01_00-00-00_{task}"
        run = run_records.Run(folder, script[:-3], model, constants, {}, "")
        network = registry.build("asc", 3 + 2 * (task == "counter"), 2000, 256, CPU).eval()
        rows = np.concatenate([*data.singles.values(), *data.mixtures.values()])[:150]
        logits = heads.logits_of(network, stems, rows)
        with torch.no_grad():  # unlike enough, and as often one as two
            last = network.dense[-1]
            spread = 2 / logits.std(dim=0)
            last.bias.copy_((last.bias - logits.mean(dim=0)) * spread)
            last.weight.mul_(spread[:, None])
        label_head = heads.cut_label_head(network) if task == "counter" else {}
        singles, mixtures = data.singles["test"], data.mixtures["test"]
        rows = {"single": singles, "two_label": mixtures}
        rows = rows.get(task, np.concatenate([singles, mixtures]))
        logits = heads.logits_of(network, stems, rows)
        # Between the second scores of test clips, so that one half is no threshold as good.
        middle = torch.sigmoid(logits).sort(dim=1).values[:, -2].median().item() - 1e-4
        measured = {"test": {}, "validation": {"epoch": 1, "val_threshold": middle}}
        weights_file.save_weights(run, network, data.classes, measured, label_head)
        module = load_script(script)
        module.BOTH = task == "both"
        threshold = {"threshold": middle} if task == "both" else {}
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"constants": constants}))
        table = module.predictions(logits, rows, data, **threshold)
        table.to_csv(folder / "predictions.csv", index=False, float_format="%.9g")
    return place


def test_the_flow(root, clips, trained, tmp_path, here, drawn):
    flags = ["--dataset", root, "--results", tmp_path, "--models", trained / "m", *PLACE]
    flags += ["--classifier-model", "asc", "--seed", 6]
    out = here("overall_flow.py", *flags, status=0)
    folder = only_run(tmp_path)
    for run in trained.glob("2026*"):
        (tmp_path / run.name).symlink_to(run)
    check_flow(root, tmp_path, folder)
    assert folder.name.endswith("_overall_flow_asc-asc_set2_2k")
    record = json.loads((folder / "run.json").read_text())
    assert record["trained_in"] == {task: f"2026-01-01_00-00-00_{task}" for task in TASKS}
    assert record["constants"]["OVERSAMPLE"] == 2 and record["seed"] == 6
    # Test clips would have others.
    tested = second_hand.read_table(folder / "predictions.csv")
    mixed = np.array([row["recording_b"] != "" for row in tested])
    chances = np.array([float(row["shortcut_score_two"]) for row in tested])
    other, _ = second_hand.best_threshold(mixed, chances, ~mixed, mixed)
    assert record["thresholds"]["shortcuts"] != pytest.approx(other, abs=1e-6)
    # The shortcut baseline learns from the mixtures of its own seed, not of the counter's 3.
    data, stems = clips
    counter = {**CONSTANTS, "REDRAW": True, "REPEAT": 1, "SEED": 6}
    rows = np.concatenate([data.singles["test"], data.mixtures["test"]])
    (given,) = load_script("overall_flow.py").shortcut_scores(stems, data, [rows], counter)
    table = pd.read_csv(folder / "predictions.csv", keep_default_na=False)
    np.testing.assert_allclose(table["shortcut_score_two"], given, rtol=1e-4)
    confused = [list(some) for some in drawn["plot_confusion"][1:3]]
    assert confused == of_confusion(table, "with_counter")
    assert drawn["plot_flow"][1] == record
    for strategy in ("with_counter", "no_counter", "ensemble"):
        figures = record["test"][strategy].items()
        line = "  ".join(f"{name} {100 * value:.1f} %" for name, value in figures)
        assert f"{strategy}:  {line}\n" in out
    assert (folder / "flow.png").exists() and (folder / "confusion.png").exists()


def test_the_audit(root, clips, trained, tmp_path, here):
    flags = ["--dataset", root, "--results", tmp_path, "--models", trained / "m", *PLACE]
    out = here("audit.py", *flags, status=0)
    folder = only_run(tmp_path)
    check_audit(root, folder)
    record = json.loads((folder / "run.json").read_text())
    assert record["audited"] == "2026-01-01_00-00-00_counter"
    table = (folder / "audit.md").read_text()
    assert table.startswith("| clips |") and table in out and (folder / "audit.png").exists()
    # Clips as they are get the counts that the counter's test gave them.
    counted = run_records.read_predictions(trained / "2026-01-01_00-00-00_counter")
    table = run_records.read_packed(folder / run_records.ANSWERS)
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
