"""Train and test the single-label classifier: the best one class of a clip that holds one.

Reads   <DATASET>/esc10_rename_4k and _4k_p5, esc10_rename/names.csv, esc10_mixes.csv, the division
        texts of SET; with SHARED the counter's weights from models/.
Writes  results/<time>_sep_opt_isocc_single_volnorm_STFT_isocc_set1_4k/: run.json, history.csv,
        predictions.csv, validation.csv (logits of the best epoch), curves.png, confusion.png,
        last.pt;
        models/sep_opt_isocc_single_volnorm_STFT_isocc_set1_4k.pt: the weights of the best epoch.
        (With SHARED nothing is trained: no history.csv, curves.png, last.pt.)
        With ALL_CLIPS `all` stands for `set1`, and nothing of validation or test is there.
How many  set 1 at 4 kHz: 1,600 clips an epoch (320 and their shifted copies) and as many mixtures,
        of which it learns both labels; 40 clips to validate on and 40 to test.
Takes   4 to 10 minutes on 2 CPU cores.
"""

import numpy as np
import pandas as pd
import torch

import crs_lib
import tmr
from pipeline.data import set_data
from pipeline.evaluation import metrics, plots
from pipeline.files import running
from pipeline.networks import features, heads, registry
from pipeline.settings import command_line
from pipeline.training import checkpoints, loop

# ---- constants: edit here, or override, e.g.  python sep_opt_isocc_single_volnorm_STFT.py --set 3
DATASET = "dataset"  # root of all prepared data
DIVISION_DIR = ""  # folder of the texts; empty: esc10_811div_txts, for another root below it
RESULTS = "results"  # run folders
MODELS = "models"  # finished weights
SET = 1  # division set, 1 to 10
ALL_CLIPS = False  # train on every clip, whatever its set, and test nothing
SAMPLE_RATE = 4000  # Hz, of the folder 0_downsampling.py made
N_FFT = 256  # STFT window in samples
OVERSAMPLE = 5  # files per single clip, itself included: the folder 0_pitch_oversample_4k.py made
REPEAT = 1  # times that an epoch takes each clip
BOTH_KINDS = True  # learn from single clips and mixtures, the number of classes given
SHARED = False  # take the label head of the counter (joint network) of this MODEL, train nothing
MODEL = "isocc"  # the network, one of pipeline/networks/registry.py
REDRAW = True  # draw other mixtures each epoch; --no-redraw keeps those of the first
ROLL = True  # augmentation: stems start at a random point, their end fades into their beginning
SPEED = 0.0  # augmentation: 0.25 plays stems up to a quarter faster or as much slower; 0: none
GAIN = 6.0  # augmentation: dB by which a second stem is softer or louder, at most
TILT = 0.0  # augmentation: dB by which a clip's spectrum rises or falls, at most
NOISE = False  # augmentation: white noise, 15 to 60 dB below the clip
MASK = True  # augmentation: a random band of frequencies and a stretch of time are hidden
EPOCHS = 12  # passes over the selected clips, at most
PATIENCE = 12  # epochs without a better validation before training stops
BATCH = 32  # clips
LEARNING_RATE = 0.001  # the highest of the one-cycle schedule
ENCODER_RATE = 0.3  # learning rate of a pre-trained encoder, as a share of LEARNING_RATE
LAYER_DECAY = 1.0  # learning rate of an encoder's layer, as a share of the one's behind it
FROZEN = 0  # first layers of a pre-trained encoder that do not learn
KEEP = 0.0  # share by which an encoder's weights move back to the pre-trained ones
AVERAGE = 2.5  # epochs over which the weights are averaged, those that are kept; 0: the last alone
SEED = 0  # of the drawing, the order of the clips, the network's first weights and dropout
DEVICE = "auto"  # auto (CUDA, else MPS, else CPU), cuda, cuda:1, mps, cpu
BF16 = False  # train in bfloat16 where PyTorch deems it safe: faster on CPUs and GPUs that have it
THREADS = 0  # CPU threads; 0 leaves torch's choice
RESUME = False  # go on with the newest unfinished run of the same constants
CONSTANTS = command_line.constants_from_command_line(globals())
if ALL_CLIPS:
    SET = CONSTANTS["SET"] = crs_lib.ALL_CLIPS

SELECT_BY = "accuracy"  # the validation figure that picks the epoch


def draw(epoch: int, data: set_data.SetData) -> np.ndarray:
    """Rows of an epoch: every single with its copies; with BOTH_KINDS as many mixtures too."""
    singles = set_data.repeated_singles(data, CONSTANTS)
    if not BOTH_KINDS:
        return singles
    return np.concatenate([singles, set_data.draw_mixtures(data, CONSTANTS, epoch)[0]])


def predictions(logits: torch.Tensor, rows: np.ndarray, data: set_data.SetData) -> pd.DataFrame:
    """The table of predictions: the best label, and the score of each class."""
    scores = torch.softmax(logits, dim=1).numpy()
    table = set_data.recordings_of(data.stems, rows)
    table["labels"] = np.array(data.classes)[scores.argmax(axis=1)]
    return table.join(pd.DataFrame(scores, columns=[f"score_{name}" for name in data.classes]))


def main() -> None:
    timer = tmr.start()
    device = registry.choose_device(DEVICE, THREADS)

    # 1. Files and labels.
    data = set_data.choose_files(DATASET, DIVISION_DIR, SET, SAMPLE_RATE, OVERSAMPLE)
    labels = torch.tensor(data.stems["class_index"].to_numpy(copy=True), device=device)

    # 2. Oversampling: every training clip comes with its pitch-shifted copies.
    print(f"{set_data.set_in_words(SET)}: {set_data.in_words(draw(0, data), data)} an epoch")

    # 3. Load.
    stems = features.load(data.stems, SAMPLE_RATE, device)

    # 4. Train, pick the epoch by validation, test once.
    loop.seed_everything(SEED, SET, crs_lib.SINGLE)
    network = registry.build(MODEL, len(data.classes), SAMPLE_RATE, N_FFT, device)
    run = checkpoints.start_run(crs_lib.SINGLE, MODEL, CONSTANTS, data.stamps)
    validation_rows = data.singles["val"]

    def validate(logits: torch.Tensor) -> dict[str, float]:
        table = predictions(logits, validation_rows, data)
        return metrics.unweighted(metrics.single_figures, table)

    history, more = [], {}
    if SHARED:
        best, logits, more["label_head_of"] = loop.take_label_head(
            run, network, stems, data.classes, validate, validation_rows
        )
    else:
        history, best, logits = loop.fit(
            run,
            network,
            stems,
            draw=lambda epoch: draw(epoch, data),
            targets=lambda rows: loop.many_hot(rows, labels, len(data.classes)),
            loss=loop.labels_loss,  # of one label it is cross-entropy
            validate=validate,
            validation_rows=validation_rows,
            select_by=SELECT_BY,
        )
    test_rows = data.singles["test"]
    table = predictions(heads.logits_of(network, stems, test_rows), test_rows, data)

    def draw_plots() -> None:
        if history:
            plots.plot_curves(run, history, best["epoch"], SELECT_BY)
        plots.plot_confusion(run, table["truth"], table["labels"], data.classes, "single clips")

    loop.finish(
        run,
        network,
        classes=data.classes,
        figures=metrics.single_figures,
        predictions=table,
        validation=loop.validation_table(logits, validation_rows, data, data.classes),
        history=history,
        best=best,
        draw_plots=draw_plots,
        **more,
    )
    print(f"done in {tmr.elapsed(timer)}")


if __name__ == "__main__":
    running.run(main, DATASET)
