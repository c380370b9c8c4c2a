"""A disk that fills in the middle of a write: one line says so, what was there stays whole, and
with room again the same comes out.
"""

import os
import subprocess

import pytest
from faults import STEPS, TRAININGS, Step, Training, fail, linked, small_disk, succeed
from test_4_preparation import bytes_below

# The largest file that may be written: smaller than what each step writes.
MAX_BYTES = {
    "0_make_esc10.py": 200_000,
    "0_rename_files.py": 200_000,
    "0_txt_div.py": 10,
    "0_downsampling.py": 20_000,
    "0_pitch_oversample_4k.py": 20_000,
    "0_2mix_norm_vol.py": 20_000,
    "0_2mix_csv.py": 20_000,
}
FULL = ": No space left on device: make room there and run it again"


@pytest.mark.parametrize("script", STEPS)
def test_a_step_that_cannot_write_a_whole_file(demo, tmp_path, script):
    """By a limit on the size of files, which any system has."""
    step = Step(demo, tmp_path / "data", script)
    before = bytes_below(step.root)
    message = fail(script, *step.flags, max_bytes=MAX_BYTES[script])
    assert message.startswith(f"{step.output}.part") and message.endswith(": File too large")
    assert bytes_below(step.root) == before  # the earlier output and its stamp among it
    step.check_run_again()


def test_a_synthetic_set_that_cannot_be_written(tmp_path):
    flags = ("--dataset", tmp_path / "data", "--synthetic", "--clips-per-class", 10)
    message = fail("0_get_esc50.py", *flags, "--nb-classes", 2, max_bytes=200_000)
    assert message == f"{tmp_path}/data/ESC-50.part: File too large"
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["SYNTHETIC"]


def test_mixtures_fill_a_disk(demo, tmp_path):
    """A disk of 6 MB, of which all mixtures of the small set would take 24."""
    without = ["*mix*", "ESC-50", "esc10", "esc10_rename", "*_p*"]
    with small_disk(tmp_path / "disk", 6) as disk:
        root = linked(demo, disk / "data", without)
        before = bytes_below(root)
        message = fail("0_2mix_norm_vol.py", "--dataset", root)
        assert message == f"{root}/esc10_2mix_vol_norm_4k.part{FULL}"
        assert bytes_below(root) == before
        succeed("0_2mix_norm_vol.py", "--dataset", root, "--write", "test")


@pytest.mark.faults
@pytest.mark.parametrize("script", STEPS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_a_step_on_a_full_disk(demo, tmp_path, script, share):
    """The disk has room for a share of what the step writes."""
    with small_disk(tmp_path / "large", 500) as disk:
        step = Step(demo, disk / "data", script)
        before = megabytes_used(disk)
        succeed(script, *step.flags)
        written = megabytes_used(disk) - before
    with small_disk(tmp_path / "disk", before + share * written) as disk:
        step = Step(demo, disk / "data", script)
        files = bytes_below(step.root)
        assert fail(script, *step.flags).endswith(FULL)
        assert bytes_below(step.root) == files
        make_room(disk)
        step.check_run_again()


def test_a_counter_fills_a_disk(demo, tmp_path, unbroken):
    """Room for a checkpoint, and not for the next one beside it."""
    figures, _, last = unbroken("counter")
    fill_by_training(lambda place: Training(demo, place, "counter"), 1.5, tmp_path, figures, last)


@pytest.mark.faults
@pytest.mark.parametrize("task", TRAININGS)
@pytest.mark.parametrize("share", [0.01, 0.5, 1.1, 1.95])
def test_a_training_fills_a_disk(demo, tmp_path, task, share, unbroken):
    """Room for no checkpoint, or not for a second one beside the first."""
    figures, _, last = unbroken(task)
    fill_by_training(lambda place: Training(demo, place, task), share, tmp_path, figures, last)


@pytest.mark.faults
@pytest.mark.parametrize("task", TRAININGS)
def test_the_end_of_a_training_fills_a_disk(demo, tmp_path, task):
    """Room for the checkpoint of its only epoch, and not for the weights."""

    def of_one_epoch(place):
        training = Training(demo, place, task)
        training.flags += ("--epochs", 1)
        return training

    whole = of_one_epoch(tmp_path / "whole")
    succeed(whole.script, *whole.flags)
    (figures,) = whole.finished()
    last = max(whole.results.glob("*/last.pt"))
    fill_by_training(of_one_epoch, 1.05, tmp_path, figures, last)


def fill_by_training(make, share, tmp_path, figures, last):
    """Train on a disk that has room for that many of the training's checkpoints, then on a larger
    one. make: place -> Training. figures: of an unbroken one. last: its checkpoint.
    """
    with small_disk(tmp_path / "disk", share * last.stat().st_size / 2**20) as disk:
        training = make(disk)
        assert fail(training.script, *training.flags).endswith(FULL)
        training.check_after_kill(figures)
        make_room(disk)
        training.check_run_again(figures)


def megabytes_used(disk):
    """What lies on a disk: another counts folders and the ends of files otherwise."""
    state = os.statvfs(disk)
    return (state.f_blocks - state.f_bfree) * state.f_frsize / 2**20


def make_room(disk):
    """Make a small disk larger."""
    subprocess.run(["mount", "-o", "remount,size=500m", disk], check=True)
