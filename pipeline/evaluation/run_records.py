"""Run records: what a run was made of and what it measured, written and found again."""

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
import tmr
from crs_lib import InputError
from pipeline.evaluation import metrics
from pipeline.files import locks, provenance

FORMAT = 2  # of run records, weights and checkpoints; tools/migrate.py renews those of format 1
RECORD = "run.json"  # a run that has it is finished
PREDICTIONS = "predictions.csv"
VALIDATION = "validation.csv"  # the clips by which epoch and thresholds were chosen
UNSELECTED = "unselected.csv.gz"  # with TEST_UNSELECTED: the training mixtures never drawn
ANSWERS = "answers.csv.gz"  # of an audit: what the counter said of each clip
SHIFTS = "shifts.csv.gz"  # of an audit: what the joint network predicted under each shift
# Constants that do not make it other work: a run may go on elsewhere, or with other threads.
PASSING_CONSTANTS = ("RESULTS", "MODELS", "RESUME", "DEVICE", "THREADS", "TEST_UNSELECTED")
LATER_CONSTANTS = {  # what the first records, which lack them, were made with
    "ALL_CLIPS": False,
    "THRESHOLD": 0.5,
    "REPEAT": 1,
    "COUNT_BY_LABELS": False,
    "SPEED": 0.0,
    "TILT": 0.0,
    "NOISE": False,
    "ENCODER_RATE": 0.3,
    "LAYER_DECAY": 1.0,
    "FROZEN": 0,
    "KEEP": 0.0,
}
# Of each script, raised where the same constants and data come to give other numbers: runs of
# another method are neither gone on with nor kept, nor put into one table with those of this one.
METHODS = {
    crs_lib.COUNTER: 2,
    crs_lib.SINGLE: 2,
    crs_lib.TWO_LABEL: 2,
    crs_lib.FLOW: 3,
    crs_lib.AUDIT: 3,
}
LIBRARIES = ("torch", "librosa", "numpy", "scipy", "soundfile", "soxr", "pandas", "scikit-learn")


class Run(NamedTuple):
    """One run of a training or of the flow."""

    folder: Path
    script: str  # without .py
    model: str  # the networks' names, `_both` behind the no-counter baseline's
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


class OldFormat(InputError):
    """A record, weights or a checkpoint of an earlier version of this project."""


def refuse_old(path: Path, content: dict, folder: Path) -> None:
    """Raise OldFormat, naming the command that renews it, if what a file holds is of an old format;
    InputError if it is of a later one.

    folder: what is to be renewed as a whole.
    """
    if "format" not in content:
        raise OldFormat(
            f"{path} is of an earlier version: run  python tools/migrate.py {folder}  first"
        )
    if content["format"] != FORMAT:
        raise InputError(f"{path} is of a later version (format {content['format']})")


# --------------------------------------------------------------------------------------- records


def describe(script: str, model: str, constants: dict, data: dict) -> Run:
    """A run of these constants, which has no folder yet.

    data: the stamps of what it has read, from before that. Raises InputError if any of it was
    replaced since.
    """
    provenance.refuse_changed(constants["DATASET"], data)
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
    return {path.name: provenance.read_stamp(dataset, path.name) for path in outputs}


def other_work(record: dict, script: str, constants: dict, data: dict) -> str:
    """What tells a record or checkpoint from the script's method, these constants (the passing
    ones aside) and this data, in words; empty where it is the same work.
    """
    found, wanted = work_of(record["constants"]), work_of(constants)
    differing = [name for name in found | wanted if found.get(name) != wanted.get(name)]
    if differing:
        values = (f"{name} {found.get(name)}, not {wanted.get(name)}" for name in differing)
        return f"it has {'; '.join(values)}"
    if method_of(record) != METHODS[script]:
        return f"it is of an earlier or later {script}.py"
    return "it is of other data" if record["data"] != data else ""


def method_of(record: dict) -> int:
    """The method of a record or checkpoint; the first records did not say which."""
    return record.get("method", 1)


def work_of(constants: dict) -> dict:
    """The constants that the numbers of a run depend on."""
    constants = {**LATER_CONSTANTS, **constants}
    return {name: value for name, value in constants.items() if name not in PASSING_CONSTANTS}


def versions() -> dict[str, str]:
    """Python and the libraries that the numbers depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def commit() -> str:
    """The commit of the code, `-dirty` behind it if files differ; empty outside of git."""
    words = "describe --always --dirty --exclude=* --abbrev=40"
    git = ["git", "-C", str(crs_lib.HERE), *words.split()]
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
        "format": FORMAT,
        "script": run.script,
        "model": run.model,
        "set": run.constants["SET"],
        "sample_rate": run.constants["SAMPLE_RATE"],
        "synthetic": run.synthetic,
        "constants": run.constants,
        "data": run.data,
        "method": METHODS[run.script],
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
    Its `test` holds each figure, its `test_interval` the 95 % interval; of no predictions nothing.
    """
    found = metrics.with_intervals(figures, [predictions]) if len(predictions) else {}
    return {
        **header(run, machine_used),
        "seconds": seconds,
        **more,
        "test": nest({name: figure["mean"] for name, figure in found.items()}),
        "test_interval": nest({name: [fig["low"], fig["high"]] for name, fig in found.items()}),
        "history": history,
    }


def write_run(run: Run, record: dict, predictions: pd.DataFrame, validation: pd.DataFrame) -> None:
    """Write history.csv, validation.csv, predictions.csv, then run.json, whose presence says:
    finished.

    validation: of its validation clips what the run's choices can be made from once more.
    """
    if record["history"]:
        with crs_lib.replaced_file(run.folder / "history.csv") as part:
            pd.DataFrame(record["history"]).to_csv(part, index=False)
    for name, table in ((VALIDATION, validation), (PREDICTIONS, predictions)):
        with crs_lib.replaced_file(run.folder / name) as part:
            table.to_csv(part, index=False, float_format="%.9g")
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

    Raises InputError if it cannot be read, OldFormat if it is of an earlier version.
    """
    path = folder / RECORD
    try:
        if not path.exists():
            return None
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record, dict):
            raise ValueError(f"it holds {str(record)[:20]}")
    except ValueError as error:
        raise InputError(f"{path}: no record of a run ({error}): remove it") from None
    refuse_old(path, record, folder.parent)
    return record


def newest_finished(results: Path, name: str) -> Path | None:
    """The folder of the newest finished run of that name."""
    records = results.glob(f"*_{name}/{RECORD}")
    newest = max(records, key=last_change, default=None)
    return newest.parent if newest else None


def last_change(path: Path) -> int:
    """When a file was last written: a run that was resumed may be newer than its name."""
    return path.stat().st_mtime_ns


def read_predictions(folder: Path) -> pd.DataFrame:
    """The table of predictions of a run, packed or not; an empty recording_b is an empty text."""
    texts = {"recording_a": str, "recording_b": str}
    packed = folder / f"{PREDICTIONS}.gz"
    path = packed if packed.exists() else folder / PREDICTIONS
    return pd.read_csv(path, dtype=texts, keep_default_na=False)


def write_packed(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, packed: the same bytes of the same table."""
    with crs_lib.replaced_file(path) as part:
        packed = {"method": "gzip", "mtime": 0}
        table.to_csv(part, index=False, compression=packed)


def read_packed(path: Path) -> pd.DataFrame:
    """A table of clips that write_packed wrote; an empty recording_b is an empty text."""
    texts = {"recording_a": str, "recording_b": str}
    return pd.read_csv(path, dtype=texts).fillna({"recording_b": ""})
