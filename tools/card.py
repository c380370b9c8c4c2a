"""The card of shipped weights, pretrained/README.md: its figures are those of run records."""

from pathlib import Path

import pandas as pd

from pipeline.data import set_data
from pipeline.evaluation import markdown
from pipeline.networks import yamnet

FIGURES = (  # task, figure of its record, in words
    ("counter", "accuracy_balanced", "counter: balanced accuracy, one class or two"),
    ("counter", "accuracy_single", "counter: of single clips counted as one"),
    ("counter", "accuracy_mixture", "counter: of mixtures counted as two"),
    ("single", "accuracy", "single-label classifier: accuracy on single clips"),
    ("two_label", "exact_pair", "two-label classifier: exact-pair accuracy"),
    ("flow", "exact_match_single", "overall flow: exact match on single clips"),
    ("flow", "exact_match_mixture", "overall flow: exact match on mixtures"),
    ("flow", "exact_match_balanced", "overall flow: exact match, macro average"),
)
TASKS = {
    "counter": "counts: one class or two",
    "single": "classifies a clip that holds one class",
    "two_label": "classifies a clip that holds two classes",
}
NETWORKS = {
    "counter": "counter",
    "single": "single-label classifier",
    "two_label": "two-label classifier",
}
NB_PAIRS = 5  # shown, of those classified worst


def text(
    trained: dict,
    records: dict[str, dict],
    tables: dict[str, pd.DataFrame],
    files: dict[str, Path],
    is_half: dict[str, bool],
    data: set_data.SetData,
    has_attribution: bool,
) -> str:
    """The card, in markdown.

    trained: task -> (network, what its file says), as choose_weights.load has it. records,
    tables: run records and predictions, of the same tasks and `flow`. files: the shipped weights.
    is_half: whether in half precision. data: the set.
    """
    flow = records["flow"]
    number, rate = flow["set"], flow["sample_rate"]
    nb_clips = {
        part: int(((data.stems["part"] == part) & (data.stems["copy"] == 0)).sum())
        for part in ("train", "val", "test")
    }
    authors = "`ATTRIBUTION.md`" if has_attribution else "the data set's own licence file"
    parts = [
        "# Pretrained weights",
        *(
            ["**SYNTHETIC data: these networks were trained on no real sound.**"]
            * flow["synthetic"]
        ),
        "What `predict.py` and `app.py` use where `--models` names no other folder. Made, this "
        "page included, by `python tools/ship.py` from finished trainings; loaded with "
        "`weights_only=True`, so that no code in them could run.",
        markdown.markdown_table(
            ("file", "what it does", "network", "million parameters", "precision", "MB"),
            [
                (
                    f"`{files[task].name}`",
                    words,
                    records[task]["model"],
                    f"{sum(p.numel() for p in trained[task][0].parameters()) / 1e6:.2f}",
                    "half" if is_half[task] else "full",
                    f"{files[task].stat().st_size / 1e6:.1f}",
                )
                for task, words in TASKS.items()
            ],
        ),
        "Half precision was taken where a network then answers every test clip as before; it is "
        "loaded as full precision.",
        *(
            ["One network was trained: the three files hold its count and its labels."]
            * bool(records["single"].get("label_head_of"))
        ),
        "## What they were trained on",
        f"ESC-10: {sum(nb_clips.values())} five-second recordings of {len(data.classes)} classes "
        f"({', '.join(data.classes)}), at {rate} Hz. Set {number} of this project's division: "
        f"{nb_clips['train']} clips to train, {nb_clips['val']} to choose the epoch and the "
        f"counter's threshold, {nb_clips['test']} to test, each with their mixtures. No field "
        "recording is in training and in validation or test, and no test clip was trained on.",
        "Credit: K. J. Piczak, *ESC: Dataset for Environmental Sound Classification*, ACM "
        "Multimedia 2015 ([ESC-10](https://github.com/karoldvl/ESC-10), doi:10.7910/DVN/YDEPUT), "
        "available under [Creative Commons Attribution]"
        "(http://creativecommons.org/licenses/by/3.0/). Its clips are cut from recordings that "
        f"people published on freesound.org; who recorded what stands in {authors}. For training "
        "they were resampled, levelled, shifted in pitch and time, and mixed; no recording is part "
        "of the weights or of this repository.",
        "## How well they do",
        f"On the test clips of set {number}, {len(tables['flow'])} with the mixtures. The "
        "intervals (95 %, bootstrap over recordings) are wide: there are few recordings.",
        markdown.markdown_table(("figure", "%", "95 % interval"), figure_rows(records)),
        "## Where they fail",
        f"They know {len(data.classes)} classes, one or two at a time, and answer with nothing "
        "else, whatever sounds: a car gets one of their labels, and so do three sounds at once. "
        "Silence alone is answered as silence. They were trained on clips of 5 s; how they do on "
        "other people's recordings was not measured.",
        "Single clips, by class:",
        markdown.markdown_table(
            ("class", "counted as one", "classified right", "else taken for"), class_rows(tables)
        ),
        f"The {NB_PAIRS} pairs of classes whose mixtures are classified worst (exact pair, the "
        "count left aside), and the best:",
        markdown.markdown_table(("pair", "counted as two", "exact pair"), pair_rows(tables)),
        "## How to use them",
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
        "## How they were trained",
        "Each file holds its constants and the whole record of its training (`record`).",
        markdown.markdown_table(
            ("network", "commit", "seed", "epochs", "epoch taken", "minutes", "trained on", "run"),
            training_rows(records),
        ),
    ]
    return "\n\n".join(parts) + "\n"


def figure_rows(records: dict[str, dict]) -> list[tuple]:
    """Each of FIGURES in per cent, with its interval."""
    rows = []
    for task, name, words in FIGURES:
        record = records[task]
        figures, intervals = record["test"], record["test_interval"]
        if task == "flow":
            figures, intervals = figures["with_counter"], intervals["with_counter"]
        low, high = (100 * value for value in intervals[name])
        rows.append((words, f"{100 * figures[name]:.1f}", f"{low:.1f} to {high:.1f}"))
    return rows


def share(flags: pd.Series) -> str:
    """How many of these clips: `3 of 4`."""
    return f"{int(flags.sum())} of {len(flags)}"


def class_rows(tables: dict[str, pd.DataFrame]) -> list[tuple]:
    """Of each class's single test clips: how many are counted and classified right."""
    counts = tables["counter"].set_index("clip")["count"]
    rows = []
    for name, clips in tables["single"].groupby("truth"):
        wrong = clips["labels"][clips["labels"] != name].value_counts()
        others = ", ".join(f"{other} ({nb})" for other, nb in wrong.items())
        is_one = counts[clips["clip"]] == 1
        rows.append((name, share(is_one), share(clips["labels"] == name), others))
    return rows


def pair_rows(tables: dict[str, pd.DataFrame]) -> list[tuple]:
    """The worst NB_PAIRS pairs of the two-label classifier, then the best."""
    counts = tables["counter"].set_index("clip")["count"]
    pairs = tables["two_label"].assign(right=lambda t: t["pair"] == t["truth"])
    order = pairs.groupby("truth")["right"].mean().sort_values(kind="stable").index
    rows = []
    for truth in dict.fromkeys([*order[:NB_PAIRS], order[-1]]):
        clips = pairs[pairs["truth"] == truth]
        is_two = counts[clips["clip"]] == 2
        rows.append((truth.replace("+", " + "), share(is_two), share(clips["right"])))
    return rows


def training_rows(records: dict[str, dict]) -> list[tuple]:
    """What each training was."""
    return [
        (
            NETWORKS[task],
            records[task]["commit"][:7] + "-dirty" * records[task]["commit"].endswith("-dirty"),
            records[task]["seed"],
            len(records[task]["history"]) or "the counter's",  # whose label head it took
            records[task]["best_epoch"] + 1,
            f"{records[task]['seconds'] / 60:.0f}",
            trained_on(records[task]["machine"]),
            folder,
        )
        for task, folder in records["flow"]["trained_in"].items()
        if task in TASKS
    ]


def trained_on(machine: dict) -> str:
    """The device of a run's record, of a CPU the threads."""
    threads = machine["threads"]
    return f"{threads} CPU thread{'s' * (threads > 1)}" if machine["device"] == "cpu" else "a GPU"


def attribution(clips: list[str], authors: dict[str, tuple[str, str, str, str]]) -> str:
    """The list of who recorded the clips that the weights learned from, in markdown.

    authors: clip -> title, address, author and licence of the recording it is cut from.
    """
    rows = []
    for clip in clips:
        title, address, author, licence = authors[clip]
        rows.append((clip, f"[{title}]({address})".replace("|", "\\|"), author, licence))
    head = (
        "# Who recorded what\n\nThe clips of ESC-10 that these weights were trained or chosen on, "
        "and the recordings on freesound.org that they are cut from. Licences: CC0 is "
        "[public domain](http://creativecommons.org/publicdomain/zero/1.0/), CC-BY "
        "[Attribution](http://creativecommons.org/licenses/by/3.0/), CC-Sampling+ "
        "[Sampling Plus](http://creativecommons.org/licenses/sampling+/1.0/)."
    )
    return f"{head}\n\n{markdown.markdown_table(('clip', 'recording', 'by', 'licence'), rows)}\n"
