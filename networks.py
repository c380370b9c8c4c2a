"""Networks: new ones by their name, trained ones from their file, their answers on a device."""

import copy
import inspect
from functools import partial

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

import checkpoints
import cpu_speed
import crs_lib
import esc10_data
import hearing
import report
import stamps
from asc_model import ASC
from CNN_ISOCC_copy import CNN_ISOCC
from crs_lib import InputError
from good_values import GOOD_VALUES, why_bad
from more_models import LogMel

EVALUATION_BATCH = 64
MOST_LOGIT = 100  # by which a counter's threshold is moved: of one that knows nothing it is 0 or 1
DEVICES = ("cpu", "cuda", "mps")
# A new network by its name, of nb_outputs, nb_bins, nb_frames, sample_rate. Its last layer is
# `dense[-1]`, which `forget_names` shortens.
NETWORKS = {
    "asc": lambda nb_outputs, nb_bins, nb_frames, sample_rate: ASC(nb_bins, nb_outputs),
    "isocc": lambda nb_outputs, nb_bins, nb_frames, sample_rate: CNN_ISOCC(
        nb_outputs, nb_bins, nb_frames
    ),
    "logmel": LogMel,
}


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
        if device.type not in DEVICES:
            raise RuntimeError(f"good ones are auto, {', '.join(DEVICES)}")
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise InputError(f"--device {name}: not to be had here ({str(error)[:80]})") from None
    if device.type == "cpu":
        cpu_speed.keep_memory()
    return device


def machine(device: torch.device) -> dict:
    """What a run on this device ran on, for its record."""
    name = str(device)
    if device.type == "cuda":
        name += f" ({torch.cuda.get_device_name(device)})"
    return report.machine(name, torch.get_num_threads())


def build(
    model: str, nb_outputs: int, sample_rate: int, n_fft: int, device: torch.device
) -> nn.Module:
    """A new network by its name in NETWORKS, for clips at `sample_rate` (Hz), on the device.

    Raises InputError if the spectrogram is too small for it.
    """
    nb_frames = 1 + esc10_data.CLIP_SECONDS * sample_rate // (n_fft // 4)
    try:
        network = NETWORKS[model](nb_outputs, n_fft // 2 + 1, nb_frames, sample_rate)
    except ValueError as error:
        raise InputError(f"--sample-rate {sample_rate} --n-fft {n_fft}: {error}") from None
    if device.type == "cpu":
        cpu_speed.quicken(network)
    return network.to(device, memory_format=torch.channels_last)


@torch.no_grad()
def move_threshold(counter: nn.Module, threshold: float) -> None:
    """Make a counter say "two" where its score of two would exceed `threshold`, in [0, 1].

    Moves the bias of that logit, so that from now on the higher of the two scores tells.
    """
    odds = torch.logit(torch.tensor(threshold, dtype=torch.float64))
    counter.dense[-1].bias[1] -= odds.clamp(-MOST_LOGIT, MOST_LOGIT).item()


def forget_names(counter: nn.Module) -> dict[str, torch.Tensor]:
    """Cut the logits of the class names off a counter's last layer: the count's two are left.

    Returns what `remember_names` puts back.
    """
    last = counter.dense[-1]
    forgotten = {name: value[2:].detach().clone() for name, value in last.named_parameters()}
    keep_logits(counter, slice(2))
    return forgotten


def keep_logits(network: nn.Module, kept: slice) -> None:
    """Leave of a network's last layer these logits."""
    last = network.dense[-1]
    for name, value in list(last.named_parameters()):
        setattr(last, name, nn.Parameter(value[kept].detach().clone()))
    last.out_features = len(last.bias)


def remember_names(counter: nn.Module, forgotten: dict[str, torch.Tensor]) -> nn.Module:
    """A counter's network with the logits of the class names behind the count's two again."""
    network = copy.deepcopy(counter)
    last = network.dense[-1]
    for name, value in forgotten.items():
        kept = getattr(last, name).detach()
        setattr(last, name, nn.Parameter(torch.cat([kept, value.to(kept)])))
    last.out_features = len(last.bias)
    return network


def pair_logits(logits: torch.Tensor) -> torch.Tensor:
    """Logits (clips, classes) summed for every pair of classes: (clips, pairs)."""
    first, second = torch.triu_indices(*2 * logits.shape[1:], offset=1, device=logits.device)
    return logits[:, first] + logits[:, second]


def scores_of_two(logits: torch.Tensor) -> torch.Tensor:
    """The probability of each class to be one of a clip's two, by `training.names_loss`.

    logits: (clips, classes). Returns the same shape; a row sums to 2.
    """
    chances = torch.softmax(pair_logits(logits), dim=1)
    first, second = torch.triu_indices(*2 * logits.shape[1:], offset=1, device=logits.device)
    scores = torch.zeros_like(logits)
    return scores.index_add_(1, first, chances).index_add_(1, second, chances)


# Task -> what makes scores of its logits: shares of one, of the two-label classifier of two.
SCORES_OF = {
    "counter": partial(torch.softmax, dim=1),
    "single": partial(torch.softmax, dim=1),
    "two_label": scores_of_two,
}


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
    Raises InputError if the file is missing (naming the script that trains it, but of the shipped
    weights those that are there: nobody is to train into their folder), damaged, of another set or
    rate than its name says, synthetic where the root is real (or the reverse), or trained under
    another division than the root's: it may have learned from what is test there.
    """
    path = crs_lib.weights_path(models, crs_lib.run_name(script, model, set_number, sample_rate))
    wanted = {
        "DATASET": dataset or "dataset",
        "MODELS": models,
        "SET": set_number,
        "SAMPLE_RATE": sample_rate,
        "MODEL": model.removesuffix(crs_lib.BOTH),
        **({"TRAIN_ON": "both"} if model.endswith(crs_lib.BOTH) else {}),
    }
    if path.parent.name == crs_lib.PRETRAINED and not path.exists():
        there = ", ".join(sorted(other.name for other in path.parent.glob("*.pt"))) or "nothing"
        raise InputError(
            f"{models} has no {path.name}, but {there}: leave out the flags that ask for others, "
            "or name a folder of your own with  --models"
        )
    crs_lib.need(path, f"{script}.py", **wanted)
    content = checkpoints.read_weights(path)
    constants = content["constants"]
    for name in ("SET", "SAMPLE_RATE", "N_FFT"):
        if reason := why_bad(name, constants.get(name), GOOD_VALUES[name]):
            raise InputError(f"{path}: its {name} is {reason}")
    if (constants["SET"], constants["SAMPLE_RATE"]) != (set_number, sample_rate):
        raise InputError(
            f"{path}: holds weights of set {constants['SET']} at {constants['SAMPLE_RATE']} Hz, "
            f"not of set {set_number} at {sample_rate} Hz"
        )
    if dataset and content["synthetic"] != crs_lib.is_synthetic(dataset):
        kind = "the synthetic set" if content["synthetic"] else "real recordings"
        raise InputError(f"{path}: trained on {kind}, which {dataset} does not hold")
    table = crs_lib.mixes_csv(dataset).name  # its stamp says of which recordings and division
    if dataset and content["data"].get(table) != stamps.read_stamp(dataset, table):
        raise InputError(
            f"{path}: trained on other recordings or under another division than {dataset} has "
            f"now: run  {crs_lib.command(f'{script}.py', **wanted)}  first"
        )
    nb_outputs = 2 if script == crs_lib.COUNTER else len(content["classes"])
    if str(constants.get("MODEL")) not in NETWORKS:
        raise InputError(f"{path}: its network {constants.get('MODEL')} is none of this version")
    network = build(constants["MODEL"], nb_outputs, sample_rate, constants["N_FFT"], device)
    try:
        network.load_state_dict(content["weights"])
    except (RuntimeError, AttributeError, TypeError) as error:
        reason = checkpoints.in_short(error)
        raise InputError(f"{path}: the weights do not fit the network ({reason})") from None
    if not all(value.isfinite().all() for value in network.state_dict().values()):
        raise InputError(f"{path}: some of the weights are no finite numbers: train again")
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


def attends(network: nn.Module) -> bool:
    """Whether a network can say how much each moment weighs in its answer."""
    return "with_attention" in inspect.signature(network.forward).parameters
