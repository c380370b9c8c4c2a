"""From windows to spans, at the borders: votes, beginnings and ends, means, their order."""

import numpy as np
import pytest

from pipeline.inference import timeline
from pipeline.inference.timeline import Span


@pytest.mark.parametrize("window_seconds", [1, 3, 5])
def test_a_second_lies_in_the_windows_that_hold_it(window_seconds):
    for nb_windows in range(1, 9):
        first, behind = timeline.around(nb_windows, window_seconds)
        assert len(first) == len(behind) == nb_windows + window_seconds - 1
        for second, found in enumerate(zip(first, behind, strict=True)):
            holding = [w for w in range(nb_windows) if w <= second < w + window_seconds]
            assert found == (holding[0], holding[-1] + 1)


@pytest.mark.parametrize(("nb_windows", "window_seconds"), [(1, 5), (2, 5), (7, 3), (3, 1)])
def test_means_around_against_a_slow_mean(nb_windows, window_seconds):
    values = np.random.default_rng(0).random((nb_windows, 4)).astype(np.float32)
    found = timeline.means_around(values, window_seconds)
    assert found.shape == (nb_windows + window_seconds - 1, 4) and found.dtype == np.float64
    for second, row in enumerate(found):
        holding = [v for w, v in enumerate(values) if w <= second < w + window_seconds]
        np.testing.assert_allclose(row, np.mean(holding, axis=0), rtol=1e-6)


def test_means_of_a_day_lose_nothing_to_rounding():
    """Sums in single precision would be off by hundredths after so many windows."""
    values = np.full((86_400, 1), 0.7, dtype=np.float32)
    np.testing.assert_allclose(timeline.means_around(values, 5), np.float32(0.7), rtol=1e-9)


@pytest.mark.parametrize("votes", range(1, 6))
def test_four_of_five_windows_agree_and_fewer_do_not(votes):
    """Beside a class that the middle window alone names, so that both rules can be told apart."""
    named = np.zeros((9, 2), dtype=bool)
    named[[5, 4, 8, 7, 6][5 - votes :], 0] = True  # of the windows around second 8: 4 to 8
    named[6, 1] = True  # which has second 8 in the middle
    found = timeline.classes_of_seconds(named, np.zeros((9, 5), dtype=bool))
    assert found[8].tolist() == ([True, False] if votes >= 4 else [True, True])


@pytest.mark.parametrize("nb_windows", [1, 2, 3, 4])
def test_where_few_windows_are_all_must_agree(nb_windows):
    """In the second in which all windows of so short a recording lie: three of four are too few.

    The window that has it in its middle is the last to name the first class.
    """
    middle = min(2, nb_windows - 1)
    order = [window for window in range(nb_windows) if window != middle] + [middle]
    for votes in range(nb_windows + 1):
        named = np.zeros((nb_windows, 2), dtype=bool)
        named[order[:votes], 0] = True
        named[order[votes:], 1] = True
        found = timeline.classes_of_seconds(named, np.zeros((nb_windows, 5), dtype=bool))
        assert found[4].tolist() == ([True, False] if votes == nb_windows else [False, True])


def test_where_none_agree_the_window_counts_that_has_the_second_in_its_middle():
    """Each window names a class of its own; at both ends it is the nearest window's."""
    found = timeline.classes_of_seconds(np.eye(8, dtype=bool), np.zeros((8, 5), dtype=bool))
    # Second 0 lies in one window, which so agrees with itself; so does the last.
    assert [row.nonzero()[0].tolist() for row in found] == [
        [c] for c in (0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 7, 7)
    ]
    even = timeline.classes_of_seconds(np.eye(4, dtype=bool), np.zeros((4, 2), dtype=bool))
    assert even.argmax(axis=1).tolist() == [0, 0, 1, 2, 3]  # the later half: second // 2


def test_a_silent_second_holds_nothing_whoever_names_it():
    silent = np.zeros((3, 5), dtype=bool)
    for second in (0, 3, 6):
        for window in range(3):
            if 0 <= second - window < 5:
                silent[window, second - window] = True
    found = timeline.classes_of_seconds(np.ones((3, 2), dtype=bool), silent)
    assert found.tolist() == [[s not in (0, 3, 6)] * 2 for s in range(7)]


def test_runs_are_what_lies_together():
    assert timeline.runs(np.array([1, 1, 0, 1, 0, 0, 1, 1, 1], bool)) == [[0, 2], [3, 4], [6, 9]]
    assert timeline.runs(np.array([0, 1, 1, 0], bool)) == [[1, 3]]
    assert timeline.runs(np.zeros(3, bool)) == [] and timeline.runs(np.ones(1, bool)) == [[0, 1]]


def test_a_class_that_comes_again_has_the_mean_score_of_each_time():
    """Windows of one second, so that a second's score is its window's."""
    named = np.array([[1, 0], [1, 1], [0, 1], [0, 0], [1, 0]], dtype=bool)
    scores = np.array([[0.9, 0.1], [0.5, 0.4], [0.2, 0.8], [0.3, 0.6], [0.75, 0.25]])
    found = timeline.spans(named, scores, ~named.any(axis=1)[:, None], 4.25, ["b", "a"])
    expected = [
        Span(0, 2, "b", pytest.approx(0.7)),
        Span(1, 3, "a", pytest.approx(0.6)),
        Span(3, 4, None, None),
        Span(4, 4.25, "b", pytest.approx(0.75)),
    ]
    assert found == expected
    assert {type(span.score) for span in found} == {float, type(None)}  # as JSON has them


@pytest.mark.parametrize("seconds", [0.0625, 0.5, 1.0, 2.0, 2.01, 4.999, 5.0])
def test_a_short_recording_ends_where_it_ends(seconds):
    """Its one window reaches further: what is padded is no part of a span, nor of its score."""
    named, scores = np.array([[True, False]]), np.array([[0.8, 0.2]])
    silent = np.array([[False, False, True, True, True]])
    found = timeline.spans(named, scores, silent, seconds, ["a", "b"])
    expected = [Span(0, min(2, seconds), "a", 0.8)]
    if seconds > 2:
        expected.append(Span(2, seconds, None, None))
    assert found == expected


def test_spans_go_by_their_start_then_their_end_then_their_name():
    sounding = {"z": (1, 2), "y": (0, 2), "x": (0, 2), "w": (0, 4), "b": (2, 4), "a": (3, 4)}
    named = np.array([[s <= second < e for s, e in sounding.values()] for second in range(4)])
    found = timeline.spans(named, named * 0.5, np.zeros((4, 1), bool), 4.0, [*sounding])
    assert "".join(span.name for span in found) == "xywzba"
    assert all(span[:2] == sounding[span.name] for span in found)


def test_silence_at_the_end_is_cut_where_the_recording_ends():
    """Of 12.3 s the last window ends at 13: its last second counts to 12.3."""
    named = np.zeros((9, 1), dtype=bool)
    named[:2] = True
    silent = np.ones((9, 5), dtype=bool)
    silent[0, :3], silent[1, :2], silent[2, :1] = False, False, False
    found = timeline.spans(named, named * 0.5, silent, 12.3, ["a"])
    # Second 2 lies in window 2 as well, which is silent elsewhere and names nothing: two of three,
    # so that the middle window tells, the first.
    # The score is the mean of the seconds' means: 0.5, 0.5 and a third.
    assert found == [Span(0, 3, "a", pytest.approx(4 / 9)), Span(3, 12.3, None, None)]
