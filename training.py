"""One training loop for all networks: seeds, device, epochs, resume; trained networks.

A batch is rows of stems (see set_data), which a network gets as `hearing` makes them.
"""

import os
import random
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

import checkpoints
import cpu_speed
import crs_lib
import esc10_data
import hearing
import metrics
import report
import set_data
import tmr
from asc_model import ASC
from CNN_ISOCC_copy import CNN_ISOCC
from crs_lib import InputError

EVALUATION_BATCH = 64
# The scripts, as run folders and weights are named after them.
COUNTER = "audio_source_counter"
SINGLE = "sep_opt_isocc_single_volnorm_STFT"
TWO_LABEL = "sep_opt_isocc_multi_random_volnorm_STFT"
NETWORKS = {
    "asc": lambda nb_outputs, nb_bins, nb_frames: ASC(nb_bins, nb_outputs),
    "isocc": CNN_ISOCC,
}


# ------------------------------------------------------------------------- devices and networks


def choose_device(name: str, threads: int = 0) -> torch.device:
    """The device called `name`; `auto` takes CUDA, else MPS, else the CPU.

    threads: of the CPU; 0 leaves torch's choice. Raises InputError if there is no such device.
    """
    if threads:
        torch.set_num_threads(threads)
    if name == "auto":
        mps = torch.backends.mps.is_available()
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"--device {name}: not to be had here ({str(error)[:80]})") from None
    if device.type == "cpu":
        cpu_speed.keep_memory()
    return device


def seed_everything(seed: int) -> None:
    """Seed random, numpy and torch, and hold cuDNN to algorithms that repeat themselves."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def build(
    model: str, nb_outputs: int, sample_rate: int, n_fft: int, device: torch.device
) -> nn.Module:
    """A new network by its name in NETWORKS, for clips at `sample_rate` (Hz), on the device.

    Raises InputError if the spectrogram is too small for it.
    """
    nb_frames = 1 + esc10_data.CLIP_SECONDS * sample_rate // (n_fft // 4)
    try:
        network = NETWORKS[model](nb_outputs, nb_bins=n_fft // 2 + 1, nb_frames=nb_frames)
    except ValueError as error:
        raise InputError(f"--sample-rate {sample_rate} --n-fft {n_fft}: {error}") from None
    if device.type == "cpu":
        cpu_speed.quicken(network)
    return network.to(device, memory_format=torch.channels_last)


@torch.no_grad()
def logits_of(
    network: nn.Module, stems: torch.Tensor, rows: np.ndarray, n_fft: int
) -> torch.Tensor:
    """Logits of many rows, in evaluation mode, on the CPU: float32 (clips, outputs)."""
    network.eval()
    starts = range(0, len(rows), EVALUATION_BATCH)
    logits = []
    for start in starts if len(rows) < 5000 else tqdm(starts, "test", disable=None):
        some = rows[start : start + EVALUATION_BATCH]
        logits.append(network(hearing.features(hearing.waveforms_of(stems, some), n_fft)).cpu())
    return torch.cat(logits)


def many_hot(rows: np.ndarray, labels: torch.Tensor, nb_classes: int) -> torch.Tensor:
    """Targets of class names: 1 for each class in the clip, float32 (clips, classes).

    labels: the class index of every stem, int (stems,).
    """
    stems = torch.as_tensor(rows, device=labels.device)
    # A single clip's absent second stem marks its first one's class a second time.
    second = torch.where(stems[:, 1] == set_data.NO_STEM, stems[:, 0], stems[:, 1])
    targets = torch.zeros(len(rows), nb_classes, device=labels.device)
    return targets.scatter_(1, labels[torch.stack([stems[:, 0], second], dim=1)], 1)


# --------------------------------------------------------------------------------------- the loop


def fit(
    run: report.Run,
    network: nn.Module,
    stems: torch.Tensor,
    draw: Callable[[int], np.ndarray],
    targets: Callable[[np.ndarray], torch.Tensor],
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    validate: Callable[[torch.Tensor], dict[str, float]],
    validation_rows: np.ndarray,
    select_by: str,
) -> tuple[list[dict], dict]:
    """Train until the epochs are over or validation stops getting better; keep the best epoch.

    run: its constants give EPOCHS, BATCH, LEARNING_RATE, PATIENCE, SEED, BF16 and how clips are
        varied. Its last.pt is written after every epoch; where there is one, training goes on
        from there.
    draw: epoch -> rows of that epoch's training clips. targets: rows -> targets of `loss`.
    validate: logits of `validation_rows` -> figures; `select_by` names the one that picks the
        epoch, the higher the better; the lower validation loss decides between equals.
    Returns the history (a row an epoch) and the best epoch's row; the network has its weights.
    """
    constants = run.constants
    nb_clips, batch = len(draw(0)), constants["BATCH"]
    # A last batch of one clip would have no batch statistics: it is left out of the epoch.
    starts = [start for start in range(0, nb_clips, batch) if nb_clips - start > 1]
    nb_steps = len(starts) * constants["EPOCHS"]
    optimiser = torch.optim.AdamW(network.parameters(), lr=constants["LEARNING_RATE"], fused=True)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=constants["LEARNING_RATE"], total_steps=nb_steps
    )
    state = {"history": [], "best": None}
    last = run.folder / checkpoints.LAST
    if last.exists():
        state = checkpoints.load_checkpoint(last, network, optimiser, scheduler, stems.device)
    validation_targets = targets(validation_rows).cpu()
    while len(state["history"]) < constants["EPOCHS"]:
        epoch = len(state["history"])
        if epoch and epoch - state["best"]["row"]["epoch"] > constants["PATIENCE"]:
            break
        timer = tmr.start()
        order = np.random.default_rng([constants["SEED"], epoch, 1]).permutation(nb_clips)
        rows = draw(epoch)[order]
        network.train()
        total = torch.zeros((), device=stems.device)
        title = f"epoch {epoch + 1}/{constants['EPOCHS']}"
        for start in tqdm(starts, title, unit="batch", leave=False, disable=None):
            chosen = rows[start : start + batch]
            spectrograms = hearing.varied_features(stems, chosen, constants)
            with torch.autocast(stems.device.type, torch.bfloat16, enabled=constants["BF16"]):
                step_loss = loss(network(spectrograms).float(), targets(chosen))
            optimiser.zero_grad()
            step_loss.backward()
            optimiser.step()
            scheduler.step()
            total += step_loss.detach()  # no .item() here: a GPU would have to stand still for it
        logits = logits_of(network, stems, validation_rows, constants["N_FFT"])
        row = {
            "epoch": epoch,
            "train_loss": total.item() / len(starts),
            "val_loss": loss(logits, validation_targets).item(),
            **{f"val_{name}": value for name, value in validate(logits).items()},
            "seconds": tmr.seconds(timer),
        }
        state["history"].append(row)
        if state["best"] is None or rank(row, select_by) > rank(state["best"]["row"], select_by):
            weights = {name: value.cpu().clone() for name, value in network.state_dict().items()}
            state["best"] = {"row": row, "weights": weights}
        checkpoints.save_checkpoint(run, state, network, optimiser, scheduler, stems.device)
        print(title, *(f" {name} {value:.3f}" for name, value in list(row.items())[1:]), flush=True)
    network.load_state_dict(state["best"]["weights"])
    return state["history"], state["best"]["row"]


def rank(row: dict, select_by: str) -> tuple[float, float]:
    """What makes one epoch better than another."""
    return row[f"val_{select_by}"], -row["val_loss"]


# ------------------------------------------------------------------------------ finished networks


def finish(
    run: report.Run,
    network: nn.Module,
    classes: list[str],
    figures: Callable[[pd.DataFrame, np.ndarray], metrics.Figures],
    predictions: pd.DataFrame,
    history: list[dict],
    best: dict,
    draw_pictures: Callable[[], None],
    **more: object,
) -> None:
    """Write the weights, pictures and tables of a training, run.json last; print the figures.

    So a run that was killed on the way is not taken for a finished one.
    figures: of `metrics`, of the test predictions. more: what else run.json holds.
    """
    device = next(network.parameters()).device
    record = report.make_record(
        run,
        figures,
        predictions,
        history,
        seconds=sum(row["seconds"] for row in history),
        machine_used=report.machine(str(device), torch.get_num_threads()),
        best_epoch=best["epoch"],
        **more,
    )
    weights = checkpoints.save_weights(
        run, network, classes, {"test": record["test"], "validation": best}
    )
    draw_pictures()
    report.write_run(run, record, predictions)
    for name, value in record["test"].items():
        low, high = record["test_interval"][name]
        print(f"test {name}: {100 * value:.1f} %  (95 %: {100 * low:.1f} to {100 * high:.1f})")
    print(f"weights: {weights}")
    print(f"run: {run.folder}")


def load_network(
    models: str,
    script: str,
    model: str,
    set_number: int,
    sample_rate: int,
    device: torch.device,
    dataset: str = "",
) -> tuple[nn.Module, dict]:
    """A trained network in evaluation mode, and what checkpoints.save_weights wrote of it.

    dataset: the root it is to be tested on, empty where there is none.
    Raises InputError if the file is missing (naming the script that trains it), damaged, of
    another set or rate than its name says, or synthetic where the root is real (or the reverse).
    """
    path = crs_lib.weights_path(models, crs_lib.run_name(script, model, set_number, sample_rate))
    wanted = {
        "DATASET": dataset or "dataset",
        "MODELS": models,
        "SET": set_number,
        "SAMPLE_RATE": sample_rate,
        "TRAIN_ON": "both" if model.endswith("_both") else "mixtures",
        "MODEL": model.removesuffix("_both"),
    }
    crs_lib.need(path, f"{script}.py", **wanted)
    content = checkpoints.read_weights(path)
    constants = content["constants"]
    if (constants["SET"], constants["SAMPLE_RATE"]) != (set_number, sample_rate):
        raise InputError(
            f"{path}: holds weights of set {constants['SET']} at {constants['SAMPLE_RATE']} Hz, "
            f"not of set {set_number} at {sample_rate} Hz"
        )
    if dataset and content["synthetic"] != crs_lib.is_synthetic(dataset):
        kind = "the synthetic set" if content["synthetic"] else "real recordings"
        raise InputError(f"{path}: trained on {kind}, which {dataset} does not hold")
    nb_outputs = 2 if script == COUNTER else len(content["classes"])
    network = build(constants["MODEL"], nb_outputs, sample_rate, constants["N_FFT"], device)
    try:
        network.load_state_dict(content["weights"])
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(f"{path}: the weights do not fit the network ({reason})") from None
    return network.eval(), content


def load_networks(
    tasks: dict[str, tuple[str, str]],
    models: str,
    set_number: int,
    sample_rate: int,
    device: torch.device,
    dataset: str = "",
) -> dict[str, tuple[nn.Module, dict]]:
    """Several trained networks that answer together: task -> (network, what its file says).

    tasks: task -> (script, model). Raises InputError as load_network does, or if they were
    trained on different classes, or some on the synthetic set and some not.
    """
    networks = {
        task: load_network(models, script, model, set_number, sample_rate, device, dataset)
        for task, (script, model) in tasks.items()
    }
    kinds = {(content["synthetic"], *content["classes"]) for _, content in networks.values()}
    if len(kinds) > 1:
        raise InputError(f"{models}: the weights were trained on different classes or data")
    return networks
