"""Mixing: all 72,000 two-class mixtures as 16-bit WAV at 4 kHz, from the 400 clips.

Straightforward: for every pair two files read, normalised, added and written with soundfile; timed
on 1,600 pairs and scaled. Floor: as many files of as many bytes written, nothing computed, by one
thread or two, whichever is faster. Floor and ours take turns, three times.
"""

import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, product
from pathlib import Path

import bench_lib
import numpy as np
import soundfile as sf

from pipeline.data import audio

SAMPLE_RATE = 4000
NB_STRAIGHTFORWARD = 1600


def straightforward(stems: dict[str, Path], pairs: list[tuple], loudest: float, out: Path) -> None:
    for name_a, name_b in pairs:
        clip_a, _ = sf.read(stems[name_a])
        clip_b, _ = sf.read(stems[name_b])
        clip_a = clip_a * (loudest / np.abs(clip_a).max())
        clip_b = clip_b * (loudest / np.abs(clip_b).max())
        sf.write(out / f"{name_a}_{name_b}.wav", (clip_a + clip_b) / 2, SAMPLE_RATE, "PCM_16")


def write_files(names: list[str], content: bytes, out: Path) -> None:
    """The floor: open, write, close."""
    for name in names:
        with open(out / name, "wb", buffering=0) as file:
            file.write(content)


def floor(files: list[str], content: bytes, nb_threads: int) -> float:
    """Seconds of writing as many files of as many bytes, earlier ones being on the disk."""
    os.sync()
    with tempfile.TemporaryDirectory() as out, ThreadPoolExecutor(nb_threads) as pool:
        parts = [files[i::nb_threads] for i in range(nb_threads)]
        return bench_lib.seconds(
            lambda: list(pool.map(lambda part: write_files(part, content, Path(out)), parts))
        )


def check(ours: Path, straight: Path) -> None:
    """Both ways give the same samples, to the rounding of 16 bits."""
    for path in sorted(straight.iterdir())[::40]:
        mine, _ = sf.read(ours / path.name, dtype="int16")
        theirs, _ = sf.read(path, dtype="int16")
        assert np.abs(mine.astype(int) - theirs).max() <= 1, path.name


def main() -> None:
    root = bench_lib.prepared_root()
    folder = Path(root, "esc10_rename_4k")
    stems = {path.stem: path for path in sorted(folder.glob("*/*.wav"))}
    names = {c.name: [n for n in stems if stems[n].parent == c] for c in sorted(folder.iterdir())}
    pairs = [p for a, b in combinations(names, 2) for p in product(names[a], names[b])]
    some = pairs[:: max(1, len(pairs) // NB_STRAIGHTFORWARD)]
    loudest = max(np.abs(sf.read(path)[0]).max() for path in stems.values())
    with bench_lib.scratch_root(root, folder.name) as scratch:
        script = bench_lib.script("0_2mix_norm_vol.py", DATASET=scratch, WRITE="all")
        mixtures = Path(scratch, "esc10_2mix_vol_norm_4k")
        files = [f"{a}_{b}.wav" for a, b in pairs]
        content = bytes(44 + 2 * audio.CLIP_SECONDS * SAMPLE_RATE)
        ours, floors = [], []
        for nb_threads in (2, 1, 2):
            floors.append(floor(files, content, nb_threads))
            shutil.rmtree(mixtures, ignore_errors=True)
            os.sync()
            ours.append(bench_lib.seconds(script.main))
        straight = Path(scratch, "straight")
        straight.mkdir()
        way = min(
            bench_lib.seconds(lambda: straightforward(stems, some, loudest, straight)) for _ in ours
        )
        check(mixtures, straight)
        shutil.rmtree(mixtures)
        os.sync()
        whole, peak, _ = bench_lib.run_measured("0_2mix_norm_vol.py", "--dataset", scratch)
    work = f"{len(pairs)} mixtures written as WAV"
    scaled = way * len(pairs) / len(some)
    rows = [
        bench_lib.row("mixing", work, min(ours), scaled, min(floors), peak),
        bench_lib.row("mixing", f"{work}, the script from start to end", whole, None, None, peak),
    ]
    bench_lib.finish(rows, root)


if __name__ == "__main__":
    main()
