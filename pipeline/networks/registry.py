"""Networks: new ones by their name, trained ones from their file, on a device."""

import inspect
from pathlib import Path

import torch
from torch import nn

import crs_lib
from asc_model import ASC
from CNN_ISOCC_copy import CNN_ISOCC
from crs_lib import InputError
from pipeline.data import audio
from pipeline.evaluation import run_records
from pipeline.files import provenance
from pipeline.networks import cpu_speed, heads, weights_file, yamnet
from pipeline.networks.logmel import LogMel
from pipeline.settings import command_line
from pipeline.settings.good_values import GOOD_VALUES, why_bad

DEVICES = ("cpu", "cuda", "mps")
CPU_INFO = Path("/proc/cpuinfo")  # Linux alone has it
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # of x86, of which AMX; of ARM
# A new network by its name, of nb_outputs, nb_bins, nb_frames, sample_rate. Its last layer is
# `dense[-1]`, which `cut_label_head` shortens.
NETWORKS = {
    "asc": lambda nb_outputs, nb_bins, nb_frames, sample_rate: ASC(nb_bins, nb_outputs),
    "isocc": lambda nb_outputs, nb_bins, nb_frames, sample_rate: CNN_ISOCC(
        nb_outputs, nb_bins, nb_frames
    ),
    "logmel": LogMel,
    "yamnet": yamnet.YAMNet,
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


def has_bf16(device: torch.device) -> bool:
    """Whether a device multiplies in bfloat16 by itself: without that it takes longer, not less."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    flags = CPU_INFO.read_text(encoding="utf-8").split() if CPU_INFO.exists() else []
    return device.type == "cpu" and not BF16_FLAGS.isdisjoint(flags)


def machine(device: torch.device) -> dict:
    """What a run on this device ran on, for its record."""
    name = str(device)
    if device.type == "cuda":
        name += f" ({torch.cuda.get_device_name(device)})"
    return run_records.machine(name, torch.get_num_threads())


def build(
    model: str, nb_outputs: int, sample_rate: int, n_fft: int, device: torch.device
) -> nn.Module:
    """A new network by its name in NETWORKS, for clips at `sample_rate` (Hz), on the device.

    Raises InputError if the spectrogram is too small for it.
    """
    nb_frames = 1 + audio.CLIP_SECONDS * sample_rate // (n_fft // 4)
    try:
        network = NETWORKS[model](nb_outputs, n_fft // 2 + 1, nb_frames, sample_rate)
    except ValueError as error:
        raise InputError(f"--sample-rate {sample_rate} --n-fft {n_fft}: {error}") from None
    if device.type == "cpu":
        cpu_speed.quicken(network)
    network.n_fft = n_fft
    return network.to(device, memory_format=torch.channels_last)


def load_network(
    models: str,
    script: str,
    model: str,
    set_number: int,
    sample_rate: int,
    device: torch.device,
    dataset: str = "",
) -> tuple[nn.Module, dict]:
    """A trained network in evaluation mode, and what weights_file.save_weights wrote of it.

    Behind a counter's two logits stand those of the class labels, if it learned them.
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
        **({"SET": set_number} if set_number != crs_lib.ALL_CLIPS else {"ALL_CLIPS": True}),
        "SAMPLE_RATE": sample_rate,
        "MODEL": model.removesuffix(crs_lib.BOTH),
        **({"TRAIN_ON": "both"} if model.endswith(crs_lib.BOTH) else {}),
    }
    if path.parent.name == crs_lib.PRETRAINED and not path.exists():
        weights = (other.name for other in path.parent.glob("*.pt"))
        there = ", ".join(sorted(set(weights) - {yamnet.ENCODER_FILE})) or "nothing"
        raise InputError(
            f"{models} has no {path.name}, but {there}: leave out the flags that ask for others, "
            "or name a folder of your own with  --models"
        )
    provenance.need(path, f"{script}.py", **wanted)
    content = weights_file.read_weights(path)
    constants = content["constants"]
    sets = GOOD_VALUES["SET"] if set_number != crs_lib.ALL_CLIPS else range(1)
    good = {"SET": sets, "SAMPLE_RATE": GOOD_VALUES["SAMPLE_RATE"], "N_FFT": GOOD_VALUES["N_FFT"]}
    for name in good:
        if reason := why_bad(name, constants.get(name), good[name]):
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
    if dataset and content["data"].get(table) != provenance.read_stamp(dataset, table):
        raise InputError(
            f"{path}: trained on other recordings or under another division than {dataset} has "
            f"now: run  {command_line.command(f'{script}.py', **wanted)}  first"
        )
    nb_outputs = 2 if script == crs_lib.COUNTER else len(content["classes"])
    if str(constants.get("MODEL")) not in NETWORKS:
        raise InputError(f"{path}: its network {constants.get('MODEL')} is none of this version")
    network = build(constants["MODEL"], nb_outputs, sample_rate, constants["N_FFT"], device)
    try:
        network.load_state_dict(content["weights"])
    except (RuntimeError, AttributeError, TypeError) as error:
        reason = weights_file.in_short(error)
        raise InputError(f"{path}: the weights do not fit the network ({reason})") from None
    if not all(value.isfinite().all() for value in network.state_dict().values()):
        raise InputError(f"{path}: some of the weights are no finite numbers: train again")
    if content["label_head"]:
        heads.join_label_head(network, content["label_head"])
    if constants["COUNT_BY_LABELS"]:
        heads.count_by_labels(network)
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


def joined(networks: dict[str, tuple[nn.Module, dict]]) -> dict[str, tuple[nn.Module, dict]]:
    """The same, but the counter's network in place of classifiers that are the rest of it: a joint
    network, whose last logits are those of the labels, is to be run once.
    """
    counter, _ = networks["counter"]

    def is_part(network: nn.Module) -> bool:
        whole, part = counter.state_dict(), network.state_dict()
        return whole.keys() == part.keys() and all(
            torch.equal(value[-len(part[name]) :] if value.ndim else value, part[name])
            for name, value in whole.items()
        )

    return {
        task: (counter if is_part(network) else network, content)
        for task, (network, content) in networks.items()
    }


def attends(network: nn.Module) -> bool:
    """Whether a network can say how much each moment weighs in its answer."""
    return "with_attention" in inspect.signature(network.forward).parameters
