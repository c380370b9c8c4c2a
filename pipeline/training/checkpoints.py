"""Checkpoints: what a training leaves after each epoch, to go on from."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

import crs_lib
from crs_lib import InputError
from pipeline.evaluation import run_records
from pipeline.files import locks
from pipeline.networks import weights_file

LAST = "last.pt"  # a run's checkpoint, written after every epoch
# What the files hold, and of which type it is.
CHECKPOINT_KINDS = {
    "format": int,
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


class Learner(NamedTuple):
    """What changes with every training step."""

    network: nn.Module
    averaged: nn.Module
    optimiser: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    device: torch.device


def start_run(script: str, model: str, constants: dict, data: dict) -> run_records.Run:
    """A new run's folder; with RESUME that of the newest unfinished run of the same constants.

    Until the script ends nobody else may train these weights or go on with this run.
    model: name in registry.NETWORKS, crs_lib.BOTH behind the
    no-counter baseline's. data: the stamps of what was read, from before that.
    Raises InputError if somebody else does, if the data was replaced meanwhile, or if its weights
    would replace some that are real by synthetic ones, or the reverse.
    """
    run = run_records.describe(script, model, constants, data)
    results = Path(constants["RESULTS"])
    weights = crs_lib.weights_path(constants["MODELS"], run.name)
    locks.hold(weights)
    if weights.exists() and weights_file.read_weights(weights)["synthetic"] != run.synthetic:
        kind = "real recordings" if run.synthetic else "the synthetic set"
        raise InputError(f"{weights} was trained on {kind}: name another folder with --models")
    if not constants["RESUME"]:
        return run_records.in_new_folder(run)
    for last in sorted(
        results.glob(f"*_{run.name}/{LAST}"), key=run_records.last_change, reverse=True
    ):
        record = last.with_name(run_records.RECORD)
        if record.exists():
            continue
        try:
            content = weights_file.read(last, CHECKPOINT_KINDS, results)
            nb_epochs = len(content["state"]["history"])
            if "logits" not in content["state"]["best"]:  # the first versions kept none
                raise KeyError("logits")
        except run_records.OldFormat:
            raise
        except (InputError, KeyError, TypeError):
            print(f"{last} is damaged or of an earlier version, and is passed over")
            continue
        if not run_records.other_work(content, run.script, run.constants, run.data):
            locks.hold(record)
            if record.exists():
                continue  # finished between the two looks
            print(f"resuming {last.parent} after {nb_epochs} epochs")
            return run._replace(folder=last.parent)
    print("no unfinished run of these constants: starting a new one")
    return run_records.in_new_folder(run)


def save_checkpoint(run: run_records.Run, state: dict, learner: Learner) -> None:
    """Write last.pt beside and rename it: what a killed run needs to go on as if it never was."""
    content = {
        "format": run_records.FORMAT,
        "method": run_records.METHODS[run.script],
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
    weights_file.save(content, run.folder / LAST)


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
    content = weights_file.read(path, CHECKPOINT_KINDS, path.parent.parent)
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
            f"{path}: does not fit this training ({weights_file.in_short(error)}): "
            "remove it to begin anew"
        ) from None
    return content["state"]
