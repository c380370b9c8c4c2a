"""Pitch shifting: 400 clips x 4 shifts at 4 kHz.

Straightforward: one process that loops over `librosa.effects.pitch_shift`, clip by clip, timed on
100 clips and scaled.
"""

from pathlib import Path

import bench_lib
import librosa
import numpy as np
import soundfile as sf

from pipeline.data import esc10_data

SAMPLE_RATE = 4000
MAX_SHIFT = 0.25  # semitones
NB_STRAIGHTFORWARD = 100  # clips; timed and scaled


def straightforward(files: list[Path], out: Path) -> None:
    shifts = list(esc10_data.copy_shifts(5, MAX_SHIFT).items())[1:]
    for path in files:
        clip, _ = sf.read(path, dtype="float32")
        for ending, shift in shifts:
            shifted = librosa.effects.pitch_shift(clip, sr=SAMPLE_RATE, n_steps=shift)
            shifted = shifted / max(1, np.abs(shifted).max() * 32768 / 32767)
            sf.write(out / f"{path.stem}{ending}.wav", shifted, SAMPLE_RATE, "PCM_16")


def check(ours: Path, straight: Path) -> None:
    """Both ways give the same samples, to the rounding of 16 bits."""
    for path in straight.iterdir():
        (mine,) = ours.glob(f"*/{path.name}")
        difference = sf.read(mine, dtype="int16")[0].astype(int) - sf.read(path, dtype="int16")[0]
        assert np.abs(difference).max() <= 1, path.name


def main() -> None:
    root = bench_lib.prepared_root()
    with bench_lib.scratch_root(root, "esc10_rename_4k") as scratch:
        files = sorted(Path(scratch, "esc10_rename_4k").glob("*/*.wav"))
        script = bench_lib.script("0_pitch_oversample_4k.py", DATASET=scratch, MAX_SHIFT=MAX_SHIFT)
        straight = Path(scratch, "straight")
        straight.mkdir()
        some = files[:: max(1, len(files) // NB_STRAIGHTFORWARD)]
        straightforward(files[:1], straight)  # what librosa imports on its first call
        way = bench_lib.seconds(lambda: straightforward(some, straight), repeats=2)
        way *= len(files) / len(some)
        ours = bench_lib.seconds(script.main, repeats=2)
        check(Path(scratch, "esc10_rename_4k_p5"), straight)
        whole, peak, _ = bench_lib.run_measured("0_pitch_oversample_4k.py", "--dataset", scratch)
    work = f"{len(files)} clips x 4 shifts"
    rows = [
        bench_lib.row("pitch", work, ours, way, None, peak),
        bench_lib.row("pitch", f"{work}, the script from start to end", whole, None, None, peak),
    ]
    bench_lib.finish(rows, root)


if __name__ == "__main__":
    main()
