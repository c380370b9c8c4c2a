"""One training loop for all networks: seeds, epochs, resume, what is written at the end.

A batch is rows of stems (see set_data), which a network gets as `features` makes them.
"""

import copy
import math
import os
import random
import zlib
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

import crs_lib
import tmr
from crs_lib import InputError
from pipeline.data import set_data
from pipeline.evaluation import metrics, run_records
from pipeline.networks import features, heads, registry, weights_file
from pipeline.settings import command_line
from pipeline.training import checkpoints, finetuning


def seed_everything(seed: int, set_number: int, script: str) -> None:
    """Seed random, numpy and torch, and hold cuDNN to algorithms that repeat themselves.

    Every script has random numbers of its own on every set. Sets k and k + 5 learn from the same
    clips, and so do both classifiers: with the same numbers they would be one training told twice.
    (The two-label classifier and the no-counter baseline are one script and share theirs.)
    """
    words = np.random.SeedSequence([seed, set_number, zlib.crc32(script.encode())])
    seed = int(words.generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def many_hot(rows: np.ndarray, labels: torch.Tensor, nb_classes: int) -> torch.Tensor:
    """Targets of class labels: 1 for each class in the clip, float32 (clips, classes).

    labels: the class index of every stem, int (stems,).
    """
    stems = torch.as_tensor(rows, device=labels.device)
    # A single clip's absent second stem marks its first one's class a second time.
    second = torch.where(stems[:, 1] == set_data.NO_STEM, stems[:, 0], stems[:, 1])
    targets = torch.zeros(len(rows), nb_classes, device=labels.device)
    return targets.scatter_(1, labels[torch.stack([stems[:, 0], second], dim=1)], 1)


def labels_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean negative log-likelihood of each clip's labels among all sets of as many (one or two).

    Sets weigh as the exponential of their summed logits: for one label this is cross-entropy, for
    two its like over the pairs of classes (the conditional Bernoulli distribution of Chen,
    Dempster and Liu 1994). How many there are is known, or somebody else's to tell.
    logits: float32 (clips, classes). targets: as `many_hot` has them.
    """
    of_two = heads.pair_logits(logits).logsumexp(dim=1)
    of_all = torch.where(targets.sum(dim=1) == 2, of_two, logits.logsumexp(dim=1))
    return (of_all - (logits * targets).sum(dim=1)).mean()


# --------------------------------------------------------------------------------------- the loop


def fit(
    run: run_records.Run,
    network: nn.Module,
    stems: torch.Tensor,
    draw: Callable[[int], np.ndarray],
    targets: Callable[[np.ndarray], torch.Tensor],
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    validate: Callable[[torch.Tensor], dict[str, float]],
    validation_rows: np.ndarray,
    select_by: str,
) -> tuple[list[dict], dict, torch.Tensor]:
    """Train until the epochs are over or validation stops getting better; keep the best epoch.

    run: its constants give EPOCHS, BATCH, LEARNING_RATE, AVERAGE, PATIENCE, SEED, BF16 and the
        augmentation. Its last.pt is written after every epoch; where there is one, training
        goes on from there.
    draw: epoch -> rows of that epoch's training clips. targets: rows -> targets of `loss`.
    validate: logits of `validation_rows` -> figures; `select_by` names the one that picks the
        epoch, the higher the better; the lower validation loss decides between equals.
    Validated and kept are the weights averaged over the last steps, see `average_in`.
    Returns the history (a row an epoch), the best epoch's row, and the logits of `validation_rows`
    by its weights, which the network then has.
    """
    constants = run.constants
    seeds = constants["SEED"], constants["SET"]
    nb_clips, batch = len(draw(0)), constants["BATCH"]
    starts = range(0, nb_clips, batch)
    nb_steps = len(starts) * constants["EPOCHS"]
    groups = finetuning.parameter_groups(network, constants)
    optimiser = torch.optim.AdamW(groups, lr=constants["LEARNING_RATE"], fused=True)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=[group["lr"] for group in groups], total_steps=nb_steps
    )
    averaged = copy.deepcopy(network)
    pretrained = copy.deepcopy(getattr(network, "encoder", None))
    learner = checkpoints.Learner(network, averaged, optimiser, scheduler, stems.device)
    state = {"history": [], "best": None}
    last = run.folder / checkpoints.LAST
    if last.exists():
        state = checkpoints.load_checkpoint(last, learner)
    validation_targets = targets(validation_rows).cpu()
    while len(state["history"]) < constants["EPOCHS"]:
        epoch = len(state["history"])
        if epoch and epoch - state["best"]["row"]["epoch"] > constants["PATIENCE"]:
            break
        timer = tmr.start()
        order = np.random.default_rng([*seeds, epoch, 1]).permutation(nb_clips)
        rows = draw(epoch)[order]
        network.train()
        total = torch.zeros((), device=stems.device)
        title = f"epoch {epoch + 1}/{constants['EPOCHS']}"
        for start in tqdm(starts, title, unit="batch", leave=False, disable=None):
            chosen = rows[start : start + batch]
            spectrograms = features.augmented_features(network, stems, chosen, constants)
            with torch.autocast(stems.device.type, torch.bfloat16, enabled=constants["BF16"]):
                step_loss = loss(network(spectrograms).float(), targets(chosen))
            optimiser.zero_grad()
            step_loss.backward()
            optimiser.step()
            scheduler.step()
            step = scheduler.last_epoch  # it is stepped with every batch
            average_in(averaged, network, step, constants["AVERAGE"] * len(starts))
            total += step_loss.detach()  # no .item() here: a GPU would have to stand still for it
        kept = finetuning.with_pretrained(averaged, pretrained, constants)
        logits = heads.logits_of(kept, stems, validation_rows)
        train_loss = total.item() / len(starts)
        if not math.isfinite(train_loss):
            raise InputError(f"{title}: the loss is {train_loss}: try a smaller --learning-rate")
        row = {"epoch": epoch, "train_loss": train_loss}
        if len(validation_rows):
            row["val_loss"] = loss(logits, validation_targets).item()
            row |= {f"val_{name}": value for name, value in validate(logits).items()}
        row["seconds"] = tmr.seconds(timer)
        state["history"].append(row)
        if state["best"] is None or rank(row, select_by) > rank(state["best"]["row"], select_by):
            weights = {name: value.cpu().clone() for name, value in kept.state_dict().items()}
            state["best"] = {"row": row, "weights": weights, "logits": logits}
        checkpoints.save_checkpoint(run, state, learner)
        print(title, *(f" {name} {value:.3f}" for name, value in list(row.items())[1:]), flush=True)
    network.load_state_dict(state["best"]["weights"])
    return state["history"], state["best"]["row"], state["best"]["logits"]


def take_label_head(
    run: run_records.Run,
    network: nn.Module,
    stems: torch.Tensor,
    classes: list[str],
    validate: Callable[[torch.Tensor], dict[str, float]],
    validation_rows: np.ndarray,
) -> tuple[dict, torch.Tensor, str]:
    """Give a classifier the label head that the counter learned, in place of `fit`.

    The joint network then counts and classifies. validate, validation_rows: as of `fit`.
    Returns its row of validation figures, at the counter's epoch, the logits that they are of, and
    the counter's run.
    Raises InputError if that counter is missing, or learned other labels, or from another STFT.
    """
    constants = run.constants
    where = [constants[name] for name in ("MODEL", "SET", "SAMPLE_RATE")]
    counter, content = registry.load_network(
        constants["MODELS"], crs_lib.COUNTER, *where, stems.device, constants["DATASET"]
    )
    wanted = (classes, constants["N_FFT"])
    if not content["label_head"] or (content["classes"], content["constants"]["N_FFT"]) != wanted:
        names = ["DATASET", "RESULTS", "MODELS", "SAMPLE_RATE", "N_FFT", "MODEL"]
        names.append("ALL_CLIPS" if constants["ALL_CLIPS"] else "SET")
        redo = command_line.command(
            f"{crs_lib.COUNTER}.py", **{name: constants[name] for name in names}
        )
        raise InputError(f"the counter of {content['run']} learned no such labels: run  {redo}")
    heads.keep_logits(counter, slice(2, None))
    network.load_state_dict(counter.state_dict())
    logits = heads.logits_of(network, stems, validation_rows)
    figures = {}
    if len(validation_rows):
        figures = {f"val_{name}": value for name, value in validate(logits).items()}
    row = {"epoch": content["metrics"]["validation"]["epoch"], **figures}
    return row, logits, content["run"]


@torch.no_grad()
def average_in(averaged: nn.Module, network: nn.Module, step: int, span_steps: float) -> None:
    """Move the averaged weights towards the network's: the mean of its last steps, fading.

    step: 1 after the first. span_steps: steps after which a step has faded to 1/e, at first fewer
    (step / 9), so that the first weights of all are soon forgotten; 0: the last step's alone.
    """
    share = 1 / (1 + min(span_steps, step / 9))
    for average, value in zip(
        averaged.state_dict().values(), network.state_dict().values(), strict=True
    ):
        if value.is_floating_point():
            average.lerp_(value, share)
        else:
            average.copy_(value)  # how many batches a batch norm has seen


def rank(row: dict, select_by: str) -> tuple[float, float]:
    """What makes one epoch better than another; without validation the later one is."""
    if "val_loss" not in row:
        return row["epoch"], 0.0
    return row[f"val_{select_by}"], -row["val_loss"]


# ------------------------------------------------------------------------------ finished networks


def validation_table(
    logits: torch.Tensor, rows: np.ndarray, data: set_data.SetData, outputs: list[str]
) -> pd.DataFrame:
    """The table of validation clips: what each is, and the network's logits of it, `logit_*`.

    outputs: what the logits are called, in their order.
    """
    columns = [f"logit_{name}" for name in outputs]
    table = set_data.recordings_of(data.stems, rows)
    return table.join(pd.DataFrame(logits.numpy(), columns=columns))


def finish(
    run: run_records.Run,
    network: nn.Module,
    classes: list[str],
    figures: Callable[[pd.DataFrame, np.ndarray], metrics.Figures],
    predictions: pd.DataFrame,
    validation: pd.DataFrame,
    history: list[dict],
    best: dict,
    draw_plots: Callable[[], None],
    **more: object,
) -> None:
    """Write the weights, plots and tables of a training, run.json last; print the figures.

    So a run that was killed on the way is not taken for a finished one.
    figures: of `metrics`, of the test predictions. validation: see `validation_table`.
    more: what else run.json holds. A counter's label head is cut off, and kept if it learned.
    """
    device = next(network.parameters()).device
    record = run_records.make_record(
        run,
        figures,
        predictions,
        history,
        seconds=sum(row["seconds"] for row in history),
        machine_used=registry.machine(device),
        best_epoch=best["epoch"],
        **more,
    )
    measured = {"test": record["test"], "validation": best}
    if len(predictions):
        draw_plots()
    label_head = heads.cut_label_head(network) if run.script == crs_lib.COUNTER else {}
    learned = label_head if run.constants.get("LABELS_WEIGHT") else {}
    weights = weights_file.save_weights(run, network, classes, measured, learned)
    run_records.write_run(run, record, predictions, validation)
    for name, value in record["test"].items():
        low, high = record["test_interval"][name]
        print(f"test {name}: {100 * value:.1f} %  (95 %: {100 * low:.1f} to {100 * high:.1f})")
    print(f"weights: {weights}")
    print(f"run: {run.folder}")
