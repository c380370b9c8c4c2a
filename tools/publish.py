"""Copy a summary's runs to results_published/<configuration>/, to be committed: records and tables.

    python tools/publish.py results/summary_4k_1.json

Sets may come one after the other: a run replaces that of its own set, and the summaries over set 1,
sets 1 to 5, 1 to 10 and all from the first that are there without a gap are made anew. All sets
must have been trained with the same constants on the same data. Tables are packed; what can be
drawn again is left out: show_report.py draws it from them.
"""

import gzip
import itertools
import json
import re
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import crs_lib
from pipeline.evaluation import run_records, summary
from pipeline.files import running

TARGET = crs_lib.HERE / "results_published"
HEADLINES = (1, 5, 10)  # sets from the first that a summary is over, beside all that are there


def summarise(folder: Path, tag: str) -> None:
    """Write the summaries over the sets whose runs are in a folder."""
    flows = [
        run_records.read_record(path.parent) for path in folder.glob("*_overall_flow_*/run.json")
    ]
    names = {
        flow["set"]: crs_lib.run_name(
            flow["script"], flow["model"], flow["set"], flow["sample_rate"]
        )
        for flow in flows
    }
    nb_there = next(n for n in itertools.count() if n + 1 not in names)
    for nb_sets in sorted({*HEADLINES, nb_there}):
        if 0 < nb_sets <= nb_there:
            sets = range(1, nb_sets + 1)
            path = folder / f"summary_{tag}_{nb_sets}.json"
            summary.summarise(folder, [names[number] for number in sets], path)


def copy_run(folder: Path, target: Path) -> None:
    """Copy a run's record and its tables, packed."""
    target.mkdir()
    for name in (run_records.RECORD, run_records.ANSWERS, run_records.UNSELECTED):
        if (folder / name).exists():
            shutil.copyfile(folder / name, target / name)
    for name in (run_records.PREDICTIONS, run_records.VALIDATION):
        packed = f"{name}.gz"
        if (folder / packed).exists():
            shutil.copyfile(folder / packed, target / packed)
        elif (folder / name).exists():
            content = (folder / name).read_bytes()
            (target / packed).write_bytes(gzip.compress(content, mtime=0))


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("python tools/publish.py SUMMARY.json")
    given = Path(sys.argv[1])
    runs = json.loads(given.read_text(encoding="utf-8"))["runs"]
    named = re.fullmatch(r"summary_(.*)_\d+", given.stem)
    if not named:
        raise crs_lib.InputError(f"{given} is not called as a summary: summary_4k_1.json, say")
    tag, target = named[1], TARGET / named[1]
    names = [run.split("_", 2)[2] for run in runs]  # without the time
    kept = [path for path in target.glob("*/") if path.name.split("_", 2)[2] not in names]
    commits = summary.refuse_other_work([*kept, *(given.parent / run for run in runs)])
    print(f"commits of the code: {', '.join(commits)}")
    with crs_lib.replaced_folder(target) as part:
        for folder in [*kept, *(given.parent / run for run in runs)]:
            copy_run(folder, part / folder.name)
        summarise(part, tag)
    print(f"{len(runs)} runs copied to {target}")


if __name__ == "__main__":
    running.run(main)
