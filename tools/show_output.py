"""Shorten what a whole run printed, for the README: of the epochs the first and the last two.

    make run | tee run.log
    python tools/show_output.py run.log

Writes docs/output.txt.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import crs_lib
from pipeline.files import running

SHOWN = crs_lib.HERE / "docs" / "output.txt"
WIDTH = 150  # characters of a line
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
    if len(sys.argv) != 2:
        sys.exit("python tools/show_output.py LOG")
    output = shortened(Path(sys.argv[1]).read_text(encoding="utf-8"))
    SHOWN.write_text(output, encoding="utf-8")
    print(output, end="")


if __name__ == "__main__":
    running.run(main)
