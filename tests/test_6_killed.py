"""Scripts killed at any moment, and run again: as if they had never been."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import HERE, TINY_RUN, numbers
from faults import (
    RENAMES,
    STEPS,
    TRAININGS,
    Process,
    Step,
    Training,
    linked,
    moments,
    no_leftovers,
    seconds_of,
)
from test_4_preparation import bytes_below

from crs_lib import InputError
from pipeline.data import set_data

# ---------------------------------------------------------------------------------- preparation


FEW = ("0_rename_files.py", "0_downsampling.py", "0_2mix_csv.py")  # a folder's, sounds', a table's


@pytest.mark.parametrize(
    "script",
    [*FEW, *(pytest.param(step, marks=pytest.mark.faults) for step in STEPS if step not in FEW)],
)
def test_a_step_killed_between_its_renames(demo, tmp_path, script):
    """At the moments at which a wrong order would show: before each, and after the last."""
    for number in range(1, RENAMES[script] + 2):
        step = Step(demo, tmp_path / f"data{number}", script)
        process = Process(script, *step.flags, kill_before=("os.rename", number))
        status, text = process.finish()
        assert status == (-9 if number <= RENAMES[script] else 0), text
        step.check_after_kill()
        step.check_run_again()
        shutil.rmtree(step.root)


@pytest.mark.parametrize("script", STEPS)
@pytest.mark.parametrize("nb_moments", [1, pytest.param(20, marks=pytest.mark.faults)])
def test_a_step_killed_at_random_moments(demo, tmp_path, script, nb_moments):
    step = Step(demo, tmp_path / "whole", script)
    for number, moment in enumerate(moments(script, nb_moments, seconds_of(script, *step.flags))):
        step = Step(demo, tmp_path / f"data{number}", script)
        process = Process(script, *step.flags)
        process.process.join(moment)
        process.kill()
        step.check_after_kill()
        step.check_run_again()
        shutil.rmtree(step.root)


@pytest.mark.faults
@pytest.mark.parametrize("script", STEPS)
def test_a_step_killed_before_every_change(demo, tmp_path, script):
    """Before every folder it makes, everything it renames or removes."""
    number, status = 0, -9
    while status == -9:
        number += 1
        step = Step(demo, tmp_path / f"data{number}", script)
        status, text = Process(script, *step.flags, kill_before=("any", number)).finish()
        step.check_after_kill()
        step.check_run_again()
        shutil.rmtree(step.root)
    assert status == 0 and number > RENAMES[script], text


def test_a_reader_takes_nothing_that_was_cut_off(demo, tmp_path):
    """After every kill a training gets the earlier copies, the new ones, or a message."""
    script = "0_pitch_oversample_4k.py"
    seen = []
    for number in range(1, RENAMES[script] + 1):
        root = linked(demo, tmp_path / f"data{number}", without=["*_p5*"])
        process = Process(
            script, "--dataset", root, "--oversample", 2, "--max-shift", 1,
            kill_before=("os.rename", number),
        )  # fmt: skip
        process.finish()
        try:
            set_data.choose_files(str(root), "", 1, 4000, 2)
            seen.append("whole")
        except InputError as error:
            assert f"run  python {script} --dataset {root} --oversample 2  " in str(error)
            seen.append(str(error).split(" ", 1)[1].split(":")[0])
    cut_off = "was being replaced when that was cut off"
    assert seen == ["whole", cut_off, "is missing", cut_off]


# ------------------------------------------------------------------------------------- trainings


LONG = [(task, 20) for task in TRAININGS]  # the long form
SHORT = [("single", 1)]  # the counter's is in test_7_training.py


@pytest.mark.parametrize(
    ("task", "nb_moments"),
    [*SHORT, *(pytest.param(*each, marks=pytest.mark.faults) for each in LONG)],
)
def test_a_training_killed_at_random_moments(demo, tmp_path, task, nb_moments, unbroken):
    figures, seconds, _ = unbroken(task)
    for number, moment in enumerate(moments(task, nb_moments, seconds)):
        training = Training(demo, tmp_path / str(number), task)
        process = Process(training.script, *training.flags)
        process.process.join(moment)
        process.kill()
        training.check_after_kill(figures)
        training.check_run_again(figures)
        shutil.rmtree(tmp_path / str(number))


# What a training of two epochs renames: last.pt twice, the weights, two pictures, two tables, the
# record.
@pytest.mark.parametrize(
    "number", [2, 8, *(pytest.param(n, marks=pytest.mark.faults) for n in (1, 3, 4, 5, 6, 7))]
)
def test_a_training_killed_between_its_renames(demo, tmp_path, number, unbroken):
    figures, _, _ = unbroken("single")
    training = Training(demo, tmp_path, "single")
    process = Process(training.script, *training.flags, kill_before=("os.rename", number))
    assert process.finish()[0] == -9
    assert training.finished() == []
    training.check_run_again(figures)


# -------------------------------------------------------------------------------- the whole run


def start_all(place):
    """run_all.py in a process group of its own; what it and its scripts say, goes to err.txt."""
    folders = [f"--{name}={place / name}" for name in ("results", "models")]
    words = [HERE / "run_all.py", f"--dataset={place / 'data'}", *folders, *TINY_RUN, "--threads=1"]
    with open(place / "err.txt", "w") as err:
        return subprocess.Popen(
            [sys.executable, *map(str, words)],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=err,
        )


def what_came_out(place):
    """The figures of all its runs by name, and the prepared files."""
    folders = [path.parent for path in (place / "results").glob("*/run.json")]
    return {folder.name[20:]: numbers(folder) for folder in folders}, bytes_below(place / "data")


def place_of(demo, place):
    linked(demo / "ESC-50", place / "data" / "ESC-50")
    shutil.copy(demo / "SYNTHETIC", place / "data")
    return place


@pytest.mark.faults
@pytest.mark.parametrize("kill", [os.kill, os.killpg], ids=["alone", "with its script"])
def test_a_whole_run_killed_at_random_moments(demo, tmp_path, kill):
    """Killed alone, the script that it had started goes on: the next run says so and stops."""
    whole = place_of(demo, tmp_path / "whole")
    began = time.monotonic()
    assert start_all(whole).wait() == 0, (whole / "err.txt").read_text()
    seconds, expected = time.monotonic() - began, what_came_out(whole)
    assert len(expected[0]) == 6
    for number, moment in enumerate(moments(f"run_all {kill.__name__}", 4, seconds)):
        place = place_of(demo, tmp_path / str(number))
        process = start_all(place)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        if process.returncode is None:
            kill(process.pid, signal.SIGKILL)
            process.wait()
        while start_all(place).wait() != 0:
            assert "is being made by" in (place / "err.txt").read_text()
            time.sleep(1)
        assert what_came_out(place) == expected
        no_leftovers(place / "data", place / "models")
