"""Renew results, weights and checkpoints of the first format: keys and columns in today's words.

    python tools/migrate.py results models

No number changes, only what it is called. Files that are renewed already are left as they are, so
it can be run again; so are files of others. A damaged file is listed, the others go on. Each file
is replaced whole or not at all, and keeps its time.

Reads   folders, and what lies below them: run.json, predictions.csv and validation.csv (also
        packed), history.csv, weights and checkpoints (*.pt), summary_*.json with what lies beside.
Writes  the same files.
Takes   a second for twenty runs.
"""

import csv
import gzip
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import crs_lib
from pipeline.evaluation import run_records, summary
from pipeline.files import running
from pipeline.networks import weights_file

# Keys and columns as format 1 had them -> as they are now; of names with dots and of
# `<one>_over_<other>` each part. Nothing else of the project knows the words of format 1.
LIST = Path(__file__).with_name("words_of_format_1.csv")
WORDS = dict(csv.reader(LIST.read_text(encoding="utf-8").split()))
TENSORS = ("weights", "network", "averaged", "optimiser", "scheduler")  # keys of layers, not words
PLOTS = ("flow.png", "confusion.png")  # that hold words
TABLES = ("predictions.csv", "validation.csv", "history.csv", "unselected.csv")


def renewed(word: str) -> str:
    """A key or a column in today's words."""
    word = WORDS.get(word, word)  # as a whole, then by its parts
    for sign in (".", "_over_"):
        if sign in word:
            return sign.join(map(renewed, word.split(sign)))
    return word


def renewed_keys(content: object) -> object:
    """JSON, or what torch.save wrote, with every key renewed but those of layers."""
    if isinstance(content, list):
        return [renewed_keys(one) for one in content]
    if not isinstance(content, dict):
        return content
    return {
        renewed(key) if isinstance(key, str) else key: value
        if key in TENSORS
        else renewed_keys(value)
        for key, value in content.items()
    }


@contextmanager
def same_time(path: Path) -> Iterator[None]:
    """Keep a file's time: which of two runs is the newer one is read from it."""
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    yield
    os.utime(path, ns=times)


def renew_table(path: Path) -> None:
    """Renew the first line of a CSV file, packed or not."""
    is_packed = path.suffix == ".gz"
    before = gzip.decompress(path.read_bytes()) if is_packed else path.read_bytes()
    head, line_end, rows = before.partition(b"\n")
    words = head.decode().removesuffix("\r").split(",")
    after = ",".join(map(renewed, words)).encode() + b"\r" * head.endswith(b"\r") + line_end + rows
    if after != before:
        with same_time(path), crs_lib.replaced_file(path) as part:
            part.write_bytes(gzip.compress(after, mtime=0) if is_packed else after)


def renew_run(record_path: Path) -> bool:
    """Renew the tables of a run, then its record, whose format says that all of it is renewed; its
    plots with old words go, for show_report.py draws them again.
    """
    record = json.loads(record_path.read_text(encoding="utf-8"))
    if "constants" not in record or "format" in record:
        return False
    for name in TABLES:
        for path in (record_path.with_name(name), record_path.with_name(f"{name}.gz")):
            if path.exists():
                renew_table(path)
    for name in PLOTS:
        record_path.with_name(name).unlink(missing_ok=True)
    with same_time(record_path):
        crs_lib.write_json(record_path, {"format": run_records.FORMAT, **renewed_keys(record)})
    return True


def renew_weights(path: Path) -> bool:
    """Renew weights or a checkpoint of this project; others are left as they are."""
    content = weights_file.load_checked(path)
    if not content.keys() >= weights_file.ALWAYS_THERE or "format" in content:
        return False
    content = {"format": run_records.FORMAT, **renewed_keys(content)}
    if "record" in content:  # of shipped weights
        content["record"] = {"format": run_records.FORMAT, **content["record"]}
    with same_time(path):
        weights_file.save(content, path)
    return True


def renew_summary(path: Path) -> bool:
    """Renew a summary, and write the tables beside it anew."""
    before = json.loads(path.read_text(encoding="utf-8"))
    after = renewed_keys(before)
    if after == before:
        return False
    pairs = path.with_name(f"{path.stem}_pairs.csv")
    if pairs.exists():
        renew_table(pairs)
    path.with_name(f"{path.stem}_ways.md").unlink(missing_ok=True)
    summary.write_tables(after, path)
    with same_time(path):
        crs_lib.write_json(path, after)
    return True


def main() -> None:
    folders = [Path(word) for word in sys.argv[1:]]
    if not folders:
        sys.exit("python tools/migrate.py FOLDER ...")
    if missing := [str(folder) for folder in folders if not folder.is_dir()]:
        raise crs_lib.InputError(f"{', '.join(missing)}: no such folder")
    steps = {"run.json": renew_run, "*.pt": renew_weights, "summary_*.json": renew_summary}
    failed = []
    for pattern, renew in steps.items():
        paths = sorted({path for folder in folders for path in folder.rglob(pattern)})
        nb_renewed = 0
        for path in paths:
            try:
                nb_renewed += renew(path)
            except Exception as error:  # a damaged file makes json, gzip and torch raise anything
                if isinstance(error, OSError) and error.errno:
                    raise  # of the system, as a full disk
                failed.append(f"{path} cannot be read ({weights_file.in_short(error)})")
        print(f"{pattern}: {nb_renewed} of {len(paths)} renewed")
    if failed:
        raise crs_lib.InputError(f"left as they are: {'; '.join(failed)}")


if __name__ == "__main__":
    running.run(main)
