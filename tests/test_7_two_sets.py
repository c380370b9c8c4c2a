"""Several sets in one run: in a file of its own, as it takes long, to run beside other files."""

import json
import shutil

import pandas as pd
import pytest
from conftest import COUNTER, numbers, only_run, succeed


def test_two_sets_side_by_side_give_the_numbers_of_one_after_the_other(demo, tmp_path):
    root = shutil.copytree(demo, tmp_path / "dataset_demo")
    places = ("--dataset", root, "--results", tmp_path, "--models", tmp_path / "models")
    flags = ("--oversample", 1, "--epochs", 1, "--threads", 1)
    # One network counts and names: half as much is to be trained.
    models = ("--counter-model", "isocc", "--classifier-model", "isocc", "--shared")
    several = ("--write", "none", "--sets", 1, 2, "--n-jobs", 2)
    succeed("run_all.py", *places, *flags, *models, *several)
    beside = {folder.parent.name[20:]: folder.parent for folder in tmp_path.glob("*/run.json")}
    assert len(beside) == 12
    alone = tmp_path / "alone"
    places = ("--dataset", root, "--results", alone, "--models", alone)
    succeed(COUNTER, *places, *flags, "--model", "isocc", "--set", 2)
    folder = only_run(alone)
    assert numbers(folder) == numbers(beside[folder.name[20:]])
    written = json.loads((tmp_path / "summary_isocc-isocc_4k_2.json").read_text())
    assert all(len(figure["sets"]) == 2 for figure in written["figures"].values())
    answers = [answer["counted_as_two"] for answer in written["audit"].values()]
    assert all(len(answer["sets"]) == 2 for answer in answers)
    table = (tmp_path / "summary_isocc-isocc_4k_2.md").read_text()
    assert "| figure | % | 95 % interval | over sets | std | set 1 | set 2 |" in table
    rows = pd.read_csv(tmp_path / "summary_isocc-isocc_4k_2.csv", index_col="figure")
    for name, figure in written["figures"].items():
        assert rows.loc[name, ["set1", "set2"]].tolist() == pytest.approx(figure["sets"])
    counter = written["figures"]["counter.accuracy_balanced"]
    cells = [f"{100 * value:.1f}" for value in (counter["std"], *counter["sets"])]
    assert f"| {' | '.join(cells)} |" in table
