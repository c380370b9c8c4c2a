"""Test the overall flow: count the classes of a clip, then classify it (a cascade).

Each test clip of the set goes to the counter; a clip of one class then to the single-label
classifier, a clip of two to the two-label one. Compared with it on the same clips:

- the flow with the oracle count: what classification alone loses;
- the no-counter baseline, the multi-label network (TRAIN_ON = both): its best label, and the second
  where its score exceeds a threshold. It is what a counter has to beat;
- the baseline with the counter's count: what the count alone gains;
- the joint network, which counts and classifies: the counter with the labels that it learned;
- the ensemble of flow and baseline: their scores of two, and of the labels, added up;
- the shortcut baseline, which counts by level, silence and flatness alone.

Thresholds on the score of two are those that count best and, `_for_exact_match`, those with the
best exact match; all are chosen on validation clips.

Reads   <DATASET>/esc10_rename_4k and _4k_p5, esc10_rename/names.csv, esc10_mixes.csv, the division
        texts of SET, and four weights from models/: counter, single-label, two-label, two-label
        trained on both.
Writes  results/<time>_overall_flow_asc-isocc_set1_4k/: run.json, predictions.csv, validation.csv
        (the clips by which thresholds were chosen), flow.png, confusion.png.
How many  set 1: 40 single clips and 720 mixtures.
Takes   20 seconds on 2 CPU cores.
"""

import numpy as np
import pandas as pd
import torch

import crs_lib
import tmr
from crs_lib import InputError
from pipeline.data import set_data
from pipeline.evaluation import metrics, plots, run_records, shortcuts, strategies
from pipeline.evaluation.strategies import Strategy
from pipeline.files import running
from pipeline.networks import features, heads, registry
from pipeline.settings import command_line

# ---- constants: edit here, or override, e.g.  python overall_flow.py --set 3
DATASET = "dataset"  # root of all prepared data
DIVISION_DIR = ""  # folder of the texts; empty: esc10_811div_txts, for another root below it
RESULTS = "results"  # run folders
MODELS = "models"  # finished weights
SET = 1  # division set, 1 to 10
SAMPLE_RATE = 4000  # Hz, of the folder 0_downsampling.py made and of the weights
COUNTER_MODEL = "asc"  # the counter's network
CLASSIFIER_MODEL = "isocc"  # the classifiers' network
SEED = 0  # of the training mixtures that the shortcut baseline learns from
DEVICE = "auto"  # auto (CUDA, else MPS, else CPU), cuda, cuda:1, mps, cpu
THREADS = 0  # CPU threads; 0 leaves torch's choice
CONSTANTS = command_line.constants_from_command_line(globals())


def logits_of(trained: dict, stems: torch.Tensor, rows: np.ndarray) -> dict[str, torch.Tensor]:
    """Task -> the logits of its network, float32 (clips, outputs)."""
    return {task: heads.logits_of(network, stems, rows) for task, (network, _) in trained.items()}


def strategies_of(trained: dict, logits: dict[str, torch.Tensor]) -> dict[str, Strategy]:
    """What is compared, from the logits of the same clips, see `logits_of`."""
    # Behind the counter's two logits stand those of its labels.
    counts, joint = logits["counter"][:, :2], logits["counter"][:, 2:].numpy()
    score_two = heads.scores_of_count(counts)[:, 1].numpy()
    counted_two = (counts.argmax(dim=1) == 1).numpy()
    single, two_label = (
        heads.SCORES_OF[task](logits[task]).numpy() for task in ("single", "two_label")
    )
    baseline = logits["both"]
    found = {
        "with_counter": Strategy(single, two_label, score_two, counted_two),
        "baseline_with_counter": Strategy(*2 * [baseline.numpy()], score_two, counted_two),
    }
    scores = torch.sigmoid(baseline).numpy()
    threshold = trained["both"][1]["metrics"]["validation"]["val_threshold"]
    is_two = strategies.second_exceeds(scores, threshold)
    found["no_counter"] = Strategy(scores, scores, is_two=is_two)
    # Classifiers that took these labels (SHARED) are the joint network: the flow is no other.
    if joint.size and not trained["single"][1]["constants"]["SHARED"]:
        found["joint"] = Strategy(joint, joint, score_two, counted_two)
    # The baseline has odds of two as well: of all pairs of its labels against all single ones.
    odds = counts[:, 1] - counts[:, 0]
    baseline_odds = heads.pair_logits(baseline).logsumexp(dim=1) - baseline.logsumexp(dim=1)
    # Logits of labels are logarithms of chances, but for a term that a clip's labels share.
    found["ensemble"] = Strategy(
        (logits["single"] + baseline).numpy(),
        (logits["two_label"] + baseline).numpy(),
        torch.sigmoid((odds + baseline_odds) / 2).numpy(),
    )
    return found


def predictions(
    found: dict[str, Strategy],
    rows: np.ndarray,
    data: set_data.SetData,
    thresholds: dict[str, float],
) -> pd.DataFrame:
    """The table of predictions: the counter's count and its score of two, the labels of each column
    of strategies.STRATEGIES, and each class's score by the classifier that the counter chose.

    found: of the clips in `rows`, see `strategies_of`. thresholds: see strategies.optimise.
    """
    flow = found["with_counter"]
    table = set_data.recordings_of(data.stems, rows)
    table["count"] = 1 + flow.is_two
    table["score_two"] = flow.score_two
    table["ensemble_score_two"] = found["ensemble"].score_two
    labels = strategies.all_labels(found, set_data.is_mixture(rows), thresholds, data.classes)
    scores = np.where(flow.is_two[:, None], flow.two, flow.one)
    return table.assign(**labels).join(
        pd.DataFrame(scores, columns=[f"score_{name}" for name in data.classes])
    )


def shortcut_scores(
    stems: torch.Tensor, data: set_data.SetData, parts: list[np.ndarray], counter: dict
) -> list[np.ndarray]:
    """The shortcut baseline's scores of two of the clips of each part: float64 (clips,).

    It learns from an epoch's singles and mixtures as the counter draws them. parts: rows of clips.
    counter: its constants, with the SEED to draw from.
    """
    mixtures, _ = set_data.draw_mixtures(data, counter, epoch=0)
    rows = np.concatenate([set_data.repeated_singles(data, counter), mixtures])
    learned, *asked = (
        np.concatenate(
            [
                shortcuts.shortcut_features(features.waveforms_of(stems, batch), counter["N_FFT"])
                for batch in np.array_split(part, max(1, len(part) // 256))
            ]
        )
        for part in (rows, *parts)
    )
    return shortcuts.scores_of_two(learned, set_data.is_mixture(rows), asked)


def main() -> None:
    timer = tmr.start()
    device = registry.choose_device(DEVICE, THREADS)
    tasks = {
        "counter": (crs_lib.COUNTER, COUNTER_MODEL),
        "single": (crs_lib.SINGLE, CLASSIFIER_MODEL),
        "two_label": (crs_lib.TWO_LABEL, CLASSIFIER_MODEL),
        "both": (crs_lib.TWO_LABEL, CLASSIFIER_MODEL + crs_lib.BOTH),
    }
    trained = registry.load_networks(tasks, MODELS, SET, SAMPLE_RATE, device, DATASET)
    content = trained["counter"][1]
    counter = content["constants"]

    # 1. The set's clips.
    data = set_data.choose_files(DATASET, DIVISION_DIR, SET, SAMPLE_RATE, counter["OVERSAMPLE"])
    if data.classes != content["classes"]:
        raise InputError(f"{MODELS}: the weights have other classes than {DATASET} holds")
    stems = features.load(data.stems, SAMPLE_RATE, device)
    parts = [np.concatenate([data.singles[part], data.mixtures[part]]) for part in ("val", "test")]

    # 2. Every strategy on validation and test clips; thresholds from those of validation.
    found = [strategies_of(trained, logits_of(trained, stems, rows)) for rows in parts]
    truth = set_data.recordings_of(data.stems, parts[0])["truth"].to_numpy()
    thresholds = strategies.optimise(found[0], truth, set_data.is_mixture(parts[0]), data.classes)
    validation, table = (
        predictions(*part, data, thresholds) for part in zip(found, parts, strict=True)
    )
    scores = shortcut_scores(stems, data, parts, {**counter, "SEED": SEED})
    thresholds["shortcuts"] = shortcuts.count(validation, table, scores)

    # 3. Figures, plots, the run's folder.
    model = crs_lib.flow_model(COUNTER_MODEL, CLASSIFIER_MODEL)
    constants = {**CONSTANTS, "OVERSAMPLE": counter["OVERSAMPLE"]}
    run = run_records.new_run(crs_lib.FLOW, model, constants, data.stamps)
    record = run_records.make_record(
        run,
        strategies.flow_figures,
        table,
        history=[],
        seconds=tmr.seconds(timer),
        machine_used=registry.machine(device),
        trained_in={task: content["run"] for task, (_, content) in trained.items()},
        counter=metrics.unweighted(metrics.counter_figures, table),
        thresholds=thresholds,
    )
    plots.plot_flow(run, record)
    answers = plots.label_pairs(table["truth"], table["with_counter"])
    plots.plot_confusion(run, *answers, data.classes, "a class in it, and the predicted one")
    run_records.write_run(run, record, table, validation)
    for column in filter(record["test"].get, strategies.STRATEGIES):
        figures = [f"{name} {100 * value:.1f} %" for name, value in record["test"][column].items()]
        print(f"{column:>38}:", *figures, sep="  ")
    print(f"run: {run.folder}")
    print(f"done in {tmr.elapsed(timer)}")


if __name__ == "__main__":
    running.run(main, DATASET)
