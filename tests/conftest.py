"""Whole scripts are run as a user runs them: by subprocess, on a small synthetic set."""

import contextlib
import importlib.util
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from hypothesis import settings

HERE = Path(__file__).resolve().parent.parent
# One thread a test: what they train is too small for more, and several tests run side by side.
os.environ["OMP_NUM_THREADS"] = "1"

PREPARATION = (
    "0_make_esc10.py",
    "0_rename_files.py",
    "0_txt_div.py",
    "0_downsampling.py",
    "0_pitch_oversample_4k.py",
    "0_2mix_norm_vol.py",
    "0_2mix_csv.py",
)
CLASSES = ("chainsaw", "clock_tick", "crackling_fire", "crying_baby")
COUNTER = "audio_source_counter.py"
SINGLE = "sep_opt_isocc_single_volnorm_STFT.py"
TWO_LABEL = "sep_opt_isocc_multi_random_volnorm_STFT.py"
TINY_RUN = ("--no-both-kinds", "--oversample", 2, "--epochs", 1, "--write", "test")
# How many examples the property tests take (`make faults` the long form), each time the same.
settings.register_profile("short", max_examples=80, deadline=None, derandomize=True, database=None)
settings.register_profile("long", settings.get_profile("short"), max_examples=3000)
settings.load_profile("short")
TINY = ("--oversample", 1, "--epochs", 2, "--batch", 16, "--seed", 5, "--threads", 1)


@pytest.fixture(scope="session", autouse=True)
def apart(tmp_path_factory):
    """Keep what lies in the clone, and the environment's ESC50_DIR (which it returns), from tests.

    A user's dataset/, models/ and results/ lie where the scripts look for them by default.
    """
    given = os.environ.pop("ESC50_DIR", "")
    with contextlib.chdir(tmp_path_factory.mktemp("apart")):
        yield given


@pytest.fixture(autouse=True)
def nowhere(apart, tmp_path_factory, monkeypatch):
    """Each test starts in an empty folder, and writes to others."""
    folder = tmp_path_factory.mktemp("nowhere")
    monkeypatch.chdir(folder)
    yield
    assert not list(folder.iterdir()), "written to the working directory"


def start(script, *flags, cwd=None, environment=None, **options):
    """Run a script; cwd: None is the test's own empty folder."""
    command = [sys.executable, str(HERE / script), *map(str, flags)]
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **options,
    )


def succeed(script, *flags, **options):
    done = start(script, *flags, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fail(script, *flags, status=1, **options):
    """The message of a script that must fail: the last line of standard error, no traceback."""
    done = start(script, *flags, **options)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stderr.rstrip("\n").split("\n")[-1]


@pytest.fixture
def here(capsys, monkeypatch):
    """Run a script inside of this process, which has the slow imports behind it.

    Returns its standard output where `status` is 0, else the last line of standard error.
    """

    def run(script, *flags, status=1, cwd=".", environment=None):
        monkeypatch.setattr(sys, "argv", [script, *map(str, flags)])
        for name, value in (environment or {}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(cwd)
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(HERE / script), run_name="__main__")
        out, err = capsys.readouterr()
        assert (end.value.code or 0) == status, err
        return err.rstrip("\n").split("\n")[-1] if status else out

    return run


def load_script(name):
    """A script as a module: its name need not be one that `import` could take."""
    spec = importlib.util.spec_from_file_location(name.replace(".py", "_script"), HERE / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def untrained_networks(folder):
    """Weights of a counter and both classifiers of ten classes, as random as they were born."""
    load_script("benchmarks/label.py").random_weights(str(folder), list("abcdefghij"))


def edit_weights(path, target, change):
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, target)


def prepare(root):
    for script in PREPARATION:
        succeed(script, "--dataset", root)


def shared_folder(tmp_path_factory):
    """A folder that the processes that run tests have in common."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """The root of a small synthetic set, prepared: 4 classes x 10 clips. Not to be changed.

    Of the processes that run tests the first one makes it, each takes a copy.
    """
    made = shared_folder(tmp_path_factory) / "demo_made"
    root = tmp_path_factory.mktemp("demo") / "data"
    with FileLock(f"{made}.lock"):
        if not made.exists():
            flags = ("--synthetic", "--clips-per-class", 10, "--nb-classes", len(CLASSES))
            succeed("0_get_esc50.py", "--dataset", root, *flags)
            prepare(root)
            succeed("0_pitch_oversample_4k.py", "--dataset", root, "--oversample", 2)
            root.rename(made)
    return shutil.copytree(made, root)


@pytest.fixture(scope="session")
def home(demo, tmp_path_factory):
    """A folder where run_all.py ran: no ESC-50, no network, so on the stand-in.

    A small one lay there, prepared, so that nothing has to be made. Made once, as `demo` is.
    """
    made, home = shared_folder(tmp_path_factory) / "home_made", tmp_path_factory.mktemp("home")
    with FileLock(f"{made}.lock"):
        if not made.exists():
            shutil.copytree(demo, home / "dataset_demo")
            nowhere = "http://127.0.0.1:9"
            blocked = {"http_proxy": nowhere, "https_proxy": nowhere}
            blocked |= {"no_proxy": "", "NO_PROXY": ""}
            done = start("run_all.py", *TINY_RUN, cwd=home, environment=blocked)
            assert done.returncode == 0, done.stderr
            (home / "out.txt").write_text(done.stdout)
            (home / "err.txt").write_text(done.stderr)
            home.rename(made)
    shutil.copytree(made, home, dirs_exist_ok=True)
    for name in ("results", "models", "data"):
        (home / name).symlink_to(home / "dataset_demo" / ("" if name == "data" else name))
    return home


@pytest.fixture(scope="session")
def demo_bytes(demo):
    """Path -> hash of every file of `demo`."""
    from test_4_preparation import bytes_below

    return bytes_below(demo)


@pytest.fixture(scope="session")
def unbroken(demo, tmp_path_factory):
    """Task (see faults.TRAININGS) -> what an unbroken training gives, its seconds, its last.pt."""
    from faults import Training, seconds_of

    known = {}

    def of(task):
        if task not in known:
            training = Training(demo, tmp_path_factory.mktemp(task), task)
            seconds = seconds_of(training.script, *training.flags)
            (figures,) = training.finished()
            known[task] = figures, seconds, max(training.results.glob("*/last.pt"))
        return known[task]

    return of


@pytest.fixture(scope="session")
def real_esc50(apart):
    """A real ESC-50 folder, which the environment's ESC50_DIR names; else the test is skipped."""
    if not apart or not Path(apart, "meta", "esc50.csv").is_file():
        pytest.skip("the real recordings are not here: ESC50_DIR names no ESC-50 folder")
    return Path(apart)


def numbers(folder):
    """What must repeat itself of a run: history (without seconds), test figures, its tables."""
    record = json.loads((folder / "run.json").read_text())
    history = record.get("history", [])
    for row in history:
        del row["seconds"]
    tables = [folder / "predictions.csv", folder / "validation.csv"]  # an audit has none
    return history, record["test"], [path.read_text() for path in tables if path.exists()]


def only_run(results):
    (folder,) = (path for path in results.iterdir() if (path / "run.json").exists())
    return folder
