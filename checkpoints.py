"""What a training leaves on disk: checkpoints that it goes on from, and finished weights."""

import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

import crs_lib
import locks
import report
from crs_lib import InputError

LAST = "last.pt"  # a run's checkpoint, written after every epoch
# What the files hold, and of which type it is.
CHECKPOINT_KINDS = {
    "method": int,
    "constants": dict,
    "data": dict,
    "state": dict,
    "network": dict,
    "averaged": dict,
    "optimiser": dict,
    "scheduler": dict,
    "random": torch.Tensor,
    "device": str,
    "random_device": torch.Tensor,
}
WEIGHTS_KINDS = {
    "weights": dict,
    "constants": dict,
    "data": dict,
    "classes": list,
    "run": str,
    "metrics": dict,
    "versions": dict,
    "synthetic": bool,
    "forgotten": dict,
}


class Learner(NamedTuple):
    """What changes with every training step."""

    network: nn.Module
    averaged: nn.Module
    optimiser: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    device: torch.device


def start_run(script: str, model: str, constants: dict, data: dict) -> report.Run:
    """A new run's folder; with RESUME that of the newest unfinished run of the same constants.

    Until the script ends nobody else may train these weights or go on with this run.
    model: name in networks.NETWORKS, crs_lib.BOTH behind the rival's. data: the
    stamps of what was read, from before that.
    Raises InputError if somebody else does, if the data was replaced meanwhile, or if its weights
    would replace some that are real by synthetic ones, or the reverse.
    """
    run = report.describe(script, model, constants, data)
    results = Path(constants["RESULTS"])
    weights = crs_lib.weights_path(constants["MODELS"], run.name)
    locks.hold(weights)
    if weights.exists() and read_weights(weights)["synthetic"] != run.synthetic:
        kind = "real recordings" if run.synthetic else "the synthetic set"
        raise InputError(f"{weights} was trained on {kind}: name another folder with --models")
    if not constants["RESUME"]:
        return report.in_new_folder(run)
    for last in sorted(results.glob(f"*_{run.name}/{LAST}"), key=report.last_change, reverse=True):
        record = last.with_name(report.RECORD)
        if record.exists():
            continue
        try:
            content = read(last, CHECKPOINT_KINDS)
            nb_epochs = len(content["state"]["history"])
            if "logits" not in content["state"]["best"]:  # the first versions kept none
                raise KeyError("logits")
        except (InputError, KeyError, TypeError):
            print(f"{last} is damaged or of an earlier version, and is passed over")
            continue
        if not report.other_work(content, run.script, run.constants, run.data):
            locks.hold(record)
            if record.exists():
                continue  # finished between the two looks
            print(f"resuming {last.parent} after {nb_epochs} epochs")
            return run._replace(folder=last.parent)
    print("no unfinished run of these constants: starting a new one")
    return report.in_new_folder(run)


def save_checkpoint(run: report.Run, state: dict, learner: Learner) -> None:
    """Write last.pt beside and rename it: what a killed run needs to go on as if it never was."""
    content = {
        "method": report.METHODS[run.script],
        "constants": run.constants,
        "data": run.data,
        "state": state,
        "network": learner.network.state_dict(),
        "averaged": learner.averaged.state_dict(),
        "optimiser": learner.optimiser.state_dict(),
        "scheduler": learner.scheduler.state_dict(),
        "random": torch.get_rng_state(),
        # Of the device that trains: a resumed run may see fewer of them, or another kind.
        "device": learner.device.type,
        "random_device": random_state(learner.device),
    }
    save(content, run.folder / LAST)


def save(content: dict, path: Path) -> None:
    """Write a file as torch does, whole or not at all. Raises OSError where the disk is full."""
    buffer = io.BytesIO()
    torch.save(content, buffer)  # to a full disk it would fail without saying why
    with crs_lib.replaced_file(path) as part:
        part.write_bytes(buffer.getbuffer())


def random_state(device: torch.device) -> torch.Tensor:
    """The state of the generator that the device draws from."""
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else torch.get_rng_state()


def set_random_state(state: torch.Tensor, device: torch.device) -> None:
    """Put the state of the device's generator back."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    elif device.type == "mps":
        torch.mps.set_rng_state(state)
    else:
        torch.set_rng_state(state)


def load_checkpoint(path: Path, learner: Learner) -> dict:
    """Put networks, optimiser, scheduler and random states back; returns the loop's state.

    Raises InputError if they do not fit.
    """
    content = read(path, CHECKPOINT_KINDS)
    try:
        learner.network.load_state_dict(content["network"])
        learner.averaged.load_state_dict(content["averaged"])
        learner.optimiser.load_state_dict(content["optimiser"])
        learner.scheduler.load_state_dict(content["scheduler"])
        torch.set_rng_state(content["random"])
        if content["device"] == learner.device.type:
            set_random_state(content["random_device"], learner.device)
        else:
            print(f"{path}: of {content['device']}, goes on with random numbers of another kind")
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: does not fit this training ({in_short(error)}): remove it to begin anew"
        ) from None
    return content["state"]


def save_weights(
    run: report.Run, network: nn.Module, classes: list[str], figures: dict, forgotten: dict
) -> Path:
    """Write the weights of a finished training, with all that the flow and predict.py need.

    figures: of the test, and the best epoch's on validation. forgotten: of a counter that learned
    class names, that part of its last layer, else empty. Returns the file.
    """
    path = crs_lib.weights_path(run.constants["MODELS"], run.name)
    content = {
        "weights": {name: value.cpu() for name, value in network.state_dict().items()},
        "constants": run.constants,
        "data": run.data,
        "classes": classes,
        "run": run.folder.name,
        "metrics": figures,
        "versions": report.versions(),
        "synthetic": crs_lib.is_synthetic(run.constants["DATASET"]),
        "forgotten": {name: value.cpu() for name, value in forgotten.items()},
    }
    save(content, path)
    return path


def read_weights(path: Path) -> dict:
    """What save_weights wrote; no code in it is run. Raises InputError if it cannot be read."""
    try:
        return read(path, WEIGHTS_KINDS)
    except InputError as error:
        raise InputError(
            f"{error}: not weights that can be read: remove it and train again"
        ) from None


def read(path: Path, kinds: dict[str, type]) -> dict:
    """What torch.save wrote, if it has these keys and values of these types; no code in it is run.

    Raises InputError if it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch itself would not look at the checksums
        if damaged:
            raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        content = dict(torch.load(path, map_location="cpu", weights_only=True))
        odd = [key for key, kind in kinds.items() if not isinstance(content[key], kind)]
    except Exception as error:  # a damaged file makes torch raise anything
        raise InputError(f"{path} cannot be read ({in_short(error)})") from None
    if odd:
        raise InputError(f"{path} cannot be read (its {odd[0]} is no {kinds[odd[0]].__name__})")
    return {key: content[key] for key in kinds}


def in_short(error: Exception) -> str:
    """An error's text, at most 100 characters on one line; its type where it has none."""
    return " ".join(str(error).split())[:100] or type(error).__name__
