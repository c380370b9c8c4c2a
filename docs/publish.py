"""Copy a summary and its runs to results_published/<rate>_<sets>/, to be committed: small files.

    make run | tee run.log
    python docs/publish.py results/summary_4k_1.json run.log

What the scripts printed becomes output.txt, shortened: of the epochs the first and the last two.
"""

import json
import re
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import checkpoints
import crs_lib

WIDTH = 150  # characters of a line of output.txt
LEFT_OUT = re.compile(r"done in|.* is up to date|no unfinished run")


def shortened(log: str) -> str:
    """The lines of a run's output that a reader wants to see, up to its table.

    Raises InputError if it is not the output of a whole run.
    """
    first, last = log.find("$ python"), log.find("Test clips of set")
    if not 0 <= first < last:
        raise crs_lib.InputError("the log does not hold what run_all.py prints from start to end")
    lines = [line for line in log[first:last].splitlines() if line and not LEFT_OUT.match(line)]
    found = []
    for place, line in enumerate(lines):
        is_epoch = [text.startswith("epoch ") for text in lines[place - 1 : place + 3]]
        # Between the first of a training and its last two.
        if len(is_epoch) == 4 and all(is_epoch):
            continue
        found.append(line if len(line) <= WIDTH else line[: WIDTH - 3] + "...")
    return "\n".join(found) + "\n"


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit("python docs/publish.py SUMMARY.json LOG")
    summary, log = map(Path, sys.argv[1:])
    runs = json.loads(summary.read_text(encoding="utf-8"))["runs"]
    target = crs_lib.HERE / "results_published" / summary.stem.removeprefix("summary_")
    with crs_lib.replaced_folder(target) as part:
        for pattern in (f"{summary.stem}.*", f"{summary.stem}_*.png"):
            for path in summary.parent.glob(pattern):
                shutil.copy(path, part)
        for run in runs:
            left_out = shutil.ignore_patterns(checkpoints.LAST)
            shutil.copytree(summary.parent / run, part / run, ignore=left_out)
        (part / "output.txt").write_text(shortened(log.read_text(encoding="utf-8")))
    print(f"{len(runs)} runs copied to {target}")


if __name__ == "__main__":
    crs_lib.run(main)
