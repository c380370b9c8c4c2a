"""Scripts in processes of their own that can be killed, stopped, limited; what is left of them.

The processes are forked from one that has the slow imports behind it, so that hundreds can be
started. They run the script itself, as `python script --flag value` does.
"""

import multiprocessing
import os
import random
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from conftest import COUNTER, HERE, PREPARATION, SINGLE, TINY, TWO_LABEL, numbers
from test_4_preparation import bytes_below

import crs_lib
from pipeline.files import provenance
from pipeline.networks import weights_file

CONTEXT = multiprocessing.get_context("forkserver")
SLOW_IMPORTS = (
    "librosa.core.audio",
    "librosa.effects",
    "pipeline.data.synthetic_set",
    "pipeline.evaluation.plots",
    "pipeline.training.loop",
    "pooch",
    "scipy.signal",
    "torch._dynamo",
)
CONTEXT.set_forkserver_preload(list(SLOW_IMPORTS))
# Of the audit events that Python raises, those before a change of which files there are.
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir")
SECONDS = 300  # after which a script counts as one that hangs


class Process:
    """A script that runs."""

    def __init__(self, script, *flags, cwd=".", max_bytes=None, kill_before=None):
        """Start it; flags as for `conftest.start`.

        max_bytes: no file may become larger. kill_before: (event, number): it ends by SIGKILL
        before that many such changes (see CHANGES; `any` is any of them).
        """
        self.output, end = CONTEXT.Pipe(duplex=False)
        words = [str(HERE / script), *map(str, flags)]
        arguments = (words, os.path.abspath(cwd), end, max_bytes, kill_before)
        self.process = CONTEXT.Process(target=run_script, args=arguments, daemon=True)
        self.process.start()
        end.close()

    def finish(self):
        """Wait for its end: (status, what it printed). A status below 0 is a signal's number."""
        text, until = b"", time.monotonic() + SECONDS
        # Read first: who waits for a full pipe to be emptied does not end.
        while self.output.poll(max(0, until - time.monotonic())):
            if not (part := os.read(self.output.fileno(), 65536)):
                break
            text += part
        self.process.join(max(0, until - time.monotonic()))
        if self.process.is_alive():
            self.process.kill()
            pytest.fail(f"it hangs: {text.decode()[-2000:]}")
        return self.process.exitcode, text.decode()

    def kill(self):
        """End it by SIGKILL if it still runs; returns whether it did."""
        self.process.kill()
        return self.finish()[0] == -signal.SIGKILL

    def send(self, number):
        """Send it a signal, such as SIGSTOP."""
        os.kill(self.process.pid, number)


def run_script(words, cwd, output, max_bytes, kill_before):
    """What the forked process does."""
    for standard in (1, 2):
        os.dup2(output.fileno(), standard)
    output.close()
    sys.stdout, sys.stderr = open(1, "w"), open(2, "w", errors="backslashreplace")  # noqa: SIM115
    os.chdir(cwd)
    if max_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))
    if kill_before:
        kill_at_change(*kill_before)
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")


def kill_at_change(event, number):
    """Have this process killed just before that many changes of the file system."""
    left = number

    def hook(name, _):
        nonlocal left
        if name == event or (event == "any" and name in CHANGES):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def succeed(script, *flags, **options):
    """Run a script to its good end; returns what it printed."""
    status, text = Process(script, *flags, **options).finish()
    assert status == 0, text
    return text


def fail(script, *flags, **options):
    """Run a script that must say in its last line what is wrong; returns that line."""
    status, text = Process(script, *flags, **options).finish()
    assert status == 1 and "Traceback" not in text, (status, text)
    return text.rstrip("\n").split("\n")[-1]


def seconds_of(script, *flags, **options):
    """How long a script runs."""
    start = time.monotonic()
    succeed(script, *flags, **options)
    return time.monotonic() - start


def linked(source, target, without=()):
    """A root that holds another's files but for some: the same ones, by hard links, where the disk
    is the same.
    """

    def link(old, new):
        if os.stat(old).st_dev == os.stat(target).st_dev and "SYNTHETIC" not in old:
            os.link(old, new)
        else:  # the mark is the one file that is written in place
            shutil.copy(old, new)

    shutil.copytree(source, target, copy_function=link, ignore=shutil.ignore_patterns(*without))
    return target


def no_leftovers(*folders):
    """Nothing half-made and no lock lies there."""
    for folder in folders:
        for ending in ("part", "lock"):
            assert list(folder.rglob(f"*.{ending}")) == []


@contextmanager
def small_disk(folder, megabytes):
    """A disk of a few megabytes at a folder; the test is skipped where none may be mounted."""
    folder.mkdir()
    size = f"size={round(1024 * megabytes)}k"
    mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no small disk: only root may mount one, where the system lets it")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def moments(name, number, seconds):
    """That many moments up to `seconds`, at random; printed, so that a failure can be repeated."""
    rng = random.Random(f"{SEED} {name}")
    found = [rng.uniform(0, seconds) for _ in range(number)]
    print(f"{name}: seed {SEED}, killed after", *(f"{moment:.3f}" for moment in found))
    return found


# ------------------------------------------------------------------------------------ what is run

# Script -> flags of its own, and what it makes, below the root.
STEPS = {
    "0_make_esc10.py": ((), "esc10"),
    "0_rename_files.py": ((), "esc10_rename"),
    "0_txt_div.py": ((), "esc10_811div_txts"),
    "0_downsampling.py": ((), "esc10_rename_4k"),
    "0_pitch_oversample_4k.py": (("--oversample", 2), "esc10_rename_4k_p2"),
    "0_2mix_norm_vol.py": ((), "esc10_2mix_vol_norm_4k"),
    "0_2mix_csv.py": ((), "esc10_mixes.csv"),
}
TRAININGS = {
    "counter": (COUNTER,),
    "single": (SINGLE,),
    "two_label": (TWO_LABEL,),
    "both": (TWO_LABEL, "--train-on", "both"),
}
# The stamp away, an old folder away, the new output there, its stamp.
RENAMES = {script: 3 if name.endswith(".csv") else 4 for script, (_, name) in STEPS.items()}
SEED = 20261124
MINE = ("notes.txt", "esc10_mine/mine.wav")  # a user's own files, below the root


def prepare_again(demo, root, here, flags_of=lambda script: ()):
    """The whole preparation of the small set, inside of this process; its bytes."""
    linked(demo / "ESC-50", root / "ESC-50")
    shutil.copy(demo / "SYNTHETIC", root)
    for script in (*PREPARATION, "0_pitch_oversample_4k.py"):
        more = ("--oversample", 2) if (root / "esc10_rename_4k_p5").exists() else ()
        more = more if script == "0_pitch_oversample_4k.py" else ()
        here(script, "--dataset", root, *more, *flags_of(script), status=0)
    no_leftovers(root)
    return bytes_below(root)


class Step:
    """A root where one step is to be run over an earlier output of it, beside a user's files."""

    def __init__(self, demo, root, script):
        flags, self.name = STEPS[script]
        self.script, self.root, self.output = script, root, root / self.name
        self.flags = ("--dataset", root, *flags)
        linked(demo, root, without=[self.name, f"{self.name}.json", "*_p5*"])
        files = bytes_below(demo)
        self.whole = {path: files[path] for path in files if "_p5" not in path.split("/")[0]}
        if self.name.endswith(".csv"):
            self.output.write_text("an earlier table")
        else:
            (self.output / "set1").mkdir(parents=True)
            (self.output / "set1" / "set1_test.txt").write_text("of an earlier run")
        crs_lib.write_json(
            provenance.stamp_path(str(root), self.name), {"constants": {}, "input": {}}
        )
        (root / "esc10_mine").mkdir()
        for mine in MINE:
            (root / mine).write_text("mine")
        self.earlier, self.others = self.parted(bytes_below(root))

    def parted(self, files):
        """The files of the step's output, and those that are no business of the step's."""
        own = {path: value for path, value in files.items() if path.split("/")[0] == self.name}
        others = {
            path: value for path, value in files.items() if not path.startswith(f"{self.name}.")
        }
        return own, {path: value for path, value in others.items() if path not in own}

    def check_after_kill(self):
        """The output is the earlier or the new one, or not there; all else is as it was."""
        own, others = self.parted(bytes_below(self.root))
        new, _ = self.parted(self.whole)
        assert own in (new, self.earlier, {}) and others == self.others
        stamp = provenance.read_stamp(str(self.root), self.name)
        if own and provenance.CUT_OFF not in stamp:
            is_new = stamp != {"constants": {}, "input": {}}
            assert own == (new if is_new else self.earlier)

    def check_run_again(self):
        """Run again: the bytes of a run that was never killed, and nothing more."""
        succeed(self.script, *self.flags)
        files = bytes_below(self.root)
        assert {path: value for path, value in files.items() if path not in MINE} == self.whole
        assert set(MINE) <= set(files)
        no_leftovers(self.root)


class Training:
    """A training to be killed, beside an earlier run of its kind."""

    def __init__(self, demo, place, task):
        self.script, *flags = TRAININGS[task]
        self.results, self.models = place / "results", place / "models"
        places = ("--dataset", demo, "--results", self.results, "--models", self.models)
        self.flags = (*places, *TINY, *flags)
        model = {"counter": "asc", "both": "isocc_both"}.get(task, "isocc")
        self.earlier = self.results / f"2000-01-01_00-00-00_{self.script[:-3]}_{model}_set1_4k"
        self.earlier.mkdir(parents=True)
        for name in ("run.json", "predictions.csv", "last.pt"):
            (self.earlier / name).write_text("earlier")

    def finished(self):
        """What must repeat itself of each finished run, but for the earlier one."""
        folders = [path.parent for path in self.results.glob("*/run.json")]
        return [numbers(folder) for folder in folders if folder != self.earlier]

    def check_after_kill(self, expected):
        """Whatever run is finished, has the figures; weights are whole; the earlier run is too."""
        assert all(found == expected for found in self.finished())
        for path in self.models.glob("*.pt"):
            assert weights_file.read_weights(path)
        assert [path.read_text() for path in self.earlier.iterdir()] == ["earlier"] * 3

    def check_run_again(self, expected):
        """With --resume: the figures of a run that was never killed."""
        succeed(self.script, *self.flags, "--resume")
        assert self.finished()
        self.check_after_kill(expected)
        no_leftovers(self.models, *(path.parent for path in self.results.glob("*/run.json")))
