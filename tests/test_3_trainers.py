"""What the three training scripts draw, learn, answer and choose, on answers that are given."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import COUNTER, HERE, SINGLE, TWO_LABEL, load_script
from test_3_finished import CLASSES, set_of

from pipeline.data import set_data
from pipeline.evaluation import run_records
from pipeline.networks import registry
from pipeline.settings import command_line

DATA = set_of(("ant", 0, "10"), ("bee", 0, "11"), ("cat", 0, "12"), ("cat", 1, "12"))
ROWS = np.array([[0, -1], [2, -1], [1, -1], [0, 1], [1, 2], [0, 3], [1, 3]])
TRUTH = ["ant", "cat", "bee", "ant+bee", "bee+cat", "ant+cat", "bee+cat"]


def logit(share):
    return np.log(share / (1 - np.asarray(share)))


def two_logits(chances, *more):
    """Logits of one and of two whose softmax gives these chances of two, and others behind."""
    columns = [np.full(len(chances), 0.7), 0.7 + logit(chances), *more]
    return torch.tensor(np.stack(columns, axis=1), dtype=torch.float32)


# ------------------------------------------------------------------------------------ the counter


def test_the_counter_says_two_where_the_chance_exceeds_the_threshold():
    script, chances = load_script(COUNTER), [0.1, 0.5, 0.6, 0.2, 0.55, 0.9, 0.3]
    logits = two_logits(chances, np.full(7, 99.0))  # what stands behind them is of no count
    table = script.predictions(logits, ROWS, DATA, threshold=0.52)
    assert table["truth"].tolist() == TRUTH
    assert table["count"].tolist() == [1, 1, 2, 1, 2, 2, 1]
    assert table["score_two"].to_numpy() == pytest.approx(chances, rel=1e-5)
    assert table["score_one"].to_numpy() == pytest.approx(1 - np.array(chances), rel=1e-5)
    level = torch.zeros(7, 3)  # a chance of exactly one half exceeds no half
    assert set(script.predictions(level, ROWS, DATA)["count"]) == {1}


def test_the_counters_threshold_is_the_best_of_its_validation_clips():
    """Between 0.6, the last single, and 0.7: one mixture is below; below it a single would be."""
    script = load_script(COUNTER)
    script.LABELS_WEIGHT = 0.0
    figures = script.validate(two_logits([0.1, 0.2, 0.6, 0.3, 0.7, 0.8, 0.9]), ROWS, DATA)
    expected = {"accuracy_single": 1, "accuracy_mixture": 0.75, "accuracy_balanced": 0.875}
    assert figures == pytest.approx({**expected, "threshold": 0.65}, rel=1e-5)


def test_a_joint_network_is_validated_by_its_labels_too():
    """Of three singles the labels of two are right, of four mixtures those of three; one of these
    is counted as one, and so is wrong in the flow.
    """
    script = load_script(COUNTER)
    scores = np.array([[name in text.split("+") for name in CLASSES] for text in TRUTH], float)
    singles = [row for row, text in enumerate(TRUTH) if "+" not in text]
    mixtures = [row for row, text in enumerate(TRUTH) if "+" in text]
    assert (len(singles), len(mixtures)) == (3, 4)
    scores[singles[0]] = np.roll(scores[singles[0]], 1)
    scores[mixtures[0]] = 1 - scores[mixtures[0]]
    scores[mixtures[0], 0] += 0.5
    chances = np.where([row in singles for row in range(7)], 0.1, 0.9)
    chances[mixtures[1]] = 0.05
    figures = script.validate(two_logits(chances, *scores.T), ROWS, DATA)
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["exact_pair"] == pytest.approx(3 / 4)
    assert figures["accuracy_balanced"] == pytest.approx((1 + 3 / 4) / 2)
    assert figures["exact_match_balanced"] == pytest.approx((2 / 3 + 2 / 4) / 2)


def test_the_counter_learns_count_and_labels_of_each_clip():
    script = load_script(COUNTER)
    labels = torch.tensor([0, 1, 2, 2])
    found = script.targets(ROWS, labels, 3)
    expected = [[t.count("+"), *(name in t.split("+") for name in CLASSES)] for t in TRUTH]
    assert found.tolist() == np.array(expected, float).tolist()
    logits = torch.randn(7, 5, generator=torch.manual_seed(0), dtype=torch.float64)
    script.LABELS_WEIGHT = 0.25
    total = 0
    for row, text in zip(logits.tolist(), TRUTH, strict=True):
        one, two, *scores = np.exp(row)
        total -= np.log((two if "+" in text else one) / (one + two))
        true = [CLASSES.index(name) for name in text.split("+")]
        every = [np.prod(some) for some in itertools.combinations(scores, len(true))]
        total -= 0.25 * np.log(np.prod([scores[i] for i in true]) / sum(every))
    assert script.loss(logits, found).item() == pytest.approx(total / 7)


def some_set():
    """A set of which only the training rows are asked for: 40 singles, 60 mixtures."""
    singles = np.array([[i, -1] for i in range(40)])
    mixtures = np.array(list(itertools.product(range(0, 40, 4), range(1, 40, 7))))
    return set_data.SetData(None, CLASSES, {"train": singles}, {"train": mixtures}, {})


@pytest.mark.parametrize("name", [COUNTER, SINGLE, TWO_LABEL])
def test_an_epoch_is_every_single_and_as_many_mixtures_of_that_epoch(name):
    script, data = load_script(name), some_set()
    script.CONSTANTS.update(OVERSAMPLE=4, REDRAW=True, SEED=5, SET=3)
    for epoch in (0, 2):
        rows = script.draw(epoch, data)
        drawn, _ = set_data.draw_mixtures(data, script.CONSTANTS, epoch)
        assert rows.tolist() == [*data.singles["train"].tolist(), *drawn.tolist()]
        assert set_data.is_mixture(rows).sum() == 40
    assert script.draw(0, data).tolist() != script.draw(2, data).tolist()


# --------------------------------------------------------------------------------- the classifiers


def test_the_single_label_classifier_gives_its_best_label():
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, -1.0, 2.9], [-2.0, -3.0, -1.0]])
    table = load_script(SINGLE).predictions(logits, ROWS[:3], DATA)
    assert table["labels"].tolist() == ["bee", "ant", "cat"]
    scores = table[[f"score_{name}" for name in CLASSES]].to_numpy()
    exponentials = np.exp(logits.numpy())
    np.testing.assert_allclose(scores, exponentials / exponentials.sum(axis=1)[:, None], rtol=1e-5)


SHARES = np.array(  # of the classes by the network without a counter
    [
        [0.9, 0.3, 0.2],  # ant: one where the second has 0.3
        [0.1, 0.45, 0.8],  # cat
        [0.2, 0.6, 0.7],  # bee: wrong as one, wrong as two
        [0.8, 0.5, 0.1],  # ant+bee
        [0.1, 0.7, 0.55],  # bee+cat
        [0.9, 0.05, 0.62],  # ant+cat
        [0.95, 0.9, 0.1],  # bee+cat: wrong as either
    ]
)


def test_the_two_label_classifier_gives_its_best_two():
    script = load_script(TWO_LABEL)
    logits = torch.tensor(logit(SHARES), dtype=torch.float32)
    table = script.predictions(logits, ROWS, DATA)
    best_two = ["ant+bee", "bee+cat", "bee+cat", "ant+bee", "bee+cat", "ant+cat", "ant+bee"]
    assert table["pair"].tolist() == best_two and "labels" not in table
    for number, row in enumerate(logits.double()):
        pairs = {p: row[list(p)].sum().exp().item() for p in itertools.combinations(range(3), 2)}
        for index, name in enumerate(CLASSES):
            share = sum(v for p, v in pairs.items() if index in p) / sum(pairs.values())
            assert table[f"score_{name}"][number] == pytest.approx(share, rel=1e-5)
    figures = script.validate(logits[3:], ROWS[3:], DATA)
    assert figures["exact_pair"] == 0.75 and "threshold" not in figures
    assert set(figures) == {"exact_pair", "mean_average_precision"}


def test_the_network_without_a_counter_gives_a_second_label_over_its_threshold():
    script = load_script(TWO_LABEL)
    script.BOTH = True
    logits = torch.tensor(logit(SHARES), dtype=torch.float32)
    table = script.predictions(logits, ROWS, DATA, threshold=0.52)
    expected = ["ant", "cat", "bee+cat", "ant", "bee+cat", "ant+cat", "ant+bee"]
    assert table["labels"].tolist() == expected
    assert table["pair"].tolist()[1] == "bee+cat"
    np.testing.assert_allclose(
        table[[f"score_{name}" for name in CLASSES]].to_numpy(), SHARES, rtol=1e-5
    )
    # Singles are right up to 0.45, mixtures from 0.5 on.
    assert script.best_threshold(logits, ROWS, DATA) == pytest.approx(0.475, rel=1e-5)
    figures = script.validate(logits, ROWS, DATA)
    assert figures["threshold"] == pytest.approx(0.475, rel=1e-5)
    assert figures["exact_match_single"] == pytest.approx(2 / 3)
    assert figures["exact_match_mixture"] == figures["exact_pair"] == 0.75
    assert figures["exact_match_balanced"] == pytest.approx((2 / 3 + 0.75) / 2)


# ------------------------------------------------------------------------------------ the recipe


@pytest.mark.parametrize("model", ["asc", "isocc", "isocc_both", "asc-isocc"])
def test_the_scripts_defaults_are_those_of_the_published_figures(model):
    """But for where it ran, and for what a set, a network or the rest of the task asks."""
    elsewhere = {*run_records.PASSING_CONSTANTS, "BF16", "SET", "TRAIN_ON"}
    paths = list((HERE / "results_published" / "4k").glob(f"*_{model}_set*_4k/run.json"))
    assert paths
    for path in paths:
        record = json.loads(path.read_text(encoding="utf-8"))
        known = command_line.read_constants(HERE / f"{record['script']}.py")
        defaults = {name: value for name, (value, _) in known.items() if name not in elsewhere}
        made_with = run_records.work_of(record["constants"])
        assert {name: made_with[name] for name in defaults} == defaults, path
        assert run_records.method_of(record) == run_records.METHODS[record["script"]]
        assert known["SET"][0] == 1 and known["THREADS"][0] == 0 and known["DEVICE"][0] == "auto"
        for name in ("RESUME", "BF16", "TEST_UNSELECTED"):
            assert known.get(name, (False, ""))[0] is False
        assert known.get("TRAIN_ON", ("mixtures", ""))[0] == "mixtures"


def test_run_alls_defaults_are_those_of_the_published_figures():
    """Of the constants that it hands on; 0 leaves each script its own. Its own are held here."""
    defaults = {n: v for n, (v, _) in command_line.read_constants(HERE / "run_all.py").items()}
    records = [
        {**run_records.LATER_CONSTANTS, **json.loads(path.read_text(encoding="utf-8"))["constants"]}
        for path in (HERE / "results_published" / "4k").glob("*_set*_4k/run.json")
    ]
    own = ("EPOCHS", "BATCH", "LEARNING_RATE", "PATIENCE", *run_records.PASSING_CONSTANTS)
    names = ("SAMPLE_RATE", "N_FFT", "OVERSAMPLE", "BOTH_KINDS", "SHARED", "SPEED", "SEED")
    later = [name for name in run_records.LATER_CONSTANTS if name in defaults]
    for name in (*names, *later):
        values = [record[name] for record in records if name in record]
        assert values and set(values) == {defaults[name]}, name
    assert {name: defaults[name] for name in own if name in defaults} == {
        "EPOCHS": 0,
        "BATCH": 0,
        "LEARNING_RATE": 0.0,
        "PATIENCE": 0,
        "RESULTS": "results",
        "MODELS": "models",
        "DEVICE": "auto",
        "THREADS": 0,
    }
    kept = ("SETS", "WRITE", "COUNTER_MODEL", "CLASSIFIER_MODEL", "IN_BF16", "MAX_SHIFT")
    assert [defaults[name] for name in kept] == [[1], "test", "asc", "isocc", "auto", 0.25]


@pytest.mark.parametrize("has", [False, True])
def test_by_default_all_but_the_asc_are_in_bfloat16_where_the_device_has_it(monkeypatch, has):
    monkeypatch.setattr(registry, "has_bf16", lambda device: has)
    run_all = load_script("run_all.py")
    for model, classifiers in (("asc", "isocc"), ("yamnet", "yamnet"), ("asc", "asc")):
        run_all.COUNTER_MODEL, run_all.CLASSIFIER_MODEL = model, classifiers
        found = [of[2]["BF16"] for of in run_all.trainings_of(run_all.CONSTANTS).values()]
        assert found == [has and model != "asc"] + 3 * [has and classifiers != "asc"]


@pytest.mark.parametrize(
    ("info", "has"),
    [
        ("flags : fpu avx2 avx512_bf16 sse", True),
        ("flags : fpu amx_bf16", True),
        ("Features : fp asimd bf16 sve", True),
        ("flags : fpu avx512f avx512_bf16x avx2", False),
        (None, False),
    ],
)
def test_what_a_processor_has_stands_in_its_flags(tmp_path, monkeypatch, info, has):
    if info:
        (tmp_path / "cpuinfo").write_text(info)
    monkeypatch.setattr(registry, "CPU_INFO", tmp_path / "cpuinfo")
    assert registry.has_bf16(torch.device("cpu")) is has
    assert registry.has_bf16(torch.device("mps")) is False


@pytest.mark.parametrize(
    ("in_bf16", "expected"),
    [
        ("none", (False, False, False, False)),
        ("classifiers", (False, True, True, True)),
        ("all", (True, True, True, True)),
    ],
)
def test_run_all_hands_on_what_each_training_is_to_have(in_bf16, expected):
    run_all = load_script("run_all.py")
    run_all.IN_BF16, run_all.COUNTER_MODEL, run_all.CLASSIFIER_MODEL = in_bf16, "isocc", "logmel"
    handed = {**run_all.CONSTANTS, "EPOCHS": 7, "SHARED": True, "BOTH_KINDS": False}
    found = run_all.trainings_of(handed)
    assert {task: of[:2] for task, of in found.items()} == {
        "counter": (COUNTER[:-3], "isocc"),
        "single": (SINGLE[:-3], "logmel"),
        "two_label": (TWO_LABEL[:-3], "logmel"),
        "both": (TWO_LABEL[:-3], "logmel_both"),
    }
    constants = [of[2] for of in found.values()]
    assert tuple(of["BF16"] for of in constants) == expected
    assert [of["MODEL"] for of in constants] == ["isocc", "logmel", "logmel", "logmel"]
    assert [of.get("TRAIN_ON") for of in constants] == [None, None, None, "both"]
    assert [of["SHARED"] for of in constants] == [True, True, True, False]
    assert [of["BOTH_KINDS"] for of in constants] == [False, False, False, True]
    for of in constants:
        assert of["EPOCHS"] == 7 and not {"BATCH", "LEARNING_RATE", "PATIENCE"} & set(of)


def test_mixtures_are_written_of_the_first_of_several_sets(monkeypatch, tmp_path):
    run_all, handed = load_script("run_all.py"), []
    run_all.SETS = [3, 1]
    monkeypatch.setattr(run_all, "run_script", lambda script, **c: handed.append((script, c)))
    monkeypatch.setattr(run_all.provenance, "is_up_to_date", lambda *_: False)
    run_all.prepare({**run_all.CONSTANTS, "DATASET": str(tmp_path)})
    assert dict(handed)["0_2mix_norm_vol.py"]["SET"] == 3


def test_the_selecting_figures_are_those_that_the_design_names():
    found = [load_script(name).SELECT_BY for name in (COUNTER, SINGLE, TWO_LABEL)]
    assert found == ["accuracy_balanced", "accuracy", "exact_pair"]


def test_a_table_of_predictions_begins_with_what_each_clip_is():
    for name in (COUNTER, SINGLE, TWO_LABEL):
        nb_outputs = 5 if name == COUNTER else 3
        table = load_script(name).predictions(torch.rand(7, nb_outputs), ROWS, DATA)
        pd.testing.assert_frame_equal(table.iloc[:, :4], set_data.recordings_of(DATA.stems, ROWS))
