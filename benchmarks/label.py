"""Labelling: one 5-s clip cold (process start to answer), one warm, a folder of 720 clips.

The networks' weights are random: their speed does not depend on them, and both classifiers are of
one size. The single clips are ESC-10's own at 44.1 kHz, the folder holds mixtures at 4 kHz.
"""

from pathlib import Path

import bench_lib
import numpy as np
import torch

import checkpoints
import crs_lib
import esc10_data
import networks
import report

SAMPLE_RATE = 4000
N_FFT = 256
NB_WARM = 100
TASKS = {
    "counter": (crs_lib.COUNTER, "asc", 2),
    "single": (crs_lib.SINGLE, "isocc", 10),
    "two_label": (crs_lib.TWO_LABEL, "isocc", 10),
}
CPU = networks.choose_device("cpu")


def random_weights(models: str, classes: list[str]) -> None:
    """Weights as finished trainings would leave them, but for what they learned."""
    for script, model, nb_outputs in TASKS.values():
        network = networks.build(model, nb_outputs, SAMPLE_RATE, N_FFT, CPU)
        constants = {**bench_lib.script(f"{script}.py").CONSTANTS, "MODELS": models}
        run = report.Run(Path("none"), script, model, constants, {}, commit="")
        checkpoints.save_weights(run, network, classes, {}, {})


def main() -> None:
    root = bench_lib.prepared_root()
    classes, _ = esc10_data.class_numbers(crs_lib.rate_dir(root, SAMPLE_RATE))
    rows = []
    with bench_lib.scratch_root(root, "esc10", "esc10_rename", "esc10_rename_4k") as scratch:
        models = f"{scratch}/models"
        random_weights(models, classes)
        texts = crs_lib.division_dir(root, "")
        bench_lib.run_measured(
            "0_2mix_norm_vol.py",
            *("--dataset", scratch, "--division-dir", texts, "--write", "test"),
        )
        folder = crs_lib.mix_dir(scratch, SAMPLE_RATE)
        files = sorted(folder.iterdir())
        clips = sorted(Path(scratch, "esc10").glob("*/*.wav"))[:NB_WARM]

        colds = [bench_lib.run_measured("predict.py", clips[0], "--models", models) for _ in "12"]
        rows.append(bench_lib.row("label", "one clip, cold", min(colds)[0], peak_mb=colds[0][1]))

        predict = bench_lib.script("predict.py", SAMPLE_RATE=SAMPLE_RATE)
        tasks = {task: (script, model) for task, (script, model, _) in TASKS.items()}
        trained = networks.load_networks(tasks, models, 1, SAMPLE_RATE, CPU)
        times = [
            bench_lib.seconds(
                lambda path=path: predict.label(
                    torch.from_numpy(esc10_data.read_clip(path, SAMPLE_RATE)), trained
                )
            )
            for path in clips
        ]
        rows.append(bench_lib.row("label", "one clip, warm (median)", float(np.median(times))))

        few = Path(scratch, "few")
        few.mkdir()
        for path in files[:72]:
            (few / path.name).symlink_to(path)
        for part in (few, folder):
            nb_files = len(list(part.iterdir()))
            seconds, peak, _ = bench_lib.run_measured("predict.py", part, "--models", models)
            times_real = nb_files * esc10_data.CLIP_SECONDS / seconds
            work = f"a folder of {nb_files} clips, {times_real:.0f} x real time"
            rows.append(bench_lib.row("label", work, seconds, peak_mb=peak))
    bench_lib.finish(rows, root)


if __name__ == "__main__":
    main()
