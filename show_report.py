"""Show the results of a folder of runs on one page, to be looked at on any screen.

The page holds the table over the sets, the learning curves, the confusion matrices, how often each
pair of classes is right, the audit, and the flow's worst mistakes, to look at and to listen to. All
of it, plots and sounds too, is in the one file. Plots that a run lacks are drawn again.

The worst mistakes are the wrong answers of which the flow was surest. It is as sure of an answer as
of its weakest part: the lowest of the counter's score of its count and of the scores of the
predicted labels (shares of one for one class, a probability each for two).

Reads   results/: the newest finished flow of each set, the trainings whose weights it used, the
        newest audits of their counters; for the sounds <DATASET>/esc10_rename_4k,
        esc10_rename/names.csv, esc10_mixes.csv and the division texts. Where these are gone, or
        changed since, the page says so and is silent.
Writes  results/report.html.
How many  20 mistakes; 4 MB for one set at 4 kHz.
Takes   5 seconds on 2 CPU cores.
"""

import base64
import tempfile
from functools import partial
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
import torch

import crs_lib
import tmr
from crs_lib import InputError
from pipeline.data import audio, set_data
from pipeline.evaluation import markdown, plots, run_records, summary
from pipeline.files import running, sound_files
from pipeline.networks import features
from pipeline.settings import command_line, good_values

# ---- constants: edit here, or override, e.g.  python show_report.py --sets 1 2 3
DATASET = "dataset"  # root of all prepared data
DIVISION_DIR = ""  # folder of the texts; empty: esc10_811div_txts, for another root below it
RESULTS = "results"  # run folders, and the page
SETS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]  # division sets; of all ten those that are finished
SAMPLE_RATE = 4000  # Hz, of the runs
COUNTER_MODEL = "asc"  # the counter's network
CLASSIFIER_MODEL = "isocc"  # the classifiers' network
NB_MISTAKES = 20  # shown, at most
CONSTANTS = command_line.constants_from_command_line(globals(), NB_MISTAKES=range(1, 101))

PAGE, TEMPLATE = "report.html", "pipeline/evaluation/page.html"
TITLES = {
    "counter": "Audio Source Counter",
    "single": "single-label classifier",
    "two_label": "two-label classifier",
    "both": "multi-label network trained on both: the no-counter baseline",
    "flow": "overall flow",
}


def flow_name(set_number: int) -> str:
    """Run name of the flow on a set."""
    return crs_lib.flow_name(COUNTER_MODEL, CLASSIFIER_MODEL, set_number, SAMPLE_RATE)


def find_flows() -> dict[int, Path]:
    """Set -> the folder of its newest finished flow, for SETS (of all ten for those that have one).

    Raises InputError where there is none, or none of a set that was asked for.
    """
    flows = {
        number: run_records.newest_finished(Path(RESULTS), flow_name(number)) for number in SETS
    }
    missing = [number for number, folder in flows.items() if folder is None]
    are_all = set(SETS) == set(good_values.SETS)
    if missing and (not are_all or len(missing) == len(flows)):
        sets = missing[:1] if are_all else missing
        command = command_line.command("run_all.py", **{**CONSTANTS, "SETS": sets})
        names = ", ".join(map(flow_name, sets))
        others = "" if len(missing) < len(flows) else other_flows()
        raise InputError(f"{RESULTS} has no finished run {names}: run  {command}  first{others}")
    return {number: folder for number, folder in flows.items() if folder}


def other_flows() -> str:
    """The end of a message: what shows the newest flow of any network, rate and set; empty where
    there is none.
    """
    flows = Path(RESULTS).glob(f"*_{crs_lib.FLOW}_*/{run_records.RECORD}")
    found = sorted(flows, key=run_records.last_change)
    if not found:
        return ""
    record = run_records.read_record(found[-1].parent)
    counter_model, classifier_model = record["model"].split("-")
    its_own = {
        "SETS": list(good_values.SETS),
        "SAMPLE_RATE": record["sample_rate"],
        "COUNTER_MODEL": counter_model,
        "CLASSIFIER_MODEL": classifier_model,
    }
    command = command_line.command("show_report.py", **{**CONSTANTS, **its_own})
    return f", or, as that is there,  {command}"


def runs_of(flow: Path) -> dict[str, tuple[Path, dict]]:
    """Task -> folder and record of the training whose weights a flow used; and of the flow."""
    of_flow = run_records.read_record(flow)
    used = {**of_flow["trained_in"], "flow": flow.name}
    folders = {task: flow.parent / name for task, name in used.items()}
    records = {task: run_records.read_record(folder) for task, folder in folders.items()}
    gone = [str(folders[task]) for task, record in records.items() if record is None]
    if gone:
        command = command_line.command("run_all.py", **{**CONSTANTS, "SETS": [of_flow["set"]]})
        raise InputError(f"{', '.join(gone)}, of {flow.name}, is gone: run  {command}  again")
    return {task: (folders[task], records[task]) for task in used}


# ---------------------------------------------------------------------------------- the mistakes


def worst_mistakes(predictions: pd.DataFrame) -> pd.DataFrame:
    """The wrong answers of the flow, the surest first, NB_MISTAKES at most; index from 0.

    predictions: of the flow, of one or more sets. Further columns of the result: `sure`; `chance`,
    the counter's score of its count; `scores`, of the predicted labels, in words.
    """
    table = predictions[predictions["with_counter"] != predictions["truth"]].copy()
    of_two = table["score_two"]
    table["chance"] = of_two.where(table["count"] == 2, 1 - of_two)
    scores = table.filter(regex="^score_").drop(columns="score_two")
    scores.columns = scores.columns.str.removeprefix("score_")
    is_there = (
        table["with_counter"].str.get_dummies("+").reindex(columns=scores.columns, fill_value=0)
    )
    scores = scores.where(is_there == 1)
    table["sure"] = scores.min(axis=1).clip(upper=table["chance"])
    table["scores"] = [
        ", ".join(f"{name} {score:.2f}" for name, score in row.dropna().items())
        for _, row in scores.iterrows()
    ]
    table = table.sort_values("sure", ascending=False, kind="stable")
    return table.head(NB_MISTAKES).reset_index(drop=True)


def sounds_of(clips: pd.Series, flow: dict) -> torch.Tensor:
    """Test clips, float32 (clips, samples): half the sum of the normalised stems.

    So 0_2mix_norm_vol.py writes mixtures. flow: the record of the run that was tested on them.
    Raises InputError if the data is not there any more, or is not what that run read.
    """
    number = flow["set"]
    data = set_data.choose_files(DATASET, DIVISION_DIR, number, SAMPLE_RATE, oversample=1)
    rows = np.concatenate([data.singles["test"], data.mixtures["test"]])
    names = set_data.recordings_of(data.stems, rows)["clip"]
    now = run_records.data_stamps({**flow["constants"], "DATASET": DATASET, "OVERSAMPLE": 1})
    if any(flow["data"][name] != now[name] for name in now) or not clips.isin(names).all():
        raise InputError(f"{DATASET} does not hold what set {number} was tested on")
    stems = features.load(data.stems, SAMPLE_RATE, torch.device("cpu"))
    chosen = rows[pd.Index(names).get_indexer(clips)]
    return audio.mix(*features.stems_of(stems, chosen))


def players_of(
    mistakes: pd.DataFrame, runs: dict[int, dict], folder: Path
) -> tuple[dict[int, tuple[Path, bytes]], str]:
    """Row of each mistake -> its spectrogram, drawn in the folder, and its sound as WAV.

    runs: set -> what `runs_of` gives. Mistakes whose sound is not to be had are left out; the
    second value says why, and is empty where there are none.
    """
    found, reason = {}, ""
    for number, rows in mistakes.groupby("set").groups.items():
        (_, flow), (_, counter) = runs[number]["flow"], runs[number]["counter"]
        try:
            sounds = sounds_of(mistakes["clip"][rows], flow)
        except InputError as error:
            reason = str(error)
            continue
        spectrograms = features.stft_magnitude(sounds, counter["constants"]["N_FFT"])[:, 0].numpy()
        for row, sound, spectrogram in zip(rows, sounds.numpy(), spectrograms, strict=True):
            picture = folder / f"mistake{row}.png"
            plots.plot_spectrogram(picture, flow["synthetic"], spectrogram, SAMPLE_RATE)
            found[row] = picture, sound_files.wav_of(sound_files.to_pcm16(sound), SAMPLE_RATE)
    return found, reason


# -------------------------------------------------------------------------------------- the page


def data_uri(content: bytes | Path, kind: str) -> str:
    """A file's content as text that stands in for its address. kind: such as `image/png`."""
    content = content.read_bytes() if isinstance(content, Path) else content
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def plot_of(run: Path, name: str, drawn: Path) -> Path:
    """A plot of a run: its own, or the one in the folder `drawn` where it has none."""
    return run / name if (run / name).exists() else drawn / run.name / name


def filled(**content: object) -> str:
    """The page: the template with this content in it, all text escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(crs_lib.HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = data_uri
    return environment.get_template(TEMPLATE).render(titles=TITLES, **content)


def main() -> None:
    results, timer = Path(RESULTS), tmr.start()
    flows = find_flows()
    runs = {number: runs_of(folder) for number, folder in flows.items()}
    with tempfile.TemporaryDirectory() as folder:
        for of_set in runs.values():
            for run, _ in of_set.values():
                plots.draw_missing(run, Path(folder, run.name))
        path = Path(folder, "summary.json")
        over_sets = summary.summarise(results, [flow_name(number) for number in runs], path)
        confusion, counted, pairs, *audit = plots.plot_summary(results, over_sets, path)
        predictions = [
            run_records.read_predictions(flow).assign(set=n) for n, flow in flows.items()
        ]
        mistakes = worst_mistakes(pd.concat(predictions, ignore_index=True))
        players, silent_because = players_of(mistakes, runs, Path(folder))
        note, headline = summary.summary_rows(over_sets, summary.HEADLINE)
        _, figures = summary.summary_rows(over_sets)
        page = filled(
            note=note,
            synthetic=over_sets["synthetic"],
            sample_rate=SAMPLE_RATE,
            headline=headline,
            figures=figures,
            runs=runs,
            plot_of=partial(plot_of, drawn=Path(folder)),
            confusion=confusion,
            counted=counted,
            pairs=pairs,
            audit=audit,
            audited=markdown.audit_rows(over_sets["audit"], over_sets["sets"]),
            audit_command=command_line.command("run_all.py", **{**CONSTANTS, "SETS": list(runs)}),
            mistakes=mistakes.to_dict("records"),
            players=players,
            silent_because=silent_because,
            made=tmr.now(),
            command=command_line.command("show_report.py", **CONSTANTS),
        )
    with crs_lib.replaced_file(results / PAGE) as part:
        part.write_text(page, encoding="utf-8")
    print(f"sets {', '.join(map(str, runs))}: {len(mistakes)} mistakes shown")
    if silent_because:
        print(f"without their sounds: {silent_because}")
    print(f"page: {results / PAGE}, {len(page) / 1e6:.1f} MB")
    print(f"done in {tmr.elapsed(timer)}")


if __name__ == "__main__":
    running.run(main, DATASET)
