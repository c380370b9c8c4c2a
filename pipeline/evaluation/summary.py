"""The summary of one configuration over its sets: figures, the audits of its counters, tables."""

import csv
from collections.abc import Collection
from pathlib import Path

import pandas as pd

import crs_lib
from pipeline.evaluation import markdown, metrics, run_records, strategies

SUMMARY_ROWS = (
    ("counter.accuracy_balanced", "counter: balanced accuracy, one class or two"),
    ("audit.shortcut_balanced", "shortcut baseline: the same by level, silence, flatness alone"),
    ("single.accuracy", "single-label classifier: accuracy"),
    ("two_label.exact_pair", "two-label classifier: exact-pair accuracy"),
    ("two_label.mean_average_precision", "two-label classifier: mean average precision"),
    *(
        (f"flow.{column}.exact_match_balanced", f"{label}: exact match")
        for column, label in strategies.STRATEGIES.items()
    ),
    ("flow.gain.counter_over_shortcuts", "counter over shortcut baseline (points)"),
    *(
        (
            f"flow.gain.{better}_over_{worse}",
            f"{strategies.STRATEGIES[better]} over {strategies.STRATEGIES[worse]} (points)",
        )
        for better, worse in (
            ("with_counter_for_exact_match", "no_counter"),
            ("oracle_count", "no_counter"),
            ("baseline_with_counter_for_exact_match", "no_counter"),
            ("baseline_oracle_count", "no_counter"),
            ("oracle_count", "baseline_oracle_count"),
            ("with_counter_for_exact_match", "joint_for_exact_match"),
            ("ensemble", "no_counter"),
            ("ensemble", "with_counter_for_exact_match"),
        )
    ),
)
# The main figures, of the README and at the top of the results page.
HEADLINE = (
    "counter.accuracy_balanced",
    "audit.shortcut_balanced",
    "single.accuracy",
    "two_label.exact_pair",
    "flow.with_counter.exact_match_balanced",
    "flow.oracle_count.exact_match_balanced",
    "flow.no_counter.exact_match_balanced",
    "flow.ensemble.exact_match_balanced",
)
TASK_FIGURES = {
    "counter": metrics.counter_figures,
    "single": metrics.single_figures,
    "two_label": metrics.two_label_figures,
}


def summarise(results: Path, flow_names: list[str], path: Path) -> dict:
    """Write the summary of one configuration over sets as JSON, CSV and markdown.

    flow_names: run names of the flow, one a set. The newest finished run of each is taken, the
    trainings whose weights it used, and the newest audits of their counters. path: of the JSON;
    the others lie beside it.
    Returns the summary: {"figures": {name: {"mean", "std", "low", "high", "sets"}}, "audit": as
    metrics.audit_answers has it, ...}. Raises InputError if a run is missing, or as
    refuse_other_work does.
    """
    flows = [run_records.newest_finished(results, name) for name in flow_names]
    if None in flows:
        name = flow_names[flows.index(None)]
        raise crs_lib.InputError(f"{results} has no finished run {name}: run  python run_all.py")
    records = [run_records.read_record(folder) for folder in flows]
    trained_in = [record["trained_in"] for record in records]
    runs = [*flows, *(results / name for runs in trained_in for name in runs.values())]
    audits = find_audits(results, [runs["counter"] for runs in trained_in])
    refuse_other_work([*runs, *audits])
    tables = [run_records.read_predictions(folder) for folder in flows]
    figures = metrics.with_intervals(strategies.flow_figures, tables)
    pairs = metrics.shares_by_truth(pd.concat(tables))
    figures = {
        ("audit." if name.startswith("shortcut") else "flow.") + name: figure
        for name, figure in figures.items()
    }
    for task, task_figures in TASK_FIGURES.items():
        tables = [run_records.read_predictions(results / runs[task]) for runs in trained_in]
        for name, figure in metrics.with_intervals(task_figures, tables).items():
            figures[f"{task}.{name}"] = figure
    summary = {
        "figures": figures,
        "audit": metrics.audit_answers(tables_of(audits, run_records.ANSWERS)) if audits else {},
        **shift_figures(audits),
        "sets": [record["set"] for record in records],
        "sample_rate": records[0]["sample_rate"],
        "model": records[0]["model"],
        "synthetic": any(record["synthetic"] for record in records),
        "flows": [folder.name for folder in flows],
        "singles": [runs["single"] for runs in trained_in],
        "runs": [
            *(
                name
                for f, r in zip(flows, trained_in, strict=True)
                for name in (*r.values(), f.name)
            ),
            *(folder.name for folder in audits),
        ],
    }
    with crs_lib.replaced_file(path.with_name(f"{path.stem}_pairs.csv")) as part:
        pairs.assign(synthetic=summary["synthetic"]).to_csv(part, index=False, float_format="%.4f")
    for ending in ("audit.md", "audit.png", "shifts.md"):  # of an older summary
        path.with_name(f"{path.stem}_{ending}").unlink(missing_ok=True)
    write_tables(summary, path)
    crs_lib.write_json(path, summary)
    return summary


def write_tables(summary: dict, path: Path) -> None:
    """Write the tables of a summary beside its JSON file `path`: .csv, .md, _strategies.md and,
    where there is an audit, _audit.md and, of joint networks, _shifts.md.
    """
    figures = summary["figures"]
    with crs_lib.replaced_file(path.with_suffix(".csv")) as part, open(part, "w") as file:
        table = csv.writer(file)
        columns = ("mean", "std", "low", "high")
        sets = [f"set{number}" for number in summary["sets"]]
        table.writerow(["figure", *columns, *sets, "synthetic"])
        for name, figure in figures.items():
            values = [*(figure[column] for column in columns), *figure["sets"]]
            table.writerow([name, *values, summary["synthetic"]])
    with crs_lib.replaced_file(path.with_suffix(".md")) as part:
        part.write_text(summary_table(summary), encoding="utf-8")
    note = reservations(summary)
    strategy_path = path.with_name(f"{path.stem}_strategies.md")
    markdown.write_table(strategy_path, strategy_rows(figures), note)
    if summary["audit"]:
        audit_rows = markdown.audit_rows(summary["audit"], summary["sets"])
        markdown.write_table(path.with_name(f"{path.stem}_audit.md"), audit_rows, note)
    if summary.get("shifts"):
        shift_rows = markdown.shift_rows(summary["shifts"])
        markdown.write_table(path.with_name(f"{path.stem}_shifts.md"), shift_rows, note)


def refuse_other_work(folders: list[Path]) -> list[str]:
    """Raise InputError if one of the runs is gone, if they differ in the data that they read, those
    of one script in their method, or those of one script and network in constants other than their
    set: one table is of one configuration. Returns the commits of their code.
    """
    first_of, commits = {}, set()
    for folder in folders:
        record = run_records.read_record(folder)
        if record is None:
            raise crs_lib.InputError(
                f"{folder} is gone, which another run is of: run  python run_all.py"
            )
        commits.add(record["commit"])
        alike = {
            record["script"]: {"method": run_records.method_of(record)},
            (record["script"], record["model"]): {
                **run_records.work_of(record["constants"]),
                "SET": 0,
            },
            **{name: {name: stamp} for name, stamp in record["data"].items()},
        }
        for kind, found in alike.items():
            first, of_first = first_of.setdefault(kind, (folder, found))
            differing = {n for n in of_first | found if of_first.get(n) != found.get(n)}
            if differing:
                name = min(differing)
                raise crs_lib.InputError(
                    f"{folder} does not belong to {first}: its {name} is {found.get(name)}, not "
                    f"{of_first.get(name)}; one table is of one configuration: make one of them "
                    "anew, or remove it"
                )
    return sorted(commits)


def tables_of(folders: list[Path], name: str) -> list[pd.DataFrame]:
    """A packed table of each run."""
    return [run_records.read_packed(folder / name) for folder in folders]


def shift_figures(audits: list[Path]) -> dict[str, dict]:
    """`shifts`: what joint networks reach under shifts, by their audits (metrics.shift_figures); no
    such key where there are no audits, or one did not ask.
    """
    if not audits or not all((folder / run_records.SHIFTS).exists() for folder in audits):
        return {}
    tables = tables_of(audits, run_records.SHIFTS)
    return {"shifts": metrics.with_intervals(metrics.shift_figures, tables)}


def find_audits(results: Path, counters: list[str]) -> list[Path]:
    """The newest audit of each of these runs of a counter; none at all where one has none. Audits
    that did not keep their answers, as the first did not, count as none.
    """
    newest_of = {}
    for path in sorted(
        results.glob(f"*_audit_*/{run_records.RECORD}"), key=run_records.last_change
    ):
        if (path.parent / run_records.ANSWERS).exists():
            newest_of[run_records.read_record(path.parent)["audited"]] = path.parent
    return [newest_of[name] for name in counters] if set(counters) <= set(newest_of) else []


def summary_rows(
    summary: dict, names: Collection[str] = tuple(dict(SUMMARY_ROWS))
) -> tuple[str, list[list[str]]]:
    """Figures of a summary by their names, in per cent; of several sets each.

    Returns what they are of, and the rows of their table, the column titles first.
    """
    sets = summary["sets"]
    of_what = f"Test clips of set {', '.join(map(str, sets))}, {summary['sample_rate']} Hz"
    several = len(sets) > 1
    head = ["figure", "%", "95 % interval"]
    rows = [[*head, *(["over sets", "std", *(f"set {n}" for n in sets)] if several else [])]]
    for name, label in SUMMARY_ROWS:
        figure = summary["figures"].get(name)
        if figure is None or name not in names:
            continue  # of a strategy that this flow has not, or not asked for
        row = [label, *markdown.percent(figure)]
        if several:
            row.append(markdown.interval(*metrics.over_sets(figure)))
            row += [markdown.in_percent(value) for value in (figure["std"], *figure["sets"])]
        rows.append(row)
    return f"{reservations(summary)} {of_what}, {summary['model']}.".lstrip(), rows


def reservations(summary: dict) -> str:
    """What is to be said above every table of a summary, empty where there is nothing."""
    note = [markdown.SYNTHETIC_NOTE] if summary["synthetic"] else []
    if max(summary["sets"]) > 5:
        note.append("The choices of networks and constants saw the test clips of sets 6-10.")
    return " ".join(note)


def strategy_rows(figures: dict[str, dict]) -> list[list[str]]:
    """Exact match of each strategy on single clips, on mixtures and their macro average, in per
    cent, and what it gains over the no-counter baseline, in points, with the intervals of the test
    clips and, of several sets, of the sets (`metrics.over_sets`); the column titles first.

    figures: of a summary.
    """
    head = ["strategy", "single clips", "mixtures", "macro average", "95 %"]
    several = len(figures["counter.accuracy_balanced"]["sets"]) > 1
    head += ["over the baseline (points)", "95 %"]
    rows = [[*head, *(["95 % over sets"] if several else [])]]
    for column, label in strategies.STRATEGIES.items():
        of_strategy = {
            clips: figures.get(f"flow.{column}.exact_match_{clips}")
            for clips in ("single", "mixture", "balanced")
        }
        if of_strategy["single"] is None:
            continue  # a strategy that this flow has not
        gain = figures.get(f"flow.gain.{column}_over_no_counter")
        single, mixture, balanced = map(markdown.percent, of_strategy.values())
        gained = markdown.percent(gain) if gain else ["", ""]
        if several:
            gained.append(markdown.interval(*metrics.over_sets(gain)) if gain else "")
        rows.append([label, single[0], mixture[0], *balanced, *gained])
    return rows


def summary_table(summary: dict) -> str:
    """The main figures of a summary as a markdown table, below what they are of."""
    note, (head, *rows) = summary_rows(summary)
    return f"{note}\n\n{markdown.markdown_table(head, rows)}\n"
