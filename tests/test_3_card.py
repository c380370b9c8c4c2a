"""The card of shipped weights: which figures it shows, of what."""

import json

import pandas as pd
import pytest
from conftest import load_script
from torch import nn

import crs_lib
from pipeline.evaluation import markdown


@pytest.fixture
def card():
    return load_script("tools/card.py")


SHARES = pd.DataFrame(
    [
        ("a", 20, 0.9, 0.95, 0.85),
        ("a+b", 80, 0.5, 0.25, 0.2),
        ("a+c", 80, 0.9, 0.8, 0.7),
        ("b", 20, 1.0, 1.0, 1.0),
        ("b+c", 80, 0.6, 0.5, 0.4),
        ("b+d", 80, 0.6, 0.5, 0.2),
        ("c+d", 80, 1.0, 0.875, 0.8),
        ("c+e", 80, 1.0, 0.9, 0.3),
        ("d+e", 80, 1.0, 0.9, 0.5),
    ],
    columns=["truth", "clips", "counted_right", "oracle_exact_match", "exact_match"],
)


def test_classes_and_the_five_worst_pairs_and_the_best_are_shown(card):
    """Of equally good pairs the first."""
    assert card.class_rows(SHARES) == [
        ("a", 20, "90.0", "95.0", "85.0"),
        ("b", 20, "100.0", "100.0", "100.0"),
    ]
    rows = card.pair_rows(SHARES)
    names = ["a + b", "b + d", "c + e", "b + c", "d + e", "c + d"]
    assert [row[0] for row in rows] == names
    assert rows[0] == ("a + b", 80, "50.0", "25.0", "20.0")
    few = card.pair_rows(SHARES[SHARES["truth"].isin(["a", "a+b", "c+d"])])
    assert [row[0] for row in few] == ["a + b", "c + d"]


def counter(epoch, *thresholds):
    history = [{"epoch": i, "val_threshold": value} for i, value in enumerate(thresholds)]
    return {"script": crs_lib.COUNTER, "best_epoch": epoch, "history": history}


def test_the_threshold_is_the_median_of_those_of_the_best_epochs(card):
    counters = [counter(1, 0.9, 0.4), counter(0, 0.6149, 0.1), counter(2, 0.1, 0.1, 0.97)]
    assert card.median_threshold(counters) == 0.61
    assert card.median_threshold(counters[:2]) == 0.51  # 0.50745


def figure(mean):
    return {"mean": mean, "low": mean - 0.05, "high": mean + 0.02}


RECORD = {
    "script": crs_lib.COUNTER,
    "model": "asc",
    "sample_rate": 8000,
    "synthetic": False,
    "commit": "0123456789-dirty",
    "seed": 3,
    "history": [0] * 30,
    "seconds": 1234,
    "constants": {"THRESHOLD": 0.61},
    "machine": {"device": "cpu", "threads": 2},
}


@pytest.fixture
def found(card, tmp_path):
    """A cross-validation, read from files: each figure another."""
    names = [name for name, _ in card.FIGURES]
    figures = {name: figure(0.5 + i / 100) for i, name in enumerate(names)}
    summary = {"figures": figures, "sets": [1, 2], "runs": ["one", "two"]}
    path = tmp_path / "summary_asc-asc_8k_2.json"
    path.write_text(json.dumps(summary))
    SHARES.to_csv(tmp_path / "summary_asc-asc_8k_2_pairs.csv", index=False)
    records = {"one": counter(0, 0.3), "two": {"script": crs_lib.SINGLE}}
    for name, record in records.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps({"format": 2, **record}))
    return card.cross_validation(path)


def test_a_cross_validation_is_read_with_its_counters_alone(found):
    assert [record["script"] for record in found["counters"]] == [crs_lib.COUNTER]
    pd.testing.assert_frame_equal(found["shares"], SHARES)


@pytest.fixture
def text_of(card, found, tmp_path):
    """The card of a record, and of what else is given instead."""
    network = nn.Sequential(nn.Linear(1000, 10), nn.BatchNorm1d(10))
    path = tmp_path / "counter.pt"
    path.write_bytes(bytes(1_500_000))

    def text(record=RECORD, found=found, is_half=True, has_attribution=True):
        classes = ["a", "b", "c"]
        return card.text(network, record, found, path, is_half, classes, 9, has_attribution)

    return text


def test_the_cards_figures_are_those_of_the_summary(card, text_of):
    text = text_of()
    for i, (_, words) in enumerate(card.FIGURES):
        assert f"| {words} | {50 + i}.0 | {45 + i}.0 to {52 + i}.0 |" in text
    flat = " ".join(text.split())
    assert "all of its 9 five-second recordings of 3 classes (a, b, c), at 8000 Hz" in flat
    assert "on the test clips of sets 1, 2, each by a network" in flat
    assert "thresholds, 0.61) was fixed" in flat and "It knows 3 classes" in flat
    assert "| `counter.pt` | asc | 0.01 | half | 1.5 |" in text
    assert "| 0123456-dirty | 3 | 30 | 21 | 2 CPU threads |" in text
    assert "SYNTHETIC" not in text and "other recorders" not in text
    # Every table is there, under as many names as its rows have cells.
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    starts = [i - 1 for i, cells in enumerate(lines) if set(cells) == {"---"}]
    assert [lines[i] for i in starts] == [
        ["file", "network", "million parameters", "precision", "MB"],
        ["figure", "%", "95 % interval"],
        ["class", "clips", "counted as one", "label right", "both"],
        ["pair", "clips", "counted as two", "exact pair", "both"],
        ["commit", "seed", "epochs", "minutes", "trained on"],
    ]
    assert all(len(lines[i]) == len(lines[i + 2]) for i in starts)


def test_the_card_says_what_differs(text_of, found):
    assert "SYNTHETIC data" in text_of({**RECORD, "synthetic": True})
    assert "| asc | 0.01 | full | 1.5 |" in text_of(is_half=False)
    assert "stands in `ATTRIBUTION.md`" in text_of()
    assert "stands in the data set's own licence file" in text_of(has_attribution=False)
    on_gpu = {**RECORD, "machine": {"device": "cuda:0", "threads": 8}}
    assert "| 21 | a GPU |" in text_of(on_gpu)
    names = ("accuracy_balanced", "accuracy", "exact_pair", "exact_match_balanced")
    shifts = {f"{shift}.{name}": figure(0.25) for shift in ("none", "lost") for name in names}
    measured = {**found, "summary": {**found["summary"], "shifts": shifts}}
    head, *rows = markdown.shift_rows(shifts)
    assert markdown.markdown_table(head, rows) in text_of(found=measured)


def test_who_recorded_what_stands_in_the_order_of_the_clips(card):
    authors = {name: (f"{name}|1", f"http://{name}", f"by {name}", "CC0") for name in "abc"}
    lines = card.attribution(["c", "a"], authors).splitlines()[-2:]
    assert lines == [f"| {n} | [{n}\\|1](http://{n}) | by {n} | CC0 |" for n in "ca"]
