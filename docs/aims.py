"""Write results_published/aims.md: what was aimed at, what the published sets 1 to 5 reached.

python docs/aims.py
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import crs_lib
import report

PUBLISHED = crs_lib.HERE / "results_published"
# Configuration -> the aim (per cent) of each figure of its summary, and minutes to train a set.
AIMS = {
    "4k": (85, 80, 60, 55, 40),
    "logmel-logmel_16k": (95, 96.65, 85, 85, None),
}
FIGURES = {
    "counter.accuracy_balanced": "counter: one class or two (balanced)",
    "single.accuracy": "single-label accuracy",
    "two_label.exact_pair": "two-label: exact pair",
    "flow.with_counter.exact_set_balanced": "overall flow: exact set of names",
}


def core_minutes(folder: Path, summary: dict) -> float:
    """Minutes of one core that training all networks of a set took, the mean of its sets."""
    records = [report.read_record(folder / run) for run in summary["runs"]]
    trainings = [record for record in records if record.get("history")]
    seconds = sum(record["seconds"] * record["machine"]["threads"] for record in trainings)
    return seconds / 60 / len(summary["sets"])


def rows() -> list[list[str]]:
    """The table: of each configuration aim, reached and what is missing."""
    columns = []
    for name, (*aims, most_minutes) in AIMS.items():
        folder = PUBLISHED / name
        path = folder / f"summary_{name}_5.json"
        summary = json.loads(path.read_text(encoding="utf-8"))
        column = []
        for figure, aim in zip(FIGURES, aims, strict=True):
            reached = 100 * summary["figures"][figure]["mean"]
            column.append([f"{aim}", f"{reached:.1f}", f"{max(0, aim - reached):.1f}"])
        minutes = core_minutes(folder, summary) / 2
        column.append([f"{most_minutes or ''}", f"{minutes:.0f}", ""])
        columns.append(column)
    head = ["figure"]
    for model in ("4 kHz", "log-mel"):
        head += [f"{model}: aim", "reached", "missing"]
    labels = [*FIGURES.values(), "minutes of 2 cores to train a set's networks, one a core"]
    return [head, *([label, *a, *b] for label, a, b in zip(labels, *columns, strict=True))]


if __name__ == "__main__":
    print(report.write_table(PUBLISHED / "aims.md", rows()))
