"""Audit the counter: what makes it say "two", and what should not; what other recorders do to it.

Each question is a group of clips made from the test clips of SET (and from what the counter learned
from, as a control); the answer is the share of them that it counts as two, with its 95 % interval.
Then, of a counter that learned class labels (a joint network), what it counts and predicts of the
test clips under each of the shifts of pipeline/data/shifts.toml: equalised, as MP3, in a room, ...

Reads   <DATASET>/esc10_rename_4k and _4k_p5, esc10_rename/names.csv, esc10_mixes.csv, the division
        texts of SET, the counter's weights from models/.
Writes  results/<time>_audit_asc_set1_4k/: run.json, answers.csv.gz, audit.md, audit.png; of a
        joint network shifts.csv.gz, shifts.md.
How many  set 1: 40 single clips, 60 pairs of one class, 720 mixtures, and each again at four levels
        with either stem the softer one; of training 320 clips and twice 720 mixtures; 760 clips
        under each of eight shifts.
Takes   a minute on 2 CPU cores, with yamnet four.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import NamedTuple

import librosa
import numpy as np
import pandas as pd
import torch

import crs_lib
import tmr
from pipeline.data import audio, set_data
from pipeline.evaluation import markdown, metrics, plots, run_records
from pipeline.files import running
from pipeline.inference import shifted_clips
from pipeline.networks import features, heads, registry
from pipeline.settings import command_line

# ---- constants: edit here, or override, e.g.  python audit.py --set 3
DATASET = "dataset"  # root of all prepared data
DIVISION_DIR = ""  # folder of the texts; empty: esc10_811div_txts, for another root below it
RESULTS = "results"  # run folders
MODELS = "models"  # finished weights
SET = 1  # division set, 1 to 10
SAMPLE_RATE = 4000  # Hz, of the folder 0_downsampling.py made and of the weights
COUNTER_MODEL = "asc"  # the counter's network
SEED = 0  # of the training mixtures that are drawn
DEVICE = "auto"  # auto (CUDA, else MPS, else CPU), cuda, cuda:1, mps, cpu
THREADS = 0  # CPU threads; 0 leaves torch's choice
CONSTANTS = command_line.constants_from_command_line(globals())

LEVELS_DB = (0, 3, 6, 10, 20)  # by which one stem of a mixture is softer than the other
GAINS_DB = (-20, 6)  # by which a single clip is softer or louder than any the counter learned from
SHIFT_SEMITONES = 0.25  # of a clip, where the counter learned from no shifted copies
NB_LEARNED = 720  # training mixtures, at most, of those drawn and of the others


class Group(NamedTuple):
    """The clips of one question."""

    rows: np.ndarray  # of the stems they are made of, int (clips, 2)
    waveforms: torch.Tensor  # as the counter is to get them, float32 (clips, samples)
    softer_db: float = math.nan  # of mixtures: by how much one stem is softer


def ask(groups: Iterable[tuple[str, Group]], network, stems: pd.DataFrame) -> pd.DataFrame:
    """What the counter says of every clip: group, softer_db, recording_a, recording_b, count."""
    tables = []
    for name, group in groups:
        counts = 1 + heads.logits_of_waveforms(network, group.waveforms)[:, :2].argmax(dim=1)
        table = set_data.recordings_of(stems, group.rows)[["recording_a", "recording_b"]]
        table.insert(0, "group", name)
        table.insert(1, "softer_db", group.softer_db)
        tables.append(table.assign(count=counts.numpy()))
    return pd.concat(tables, ignore_index=True)


def furthest_shift(data: set_data.SetData, oversample: int) -> float:
    """How far the copies that the counter learned from were shifted, in semitones."""
    stamp = data.stamps.get(crs_lib.oversample_dir(DATASET, SAMPLE_RATE, oversample).name)
    return stamp["constants"]["MAX_SHIFT"] if stamp else SHIFT_SEMITONES


def shifted(clips: np.ndarray, semitones: float) -> np.ndarray:
    """Copies of clips as their files hold them, (clips, samples), so much higher, made as the
    oversampling makes them.
    """
    copies = librosa.effects.pitch_shift(clips, sr=SAMPLE_RATE, n_steps=semitones)
    return np.array([audio.as_clip(copy, SAMPLE_RATE) for copy in copies])


def pairs_of_one_class(data: set_data.SetData) -> np.ndarray:
    """Rows of two different test clips of the same class."""
    tested = data.stems[data.stems["part"] == "test"]
    by_class = tested.groupby("class_name").indices.values()
    return np.array([pair for rows in by_class for pair in combinations(tested.index[rows], 2)])


def make_groups(
    stems: torch.Tensor, data: set_data.SetData, counter: dict, nb_epochs: int
) -> Iterator[tuple[str, Group]]:
    """The clips of every question, by name, the single test clips first; one after the other, for
    all at once would fill gigabytes.

    nb_epochs: after which the counter's weights were taken.
    """
    level, mix, tested = audio.level_rms, audio.mix, data.singles["test"]
    singles, _ = features.stems_of(stems, tested)
    clips = audio.uploader(data.stems["file"].iloc[tested[:, 0]], SAMPLE_RATE)
    copies = shifted(clips, furthest_shift(data, counter["OVERSAMPLE"]))
    copies = audio.normalise_volume(copies, singles.abs().max().item())
    copies = torch.from_numpy(copies).to(singles)
    later = features.rolled(singles, later=SAMPLE_RATE)
    yield "single clips", Group(tested, level(singles))
    yield "single clips, pitch-shifted", Group(tested, level(copies))
    yield "single clips, a second later", Group(tested, level(later))
    for gain in GAINS_DB:
        yield f"single clips at {gain:+} dB", Group(tested, level(singles) * 10 ** (gain / 20))
    yield "a clip and itself, a second later", Group(tested, level(mix(singles, later)))
    yield "a clip and its pitch-shifted copy", Group(tested, level(mix(singles, copies)))

    learned = data.singles["train"]
    drawn, never = set_data.split_by_drawn(data, counter, nb_epochs)
    rng = np.random.default_rng(SEED)
    more = {
        "two clips of one class": pairs_of_one_class(data),
        "training clips": learned[data.stems["copy"].to_numpy()[learned[:, 0]] == 0],
        "training mixtures that were drawn": rng.permutation(drawn)[:NB_LEARNED],
        "training mixtures never drawn": rng.permutation(never)[:NB_LEARNED],
    }
    for name, rows in more.items():
        if len(rows):
            yield name, Group(rows, features.waveforms_of(stems, rows))

    rows = data.mixtures["test"]
    first, second = features.stems_of(stems, rows)
    for decibels in LEVELS_DB:
        gain = 10 ** (-decibels / 20)
        softer = [mix(first, gain * second), mix(gain * first, second)]
        softer = softer[: 1 + (decibels > 0)]  # as loud as each other they are the same clip
        name = f"mixtures, one stem {decibels} dB down"
        yield name, Group(np.tile(rows, (len(softer), 1)), level(torch.cat(softer)), decibels)


def main() -> None:
    timer = tmr.start()
    device = registry.choose_device(DEVICE, THREADS)
    place = (MODELS, crs_lib.COUNTER, COUNTER_MODEL, SET, SAMPLE_RATE, device, DATASET)
    network, content = registry.load_network(*place)
    counter = content["constants"]
    data = set_data.choose_files(DATASET, DIVISION_DIR, SET, SAMPLE_RATE, counter["OVERSAMPLE"])
    stems = features.load(data.stems, SAMPLE_RATE, device)
    groups = make_groups(stems, data, counter, content["metrics"]["validation"]["epoch"] + 1)
    table = ask(groups, network, data.stems)
    answers = metrics.audit_answers([table])

    constants = {**CONSTANTS, "OVERSAMPLE": counter["OVERSAMPLE"]}
    run = run_records.new_run(crs_lib.AUDIT, COUNTER_MODEL, constants, data.stamps)
    plots.draw_audit(run.folder / "audit.png", run.synthetic, answers)
    record = {
        **run_records.header(run, registry.machine(device)),
        "seconds": tmr.seconds(timer),
        "audited": content["run"],
        "test": answers,
    }
    run_records.write_packed(run.folder / run_records.ANSWERS, table)
    note = markdown.SYNTHETIC_NOTE if run.synthetic else ""
    print(markdown.write_table(run.folder / "audit.md", markdown.audit_rows(answers, [SET]), note))
    if content["label_head"]:
        rows = np.concatenate([data.singles["test"], data.mixtures["test"]])
        shifted = shifted_clips.predictions(network, stems, rows, data, SAMPLE_RATE)
        run_records.write_packed(run.folder / run_records.SHIFTS, shifted)
        record["shifts"] = metrics.with_intervals(metrics.shift_figures, [shifted])
        shift_rows = markdown.shift_rows(record["shifts"])
        print(markdown.write_table(run.folder / "shifts.md", shift_rows, note))
    crs_lib.write_json(run.folder / run_records.RECORD, record)
    print(f"run: {run.folder}")
    print(f"done in {tmr.elapsed(timer)}")


if __name__ == "__main__":
    running.run(main, DATASET)
