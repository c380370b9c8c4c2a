"""Preparing everything: what `run_all.py` does up to the trainings, the whole process.

Straightforward: there is none but the sum of the steps; the floor is not known. The ESC-50 folder
is that of `dataset/`; all steps are made again in a root of their own.
"""

from pathlib import Path

import bench_lib

import crs_lib

PREPARE = """
import sys
sys.path[:0] = ["benchmarks"]
import bench_lib
run_all = bench_lib.script("run_all.py", DATASET=sys.argv[1], ESC50_DIR=sys.argv[2])
run_all.CONSTANTS |= {"DATASET": sys.argv[1], "ESC50_DIR": sys.argv[2], "WRITE": sys.argv[3]}
run_all.WRITE = sys.argv[3]
run_all.prepare(run_all.get_esc50())
"""


def main() -> None:
    root = bench_lib.prepared_root()
    esc50 = crs_lib.esc50_dir(root, "").resolve()
    rows = []
    for write, what in (("test", "the test mixtures"), ("all", "all 72,000 mixtures")):
        with bench_lib.scratch_root(root) as scratch:
            if crs_lib.is_synthetic(root):
                Path(scratch, "SYNTHETIC").touch()
            seconds, peak, _ = bench_lib.run_measured("-c", PREPARE, scratch, esc50, write)
        rows.append(
            bench_lib.row("prepare", f"every step, {what} as WAV", seconds, None, None, peak)
        )
    bench_lib.finish(rows, root)


if __name__ == "__main__":
    main()
