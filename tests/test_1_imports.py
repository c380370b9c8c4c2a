"""Imports go one way: each folder of pipeline/ knows those below it, and nothing knows a script."""

import ast
import re

import pytest
from conftest import HERE

STUDY = {"asc_model", "CNN_ISOCC_copy", "UNet_utils"}  # its networks and its STFT
OWN = {"crs_lib", "tmr", *STUDY}
# Folder of pipeline/ -> the folders it may import; all may import crs_lib and tmr but settings.
BELOW = {
    "settings": set(),
    "files": {"settings"},
    "data": {"files", "settings"},
    "evaluation": {"files", "settings"},
    "networks": {"data", "evaluation", "files", "settings"},
    "training": {"networks", "data", "evaluation", "files", "settings"},
    "inference": {"networks", "data", "evaluation", "files", "settings"},
}
MAY_IMPORT_THE_STUDY = {"networks", "evaluation"}
MODULES = sorted((HERE / "pipeline").rglob("*.py"))
ROOT = sorted(HERE.glob("*.py"))


def imported(path):
    """Every module that a file imports, anywhere in it: `pipeline.files.locks`, `crs_lib`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            inside = (HERE / node.module.replace(".", "/")).is_dir()
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= set(names) if inside else {node.module}
    return found


def name_of(path):
    return ".".join(path.relative_to(HERE).with_suffix("").parts).removesuffix(".__init__")


def test_every_folder_of_the_pipeline_is_known():
    folders = {path.name for path in (HERE / "pipeline").iterdir() if path.name != "__pycache__"}
    assert folders == {*BELOW, "__init__.py"}


@pytest.mark.parametrize("path", MODULES, ids=map(name_of, MODULES))
def test_a_module_imports_only_what_lies_below_it(path):
    folder = path.relative_to(HERE).parts[1].removesuffix(".py")
    scripts = {path.stem for path in ROOT} - OWN
    for name in imported(path):
        first, *rest = name.split(".")
        assert first not in scripts, f"imports the script {name}"
        if first == "pipeline":
            assert rest[0] in BELOW[folder] | {folder}
        if folder == "settings":
            assert first not in OWN
        if first in STUDY:
            assert folder in MAY_IMPORT_THE_STUDY


@pytest.mark.parametrize("path", ROOT, ids=map(name_of, ROOT))
def test_no_script_is_imported_and_the_study_knows_nothing_of_the_pipeline(path):
    names = imported(path)
    roots = {name.split(".")[0] for name in names}
    scripts = {path.stem for path in ROOT} - OWN
    assert not roots & scripts
    if path.stem in OWN:
        assert "pipeline" not in roots
    if path.stem in STUDY:
        assert not roots & OWN


def test_there_is_no_cycle():
    known = {name_of(path): {*imported(path)} for path in MODULES}
    left = {name: found & known.keys() for name, found in known.items()}
    while left:
        free = {name for name, found in left.items() if not found & left.keys()}
        assert free, f"a cycle among {sorted(left)}"
        left = {name: found for name, found in left.items() if name not in free}


def test_what_the_settings_import_is_the_standard_library():
    import sys

    for path in (HERE / "pipeline" / "settings").glob("*.py"):
        outside = {name.split(".")[0] for name in imported(path)} - {"pipeline"}
        assert outside <= sys.stdlib_module_names
    for path in (HERE / "crs_lib.py", HERE / "tmr.py"):
        assert {name.split(".")[0] for name in imported(path)} <= sys.stdlib_module_names


def test_modules_and_folders_are_small():
    lines = {name_of(path): len(path.read_text().splitlines()) for path in (*MODULES, *ROOT)}
    assert {name: number for name, number in lines.items() if number > 310} == {}
    assert lines["overall_flow"] < 200
    for folder in BELOW:
        modules = [path for path in MODULES if path.parent.name == folder]
        assert len(modules) <= 1 + 7  # __init__.py, and about six


def test_the_root_shows_the_study_and_nothing_else():
    """What is committed there: 24 scripts and modules, 40 entries at most."""
    import subprocess

    listed = subprocess.run(
        ["git", "-C", HERE, "ls-files"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    if not listed:
        pytest.skip("this is no clone")
    entries = {name.split("/")[0] for name in listed if (HERE / name).exists()}
    assert len([name for name in entries if name.endswith(".py")]) <= 24
    assert len([name for name in entries if name[0] != "."]) <= 40  # as `ls` shows them
    known = re.findall(r"`([\w.*]+)/?`", (HERE / "CONTRIBUTING.md").read_text())
    assert entries - set(known) == set()
