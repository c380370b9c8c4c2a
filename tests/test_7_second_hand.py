"""A whole run's records and summary, and the published ones, each figure recomputed."""

import ast
from pathlib import Path

import check_runs
import pytest
import second_hand
from conftest import HERE


def test_the_second_hand_knows_nothing_of_the_project():
    known = {path.stem for path in HERE.glob("*.py")} | {"conftest", "pipeline"}
    for module in (second_hand, check_runs):
        for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert known.isdisjoint(name.split(".")[0] for name in names)


def test_every_figure_of_a_whole_run(home):
    path = home / "results" / "summary_4k_1.json"
    assert set(check_runs.check_runs(home / "data", home / "results", path).values()) == {1}


PUBLISHED = sorted((HERE / "results_published").glob("*/summary_*_*.json"))


@pytest.mark.parametrize("path", PUBLISHED, ids=[path.stem for path in PUBLISHED])
def test_every_published_figure(path):
    check_runs.check_summary(path.parent, path)
