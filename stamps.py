"""Is it whole, and made from what is there now? ESC-50's table and the steps' stamps."""

import csv
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import crs_lib
from crs_lib import InputError


def esc10_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of an ESC-50 folder's table that belong to ESC-10.

    Raises InputError, saying what is not whole, unless the folder holds meta/esc50.csv and every
    ESC-10 clip: 400 or more, or as many as its table has where the folder is synthetic.
    """
    table = folder / "meta" / "esc50.csv"
    if not table.is_file():
        raise InputError(f"{folder} is not a whole ESC-50 folder: {table} is missing")
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: not a table in UTF-8 ({error})") from None
    lacking = {"filename", "category", "esc10"} - set(rows[0] if rows else ())
    if lacking:
        raise InputError(f"{table} has no column {', '.join(sorted(lacking))}")
    # A spreadsheet saves True as TRUE.
    rows = [row for row in rows if str(row["esc10"]).strip().lower() in ("true", "1")]
    least = 1 if crs_lib.is_synthetic(folder) else 400
    if len(rows) < least:
        raise InputError(f"{table} has {len(rows)} ESC-10 rows, not {least} or more")
    gone = [row["filename"] for row in rows if not (folder / "audio" / row["filename"]).is_file()]
    if gone:
        raise InputError(
            f"{folder} is not a whole ESC-50 folder: audio/ lacks {len(gone)} of {len(rows)} "
            f"ESC-10 clips ({', '.join(gone[:3])}{', ...' if len(gone) > 3 else ''})"
        )
    return rows


def stamp_path(dataset: str, output: str) -> Path:
    """The stamp of the step that made `output` (a name below the root)."""
    return Path(dataset, f"{output}.json")


def read_stamp(dataset: str, output: str) -> dict | None:
    """The stamp of an output, or None where there is none (or none that can be read)."""
    try:
        return json.loads(stamp_path(dataset, output).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


@contextmanager
def stamped(dataset: str, output: str, constants: dict, inputs: list[str]) -> Iterator[None]:
    """Take the output's stamp away while it is made; afterwards write the new one.

    constants: those of the step that shape its output. inputs: names of the outputs it reads.
    """
    stamp_path(dataset, output).unlink(missing_ok=True)
    yield
    stamps = {name: read_stamp(dataset, name) for name in inputs}
    crs_lib.write_json(stamp_path(dataset, output), {"constants": constants, "input": stamps})


def is_up_to_date(dataset: str, output: Path, constants: dict) -> bool:
    """Whether an output is there, made with these constants from the inputs as they are now.

    constants: all constants the step would run with; those that its stamp names are compared.
    """
    stamp = read_stamp(dataset, output.name)
    if stamp is None or not output.exists():
        return False
    made_with = stamp["constants"]
    return made_with == {name: constants.get(name) for name in made_with} and all(
        read_stamp(dataset, name) == then for name, then in stamp["input"].items()
    )


def refuse_stale(dataset: str, output: Path, redo: str, **constants: object) -> None:
    """Raise InputError, naming the command that makes it, if an output is older than its inputs.

    constants: what else its stamp should hold. An output without a stamp, or whose input is no
    longer there, is somebody's own: it is taken as it is.
    """
    stamp = read_stamp(dataset, output.name) or {"constants": {}, "input": {}}
    now = {name: read_stamp(dataset, name) for name in stamp["input"]}
    changed = [name for name, then in stamp["input"].items() if now[name] not in (then, None)]
    changed += [
        name for name, then in stamp["constants"].items() if constants.get(name, then) != then
    ]
    if changed:
        raise InputError(f"{output} was made from another {changed[0]}: run  {redo}  again")


def esc10_fingerprint(folder: Path, rows: list[dict[str, str]]) -> str:
    """A hash of the ESC-10 clips of an ESC-50 folder: names, classes, bytes; not where they lie."""
    digest = hashlib.sha256()
    for name, category in sorted((row["filename"], row["category"]) for row in rows):
        digest.update(f"{name} {category}\n".encode())
        digest.update((folder / "audio" / name).read_bytes())
    return digest.hexdigest()[:16]


def division_fingerprint(folder: Path) -> str:
    """A hash of all the division texts in a folder."""
    digest = hashlib.sha256()
    for text in sorted(folder.glob("set*/set*_*.txt")):
        digest.update(f"{text.name}\n".encode())
        digest.update(text.read_bytes())
    return digest.hexdigest()[:16]
