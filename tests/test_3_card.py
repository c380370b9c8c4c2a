"""The card of shipped weights: what it counts, and which figures it shows."""

import pandas as pd
import pytest
from conftest import load_script
from torch import nn

from pipeline.data import set_data


@pytest.fixture
def card():
    return load_script("tools/card.py")


def named(truth, answers, column):
    clips = [f"{truth}{i}.wav" for i in range(len(answers))]
    return pd.DataFrame({"clip": clips, "truth": truth, column: answers})


def test_the_card_counts_each_classs_clips(card):
    single = pd.concat(
        [named("cat", ["x", "y", "x", "cat"], "labels"), named("ox", ["ox", "cat"], "labels")]
    )
    counter = single[["clip"]].assign(count=[1, 2, 1, 1, 2, 2])
    # The counter's table has its own order, and clips of other kinds.
    counter = pd.concat([counter[::-1], pd.DataFrame({"clip": ["z.wav"], "count": 1})])
    assert card.class_rows({"counter": counter, "single": single}) == [
        ("cat", "3 of 4", "1 of 4", "x (2), y (1)"),
        ("ox", "0 of 2", "1 of 2", "cat (1)"),
    ]


def test_the_card_shows_the_five_worst_pairs_and_the_best(card):
    """Of equally good pairs the first; the clips of both count, and the count is another's."""
    right = {"a+b": 2, "a+c": 0, "a+d": 3, "b+c": 1, "b+d": 2, "c+d": 1, "c+e": 3}
    pairs = pd.concat(
        [named(pair, [pair] * nb + ["x+y"] * (3 - nb), "pair") for pair, nb in right.items()]
    )
    counts = [1 + (i % 4 == 0) for i in range(len(pairs))]
    counter = pairs[["clip"]].assign(count=counts)[::-1]
    found = card.pair_rows({"counter": counter, "two_label": pairs})
    twos = {pair: sum(counts[3 * i : 3 * i + 3]) - 3 for i, pair in enumerate(right)}
    order = ["a+c", "b+c", "c+d", "a+b", "b+d", "c+e"]
    assert found == [
        (pair.replace("+", " + "), f"{twos[pair]} of 3", f"{right[pair]} of 3") for pair in order
    ]
    few = pairs[pairs["truth"].isin(["a+b", "c+d"])]
    assert [row[0] for row in card.pair_rows({"counter": counter, "two_label": few})] == [
        "c + d",
        "a + b",
    ]


RECORDS = {
    "counter": {
        "model": "asc",
        "commit": "0123456789-dirty",
        "seed": 3,
        "history": [0] * 30,
        "best_epoch": 21,
        "seconds": 1234,
        "machine": {"device": "cpu", "threads": 2},
        "test": {"accuracy_balanced": 0.81, "accuracy_single": 0.92, "accuracy_mixture": 0.7},
        "test_interval": {
            "accuracy_balanced": [0.75, 0.871],
            "accuracy_single": [0.9, 0.95],
            "accuracy_mixture": [0.6, 0.8],
        },
    },
    "single": {
        "model": "isocc",
        "commit": "abcdefghij",
        "seed": 4,
        "history": [],
        "best_epoch": 0,
        "seconds": 90.1,
        "machine": {"device": "cuda:0", "threads": 8},
        "test": {"accuracy": 0.5},
        "test_interval": {"accuracy": [0.4, 0.6]},
    },
    "two_label": {
        "model": "isocc",
        "commit": "",
        "seed": 5,
        "history": [0],
        "best_epoch": 0,
        "seconds": 0,
        "machine": {"device": "cpu", "threads": 1},
        "test": {"exact_pair": 0.1234},
        "test_interval": {"exact_pair": [0.05, 0.25]},
    },
    "flow": {
        "set": 4,
        "sample_rate": 8000,
        "synthetic": False,
        "trained_in": {"counter": "run1", "single": "run2", "two_label": "run3", "both": "run4"},
        "test": {
            "with_counter": {
                "exact_match_single": 0.21,
                "exact_match_mixture": 0.22,
                "exact_match_balanced": 0.23,
            },
            "exact_match_single": 0.9,
        },
        "test_interval": {
            "with_counter": {
                "exact_match_single": [0.11, 0.31],
                "exact_match_mixture": [0.12, 0.32],
                "exact_match_balanced": [0.13, 0.33],
            }
        },
    },
}


def test_the_cards_figures_are_those_of_the_records(card):
    values = [row[1:] for row in card.figure_rows(RECORDS)]
    assert values == [
        ("81.0", "75.0 to 87.1"),
        ("92.0", "90.0 to 95.0"),
        ("70.0", "60.0 to 80.0"),
        ("50.0", "40.0 to 60.0"),
        ("12.3", "5.0 to 25.0"),
        ("21.0", "11.0 to 31.0"),
        ("22.0", "12.0 to 32.0"),
        ("23.0", "13.0 to 33.0"),
    ]
    for (task, name, _), (words, *_) in zip(card.FIGURES, card.figure_rows(RECORDS), strict=True):
        kinds = {"single": "single clips", "mixture": "mixtures"}
        kind = kinds.get(name.split("_")[-1], "balanced" if task == "counter" else "macro average")
        assert task not in ("counter", "flow") or kind in words
    assert card.training_rows(RECORDS) == [
        ("counter", "0123456-dirty", 3, 30, 22, "21", "2 CPU threads", "run1"),
        ("single-label classifier", "abcdefg", 4, "the counter's", 1, "2", "a GPU", "run2"),
        ("two-label classifier", "", 5, 1, 1, "0", "1 CPU thread", "run3"),
    ]


def test_the_card_counts_clips_and_parameters(card, tmp_path):
    """Copies are no clips of their own; the flow's clips are those of the test."""
    parts = ["train"] * 6 + ["val"] * 3 + ["test"] * 4
    copies = [0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    stems = pd.DataFrame({"part": parts, "copy": copies})
    data = set_data.SetData(stems, ["a", "b", "c"], {}, {}, {})
    trained, files = {}, {}
    for number, task in enumerate(("counter", "single", "two_label"), 1):
        network = nn.Sequential(nn.Linear(1000, 10 * number), nn.BatchNorm1d(10))
        trained[task] = (network, {})
        files[task] = tmp_path / f"{task}.pt"
        files[task].write_bytes(bytes(1_500_000 * number))
    rows = named("a", ["a"], "labels").assign(pair="a", count=1, truth="a")
    tables = dict.fromkeys(("counter", "single", "two_label"), rows)
    tables["flow"] = pd.concat([rows] * 7)
    is_half = {"counter": False, "single": True, "two_label": False}
    text = card.text(trained, RECORDS, tables, files, is_half, data, has_attribution=True)
    lines = [line for line in text.splitlines() if ".pt` |" in line]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [[row[0], *row[2:]] for row in cells] == [
        ["`counter.pt`", "asc", "0.01", "full", "1.5"],
        ["`single.pt`", "isocc", "0.02", "half", "3.0"],
        ["`two_label.pt`", "isocc", "0.03", "full", "4.5"],
    ]
    numbers = " ".join(text.split())
    assert "ESC-10: 9 five-second recordings of 3 classes (a, b, c), at 8000 Hz. Set 4 " in numbers
    assert "4 clips to train, 2 to choose the epoch" in numbers and ", 3 to test, " in numbers
    assert "On the test clips of set 4, 7 with the mixtures" in numbers
    assert "They know 3 classes" in numbers and "SYNTHETIC" not in text
    assert "One network was trained" not in text
    shared = {**RECORDS, "single": {**RECORDS["single"], "label_head_of": "run1"}}
    text = card.text(trained, shared, tables, files, is_half, data, has_attribution=True)
    assert "One network was trained" in text
    for given, said in (("`ATTRIBUTION.md`", True), ("the data set's own licence file", False)):
        args = (trained, RECORDS, tables, files, is_half, data, said)
        assert f"who recorded what stands in {given}" in card.text(*args)
    # Every table of the card is there, under as many names as its rows have cells.
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    starts = [i - 1 for i, cells in enumerate(lines) if set(cells) == {"---"}]
    assert [lines[i] for i in starts] == [
        ["file", "what it does", "network", "million parameters", "precision", "MB"],
        ["figure", "%", "95 % interval"],
        ["class", "counted as one", "classified right", "else taken for"],
        ["pair", "counted as two", "exact pair"],
        ["network", "commit", "seed", "epochs", "epoch taken", "minutes", "trained on", "run"],
    ]
    assert all(len(lines[i]) == len(lines[i + 2]) for i in starts)
    synthetic = {**RECORDS, "flow": {**RECORDS["flow"], "synthetic": True}}
    assert "SYNTHETIC data" in card.text(
        trained, synthetic, tables, files, is_half, data, has_attribution=True
    )


def test_who_recorded_what_stands_in_the_order_of_the_clips(card):
    authors = {name: (f"{name}|1", f"http://{name}", f"by {name}", "CC0") for name in "abc"}
    lines = card.attribution(["c", "a"], authors).splitlines()[-2:]
    assert lines == [f"| {n} | [{n}\\|1](http://{n}) | by {n} | CC0 |" for n in "ca"]
