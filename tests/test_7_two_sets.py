"""Several sets in one run: in a file of its own, as it takes long, to run beside other files."""

import json
import shutil

import pandas as pd
import pytest
import second_hand
from check_runs import check_runs
from conftest import COUNTER, numbers, only_run, succeed

FLAGS = ("--oversample", 1, "--epochs", 1, "--threads", 1)
SUMMARY = "summary_isocc-isocc_4k_2"


@pytest.fixture(scope="module")
def both(demo, tmp_path_factory):
    """Sets 1 and 2 side by side: the root, and the folder of runs, weights and the summary."""
    results = tmp_path_factory.mktemp("both")
    root = shutil.copytree(demo, results / "dataset_demo")
    places = ("--dataset", root, "--results", results, "--models", results / "models")
    # One network counts and names: half as much is to be trained.
    models = ("--counter-model", "isocc", "--classifier-model", "isocc", "--shared")
    # In float32, as a training by itself is: `auto` follows the processor.
    several = ("--write", "none", "--sets", 1, 2, "--n-jobs", 2, "--in-bf16", "none")
    succeed("run_all.py", *places, *FLAGS, *models, *several)
    return root, results


def test_two_sets_side_by_side_give_the_numbers_of_one_after_the_other(both, tmp_path):
    root, results = both
    beside = {folder.parent.name[20:]: folder.parent for folder in results.glob("*/run.json")}
    assert len(beside) == 12
    places = ("--dataset", root, "--results", tmp_path, "--models", tmp_path)
    succeed(COUNTER, *places, *FLAGS, "--model", "isocc", "--set", 2)
    folder = only_run(tmp_path)
    assert numbers(folder) == numbers(beside[folder.name[20:]])


def test_every_figure_of_two_sets_and_of_their_summary(both):
    root, results = both
    assert set(check_runs(root, results, results / f"{SUMMARY}.json").values()) == {2}


def test_the_summary_of_two_sets_has_each(both):
    _, results = both
    written = json.loads((results / f"{SUMMARY}.json").read_text())
    assert all(len(figure["sets"]) == 2 for figure in written["figures"].values())
    answers = [answer["counted_as_two"] for answer in written["audit"].values()]
    assert all(len(answer["sets"]) == 2 for answer in answers)
    table = (results / f"{SUMMARY}.md").read_text()
    assert "| figure | % | 95 % interval | over sets | std | set 1 | set 2 |" in table
    rows = pd.read_csv(results / f"{SUMMARY}.csv", index_col="figure")
    for name, figure in written["figures"].items():
        assert rows.loc[name, ["set1", "set2"]].tolist() == pytest.approx(figure["sets"])
    counter = written["figures"]["counter.accuracy_balanced"]
    reach = second_hand.students_reach(counter)
    over = [counter["mean"] - reach, counter["mean"] + reach]
    cells = [f"{100 * over[0]:.1f} to {100 * over[1]:.1f}"]
    cells += [f"{100 * value:.1f}" for value in (counter["std"], *counter["sets"])]
    assert f"| {' | '.join(cells)} |" in table
