"""Print what a joint network reaches on validation clips, as they are and under each shift.

What a recipe is chosen by (docs/trials.md); test clips are not looked at.

Reads   <DATASET> as the trainings do, the counters' weights of SETS, trained with class labels.
Writes  nothing.
Takes   four minutes a set on 2 CPU cores.

    python tools/try_shifts.py --models models_trial --sets 1 2
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

import crs_lib
from pipeline.data import set_data
from pipeline.evaluation import markdown, metrics
from pipeline.files import running
from pipeline.inference import shifted_clips
from pipeline.networks import features, registry
from pipeline.settings import command_line

# ---- constants: edit here, or override, e.g.  python tools/try_shifts.py --sets 1 2
DATASET = "dataset"  # root of all prepared data
DIVISION_DIR = ""  # folder of the texts; empty: esc10_811div_txts, for another root below it
MODELS = "models"  # finished weights
SETS = [1]  # division sets, 1 to 10
SAMPLE_RATE = 16000  # Hz, of the folder 0_downsampling.py made and of the weights
COUNTER_MODEL = "yamnet"  # the counter's network
DEVICE = "auto"  # auto (CUDA, else MPS, else CPU), cuda, cuda:1, mps, cpu
THREADS = 0  # CPU threads; 0 leaves torch's choice
command_line.constants_from_command_line(globals())


def main() -> None:
    device = registry.choose_device(DEVICE, THREADS)
    tables = []
    for number in SETS:
        place = (MODELS, crs_lib.COUNTER, COUNTER_MODEL, number, SAMPLE_RATE, device, DATASET)
        network, content = registry.load_network(*place)
        data = set_data.choose_files(
            DATASET, DIVISION_DIR, number, SAMPLE_RATE, content["constants"]["OVERSAMPLE"]
        )
        stems = features.load(data.stems, SAMPLE_RATE, device)
        rows = np.concatenate([data.singles["val"], data.mixtures["val"]])
        # The counter's weights hold the threshold that counts these clips best.
        tables.append(shifted_clips.predictions(network, stems, rows, data, SAMPLE_RATE))
    figures = metrics.with_intervals(metrics.shift_figures, tables)
    head, *found = markdown.shift_rows(figures)
    print(f"validation clips of sets {SETS}\n{markdown.markdown_table(head, found)}")


if __name__ == "__main__":
    running.run(main, DATASET)
