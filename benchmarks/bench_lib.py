"""What the benchmarks share: the data, timing side by side, peak memory, the table and the JSON.

Every benchmark is `python benchmarks/<question>.py`; it prints a table of what was timed (ours, the
straightforward way, the floor: what no program could beat on this machine, measured in the same
run) and writes it to benchmarks/results/<question>.json.
"""

import contextlib
import importlib.util
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RESULTS = HERE / "results"
sys.path.insert(0, str(ROOT))

import crs_lib  # noqa: E402
from pipeline.files import running  # noqa: E402

QUESTIONS = (
    "mixing",
    "pitch",
    "table",
    "downsampling",
    "stft",
    "train_data",
    "train_epoch",
    "train_network",
    "prepare",
    "label",
)
KEYS = ("question", "work", "ours_s", "straightforward_s", "floor_s", "peak_mb")
HEADINGS = (
    "work",
    "ours (s)",
    "straight (s)",
    "floor (s)",
    "straight / ours",
    "ours / floor",
    "MB",
)


def script(name: str, **constants: object) -> ModuleType:
    """A top-level script as a module, its constants set; its main() then does the whole step."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, ROOT / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module).update(constants)
    return module


def prepared_root(**constants: object) -> str:
    """The root of the prepared data: what is missing there is made first, as run_all.py does.

    constants: of run_all.py, such as SAMPLE_RATE.
    Where ESC-50 is neither there nor to be downloaded that is the synthetic root, and said so.
    """
    os.chdir(ROOT)
    run_all = script("run_all.py", WRITE="none", **constants)
    with contextlib.redirect_stdout(io.StringIO()):
        handed = run_all.get_esc50()
        run_all.prepare({**handed, **constants})
    if crs_lib.is_synthetic(handed["DATASET"]):
        running.say_synthetic(handed["DATASET"])
    return handed["DATASET"]


@contextlib.contextmanager
def scratch_root(root: str, *inputs: str) -> Iterator[str]:
    """A root of its own for what a benchmark writes, which sees these folders of `root`."""
    with tempfile.TemporaryDirectory(prefix="bench_") as scratch:
        for name in inputs:
            Path(scratch, name).symlink_to(Path(root, name).resolve())
        yield scratch


def seconds(work: Callable[[], object], repeats: int = 1) -> float:
    """The shortest time that `work` takes, of several, what it prints left out."""
    times = []
    for _ in range(repeats):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
    return min(times)


def alternately(*works: Callable[[], object], repeats: int) -> list[float]:
    """The shortest time of each work, one after the other and again: what else the machine does,
    and what it has warmed up, meets all of them.
    """
    times = [[seconds(work) for work in works] for _ in range(repeats)]
    return [min(column) for column in zip(*times, strict=True)]


# A process inherits the peak of the one that starts it: so a small one stands between.
LAUNCHER = """
import resource, subprocess, sys, time
start = time.perf_counter()
status = subprocess.run(sys.argv[1:], stderr=subprocess.DEVNULL).returncode
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(time.perf_counter() - start, peak, file=sys.stderr)
sys.exit(status)
"""


def run_measured(*words: object) -> tuple[float, float, str]:
    """Run this Python with these words in a process of its own, from the project's folder.

    Returns its seconds from start to end, the peak memory (MB) of its largest process (itself or
    one that it starts), and its standard output.
    """
    command = [sys.executable, "-c", LAUNCHER, sys.executable, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{words} ended with status {done.returncode}")
    elapsed, max_rss = done.stderr.split()
    return float(elapsed), peak_mb(int(max_rss)), done.stdout


def peak_mb(max_rss: int) -> float:
    """What getrusage calls ru_maxrss in MB: it counts kB, on macOS bytes."""
    return max_rss / (1e6 if sys.platform == "darwin" else 1e3)


def row(
    question: str,
    work: str,
    ours_s: float | None = None,
    straightforward_s: float | None = None,
    floor_s: float | None = None,
    peak_mb: float | None = None,
) -> dict:
    """One line of the table; None where there is nothing to say."""
    values = (question, work, ours_s, straightforward_s, floor_s, peak_mb)
    return dict(zip(KEYS, values, strict=True))


def ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below is not None else None


def as_cells(line: dict) -> list[str]:
    """A row as the table shows it: three figures that count, and the two ratios."""
    _, work, ours, straight, floor, peak = (line[key] for key in KEYS)
    numbers = [ours, straight, floor, ratio(straight, ours), ratio(ours, floor)]
    cells = [work, *("" if number is None else f"{number:.3g}" for number in numbers)]
    return [*cells, "" if peak is None else f"{peak:.0f}"]


def finish(rows: list[dict], root: str = "", name: str = "") -> None:
    """Print the table of a question and write benchmarks/results/<name or question>.json."""
    if root and crs_lib.is_synthetic(root):
        rows = [{**line, "work": f"{line['work']} (synthetic)"} for line in rows]
    cells = [list(HEADINGS), *map(as_cells, rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    for line in cells:
        first, *numbers = (cell.ljust(w) for cell, w in zip(line, widths, strict=True))
        print(first, *(n.strip().rjust(w) for n, w in zip(numbers, widths[1:], strict=True)))
    crs_lib.write_json(RESULTS / f"{name or rows[0]['question']}.json", rows)
    if root and crs_lib.is_synthetic(root):
        running.say_synthetic(root)
