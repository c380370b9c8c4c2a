"""Which unfinished run is gone on with, and what of a generator is put back."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

import crs_lib
from crs_lib import InputError
from pipeline.evaluation import run_records
from pipeline.files import running
from pipeline.networks import weights_file
from pipeline.training import checkpoints

CPU = torch.device("cpu")
STATE = {"history": [{}, {}], "best": {"row": {}, "weights": {}, "logits": torch.zeros(1)}}


@pytest.fixture
def constants(tmp_path):
    (tmp_path / "d").mkdir()
    found = {"DATASET": str(tmp_path / "d"), "SET": 1, "SAMPLE_RATE": 4000, "SEED": 0}
    return found | {"RESUME": True, "RESULTS": str(tmp_path / "r"), "MODELS": str(tmp_path / "m")}


def learner(device=CPU):
    network = nn.Linear(2, 1)
    optimiser = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.ConstantLR(optimiser)
    return checkpoints.Learner(network, nn.Linear(2, 1), optimiser, schedule, device)


def unfinished(constants, hour, minutes_ago, **other):
    """A run of that hour whose last.pt was written so many minutes ago."""
    run = run_records.Run(Path(), crs_lib.COUNTER, "asc", {**constants, **other}, {}, "")
    folder = Path(constants["RESULTS"], f"2026-01-01_{hour:02}-00-00_{run.name}")
    checkpoints.save_checkpoint(run._replace(folder=folder), STATE, learner())
    when = 1_700_000_000 - 60 * minutes_ago
    os.utime(folder / "last.pt", (when, when))
    return folder


def start(constants):
    with running.AT_END:
        return checkpoints.start_run(crs_lib.COUNTER, "asc", constants, {}).folder


def test_the_newest_checkpoint_of_the_same_work_is_gone_on_with(constants, capsys):
    """By when it was last written, behind others that are finished, damaged or of another seed."""
    finished = unfinished(constants, 1, minutes_ago=1)
    (finished / "run.json").write_text("{}")
    damaged = unfinished(constants, 2, minutes_ago=2)
    (damaged / "last.pt").write_bytes(b"")
    os.utime(damaged / "last.pt", (1_700_000_000 - 120,) * 2)
    unfinished(constants, 3, minutes_ago=3, SEED=1)
    older = unfinished(constants, 5, minutes_ago=5)
    wanted = unfinished(constants, 4, minutes_ago=4)
    assert start(constants) == wanted
    assert f"resuming {wanted} after 2 epochs" in capsys.readouterr().out
    os.remove(wanted / "last.pt")
    assert start(constants) == older
    os.remove(older / "last.pt")
    assert start(constants) not in (finished, damaged, wanted, older)
    assert "no unfinished run of these constants" in capsys.readouterr().out


def test_a_run_that_is_finished_between_two_looks_is_left_alone(constants, monkeypatch):
    older = unfinished(constants, 1, minutes_ago=2)
    newer = unfinished(constants, 2, minutes_ago=1)

    def hold(path):
        if path == newer / "run.json":
            path.write_text("{}")

    monkeypatch.setattr(checkpoints.locks, "hold", hold)
    assert start(constants) == older


def test_without_resume_a_run_is_new(constants):
    there = unfinished(constants, 1, minutes_ago=1)
    assert start({**constants, "RESUME": False}) != there


@pytest.mark.parametrize("synthetic", [True, False])
def test_weights_of_the_other_kind_are_not_replaced(constants, synthetic):
    run = run_records.Run(Path("x"), crs_lib.COUNTER, "asc", constants, {}, "")
    mark = Path(constants["DATASET"], "SYNTHETIC")
    if synthetic:
        mark.write_text("")
    weights_file.save_weights(run, nn.Linear(1, 1), [], {}, {})
    start(constants)  # its own kind is
    if synthetic:
        mark.unlink()
    else:
        mark.write_text("")
    kind = "the synthetic set" if synthetic else "real recordings"
    with pytest.raises(InputError, match=f"was trained on {kind}: name another folder"):
        start(constants)


def test_random_numbers_go_on_where_they_were_also_from_another_device(constants, capsys):
    path = unfinished(constants, 1, minutes_ago=1) / "last.pt"
    expected = torch.rand(3)
    content = torch.load(path, weights_only=True)
    for device in ("cpu", "cuda", "mps"):
        torch.save({**content, "device": device}, path)
        assert checkpoints.load_checkpoint(path, learner())["history"] == STATE["history"]
        assert torch.equal(torch.rand(3), expected)
        said = f"last.pt: of {device}, goes on with random numbers of another kind"
        assert (said in capsys.readouterr().out) == (device != "cpu")


def test_each_network_gets_its_own_weights_back(constants):
    run = run_records.Run(Path(constants["RESULTS"]), crs_lib.COUNTER, "asc", constants, {}, "")
    saved, loaded = learner(), learner()
    checkpoints.save_checkpoint(run, STATE, saved)
    checkpoints.load_checkpoint(run.folder / "last.pt", loaded)
    for name in ("network", "averaged"):
        assert torch.equal(getattr(loaded, name).weight, getattr(saved, name).weight), name
    assert not torch.equal(saved.network.weight, saved.averaged.weight)


@pytest.mark.parametrize("kind", ["cpu", "cuda", "mps"])
def test_each_device_has_its_own_generator(monkeypatch, kind):
    kept = {}
    for name in ("cpu", "cuda", "mps"):
        place = torch if name == "cpu" else getattr(torch, name)
        monkeypatch.setattr(place, "get_rng_state", lambda *_, name=name: name)
        monkeypatch.setattr(
            place, "set_rng_state", lambda state, *_, name=name: kept.update({name: state})
        )
    device = torch.device(kind)
    assert checkpoints.random_state(device) == kind
    checkpoints.set_random_state("a state", device)
    assert kept == {kind: "a state"}


def test_an_error_in_short():
    assert weights_file.in_short(ValueError("a\n  b")) == "a b"
    assert weights_file.in_short(ValueError()) == "ValueError"
    assert weights_file.in_short(ValueError("x" * 101)) == "x" * 100
