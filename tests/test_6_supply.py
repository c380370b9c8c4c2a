"""What the project is made with: pinned, and looked up for known findings."""

import json
import re
from types import SimpleNamespace

import pytest
from conftest import HERE, load_script

SUPPLY = load_script(".ci/supply.py")


REQUIREMENTS = ["requirements.txt", *sorted(f"requirements/{path.name}" for path in
                                             (HERE / "requirements").glob("*.txt"))]  # fmt: skip


def test_every_list_of_requirements_is_known():
    assert len(REQUIREMENTS) == 5


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_every_requirement_is_pinned_exactly(name):
    lines = (HERE / name).read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert pins and all(re.fullmatch(r"[\w-]+==[\d.]+", line) for line in pins)


def package(name, *findings, **more):
    return {"name": name, "version": "1.0", "vulns": list(findings), **more}


FINDING = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["1.1"]}


@pytest.mark.parametrize(
    ("dependencies", "explained", "said", "is_good"),
    [
        ([package("a"), package("b")], {}, "2 of 2 packages looked up; ", True),
        ([package("a", FINDING)], {}, "a 1.0: PYSEC-2026-1 CVE-2026-1, mended in 1.1", False),
        ([package("a", FINDING)], {"CVE-2026-1": "no server"}, "does not apply: no server", True),
        ([package("a", FINDING)], {"CVE-2026-2": "no server"}, "not explained: 1", False),
        ([{"name": "a", "skip_reason": "?"}], {}, "could not be looked up: a", True),
        ([{"name": "a", "skip_reason": "?"}], {}, "0 of 1 packages looked up", True),
    ],
)
def test_findings_are_shown(dependencies, explained, said, is_good):
    lines, found_good = SUPPLY.describe(dependencies, explained)
    assert said in "\n".join(lines) and found_good is is_good


def test_what_does_not_apply_is_explained():
    explained = SUPPLY.explained_in("# a comment\n\nPYSEC-2026-1 only its server has it\n")
    assert explained == {"PYSEC-2026-1": "only its server has it"}
    assert SUPPLY.explained_in(SUPPLY.EXPLAINED.read_text()) == {}


def test_a_service_that_cannot_be_reached_is_no_all_clear(monkeypatch, capsys):
    answer = SimpleNamespace(stdout="", stderr="Traceback\nConnectionError: no", returncode=1)
    monkeypatch.setattr(SUPPLY.subprocess, "run", lambda *_, **__: answer)
    assert SUPPLY.main("packages") == 0
    assert capsys.readouterr().out == (
        "known findings could not be looked up: ConnectionError: no\n"
    )


def test_what_is_pinned_and_not_installed_is_looked_up_too(monkeypatch, capsys):
    asked = []

    def run(command, **_):
        asked.append(command[-1])
        found = [FINDING] if command[-1] == "requirements/app.txt" else []
        text = json.dumps({"dependencies": [package(command[-1], *found)]})
        return SimpleNamespace(stdout=text)

    monkeypatch.setattr(SUPPLY.subprocess, "run", run)
    pinned = sorted(f"requirements/{path.name}" for path in (HERE / "requirements").glob("*.txt"))
    in_makefile = re.search(r"supply.py(.*\\\n.*)\n", (HERE / "Makefile").read_text())[1]
    assert set(re.findall(r"requirements\S+", in_makefile)) == {
        name for name in pinned if name != "requirements/supply.txt"
    }
    assert SUPPLY.main("packages", *pinned) == 1
    assert asked == ["packages", *pinned]
    said = f"{len(asked)} of {len(asked)} packages looked up; findings that are not explained: 1"
    assert said in capsys.readouterr().out
