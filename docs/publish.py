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
LEFT_OUT = re.compile(r"done in|.* is up to date|no unfinished run|pictures:|  results|summary:|\|")


def shortened(log: str) -> str:
    """The lines of a run's output that a reader wants to see."""
    lines = log[log.index("$ python") :].splitlines()
    lines = [line for line in lines if line and not LEFT_OUT.match(line)]
    found = []
    for line in lines[: next(i for i, text in enumerate(lines) if text.startswith("Test clips"))]:
        epoch = re.match(r"epoch (\d+)/(\d+)", line)
        if not epoch or int(epoch[1]) == 1 or int(epoch[1]) >= int(epoch[2]) - 1:
            found.append(line if len(line) <= WIDTH else line[: WIDTH - 3] + "...")
    return "\n".join(found) + "\n"


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit("python docs/publish.py SUMMARY.json LOG")
    summary, log = map(Path, sys.argv[1:])
    runs = json.loads(summary.read_text(encoding="utf-8"))["runs"]
    target = crs_lib.HERE / "results_published" / summary.stem.removeprefix("summary_")
    with crs_lib.replaced_folder(target) as part:
        for path in summary.parent.glob(f"{summary.stem}.*"):
            shutil.copy(path, part)
        for run in runs:
            left_out = shutil.ignore_patterns(checkpoints.LAST)
            shutil.copytree(summary.parent / run, part / run, ignore=left_out)
        (part / "output.txt").write_text(shortened(log.read_text(encoding="utf-8")))
    print(f"{len(runs)} runs copied to {target}")


if __name__ == "__main__":
    crs_lib.run(main)
