"""The same bytes and numbers again: with other workers, locales, orders of files, hash seeds."""

import os
import random
import shutil
import subprocess

import pytest
from conftest import PREPARATION, succeed
from faults import TRAININGS, Training, linked, prepare_again
from test_4_preparation import bytes_below

PARALLEL = ("0_downsampling.py", "0_pitch_oversample_4k.py", "0_2mix_norm_vol.py")


@pytest.mark.parametrize("nb_workers", [1, 3, pytest.param(16, marks=pytest.mark.faults)])
def test_any_number_of_workers(demo, tmp_path, here, nb_workers, demo_bytes):
    def flags_of(script):
        return ("--n-jobs", nb_workers) if script in PARALLEL else ()

    assert prepare_again(demo, tmp_path / "data", here, flags_of) == demo_bytes


def test_another_order_of_files(demo, tmp_path, here, monkeypatch, demo_bytes):
    """Whatever order the file system lists them in."""
    rng = random.Random(0)
    listdir, scandir = os.listdir, os.scandir

    class Shuffled(list):
        """What os.scandir gives, in another order."""

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        close = __exit__

    def shuffled(items):
        found = Shuffled(items)
        rng.shuffle(found)
        return found

    monkeypatch.setattr(os, "listdir", lambda *place: shuffled(listdir(*place)))
    monkeypatch.setattr(os, "scandir", lambda *place: shuffled(scandir(*place)))
    assert prepare_again(demo, tmp_path / "data", here) == demo_bytes


@pytest.fixture(scope="module")
def locales(tmp_path_factory):
    """Environments of several locales: C in ASCII, and where they can be made, Turkish ones."""
    found = {
        "C": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    }
    folder = tmp_path_factory.mktemp("locales")
    for coding in ("UTF-8", "ISO-8859-9"):
        name = f"tr_TR.{coding}"
        make = ["localedef", "-i", "tr_TR", "-f", coding, str(folder / name)]
        if shutil.which("localedef") and subprocess.run(make, capture_output=True).returncode == 0:
            found[name] = {"LC_ALL": name, "LOCPATH": str(folder), "PYTHONUTF8": "0"}
    return found


@pytest.mark.parametrize(
    "name",
    [
        "tr_TR.ISO-8859-9",
        pytest.param("tr_TR.UTF-8", marks=pytest.mark.faults),
        pytest.param("C", marks=pytest.mark.faults),
    ],
)
def test_another_locale_and_hash_seed(demo, tmp_path, name, locales, demo_bytes):
    """In processes of their own: both are settled when Python starts. i has no dot in Turkish."""
    if name not in locales:
        pytest.skip(f"the locale {name} can not be made here")
    environment = {**locales[name], "PYTHONHASHSEED": "12345"}
    root = linked(demo, tmp_path / "data", without=["esc10*", "*.json"])
    for script in PREPARATION:
        succeed(script, "--dataset", root, environment=environment)
    wanted = {path: value for path, value in demo_bytes.items() if "_p2" not in path}
    assert bytes_below(root) == wanted


@pytest.mark.faults
@pytest.mark.parametrize("task", TRAININGS)
def test_a_training_gives_the_same_numbers(demo, tmp_path, task):
    """Twice, with another hash seed and locale; the short form is in test_7_training.py."""
    found = []
    for seed in ("1", "2"):
        training = Training(demo, tmp_path / seed, task)
        environment = {"PYTHONHASHSEED": seed, "LC_ALL": "C" if seed == "2" else ""}
        succeed(training.script, *training.flags, environment=environment)
        found += training.finished()
    assert found[0] == found[1]
