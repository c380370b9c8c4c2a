"""Two at once: the second says who is at work and stops; nothing is mixed up."""

import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import COUNTER, SINGLE, TINY, numbers
from faults import CONTEXT, STEPS, Process, fail, linked, no_leftovers, succeed
from test_4_preparation import bytes_below

import crs_lib
from crs_lib import InputError
from pipeline.data import audio, set_data
from pipeline.evaluation import run_records
from pipeline.files import locks, provenance, running
from pipeline.networks import features

ME = rf"\(process {os.getpid()} on \S+, since 20\d\d-\d\d-\d\d_\d\d-\d\d-\d\d\)"


@pytest.fixture
def impatient(monkeypatch):
    """Nobody waits for a lock."""
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0)


@pytest.fixture(autouse=True)
def given_back():
    """What a test holds until the script ends, it gives back."""
    yield
    running.AT_END.close()


def hold_for_ever(path, ready):
    """Of a process that is to be killed."""
    locks.hold(path)
    ready.send(True)
    time.sleep(1000)


def test_a_lock_says_who_holds_it_and_ends_with_its_process(tmp_path, impatient):
    path = tmp_path / "made"
    ready, end = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=hold_for_ever, args=(path, end), daemon=True)
    process.start()
    ready.recv()
    wanted = rf"made is being made by \S* \(process {process.pid} on .*\): wait for it, or end it"
    for second in (locks.held(path).__enter__, lambda: locks.refuse_held(path)):
        with pytest.raises(InputError, match=wanted):
            second()
    process.kill()
    process.join()
    assert locks.lock_of(path).exists()  # it locks nothing any more
    locks.refuse_held(path)
    with locks.held(path):
        pass
    assert not list(tmp_path.iterdir())


def test_those_who_only_look_do_not_stop_each_other(tmp_path, monkeypatch):
    """Beside the lock file that a killed process left, and while somebody looks for long."""
    path = tmp_path / "made"
    locks.lock_of(path).write_text(" a process that was killed")

    def look():
        for _ in range(500):
            locks.refuse_held(path)

    with ThreadPoolExecutor(4) as pool:
        for looker in [pool.submit(look) for _ in range(4)]:
            looker.result()
    file = os.open(locks.lock_of(path), os.O_RDWR)
    assert locks.lock_descriptor(file, blocking=False)
    waited = []
    monkeypatch.setattr(
        locks.time, "sleep", lambda _: waited.append(1) or len(waited) < 5 or os.close(file)
    )
    locks.refuse_held(path)
    assert len(waited) == 5


def test_a_lock_is_given_back_after_a_failure_too(tmp_path, impatient):
    path = tmp_path / "deep" / "made"
    with pytest.raises(ZeroDivisionError), locks.held(path):
        1 / 0  # noqa: B018
    with locks.held(path), locks.held(tmp_path / "another"):
        assert sorted(p.name for p in tmp_path.rglob("*.lock")) == ["another.lock", "made.lock"]
    assert not list(tmp_path.rglob("*.lock"))


def add_ones(folder, number):
    """Add ones to a number in a file, which goes wrong where two do it at once."""
    for _ in range(number):
        while True:
            try:
                with locks.held(folder / "sum"):
                    total = int((folder / "sum").read_text())
                    (folder / "sum").write_text(str(total + 1))
                break
            except InputError:
                continue


def test_nobody_is_let_in_beside_another(tmp_path):
    """Also in the moment in which one gives its lock back and removes the file."""
    (tmp_path / "sum").write_text("0")
    four = [CONTEXT.Process(target=add_ones, args=(tmp_path, 50)) for _ in range(4)]
    for process in four:
        process.start()
    for process in four:
        process.join()
    assert (tmp_path / "sum").read_text() == "200"
    assert [path.name for path in tmp_path.iterdir()] == ["sum"]


# ---------------------------------------------------------------------------------------- steps


@pytest.mark.parametrize("script", [*STEPS, "0_get_esc50.py"])
def test_a_step_stops_where_its_output_is_being_made(demo, tmp_path, script, here, impatient):
    flags, name = STEPS.get(script, (("--synthetic",), "ESC-50"))
    root = linked(demo, tmp_path / "data")
    before = bytes_below(root)
    with locks.held(root / name):
        message = here(script, "--dataset", root, *flags)
        assert re.match(rf"{re.escape(str(root / name))} is being made by \S* {ME}: wait", message)
    assert bytes_below(root) == before


@pytest.mark.parametrize("script", list(STEPS)[1:])
def test_a_step_stops_where_its_input_is_being_made(demo, tmp_path, script, here, impatient):
    flags, _ = STEPS[script]
    root = linked(demo, tmp_path / "data")
    before = bytes_below(root)
    names = list(provenance.read_stamp(str(root), STEPS[script][1])["input"])
    assert len(names) == 1
    with locks.held(root / names[0]):
        message = here(script, "--dataset", root, *flags)
        assert f"{root / names[0]} is being made by " in message
    assert bytes_below(root) == before


def stopped_at(process, pattern, folder):
    """Stop a process (SIGSTOP) as soon as a file of that name lies below the folder."""
    deadline = time.monotonic() + 60
    while not list(folder.glob(pattern)):
        assert process.process.is_alive() and time.monotonic() < deadline
        time.sleep(0.001)
    process.send(signal.SIGSTOP)


def test_two_of_the_same_step_and_two_of_different_ones(demo, tmp_path):
    root = linked(demo, tmp_path / "data")
    expected = bytes_below(root / "esc10_rename_4k")
    first = Process("0_downsampling.py", "--dataset", root)
    stopped_at(first, "esc10_rename_4k.part/*", root)
    message = fail("0_downsampling.py", "--dataset", root, "--method", "scipy")
    holder = rf"0_downsampling\.py \(process {first.process.pid} on \S+, since .*\)"
    assert re.match(rf".*/esc10_rename_4k is being made by {holder}: wait for it", message)
    message = fail("0_pitch_oversample_4k.py", "--dataset", root)
    assert re.match(rf".*/esc10_rename_4k is being made by {holder}: wait for it", message)
    # Another rate is another output.
    succeed("0_downsampling.py", "--dataset", root, "--sample-rate", 8000)
    first.send(signal.SIGCONT)
    assert first.finish()[0] == 0
    assert bytes_below(root / "esc10_rename_4k") == expected
    assert provenance.read_stamp(str(root), "esc10_rename_4k")["constants"]["METHOD"] == "load"
    no_leftovers(root)


def test_an_input_that_is_replaced_while_it_is_read(demo, tmp_path, here, monkeypatch):
    root = linked(demo, tmp_path / "data")
    before = bytes_below(root)
    read = audio.uploader

    def while_it_is_replaced(files, sample_rate):
        clips = read(files, sample_rate)
        crs_lib.write_json(root / "esc10_rename_4k.json", {"constants": {"A": 1}, "input": {}})
        return clips

    monkeypatch.setattr(audio, "uploader", while_it_is_replaced)
    message = f"{root}/esc10_rename_4k was replaced while it was read: run it again"
    scripts = ("0_pitch_oversample_4k.py", "0_2mix_norm_vol.py", SINGLE)
    results = ("--results", tmp_path / "r", "--models", tmp_path / "m")
    for script in scripts:
        crs_lib.write_json(root / "esc10_rename_4k.json", {"constants": {}, "input": {}})
        more = ("--oversample", 1, *results) if script == SINGLE else ()
        assert here(script, "--dataset", root, *more) == message
    del before["esc10_rename_4k.json"]
    assert before.items() <= bytes_below(root).items()
    no_leftovers(root)
    assert not (tmp_path / "r").exists() and not (tmp_path / "m").exists()


# ------------------------------------------------------------------------------------- trainings


def test_a_run_that_is_trained_is_not_gone_on_with(demo, tmp_path, unbroken):
    results, models = tmp_path / "results", tmp_path / "models"
    flags = ("--dataset", demo, "--results", results, *TINY)
    first = Process(COUNTER, *flags, "--models", models)
    stopped_at(first, "*/last.pt", results)
    (folder,) = results.iterdir()
    holder = rf"audio_source_counter\.py \(process {first.process.pid} on \S+, since .*\)"
    name = "audio_source_counter_asc_set1_4k"
    for more in ((), ("--resume",), ("--seed", 9)):
        message = fail(COUNTER, *flags, *more, "--models", models)
        assert re.match(rf"{models}/{name}\.pt is being made by {holder}: wait for it", message)
    message = fail(COUNTER, *flags, "--models", tmp_path / "others", "--resume")
    assert re.match(rf"{folder}/run\.json is being made by {holder}: wait for it", message)
    assert [path.name for path in results.iterdir()] == [folder.name]
    first.send(signal.SIGCONT)
    assert first.finish()[0] == 0
    assert numbers(folder) == unbroken("counter")[0]
    no_leftovers(results, models)


def test_two_runs_that_start_in_one_second_have_a_folder_each(tmp_path, monkeypatch):
    monkeypatch.setattr(run_records.tmr, "now", lambda: "2026-01-01_00-00-00")
    constants = {"DATASET": str(tmp_path), "RESULTS": str(tmp_path / "r"), "SAMPLE_RATE": 4000}
    runs = [run_records.new_run("flow", "a-b", {**constants, "SET": 1}, {}) for _ in range(3)]
    endings = ("", "-2", "-3")
    assert [run.folder.name for run in runs] == [
        f"2026-01-01_00-00-00{ending}_flow_a-b_set1_4k" for ending in endings
    ]
    (runs[1].folder / "run.json").write_text("{}")
    running.AT_END.close()
    # A run that came to nothing leaves nothing.
    assert list((tmp_path / "r").rglob("*")) == [runs[1].folder, runs[1].folder / "run.json"]


def test_a_training_reads_no_data_that_is_being_made(demo, tmp_path, here, impatient):
    root = linked(demo, tmp_path / "data")
    for name in ("esc10_rename_4k", "esc10_rename_4k_p2", "esc10_mixes.csv"):
        with locks.held(root / name):
            message = here(SINGLE, "--dataset", root, "--oversample", 2)
            assert re.match(rf"{root}/{name} is being made by \S* {ME}", message)


def test_the_stamps_of_a_run_are_those_of_what_it_read(demo):
    data = set_data.choose_files(str(demo), "", 1, 4000, 2)
    names = ("esc10_rename_4k", "esc10_mixes.csv", "esc10_rename_4k_p2")
    assert data.stamps == {name: provenance.read_stamp(str(demo), name) for name in names}
    assert features.load(data.stems, 4000, "cpu").shape == (4 * (8 * 2 + 2), 20_000)
