"""Write what the pages quote of the published sets, into results_published/: headline.md, the main
figures; answer.md, whether knowing the count pays, in three sentences; aims.md, what was aimed at
and reached; of each configuration answer_*.md, whether knowing the count pays, and of
those with aims confused_*.md, which classes are worst, and, where all ten sets
are published, sets_*.md, their figures beside those of sets 1 to 5.

python tools/tables.py
"""

import json
import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import crs_lib
from pipeline.evaluation import markdown, metrics, run_records, strategies, summary

PUBLISHED = crs_lib.HERE / "results_published"
# Configuration -> its name, the aim (per cent) of each figure of its summary, and minutes to train
# a set.
AIMS = {
    "4k": ("4 kHz", 85, 80, 60, 55, 40),
    "logmel-logmel_16k": ("log-mel", 95, 96.65, 85, 85, None),
}
FIGURES = {
    "counter.accuracy_balanced": "counter: balanced accuracy",
    "single.accuracy": "single-label accuracy",
    "two_label.exact_pair": "two-label: exact-pair accuracy",
    "flow.with_counter.exact_match_balanced": "overall flow: exact match",
}
# Columns of headline.md.
CONFIGURATIONS = {
    "4k": "the study's networks, 4 kHz",
    "logmel-logmel_16k": "log-mel network, 16 kHz",
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


def headline() -> str:
    """The table of the main figures of sets 1 to 5, each with its interval."""
    of_all = [published(name)[1]["figures"] for name in CONFIGURATIONS]
    rows = [
        [label, *("{} ({})".format(*markdown.percent(figures[name])) for figures in of_all)]
        for name, label in summary.SUMMARY_ROWS
        if name in summary.HEADLINE
    ]
    head = ("% (95 % interval)", *CONFIGURATIONS.values())
    return markdown.markdown_table(head, rows) + "\n"


def answer_in_short() -> str:
    """Whether knowing the count pays, in three sentences.

    Raises InputError where their words would not fit the intervals.
    """

    def gains(column: str) -> list[dict]:
        return [
            published(name)[1]["figures"][f"flow.gain.{column}_over_no_counter"]
            for name in CONFIGURATIONS
        ]

    def points(column: str) -> str:
        at_4k, of_logmel = ("{} points ({})".format(*markdown.percent(g)) for g in gains(column))
        return f"{at_4k} at 4 kHz and {of_logmel} with the log-mel network"

    oracle = [*gains("oracle_count"), *gains("baseline_oracle_count")]
    counted = gains("with_counter_for_exact_match")
    if min(g["low"] for g in oracle) <= 0 or not all(g["low"] < 0 < g["high"] for g in counted):
        raise crs_lib.InputError("answer_in_short: its words do not fit the published figures")
    return (
        "A count that is always right would pay: with the oracle count the flow's exact match lies "
        f"above the no-counter baseline's by {points('oracle_count')}, and the baseline itself "
        f"gains {points('baseline_oracle_count')} by it. The trained counters show no gain: with "
        "both thresholds optimised for exact match, flow minus baseline is "
        f"{points('with_counter_for_exact_match')}. The ensemble of both minus the baseline is "
        f"{points('ensemble')}.\n"
    )


def answer(name: str) -> str:
    """Which strategy is best and which worst, what a configuration's flow loses where, and what the
    counter gains, in words.
    """
    figures = published(name)[1]["figures"]

    def percent(figure: str) -> str:
        return "{} ({})".format(*markdown.percent(figures[f"flow.{figure}"]))

    def points(better: str, worse: str = "no_counter") -> str:
        gain = figures[f"flow.gain.{better}_over_{worse}"]
        over_sets = markdown.interval(*metrics.over_sets(gain))
        return "{} points ({}; over sets {})".format(*markdown.percent(gain), over_sets)

    def reached(column: str) -> str:
        gained = "" if column == "no_counter" else f" and {points(column)} over the baseline"
        label = strategies.STRATEGIES[column]
        return f"*{label}*, {percent(f'{column}.exact_match_balanced')} %{gained}"

    means = {
        column: figures[f"flow.{column}.exact_match_balanced"]["mean"]
        for column in strategies.STRATEGIES
        if f"flow.{column}.exact_match_balanced" in figures
    }
    own = [column for column in means if "oracle_count" not in column]
    best, worst = (pick(own, key=means.get) for pick in (max, min))
    counting = means["oracle_count"] - means["with_counter"]
    flow, baseline = "with_counter_for_exact_match", "baseline_with_counter_for_exact_match"
    lines = (
        f"Of the {len(own)} strategies without the oracle count, the best is {reached(best)}.",
        f"The worst is {reached(worst)}.",
        "Of 100 answers of the flow, half of them to single clips, "
        f"{100 - 100 * means['oracle_count']:.1f} have wrong labels even with the oracle count; "
        f"counting costs {100 * counting:.1f} more.",
        f"The flow over the baseline: {points(flow)}; with the oracle count "
        f"{points('oracle_count')}.",
        f"The baseline with the counter's count over the baseline: {points(baseline)}; with the "
        f"oracle count {points('baseline_oracle_count')}.",
        "The flow's classifiers over the baseline, both with the oracle count: "
        f"{points('oracle_count', 'baseline_oracle_count')}.",
        f"The ensemble over the baseline: {points('ensemble')}; over the flow: "
        f"{points('ensemble', flow)}.",
    )
    return "".join(f"- {line}\n" for line in lines)


def confused(name: str) -> str:
    """The table of the classes and pairs that a configuration counts, and classifies, worst."""
    folder, _ = published(name)
    shares = pd.read_csv(folder / f"summary_{name}_5_pairs.csv")
    is_pair = shares["truth"].str.contains("+", regex=False)
    singles, pairs = shares[~is_pair], shares[is_pair]
    worst = {
        "counting single clips": singles.nsmallest(NB_WORST_SINGLES, "counted_right"),
        "counting mixtures": pairs.nsmallest(NB_WORST_PAIRS, "counted_right"),
        "classifying mixtures": pairs.nsmallest(NB_WORST_PAIRS, "oracle_exact_match"),
    }
    rows = []
    for at, some in worst.items():
        for row in some.itertuples():
            found = (row.counted_right, row.oracle_exact_match, row.exact_match)
            names = row.truth.replace("+", ", ").replace("_", " ")
            rows.append([at, names, row.clips, *(f"{100 * share:.0f}" for share in found)])
    head = (
        "worst at",
        "classes",
        "clips",
        "counted right",
        "exact match, oracle count",
        "exact match",
    )
    return markdown.markdown_table(head, rows) + "\n"


def beside(name: str) -> str:
    """The main figures of a configuration over sets 1 to 5 and, beside them, over all ten."""
    (_, (_, *five)), (of_what, (_, *ten)) = (
        summary.summary_rows(published(name, nb_sets)[1], summary.HEADLINE) for nb_sets in (5, 10)
    )
    rows = [[*of_five[:4], *of_ten[1:4]] for of_five, of_ten in zip(five, ten, strict=True)]
    intervals = ("95 % interval", "over sets")
    head = ("figure", "sets 1 to 5", *intervals, "all ten", *intervals)
    return f"{of_what}\n\n{markdown.markdown_table(head, rows)}\n"


def pages() -> dict[Path, str]:
    """What this script writes, by file."""
    written = {
        PUBLISHED / "aims.md": aims(),
        PUBLISHED / "headline.md": headline(),
        PUBLISHED / "answer.md": answer_in_short(),
    }
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
