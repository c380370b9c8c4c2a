"""Make pretrained/ of a network trained on all clips: what predict.py and app.py use by default.

It is a counter with the class labels' logits behind its own (a joint network), trained with
ALL_CLIPS. No clip is left to test it on, so its card gives the figures of the same recipe in
cross-validation, and a network of another recipe is refused. Half precision halves the file: it is
taken where the network then answers every clip as before.

Reads   the data that run_all.py prepared, the counter's weights of all clips and their run, and a
        summary (CROSS_VALIDATED) with the runs beside it.
Writes  TARGET/: the weights under their own name, README.md (their card), the pre-trained encoder,
        and, where the data set's list of authors is given, ATTRIBUTION.md. What lay there is
        replaced.
Takes   two minutes on 2 CPU cores.

    python tools/ship.py --attribution ESC-50/LICENSE
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
from pipeline.networks import features, heads, registry, weights_file, yamnet
from pipeline.settings import command_line
from pipeline.settings.good_values import ANY_TEXT

# ---- constants: edit here, or override, e.g.  python tools/ship.py --target pretrained_new
DATASET = "dataset"  # root of all prepared data
DIVISION_DIR = ""  # folder of the texts; empty: esc10_811div_txts, for another root below it
RESULTS = "results"  # run folders
MODELS = "models"  # finished weights
SAMPLE_RATE = 16000  # Hz, of the weights
COUNTER_MODEL = "yamnet"  # the counter's network
CROSS_VALIDATED = ""  # a summary of the recipe; empty: the published one over sets 1 to 5
ATTRIBUTION = ""  # the data set's list of who recorded what (ESC-50's LICENSE); empty: none
TARGET = "pretrained"  # folder to make
THREADS = 0  # CPU threads; 0 leaves torch's choice
command_line.constants_from_command_line(globals(), CROSS_VALIDATED=ANY_TEXT)

MOST_BYTES = 40_000_000  # of the weights and the encoder together
MIXTURE_STEP = 40  # every one of so many mixtures is answered in full and in half precision
PLACES = ("DATASET", "DIVISION_DIR", "RESULTS", "MODELS")  # constants that say where, not what
# What is no part of a recipe: where, which clips, the threshold, which each set's clips choose, and
# the arithmetic, which the machine chooses.
NO_RECIPE = (*PLACES, "SET", "ALL_CLIPS", "THRESHOLD", "TEST_UNSELECTED", "BF16")
AUTHOR = re.compile(r"\[(\d-\d+-\w+)\.\w+\]:\s+clip derived from (.+) \((\S+)\) by (.+) \[(.+)\]")


def refuse_another_recipe(record: dict, counters: list[dict]) -> None:
    """Raise InputError if the network of a record was trained otherwise than those of `counters`,
    records of the cross-validation, or counts over another threshold than their median.
    """
    of_first = run_records.work_of(counters[0]["constants"])
    alike = {name: value for name, value in of_first.items() if name in NO_RECIPE}
    wanted = {**record["constants"], **alike}
    if other := run_records.other_work(counters[0], crs_lib.COUNTER, wanted, record["data"]):
        raise InputError(
            f"the cross-validation is of another recipe than the network of all clips: {other}"
        )
    ours, theirs = record["constants"]["THRESHOLD"], card.median_threshold(counters)
    if ours != theirs:
        raise InputError(
            f"the network of all clips has a threshold of {ours}, the median of the "
            f"cross-validation is {theirs}: train it again, with  --threshold {theirs}"
        )


def answers(
    network: torch.nn.Module, stems: torch.Tensor, rows: np.ndarray, classes: list[str]
) -> list[str]:
    """The labels that a joint network gives each clip, as many as it counts."""
    logits = heads.logits_of(network, stems, rows)
    is_two = heads.scores_of_count(logits)[:, 1].numpy() > 0.5
    found = strategies.joint_labels(logits[:, 2:].numpy(), is_two, is_two, classes)
    return list(found["labels"])


def write_weights(path: Path, content: dict, record: dict, is_half: bool) -> None:
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
    weights_file.save(content, path)


def write_attribution(path: Path, files: pd.Series) -> None:
    """Write who recorded the clips that the network learned from."""
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
    tag = f"{crs_lib.flow_model(COUNTER_MODEL, COUNTER_MODEL)}_{crs_lib.rate_tag(SAMPLE_RATE)}"
    published = crs_lib.HERE / "results_published" / tag / f"summary_{tag}_5.json"
    summary = Path(CROSS_VALIDATED or published)
    models = {"COUNTER_MODEL": COUNTER_MODEL, "CLASSIFIER_MODEL": COUNTER_MODEL}
    provenance.need(summary, "run_all.py", DATASET=DATASET, SAMPLE_RATE=SAMPLE_RATE, **models)
    place = (crs_lib.COUNTER, COUNTER_MODEL, crs_lib.ALL_CLIPS, SAMPLE_RATE, device)
    network, content = registry.load_network(MODELS, *place, DATASET)
    if not content["label_head"]:
        raise InputError(f"{content['run']} learned no labels, so that nothing would classify")
    run = Path(RESULTS, content["run"])
    again = {**content["constants"], "RESULTS": RESULTS, "MODELS": MODELS}
    provenance.need(run / run_records.RECORD, f"{crs_lib.COUNTER}.py", **again)
    record = run_records.read_record(run)
    found = card.cross_validation(summary)
    refuse_another_recipe(record, found["counters"])

    data = set_data.choose_files(
        DATASET, DIVISION_DIR, crs_lib.ALL_CLIPS, SAMPLE_RATE, content["constants"]["OVERSAMPLE"]
    )
    stems = features.load(data.stems, SAMPLE_RATE, device)
    mixtures = data.mixtures["train"][::MIXTURE_STEP]
    rows = np.concatenate([data.singles["train"], mixtures])
    whole = answers(network, stems, rows, data.classes)

    name = crs_lib.run_name(crs_lib.COUNTER, COUNTER_MODEL, crs_lib.ALL_CLIPS, SAMPLE_RATE)
    with locks.held(Path(TARGET)), crs_lib.replaced_folder(Path(TARGET)) as part:
        path = crs_lib.weights_path(part, name)
        write_weights(path, content, record, is_half=True)
        halved, _ = registry.load_network(str(part), *place)
        is_half = answers(halved, stems, rows, data.classes) == whole
        if not is_half:
            write_weights(path, content, record, is_half=False)
        if ATTRIBUTION:
            originals = data.stems["file"][data.stems["copy"] == 0]
            write_attribution(part / "ATTRIBUTION.md", originals)
        shutil.copyfile(yamnet.encoder_path(), part / yamnet.ENCODER_FILE)
        nb_bytes = sum(file.stat().st_size for file in part.glob("*.pt"))
        if nb_bytes > MOST_BYTES:
            precision = "half" if is_half else "full (in half an answer would change)"
            raise InputError(
                f"the weights in {precision} precision and the encoder take {nb_bytes / 1e6:.1f} "
                f"MB, more than {MOST_BYTES / 1e6:.0f}"
            )
        nb_clips = int((data.stems["copy"] == 0).sum())
        text = card.text(network, record, found, path, is_half, data.classes, nb_clips, ATTRIBUTION)
        (part / "README.md").write_text(text, encoding="utf-8")
    print(f"{TARGET}/{name}.pt: {'half' if is_half else 'full'} precision")
    print(f"{len(rows)} clips answered alike")


if __name__ == "__main__":
    running.run(main, DATASET)
