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
from pipeline.training import loop

CPU = registry.choose_device("cpu")
# Script, outputs of its network, loss.
TRAININGS = {
    "counter": ("audio_source_counter", 2 + 10, bench_lib.script("audio_source_counter.py").loss),
    "single-label": ("sep_opt_isocc_single_volnorm_STFT", 10, loop.labels_loss),
    "two-label": ("sep_opt_isocc_multi_random_volnorm_STFT", 10, loop.labels_loss),
}


def ready_epoch(network, loss: Callable, batches: list[tuple], validation: list) -> None:
    """The floor: steps and validation, nothing else."""
    optimiser = torch.optim.AdamW(network.parameters(), fused=True)
    network.train()
    for spectrograms, targets in batches:
        step_loss = loss(network(spectrograms), targets)
        optimiser.zero_grad()
        step_loss.backward()
        optimiser.step()
    network.eval()
    with torch.no_grad():
        for spectrograms in validation:
            network(spectrograms)


def one_epoch(name: str, file: str, nb_outputs: int, loss: Callable, root: str) -> dict:
    """The row of a training."""
    script = bench_lib.script(f"{file}.py")
    constants = {**script.CONSTANTS, "EPOCHS": 1, "DATASET": root}
    data = set_data.choose_files(root, "", 1, script.SAMPLE_RATE, script.OVERSAMPLE)
    stems = features.load(data.stems, script.SAMPLE_RATE, CPU)
    labels = torch.tensor(data.stems["class_index"].to_numpy(copy=True))
    singles, mixtures = data.singles["val"], data.mixtures["val"]
    validated = {"counter": [singles, mixtures], "single-label": [singles], "two-label": [mixtures]}
    validation_rows = np.concatenate(validated[name])
    rows = np.random.default_rng(0).permutation(script.draw(0, data))

    def targets(rows: np.ndarray) -> torch.Tensor:
        if name == "counter":
            return script.targets(rows, labels, len(data.classes))
        return loop.many_hot(rows, labels, nb_outputs)

    def batch_of(rows: np.ndarray) -> torch.Tensor:
        return features.stft_magnitude(features.waveforms_of(stems, rows), script.N_FFT)

    def split(rows: np.ndarray, size: int) -> list[np.ndarray]:
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def fit() -> None:
        with tempfile.TemporaryDirectory() as folder:
            loop.fit(
                run_records.Run(Path(folder), file, script.MODEL, constants, {}, commit=""),
                network,
                stems,
                draw=lambda epoch: rows,
                targets=targets,
                loss=loss,
                validate=lambda logits: {"nothing": 0.0},
                validation_rows=validation_rows,
                select_by="nothing",
            )

    rate, batch = script.SAMPLE_RATE, script.BATCH
    network = registry.build(script.MODEL, nb_outputs, rate, script.N_FFT, CPU)
    batches = [(batch_of(some), targets(some)) for some in split(rows, batch)]
    validation = [batch_of(some) for some in split(validation_rows, heads.EVALUATION_BATCH)]
    ready_epoch(network, loss, batches[:4], validation[:1])  # warm up
    ours = bench_lib.seconds(fit)
    floor = bench_lib.seconds(lambda: ready_epoch(network, loss, batches, validation))
    work = f"{name}: {len(rows)} clips in batches of {batch}, {len(validation_rows)} to validate"
    return bench_lib.row("train_epoch", work, ours, None, floor)


def main() -> None:
    root = bench_lib.prepared_root()
    bench_lib.finish([one_epoch(name, *given, root) for name, given in TRAININGS.items()], root)


if __name__ == "__main__":
    main()
