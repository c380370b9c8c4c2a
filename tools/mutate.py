"""Change one thing in a module and see whether its fast tests notice; again and again.

Mutation testing by cosmic-ray's operators and one of our own (see mutants.py): what survives shows
which wrong number would pass the tests.

Reads   tools/mutants.toml: the modules, the tests that are to notice, how many are to be killed,
        and the mutants that change nothing, with the reason. Mutants are made in copies of this
        tree; it is left alone.
Writes  .mutation/<module>.csv, a line each mutant: while the module and its tests stay as they
        are, it is not tried again. docs/mutation.md: the table, of all modules that are done.
Takes   a minute a module on 2 CPU cores, half an hour for all.
"""

import csv
import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mutants

import crs_lib
from pipeline.evaluation import markdown, run_records
from pipeline.files import running
from pipeline.settings import command_line

# ---- constants: edit here, or override, e.g.  python tools/mutate.py metrics set_data
MODULES = ["all"]  # without .py; all: those that mutants.toml lists
NB_MUTANTS = 40  # of a module, at most
SEED = 1  # of the draw
N_JOBS = 2  # mutants that are tried side by side
REDO = False  # try again what has been tried
command_line.constants_from_command_line(
    globals(), positional="MODULES", NB_MUTANTS=range(1, 10_001)
)

TREE, HERE = crs_lib.HERE, crs_lib.HERE / "tools"
STATE, PAGE = TREE / ".mutation", TREE / "docs" / "mutation.md"
COLUMNS = ("digest", "line", "operator", "before", "after", "outcome", "seconds")
SLOW_IMPORTS = (
    "hypothesis librosa.core.audio librosa.effects matplotlib.pyplot pandas pytest scipy.signal "
    "scipy.stats sklearn.linear_model sklearn.metrics soundfile torch tqdm"
)
OUTCOMES = ("killed", "too slow", "crashed", "survived")  # all but the last notice the mutant
MOST_BYTES = 16 << 30  # of address space: a mutant may ask for anything


# ------------------------------------------------------------------ one mutant, in a copy of a tree


def prepare_worker(folder: str) -> None:
    """In a worker: copy the tree, and import what is slow; every run of tests is forked of it."""
    global copy  # the process's own
    copy = Path(tempfile.mkdtemp(dir=folder))
    command = ["git", "-C", str(TREE), "ls-files", "-z", "-co", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (TREE / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(TREE / name, copy / name)
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in SLOW_IMPORTS.split():
        __import__(name)


def try_tests(file: str, source: str, tests: list[str], most_seconds: float) -> tuple[str, float]:
    """Run the tests with that source in the file's place: what came of it (of OUTCOMES, or `no
    tests` where pytest found none), and the seconds.
    """
    original = (copy / file).read_text(encoding="utf-8")
    (copy / file).write_text(source, encoding="utf-8")
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        run_pytest(tests)
    status = None
    while status is None:
        done, code = os.waitpid(child, os.WNOHANG)
        if done:
            status = os.waitstatus_to_exitcode(code)
        elif time.monotonic() - start > most_seconds:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            status = "too slow"
        else:
            time.sleep(0.02)
    (copy / file).write_text(original, encoding="utf-8")
    named = {0: "survived", 1: "killed", 2: "killed", 4: "no tests", 5: "no tests"}
    outcome = status if status == "too slow" else named.get(status, "crashed")
    return outcome, time.monotonic() - start


def run_pytest(tests: list[str]) -> None:
    """In the forked process: run the tests up to the first that fails, and end it."""
    os.setsid()
    os.chdir(copy)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    sys.path[:] = [path for path in sys.path if path not in (str(HERE), str(TREE))]
    ours = {"mutants", "pipeline", *(path.stem for path in TREE.glob("*.py"))}
    for name in [name for name in sys.modules if name.split(".")[0] in ours]:
        del sys.modules[name]
    sys.dont_write_bytecode = True
    log = os.open(copy / "pytest.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    import pytest

    plugins = ("no:cacheprovider", "no:xdist", "no:random_order")
    flags = [word for name in plugins for word in ("-p", name)]
    os._exit(pytest.main(["-q", "-x", *flags, "-o", "addopts=", "-m", "not faults", *tests]))


# ---------------------------------------------------------------------------------------- a module


def digest_of(module: dict) -> str:
    """A hash of a module and of the files of its tests: its outcomes are of these."""
    digest = hashlib.sha256()
    for name in (module["file"], *(test.split("::")[0] for test in module["tests"])):
        digest.update((TREE / name).read_bytes())
    return digest.hexdigest()[:16]


def state_of(module: dict) -> Path:
    """Where the outcomes of a module's mutants stand."""
    return STATE / f"{Path(module['file']).stem}.csv"


def outcomes(module: dict) -> dict[tuple[str, ...], dict]:
    """What has been tried of a module as it is now: (line, operator, before, after) -> its row."""
    path = state_of(module)
    if not path.exists():
        return {}
    digest = digest_of(module)
    with open(path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["digest"] == digest]
    rows = [row for row in rows if row["outcome"] in OUTCOMES]  # the last may be cut off
    return {(row["line"], *(row[name] for name in COLUMNS[2:5])): row for row in rows}


def mutate(module: dict, pool: ProcessPoolExecutor) -> None:
    """Try the mutants of a module that were not tried yet."""
    source, digest = (TREE / module["file"]).read_text(encoding="utf-8"), digest_of(module)
    drawn = mutants.draw(source, NB_MUTANTS, SEED)
    found = {} if REDO else outcomes(module)
    keys = [(str(m.line), m.operator, m.before, m.after) for m in drawn]
    known = {key: found[key] for key in keys if key in found}
    left = [mutant for key, mutant in zip(keys, drawn, strict=True) if key not in known]
    job, seconds = (module["file"], source, module["tests"]), 0.0
    if left:
        outcome, seconds = pool.submit(try_tests, *job, 600).result()
        if outcome != "survived":
            raise crs_lib.InputError(f"{module['file']}: its tests fail as it is ({outcome})")
    STATE.mkdir(exist_ok=True)
    with open(state_of(module), "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(known.values())
        tried = {
            pool.submit(try_tests, job[0], m.source, job[2], 10 + 5 * seconds): m for m in left
        }
        bar = tqdm(as_completed(tried), module["file"], len(left), disable=None)
        for done in bar:
            mutant, (outcome, seconds) = tried[done], done.result()
            row = (digest, *mutant[:4], outcome, f"{seconds:.1f}")
            table.writerow(dict(zip(COLUMNS, row, strict=True)))
            file.flush()


# ----------------------------------------------------------------------------------------- the page


INTRODUCTION = """# Would a wrong number turn a test red?

One thing is changed in a module's code (a number, an operator, a comparison, one of two words such
as `val` and `test`), and its fast tests are run. Where one fails, the mutant is *killed*. Where
none does, it *survived*: such a mistake would pass. At most {number} mutants a module are drawn, by
seed {seed}; every place in the code is changed once before any is twice. *Equivalent* mutants
change nothing that can be seen; each is listed with its reason. The share is of the others.

    make mutate                          # all modules; what has been tried is kept
    make mutate MODULES="metrics timeline"

Each row is of the module and its tests as they are at commit {commit}.
"""


def page(config: dict) -> str:
    """The page: a row each module that is done, what survived, and what is equivalent and why."""
    reasons = {
        (e["file"], e["before"], e["after"]): e["reason"] for e in config.get("equivalent", [])
    }
    rows, survived, equivalent = [], [], []
    for module in config["module"]:
        found = outcomes(module).values()
        source = (TREE / module["file"]).read_text(encoding="utf-8")
        if len(found) < len(mutants.draw(source, NB_MUTANTS, SEED)):
            print(f"{module['file']} is not done: it is left out of the table")
            continue
        nb_killed = sum(row["outcome"] != "survived" for row in found)
        left = [
            (module["file"], row["before"], row["after"])
            for row in found
            if row["outcome"] == "survived"
        ]
        named = [key for key in left if key in reasons]
        unnamed = [key for key in left if key not in reasons]
        share = 100 * nb_killed / max(1, len(found) - len(named))
        row = (module["file"], len(found), nb_killed, len(named), len(unnamed))
        rows.append((*row, f"{share:.1f} %", f"{module['goal']} %"))
        survived += [(file, f"`{before}`", f"`{after}`") for file, before, after in unnamed]
        equivalent += [(k[0], f"`{k[1]}`", f"`{k[2]}`", reasons[k]) for k in named]
    head = ("module", "mutants", "killed", "equivalent", "survived", "share", "goal")
    text = INTRODUCTION.format(
        number=NB_MUTANTS, seed=SEED, commit=run_records.commit() or "unknown"
    )
    text += f"\n{markdown.markdown_table(head, rows)}\n"
    for title, head, rows in (
        ("Survived", ("module", "line", "changed to"), survived),
        ("Equivalent", ("module", "line", "changed to", "why nothing changes"), equivalent),
    ):
        cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
        table = markdown.markdown_table(head, cells) if rows else "None."
        text += f"\n## {title}\n\n{table}\n"
    return text


def main() -> None:
    config = tomllib.loads((HERE / "mutants.toml").read_text(encoding="utf-8"))
    stems = {Path(module["file"]).stem: module for module in config["module"]}
    chosen = list(stems) if MODULES == ["all"] else MODULES
    if unknown := [name for name in chosen if name not in stems]:
        raise crs_lib.InputError(f"{', '.join(unknown)}: not one of all {' '.join(stems)}")
    with tempfile.TemporaryDirectory() as folder:
        options = {"mp_context": get_context("spawn"), "initargs": (folder,)}
        with ProcessPoolExecutor(N_JOBS, initializer=prepare_worker, **options) as pool:
            for name in chosen:
                mutate(stems[name], pool)
    PAGE.write_text(page(config), encoding="utf-8")
    print(f"table: {PAGE}")


if __name__ == "__main__":
    running.run(main)
