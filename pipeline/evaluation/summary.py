"""The summary of one configuration over its sets: figures, the audits of its counters, tables."""

import csv
from pathlib import Path

import pandas as pd

import crs_lib
from pipeline.evaluation import markdown, metrics, run_records

SUMMARY_ROWS = (
    ("counter.accuracy_balanced", "counter: one class or two (balanced)"),
    ("audit.giveaway_balanced", "the same by give-aways alone (logistic regression)"),
    ("single.accuracy", "single-label classifier: accuracy"),
    ("two_label.exact_pair", "two-label classifier: exact pair"),
    ("two_label.mean_average_precision", "two-label classifier: mean average precision"),
    ("flow.with_counter.exact_set_balanced", "overall flow: exact set of names"),
    ("flow.for_names.exact_set_balanced", "the same, the threshold of two chosen for names"),
    ("flow.true_count.exact_set_balanced", "the same with the true count given"),
    ("flow.no_counter.exact_set_balanced", "the same without a counter (the rival)"),
    ("flow.rival_with_counter.exact_set_balanced", "the rival told the counter's count"),
    (
        "flow.rival_for_names.exact_set_balanced",
        "the rival told the count, the threshold of two chosen for names",
    ),
    ("flow.rival_true_count.exact_set_balanced", "the rival told the true count"),
    ("flow.one_network.exact_set_balanced", "the flow by one network that counts and names"),
    (
        "flow.one_network_for_names.exact_set_balanced",
        "the one network, the threshold of two chosen for names",
    ),
    ("flow.one_network_true_count.exact_set_balanced", "the one network, the true count given"),
    ("flow.together.exact_set_balanced", "the flow and the rival together"),
    ("flow.together_true_count.exact_set_balanced", "both together, told the true count"),
    ("flow.gain.counter_over_giveaways", "what the counter has above the give-aways (points)"),
    ("flow.gain.for_names_over_no_counter", "what the counter gains over none (points)"),
    ("flow.gain.true_count_over_no_counter", "what the true count would gain over none (points)"),
    ("flow.gain.rival_for_names_over_no_counter", "what the rival gains by the counter (points)"),
    (
        "flow.gain.rival_true_count_over_no_counter",
        "what the rival would gain by the true count (points)",
    ),
    (
        "flow.gain.true_count_over_rival_true_count",
        "what classifiers gain over the rival, both told the true count (points)",
    ),
    (
        "flow.gain.for_names_over_one_network_for_names",
        "what classifiers gain over the one network (points)",
    ),
    ("flow.gain.together_over_no_counter", "what both together gain over the rival (points)"),
    ("flow.gain.together_over_for_names", "what both together gain over the flow (points)"),
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
    figures = metrics.with_intervals(metrics.flow_figures, tables)
    pairs = metrics.shares_by_truth(pd.concat(tables))
    figures = {
        ("audit." if name.startswith("giveaway") else "flow.") + name: figure
        for name, figure in figures.items()
    }
    for task, task_figures in TASK_FIGURES.items():
        tables = [run_records.read_predictions(results / runs[task]) for runs in trained_in]
        for name, figure in metrics.with_intervals(task_figures, tables).items():
            figures[f"{task}.{name}"] = figure
    summary = {
        "figures": figures,
        "audit": metrics.audit_answers(list(map(run_records.read_answers, audits)))
        if audits
        else {},
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
    crs_lib.write_json(path, summary)
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
    with crs_lib.replaced_file(path.with_name(f"{path.stem}_pairs.csv")) as part:
        pairs.assign(synthetic=summary["synthetic"]).to_csv(part, index=False, float_format="%.4f")
    note = reservations(summary)
    markdown.write_table(path.with_name(f"{path.stem}_ways.md"), way_rows(figures), note)
    for ending in ("md", "png"):  # of an older summary
        path.with_name(f"{path.stem}_audit.{ending}").unlink(missing_ok=True)
    if audits:
        audit_rows = markdown.audit_rows(summary["audit"], summary["sets"])
        markdown.write_table(path.with_name(f"{path.stem}_audit.md"), audit_rows, note)
    return summary


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


def summary_rows(summary: dict) -> tuple[str, list[list[str]]]:
    """The main figures of a summary, in per cent; of several sets each.

    Returns what they are of, and the rows of their table, the names of its columns first.
    """
    sets = summary["sets"]
    of_what = f"Test clips of set {', '.join(map(str, sets))}, {summary['sample_rate']} Hz"
    several = len(sets) > 1
    head = ["figure", "%", "95 % interval"]
    rows = [[*head, *(["over sets", "std", *(f"set {n}" for n in sets)] if several else [])]]
    for name, label in SUMMARY_ROWS:
        figure = summary["figures"].get(name)
        if figure is None:
            continue  # a way that this flow has not
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


def way_rows(figures: dict[str, dict]) -> list[list[str]]:
    """How often each way to names is right (exact set) on single clips, on mixtures and on both
    alike, in per cent, and what it gains over the rival without a counter, in points, with the
    intervals of the test clips and, of several sets, of the sets (`metrics.over_sets`); the names
    of the columns first. figures: of a summary.
    """
    head = ["way to the names", "single clips", "mixtures", "mean of the two", "95 %"]
    several = len(figures["counter.accuracy_balanced"]["sets"]) > 1
    head += ["over no counter (points)", "95 %"]
    rows = [[*head, *(["95 % over sets"] if several else [])]]
    for way, label in metrics.WAYS.items():
        of_way = {
            clips: figures.get(f"flow.{way}.exact_set_{clips}")
            for clips in ("single", "mixture", "balanced")
        }
        if of_way["single"] is None:
            continue  # a way that this flow has not
        gain = figures.get(f"flow.gain.{way}_over_no_counter")
        single, mixture, balanced = map(markdown.percent, of_way.values())
        gained = markdown.percent(gain) if gain else ["", ""]
        if several:
            gained.append(markdown.interval(*metrics.over_sets(gain)) if gain else "")
        rows.append([label, single[0], mixture[0], *balanced, *gained])
    return rows


def summary_table(summary: dict) -> str:
    """The main figures of a summary as a markdown table, below what they are of."""
    note, (head, *rows) = summary_rows(summary)
    return f"{note}\n\n{markdown.markdown_table(head, rows)}\n"
