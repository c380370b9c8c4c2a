"""Growth: table, sampling and data side with 10, 20 and 50 classes of 40 clips each.

The clips are noise and stand for nothing; 50 classes make 1.96 million mixtures, of which none is
written. Writes benchmarks/results/growth.json and growth.png: cost against size.
"""

import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import bench_lib
import matplotlib
import numpy as np
import pandas as pd

import crs_lib
from pipeline.data import audio, set_data
from pipeline.files import sound_files
from pipeline.networks import features, registry

NB_CLASSES = (10, 20, 50)
CLIPS_PER_CLASS = 40
SAMPLE_RATE = 4000
N_FFT = 256
NETWORK = SimpleNamespace(n_fft=N_FFT)  # takes the STFT magnitude
BATCH = 32
CONSTANTS = {**bench_lib.script("audio_source_counter.py").CONSTANTS, "OVERSAMPLE": 1}


def make_clips(root: Path, nb_classes: int) -> None:
    """Noise in place of the renamed clips at 4 kHz, each a recording of its own."""
    rng = np.random.default_rng(0)
    names = []
    for class_index in range(nb_classes):
        name = f"class{class_index:02d}x"
        folder = crs_lib.rate_dir(root, SAMPLE_RATE) / name
        folder.mkdir(parents=True)
        for number in range(CLIPS_PER_CLASS):
            clip = rng.uniform(-0.5, 0.5, audio.CLIP_SECONDS * SAMPLE_RATE)
            sound_files.write_wav(folder / f"{name}{number}.wav", clip, SAMPLE_RATE)
            names.append((f"{name}{number}.wav", f"{class_index}-{number}"))
    crs_lib.rename_dir(root).symlink_to(crs_lib.rate_dir(root, SAMPLE_RATE).resolve())
    table = pd.DataFrame(names, columns=["file", "src_file"])
    table.to_csv(crs_lib.rename_dir(root) / "names.csv", index=False)


def data_side(root: str) -> dict[str, float]:
    """Seconds of choosing the files, of drawing an epoch's mixtures and of making its batches."""
    seconds, found = {}, {}

    def note(name: str, work) -> None:
        seconds[name] = bench_lib.seconds(lambda: found.update({name: work()}))

    note("choose", lambda: set_data.choose_files(root, "", 1, SAMPLE_RATE, 1))
    data = found["choose"]
    note("load", lambda: features.load(data.stems, SAMPLE_RATE, registry.choose_device("cpu")))
    note("draw", lambda: set_data.draw_mixtures(data, CONSTANTS, epoch=1)[0])

    def batches() -> None:
        for start in range(0, len(found["draw"]), BATCH):
            some = found["draw"][start : start + BATCH]
            features.augmented_features(NETWORK, found["load"], some, CONSTANTS)

    features.augmented_features(NETWORK, found["load"], found["draw"][:BATCH], CONSTANTS)  # warm up
    note("draw", lambda: set_data.draw_mixtures(data, CONSTANTS, epoch=1)[0])
    note("batches", batches)
    return {**seconds, "drawn": len(found["draw"])}


def plot(rows: list[dict], nb_mixtures: list[int], microseconds: dict[str, list[float]]) -> None:
    """Cost against size: seconds of the table, and microseconds a drawn mixture."""
    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    tables = [line["ours_s"] for line in rows if line["question"] == "table"]
    left.loglog(nb_mixtures, tables, "o-")
    left.set(xlabel="mixtures in the table", ylabel="seconds", title="the table, made and written")
    for name, values in microseconds.items():
        right.loglog(nb_mixtures, values, "o-", label=name)
    right.set(
        xlabel="mixtures in the table", ylabel="microseconds", title="cost of a drawn mixture"
    )
    right.legend()
    for axis in (left.xaxis, left.yaxis, right.xaxis, right.yaxis):
        axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(lambda value, _: f"{value:,g}" if value < 1e6 else f"{value:,.0f}")
        axis.set_minor_locator(ticker.NullLocator())
    figure.savefig(bench_lib.RESULTS / "growth.png", dpi=110)


def main() -> None:
    if len(sys.argv) > 1:  # the child that is measured
        with contextlib.redirect_stderr(io.StringIO()):
            print(json.dumps(data_side(sys.argv[1])))
        return
    rows, nb_mixtures = [], []
    microseconds = {"drawing it": [], "its part of a batch": []}
    for nb_classes in NB_CLASSES:
        with tempfile.TemporaryDirectory() as root:
            make_clips(Path(root), nb_classes)
            bench_lib.run_measured("0_txt_div.py", "--dataset", root)
            table_s, table_mb, _ = bench_lib.run_measured("0_2mix_csv.py", "--dataset", root)
            _, data_mb, out = bench_lib.run_measured(__file__, root)
        seconds = json.loads(out)
        nb_mixtures.append(nb_classes * (nb_classes - 1) // 2 * CLIPS_PER_CLASS**2)
        per_drawn = seconds["draw"] / seconds["drawn"], seconds["batches"] / seconds["drawn"]
        for values, value in zip(microseconds.values(), per_drawn, strict=True):
            values.append(1e6 * value)
        of = f"{nb_classes} classes, {nb_mixtures[-1]} mixtures"
        rows += [
            bench_lib.row("table", f"{of}: table made and written", table_s, peak_mb=table_mb),
            bench_lib.row("train_data", f"{of}: files chosen", seconds["choose"], peak_mb=data_mb),
            bench_lib.row("train_data", f"{of}: a mixture drawn", per_drawn[0]),
            bench_lib.row("train_data", f"{of}: a mixture's part of a batch", per_drawn[1]),
        ]
    bench_lib.finish(rows, name="growth")
    plot(rows, nb_mixtures, microseconds)


if __name__ == "__main__":
    main()
