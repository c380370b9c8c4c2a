"""Weights and checkpoints with something wrong: each works, or one line says what it is; no code in
a file is run.
"""

import os
import pickle
import shutil

import pytest
import torch
from conftest import untrained_networks
from hypothesis import given
from hypothesis import strategies as st

import crs_lib
from crs_lib import InputError
from pipeline.evaluation import run_records
from pipeline.files import running
from pipeline.networks import registry, weights_file
from pipeline.training import checkpoints

WORKS = None  # in place of a message
CPU = torch.device("cpu")


class Code:
    """What a pickle makes a reader run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def changed(change):
    """What torch.save wrote, with something in it changed."""

    def spoil(path):
        content = torch.load(path, weights_only=True)
        change(content)
        torch.save(content, path)

    return spoil


def cut(share):
    def spoil(path):
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])

    return spoil


def replaced_by(make):
    def spoil(path):
        path.unlink()
        make(path)

    return spoil


def with_code(path):
    path.write_bytes(pickle.dumps(Code(path.parent / "ran")))


def with_code_inside(path):
    content = torch.load(path, weights_only=True)
    torch.save({**content, "versions": Code(path.parent / "ran")}, path)


FILES = {
    "empty": cut(0),
    "three bytes": cut(3e-7),
    "a half": cut(0.5),
    "all but the end": cut(0.999),
    "a text": lambda path: path.write_text("no weights\n"),
    "a pickle with code": with_code,
    "code inside": with_code_inside,
    "a list": lambda path: torch.save([1, 2], path),
    "a tensor": lambda path: torch.save(torch.zeros(3), path),
    "a folder": replaced_by(os.mkdir),
}

# ------------------------------------------------------------------------------------- weights


def with_constant(name, value):
    return changed(lambda content: content["constants"].update({name: value}))


def without_constant(name):
    return changed(lambda content: content["constants"].pop(name))


def with_weights(change):
    return changed(lambda content: change(content["weights"]))


def first_of(weights):
    return next(iter(weights.values()))


NO_WEIGHTS = "not weights that can be read: remove it and train again"
WEIGHTS = {
    **{name: (spoil, NO_WEIGHTS) for name, spoil in FILES.items()},
    "as they were written": (lambda path: None, WORKS),
    "a pipe": (replaced_by(os.mkfifo), "is neither a file nor a folder: remove it"),
    "not there": (replaced_by(lambda path: None), "is missing: run  python audio_source_counter"),
    **{
        f"no {key}": (changed(lambda content, key=key: content.pop(key)), NO_WEIGHTS)
        for key in ("weights", "constants", "classes", "synthetic", "metrics")
    },
    "classes a text": (changed(lambda content: content.update(classes="dog")), NO_WEIGHTS),
    "constants a list": (changed(lambda content: content.update(constants=[1])), NO_WEIGHTS),
    "of another set": (with_constant("SET", 2), "holds weights of set 2 at 4000 Hz"),
    "of another rate": (with_constant("SAMPLE_RATE", 8000), "holds weights of set 1 at 8000 Hz"),
    "of no set": (without_constant("SET"), "its SET is None: good values are 1 to 10"),
    "set a text": (with_constant("SET", "1"), "its SET is 1: good values are 1 to 10"),
    "rate 0": (with_constant("SAMPLE_RATE", 0), "its SAMPLE_RATE is 0: good values are 2000"),
    "window 0": (with_constant("N_FFT", 0), "its N_FFT is 0: good values are 152 to 8192"),
    "window of another size": (with_constant("N_FFT", 512), "the weights do not fit the network"),
    "window below zero": (with_constant("N_FFT", -256), "its N_FFT is -256: good values are"),
    "another network": (with_constant("MODEL", "isocc"), "the weights do not fit the network"),
    "an unknown network": (with_constant("MODEL", "rnn"), "network rnn is none of this version"),
    "no network": (without_constant("MODEL"), "network None is none of this version"),
    "a layer less": (with_weights(lambda w: w.popitem()), "do not fit the network"),
    "a layer more": (with_weights(lambda w: w.update(x=torch.ones(1))), "do not fit the network"),
    "a layer of another size": (
        with_weights(lambda w: w.update({next(iter(w)): torch.ones(2, 2)})),
        "do not fit the network",
    ),
    "a layer a text": (with_weights(lambda w: w.update({next(iter(w)): "x"})), "do not fit the"),
    "NaN": (with_weights(lambda w: first_of(w).fill_(torch.nan)), "no finite numbers"),
    "infinity": (with_weights(lambda w: first_of(w).fill_(torch.inf)), "no finite numb"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Weights of networks that were never trained, of ten classes."""
    folder = tmp_path_factory.mktemp("models")
    untrained_networks(folder)
    return folder


def load(models):
    return registry.load_network(str(models), crs_lib.COUNTER, "asc", 1, 4000, CPU)


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights(trained, tmp_path, kind):
    spoil, wanted = WEIGHTS[kind]
    path = tmp_path / "audio_source_counter_asc_set1_4k.pt"
    shutil.copy(trained / path.name, path)
    spoil(path)
    if wanted is WORKS:
        load(tmp_path)
        return
    with pytest.raises(InputError) as error:
        load(tmp_path)
    assert wanted in str(error.value) and str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists(), "code in the file was run"


@given(st.integers(0, 10**9), st.integers(0, 255), st.integers(0, 10**9))
def test_a_changed_byte_is_found_or_changes_nothing(small_file, place, value, length):
    path, content, expected = small_file
    damaged = bytearray(content)
    damaged[place % len(content)] = value
    path.write_bytes(damaged[: max(1, len(content) - length % 40 * (length % 2))])
    try:
        found = weights_file.read(path, {"weights": dict, "text": str}, path.parent)
    except InputError as error:
        assert "\n" not in str(error)
        return
    assert found["text"] == expected["text"]
    assert torch.equal(found["weights"]["a"], expected["weights"]["a"])


@pytest.fixture(scope="module")
def small_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "x.pt"
    content = {"weights": {"a": torch.arange(100.0)}, "text": "abc" * 20}
    torch.save(content, path)
    return path, path.read_bytes(), content


# --------------------------------------------------------------------------------- checkpoints

PASSED_OVER = "is damaged or of an earlier version, and is passed over"
ANEW = "no unfinished run of these constants: starting a new one"
GOES_ON = "after 1 epochs"
STATE = {"history": [{}], "best": {"row": {}, "weights": {}, "logits": [0.5]}}
CHECKPOINTS = {
    **{name: (spoil, PASSED_OVER) for name, spoil in FILES.items()},
    "as it was written": (lambda path: None, GOES_ON),
    "no state": (changed(lambda content: content.pop("state")), PASSED_OVER),
    "no logits of validation clips": (
        changed(lambda c: c["state"]["best"].pop("logits")),
        PASSED_OVER,
    ),
    "no history": (changed(lambda c: c["state"].pop("history")), PASSED_OVER),
    "of another seed": (with_constant("SEED", 1), ANEW),
    "of another method": (changed(lambda content: content.update(method=1)), ANEW),
    "of before methods": (changed(lambda content: content.pop("method")), PASSED_OVER),
    "of another table": (changed(lambda c: c["data"].update({"esc10_mixes.csv": {}})), ANEW),
    "of elsewhere": (with_constant("RESULTS", "elsewhere"), GOES_ON),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The last.pt of a tiny network after an epoch, and the run's constants."""
    folder = tmp_path_factory.mktemp("run")
    constants = {"DATASET": "d", "SET": 1, "SAMPLE_RATE": 4000, "SEED": 0, "RESUME": True}
    constants |= {"RESULTS": str(folder), "MODELS": str(folder)}
    learner = learner_of(2)
    run = run_records.Run(folder / "r", crs_lib.COUNTER, "m", constants, {}, "")
    checkpoints.save_checkpoint(run, STATE, learner)
    return folder / "r" / "last.pt", constants


def learner_of(nb_outputs):
    network = torch.nn.Linear(3, nb_outputs)
    optimiser = torch.optim.SGD(network.parameters())
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimiser)
    return checkpoints.Learner(network, network, optimiser, scheduler, CPU)


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_a_checkpoint(checkpoint, tmp_path, kind, capsys):
    spoil, wanted = CHECKPOINTS[kind]
    path, constants = checkpoint
    last = tmp_path / f"2026-01-01_00-00-00_{crs_lib.COUNTER}_m_set1_4k" / "last.pt"
    last.parent.mkdir()
    shutil.copy(path, last)
    spoil(last)
    constants = {**constants, "RESULTS": str(tmp_path), "MODELS": str(tmp_path / "models")}
    with running.AT_END:
        run = checkpoints.start_run(crs_lib.COUNTER, "m", constants, {})
    out = capsys.readouterr().out
    assert wanted in out and (run.folder == last.parent) == (wanted == GOES_ON)
    assert (ANEW in out) == (wanted != GOES_ON)
    assert not (last.parent / "ran").exists(), "code in the file was run"


def test_a_checkpoint_of_another_network_is_refused(checkpoint):
    with pytest.raises(InputError, match=r"last\.pt: does not fit this training .*: remove it"):
        checkpoints.load_checkpoint(checkpoint[0], learner_of(nb_outputs=5))


def test_a_checkpoint_of_another_kind_of_device_goes_on(checkpoint, tmp_path, capsys):
    last = tmp_path / "last.pt"
    shutil.copy(checkpoint[0], last)
    its_state = {"device": "cuda", "random_device": torch.zeros(16, dtype=torch.uint8)}
    changed(lambda content: content.update(its_state))(last)
    assert checkpoints.load_checkpoint(last, learner_of(2)) == STATE
    assert "of cuda, goes on with random numbers of another kind" in capsys.readouterr().out
