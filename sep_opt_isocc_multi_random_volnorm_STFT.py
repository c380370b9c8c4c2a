"""Train and test the two-label classifier: the best two classes of a mixture.

It learns from mixtures and singles (BOTH_KINDS), the number of classes of each given, as the
counter will give it. With TRAIN_ON = both that number is not given: this multi-label network is the
no-counter baseline. It predicts its best label, and the second where its score exceeds a threshold
chosen on validation.

Reads   <DATASET>/esc10_rename_4k and _4k_p5, esc10_rename/names.csv, esc10_mixes.csv, the division
        texts of SET; with SHARED the counter's weights from models/.
Writes  results/<time>_sep_opt_isocc_multi_random_volnorm_STFT_isocc[_both]_set1_4k/: run.json,
        history.csv, predictions.csv, validation.csv (logits of the best epoch), curves.png,
        confusion.png, last.pt; with TEST_UNSELECTED unselected.csv.gz;
        models/sep_opt_isocc_multi_random_volnorm_STFT_isocc[_both]_set1_4k.pt: the best epoch.
        (With SHARED nothing is trained: no history.csv, curves.png, last.pt.)
        With ALL_CLIPS `all` stands for `set1`, and nothing of validation or test is there.
How many  set 1 at 4 kHz: 1,600 mixtures and as many singles an epoch, 720 mixtures to validate on
        and 720 to test (both: and 40 singles).
Takes   4 to 10 minutes on 2 CPU cores.
"""

import numpy as np
import pandas as pd
import torch
from torch import nn

import crs_lib
import tmr
from crs_lib import InputError
from pipeline.data import set_data
from pipeline.evaluation import metrics, plots, run_records, strategies
from pipeline.files import running
from pipeline.networks import features, heads, registry
from pipeline.settings import command_line
from pipeline.training import checkpoints, loop

# ---- constants: edit here, or override, e.g.
# python sep_opt_isocc_multi_random_volnorm_STFT.py --train-on both --epochs 8
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
TRAIN_ON = "mixtures"  # mixtures, or both: singles and mixtures, the no-counter baseline
BOTH_KINDS = True  # learn from single clips and mixtures, the number of classes given
THRESHOLD = 0.5  # with ALL_CLIPS, where none is chosen: the score above which there are two
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
TEST_UNSELECTED = False  # also test the training mixtures that were never drawn
CONSTANTS = command_line.constants_from_command_line(globals())
if ALL_CLIPS:
    SET = CONSTANTS["SET"] = crs_lib.ALL_CLIPS

BOTH = TRAIN_ON == "both"
SELECT_BY = "exact_match_balanced" if BOTH else "exact_pair"  # what picks the epoch


def draw(epoch: int, data: set_data.SetData) -> np.ndarray:
    """Rows of an epoch: mixtures of copies; with BOTH_KINDS and for `both` behind every single."""
    mixtures, _ = set_data.draw_mixtures(data, CONSTANTS, epoch)
    if not (BOTH_KINDS or BOTH):
        return mixtures
    return np.concatenate([set_data.repeated_singles(data, CONSTANTS), mixtures])


def scores_of(logits: torch.Tensor) -> np.ndarray:
    """The score of each class, (clips, classes): its probability to be one of a mixture's two; for
    `both`, which is not given the number of classes, its probability to be there.
    """
    return (torch.sigmoid(logits) if BOTH else heads.scores_of_two(logits)).numpy()


def predictions(
    logits: torch.Tensor,
    rows: np.ndarray,
    data: set_data.SetData,
    threshold: float | None = None,
) -> pd.DataFrame:
    """The table of predictions: the best two labels, the score of each class; for `both` also the
    labels without a counter, the second one over the threshold.
    """
    scores = scores_of(logits)
    table = set_data.recordings_of(data.stems, rows)
    table["pair"] = strategies.best_labels(scores, 2, data.classes)
    if BOTH:
        table["labels"] = strategies.labels_over_threshold(scores, threshold, data.classes)
    return table.join(pd.DataFrame(scores, columns=[f"score_{name}" for name in data.classes]))


def validate(logits: torch.Tensor, rows: np.ndarray, data: set_data.SetData) -> dict[str, float]:
    """Validation figures of an epoch; for `both` under the threshold that suits it best."""
    thresholds = {"threshold": best_threshold(logits, rows, data)} if BOTH else {}
    table = predictions(logits, rows, data, **thresholds)
    return {**metrics.unweighted(metrics.two_label_figures, table), **thresholds}


def best_threshold(logits: torch.Tensor, rows: np.ndarray, data: set_data.SetData) -> float:
    """The threshold on the second-best label's score with the best balanced exact match."""
    scores = scores_of(logits)
    truth = set_data.recordings_of(data.stems, rows)["truth"].to_numpy()
    return metrics.best_threshold(
        set_data.is_mixture(rows),
        scores_of_two=np.sort(scores, axis=1)[:, -2],
        one_is_right=strategies.best_labels(scores, 1, data.classes) == truth,
        two_is_right=strategies.best_labels(scores, 2, data.classes) == truth,
    )


def main() -> None:
    timer = tmr.start()
    if SHARED and (BOTH or TEST_UNSELECTED):
        raise InputError("--shared trains nothing: leave out --train-on both, --test-unselected")
    device = registry.choose_device(DEVICE, THREADS)

    # 1. Files and labels.
    data = set_data.choose_files(DATASET, DIVISION_DIR, SET, SAMPLE_RATE, OVERSAMPLE)
    labels = torch.tensor(data.stems["class_index"].to_numpy(copy=True), device=device)
    validation_rows, test_rows = (
        np.concatenate([data.singles[part], data.mixtures[part]]) if BOTH else data.mixtures[part]
        for part in ("val", "test")
    )

    # 2. Undersampling: `draw` gives each epoch as many mixtures as there are singles.
    print(f"{set_data.set_in_words(SET)}: {set_data.in_words(draw(0, data), data)} an epoch")

    # 3. Load.
    stems = features.load(data.stems, SAMPLE_RATE, device)

    # 4. Train, pick the epoch by validation, test once.
    loop.seed_everything(SEED, SET, crs_lib.TWO_LABEL)
    network = registry.build(MODEL, len(data.classes), SAMPLE_RATE, N_FFT, device)
    model = MODEL + crs_lib.BOTH * BOTH
    run = checkpoints.start_run(crs_lib.TWO_LABEL, model, CONSTANTS, data.stamps)
    history, more = [], {}
    if SHARED:
        best, logits, more["label_head_of"] = loop.take_label_head(
            run,
            network,
            stems,
            data.classes,
            lambda logits: validate(logits, validation_rows, data),
            validation_rows,
        )
    else:
        history, best, logits = loop.fit(
            run,
            network,
            stems,
            draw=lambda epoch: draw(epoch, data),
            targets=lambda rows: loop.many_hot(rows, labels, len(data.classes)),
            # Of `both` every class is a binary target: the number of classes is not given.
            loss=nn.BCEWithLogitsLoss() if BOTH else loop.labels_loss,
            validate=lambda logits: validate(logits, validation_rows, data),
            validation_rows=validation_rows,
            select_by=SELECT_BY,
        )

    def test(test_rows: np.ndarray) -> pd.DataFrame:
        logits = heads.logits_of(network, stems, test_rows)
        return predictions(logits, test_rows, data, best.get("val_threshold", THRESHOLD))

    table = test(test_rows)
    if TEST_UNSELECTED:
        _, never = set_data.split_by_drawn(data, CONSTANTS, len(history))
        more["unselected"] = {"mixtures": len(never), "exact_pair": None}
        if len(never):
            found = test(never)
            run_records.write_packed(run.folder / run_records.UNSELECTED, found)
            figures = metrics.unweighted(metrics.two_label_figures, found)
            more["unselected"]["exact_pair"] = figures["exact_pair"]

    def draw_plots() -> None:
        if history:
            plots.plot_curves(run, history, best["epoch"], SELECT_BY)
        answers = plots.label_pairs(table["truth"], table["labels" if BOTH else "pair"])
        title = "a class in it, and the predicted one"
        plots.plot_confusion(run, *answers, data.classes, title)

    loop.finish(
        run,
        network,
        classes=data.classes,
        figures=metrics.two_label_figures,
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
