"""Is it whole, and made from what is there now? ESC-50's table and the steps' stamps."""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PureWindowsPath

import crs_lib
from crs_lib import InputError
from pipeline.files import locks
from pipeline.settings import command_line

COLUMNS = ("filename", "category", "esc10")  # of ESC-50's table, those that are read
MARKS = {"true": True, "1": True, "false": False, "0": False}  # a spreadsheet saves True as TRUE
CUT_OFF = "cut_off"  # stands in the stamp of an output while it is replaced


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
            reader = csv.DictReader(file)
            rows, columns = list(reader), reader.fieldnames or []
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: not a table in UTF-8 ({error})") from None
    if lacking := [name for name in COLUMNS if name not in columns]:
        raise InputError(f"{table} has no column {', '.join(lacking)}")
    if twice := [name for name in COLUMNS if columns.count(name) > 1]:
        raise InputError(f"{table} has {', '.join(twice)} as several columns")
    rows = [row for number, row in enumerate(rows, 2) if is_esc10(row, f"{table}, row {number}")]
    counts = Counter(row["filename"] for row in rows)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise InputError(f"{table} has {', '.join(twice[:3])} more than once")
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


def is_esc10(row: dict[str, str], where: str) -> bool:
    """Whether a row of the table belongs to ESC-10.

    where: the row, as messages call it. Raises InputError if its mark is none, or its file or class
    is no plain name: it would lead out of the folders that are read and written.
    """
    mark = str(row["esc10"]).strip().lower()
    if mark not in MARKS:
        raise InputError(f"{where}: esc10 is {row['esc10']!r}, not True or False")
    for column in ("filename", "category") if MARKS[mark] else ():
        name = row[column] or ""
        plain = PureWindowsPath(name).name == name  # refuses what leads out on any system
        if not plain or name in ("", "..") or "\0" in name:
            raise InputError(f"{where}: {column} is {name!r}, not a plain name")
    return MARKS[mark]


def stamp_path(dataset: str, output: str) -> Path:
    """The stamp of the step that made `output` (a name below the root)."""
    return Path(dataset, f"{output}.json")


def read_stamp(dataset: str, output: str) -> dict | None:
    """The stamp of an output, or None where there is none (or none that can be read)."""
    try:
        stamp = json.loads(stamp_path(dataset, output).read_text(encoding="utf-8"))
        whole = isinstance(stamp["constants"], dict) and isinstance(stamp["input"], dict)
        return stamp if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_stamps(dataset: str, outputs: Iterable[str]) -> dict[str, dict | None]:
    """The stamps of several outputs by name, before they are read.

    Raises InputError, naming who is at work, if one of them is being made at the moment.
    """
    for name in outputs:
        locks.refuse_held(Path(dataset, name))
    return {name: read_stamp(dataset, name) for name in outputs}


def refuse_changed(dataset: str, stamps_before: dict[str, dict | None]) -> None:
    """Raise InputError if outputs were replaced since `read_stamps`: what was read is a mixture."""
    now = read_stamps(dataset, stamps_before)
    changed = [name for name, stamp in stamps_before.items() if now[name] != stamp]
    if changed:
        raise InputError(
            f"{Path(dataset, changed[0])} was replaced while it was read: run it again"
        )


@contextmanager
def made(
    dataset: str,
    output: Path,
    constants: dict,
    inputs: list[str],
    replaced: Callable[[Path], AbstractContextManager[Path]] = crs_lib.replaced_folder,
    stamped: bool = True,
) -> Iterator[Path]:
    """Make an output whole or not at all, and its stamp: yields the path to write to.

    Its lock is held meanwhile. A block that fails leaves the earlier output and its stamp.
    constants: those of the step that shape its output. inputs: names of the outputs that the block
    reads. replaced: crs_lib.replaced_folder or replaced_file. stamped: False for a place of
    somebody's own, which is no output of this root: it gets no stamp.
    Raises InputError if another process makes the output, or makes or replaces an input.
    """
    stamp = stamp_path(dataset, output.name)
    with locks.held(output):
        with replaced(output) as part:
            seen = read_stamps(dataset, inputs)
            yield part
            refuse_changed(dataset, seen)
            if stamped:  # for a moment neither stamp fits: who is killed then must leave none
                crs_lib.write_json(stamp, {"constants": {}, "input": {}, CUT_OFF: locks.who()})
        if stamped:
            crs_lib.write_json(stamp, {"constants": constants, "input": seen})


def is_up_to_date(dataset: str, output: Path, constants: dict) -> bool:
    """Whether an output is there, made with these constants from the inputs as they are now.

    constants: all constants the step would run with; those that its stamp names are compared.
    """
    stamp = read_stamp(dataset, output.name)
    if stamp is None or CUT_OFF in stamp or not output.exists():
        return False
    made_with = stamp["constants"]
    return made_with == {name: constants.get(name) for name in made_with} and all(
        read_stamp(dataset, name) == then for name, then in stamp["input"].items()
    )


def need(path: Path, script: str, **constants: object) -> None:
    """Raise InputError, naming the script to run first, if an earlier step's output is missing."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path} is neither a file nor a folder: remove it")
    if not path.exists():
        raise InputError(
            f"{path} is missing: run  {command_line.command(script, **constants)}  first"
        )


def refuse_stale(dataset: str, output: Path, redo: str, **constants: object) -> None:
    """Raise InputError, naming the command that makes it, if an output is older than its inputs.

    constants: what else its stamp should hold. An output without a stamp, or whose input is no
    longer there, is somebody's own: it is taken as it is.
    """
    stamp = read_stamp(dataset, output.name) or {"constants": {}, "input": {}}
    if CUT_OFF in stamp:
        raise InputError(f"{output} was being replaced when that was cut off: run  {redo}  again")
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
    for text in sorted(path for path in folder.glob("set*/set*_*.txt") if path.is_file()):
        digest.update(f"{text.name}\n".encode())
        digest.update(text.read_bytes())
    return digest.hexdigest()[:16]
