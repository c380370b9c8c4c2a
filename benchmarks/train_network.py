"""Training, the network side: one step of the ASC and of the CNN on the CPU, per clip.

Every way runs in a process of its own, as its threads and memory are then its own. "Plain" is
what one writes first: contiguous tensors, PyTorch's default AdamW and dropout, memory handled as
the C library does. The others change one thing each of what the scripts do.
"""

import json
import shutil
import sys
import time

import bench_lib
import torch
from torch import nn

from pipeline.networks import cpu_speed, features, registry

SAMPLE_RATE = 4000
N_FFT = 256
SECONDS = 1.5  # of steps that are timed, after those that warm up
SIZES = {"asc": (2, 16), "isocc": (10, 32)}  # outputs, batch of the scripts
PLAIN = {
    "channels_last": False,
    "fused": False,
    "quick_dropout": False,
    "quick_batch_norm": False,
    "keep_memory": False,
}
# What each way changes of ours.
STRATEGIES = {
    "ours": {},
    "plain PyTorch": PLAIN,
    "contiguous memory": {"channels_last": False},
    "AdamW not fused": {"fused": False},
    "PyTorch's dropout": {"quick_dropout": False},
    "PyTorch's batch norm": {"quick_batch_norm": False},
    "freed memory given back": {"keep_memory": False},
    "1 thread": {"threads": 1},
    "half the batch": {"batch": 0.5},
    "twice the batch": {"batch": 2},
    "bf16 autocast": {"bf16": True},
    "torch.compile": {"compiled": True},
}


def step_seconds(
    model: str,
    channels_last: bool = True,
    fused: bool = True,
    quick_dropout: bool = True,
    quick_batch_norm: bool = True,
    keep_memory: bool = True,
    threads: int = 0,
    batch: float = 1,
    bf16: bool = False,
    compiled: bool = False,
) -> float:
    """Seconds a clip of a training step on data that lies ready."""
    nb_outputs, size = SIZES[model]
    size = int(size * batch)
    if threads:
        torch.set_num_threads(threads)
    if keep_memory:
        cpu_speed.keep_memory()
    torch.manual_seed(0)
    memory = torch.channels_last if channels_last else torch.contiguous_format
    network = registry.NETWORKS[model](nb_outputs, 129, 313, SAMPLE_RATE)
    # `quicken` puts PyTorch's own in place of PyTorch's own where ours is not wanted.
    if not quick_dropout:
        cpu_speed.QuickDropout = nn.Dropout
    if not quick_batch_norm:
        cpu_speed.FEW_CHANNELS = 0
    network = cpu_speed.quicken(network).train()
    network = network.to(memory_format=memory)
    forward = torch.compile(network) if compiled else network
    spectrograms = features.stft_magnitude(torch.randn(size, 5 * SAMPLE_RATE) / 10, N_FFT)
    spectrograms = spectrograms.contiguous(memory_format=memory)
    targets = torch.arange(size) % nb_outputs
    optimiser = torch.optim.AdamW(network.parameters(), fused=fused)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = nn.functional.cross_entropy(forward(spectrograms).float(), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    for _ in range(3):
        step()
    nb_steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        step()
        nb_steps += 1
    return (time.perf_counter() - start) / nb_steps / size


def main() -> None:
    if len(sys.argv) > 1:  # the child that is measured
        return print(step_seconds(sys.argv[1], **json.loads(sys.argv[2])))
    rows = []
    for model in SIZES:
        found = {}
        for name, change in STRATEGIES.items():
            if name == "torch.compile" and not shutil.which("g++"):
                continue  # it needs a compiler
            _, peak, out = bench_lib.run_measured(__file__, model, json.dumps(change))
            found[name] = float(out), peak
        ours, plain = found["ours"], found["plain PyTorch"]
        work = f"{model} step, batch {SIZES[model][1]}, per clip"
        rows.append(bench_lib.row("train_network", work, ours[0], plain[0], None, ours[1]))
        for name, (seconds, peak) in list(found.items())[2:]:
            work = f"{model} step: {name}"
            rows.append(bench_lib.row("train_network", work, seconds, plain[0], None, peak))
    bench_lib.finish(rows)


if __name__ == "__main__":
    main()
