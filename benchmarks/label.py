"""Labelling: one 5-s clip cold (process start to answer), one warm, folders, long recordings.

The networks are the research's two at 4 kHz; their weights are random: their speed does not depend
on them, and both classifiers are of one size. The longest recording goes to the shipped ones too,
and an hour to the pre-trained encoder as a joint network: there the floor is the encoder alone on
the same patches, and the straightforward way computes every window by itself.
The single clips, and the long recordings made of them, are ESC-10's own at 44.1 kHz, the folders
hold mixtures at 4 kHz.
"""

from pathlib import Path

import bench_lib
import numpy as np
import soundfile as sf
import torch

import crs_lib
from pipeline.data import audio, esc10_data
from pipeline.evaluation import run_records
from pipeline.inference import choose_weights, classify
from pipeline.networks import heads, registry, weights_file, yamnet

SAMPLE_RATE = 4000
NB_WARM = 100
TASKS = {
    "counter": (crs_lib.COUNTER, "asc", 2),
    "single": (crs_lib.SINGLE, "isocc", 0),  # as many as there are classes
    "two_label": (crs_lib.TWO_LABEL, "isocc", 0),
}
CPU = registry.choose_device("cpu")


def random_weights(models: str, classes: list[str], **constants: object) -> None:
    """Weights as finished trainings would leave them, but for what they learned.

    constants: of the trainings, where they are not their defaults.
    """
    for script, model, nb_outputs in TASKS.values():
        given = bench_lib.script(f"{script}.py").CONSTANTS
        given = {**given, "MODEL": model, "MODELS": models, **constants}
        size = (nb_outputs or len(classes), given["SAMPLE_RATE"], given["N_FFT"])
        network = registry.build(given["MODEL"], *size, CPU)
        run = run_records.Run(Path("none"), script, given["MODEL"], given, {}, commit="")
        weights_file.save_weights(run, network, classes, {}, {})


def long_recording(path: Path, clips: list[Path], minutes: int) -> Path:
    """Write clips one after the other, again and again, as one WAV."""
    with sf.SoundFile(path, "w", sf.info(clips[0]).samplerate, 1) as file:
        for i in range(60 * minutes // audio.CLIP_SECONDS):
            file.write(sf.read(clips[i % len(clips)])[0])
    return path


def joint_weights(models: str, classes: list[str]) -> None:
    """Weights of an encoder's joint network, its head random."""
    given = bench_lib.script(f"{crs_lib.COUNTER}.py").CONSTANTS
    given = {**given, "MODEL": "yamnet", "MODELS": models, "COUNT_BY_LABELS": True}
    given |= {"SAMPLE_RATE": yamnet.SAMPLE_RATE, "N_FFT": 1024}
    network = registry.build("yamnet", 2 + len(classes), yamnet.SAMPLE_RATE, 1024, CPU)
    label_head = heads.cut_label_head(network)
    run = run_records.Run(Path("none"), crs_lib.COUNTER, "yamnet", given, {}, commit="")
    weights_file.save_weights(run, network, classes, {}, label_head)


@torch.no_grad()
def encoder_alone(network: torch.nn.Module, seconds: int) -> None:
    """The encoder on as many patches as a recording of so many seconds has, a few at a time."""
    patches = torch.zeros(96, 1, yamnet.PATCH_FRAMES, yamnet.NB_MELS)
    patches = patches.to(memory_format=torch.channels_last)
    for _ in range(2 * seconds // len(patches)):
        network.encoder(patches)


def an_hour(path: Path, models: str) -> dict:
    """The row of an hour by the encoder; the straightforward way and the floor from ten minutes."""
    trained = registry.joined(choose_weights.load(models, 0, 0, "", "", CPU))
    ours, peak, _ = bench_lib.run_measured("predict.py", path, "--models", models)
    counter = trained["counter"][0]

    def one_by_one() -> None:
        for windows, _ in classify.windows_of(path.with_name("short.wav"), yamnet.SAMPLE_RATE):
            classify.predict(windows, trained, CPU)

    straight, floor = bench_lib.alternately(
        one_by_one, lambda: encoder_alone(counter, 600), repeats=2
    )
    work = f"an hour by the encoder, {3600 / ours:.0f} x real time"
    return bench_lib.row("label", work, ours, 6 * straight, 6 * floor, peak_mb=peak)


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

        tasks = {task: (script, model) for task, (script, model, _) in TASKS.items()}
        trained = registry.load_networks(tasks, models, 1, SAMPLE_RATE, CPU)
        times = [
            bench_lib.seconds(
                lambda path=path: classify.predict(
                    audio.read_clip(path, SAMPLE_RATE)[None], trained, CPU
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
            times_real = nb_files * audio.CLIP_SECONDS / seconds
            work = f"a folder of {nb_files} clips, {times_real:.0f} x real time"
            rows.append(bench_lib.row("label", work, seconds, peak_mb=peak))

        for minutes in (5, 30):
            path = long_recording(Path(scratch, "long.wav"), clips, minutes)
            seconds, peak, _ = bench_lib.run_measured("predict.py", path, "--models", models)
            work = f"a recording of {minutes} minutes, {60 * minutes / seconds:.0f} x real time"
            rows.append(bench_lib.row("label", work, seconds, peak_mb=peak))
        seconds, peak, _ = bench_lib.run_measured("predict.py", path)
        work = f"the same by the shipped networks, {60 * minutes / seconds:.0f} x real time"
        rows.append(bench_lib.row("label", work, seconds, peak_mb=peak))

        joint_weights(f"{scratch}/joint", classes)
        long_recording(Path(scratch, "short.wav"), clips, 10)
        path = long_recording(Path(scratch, "long.wav"), clips, 60)
        rows.append(an_hour(path, f"{scratch}/joint"))
    bench_lib.finish(rows, root)


if __name__ == "__main__":
    main()
