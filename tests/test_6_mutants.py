"""What `make mutate` changes, which tests are to notice, and what its page says of it."""

import ast
import re
import tomllib

import pytest
from conftest import HERE

TOOLS = HERE / "tools"
CONFIG = tomllib.loads((TOOLS / "mutants.toml").read_text(encoding="utf-8"))
MODULES = {module["file"]: module for module in CONFIG["module"]}
STRICT = {  # metrics, division and mixing
    "0_2mix_csv.py",
    "0_2mix_norm_vol.py",
    "0_rename_files.py",
    "0_txt_div.py",
    "pipeline/data/audio.py",
    "pipeline/data/esc10_data.py",
    "pipeline/evaluation/metrics.py",
    "pipeline/evaluation/strategies.py",
    "pipeline/data/set_data.py",
}


@pytest.fixture(scope="module")
def mutants():
    pytest.importorskip("cosmic_ray", reason="requirements/mutate.txt is not installed")
    import mutants

    return mutants


def one_line(text):
    """Code without blanks, to be found again however it is laid out."""
    return re.sub(r"\s+", "", text)


def test_every_module_and_test_is_there_and_no_goal_is_low():
    assert MODULES.keys() >= STRICT
    for file, module in MODULES.items():
        assert (HERE / file).is_file()
        assert module["goal"] == (95 if file in STRICT else 85)
        for name in module["tests"]:
            path, _, test = name.partition("::")
            tree = ast.parse((HERE / path).read_text(encoding="utf-8"))
            known = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert not test or test.split("[")[0] in known


def test_every_equivalent_mutant_is_of_a_line_that_is_there_and_has_a_reason():
    for mutant in CONFIG.get("equivalent", []):
        source = (HERE / mutant["file"]).read_text(encoding="utf-8")
        assert one_line(source).count(one_line(mutant["before"])) == 1, mutant
        assert mutant["after"] != mutant["before"] and mutant["file"] in MODULES
        assert 10 < len(mutant["reason"]) < 150 and "\n" not in mutant["reason"]


def test_the_page_shows_every_module_at_its_goal():
    page = (HERE / "docs" / "mutation.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| ([\w/]+\.py) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| ([\d.]+) %", page, re.M
    )
    assert [row[0] for row in rows] == list(MODULES)
    survived = re.findall(
        r"^\| ([\w/]+\.py) \| `", page.split("## Survived")[1].split("## ")[0], re.M
    )
    for file, *counts in rows:
        nb_mutants, killed, equivalent, left = map(int, counts[:4])
        assert nb_mutants == killed + equivalent + left <= 80
        assert left == survived.count(file)
        share = 100 * killed / (nb_mutants - equivalent)
        assert share >= MODULES[file]["goal"] and counts[4] == f"{share:.1f}", file


SOURCE = '''
"""One is not two."""

NB = 3  # of them


def first(values: list[int] | None, val: int = 2) -> int | None:
    if not values:
        raise ValueError("at least 1 + 1 of them")
    test = values[0] + val
    return test if test > NB else val


if __name__ == "__main__":
    first([1 + 1])
'''


def test_mutants_change_one_place_that_counts(mutants):
    drawn = mutants.draw(SOURCE, 1000, seed=1)
    assert len({mutant.source for mutant in drawn}) == len(drawn) > 20
    lines = SOURCE.split("\n")
    for mutant in drawn:
        ast.parse(mutant.source)
        changed = [
            number
            for number, (line, other) in enumerate(
                zip(lines, mutant.source.split("\n"), strict=True), 1
            )
            if line != other
        ]
        assert changed == [mutant.line] and mutant.before != mutant.after
    said = {(mutant.before, mutant.after) for mutant in drawn}
    assert ("test = values[0] + val", "test = values[1] + val") in said
    assert ("test = values[0] + val", "test = values[0] - val") in said
    assert ("test = values[0] + val", "test = values[0] + test") in said  # val in test's place
    assert ("return test if test > NB else val", "return test if test >= NB else val") in said
    assert ("return test if test > NB else val", "return val if test > NB else val") in said
    # Neither annotations nor what an error says, nor what runs the script.
    touched = {lines[mutant.line - 1].split()[0] for mutant in drawn}
    assert touched == {"NB", "def", "if", "test", "return"}
    assert not any("__main__" in mutant.before or "1 + 1" in mutant.before for mutant in drawn)


def test_few_mutants_are_spread_and_stay_when_another_line_changes(mutants):
    few = mutants.draw(SOURCE, 8, seed=1)
    assert few == mutants.draw(SOURCE, 8, seed=1) != mutants.draw(SOURCE, 8, seed=2)
    assert len(few) == 8 and len({mutant.line for mutant in few}) >= 3
    longer = SOURCE.replace("NB = 3  # of them", "NB = 3  # of them\nMORE = 5")
    kept = {(mutant.before, mutant.after) for mutant in mutants.draw(longer, 1000, seed=1)}
    assert {(mutant.before, mutant.after) for mutant in few} <= kept
