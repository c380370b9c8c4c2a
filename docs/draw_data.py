"""Draw the README's pictures of the data and the networks, from the prepared ESC-10.

docs/division.png: which digits each set trains, validates and tests on; which recordings lie where.
docs/copies.png: a clip and its pitch-shifted copies. docs/mixture.png: two clips before and after
volume normalisation, and their mixture. docs/networks.png: both networks with their tensor sizes.

Run it with  make pictures  (set 1 must have been prepared: make run).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
import torch
from matplotlib.colors import ListedColormap
from torch import nn

import crs_lib
import esc10_data
import pictures
import UNet_utils
from asc_model import ASC
from CNN_ISOCC_copy import CNN_ISOCC
from pictures import plt

DOCS = Path(__file__).resolve().parent
DATASET = "dataset"
SAMPLE_RATE, N_FFT, OVERSAMPLE = 4000, 256, 5
CLIP = ("rooster", 0)  # class and number of the clip whose copies are shown
MIXED = (("dog", 3), ("sea_waves", 3))
PART_COLOURS = {"train": "#d9d9d9", "val": "#7fb6e6", "test": "#f2a65a"}


def read(folder: Path, name: str, ending: str) -> np.ndarray:
    """A prepared clip: float32 (samples,)."""
    return esc10_data.uploader([folder / name / f"{name}{ending}.wav"], SAMPLE_RATE)[0]


def draw_division() -> None:
    """Left: the part of each digit in each set. Right: recordings that several clips share."""
    numbers = range(40)
    texts = crs_lib.division_dir(DATASET, "")
    parts = list(PART_COLOURS)
    grid = np.zeros((10, 10), dtype=int)
    for number in crs_lib.SETS:
        division = esc10_data.read_division(texts, number, list(numbers), "")
        for code, part in enumerate(parts):
            grid[number - 1, [member % 10 for member in division[part]]] = code
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.2), width_ratios=(1, 1.25))
    left.imshow(grid, cmap=ListedColormap(list(PART_COLOURS.values())), aspect="auto")
    for (row, digit), code in np.ndenumerate(grid):
        if parts[code] != "train":
            left.text(digit, row, parts[code], ha="center", va="center", fontsize=8)
    left.set_xticks(
        range(10), [f"{digit}\nfold {digit // 2 + 1}" for digit in range(10)], fontsize=7
    )
    left.set_yticks(range(10), crs_lib.SETS)
    left.set(xlabel="last digit of a clip's number", ylabel="set", title="train (grey), val, test")
    names = pd.read_csv(crs_lib.rename_dir(DATASET) / "names.csv", dtype={"src_file": str})
    names["digit"] = names["number"] % 10
    groups = names.groupby(["class", "digit"])["src_file"].nunique().unstack()
    right.imshow(groups, cmap="Greens", vmin=0, vmax=6, aspect="auto")
    spans = names.groupby(["class", "src_file"])["digit"].agg(["min", "max"])
    for name, digit in np.ndindex(groups.shape):
        right.text(digit, name, groups.iat[name, digit], ha="center", va="center")
    for (name, _), (low, high) in spans.iterrows():
        if low != high:
            row = list(groups.index).index(name)
            right.plot([low, high], [row + 0.3] * 2, color="C3", linewidth=3)
    right.set_xticks(range(10))
    right.set_yticks(range(len(groups)), groups.index)
    title = (
        "recordings behind the four clips of a digit\n(red: one that spans two digits of a fold)"
    )
    right.set(xlabel="last digit", title=title)
    pictures.save_picture(figure, DOCS / "division.png", crs_lib.is_synthetic(DATASET))


def draw_copies() -> None:
    """A clip and its pitch-shifted copies, one spectrogram each, and their mean spectra."""
    name, number = CLIP
    folder = crs_lib.oversample_dir(DATASET, SAMPLE_RATE, OVERSAMPLE)
    endings = list(esc10_data.copy_shifts(OVERSAMPLE, 1))
    figure, axes = plt.subplots(1, len(endings), figsize=(13, 2.8), sharey=True)
    for axis, ending in zip(axes, endings, strict=True):
        clip = read(folder, name, f"{number}{ending}")
        spectrogram = UNet_utils.audio_STFT_lib(clip, N_FFT)[0].numpy()
        pictures.draw_spectrogram(axis, spectrogram, SAMPLE_RATE)
        axis.set(title=f"{name}{number}{ending}.wav", xlim=(0, 2.5))
    for axis in axes[1:]:
        axis.set_ylabel("")
    pictures.save_picture(figure, DOCS / "copies.png", crs_lib.is_synthetic(DATASET))


def draw_mixture() -> None:
    """Two clips as recorded, normalised, and their mixture."""
    folder = crs_lib.rate_dir(DATASET, SAMPLE_RATE)
    files = sorted(folder.glob("*/*.wav"))
    loudest = np.abs(esc10_data.uploader(files, SAMPLE_RATE)).max()
    clips = np.stack([read(folder, name, str(number)) for name, number in MIXED])
    normalised = esc10_data.normalise_volume(clips, loudest)
    rows = [*clips, *normalised, esc10_data.mix(*normalised)]
    labels = [f"{name}{number}" for name, number in MIXED]
    titles = [
        *(f"{label}, as recorded" for label in labels),
        *(f"{label}, normalised" for label in labels),
    ]
    titles.append("half their sum: the mixture")
    figure, axes = plt.subplots(1, 5, figsize=(13, 2.4), sharey=True)
    seconds = np.arange(clips.shape[1]) / SAMPLE_RATE
    for axis, wave, title in zip(axes, rows, titles, strict=True):
        axis.plot(seconds, wave, linewidth=0.4)
        axis.set(title=title, xlabel="time (s)", ylim=(-1.05, 1.05))
    pictures.save_picture(figure, DOCS / "mixture.png", crs_lib.is_synthetic(DATASET))


def sizes(network: nn.Module, spectrograms: torch.Tensor) -> list[str]:
    """What a network makes of a batch, layer by layer: kind and size of each output, no batch."""
    found, hooks = [], []

    def note(layer: nn.Module, _: object, output: object) -> None:
        output = output[0] if isinstance(output, tuple) else output
        size = " × ".join(map(str, output.shape[1:]))
        found.append(f"{type(layer).__name__.removesuffix('2d')}   {size}")

    kinds = (nn.Conv2d, nn.MaxPool2d, nn.LSTM, nn.Linear)
    for layer in network.modules():
        if isinstance(layer, kinds):
            hooks.append(layer.register_forward_hook(note))
    with torch.no_grad():
        network.eval()(spectrograms)
    for hook in hooks:
        hook.remove()
    return found


def draw_networks() -> None:
    """Both networks: what each layer leaves of a clip at 4 kHz."""
    spectrograms = torch.rand(1, 1, 129, 313)
    networks = {"Audio Source Counter": ASC(), "ISOCC CNN": CNN_ISOCC()}
    figure, axes = plt.subplots(1, 2, figsize=(11, 5.2))
    for axis, (name, network) in zip(axes, networks.items(), strict=True):
        million = sum(value.numel() for value in network.parameters()) / 1e6
        texts = ["STFT magnitude   1 × 129 × 313", *sizes(network, spectrograms)]
        for row, text in enumerate(texts):
            colour = "#cfe3f5" if row else "#eeeeee"
            box = {"boxstyle": "round,pad=0.35", "facecolor": colour, "edgecolor": "#555555"}
            axis.text(0.5, 1 - row / len(texts), text, ha="center", va="center", bbox=box)
        axis.set(title=f"{name}, {million:.2f} million parameters", ylim=(0, 1.05))
        axis.axis("off")
    pictures.save_picture(figure, DOCS / "networks.png", synthetic=False)


if __name__ == "__main__":
    draw_division()
    draw_copies()
    draw_mixture()
    draw_networks()
