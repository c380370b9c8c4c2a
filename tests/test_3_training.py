"""The training loop against one written out by hand, and what it leaves behind."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import crs_lib
from pipeline.evaluation import run_records
from pipeline.networks import features
from pipeline.training import loop

CPU = torch.device("cpu")
CONSTANTS = {
    "DATASET": "d",
    "SET": 2,
    "SAMPLE_RATE": 4000,
    "N_FFT": 64,
    "MODEL": "tiny",
    "ROLL": False,
    "SPEED": 0.0,
    "GAIN": 0.0,
    "MASK": False,
    "EPOCHS": 4,
    "PATIENCE": 9,
    "BATCH": 4,
    "LEARNING_RATE": 0.05,
    "AVERAGE": 0.5,
    "SEED": 3,
    "BF16": False,
    "ALL_CLIPS": False,
    "OVERSAMPLE": 1,
}
CLASSES = ["ant", "bee", "cat"]


class Tiny(nn.Module):
    """The mean spectrum, and a dense layer; it notes how it is called."""

    def __init__(self, nb_outputs=3):
        super().__init__()
        self.dense = nn.Sequential(nn.Linear(33, nb_outputs))
        self.called, self.n_fft = [], 64

    def forward(self, spectrograms):
        self.called.append((self.training, torch.is_autocast_enabled("cpu"), len(spectrograms)))
        return self.dense(spectrograms.mean(dim=(1, 3)))


def some_clips():
    """Seven stems, two thirds of a class each, rows to learn from and others to validate on."""
    stems = torch.randn(7, 400, generator=torch.manual_seed(1))
    stems *= torch.linspace(0.2, 3, 7)[:, None]
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    rows = np.array([[0, -1], [1, -1], [2, -1], [0, 1], [1, 2], [2, 3], [3, -1], [4, 0], [5, 1]])
    return stems, labels, rows, np.array([[4, -1], [6, -1], [5, 6], [3, 5]])


@pytest.fixture
def problem():
    return some_clips()


def fit(tmp_path, problem, validate=lambda logits: {"good": 0.0}, draw=None, **constants):
    stems, labels, rows, validation_rows = problem
    constants = {**CONSTANTS, **constants}
    run = run_records.Run(tmp_path / "run", crs_lib.SINGLE, "tiny", constants, {}, "")
    torch.manual_seed(0)
    network = Tiny()
    found = loop.fit(
        run,
        network,
        stems,
        draw=draw or (lambda epoch: np.roll(rows, epoch, axis=0)),
        targets=lambda some: loop.many_hot(some, labels, 3),
        loss=loop.labels_loss,
        validate=validate,
        validation_rows=validation_rows,
        select_by="good",
    )
    return (network, *found)


def batch_of(stems, rows):
    """Magnitudes of levelled waveforms, one clip after the other."""
    clips = []
    for first, second in rows:
        wave = stems[first] + (stems[second] if second >= 0 else 0)
        wave = 0.1 * wave / wave.square().mean().sqrt()
        spectrum = torch.stft(
            wave, 64, 16, window=torch.hann_window(64), pad_mode="constant", return_complex=True
        )
        clips.append(spectrum.abs()[None])
    return torch.stack(clips)


def loss_of(logits, rows, labels):
    """Mean of -log the share of the true set among all sets of as many classes."""
    total = 0
    for row, (first, second) in zip(logits, rows, strict=True):
        if second < 0:
            total = total + row.logsumexp(0) - row[labels[first]]
        else:
            pairs = torch.stack([row[0] + row[1], row[0] + row[2], row[1] + row[2]])
            total = total + pairs.logsumexp(0) - row[labels[first]] - row[labels[second]]
    return total / len(rows)


def by_hand(problem, constants):
    """What `fit` is to do: per epoch the loss, the averaged weights, their loss of validation."""
    stems, labels, rows, validation_rows = problem
    torch.manual_seed(0)
    network = Tiny()
    names = [name for name, _ in network.named_parameters()]
    average = {name: value.detach().clone() for name, value in network.named_parameters()}
    nb_steps = math.ceil(len(rows) / constants["BATCH"])
    rate = constants["LEARNING_RATE"]
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=nb_steps * constants["EPOCHS"]
    )
    step, epochs = 0, []
    for epoch in range(constants["EPOCHS"]):
        seeds = [constants["SEED"], constants["SET"], epoch, 1]
        order = np.random.default_rng(seeds).permutation(len(rows))
        drawn, losses = np.roll(rows, epoch, axis=0)[order], []
        for start in range(0, len(rows), constants["BATCH"]):
            some = drawn[start : start + constants["BATCH"]]
            loss = loss_of(network(batch_of(stems, some)), some, labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
            step += 1
            keep = min(constants["AVERAGE"] * nb_steps, step / 9)
            for name, value in network.named_parameters():
                average[name] = (keep * average[name] + value.detach()) / (keep + 1)
        validated = Tiny()
        validated.load_state_dict({name: average[name] for name in names})
        with torch.no_grad():
            logits = validated(batch_of(stems, validation_rows))
            val_loss = loss_of(logits, validation_rows, labels).item()
        epochs.append((np.mean(losses), val_loss, dict(average), logits))
    return epochs


@pytest.mark.parametrize(
    "other", [{}, {"SEED": 4}, {"SET": 7}, {"AVERAGE": 2.5}, {"AVERAGE": 0.0}, {"BATCH": 9}]
)
def test_epochs_are_those_of_a_loop_by_hand(tmp_path, problem, other):
    """Order, steps, schedule, the average in epochs, losses, the kept epoch's weights and logits.

    Validation gets better, then worse, so that the epoch in the middle is kept.
    """
    expected, figures = by_hand(problem, CONSTANTS | other), iter([0.1, 0.5, 0.9, 0.2])
    validated = []

    def validate(logits):
        validated.append(logits)
        return {"good": next(figures)}

    network, history, best, logits = fit(tmp_path, problem, validate, **other)
    assert [row["epoch"] for row in history] == [0, 1, 2, 3] and best is history[2]
    assert [row["val_good"] for row in history] == [0.1, 0.5, 0.9, 0.2]
    for row, found, (train_loss, val_loss, _, answers) in zip(
        history, validated, expected, strict=True
    ):
        assert row["train_loss"] == pytest.approx(train_loss, rel=1e-4)
        assert row["val_loss"] == pytest.approx(val_loss, rel=1e-4)
        torch.testing.assert_close(found, answers, rtol=1e-3, atol=1e-4)
    assert torch.equal(logits, validated[2])
    for name, value in network.named_parameters():
        torch.testing.assert_close(value.detach(), expected[2][2][name], rtol=1e-4, atol=1e-5)


def test_it_trains_in_training_mode_and_validates_without(tmp_path, problem):
    network, *_ = fit(tmp_path, problem, EPOCHS=1, BF16=True)
    assert network.called == [(True, True, 4), (True, True, 4), (True, True, 1)]
    averaged = []
    copy = loop.copy.deepcopy
    training_copy = SimpleNamespace(deepcopy=lambda net: averaged.append(copy(net)) or averaged[-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "copy", training_copy)
        network, *_ = fit(tmp_path / "b", problem, EPOCHS=2)
    assert network.called == [(True, False, 4), (True, False, 4), (True, False, 1)] * 2
    assert averaged[0].called == [(False, False, 4)] * 2  # the averaged weights are validated


def test_of_equal_figures_the_lower_loss_is_better(tmp_path, problem):
    _, history, best, _ = fit(tmp_path, problem)
    losses = [row["val_loss"] for row in history]
    assert len(set(losses)) == 4 and best["val_loss"] == min(losses)
    row = {"val_good": 0.5, "val_loss": 2.0}
    assert loop.rank(row, "good") > loop.rank({**row, "val_loss": 3.0}, "good")
    assert loop.rank(row, "good") < loop.rank({"val_good": 0.6, "val_loss": 9}, "good")


def test_without_validation_clips_the_last_epoch_is_taken(tmp_path, problem):
    """Its weights are those that the last epoch has where it is the best, too."""
    stems, labels, rows, validation_rows = problem
    none = (stems, labels, rows, validation_rows[:0])
    network, history, best, logits = fit(tmp_path / "a", none, pytest.fail, EPOCHS=3, PATIENCE=1)
    assert logits.shape == (0, 3) and best == history[-1] and best["epoch"] == 2
    assert [list(row) for row in history] == 3 * [["epoch", "train_loss", "seconds"]]
    better = iter(range(3))
    validated, *_ = fit(tmp_path / "b", problem, lambda _: {"good": next(better)}, EPOCHS=3)
    assert torch.equal(validated.dense[0].weight, network.dense[0].weight)


@pytest.mark.parametrize(("patience", "nb_epochs"), [(1, 3), (2, 4), (3, 5), (4, 8)])
def test_it_stops_after_so_many_epochs_without_a_better_one(tmp_path, problem, patience, nb_epochs):
    figures = iter([0.1, 0.3, 0.2, 0.2, 0.2, 0.4, 0.1, 0.1, 0.1, 0.1])
    _, history, best, _ = fit(
        tmp_path,
        problem,
        lambda logits: {"good": next(figures)},
        EPOCHS=8,
        PATIENCE=patience,
    )
    assert len(history) == nb_epochs and best["epoch"] == (5 if nb_epochs == 8 else 1)


def test_each_epoch_is_told_with_its_figures(tmp_path, problem, capsys):
    _, history, *_ = fit(tmp_path, problem, lambda _: {"good": 0.25}, EPOCHS=2)
    expected = [
        f"epoch {row['epoch'] + 1}/2  train_loss {row['train_loss']:.3f}  val_loss "
        f"{row['val_loss']:.3f}  val_good 0.250  seconds {row['seconds']:.3f}"
        for row in history
    ]
    assert capsys.readouterr().out.splitlines() == expected


def test_each_epoch_draws_its_own(tmp_path, problem):
    asked = []

    def draw(epoch):
        asked.append(epoch)
        return problem[2]

    fit(tmp_path, problem, draw=draw, EPOCHS=3)
    assert asked == [0, 0, 1, 2]  # the first only to be counted


def test_training_clips_are_augmented_as_the_constants_say(tmp_path, problem, monkeypatch):
    given = []

    def varied(network, stems, rows, constants):
        given.append(constants)
        return features.stft_magnitude(features.waveforms_of(stems, rows), 64)

    monkeypatch.setattr(features, "augmented_features", varied)
    fit(tmp_path, problem, EPOCHS=1, ROLL=True, GAIN=6.0)
    assert len(given) == 3
    assert all(found == {**CONSTANTS, "EPOCHS": 1, "ROLL": True, "GAIN": 6.0} for found in given)


def test_what_was_begun_goes_on_and_is_not_trained_again(tmp_path, problem):
    """After two of four epochs; the schedule is that of all four."""
    whole = fit(tmp_path / "whole", problem)
    figures, network = [], None

    def stop(logits):
        figures.append(logits)
        if len(figures) == 3:
            raise KeyboardInterrupt
        return {"good": 0.0}

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "broken", problem, stop)
    network, history, _, logits = fit(tmp_path / "broken", problem)
    assert len(figures) == 3 and len(history) == 4
    for row, expected in zip(history, whole[1], strict=True):
        assert {**row, "seconds": 0} == {**expected, "seconds": 0}
    assert torch.equal(logits, whole[3])
    assert torch.equal(network.dense[0].weight, whole[0].dense[0].weight)
