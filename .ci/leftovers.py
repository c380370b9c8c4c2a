"""Fill a tree with what a user's runs leave in it, all of it to be left alone by the tests.

    python .ci/leftovers.py TREE

dataset/ and dataset_demo/ of an odd size, weights under every name that the scripts use, runs,
labels, exported networks; what a test would read of these is never what it expects.
"""

import itertools
import json
import os
import shutil
import sys
from pathlib import Path

SCRIPTS = {
    "audio_source_counter": ("asc", "isocc", "logmel"),
    "sep_opt_isocc_single_volnorm_STFT": ("asc", "isocc", "logmel"),
    "sep_opt_isocc_multi_random_volnorm_STFT": ("asc", "isocc", "logmel", *(
        f"{model}_both" for model in ("asc", "isocc", "logmel")
    )),
    "overall_flow": ("asc-isocc", "isocc-isocc", "logmel-logmel"),
    "audit": ("asc", "isocc", "logmel"),
}  # fmt: skip
RATES = ("4k", "8k", "16k", "22.05k")
STEPS = ("esc10", "esc10_rename", "esc10_811div_txts", "esc10_2mix_vol_norm_4k")
STEPS += tuple(f"esc10_rename_{rate}{copies}" for rate in RATES for copies in ("", "_p2", "_p5"))


def fill(tree: Path) -> None:
    """Write it all."""
    for root in ("dataset", "dataset_demo"):
        for step in STEPS:
            clip = tree / root / step / "chainsaw" / "chainsaw0.wav"
            clip.parent.mkdir(parents=True)
            clip.write_bytes(b"RIFF, but no sound")
            stamp = {"constants": {"SAMPLE_RATE": 1}, "input": {}}
            (tree / root / f"{step}.json").write_text(json.dumps(stamp))
        (tree / root / "esc10_rename" / "names.csv").write_text("file,src_file\nchainsaw0.wav,1\n")
        (tree / root / "esc10_mixes.csv").write_text("filename,A_class\n")
        table = tree / root / "ESC-50" / "meta" / "esc50.csv"
        table.parent.mkdir(parents=True)
        table.write_text("filename,category,esc10\n1-1-A-1.wav,chainsaw,True\n")
    (tree / "dataset_demo" / "SYNTHETIC").write_text("synthetic")
    weights = min((tree / "pretrained").glob("*.pt"), key=lambda path: path.stat().st_size)
    for models, results in (
        (tree / "models", tree / "results"),
        (tree / "models_quick", tree / "results_quick"),
        (tree / "dataset_demo" / "models", tree / "dataset_demo" / "results"),
    ):
        models.mkdir()
        shutil.copyfile(weights, models / "first.pt")
        names = (
            f"{script}_{model}_set{number}_{rate}"
            for script, known in SCRIPTS.items()
            for model, number, rate in itertools.product(known, range(1, 11), RATES)
        )
        for name in names:
            os.link(models / "first.pt", models / f"{name}.pt")
            run = results / f"2026-01-01_00-00-00_{name}"
            run.mkdir(parents=True)
            for file in ("run.json", "predictions.csv", "validation.csv", "last.pt"):
                (run / file).write_text("{}")
        (results / "summary_4k_1.json").write_text("{}")
        (results / "report.html").write_text("<html></html>")
    for folder, name in (("predictions", "garden.wav.txt"), ("exported", "x_isocc_set1_4k.onnx")):
        (tree / folder).mkdir()
        (tree / folder / name).write_text("somebody's")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    fill(Path(sys.argv[1]))
