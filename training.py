"""One training loop for all networks: data of a set, seeds, device, epochs, checkpoints, resume.

A batch is a list of rows: (row of a stem, row of a second stem or NO_STEM). Single clips and
mixtures are made from the same stems in memory and reach a network at the same level.
"""

import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

import crs_lib
import esc10_data
import metrics
import report
import tmr
from asc_model import ASC
from CNN_ISOCC_copy import CNN_ISOCC
from crs_lib import InputError
from UNet_utils import audio_STFT_torch

NO_STEM = -1  # in place of a single clip's second stem
EVALUATION_BATCH = 64
LAST = "last.pt"  # a run's checkpoint, written after every epoch
# The scripts, as run folders and weights are named after them.
COUNTER = "audio_source_counter"
SINGLE = "sep_opt_isocc_single_volnorm_STFT"
TWO_LABEL = "sep_opt_isocc_multi_random_volnorm_STFT"
# Constants that leave a run's numbers as they are: a run may be resumed under other ones.
PASSING_CONSTANTS = ("RESULTS", "MODELS", "RESUME", "TEST_UNSELECTED")

NETWORKS = {
    "asc": lambda nb_outputs, nb_bins, nb_frames: ASC(nb_bins, nb_outputs),
    "isocc": CNN_ISOCC,
}


class SetData(NamedTuple):
    """What the three trainings and the flow take from one division set."""

    stems: pd.DataFrame  # as esc10_data.choose_stems has it
    classes: list[str]  # sorted
    singles: dict[str, np.ndarray]  # part -> rows (clips, 2), the copies of training clips included
    mixtures: dict[str, np.ndarray]  # part -> rows (mixtures, 2) of originals


# -------------------------------------------------------------------------------- files and rows


def choose_files(
    dataset: str, division_flag: str, set_number: int, sample_rate: int, oversample: int
) -> SetData:
    """Choose the files of a set and what they are; nothing is loaded yet.

    Raises InputError, naming the script to run, if an earlier step's output is missing.
    """
    texts = crs_lib.division_dir(dataset, division_flag)
    crs_lib.need(texts, "0_txt_div.py", DATASET=dataset)
    division = esc10_data.read_division(texts, set_number)
    stems = esc10_data.choose_stems(dataset, sample_rate, oversample, division)
    singles, mixtures = {}, {}
    for part in crs_lib.PARTS:
        rows = np.flatnonzero(stems["part"] == part)
        singles[part] = np.column_stack([rows, np.full(len(rows), NO_STEM)])
        mixtures[part] = esc10_data.choose_mixtures(dataset, set_number, part, stems)
    return SetData(stems, list(stems["class_name"].unique()), singles, mixtures)


def load(stems: pd.DataFrame, sample_rate: int, device: torch.device) -> torch.Tensor:
    """Load the stems with `uploader` and normalise their volume: float32 (stems, samples).

    The loudest sample is that of the data set's own clips, not of their copies.
    """
    clips = esc10_data.uploader(stems["file"], sample_rate)
    loudest = np.abs(clips[stems["copy"] == 0]).max()
    return torch.from_numpy(esc10_data.normalise_volume(clips, loudest)).to(device)


def waveforms_of(stems: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
    """The waveforms of a batch as every network gets them: float32 (clips, samples), levelled.

    stems: float32 (stems, samples). rows: int (clips, 2); NO_STEM for a single clip's second.
    """
    rows = torch.as_tensor(rows, device=stems.device)
    second = stems[rows[:, 1].clamp(min=0)] * (rows[:, 1:] != NO_STEM)
    return esc10_data.level_rms(esc10_data.mix(stems[rows[:, 0]], second))


def features(waveforms: torch.Tensor, n_fft: int) -> torch.Tensor:
    """What the networks see of levelled waveforms: float32 (clips, 1, bins, frames).

    The STFT magnitude on a logarithmic scale, log(1 + 100 x): near-linear where it is silent.
    """
    magnitude = audio_STFT_torch(waveforms, n_fft).abs()
    return torch.log1p(100 * magnitude)[:, None].contiguous(memory_format=torch.channels_last)


def recordings_of(stems: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    """The first columns of a table of predictions: clip, recording_a, recording_b, truth."""
    first = stems.iloc[rows[:, 0]].reset_index(drop=True)
    second = stems.iloc[rows[:, 1]].reset_index(drop=True)
    is_mixture = pd.Series(rows[:, 1] != NO_STEM)

    def join(ending_a: pd.Series, ending_b: pd.Series, sign: str) -> pd.Series:
        return ending_a + (sign + ending_b).where(is_mixture, "")

    names = [part["file"].map(lambda path: path.stem) for part in (first, second)]
    return pd.DataFrame(
        {
            "clip": join(*names, sign="_") + ".wav",
            "recording_a": first["recording"],
            "recording_b": second["recording"].where(is_mixture, ""),
            "truth": join(first["class_name"], second["class_name"], sign="+"),
        }
    )


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
    return device


def seed_everything(seed: int) -> None:
    """Seed random, numpy and torch, and hold cuDNN to algorithms that repeat themselves."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
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
    return network.to(device, memory_format=torch.channels_last)


@torch.no_grad()
def logits_of(
    network: nn.Module, stems: torch.Tensor, rows: np.ndarray, n_fft: int
) -> torch.Tensor:
    """Logits of many rows, in evaluation mode, on the CPU: float32 (clips, outputs)."""
    network.eval()
    starts = range(0, len(rows), EVALUATION_BATCH)
    batches = (
        network(features(waveforms_of(stems, rows[start : start + EVALUATION_BATCH]), n_fft)).cpu()
        for start in (starts if len(rows) < 5000 else tqdm(starts, "test", disable=None))
    )
    return torch.cat(list(batches))


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

    run: its constants give EPOCHS, BATCH, LEARNING_RATE, PATIENCE, SEED and N_FFT. Its last.pt is
        written after every epoch; where there is one already, training goes on from there.
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
    if (run.folder / LAST).exists():
        state = load_checkpoint(run.folder / LAST, network, optimiser, scheduler)
    validation_targets = targets(validation_rows).cpu()
    while len(state["history"]) < constants["EPOCHS"]:
        epoch = len(state["history"])
        if epoch and epoch - state["best"]["row"]["epoch"] > constants["PATIENCE"]:
            break
        timer = tmr.start()
        order = np.random.default_rng([constants["SEED"], epoch, 1]).permutation(nb_clips)
        rows = draw(epoch)[order]
        network.train()
        total = 0.0
        title = f"epoch {epoch + 1}/{constants['EPOCHS']}"
        for start in tqdm(starts, title, unit="batch", leave=False, disable=None):
            chosen = rows[start : start + batch]
            step_loss = loss(
                network(features(waveforms_of(stems, chosen), constants["N_FFT"])), targets(chosen)
            )
            optimiser.zero_grad()
            step_loss.backward()
            optimiser.step()
            scheduler.step()
            total += step_loss.item() * len(chosen)
        logits = logits_of(network, stems, validation_rows, constants["N_FFT"])
        row = {
            "epoch": epoch,
            "train_loss": total / nb_clips,
            "val_loss": loss(logits, validation_targets).item(),
            **{f"val_{name}": value for name, value in validate(logits).items()},
            "seconds": tmr.seconds(timer),
        }
        state["history"].append(row)
        if state["best"] is None or rank(row, select_by) > rank(state["best"]["row"], select_by):
            weights = {name: value.cpu().clone() for name, value in network.state_dict().items()}
            state["best"] = {"row": row, "weights": weights}
        save_checkpoint(run, state, network, optimiser, scheduler)
        print(title, *(f" {name} {value:.3f}" for name, value in list(row.items())[1:]), flush=True)
    network.load_state_dict(state["best"]["weights"])
    return state["history"], state["best"]["row"]


def rank(row: dict, select_by: str) -> tuple[float, float]:
    """What makes one epoch better than another."""
    return row[f"val_{select_by}"], -row["val_loss"]


# -------------------------------------------------------------------- runs, checkpoints, weights


def start_run(script: str, model: str, data: SetData, constants: dict) -> report.Run:
    """A new run's folder; with RESUME that of the newest unfinished run of the same constants.

    model: name in NETWORKS, `_both` behind it where trained on both.
    """
    name = crs_lib.run_name(script, model, constants["SET"], constants["SAMPLE_RATE"])
    results = Path(constants["RESULTS"])
    stamps = data_stamps(constants)
    folder = report.new_folder(results, name, tmr.now())
    run = report.Run(folder, script, model, constants, stamps)
    if not constants["RESUME"]:
        return run
    for last in sorted(results.glob(f"*_{name}/{LAST}"), reverse=True):
        if (last.parent / report.RECORD).exists():
            continue
        content = torch.load(last, map_location="cpu", weights_only=True)
        if shaping(content["constants"]) == shaping(constants) and content["data"] == stamps:
            print(f"resuming {last.parent} after {len(content['state']['history'])} epochs")
            return run._replace(folder=last.parent)
    print("no unfinished run of these constants: starting a new one")
    return run


def shaping(constants: dict) -> dict:
    """The constants that a run's numbers depend on."""
    return {name: value for name, value in constants.items() if name not in PASSING_CONSTANTS}


def data_stamps(constants: dict) -> dict:
    """The stamps of the data a run reads: how it was made."""
    dataset, sample_rate = constants["DATASET"], constants["SAMPLE_RATE"]
    outputs = [crs_lib.rate_dir(dataset, sample_rate), crs_lib.mixes_csv(dataset)]
    if constants["OVERSAMPLE"] > 1:
        outputs.append(crs_lib.oversample_dir(dataset, sample_rate, constants["OVERSAMPLE"]))
    return {path.name: crs_lib.read_stamp(dataset, path.name) for path in outputs}


def save_checkpoint(run: report.Run, state: dict, network, optimiser, scheduler) -> None:
    """Write last.pt beside and rename it: all that a killed run needs to go on as if it never was."""
    content = {
        "constants": run.constants,
        "data": run.data,
        "state": state,
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "scheduler": scheduler.state_dict(),
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    with crs_lib.replaced_file(run.folder / LAST) as part:
        torch.save(content, part)


def load_checkpoint(path: Path, network, optimiser, scheduler) -> dict:
    """Put network, optimiser, scheduler and random states back; returns the loop's state."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict(content["network"])
    optimiser.load_state_dict(content["optimiser"])
    scheduler.load_state_dict(content["scheduler"])
    torch.set_rng_state(content["random"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(content["random_cuda"])
    return content["state"]


def save_weights(run: report.Run, network: nn.Module, classes: list[str], figures: dict) -> Path:
    """Write the weights of a finished training, with all that the flow and predict.py need.

    figures: of the test, and the best epoch's on validation. Returns the file.
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
    }
    with crs_lib.replaced_file(path) as part:
        torch.save(content, part)
    return path


def finish(
    run: report.Run,
    network: nn.Module,
    classes: list[str],
    figures: Callable[[pd.DataFrame, np.ndarray], metrics.Figures],
    predictions: pd.DataFrame,
    history: list[dict],
    best: dict,
    **more: object,
) -> dict:
    """Record a finished training: run.json and its tables, then the weights; prints the figures.

    figures: of `metrics`, of the test predictions. more: what else run.json and the weights hold.
    Returns the record.
    """
    device = next(network.parameters()).device
    record = report.write_record(
        run,
        figures,
        predictions,
        history,
        seconds=sum(row["seconds"] for row in history),
        machine_used=report.machine(str(device), torch.get_num_threads()),
        best_epoch=best["epoch"],
        **more,
    )
    weights = save_weights(run, network, classes, {"test": record["test"], "validation": best})
    for name, value in record["test"].items():
        low, high = record["test_interval"][name]
        print(f"test {name}: {100 * value:.1f} %  (95 % interval {100 * low:.1f} to {100 * high:.1f})")
    print(f"weights: {weights}
run: {run.folder}")
    return record


def load_weights(
    models: str, script: str, model: str, set_number: int, sample_rate: int, device: torch.device
) -> tuple[nn.Module, dict]:
    """A trained network in evaluation mode, and what its file says of it (see save_weights).

    Raises InputError if the file is missing (naming the script that trains it), damaged, or of
    another set or rate than its name says.
    """
    name = crs_lib.run_name(script, model, set_number, sample_rate)
    path = crs_lib.weights_path(models, name)
    wanted = {"SET": set_number, "SAMPLE_RATE": sample_rate, "MODELS": models}
    if model.endswith("_both"):
        wanted["TRAIN_ON"] = "both"
    wanted["MODEL"] = model.removesuffix("_both")
    crs_lib.need(path, f"{script}.py", **wanted)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        constants, classes = content["constants"], content["classes"]
        nb_outputs = 2 if script == COUNTER else len(classes)
        network = build(
            constants["MODEL"], nb_outputs, constants["SAMPLE_RATE"], constants["N_FFT"], device
        )
        network.load_state_dict(content["weights"])
    except (RuntimeError, pickle.UnpicklingError, KeyError, EOFError, TypeError) as error:
        reason = str(error).splitlines()[0][:100]
        raise InputError(f"{path}: not weights that can be read ({reason})") from None
    if (constants["SET"], constants["SAMPLE_RATE"]) != (set_number, sample_rate):
        raise InputError(
            f"{path}: holds weights of set {constants['SET']} at {constants['SAMPLE_RATE']} Hz, not "
            f"of set {set_number} at {sample_rate} Hz"
        )
    return network.eval(), content
