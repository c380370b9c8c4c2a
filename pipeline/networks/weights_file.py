"""Finished weights on disk, with all that the flow and predict.py need."""

import io
import zipfile
from pathlib import Path

import torch
from torch import nn

import crs_lib
from crs_lib import InputError
from pipeline.evaluation import run_records

ALWAYS_THERE = {"constants", "data"}  # in weights and checkpoints of any format
WEIGHTS_KINDS = {
    "format": int,
    "weights": dict,
    "constants": dict,
    "data": dict,
    "classes": list,
    "run": str,
    "metrics": dict,
    "versions": dict,
    "synthetic": bool,
    "label_head": dict,
}


def save(content: dict, path: Path) -> None:
    """Write a file as torch does, whole or not at all. Raises OSError where the disk is full."""
    buffer = io.BytesIO()
    torch.save(content, buffer)  # to a full disk it would fail without saying why
    with crs_lib.replaced_file(path) as part:
        part.write_bytes(buffer.getbuffer())


def save_weights(
    run: run_records.Run, network: nn.Module, classes: list[str], figures: dict, label_head: dict
) -> Path:
    """Write the weights of a finished training, with all that the flow and predict.py need.

    figures: of the test, and the best epoch's on validation. label_head: of a counter that learned
    class labels, that part of its last layer, else empty. Returns the file.
    """
    path = crs_lib.weights_path(run.constants["MODELS"], run.name)
    content = {
        "format": run_records.FORMAT,
        "weights": {name: value.cpu() for name, value in network.state_dict().items()},
        "constants": run.constants,
        "data": run.data,
        "classes": classes,
        "run": run.folder.name,
        "metrics": figures,
        "versions": run_records.versions(),
        "synthetic": crs_lib.is_synthetic(run.constants["DATASET"]),
        "label_head": {name: value.cpu() for name, value in label_head.items()},
    }
    save(content, path)
    return path


def read_weights(path: Path) -> dict:
    """What save_weights wrote; no code in it is run. Raises InputError if it cannot be read.

    Constants that it lacks, of an earlier version, have the values that it was made with.
    """
    try:
        content = read(path, WEIGHTS_KINDS, path.parent)
    except run_records.OldFormat:
        raise
    except InputError as error:
        raise InputError(
            f"{error}: not weights that can be read: remove it and train again"
        ) from None
    content["constants"] = {**run_records.LATER_CONSTANTS, **content["constants"]}
    return content


def load_checked(path: Path) -> dict:
    """What torch.save wrote, its checksums looked at; no code in it is run. Raises anything."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()  # torch itself would not look at the checksums
    if damaged:
        raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
    return dict(torch.load(path, map_location="cpu", weights_only=True))


def read(path: Path, kinds: dict[str, type], folder: Path) -> dict:
    """What torch.save wrote, if it has these keys and values of these types; no code in it is run.

    folder: what is to be renewed where the file is of an earlier version.
    Raises InputError if it cannot be read, OldFormat if it is of an earlier version.
    """
    try:
        content = load_checked(path)
        if content.keys() >= ALWAYS_THERE:
            run_records.refuse_old(path, content, folder)
        odd = [key for key, kind in kinds.items() if not isinstance(content[key], kind)]
    except run_records.OldFormat:
        raise
    except Exception as error:  # a damaged file makes torch raise anything
        raise InputError(f"{path} cannot be read ({in_short(error)})") from None
    if odd:
        raise InputError(f"{path} cannot be read (its {odd[0]} is no {kinds[odd[0]].__name__})")
    return {key: content[key] for key in kinds}


def in_short(error: Exception) -> str:
    """An error's text, at most 100 characters on one line; its type where it has none."""
    return " ".join(str(error).split())[:100] or type(error).__name__
