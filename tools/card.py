"""The card of shipped weights, pretrained/README.md: its figures are a cross-validation's."""

import json
import statistics
from pathlib import Path

import pandas as pd
from torch import nn

import crs_lib
from pipeline.evaluation import markdown, run_records
from pipeline.networks import yamnet

FIGURES = (  # of a summary, in words
    ("counter.accuracy_balanced", "counter: balanced accuracy, one class or two"),
    ("counter.accuracy_single", "counter: of single clips counted as one"),
    ("counter.accuracy_mixture", "counter: of mixtures counted as two"),
    ("single.accuracy", "labels: accuracy on single clips, the count given"),
    ("two_label.exact_pair", "labels: exact pair of mixtures, the count given"),
    ("flow.with_counter.exact_match_single", "count and labels: exact match on single clips"),
    ("flow.with_counter.exact_match_mixture", "count and labels: exact match on mixtures"),
    ("flow.with_counter.exact_match_balanced", "count and labels: exact match, macro average"),
)
NB_PAIRS = 5  # shown, of those answered worst


def cross_validation(path: Path) -> dict:
    """What the runs of a recipe reached: `summary`, the content of its JSON file `path`; `shares`,
    of each class and pair (`metrics.shares_by_truth`); `counters`, the records of the counters.
    """
    summary = json.loads(path.read_text(encoding="utf-8"))
    records = [run_records.read_record(path.parent / name) for name in summary["runs"]]
    return {
        "summary": summary,
        "shares": pd.read_csv(path.with_name(f"{path.stem}_pairs.csv")),
        "counters": [record for record in records if record["script"] == crs_lib.COUNTER],
    }


def median_threshold(counters: list[dict]) -> float:
    """The median of the thresholds that the sets' validation clips chose, to two decimals.

    counters: records of trainings.
    """
    rows = [record["history"][record["best_epoch"]] for record in counters]
    return round(statistics.median(row["val_threshold"] for row in rows), 2)


def text(
    network: nn.Module,
    record: dict,
    found: dict,
    path: Path,
    is_half: bool,
    classes: list[str],
    nb_clips: int,
    has_attribution: bool,
) -> str:
    """The card, in markdown.

    network: the joint network. record: of its training. found: `cross_validation` of its recipe.
    path: the shipped weights. is_half: whether in half precision. nb_clips: that it learned from.
    """
    summary, shares = found["summary"], found["shares"]
    sets = ", ".join(map(str, summary["sets"]))
    authors = "`ATTRIBUTION.md`" if has_attribution else "the data set's own licence file"
    nb_parameters = sum(value.numel() for value in network.parameters())
    parts = [
        "# Pretrained weights",
        *(["**SYNTHETIC data: this network was trained on no real sound.**"] * record["synthetic"]),
        "What `predict.py` and `app.py` use where `--models` names no other folder: one network "
        "that counts and labels. Made, this page included, by `python tools/ship.py` from a "
        "finished training; loaded with `weights_only=True`, so that no code in it could run.",
        markdown.markdown_table(
            ("file", "network", "million parameters", "precision", "MB"),
            [
                (
                    f"`{path.name}`",
                    record["model"],
                    f"{nb_parameters / 1e6:.2f}",
                    "half" if is_half else "full",
                    f"{path.stat().st_size / 1e6:.1f}",
                )
            ],
        ),
        "Half precision was taken if the network then answers every clip as before; it is loaded "
        "as full precision.",
        "## What it was trained on",
        f"ESC-10: all of its {nb_clips} five-second recordings of {len(classes)} classes "
        f"({', '.join(classes)}), at {record['sample_rate']} Hz, and their mixtures. No clip is "
        "left to test it on. How long it was trained and over which score it counts two (the "
        f"median of the sets' thresholds, {record['constants']['THRESHOLD']}) was fixed by the "
        "cross-validation below.",
        "Credit: K. J. Piczak, *ESC: Dataset for Environmental Sound Classification*, ACM "
        "Multimedia 2015 ([ESC-10](https://github.com/karoldvl/ESC-10), doi:10.7910/DVN/YDEPUT), "
        "available under [Creative Commons Attribution]"
        "(http://creativecommons.org/licenses/by/3.0/). Its clips are cut from recordings that "
        f"people published on freesound.org; who recorded what stands in {authors}. For training "
        "they were resampled, levelled, changed in speed and tone, and mixed; no recording is part "
        "of the weights or of this repository.",
        "## How well it is expected to do",
        f"What the same recipe reached in cross-validation: on the test clips of sets {sets}, each "
        "by a network that had not heard the clip's recording, four fifths of the clips to learn "
        "from. The intervals (95 %, bootstrap over recordings) are wide: there are few recordings.",
        markdown.markdown_table(
            ("figure", "%", "95 % interval"),
            [(words, *markdown.percent(summary["figures"][name])) for name, words in FIGURES],
        ),
        *shifted(summary),
        "## Where it fails",
        f"It knows {len(classes)} classes, one or two at a time, and answers with nothing else, "
        "whatever sounds: a car gets one of its labels, and so do three sounds at once. Silence "
        "alone is answered as silence. It was trained on clips of 5 s.",
        "Single clips in cross-validation, by class, in per cent:",
        markdown.markdown_table(
            ("class", "clips", "counted as one", "label right", "both"), class_rows(shares)
        ),
        f"The {NB_PAIRS} pairs of classes whose mixtures are answered worst, and the best:",
        markdown.markdown_table(
            ("pair", "clips", "counted as two", "exact pair", "both"), pair_rows(shares)
        ),
        "## How to use it",
        "```\npython predict.py garden.wav street/     # count, labels, timeline; --json, --csv\n"
        "python app.py                            # the same in a browser, on this machine\n```",
        "or from Python, in the project's folder:",
        "```python\nimport torch\n\nfrom pipeline.inference import choose_weights, classify\n\n"
        'device = torch.device("cpu")\n'
        'trained = choose_weights.load("pretrained", 0, 0, "", "", device)\n'
        'print(classify.answer("garden.wav", trained, device))\n```',
        "## The encoder",
        f"`{yamnet.ENCODER_FILE}` is not trained here: trainings with `--model yamnet` start from "
        f"it. {yamnet.read_encoder()['credit']} `tools/make_encoder.py` made the file.",
        "## How it was trained",
        "The file holds its constants and the whole record of its training (`record`).",
        markdown.markdown_table(
            ("commit", "seed", "epochs", "minutes", "trained on"), [training_row(record)]
        ),
    ]
    return "\n\n".join(parts) + "\n"


def shifted(summary: dict) -> list[str]:
    """What the recipe reached on clips as other recorders might have them; nothing where that was
    not measured.
    """
    if not summary.get("shifts"):
        return []
    head, *rows = markdown.shift_rows(summary["shifts"])
    return [
        "The same on clips that are equalised, low-passed, compressed, in a room, in noise or "
        "clipped, as recordings by other people may be (every third mixture; the last line is what "
        "the mean loses, in points):",
        markdown.markdown_table(head, rows),
    ]


def class_rows(shares: pd.DataFrame) -> list[tuple]:
    """Of each class's single clips: how many, and which share is counted and labelled right."""
    return [cells(row) for row in shares.itertuples() if "+" not in row.truth]


def pair_rows(shares: pd.DataFrame) -> list[tuple]:
    """The worst NB_PAIRS pairs by their exact match, then the best."""
    pairs = shares[shares["truth"].str.contains("+", regex=False)]
    rows = [cells(row) for row in pairs.sort_values("exact_match", kind="stable").itertuples()]
    return list(dict.fromkeys([*rows[:NB_PAIRS], *rows[-1:]]))


def cells(row: tuple) -> tuple:
    """A row of `metrics.shares_by_truth` for a table."""
    values = (row.counted_right, row.oracle_exact_match, row.exact_match)
    return row.truth.replace("+", " + "), row.clips, *map(markdown.in_percent, values)


def training_row(record: dict) -> tuple:
    """What the training was."""
    return (
        record["commit"][:7] + "-dirty" * record["commit"].endswith("-dirty"),
        record["seed"],
        len(record["history"]),
        f"{record['seconds'] / 60:.0f}",
        trained_on(record["machine"]),
    )


def trained_on(machine: dict) -> str:
    """The device of a run's record, of a CPU the threads."""
    threads = machine["threads"]
    return f"{threads} CPU thread{'s' * (threads > 1)}" if machine["device"] == "cpu" else "a GPU"


def attribution(clips: list[str], authors: dict[str, tuple[str, str, str, str]]) -> str:
    """The list of who recorded the clips that the network learned from, in markdown.

    authors: clip -> title, address, author and licence of the recording it is cut from.
    """
    rows = []
    for clip in clips:
        title, address, author, licence = authors[clip]
        rows.append((clip, f"[{title}]({address})".replace("|", "\\|"), author, licence))
    head = (
        "# Who recorded what\n\nThe clips of ESC-10 that these weights were trained on, "
        "and the recordings on freesound.org that they are cut from. Licences: CC0 is "
        "[public domain](http://creativecommons.org/publicdomain/zero/1.0/), CC-BY "
        "[Attribution](http://creativecommons.org/licenses/by/3.0/), CC-Sampling+ "
        "[Sampling Plus](http://creativecommons.org/licenses/sampling+/1.0/)."
    )
    return f"{head}\n\n{markdown.markdown_table(('clip', 'recording', 'by', 'licence'), rows)}\n"
