"""Downsampling: the 400 clips from 44.1 to 4 kHz.

Straightforward: `librosa.load` and soundfile, one file after the other. Floor: reading the files
and soxr alone, on both cores, nothing rounded, checked or written.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bench_lib
import librosa
import numpy as np
import soundfile as sf
import soxr

SAMPLE_RATE = 4000


def straightforward(files: list[Path], out: Path) -> None:
    for path in files:
        clip, _ = librosa.load(path, sr=SAMPLE_RATE)
        clip = clip / max(1, np.abs(clip).max() * 32768 / 32767)
        (out / path.parent.name).mkdir(parents=True, exist_ok=True)
        sf.write(out / path.parent.name / path.name, clip, SAMPLE_RATE, "PCM_16")


def read_and_resample(path: Path) -> None:
    """The floor, of one file."""
    clip, rate = sf.read(path, dtype="float32")
    soxr.resample(clip, rate, SAMPLE_RATE, quality="HQ")


def check(ours: Path, straight: Path) -> None:
    for path in straight.glob("*/*.wav"):
        mine, _ = sf.read(ours / path.parent.name / path.name, dtype="int16")
        theirs, _ = sf.read(path, dtype="int16")
        assert np.abs(mine.astype(int) - theirs).max() <= 1, path.name


def main() -> None:
    root = bench_lib.prepared_root()
    with bench_lib.scratch_root(root, "esc10_rename") as scratch:
        files = sorted(Path(scratch, "esc10_rename").glob("*/*.wav"))
        script = bench_lib.script("0_downsampling.py", DATASET=scratch)
        with ThreadPoolExecutor(2) as pool:
            ours, floor = bench_lib.alternately(
                script.main, lambda: list(pool.map(read_and_resample, files)), repeats=10
            )
        straight = Path(scratch, "straight")
        way = bench_lib.seconds(lambda: straightforward(files, straight), repeats=3)
        check(Path(scratch, "esc10_rename_4k"), straight)
        whole, peak, _ = bench_lib.run_measured("0_downsampling.py", "--dataset", scratch)
    work = f"{len(files)} clips from 44.1 to 4 kHz"
    rows = [
        bench_lib.row("downsampling", work, ours, way, floor, peak),
        bench_lib.row(
            "downsampling", f"{work}, the script from start to end", whole, None, None, peak
        ),
    ]
    bench_lib.finish(rows, root)


if __name__ == "__main__":
    main()
