"""Draw the pictures of docs/: the flow, the data and the networks, from the prepared ESC-10.

docs/flow.png: the overall flow of a mixture, with what the published run of set 1 answered to it.
docs/division.png: which digits each set trains, validates and tests on; which recordings lie where.
docs/copies.png: a clip and its pitch-shifted copies, and how far its pitch moves.
docs/mixture.png: the two clips before and after volume normalisation, and their mixture.
docs/networks.png: both networks with their tensor sizes.

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
import UNet_utils
from asc_model import ASC
from CNN_ISOCC_copy import CNN_ISOCC
from pipeline.data import audio, esc10_data
from pipeline.evaluation import plots, run_records
from pipeline.evaluation.plots import plt
from pipeline.files import provenance, running
from pipeline.settings import good_values

DOCS = crs_lib.HERE / "docs"
PUBLISHED = crs_lib.HERE / "results_published" / "4k"
DATASET = "dataset"
SAMPLE_RATE, N_FFT, OVERSAMPLE = 4000, 256, 5
CLIP = ("rooster", 0)  # class and number of the clip whose copies are shown
PITCHES_HZ, LONG_FFT = (1150, 1500), 1024  # where its loudest partial lies; samples, to see it
MIXED = (("rain", 1), ("rooster", 31))  # test clips of set 1
NUMBERS = {1: "one", 2: "two"}
PART_COLOURS = {"train": "#d9d9d9", "val": "#7fb6e6", "test": "#f2a65a"}


def read(folder: Path, name: str, ending: str) -> np.ndarray:
    """A prepared clip: float32 (samples,)."""
    return audio.uploader([folder / name / f"{name}{ending}.wav"], SAMPLE_RATE)[0]


def draw_division() -> None:
    """Left: the part of each digit in each set. Right: recordings that several clips share."""
    numbers = range(40)
    texts = crs_lib.division_dir(DATASET, "")
    parts = list(PART_COLOURS)
    grid = np.zeros((10, 10), dtype=int)
    for number in good_values.SETS:
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
    left.set_yticks(range(10), good_values.SETS)
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
    plots.save_plot(figure, DOCS / "division.png", crs_lib.is_synthetic(DATASET))


def draw_copies() -> None:
    """A clip and its furthest copies as spectrograms; the pitch of all in their mean spectra."""
    name, number = CLIP
    folder = crs_lib.oversample_dir(DATASET, SAMPLE_RATE, OVERSAMPLE)
    max_shift = provenance.read_stamp(DATASET, folder.name)["constants"]["MAX_SHIFT"]
    shifts = esc10_data.copy_shifts(OVERSAMPLE, max_shift)
    clips = {ending: read(folder, name, f"{number}{ending}") for ending in shifts}
    furthest = [min(shifts, key=shifts.get), "", max(shifts, key=shifts.get)]
    figure, axes = plt.subplots(1, 4, figsize=(13, 3), width_ratios=(1, 1, 1, 1.2))
    for axis, ending in zip(axes, furthest, strict=False):
        spectrogram = UNet_utils.audio_STFT_lib(clips[ending], N_FFT)[0].numpy()
        plots.draw_spectrogram(axis, spectrogram, SAMPLE_RATE)
        title = f"{name}{number}{ending}.wav, {shifts[ending]:+g} semitones"
        axis.set_title(title if ending else f"{name}{number}.wav", fontsize=10)
        axis.set(xlim=(0, 2.5), xticks=range(3))
    for ending in sorted(shifts, key=shifts.get):
        spectrum = UNet_utils.audio_STFT_lib(clips[ending], LONG_FFT)[0].mean(dim=1)
        hertz = np.arange(len(spectrum)) * SAMPLE_RATE / LONG_FFT
        label = f"{ending.removeprefix('_') or 'original'} ({shifts[ending]:+g})"
        axes[3].plot(hertz, spectrum, label=label, linewidth=1)
    axes[3].set(xlim=PITCHES_HZ, xlabel="frequency (Hz)", yticks=[], title="mean spectra")
    axes[3].legend(fontsize=8)
    plots.save_plot(figure, DOCS / "copies.png", crs_lib.is_synthetic(DATASET))


def mixed() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The clips of MIXED as recorded and normalised, float32 (2, samples) both; their mixture."""
    folder = crs_lib.rate_dir(DATASET, SAMPLE_RATE)
    files = sorted(folder.glob("*/*.wav"))
    loudest = np.abs(audio.uploader(files, SAMPLE_RATE)).max()
    clips = np.stack([read(folder, name, str(number)) for name, number in MIXED])
    normalised = audio.normalise_volume(clips, loudest)
    return clips, normalised, audio.mix(*normalised)


def draw_mixture() -> None:
    """Two clips as recorded, normalised, and their mixture."""
    clips, normalised, mixture = mixed()
    labels = [f"{name}{number}" for name, number in MIXED]
    titles = [f"{label}, {how}" for how in ("as recorded", "normalised") for label in labels]
    titles.append("half their sum: the mixture")
    figure, axes = plt.subplots(1, 5, figsize=(13, 2.4), sharey=True)
    for axis, wave, title in zip(axes, [*clips, *normalised, mixture], titles, strict=True):
        draw_wave(axis, wave)
        axis.set(title=title, xlabel="time (s)", ylim=(-1.05, 1.05))
    axes[0].set_ylabel("amplitude")
    plots.save_plot(figure, DOCS / "mixture.png", crs_lib.is_synthetic(DATASET))


def draw_wave(axis: plt.Axes, wave: np.ndarray) -> None:
    """A waveform (samples,) over its seconds."""
    axis.plot(np.arange(len(wave)) / SAMPLE_RATE, wave, linewidth=0.4)


def draw_flow() -> None:
    """From a clip to its labels; the branch that was not taken in grey."""
    waveform = audio.level_rms(mixed()[2])
    spectrogram = UNet_utils.audio_STFT_lib(waveform, N_FFT)[0].numpy()
    clip = "_".join(f"{name}{number}" for name, number in MIXED) + ".wav"
    run = run_records.newest_finished(PUBLISHED, crs_lib.flow_name("asc", "isocc", 1, SAMPLE_RATE))
    answer = run_records.read_predictions(run).set_index("clip").loc[clip]
    chance = max(answer["score_two"], 1 - answer["score_two"])
    named = [f"{name} {answer[f'score_{name}']:.2f}" for name in answer["with_counter"].split("+")]
    count = answer["count"]
    figure, axis = plt.subplots(figsize=(12, 3.2))
    axis.set(xlim=(0, 12), ylim=(-1.6, 1.6))
    axis.axis("off")
    size = " × ".join(map(str, spectrogram.shape))
    captions = (f"{clip}\nlevelled to RMS {audio.LEVEL_RMS}", f"STFT magnitude\n{size}")
    for left, caption in zip((0.2, 2.9), captions, strict=True):
        inset = axis.inset_axes((left, -0.5, 1.9, 1), transform=axis.transData)
        if left < 1:
            draw_wave(inset, waveform)
        else:
            plots.draw_spectrogram(inset, spectrogram, SAMPLE_RATE)
        inset.set(xticks=[], yticks=[], xlabel="", ylabel="")
        axis.text(left + 0.95, -0.65, caption, ha="center", va="top")
        draw_arrow(axis, (left + 1.9, 0), (left + 2.65, 0))
    counter = f"Audio Source Counter\nattention CRNN\n{NUMBERS[count]} ({chance:.2f})"
    draw_box(axis, 6.6, 0, counter, "#cfe3f5")
    branches = {
        1: (1, "single-label CNN\nbest one class"),
        2: (-1, "two-label CNN\nbest two classes"),
    }
    for number, (y, text) in branches.items():
        grey = {} if number == count else {"alpha": 0.35}
        draw_box(axis, 9.2, y, text, "#d8f0d3", **grey)
        draw_arrow(axis, (7.5, 0.25 * y), (8.35, y), **grey)
        axis.text(7.75, 0.75 * y, NUMBERS[number], style="italic", ha="right", va="center", **grey)
    y = branches[count][0]
    draw_arrow(axis, (10.05, y), (10.55, y))
    draw_box(axis, 11.2, y, "\n".join(named), "#fdf3cf")
    plots.save_plot(figure, DOCS / "flow.png", crs_lib.is_synthetic(DATASET))


def draw_box(axis: plt.Axes, x: float, y: float, text: str, colour: str, **more: object) -> None:
    """A text in a coloured box round (x, y)."""
    box = {"boxstyle": "round,pad=0.5", "facecolor": colour, "edgecolor": "#555555", **more}
    axis.text(x, y, text, ha="center", va="center", bbox=box, **more)


def draw_arrow(axis: plt.Axes, begin: tuple, end: tuple, **more: object) -> None:
    """An arrow from one point to another."""
    axis.annotate("", xy=end, xytext=begin, arrowprops={"arrowstyle": "-|>", **more})


def title_of(name: str, layer: nn.Module) -> str:
    """What a layer is called in the picture. name: as the network calls it."""
    if isinstance(layer, nn.Conv2d):
        return "convolution {} × {}".format(*layer.kernel_size)
    if isinstance(layer, nn.LSTM):
        return f"LSTM, {layer.num_layers} layers, both directions"
    if isinstance(layer, nn.MaxPool2d):
        return "maximum of 2 × 2"
    return "attention over time" if name == "query" else "dense"


def sizes(network: nn.Module, spectrograms: torch.Tensor) -> list[str]:
    """What a network makes of a batch, layer by layer: kind and size of each output, no batch."""
    found, hooks = [], []
    kinds = (nn.Conv2d, nn.MaxPool2d, nn.LSTM, nn.Linear)
    for name, layer in network.named_modules():
        if not isinstance(layer, kinds):
            continue

        def note(layer: nn.Module, _: object, output: object, name: str = name) -> None:
            output = output[0] if isinstance(output, tuple) else output
            size = " × ".join(map(str, output.shape[1:]))
            found.append(f"{title_of(name, layer)}:  {size}")

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
        texts = ["STFT magnitude:  1 × 129 × 313", *sizes(network, spectrograms)]
        axis.plot([0.5, 0.5], [1, 1 / len(texts)], color="#555555", zorder=0)
        for row, text in enumerate(texts):
            colour = "#cfe3f5" if row else "#eeeeee"
            box = {"boxstyle": "round,pad=0.35", "facecolor": colour, "edgecolor": "#555555"}
            axis.text(0.5, 1 - row / len(texts), text, ha="center", va="center", bbox=box)
        title = f"{name}, {million:.2f} million parameters"
        axis.set(title=title, xlim=(0, 1), ylim=(0, 1.05))
        axis.axis("off")
    plots.save_plot(figure, DOCS / "networks.png", synthetic=False)


def main() -> None:
    copies = crs_lib.oversample_dir(DATASET, SAMPLE_RATE, OVERSAMPLE)
    provenance.need(copies, "0_pitch_oversample_4k.py", DATASET=DATASET)
    draw_flow()
    draw_division()
    draw_copies()
    draw_mixture()
    draw_networks()


if __name__ == "__main__":
    running.run(main, DATASET)
