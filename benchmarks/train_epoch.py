"""A whole epoch of each training, the data side and the network.

Floor: the same steps of the same network on tensors that lie ready, and its validation. Ours:
`loop.fit` for one epoch, which makes its batches, validates, and writes its checkpoint.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import bench_lib
import numpy as np
import torch

from pipeline.data import set_data
from pipeline.evaluation import run_records
from pipeline.networks import features, heads, registry
from pipeline.training import finetuning, loop

CPU = registry.choose_device("cpu")
# Script, outputs of its network, loss.
TRAININGS = {
    "counter": ("audio_source_counter", 2 + 10, bench_lib.script("audio_source_counter.py").loss),
    "single-label": ("sep_opt_isocc_single_volnorm_STFT", 10, loop.labels_loss),
    "two-label": ("sep_opt_isocc_multi_random_volnorm_STFT", 10, loop.labels_loss),
}
RATE = {"SAMPLE_RATE": 16000, "OVERSAMPLE": 1}  # of the encoder's clips
# What `make best` changes of the counter's constants and an epoch's time depends on.
ENCODER = {
    "MODEL": "yamnet",
    "N_FFT": 1024,
    "REPEAT": 1,
    "FROZEN": 6,
    "SPEED": 0.27,
    "TILT": 3.0,
    "NOISE": True,
    "BATCH": 32,
    "BF16": registry.has_bf16(CPU),
    **RATE,
}


def ready_epoch(
    network, loss: Callable, batches: list[tuple], validation: list, constants: dict
) -> None:
    """The floor: steps and validation, nothing else."""
    groups = finetuning.parameter_groups(network, constants)
    optimiser = torch.optim.AdamW(groups, lr=constants["LEARNING_RATE"], fused=True)
    network.train()
    for spectrograms, targets in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=constants["BF16"]):
            step_loss = loss(network(spectrograms).float(), targets)
        optimiser.zero_grad()
        step_loss.backward()
        optimiser.step()
    network.eval()
    with torch.no_grad():
        for spectrograms in validation:
            network(spectrograms)


def one_epoch(
    name: str, file: str, nb_outputs: int, loss: Callable, root: str, **changes: object
) -> dict:
    """The row of a training. changes: of its constants."""
    script = bench_lib.script(f"{file}.py")
    constants = script.CONSTANTS | changes | {"EPOCHS": 1, "DATASET": root}
    script.CONSTANTS = constants
    rate, batch = constants["SAMPLE_RATE"], constants["BATCH"]
    data = set_data.choose_files(root, "", 1, rate, constants["OVERSAMPLE"])
    stems = features.load(data.stems, rate, CPU)
    labels = torch.tensor(data.stems["class_index"].to_numpy(copy=True))
    singles, mixtures = data.singles["val"], data.mixtures["val"]
    validated = {"single-label": [singles], "two-label": [mixtures]}
    validation_rows = np.concatenate(validated.get(name, [singles, mixtures]))
    rows = np.random.default_rng(0).permutation(script.draw(0, data))

    def targets(rows: np.ndarray) -> torch.Tensor:
        if name.startswith("counter"):
            return script.targets(rows, labels, len(data.classes))
        return loop.many_hot(rows, labels, nb_outputs)

    def batch_of(rows: np.ndarray) -> torch.Tensor:
        return features.features_of(network, features.waveforms_of(stems, rows))

    def split(rows: np.ndarray, size: int) -> list[np.ndarray]:
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def fit() -> None:
        with tempfile.TemporaryDirectory() as folder:
            loop.fit(
                run_records.Run(Path(folder), file, constants["MODEL"], constants, {}, commit=""),
                network,
                stems,
                draw=lambda epoch: rows,
                targets=targets,
                loss=loss,
                validate=lambda logits: {"nothing": 0.0},
                validation_rows=validation_rows,
                select_by="nothing",
            )

    network = registry.build(constants["MODEL"], nb_outputs, rate, constants["N_FFT"], CPU)
    batches = [(batch_of(some), targets(some)) for some in split(rows, batch)]
    validation = [batch_of(some) for some in split(validation_rows, heads.EVALUATION_BATCH)]
    ready_epoch(network, loss, batches[:4], validation[:1], constants)  # warm up
    ours = bench_lib.seconds(fit)
    floor = bench_lib.seconds(lambda: ready_epoch(network, loss, batches, validation, constants))
    work = f"{name}: {len(rows)} clips in batches of {batch}, {len(validation_rows)} to validate"
    return bench_lib.row("train_epoch", work, ours, None, floor)


def main() -> None:
    root = bench_lib.prepared_root()
    bench_lib.prepared_root(**RATE)
    rows = [one_epoch(name, *given, root) for name, given in TRAININGS.items()]
    rows.append(one_epoch("counter by the encoder", *TRAININGS["counter"], root, **ENCODER))
    bench_lib.finish(rows, root)


if __name__ == "__main__":
    main()
