"""Tell what is in your recordings: how many sound classes (one or two), which, with what scores.

Reads   sound files, or folders of them (WAV, FLAC, OGG and what else soundfile reads; any rate,
        mono or stereo, any length), and the weights of the counter and both classifiers, those of
        pretrained/ or of a folder of your own.
        A recording of up to 6 s gets one answer; its first 5 s count, a shorter one is padded.
        A longer one is read in a stream, in windows of 5 s every second, and gets a timeline: when
        which class sounds. What is softer than -66 dB of full scale is silence.
Writes  a table to the terminal; or with --json one JSON document; or with --csv a line each span:
        file, start, end, name, score, error, synthetic. Into OUT with --labels the spans of each
        recording as an Audacity label track, with --plot a plot of each: the attention of a
        counter that has one, spectrogram, timeline.
        Files that cannot be read are listed, the others go on; the status then is 1.
Takes   3 seconds to start, then 20 milliseconds a recording of 5 s, or 10 a second of a long one.

Examples:
  python predict.py garden.wav street/               what is in a file, and in all of a folder
  python predict.py --json --models models *.flac    for programs, by the weights of make run
  python predict.py --labels --plot night.mp3        Audacity labels and a plot, in predictions/
"""

import csv
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import soundfile as sf
import torch
from tqdm import tqdm

import crs_lib
from crs_lib import InputError
from pipeline.files import running
from pipeline.inference import choose_weights, classify
from pipeline.networks import registry
from pipeline.settings import command_line
from pipeline.settings.good_values import FROM_WEIGHTS

# ---- constants: edit here, or override, e.g.  python predict.py --json garden.wav street/
RECORDINGS = []  # sound files, or folders of them
MODELS = "pretrained"  # finished weights
SET = 0  # division set, that the weights were trained on; 0: that of those in the folder
SAMPLE_RATE = 0  # Hz, of the weights; 0: that of those in the folder
COUNTER_MODEL = ""  # the counter's network; empty: that of the weights in the folder
CLASSIFIER_MODEL = ""  # the classifiers' network; empty: that of the weights in the folder
JSON = False  # print JSON, not a table
CSV = False  # print CSV, not a table
LABELS = False  # write Audacity labels, <file name>.txt, into OUT
PLOT = False  # draw a plot, <file name>.png, into OUT
OUT = "predictions"  # folder of labels and plots
DEVICE = "auto"  # auto (CUDA, else MPS, else CPU), cuda, cuda:1, mps, cpu
THREADS = 0  # CPU threads; 0 leaves torch's choice
command_line.constants_from_command_line(
    globals(),
    positional="RECORDINGS",
    **FROM_WEIGHTS,
)

# The endings of what soundfile reads, and their usual other spellings; RAW says nothing of itself.
OTHER_ENDINGS = (".aif", ".aifc", ".oga", ".opus", ".snd")
SUFFIXES = sorted(
    {f".{name.lower()}" for name in sf.available_formats()} - {".raw"} | {*OTHER_ENDINGS}
)


def find_files(paths: list[str]) -> dict[Path, str]:
    """The files named, and those below the folders named that have a sound file's ending.

    Each with what it is called in OUT: its name, of one in a folder its path below that.
    A path that is neither, and a folder without any, stays, to be listed as not read.
    """
    found = {}
    for path in map(Path, paths):
        below = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
        inside = sorted(file for file in below if file.suffix.lower() in SUFFIXES)
        found |= {file: str(file.relative_to(path)) for file in inside} or {path: path.name}
    return found


def refuse_same_names(files: dict[Path, str]) -> None:
    """Raise InputError if two recordings would write the same labels or plots."""
    first = {}
    for path, name in files.items():
        if first.setdefault(name, path) != path:
            raise InputError(f"{first[name]} and {path} would share {OUT}/{name}: one at a time")


def answers(
    files: dict[Path, str], trained: dict, device: torch.device, failed: list[str]
) -> Iterator[dict]:
    """The answer of each file, when it is asked for, or the error; labels and plots aside."""
    for path, name in tqdm(files.items(), "recordings", disable=True if len(files) < 20 else None):
        try:
            if os.path.isdir(path):
                raise InputError(f"{path}: holds no sound files ({' '.join(SUFFIXES)})")
            answer = classify.answer(path, trained, device)
            if LABELS:
                write_labels(Path(OUT, f"{name}.txt"), answer["spans"])
            if PLOT:
                draw(path, Path(OUT, f"{name}.png"), answer, trained, device)
            yield {"file": str(path), **answer}
        except InputError as error:
            failed.append(str(error))
            yield {"file": str(path), "error": str(error)}


def write_labels(path: Path, spans: list) -> None:
    """Write spans as an Audacity label track: start, end (seconds), name. Silence has no label."""
    lines = [f"{s.start:.6f}\t{s.end:.6f}\t{s.name}\n" for s in spans if s.name]
    with crs_lib.replaced_file(path) as part:
        part.write_text("".join(lines), encoding="utf-8")


def draw(recording: Path, path: Path, answer: dict, trained: dict, device: torch.device) -> None:
    """Draw a recording that was answered."""
    from pipeline.evaluation import plots  # half a second that only plots need
    from pipeline.inference import recording_plots

    figure = recording_plots.draw_recording(
        recording.name, answer, *classify.columns_of(recording, answer["seconds"], trained, device)
    )
    plots.save_plot(figure, path, trained["counter"][1]["synthetic"])


# ---------------------------------------------------------------- answers as text, a line at a time


def shown_names(paths: Iterable[Path]) -> dict[str, str]:
    """What the table calls each recording: its file's name, or its path where others have that."""
    paths = list(paths)
    number = Counter(path.name for path in paths)
    return {str(path): path.name if number[path.name] == 1 else str(path) for path in paths}


def as_table(rows: Iterator[dict], synthetic: bool, names: dict[str, str]) -> Iterator[str]:
    """The table to be read; a recording that has a timeline has a line for each span.

    names: what each recording is called, see `shown_names`.
    """
    width = max(len("recording"), *map(len, names.values()))
    note = "SYNTHETIC: these networks were trained on the synthetic set, not on real recordings"
    if synthetic:
        yield note
    yield f"{'recording':{width}}  classes   labels and scores"
    for row in rows:
        if "error" in row:
            yield f"{names[row['file']]:{width}}  not read"
        elif "count" in row:
            labels = ", ".join(f"{name} {row['scores'][name]:.2f}" for name in row["names"])
            count = f"{row['count']} ({row['count_score']:.2f})"
            is_cut = row["of_seconds"] > row["seconds"] + 0.1  # what an encoder adds is none
            cut = f"  (in its first {row['seconds']:g} s)" if is_cut else ""
            yield f"{names[row['file']]:{width}}  {count}  {labels or 'silence'}{cut}"
        else:
            yield f"{names[row['file']]:{width}}  timeline  {clock(row['seconds'])}"
            for span in row["spans"]:
                label = f"{span.name} {span.score:.2f}" if span.name else "silence"
                yield f"{'':{width}}  {clock(span.start)} - {clock(span.end)}  {label}"
    if synthetic:
        yield note


def clock(seconds: float) -> str:
    """Seconds as hours, minutes and seconds: 3725.5 -> 1:02:05.5."""
    tenths = round(10 * seconds)
    return f"{tenths // 36_000}:{tenths // 600 % 60:02}:{tenths // 10 % 60:02}.{tenths % 10}"


def as_json(rows: Iterator[dict], synthetic: bool) -> Iterator[str]:
    """One JSON document, {"synthetic": ..., "recordings": [...]}, a recording at a time."""
    yield f'{{\n"synthetic": {json.dumps(synthetic)},\n"recordings": ['
    comma = ""
    for row in rows:
        spans = {"spans": [span._asdict() for span in row["spans"]]} if "spans" in row else {}
        yield comma + json.dumps({**row, **spans}, indent=1)
        comma = ","
    yield "]\n}"


def as_csv(rows: Iterator[dict], synthetic: bool) -> Iterator[str]:
    """A line each span; one of silence has no name, one of a file that failed the error."""
    yield "file,start,end,name,score,error,synthetic"
    for row in rows:
        for span in row.get("spans", [("", "", "", "")]):
            line = io.StringIO()
            cells = [row["file"], *span, row.get("error", ""), synthetic]
            csv.writer(line, lineterminator="\n").writerow(cells)  # "" would quote no line's end
            yield line.getvalue().removesuffix("\n")


def main() -> int:
    if JSON and CSV:
        raise InputError("--json and --csv: one of them")
    device = registry.choose_device(DEVICE, THREADS)
    files = find_files(RECORDINGS)
    if LABELS or PLOT:
        refuse_same_names(files)
        if Path(OUT).exists() and not Path(OUT).is_dir():
            raise InputError(f"--out {OUT}: is a file; name a folder, for labels and plots")
    trained = choose_weights.load(MODELS, SET, SAMPLE_RATE, COUNTER_MODEL, CLASSIFIER_MODEL, device)
    trained = registry.joined(trained)
    synthetic = trained["counter"][1]["synthetic"]
    failed = []
    rows = answers(files, trained, device, failed)
    write = as_json if JSON else as_csv if CSV else partial(as_table, names=shown_names(files))
    for line in write(rows, synthetic):
        tqdm.write(line)
    if (LABELS or PLOT) and len(failed) < len(files):
        kinds = " and ".join(name for name, on in (("labels", LABELS), ("plots", PLOT)) if on)
        print(f"{kinds}: {OUT}", file=sys.stderr)  # standard output may be JSON
    if failed:
        raise InputError("; ".join(failed))
    return 0


if __name__ == "__main__":
    running.run(main)
