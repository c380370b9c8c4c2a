"""Paths of every step; making and replacing folders and files.

It imports nothing that takes time, so that every script starts fast.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

HERE = Path(__file__).resolve().parent  # where the scripts lie
PARTS = ("train", "val", "test")
ALL_CLIPS = 0  # in place of a set's number: every clip is one to train on
# The scripts that leave runs: their folders and weights are called after them.
COUNTER = "audio_source_counter"
SINGLE = "sep_opt_isocc_single_volnorm_STFT"
TWO_LABEL = "sep_opt_isocc_multi_random_volnorm_STFT"
FLOW = "overall_flow"
AUDIT = "audit"
PRETRAINED = "pretrained"  # weights that come with the project
BOTH = "_both"  # behind the network's name in the two-label classifier's that was trained on both


class InputError(Exception):
    """Something a user can mend: its text is one line that says what is wrong and what to do."""


# ---------------------------------------------------------------------------------------- paths


def rate_tag(sample_rate: int) -> str:
    """The sample rate in kHz as folder names have it: 4000 -> `4k`, 22050 -> `22.05k`."""
    return f"{sample_rate / 1000:g}k"


def explicit_esc50_dir(dataset: str, flag: str) -> str:
    """The ESC-50 folder that the flag or else the environment names; empty if neither does.

    The environment's is somebody's real one: a synthetic root passes over it.
    """
    return flag or ("" if is_synthetic(dataset) else os.environ.get("ESC50_DIR", ""))


def esc50_dir(dataset: str, flag: str) -> Path:
    """The ESC-50 folder: the flag's, else the environment's ESC50_DIR, else below `dataset`."""
    return Path(explicit_esc50_dir(dataset, flag) or Path(dataset, "ESC-50"))


def esc10_dir(dataset: str) -> Path:
    """Folder of the ESC-10 recordings under their own names."""
    return Path(dataset, "esc10")


def rename_dir(dataset: str) -> Path:
    """Folder of the recordings under class-and-number names."""
    return Path(dataset, "esc10_rename")


def rate_dir(dataset: str, sample_rate: int) -> Path:
    """Folder of the renamed clips at `sample_rate` (Hz)."""
    return Path(dataset, f"esc10_rename_{rate_tag(sample_rate)}")


def oversample_dir(dataset: str, sample_rate: int, oversample: int) -> Path:
    """Folder of the clips at `sample_rate` (Hz) and their copies, `oversample` files a clip."""
    return Path(dataset, f"{rate_dir(dataset, sample_rate).name}_p{oversample}")


def mix_dir(dataset: str, sample_rate: int) -> Path:
    """Folder of the two-class mixtures at `sample_rate` (Hz)."""
    return Path(dataset, f"esc10_2mix_vol_norm_{rate_tag(sample_rate)}")


def mixes_csv(dataset: str) -> Path:
    """The table of all mixtures and their division."""
    return Path(dataset, "esc10_mixes.csv")


def division_dir(dataset: str, flag: str) -> Path:
    """Folder of the division texts: the flag's, else the committed one for the root `dataset`."""
    if flag:
        return Path(flag)
    name = Path("esc10_811div_txts")
    return name if Path(dataset) == Path("dataset") else Path(dataset, name)


def division_txt(folder: Path, set_number: int, part: str) -> Path:
    """The text that lists the numbers of one part (`train`, `val`, `test`) of a set."""
    return folder / f"set{set_number}" / f"set{set_number}_{part}.txt"


def run_name(script: str, model: str, set_number: int, sample_rate: int) -> str:
    """What run folders and weights are called: script, model, set (`all`: ALL_CLIPS) and rate."""
    clips = "all" if set_number == ALL_CLIPS else f"set{set_number}"
    return f"{script}_{model}_{clips}_{rate_tag(sample_rate)}"


def flow_model(counter_model: str, classifier_model: str) -> str:
    """What stands for the model in the run name of a flow: the names of both its networks."""
    return f"{counter_model}-{classifier_model}"


def flow_name(counter_model: str, classifier_model: str, set_number: int, sample_rate: int) -> str:
    """Run name of the flow of these networks on a set."""
    return run_name(FLOW, flow_model(counter_model, classifier_model), set_number, sample_rate)


def weights_dir(models: str) -> Path:
    """Where weights lie that label recordings: this project's PRETRAINED also from elsewhere."""
    return HERE / models if models == PRETRAINED and not Path(models).exists() else Path(models)


def weights_path(models: str, name: str) -> Path:
    """The weights of a finished training, by its run name."""
    return Path(models, f"{name}.pt")


def is_synthetic(root: str | Path) -> bool:
    """Whether a root, or an ESC-50 folder, was made from the synthetic set."""
    return Path(root, "SYNTHETIC").exists()


# ------------------------------------------------------------------- making and replacing folders


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """Write a folder whole or not at all: yields `<folder>.part`, renamed when the block ends.

    A block that fails leaves the earlier folder as it was.
    Raises InputError where `folder` is a file, or a link: what it points to is not this project's
    to replace.
    """
    kind = "a symbolic link" if folder.is_symlink() else "a file" if folder.is_file() else ""
    if kind:
        raise InputError(f"{folder} is {kind}, which is never replaced: remove it first")
    part = folder.with_name(folder.name + ".part")
    old = folder.with_name(folder.name + ".old.part")
    if old.exists() and not folder.exists():
        old.rename(folder)  # somebody was killed between the two renames below
    failed = folder.with_name(folder.name + ".failed.part")
    for leftover in (part, old, failed):
        shutil.rmtree(leftover, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        with located(part):
            yield part
    except BaseException:
        with suppress(OSError):  # the failure itself is what is to be said
            part.rename(failed)  # or threads that still write to it would keep it from going
        for leftover in (part, failed):
            shutil.rmtree(leftover, ignore_errors=True)
        raise
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Write a file whole or not at all: yields `<path>.part`, renamed when the block ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with located(part):
            yield part
            with open(part, "rb+") as file:
                os.fsync(file.fileno())  # else a power cut may leave the new name on no content
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    part.replace(path)


@contextmanager
def located(path: Path) -> Iterator[None]:
    """Give an error of the system that names no file, as a full disk's, the path where it was."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def write_json(path: Path, content: dict | list) -> None:
    """Write a JSON file whole or not at all."""
    with replaced_file(path) as part:
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        # What is no UTF-8 in a path becomes an escape that JSON has too.
        part.write_text(text, encoding="utf-8", errors="backslashreplace")
