"""Train and test the two-label classifier: the best two classes of a mixture.

With TRAIN_ON = both it learns from singles and mixtures: the rival that needs no counter. That one
gives its best name, and the second where its score exceeds a threshold chosen on validation.

Reads   <DATASET>/esc10_rename_4k and _4k_p5, esc10_mixes.csv, the division texts of SET.
Writes  results/<time>_sep_opt_isocc_multi_random_volnorm_STFT_isocc[_both]_set1_4k/: run.json,
        history.csv, predictions.csv, curves.png, confusion.png, last.pt;
        models/sep_opt_isocc_multi_random_volnorm_STFT_isocc[_both]_set1_4k.pt: the best epoch.
How many  set 1 at 4 kHz: 1,600 mixtures an epoch (both: and 1,600 singles), 720 to validate on and
        720 to test (both: and 40).
Takes   about 8 minutes on 2 CPU cores (both: 11).
"""

import numpy as np
import pandas as pd
import torch
from torch import nn

import crs_lib
import esc10_data
import metrics
import report
import tmr
import training

# ---- constants: edit here, or override, e.g.
# python sep_opt_isocc_multi_random_volnorm_STFT.py --train-on both --epochs 8
DATASET = "dataset"  # root of all prepared data
DIVISION_DIR = ""  # folder of the texts; empty: esc10_811div_txts, for another root below it
RESULTS = "results"  # run folders
MODELS = "models"  # finished weights
SET = 1  # division set, 1 to 10
SAMPLE_RATE = 4000  # Hz, of the folder 0_downsampling.py made
N_FFT = 256  # STFT window in samples
OVERSAMPLE = 5  # files per single clip, itself included: the folder 0_pitch_oversample_4k.py made
TRAIN_ON = "mixtures"  # mixtures, or both: singles and mixtures, the rival without a counter
MODEL = "isocc"  # the network: isocc or asc
REDRAW = True  # draw other mixtures each epoch; --no-redraw keeps those of the first
EPOCHS = 12  # passes over the selected clips, at most
PATIENCE = 12  # epochs without a better validation before training stops
BATCH = 32  # clips
LEARNING_RATE = 0.001  # the highest of the one-cycle schedule
SEED = 0  # of the drawing, the order of the clips, the network's first weights and dropout
DEVICE = "auto"  # auto (CUDA, else MPS, else CPU), cuda, cuda:1, mps, cpu
THREADS = 0  # CPU threads; 0 leaves torch's choice
RESUME = False  # go on with the newest unfinished run of the same constants
TEST_UNSELECTED = False  # also test the training mixtures that were never drawn
CONSTANTS = crs_lib.constants_from_command_line(globals(), MODEL=tuple(training.NETWORKS))

BOTH = TRAIN_ON == "both"
SELECT_BY = "exact_set_balanced" if BOTH else "exact_pair"  # what picks the epoch


def drawn_in(epoch: int, data: training.SetData) -> tuple[np.ndarray, np.random.Generator]:
    """Which training mixtures (indices) an epoch gets, as many as singles; and the generator."""
    rng = np.random.default_rng([SEED, epoch if REDRAW else 0])
    nb_mixtures, nb_singles = len(data.mixtures["train"]), len(data.singles["train"])
    return esc10_data.undersample(nb_mixtures, nb_singles, rng), rng


def draw(epoch: int, data: training.SetData) -> np.ndarray:
    """Rows of an epoch: mixtures of random copies; for `both` behind every single."""
    drawn, rng = drawn_in(epoch, data)
    mixtures = esc10_data.pick_copies(data.mixtures["train"][drawn], OVERSAMPLE, rng)
    return np.concatenate([data.singles["train"], mixtures]) if BOTH else mixtures


def many_hot(rows: np.ndarray, labels: torch.Tensor, nb_classes: int) -> torch.Tensor:
    """Targets: 1 for each class in the clip, float32 (clips, classes)."""
    stems = torch.as_tensor(rows, device=labels.device)
    # A single clip's absent second stem marks its first one's class a second time.
    second = torch.where(stems[:, 1] == training.NO_STEM, stems[:, 0], stems[:, 1])
    targets = torch.zeros(len(rows), nb_classes, device=labels.device)
    return targets.scatter_(1, labels[torch.stack([stems[:, 0], second], dim=1)], 1)
