"""Write what the pages quote of the published sets, into results_published/: aims.md, what was
aimed at and reached; of each configuration answer_*.md, whether knowing the count pays, and of
those with aims confused_*.md, which classes are counted and named worst, and, where all ten sets
are published, sets_*.md, their figures beside those of sets 1 to 5.

python tools/tables.py
"""

import json
import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import crs_lib
from pipeline.evaluation import markdown, metrics, run_records, summary

PUBLISHED = crs_lib.HERE / "results_published"
# Configuration -> its name, the aim (per cent) of each figure of its summary, and minutes to train
# a set.
AIMS = {
    "4k": ("4 kHz", 85, 80, 60, 55, 40),
    "logmel-logmel_16k": ("log-mel", 95, 96.65, 85, 85, None),
}
FIGURES = {
    "counter.accuracy_balanced": "counter: one class or two (balanced)",
    "single.accuracy": "single-label accuracy",
    "two_label.exact_pair": "two-label: exact pair",
    "flow.with_counter.exact_set_balanced": "overall flow: exact set of names",
}
MINUTES = (
    "minutes to train a set's networks on 2 cores with bfloat16 (half of its time on one; the 4 "
    "kHz counter in float32)"
)
# Behind a configuration's name, in trials/: a set trained on a CPU where its own are of a GPU.
ON_CPU = "_on_cpu"
ALIKE = "isocc-isocc_4k"  # one network for every task: no aims, a question alone
NB_WORST_SINGLES, NB_WORST_PAIRS = 3, 5  # in a table of what is confused


def core_minutes(runs: list[Path]) -> float:
    """Minutes of one core that training all networks of a set took, the mean of the sets.

    runs: folders of all runs of these sets. Raises InputError if one was trained on a GPU.
    """
    records = [run_records.read_record(run) for run in runs]
    trainings = [record for record in records if record.get("history")]
    if any(record["machine"]["device"] != "cpu" for record in trainings):
        raise crs_lib.InputError(f"{runs[0].parent}: a training ran on a GPU, its minutes are none")
    seconds = sum(record["seconds"] * record["machine"]["threads"] for record in trainings)
    return seconds / 60 / len({record["set"] for record in trainings})


def path_of(name: str, nb_sets: int = 5) -> Path:
    """Where a configuration's summary over so many sets from the first lies, or would lie."""
    return PUBLISHED / name / f"summary_{name}_{nb_sets}.json"


def published(name: str, nb_sets: int = 5) -> tuple[Path, dict]:
    """The folder of a configuration, and its summary."""
    path = path_of(name, nb_sets)
    return path.parent, json.loads(path.read_text(encoding="utf-8"))


def aims() -> str:
    """The table of aims: of each configuration aim, reached and what is missing, and what all ten
    sets reach where they are published, with what is to be said of these.
    """
    notes = set()
    head, *rows = [["figure"], *([label] for label in (*FIGURES.values(), MINUTES))]
    for name, (label, *wanted, most_minutes) in AIMS.items():
        folder, written = published(name)
        of_ten = {}
        if path_of(name, 10).exists():
            _, ten_sets = published(name, 10)
            of_ten = ten_sets["figures"]
            notes.add(f"\n\\* {summary.reservations(ten_sets)}\n")
        head += [f"{label}: aim", "reached", "missing", "all ten sets \\*"]
        for row, figure, aim in zip(rows[:-1], FIGURES, wanted, strict=True):
            reached = 100 * written["figures"][figure]["mean"]
            missing = f"{max(0, aim - reached):.1f}"
            ten = markdown.in_percent(of_ten[figure]["mean"]) if of_ten else ""
            row += [f"{aim}", f"{reached:.1f}", missing, ten]
        timed = sorted((PUBLISHED / "trials" / f"{name}{ON_CPU}").glob(f"*/{run_records.RECORD}"))
        runs = [path.parent for path in timed] or [folder / run for run in written["runs"]]
        minutes = core_minutes(runs) / 2
        missing = f"{max(0, minutes - most_minutes):.0f}" if most_minutes else ""
        rows[-1] += [f"{most_minutes or ''}", f"{minutes:.0f}", missing, ""]
    return markdown.markdown_table(head, rows) + "\n" + "".join(sorted(notes))


def answer(name: str) -> str:
    """Which way to the names is best and which worst, where a configuration's flow loses them, and
    what the counter gains, in words.
    """
    figures = published(name)[1]["figures"]

    def percent(figure: str) -> str:
        return "{} ({})".format(*markdown.percent(figures[f"flow.{figure}"]))

    def points(better: str, worse: str = "no_counter") -> str:
        gain = figures[f"flow.gain.{better}_over_{worse}"]
        over_sets = markdown.interval(*metrics.over_sets(gain))
        return "{} points ({}; over sets {})".format(*markdown.percent(gain), over_sets)

    def reached(way: str) -> str:
        gained = "" if way == "no_counter" else f" and {points(way)} over no counter"
        return f"*{metrics.WAYS[way]}*, {percent(f'{way}.exact_set_balanced')} %{gained}"

    means = {
        way: figures[f"flow.{way}.exact_set_balanced"]["mean"]
        for way in metrics.WAYS
        if f"flow.{way}.exact_set_balanced" in figures
    }
    untold = [way for way in means if "true_count" not in way]
    best, worst = (pick(untold, key=means.get) for pick in (max, min))
    spoiled = means["true_count"] - means["with_counter"]
    return (
        f"How many sets of names are exact, by the best of the {len(untold)} ways that are not "
        f"told the true count: {reached(best)}; by the worst: {reached(worst)}. Of "
        "100 answers of the flow, half of them to single clips, "
        f"{100 - 100 * means['true_count']:.1f} have wrong names even with the true count given, "
        f"and counting costs {100 * spoiled:.1f} more. Over no counter the counter gains "
        f"{points('for_names')}, where the true count would gain "
        f"{points('true_count')}. The rival's own network gains {points('rival_for_names')} by "
        f"the counter's count, and would gain {points('rival_true_count')} by the true one. Both "
        "told the true count, the flow's classifiers gain "
        f"{points('true_count', 'rival_true_count')} over that network. Together they gain "
        f"{points('together')} over no counter, and {points('together', 'for_names')} over the "
        "flow alone.\n"
    )


def confused(name: str) -> str:
    """The table of the classes and pairs that a configuration counts, and names, worst."""
    folder, _ = published(name)
    shares = pd.read_csv(folder / f"summary_{name}_5_pairs.csv")
    is_pair = shares["truth"].str.contains("+", regex=False)
    singles, pairs = shares[~is_pair], shares[is_pair]
    worst = {
        "counting single clips": singles.nsmallest(NB_WORST_SINGLES, "counted_right"),
        "counting mixtures": pairs.nsmallest(NB_WORST_PAIRS, "counted_right"),
        "naming mixtures": pairs.nsmallest(NB_WORST_PAIRS, "named_right"),
    }
    rows = []
    for at, some in worst.items():
        for row in some.itertuples():
            found = (row.counted_right, row.named_right, row.exact_set)
            names = row.truth.replace("+", ", ").replace("_", " ")
            rows.append([at, names, row.clips, *(f"{100 * share:.0f}" for share in found)])
    head = (
        "worst at",
        "classes",
        "clips",
        "counted right",
        "named right, true count",
        "count and names",
    )
    return markdown.markdown_table(head, rows) + "\n"


def beside(name: str) -> str:
    """The main figures of a configuration over sets 1 to 5 and, beside them, over all ten."""
    (_, (_, *five)), (of_what, (_, *ten)) = (
        summary.summary_rows(published(name, nb_sets)[1]) for nb_sets in (5, 10)
    )
    rows = [[*of_five[:4], *of_ten[1:4]] for of_five, of_ten in zip(five, ten, strict=True)]
    intervals = ("95 % interval", "over sets")
    head = ("figure", "sets 1 to 5", *intervals, "all ten", *intervals)
    return f"{of_what}\n\n{markdown.markdown_table(head, rows)}\n"


def pages() -> dict[Path, str]:
    """What this script writes, by file."""
    written = {PUBLISHED / "aims.md": aims()}
    for name in (*AIMS, ALIKE):
        written[PUBLISHED / f"answer_{name}.md"] = answer(name)
    for name in AIMS:
        written[PUBLISHED / f"confused_{name}.md"] = confused(name)
        if path_of(name, 10).exists():
            written[PUBLISHED / f"sets_{name}.md"] = beside(name)
    return written


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(text)
