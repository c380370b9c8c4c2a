"""Make pretrained/ of one set's finished weights: what predict.py and app.py use by default.

Each network keeps its constants, class labels and measured figures, and gets the record of its
training. Half precision halves a file: it is taken where the network then answers every test clip
of the set as before. The shipped networks must give the answers that overall_flow.py recorded.

Reads   the data that run_all.py prepared and, of SET, the weights of the counter and both
        classifiers, the runs that trained them, and the newest run of overall_flow.py.
Writes  TARGET/: the three weights under their own names, README.md (their card), the pre-trained
        encoder, and, where the data set's list of authors is given, ATTRIBUTION.md. What lay there
        is replaced.
Takes   a minute on 2 CPU cores.

    python tools/ship.py --set 1 --attribution ESC-50/LICENSE
"""

import re
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import card
import numpy as np
import pandas as pd
import torch

import crs_lib
from crs_lib import InputError
from pipeline.data import set_data
from pipeline.evaluation import run_records, strategies
from pipeline.files import locks, provenance, running
from pipeline.inference import choose_weights
from pipeline.networks import features, heads, registry, weights_file, yamnet
from pipeline.settings import command_line
from pipeline.settings.good_values import FROM_WEIGHTS, GOOD_VALUES

# ---- constants: edit here, or override, e.g.  python tools/ship.py --sample-rate 16000
DATASET = "dataset"  # root of all prepared data
DIVISION_DIR = ""  # folder of the texts; empty: esc10_811div_txts, for another root below it
RESULTS = "results"  # run folders
MODELS = "models"  # finished weights
SET = 1  # division set, 1 to 10
SAMPLE_RATE = 0  # Hz, of the weights; 0: that of those in the folder
COUNTER_MODEL = ""  # the counter's network; empty: that of the weights in the folder
CLASSIFIER_MODEL = ""  # the classifiers' network; empty: that of the weights in the folder
ATTRIBUTION = ""  # the data set's list of who recorded what (ESC-50's LICENSE); empty: none
TARGET = "pretrained"  # folder to make
THREADS = 0  # CPU threads; 0 leaves torch's choice
command_line.constants_from_command_line(
    globals(),
    **{**FROM_WEIGHTS, "SET": GOOD_VALUES["SET"]},
)

MOST_BYTES = 20_000_000  # of all weights together
PLACES = ("DATASET", "DIVISION_DIR", "RESULTS", "MODELS")  # constants that say where, not what
AUTHOR = re.compile(r"\[(\d-\d+-\w+)\.\w+\]:\s+clip derived from (.+) \((\S+)\) by (.+) \[(.+)\]")


def answers(
    trained: dict, stems: torch.Tensor, rows: np.ndarray, classes: list[str]
) -> dict[str, np.ndarray]:
    """What each network answers to each clip: counts; best labels; best pairs of labels."""
    logits = {task: heads.logits_of(network, stems, rows) for task, (network, _) in trained.items()}
    scores = {task: heads.SCORES_OF[task](logits[task]).numpy() for task in logits}
    return {
        "counter": 1 + scores["counter"].argmax(axis=1),
        "single": strategies.best_labels(scores["single"], 1, classes),
        "two_label": strategies.best_labels(scores["two_label"], 2, classes),
    }


def flow_of(found: dict[str, np.ndarray]) -> np.ndarray:
    """The labels that the counter and the classifier of its count give each clip."""
    return np.where(found["counter"] == 1, found["single"], found["two_label"])


def write_weights(folder: Path, name: str, content: dict, record: dict, is_half: bool) -> None:
    """Write a network's weights with the record of its training, places as by default."""
    defaults = command_line.read_constants(crs_lib.HERE / f"{record['script']}.py")
    places = {place: defaults[place][0] for place in PLACES}
    record = {**record, "constants": {**record["constants"], **places}}
    content = {**content, "constants": {**content["constants"], **places}, "record": record}
    if is_half:
        for part in ("weights", "label_head"):
            halves = {
                key: value.half() if value.is_floating_point() else value
                for key, value in content[part].items()
            }
            content = {**content, part: halves}
    weights_file.save(content, crs_lib.weights_path(folder, name))


def write_attribution(path: Path, files: pd.Series) -> None:
    """Write who recorded the clips that the networks learned from or were chosen by."""
    names = pd.read_csv(crs_lib.rename_dir(DATASET) / "names.csv", dtype=str)
    originals = names.set_index("file")["original"][[file.name for file in files]]
    # fold-recording-take-target.wav there, fold-recording-take.ogg in the list.
    clips = sorted({"-".join(Path(original).stem.split("-")[:3]) for original in originals})
    authors = {
        line[1]: line.groups()[1:]
        for line in AUTHOR.finditer(Path(ATTRIBUTION).read_text(encoding="utf-8"))
    }
    lacking = [clip for clip in clips if clip not in authors]
    if lacking:
        raise InputError(f"{ATTRIBUTION} does not say who recorded {', '.join(lacking[:3])}")
    path.write_text(card.attribution(clips, authors), encoding="utf-8")


def main() -> None:
    device = registry.choose_device("cpu", THREADS)
    trained = choose_weights.load(MODELS, SET, SAMPLE_RATE, COUNTER_MODEL, CLASSIFIER_MODEL, device)
    counter, single = (trained[task][1]["constants"] for task in ("counter", "single"))
    sample_rate, models = counter["SAMPLE_RATE"], (counter["MODEL"], single["MODEL"])
    runs = {task: Path(RESULTS, content["run"]) for task, (_, content) in trained.items()}
    flow = crs_lib.flow_name(*models, SET, sample_rate)
    runs["flow"] = run_records.newest_finished(Path(RESULTS), flow) or Path(RESULTS, f"..._{flow}")
    known = {
        **counter,
        **{"SETS": [SET], "RESULTS": RESULTS, "DATASET": DATASET, "MODELS": MODELS},
        **dict(zip(("COUNTER_MODEL", "CLASSIFIER_MODEL"), models, strict=True)),
    }
    for folder in runs.values():
        provenance.need(folder / run_records.RECORD, "run_all.py", **known)
    records = {task: run_records.read_record(folder) for task, folder in runs.items()}
    tables = {task: run_records.read_predictions(folder) for task, folder in runs.items()}

    data = set_data.choose_files(DATASET, DIVISION_DIR, SET, sample_rate, counter["OVERSAMPLE"])
    stems = features.load(data.stems, sample_rate, device)
    rows = np.concatenate([data.singles["test"], data.mixtures["test"]])
    whole = answers(trained, stems, rows, data.classes)
    clips = set_data.recordings_of(data.stems, rows)["clip"]
    if (tables["flow"].set_index("clip")["with_counter"][clips] != flow_of(whole)).any():
        again = command_line.command("overall_flow.py", **known)
        raise InputError(f"{runs['flow']} tested other weights: run  {again}  again")

    names = {
        task: crs_lib.run_name(record["script"], record["model"], SET, sample_rate)
        for task, record in records.items()
        if task != "flow"
    }
    with locks.held(Path(TARGET)), crs_lib.replaced_folder(Path(TARGET)) as part:
        for task, name in names.items():
            write_weights(part, name, trained[task][1], records[task], is_half=True)
        shipped = choose_weights.load(str(part), SET, sample_rate, *models, device)
        halved = answers(shipped, stems, rows, data.classes)
        is_half = {task: np.array_equal(halved[task], whole[task]) for task in names}
        for task in [task for task in names if not is_half[task]]:
            write_weights(part, names[task], trained[task][1], records[task], is_half=False)
        files = {task: crs_lib.weights_path(part, name) for task, name in names.items()}
        nb_bytes = sum(file.stat().st_size for file in files.values())
        if nb_bytes > MOST_BYTES:
            full = ", ".join(task for task in names if not is_half[task]) or "none"
            raise InputError(
                f"the weights take {nb_bytes / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:.0f} "
                f"together (in full precision, because an answer would change: {full})"
            )
        if ATTRIBUTION:
            learned = data.stems[(data.stems["part"] != "test") & (data.stems["copy"] == 0)]
            write_attribution(part / "ATTRIBUTION.md", learned["file"])
        shutil.copyfile(yamnet.encoder_path(), part / yamnet.ENCODER_FILE)
        text = card.text(trained, records, tables, files, is_half, data, bool(ATTRIBUTION))
        (part / "README.md").write_text(text, encoding="utf-8")
    for task, name in names.items():
        print(f"{TARGET}/{name}.pt: {'half' if is_half[task] else 'full'} precision")
    print(f"{nb_bytes / 1e6:.1f} MB; {len(rows)} test clips are answered as before")


if __name__ == "__main__":
    running.run(main, DATASET)
