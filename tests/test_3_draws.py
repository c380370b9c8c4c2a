"""What an epoch draws, and the names that are best of scores."""

import random
from itertools import product

import numpy as np
import pytest
import torch

from pipeline.data import set_data
from pipeline.evaluation import strategies
from pipeline.training import loop


def test_best_labels_are_sorted_and_as_many_as_counted():
    scores = np.array([[0.1, 0.9, 0.5], [0.8, 0.1, 0.7]])
    classes = ["ant", "bee", "cat"]
    assert list(strategies.best_labels(scores, 2, classes)) == ["bee+cat", "ant+cat"]
    assert list(strategies.best_labels(scores, np.array([1, 2]), classes)) == ["bee", "ant+cat"]


def test_drawing_is_without_replacement_from_all_pairs_and_all_copies():
    data = set_data.SetData(
        None,
        [],
        {"train": np.array([[i, -1] for i in range(20)])},
        {"train": np.array(list(product(range(0, 20, 5), range(20, 40, 5))))},
        {},
    )
    constants = {"SEED": 3, "SET": 1, "REDRAW": True, "OVERSAMPLE": 5, "REPEAT": 1}
    rows, drawn = set_data.draw_mixtures(data, constants, epoch=0)
    assert sorted(drawn) == list(range(16))  # no more than there are, none twice
    np.testing.assert_array_equal(rows // 5 * 5, data.mixtures["train"][drawn])
    assert len(np.unique(rows % 5)) == 5
    again, _ = set_data.draw_mixtures(data, constants, epoch=0)
    other, _ = set_data.draw_mixtures(data, constants, epoch=1)
    np.testing.assert_array_equal(rows, again)
    assert not np.array_equal(rows, other)
    of_set_6, _ = set_data.draw_mixtures(data, {**constants, "SET": 6}, epoch=0)
    assert not np.array_equal(rows, of_set_6)  # which has the same training clips
    still, _ = set_data.draw_mixtures(data, {**constants, "REDRAW": False}, epoch=1)
    np.testing.assert_array_equal(rows, still)


def test_an_epoch_can_take_each_single_several_times_and_as_many_mixtures():
    data = set_data.SetData(
        None,
        [],
        {"train": np.array([[0, -1], [1, -1]])},
        {"train": np.arange(40).reshape(20, 2)},
        {},
    )
    constants = {"SEED": 3, "SET": 1, "REDRAW": True, "OVERSAMPLE": 1, "REPEAT": 3}
    singles = set_data.repeated_singles(data, constants)
    assert sorted(map(tuple, singles.tolist())) == 3 * [(0, -1)] + 3 * [(1, -1)]
    rows, drawn = set_data.draw_mixtures(data, constants, epoch=0)
    assert len(set(drawn)) == len(rows) == 6


def test_mixtures_are_of_originals_as_often_as_singles_are():
    """Else clips that were never pitch-shifted would mostly be singles."""
    rows = np.array([[0, 5]] * 20_000)
    picked = set_data.pick_copies(rows, 5, np.random.default_rng(0)) - rows
    is_original = (picked == 0).all(axis=1)
    assert is_original.mean() == pytest.approx(1 / 5, abs=0.02)
    shifted = picked[~is_original]
    assert shifted.min() == 1 and shifted.max() == 4
    shares = np.bincount(4 * (shifted[:, 0] - 1) + shifted[:, 1] - 1) / len(shifted)
    np.testing.assert_allclose(shares, 1 / 16, atol=0.01)
    alone = set_data.pick_copies(rows, 1, np.random.default_rng(0))
    np.testing.assert_array_equal(alone, rows)


def test_an_epoch_in_words():
    single, mixture = np.array([[0, -1], [1, -1]]), np.array([[0, 1]])
    data = set_data.SetData(None, [], {}, {"train": np.zeros((7, 2), dtype=int)}, {})
    assert set_data.in_words(single, data) == "2 training singles"
    assert set_data.in_words(mixture, data) == "1 of 7 mixtures"
    both = np.concatenate([single, mixture])
    assert set_data.in_words(both, data) == "2 training singles and 1 of 7 mixtures"


def test_what_was_never_drawn_is_the_rest():
    data = set_data.SetData(
        None,
        [],
        {"train": np.zeros((30, 2), dtype=int)},
        {"train": np.stack([np.arange(100), np.arange(100, 200)], axis=1)},
        {},
    )
    constants = {"SEED": 0, "SET": 1, "REDRAW": True, "OVERSAMPLE": 1, "REPEAT": 1}
    drawn = set().union(*(set_data.draw_mixtures(data, constants, e)[1].tolist() for e in range(3)))
    found, rest = set_data.split_by_drawn(data, constants, 3)
    assert 30 < len(drawn) < 91
    assert set(rest[:, 0].tolist()) == set(range(100)) - drawn
    assert set(found[:, 0].tolist()) == drawn


def test_no_two_scripts_or_sets_share_their_random_numbers():
    """Neither sets k and k + 5, which learn from the same clips, nor the two classifiers."""

    def first_numbers(*of):
        loop.seed_everything(*of)
        return torch.rand(1).item(), np.random.random(), random.random()

    assert first_numbers(0, 1, "a") == first_numbers(0, 1, "a")
    every = [(seed, number, script) for seed in (0, 1) for number in (1, 6) for script in "ab"]
    columns = zip(*(first_numbers(*of) for of in every), strict=True)
    assert all(len(set(column)) == 8 for column in columns)
