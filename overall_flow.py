"""Test the overall flow: count the classes of a clip, then name them.

Each test clip of the set goes to the counter; a clip of one class then to the single-label
classifier, a clip of two to the two-label one. Beside it: the same where the counter says "two"
over the threshold that names most validation clips right; with the true count given; without a
counter (the network trained on both, its best name, and the second where it exceeds a threshold
chosen in the same way); with one network (the counter, before it forgot the class names that it
learned beside the count), in the same three ways; with the flow and the rival together (what both
think of the count, and of the names, added up); with the rival's names alone, in the same three
ways again; and what a logistic regression on give-aways alone (peak, RMS, crest factor, digital
silence, spectral flatness) reaches at counting.

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
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import crs_lib
import tmr
from crs_lib import InputError
from pipeline.data import set_data
from pipeline.evaluation import metrics, plots, run_records
from pipeline.files import running
from pipeline.networks import features, heads, registry
from pipeline.settings import command_line
from UNet_utils import audio_STFT_torch

# ---- constants: edit here, or override, e.g.  python overall_flow.py --set 3
DATASET = "dataset"  # root of all prepared data
DIVISION_DIR = ""  # folder of the texts; empty: esc10_811div_txts, for another root below it
RESULTS = "results"  # run folders
MODELS = "models"  # finished weights
SET = 1  # division set, 1 to 10
SAMPLE_RATE = 4000  # Hz, of the folder 0_downsampling.py made and of the weights
COUNTER_MODEL = "asc"  # the counter's network
CLASSIFIER_MODEL = "isocc"  # the classifiers' network
SEED = 0  # of the training mixtures that the give-away baseline learns from
DEVICE = "auto"  # auto (CUDA, else MPS, else CPU), cuda, cuda:1, mps, cpu
THREADS = 0  # CPU threads; 0 leaves torch's choice
CONSTANTS = command_line.constants_from_command_line(globals())

# Ways whose threshold of two is chosen for names: the column of their chance of two, and the way
# that has the same names but the true count.
CHOSEN_FOR_NAMES = {
    "for_names": ("score_two", "true_count"),
    "rival_for_names": ("score_two", "rival_true_count"),
    "one_network_for_names": ("score_two", "one_network_true_count"),
    "together": ("together_score_two", "together_true_count"),
}


def giveaways(waveforms: torch.Tensor, n_fft: int) -> np.ndarray:
    """What tells of bookkeeping and not of sound: float64 (clips, 5).

    Peak, RMS, crest factor, share of digital silence, spectral flatness (of the mean power
    spectrum) of the waveforms as the counter gets them, (clips, samples).
    """
    peak = waveforms.abs().amax(dim=1)
    rms = waveforms.square().mean(dim=1).sqrt()
    power = audio_STFT_torch(waveforms, n_fft).abs().square().mean(dim=2) + 1e-12
    flatness = power.log().mean(dim=1).exp() / power.mean(dim=1)
    silence = (waveforms == 0).float().mean(dim=1)
    columns = (peak, rms, peak / rms.clamp(min=1e-12), silence, flatness)
    return torch.stack(columns, dim=1).cpu().double().numpy()


def giveaway_chances(
    stems: torch.Tensor, data: set_data.SetData, parts: list[np.ndarray], counter: dict
) -> list[np.ndarray]:
    """The chances of two, by a logistic regression on give-aways alone, of the clips of each part.

    It learns from an epoch's singles and mixtures as the counter draws them, here from SEED.
    parts: rows of clips. Returns float64 (clips,) of each.
    """
    mixtures, _ = set_data.draw_mixtures(data, counter, epoch=0)
    rows = np.concatenate([data.singles["train"], mixtures])
    learned, *asked = (
        np.concatenate(
            [
                giveaways(features.waveforms_of(stems, batch), counter["N_FFT"])
                for batch in np.array_split(part, max(1, len(part) // 256))
            ]
        )
        for part in (rows, *parts)
    )
    regression = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    regression.fit(learned, set_data.is_mixture(rows))
    return [regression.predict_proba(found)[:, 1] for found in asked]


def count_by_giveaways(
    validation: pd.DataFrame, table: pd.DataFrame, chances: list[np.ndarray]
) -> float:
    """Add to both tables of predictions the count by give-aways alone and its chance of two.

    chances: of the validation clips and of those of the other table, see `giveaway_chances`.
    Returns the threshold of two, chosen on the validation clips as the counter's is.
    """
    is_mixture = (validation["recording_b"] != "").to_numpy()
    threshold = metrics.best_threshold(is_mixture, chances[0], ~is_mixture, is_mixture)
    for answers, chance in zip((validation, table), chances, strict=True):
        answers["giveaway_score_two"] = chance
        answers["giveaway_count"] = 1 + (chance > threshold)
    return threshold


def best_of(
    one: np.ndarray, two: np.ndarray, classes: list[str], is_two: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Way -> texts (clips,): the best name, or the best two where the way says that there are two.

    one, two: scores (clips, classes) of the network that names one class, and of that for two;
        logits will do. is_two: of each way, bool (clips,).
    """
    best_one, best_two = set_data.best_names(one, 1, classes), set_data.best_names(two, 2, classes)
    return {way: np.where(said, best_two, best_one) for way, said in is_two.items()}


def logits_of(trained: dict, stems: torch.Tensor, rows: np.ndarray) -> dict[str, torch.Tensor]:
    """Task -> the logits of its network, float32 (clips, outputs)."""
    return {
        task: heads.logits_of(network, stems, rows, content["constants"]["N_FFT"])
        for task, (network, content) in trained.items()
    }


def predictions(
    trained: dict,
    logits: dict[str, torch.Tensor],
    rows: np.ndarray,
    data: set_data.SetData,
    thresholds: dict[str, float] | None = None,
) -> pd.DataFrame:
    """The table of predictions: the counter's count and its chance of two, the names in each of
    metrics.WAYS, and each class's score by the classifier that the counter asked.

    logits: of the rows, see `logits_of`. thresholds: of the ways in CHOSEN_FOR_NAMES, on their
        chance of two; None: 0.5 each.
    """
    thresholds = thresholds or dict.fromkeys(CHOSEN_FOR_NAMES, 0.5)
    # Behind the counter's two logits stand those of the names that it learned beside the count.
    counts, names = logits["counter"][:, :2], logits["counter"][:, 2:].numpy()
    single, two_label = (
        heads.SCORES_OF[task](logits[task]).numpy() for task in ("single", "two_label")
    )
    rivals = logits["both"]
    table = set_data.recordings_of(data.stems, rows)
    table["count"] = 1 + counts.argmax(dim=1).numpy()
    table["score_two"] = heads.SCORES_OF["counter"](counts)[:, 1].numpy()
    # The rival has odds of two as well: of all pairs of its names against all single ones.
    odds = counts[:, 1] - counts[:, 0]
    rivals_odds = heads.pair_logits(rivals).logsumexp(dim=1) - rivals.logsumexp(dim=1)
    table["together_score_two"] = torch.sigmoid((odds + rivals_odds) / 2).numpy()

    counted = (table["count"] == 2).to_numpy()
    in_truth = set_data.is_mixture(rows)
    over = {
        way: (table[CHOSEN_FOR_NAMES[way][0]] > threshold).to_numpy()
        for way, threshold in thresholds.items()
    }
    ways = best_of(
        single,
        two_label,
        data.classes,
        {"with_counter": counted, "for_names": over["for_names"], "true_count": in_truth},
    )
    threshold = trained["both"][1]["metrics"]["validation"]["val_threshold"]
    ways["no_counter"] = set_data.names_over_threshold(
        torch.sigmoid(rivals).numpy(), threshold, data.classes
    )
    # Count and network told apart: what the count gains one network, and what other networks gain.
    ways |= best_of(
        rivals.numpy(),
        rivals.numpy(),
        data.classes,
        {
            "rival_with_counter": counted,
            "rival_for_names": over["rival_for_names"],
            "rival_true_count": in_truth,
        },
    )
    # Classifiers that took these names (SHARED) are that network: the flow is no other way.
    if names.size and not trained["single"][1]["constants"]["SHARED"]:
        ways |= best_of(
            names,
            names,
            data.classes,
            {
                "one_network": counted,
                "one_network_for_names": over["one_network_for_names"],
                "one_network_true_count": in_truth,
            },
        )
    # Logits of names are logarithms of chances, but for a term that a clip's names share.
    ways |= best_of(
        (logits["single"] + rivals).numpy(),
        (logits["two_label"] + rivals).numpy(),
        data.classes,
        {"together": over["together"], "together_true_count": in_truth},
    )
    scores = np.where(counted[:, None], two_label, single)
    return table.assign(**ways).join(
        pd.DataFrame(scores, columns=[f"score_{name}" for name in data.classes])
    )


def thresholds_for_names(table: pd.DataFrame) -> dict[str, float]:
    """The thresholds on the chance of two with the best balanced exact set, of validation clips.

    table: their predictions. So the rival's threshold is chosen; the counter's own is for counting.
    """
    is_mixture = (table["recording_b"] != "").to_numpy()
    thresholds = {}
    for way, (chance, true_count) in CHOSEN_FOR_NAMES.items():
        if true_count not in table:
            continue  # the flow is the one network
        right = (table[true_count] == table["truth"]).to_numpy()
        thresholds[way] = metrics.best_threshold(
            is_mixture, table[chance].to_numpy(), right & ~is_mixture, right & is_mixture
        )
    return thresholds


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
    network, content = trained["counter"]
    trained["counter"] = heads.remember_names(network, content["forgotten"]), content
    counter = content["constants"]

    oversample = counter["OVERSAMPLE"]
    data = set_data.choose_files(DATASET, DIVISION_DIR, SET, SAMPLE_RATE, oversample)
    if data.classes != content["classes"]:
        raise InputError(f"{MODELS}: the weights name other classes than {DATASET} holds")
    stems = features.load(data.stems, SAMPLE_RATE, device)

    validation_rows, test_rows = (
        np.concatenate([data.singles[part], data.mixtures[part]]) for part in ("val", "test")
    )
    logits = logits_of(trained, stems, validation_rows)
    thresholds = thresholds_for_names(predictions(trained, logits, validation_rows, data))
    validation = predictions(trained, logits, validation_rows, data, thresholds)
    logits = logits_of(trained, stems, test_rows)
    table = predictions(trained, logits, test_rows, data, thresholds)
    parts = [validation_rows, test_rows]
    chances = giveaway_chances(stems, data, parts, {**counter, "SEED": SEED})
    thresholds["giveaways"] = count_by_giveaways(validation, table, chances)

    model = crs_lib.flow_model(COUNTER_MODEL, CLASSIFIER_MODEL)
    constants = {**CONSTANTS, "OVERSAMPLE": oversample}
    run = run_records.new_run(crs_lib.FLOW, model, constants, data.stamps)
    record = run_records.make_record(
        run,
        metrics.flow_figures,
        table,
        history=[],
        seconds=tmr.seconds(timer),
        machine_used=registry.machine(device),
        trained_in={task: content["run"] for task, (_, content) in trained.items()},
        counter=metrics.unweighted(metrics.counter_figures, table),
        thresholds=thresholds,
    )
    plots.plot_flow(run, record)
    answers = plots.named_and_absent(table["truth"], table["with_counter"])
    plots.plot_confusion(run, *answers, data.classes, "a class in it, and what was named")
    run_records.write_run(run, record, table, validation)
    ways = [way for way in metrics.WAYS if way in record["test"]]
    width = max(map(len, ways))
    for way in ways:
        figures = [f"{name} {100 * value:.1f} %" for name, value in record["test"][way].items()]
        print(f"{way:>{width}}:", *figures, sep="  ")
    print(f"run: {run.folder}")
    print(f"done in {tmr.elapsed(timer)}")


if __name__ == "__main__":
    running.run(main, DATASET)
