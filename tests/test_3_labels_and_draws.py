"""Which mixtures an epoch trains on, and the names that follow from scores, by plain loops."""

import numpy as np
import pytest

from pipeline.data import set_data
from pipeline.evaluation import strategies

CONSTANTS = {"SEED": 3, "SET": 2, "REDRAW": True, "OVERSAMPLE": 1, "REPEAT": 1}


def data_of(nb_singles, nb_mixtures):
    """Mixtures whose rows are told from each other, and from their own indices."""
    rows = np.stack([np.arange(nb_mixtures), np.arange(nb_mixtures)[::-1]], axis=1) + 1000
    singles = np.zeros((nb_singles, 2), dtype=int)
    return set_data.SetData(None, [], {"train": singles}, {"train": rows}, {})


def drawn(data=None, epoch=0, **others):
    data = data or data_of(30, 200)
    return set_data.draw_mixtures(data, {**CONSTANTS, **others}, epoch)[1].tolist()


def test_as_many_mixtures_as_singles_are_drawn_and_none_twice():
    data = data_of(30, 200)
    rows, indices = set_data.draw_mixtures(data, CONSTANTS, 0)
    assert len(set(indices.tolist())) == len(rows) == 30
    assert rows.tolist() == [[1000 + i, 1199 - i] for i in indices]
    assert sorted(drawn(data_of(7, 5))) == [0, 1, 2, 3, 4]  # all, where there are fewer
    assert sorted(drawn(data_of(5, 5))) == [0, 1, 2, 3, 4]


def test_every_mixture_is_drawn_as_often_as_any_other():
    data = data_of(5, 20)
    counts = np.bincount([i for epoch in range(800) for i in drawn(data, epoch)], minlength=20)
    assert len(counts) == 20 and (abs(counts - 200) < 75).all()  # six standard deviations


def test_seed_set_and_epoch_each_draw_others_by_numpys_generator_of_all_three():
    """The seeded protocol itself: by it runs are repeated, and said which mixtures they drew."""
    for seed, number, epoch in [(3, 2, 0), (4, 2, 0), (2, 3, 0), (3, 7, 0), (3, 2, 1), (3, 2, 9)]:
        rng = np.random.default_rng([seed, number, epoch])
        expected = rng.choice(200, size=30, replace=False).tolist()
        assert drawn(SEED=seed, SET=number, epoch=epoch) == expected
        assert (
            drawn(SEED=seed, SET=number, epoch=epoch, REDRAW=False)
            == np.random.default_rng([seed, number, 0]).choice(200, size=30, replace=False).tolist()
        )
        assert (expected == drawn()) == ((seed, number, epoch) == (3, 2, 0))


@pytest.mark.parametrize("oversample", [1, 2, 3])
def test_a_stem_is_its_original_or_one_of_its_copies_behind_it(oversample):
    data = data_of(3000, 6000)
    rows, indices = set_data.draw_mixtures(data, {**CONSTANTS, "OVERSAMPLE": oversample}, 0)
    steps = rows - data.mixtures["train"][indices]
    pairs, counts = np.unique(steps, axis=0, return_counts=True)
    # Both are originals, or neither is; copies are chosen for each stem by itself.
    both_shifted = [[a, b] for a in range(1, oversample) for b in range(1, oversample)]
    assert pairs.tolist() == [[0, 0], *both_shifted]
    shares = [1 / oversample] + [(1 - 1 / oversample) / len(both_shifted) for _ in both_shifted]
    np.testing.assert_allclose(counts / 3000, shares, atol=0.05)


def test_copies_are_of_the_same_pairs_whatever_their_number():
    """So that runs with more copies are compared on the same pairs of clips."""
    assert drawn(OVERSAMPLE=1) == drawn(OVERSAMPLE=2) == drawn(OVERSAMPLE=5)


@pytest.mark.parametrize("nb_epochs", [0, 1, 4])
@pytest.mark.parametrize("redraw", [True, False])
def test_drawn_by_the_first_epochs_or_by_none(nb_epochs, redraw):
    data = data_of(30, 200)
    seen = {i for epoch in range(nb_epochs) for i in drawn(data, epoch, REDRAW=redraw, SEED=4)}
    constants = {**CONSTANTS, "SEED": 4, "REDRAW": redraw}
    found, rest = set_data.split_by_drawn(data, constants, nb_epochs)
    assert found.tolist() == [[1000 + i, 1199 - i] for i in range(200) if i in seen]
    assert rest.tolist() == [[1000 + i, 1199 - i] for i in range(200) if i not in seen]
    assert len(found) == {0: 0, 1: 30}.get(nb_epochs if redraw else min(nb_epochs, 1), len(seen))


# ------------------------------------------------------------------------------------- names

CLASSES = ["bee", "ant", "dog", "cat"]  # that order, which is not the alphabet's, breaks ties


def best_by_hand(scores, count):
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    return "+".join(CLASSES[i] for i in sorted(order[:count]))


def test_the_best_labels_are_the_first_where_scores_are_equal():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, (300, 4)) / 4
    scores[:2] = [[0.5, 0.5, 0.5, 0.5], [0, 0.25, 0.5, 0.5]]
    counts = rng.integers(1, 3, 300)
    for count in (counts, 1, 2):
        each = np.broadcast_to(count, 300)
        expected = [best_by_hand(*pair) for pair in zip(scores, each, strict=True)]
        assert strategies.best_labels(scores, count, CLASSES).tolist() == expected


def test_the_first_of_many_equal_ones_is_taken_too():
    """A sort that is not stable takes another one, on some processors, from five or so on."""
    scores = np.random.default_rng(0).integers(0, 4, (300, 10)) / 4
    for row, found in zip(
        scores, strategies.best_labels(scores, 2, list("abcdefghij")), strict=True
    ):
        best = sorted(sorted(range(10), key=lambda i: (-row[i], i))[:2])
        assert found == "+".join("abcdefghij"[i] for i in best)


def test_two_names_are_given_where_the_second_score_exceeds_the_threshold():
    scores = np.array(
        [
            [0.1, 0.9, 0.8, 0.2],  # both above
            [0.9, 0.1, 0.2, 0.4],  # the threshold lies between best and second
            [0.0, 0.6, 0.1, 0.5],  # the second is the threshold itself
            [0.2, 0.1, 0.3, 0.4],  # both below
            [0.7, 0.7, 0.7, 0.7],
        ]
    )
    found = strategies.labels_over_threshold(scores, 0.5, CLASSES)
    assert found.tolist() == ["ant+dog", "bee", "ant", "cat", "bee+ant"]
    found = strategies.labels_over_threshold(scores, 0.3, CLASSES)
    assert found.tolist() == ["ant+dog", "bee+cat", "ant+cat", "cat", "bee+ant"]


def test_two_classes_have_a_second_too():
    scores = np.array([[0.9, 0.2], [0.6, 0.7]])
    assert strategies.labels_over_threshold(scores, 0.5, ["a", "b"]).tolist() == ["a", "a+b"]
