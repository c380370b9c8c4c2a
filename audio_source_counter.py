"""Train and test the Audio Source Counter: does a clip hold one sound class or two?

Four stages: choose files and labels; oversample the singles and undersample the mixtures; load
with `uploader`; train and test (with TEST_UNSELECTED also on the training mixtures never drawn).

Reads   <DATASET>/esc10_rename_4k and _4k_p5, esc10_rename/names.csv, esc10_mixes.csv, the division
        texts of SET.
Writes  results/<time>_audio_source_counter_asc_set1_4k/: run.json, history.csv, predictions.csv,
        validation.csv (logits of the best epoch), curves.png, confusion.png, attention.png,
        last.pt; with TEST_UNSELECTED unselected.csv.gz;
        models/audio_source_counter_asc_set1_4k.pt: the weights of the best epoch.
        With ALL_CLIPS `all` stands for `set1`, and nothing of validation or test is there.
How many  set 1 at 4 kHz: 1,600 singles and 1,600 mixtures an epoch; 40 + 720 clips to validate on
        and 40 + 720 to test.
Takes   8 to 16 minutes on 2 CPU cores.
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

# ---- constants: edit here, or override, e.g.  python audio_source_counter.py --set 3 --epochs 50
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
MODEL = "asc"  # the network, one of pipeline/networks/registry.py
REDRAW = True  # draw other mixtures each epoch; --no-redraw keeps those of the first
ROLL = True  # augmentation: stems start at a random point, their end fades into their beginning
SPEED = 0.0  # augmentation: 0.25 plays stems up to a quarter faster or as much slower; 0: none
GAIN = 6.0  # augmentation: dB by which a second stem is softer or louder, at most
TILT = 0.0  # augmentation: dB by which a clip's spectrum rises or falls, at most
NOISE = False  # augmentation: white noise, 15 to 60 dB below the clip
MASK = True  # augmentation: a random band of frequencies and a stretch of time are hidden
LABELS_WEIGHT = 1.0  # of the class labels, an auxiliary task beside the count; 0: none
COUNT_BY_LABELS = False  # count by the logits of the labels, too
THRESHOLD = 0.5  # with ALL_CLIPS, where none is chosen: the score above which there are two
EPOCHS = 20  # passes over the selected clips, at most
PATIENCE = 12  # epochs without a better validation before training stops
BATCH = 16  # clips
LEARNING_RATE = 0.002  # the highest of the one-cycle schedule
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

SELECT_BY = "accuracy_balanced"  # the validation figure that picks the epoch


def draw(epoch: int, data: set_data.SetData) -> np.ndarray:
    """Rows of an epoch: every single with its copies, and as many mixtures of them."""
    mixtures, _ = set_data.draw_mixtures(data, CONSTANTS, epoch)
    return np.concatenate([set_data.repeated_singles(data, CONSTANTS), mixtures])


def targets(rows: np.ndarray, labels: torch.Tensor, nb_classes: int) -> torch.Tensor:
    """What a clip holds, float32 (clips, 1 + classes): 1 if two classes, 1 for each of them."""
    is_mixture = torch.as_tensor(set_data.is_mixture(rows), device=labels.device)
    return torch.cat([is_mixture[:, None], loop.many_hot(rows, labels, nb_classes)], dim=1)


def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The loss of the count (two logits) and, weighted, of the class labels (the others).

    Labels are an auxiliary task: a network that tells classes apart counts them better, and does
    not overfit the 320 training clips as soon.
    """
    count = nn.functional.cross_entropy(logits[:, :2], targets[:, 0].long())
    return count + LABELS_WEIGHT * loop.labels_loss(logits[:, 2:], targets[:, 1:])


def predictions(
    logits: torch.Tensor, rows: np.ndarray, data: set_data.SetData, threshold: float = 0.5
) -> pd.DataFrame:
    """The table of predictions: the scores of one and of two, and the count, two where its score
    exceeds the threshold.
    """
    scores = heads.scores_of_count(logits).numpy()
    table = set_data.recordings_of(data.stems, rows)
    count = 1 + (scores[:, 1] > threshold)
    return table.assign(count=count, score_one=scores[:, 0], score_two=scores[:, 1])


def validate(logits: torch.Tensor, rows: np.ndarray, data: set_data.SetData) -> dict[str, float]:
    """Validation figures of an epoch, under the threshold that suits it best; of the labels too."""
    is_mixture = set_data.is_mixture(rows)
    score_two = predictions(logits, rows, data)["score_two"].to_numpy()
    threshold = metrics.best_threshold(is_mixture, score_two, ~is_mixture, is_mixture)
    table = predictions(logits, rows, data, threshold)
    figures = {**metrics.unweighted(metrics.counter_figures, table), "threshold": threshold}
    if LABELS_WEIGHT:
        is_two, scores = (table["count"] == 2).to_numpy(), logits[:, 2:].numpy()
        found = strategies.joint_labels(scores, is_two, is_mixture, data.classes)
        figures |= metrics.unweighted(metrics.joint_figures, table.assign(**found))
    return figures


def plot_attention(run, network, stems, rows: np.ndarray, data: set_data.SetData) -> None:
    """Draw the attention over the first single clip and the first mixture of `rows`."""
    is_mixture = set_data.is_mixture(rows)
    few = np.concatenate([rows[~is_mixture][:1], rows[is_mixture][:1]])
    waveforms = features.waveforms_of(stems, few)
    spectrograms = features.stft_magnitude(waveforms, N_FFT)
    logits, attentions = heads.attention_of(network, waveforms, spectrograms.shape[3])
    counts = logits[:, :2].argmax(dim=1) + 1
    clips = set_data.recordings_of(data.stems, few)["clip"]
    titles = [
        f"{clip}: {1 + two}, counted {count}"
        for clip, two, count in zip(clips, set_data.is_mixture(few), counts.tolist(), strict=True)
    ]
    plots.plot_attention(run, spectrograms[:, 0].cpu().numpy(), attentions.cpu().numpy(), titles)


def main() -> None:
    timer = tmr.start()
    if COUNT_BY_LABELS and not LABELS_WEIGHT:
        raise InputError("--count-by-labels needs labels that are learned: --labels-weight 1")
    device = registry.choose_device(DEVICE, THREADS)

    # 1. Files and labels: a row of two stems is a mixture, a row of one a single clip.
    data = set_data.choose_files(DATASET, DIVISION_DIR, SET, SAMPLE_RATE, OVERSAMPLE)
    labels = torch.tensor(data.stems["class_index"].to_numpy(copy=True), device=device)
    nb_classes = len(data.classes)
    validation_rows = np.concatenate([data.singles["val"], data.mixtures["val"]])
    test_rows = np.concatenate([data.singles["test"], data.mixtures["test"]])

    # 2. Over- and undersampling: `draw` gives each epoch as many mixtures as singles.
    print(f"{set_data.set_in_words(SET)}: {set_data.in_words(draw(0, data), data)} an epoch")

    # 3. Load.
    stems = features.load(data.stems, SAMPLE_RATE, device)

    # 4. Train, pick the epoch by validation, test once.
    loop.seed_everything(SEED, SET, crs_lib.COUNTER)
    network = registry.build(MODEL, 2 + nb_classes, SAMPLE_RATE, N_FFT, device)
    if COUNT_BY_LABELS:
        heads.count_by_labels(network)
    run = checkpoints.start_run(crs_lib.COUNTER, MODEL, CONSTANTS, data.stamps)
    history, best, logits = loop.fit(
        run,
        network,
        stems,
        draw=lambda epoch: draw(epoch, data),
        targets=lambda rows: targets(rows, labels, nb_classes),
        loss=loss,
        validate=lambda logits: validate(logits, validation_rows, data),
        validation_rows=validation_rows,
        select_by=SELECT_BY,
    )
    outputs = ["one", "two", *data.classes]
    validation = loop.validation_table(logits, validation_rows, data, outputs)
    heads.move_threshold(network, best.get("val_threshold", THRESHOLD))
    table = predictions(heads.logits_of(network, stems, test_rows), test_rows, data)
    more = {}
    if TEST_UNSELECTED:
        _, never = set_data.split_by_drawn(data, CONSTANTS, len(history))
        more["unselected"] = {"mixtures": len(never), "accuracy": None}
        if len(never):
            found = predictions(heads.logits_of(network, stems, never), never, data)
            run_records.write_packed(run.folder / run_records.UNSELECTED, found)
            figures = metrics.unweighted(metrics.counter_figures, found)
            more["unselected"]["accuracy"] = figures["accuracy_mixture"]

    def draw_plots() -> None:
        plots.plot_curves(run, history, best["epoch"], SELECT_BY)
        truth = pd.Series(1 + set_data.is_mixture(test_rows))
        plots.plot_confusion(run, truth, table["count"], [1, 2], "classes in a clip")
        if registry.attends(network):
            plot_attention(run, network, stems, test_rows, data)

    loop.finish(
        run,
        network,
        classes=data.classes,
        figures=metrics.counter_figures,
        predictions=table,
        validation=validation,
        history=history,
        best=best,
        draw_plots=draw_plots,
        **more,
    )
    print(f"done in {tmr.elapsed(timer)}")


if __name__ == "__main__":
    running.run(main, DATASET)
