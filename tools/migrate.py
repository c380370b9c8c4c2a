"""Renew results, weights and checkpoints of the first format: keys and columns in today's words.

    python tools/migrate.py results models

No number changes, only what it is called. Files that are renewed already are left as they are, so
it can be run again. Each file is replaced whole or not at all.

Reads   folders, and what lies below them: run.json, predictions.csv and validation.csv (also
        packed), history.csv, weights and checkpoints (*.pt), summary_*.json with what lies beside.
Writes  the same files.
Takes   a second for twenty runs.
"""

import gzip
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

import crs_lib
from pipeline.evaluation import run_records, summary
from pipeline.files import running
from pipeline.networks import weights_file

# Word of format 1 -> word of format 2, of keys and columns; of names with dots and of
# `<one>_over_<other>` each part.
WORDS = {
    "for_names": "with_counter_for_exact_match",
    "true_count": "oracle_count",
    "rival_with_counter": "baseline_with_counter",
    "rival_for_names": "baseline_with_counter_for_exact_match",
    "rival_true_count": "baseline_oracle_count",
    "one_network": "joint",
    "one_network_for_names": "joint_for_exact_match",
    "one_network_true_count": "joint_oracle_count",
    "together": "ensemble",
    "together_true_count": "ensemble_oracle_count",
    "together_score_two": "ensemble_score_two",
    "giveaways": "shortcuts",
    "giveaway_balanced": "shortcut_balanced",
    "giveaway_count": "shortcut_count",
    "giveaway_score_two": "shortcut_score_two",
    "exact_set_single": "exact_match_single",
    "exact_set_mixture": "exact_match_mixture",
    "exact_set_balanced": "exact_match_balanced",
    "val_exact_set_single": "val_exact_match_single",
    "val_exact_set_mixture": "val_exact_match_mixture",
    "val_exact_set_balanced": "val_exact_match_balanced",
    "exact_set": "exact_match",
    "named_right": "oracle_exact_match",
    "names": "labels",
    "taken_from": "label_head_of",
    "forgotten": "label_head",
    "JOINT": "BOTH_KINDS",
    "NAMES_WEIGHT": "LABELS_WEIGHT",
}
TENSORS = ("weights", "network", "averaged", "optimiser", "scheduler")  # keys of layers, not words
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


def is_old(content: dict) -> bool:
    """Whether it is of the first format, which did not say so."""
    return "format" not in content


def renew_table(path: Path) -> bool:
    """Renew the first line of a CSV file, packed or not; returns whether it changed."""
    is_packed = path.suffix == ".gz"
    before = gzip.decompress(path.read_bytes()) if is_packed else path.read_bytes()
    head, line_end, rows = before.partition(b"\n")
    after = ",".join(map(renewed, head.decode().split(","))).encode() + line_end + rows
    if after != before:
        with crs_lib.replaced_file(path) as part:
            part.write_bytes(gzip.compress(after, mtime=0) if is_packed else after)
    return after != before


def renew_run(record_path: Path) -> bool:
    """Renew the tables of a run, then its record, whose format says that all of it is renewed."""
    record = json.loads(record_path.read_text(encoding="utf-8"))
    if not is_old(record):
        return False
    for name in TABLES:
        for path in (record_path.with_name(name), record_path.with_name(f"{name}.gz")):
            if path.exists():
                renew_table(path)
    crs_lib.write_json(record_path, {"format": run_records.FORMAT, **renewed_keys(record)})
    return True


def renew_weights(path: Path) -> bool:
    """Renew weights or a checkpoint. Raises InputError if the file cannot be read."""
    try:
        content = dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # a damaged file makes torch raise anything
        reason = weights_file.in_short(error)
        raise crs_lib.InputError(f"{path} cannot be read ({reason}): remove it") from None
    if not is_old(content):
        return False
    content = {"format": run_records.FORMAT, **renewed_keys(content)}
    if "record" in content:  # of shipped weights
        content["record"] = {"format": run_records.FORMAT, **content["record"]}
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
    crs_lib.write_json(path, after)
    return True


def main() -> None:
    folders = [Path(word) for word in sys.argv[1:]]
    if not folders:
        sys.exit("python tools/migrate.py FOLDER ...")
    if missing := [str(folder) for folder in folders if not folder.is_dir()]:
        raise crs_lib.InputError(f"{', '.join(missing)}: no such folder")
    steps = {"run.json": renew_run, "*.pt": renew_weights, "summary_*.json": renew_summary}
    for pattern, renew in steps.items():
        paths = sorted({path for folder in folders for path in folder.rglob(pattern)})
        nb_renewed = sum(renew(path) for path in paths)
        print(f"{pattern}: {nb_renewed} of {len(paths)} renewed")


if __name__ == "__main__":
    running.run(main)
