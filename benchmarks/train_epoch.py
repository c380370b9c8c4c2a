"""A whole epoch of each training, the data side and the network, on a share of its clips.

Floor: the same steps of the same network on tensors that lie ready, and its validation. Ours:
`training.fit` for one epoch, which makes its batches, and writes its checkpoint.
"""

import tempfile
from pathlib import Path

import bench_lib
import numpy as np
import torch
from torch import nn

import hearing
import report
import set_data
import training

SAMPLE_RATE = 4000
N_FFT = 256
NB_CLIPS = 512
NB_VALIDATION = 128
CPU = torch.device("cpu")
TRAININGS = {
    "counter": (training.COUNTER, "asc", 2),
    "classifier": (training.SINGLE, "isocc", 10),
}


def ready_epoch(network, batches: list[tuple], validation: list[torch.Tensor]) -> None:
    """The floor: steps and validation, nothing else."""
    optimiser = torch.optim.AdamW(network.parameters(), fused=True)
    network.train()
    for spectrograms, targets in batches:
        loss = nn.functional.cross_entropy(network(spectrograms), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    with torch.no_grad():
        for spectrograms in validation:
            network(spectrograms)


def one_epoch(script: str, model: str, nb_outputs: int, root: str) -> tuple[str, float, float]:
    """What an epoch of a training is, its seconds, and the floor's."""
    constants = {**bench_lib.script(f"{script}.py").CONSTANTS, "EPOCHS": 1, "DATASET": root}
    data = set_data.choose_files(root, "", 1, SAMPLE_RATE, constants["OVERSAMPLE"])
    stems = hearing.load(data.stems, SAMPLE_RATE, CPU)
    mixtures, _ = set_data.draw_mixtures(data, {**constants, "REDRAW": True}, epoch=0)
    rows = np.concatenate([data.singles["train"], mixtures])
    rows = np.random.default_rng(0).permutation(rows)[:NB_CLIPS]
    validation_rows = data.mixtures["val"][:NB_VALIDATION]
    network = training.build(model, nb_outputs, SAMPLE_RATE, N_FFT, CPU)

    def targets(rows: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(set_data.is_mixture(rows)).long()

    def features(rows: np.ndarray) -> torch.Tensor:
        return hearing.features(hearing.waveforms_of(stems, rows), N_FFT)

    def split(rows: np.ndarray, size: int) -> list[np.ndarray]:
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def fit() -> None:
        with tempfile.TemporaryDirectory() as folder:
            training.fit(
                report.Run(Path(folder), script, model, constants, {}),
                network,
                stems,
                draw=lambda epoch: rows,
                targets=targets,
                loss=nn.functional.cross_entropy,
                validate=lambda logits: {"nothing": 0.0},
                validation_rows=validation_rows,
                select_by="nothing",
            )

    batches = [(features(some), targets(some)) for some in split(rows, constants["BATCH"])]
    validation = [features(some) for some in split(validation_rows, training.EVALUATION_BATCH)]
    ready_epoch(network, batches[:4], validation[:1])  # warm up
    # One after the other, twice: other work on the machine meets both.
    times = [
        (
            bench_lib.seconds(fit),
            bench_lib.seconds(lambda: ready_epoch(network, batches, validation)),
        )
        for _ in range(2)
    ]
    ours, floor = np.min(times, axis=0).tolist()
    batch = constants["BATCH"]
    work = f"{len(rows)} clips in batches of {batch}, {len(validation_rows)} to validate"
    return work, ours, floor


def main() -> None:
    root = bench_lib.prepared_root()
    lines = []
    for name, (script, model, nb_outputs) in TRAININGS.items():
        work, ours, floor = one_epoch(script, model, nb_outputs, root)
        lines.append(bench_lib.row("train_epoch", f"{name}: {work}", ours, None, floor))
    bench_lib.finish(lines, root)


if __name__ == "__main__":
    main()
