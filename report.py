"""Run records and the summary over sets; the pictures are in pictures.py."""

import csv
import json
import os
import platform
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

import crs_lib
import locks
import metrics
import stamps
import tmr

RECORD = "run.json"  # a run that has it is finished
PREDICTIONS = "predictions.csv"
# Constants that do not make it other work: a run may go on elsewhere, or with other threads.
PASSING_CONSTANTS = ("RESULTS", "MODELS", "RESUME", "DEVICE", "THREADS", "TEST_UNSELECTED")
LIBRARIES = ("torch", "librosa", "numpy", "scipy", "soundfile", "soxr", "pandas", "scikit-learn")


class Run(NamedTuple):
    """One run of a training or of the flow."""

    folder: Path
    script: str  # without .py
    model: str  # the networks' names, `_both` behind one trained on both
    constants: dict
    data: dict  # stamps of the data it reads
    commit: str  # of the code, when it was started

    @property
    def name(self) -> str:
        """Script, model, set and rate, as the folder and the weights are called."""
        rate, number = self.constants["SAMPLE_RATE"], self.constants["SET"]
        return crs_lib.run_name(self.script, self.model, number, rate)

    @property
    def synthetic(self) -> bool:
        """Whether the data is the synthetic set."""
        return crs_lib.is_synthetic(self.constants["DATASET"])


# --------------------------------------------------------------------------------------- records


def describe(script: str, model: str, constants: dict, data: dict) -> Run:
    """A run of these constants, which has no folder yet.

    data: the stamps of what it has read, from before that. Raises InputError if any of it was
    replaced since.
    """
    stamps.refuse_changed(constants["DATASET"], data)
    return Run(Path(), script, model, constants, data, commit())


def new_run(script: str, model: str, constants: dict, data: dict) -> Run:
    """A run that starts now, in a folder of its own; arguments and errors as of `describe`."""
    return in_new_folder(describe(script, model, constants, data))


def in_new_folder(run: Run) -> Run:
    """The run with a folder that was not there yet, and that nobody else writes to."""
    results, now, repeat = Path(run.constants["RESULTS"]), tmr.now(), 1
    folder = results / f"{now}_{run.name}"
    while not locks.new_folder(folder):
        repeat += 1
        folder = results / f"{now}-{repeat}_{run.name}"
    locks.hold(folder / RECORD)
    return run._replace(folder=folder)


def data_stamps(constants: dict) -> dict:
    """The stamps of the data that a run of these constants reads: how it was made."""
    dataset, sample_rate = constants["DATASET"], constants["SAMPLE_RATE"]
    outputs = [crs_lib.rate_dir(dataset, sample_rate), crs_lib.mixes_csv(dataset)]
    if constants["OVERSAMPLE"] > 1:
        outputs.append(crs_lib.oversample_dir(dataset, sample_rate, constants["OVERSAMPLE"]))
    return {path.name: stamps.read_stamp(dataset, path.name) for path in outputs}


def is_same_work(record: dict, constants: dict, data: dict) -> bool:
    """Whether a record or checkpoint has these constants (the passing ones aside) and this data."""
    then, now = (
        {name: value for name, value in some.items() if name not in PASSING_CONSTANTS}
        for some in (record["constants"], constants)
    )
    return then == now and record["data"] == data


def versions() -> dict[str, str]:
    """Python and the libraries that the numbers depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def commit() -> str:
    """The commit of the code, `-dirty` behind it if files differ; empty outside of git."""
    git = [
        "git",
        "-C",
        str(crs_lib.HERE),
        "describe",
        "--always",
        "--dirty",
        "--exclude=*",
        "--abbrev=40",
    ]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def machine(device: str, threads: int) -> dict:
    """What the run ran on."""
    return {
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "device": device,
        "threads": threads,
    }


def header(run: Run, machine_used: dict) -> dict:
    """What every record says of its run: constants, data, code and machine."""
    return {
        "script": run.script,
        "model": run.model,
        "set": run.constants["SET"],
        "sample_rate": run.constants["SAMPLE_RATE"],
        "synthetic": run.synthetic,
        "constants": run.constants,
        "data": run.data,
        "seed": run.constants["SEED"],
        "commit": run.commit,
        "versions": versions(),
        "machine": machine_used,
    }


def make_record(
    run: Run,
    figures: Callable[[pd.DataFrame, np.ndarray], metrics.Figures],
    predictions: pd.DataFrame,
    history: list[dict],
    seconds: float,
    machine_used: dict,
    **more: object,
) -> dict:
    """The record of a run, the content of run.json.

    figures: of `metrics`, of the predictions. more: what else belongs into run.json.
    Its `test` holds each figure, its `test_interval` the 95 % interval.
    """
    found = metrics.with_intervals(figures, [predictions])
    return {
        **header(run, machine_used),
        "seconds": seconds,
        **more,
        "test": nest({name: figure["mean"] for name, figure in found.items()}),
        "test_interval": nest({name: [fig["low"], fig["high"]] for name, fig in found.items()}),
        "history": history,
    }


def write_run(run: Run, record: dict, predictions: pd.DataFrame) -> None:
    """Write history.csv and predictions.csv, then run.json, whose presence says: finished."""
    if record["history"]:
        with crs_lib.replaced_file(run.folder / "history.csv") as part:
            pd.DataFrame(record["history"]).to_csv(part, index=False)
    with crs_lib.replaced_file(run.folder / PREDICTIONS) as part:
        predictions.to_csv(part, index=False, float_format="%.9g")
    crs_lib.write_json(run.folder / RECORD, record)


def nest(flat: dict[str, object]) -> dict:
    """Names with dots as nested dictionaries: {"a.b": 1} -> {"a": {"b": 1}}."""
    nested = {}
    for name, value in flat.items():
        *path, last = name.split(".")
        place = nested
        for key in path:
            place = place.setdefault(key, {})
        place[last] = value
    return nested


def read_record(folder: Path) -> dict | None:
    """A finished run's record, None where the run is not finished.

    Raises InputError if it cannot be read.
    """
    path = folder / RECORD
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    except ValueError as error:
        raise crs_lib.InputError(f"{path}: no record of a run ({error}): remove it") from None


def newest_finished(results: Path, name: str) -> Path | None:
    """The folder of the newest finished run of that name."""
    records = results.glob(f"*_{name}/{RECORD}")
    newest = max(records, key=last_change, default=None)
    return newest.parent if newest else None


def last_change(path: Path) -> int:
    """When a file was last written: a run that was resumed may be newer than its name."""
    return path.stat().st_mtime_ns


def read_predictions(folder: Path) -> pd.DataFrame:
    """The table of predictions of a run; an empty recording_b is an empty text."""
    texts = {"recording_a": str, "recording_b": str}
    return pd.read_csv(folder / PREDICTIONS, dtype=texts, keep_default_na=False)


# --------------------------------------------------------------------------------------- summary

SUMMARY_ROWS = (
    ("counter.accuracy_balanced", "counter: one class or two (balanced)"),
    ("audit.giveaway_balanced", "the same by give-aways alone (logistic regression)"),
    ("single.accuracy", "single-label classifier: accuracy"),
    ("two_label.exact_pair", "two-label classifier: exact pair"),
    ("two_label.mean_average_precision", "two-label classifier: mean average precision"),
    ("flow.with_counter.exact_set_balanced", "overall flow: exact set of names"),
    ("flow.true_count.exact_set_balanced", "the same with the true count given"),
    ("flow.no_counter.exact_set_balanced", "the same without a counter"),
    ("flow.one_network.exact_set_balanced", "the same by one network that counts and names"),
)
TASK_FIGURES = {
    "counter": metrics.counter_figures,
    "single": metrics.single_figures,
    "two_label": metrics.two_label_figures,
}


def summarise(results: Path, flow_names: list[str], path: Path) -> dict:
    """Write the summary of one configuration over sets as JSON, CSV and markdown.

    flow_names: run names of the flow, one a set. The newest finished run of each is taken, and the
    trainings whose weights it used. path: of the JSON; the others lie beside it.
    Returns the summary: {"figures": {name: {"mean", "std", "low", "high", "sets"}}, ...}.
    Raises InputError if a run is missing.
    """
    flows = [newest_finished(results, name) for name in flow_names]
    if None in flows:
        name = flow_names[flows.index(None)]
        raise crs_lib.InputError(f"{results} has no finished run {name}: run  python run_all.py")
    records = [read_record(folder) for folder in flows]
    figures = metrics.with_intervals(metrics.flow_figures, [read_predictions(f) for f in flows])
    figures = {
        ("audit." if name.startswith("giveaway") else "flow.") + name: figure
        for name, figure in figures.items()
    }
    for task, task_figures in TASK_FIGURES.items():
        folders = [results / record["trained_in"][task] for record in records]
        tables = [read_predictions(folder) for folder in folders]
        for name, figure in metrics.with_intervals(task_figures, tables).items():
            figures[f"{task}.{name}"] = figure
    summary = {
        "figures": figures,
        "sets": [record["set"] for record in records],
        "sample_rate": records[0]["sample_rate"],
        "model": records[0]["model"],
        "synthetic": any(record["synthetic"] for record in records),
        "flows": [folder.name for folder in flows],
        "singles": [record["trained_in"]["single"] for record in records],
        "runs": [
            name
            for folder, record in zip(flows, records, strict=True)
            for name in (*record["trained_in"].values(), folder.name)
        ],
    }
    crs_lib.write_json(path, summary)
    with crs_lib.replaced_file(path.with_suffix(".csv")) as part, open(part, "w") as file:
        table = csv.writer(file)
        columns = ("mean", "std", "low", "high")
        table.writerow(["figure", *columns, "synthetic"])
        for name, figure in figures.items():
            table.writerow([name, *(figure[c] for c in columns), summary["synthetic"]])
    with crs_lib.replaced_file(path.with_suffix(".md")) as part:
        part.write_text(summary_table(summary), encoding="utf-8")
    return summary


def summary_rows(summary: dict) -> tuple[str, list[list[str]]]:
    """The main figures of a summary, in per cent; of several sets each.

    Returns what they are of, and the rows of their table, the names of its columns first.
    """
    sets = summary["sets"]
    note = "SYNTHETIC data. " if summary["synthetic"] else ""
    if max(sets) > 5:
        note += "The choices of networks and constants saw the test clips of sets 6-10. "
    note += f"Test clips of set {', '.join(map(str, sets))}, {summary['sample_rate']} Hz, "
    several = ["std", *(f"set {number}" for number in sets)] if len(sets) > 1 else []
    rows = [["figure", "%", "95 % interval", *several]]
    for name, label in SUMMARY_ROWS:
        figure = summary["figures"].get(name)
        if figure is None:
            continue  # this counter never learned names
        mean, low, high = (f"{100 * figure[key]:.1f}" for key in ("mean", "low", "high"))
        each = [figure["std"], *figure["sets"]] if several else []
        rows.append([label, mean, f"{low} to {high}", *(f"{100 * value:.1f}" for value in each)])
    return f"{note}{summary['model']}.", rows


def summary_table(summary: dict) -> str:
    """The main figures of a summary as a markdown table, below what they are of."""
    note, rows = summary_rows(summary)
    head, *body = (f"| {' | '.join(cells)} |" for cells in rows)
    return "\n".join([note, "", head, "|---" * len(rows[0]) + "|", *body]) + "\n"
