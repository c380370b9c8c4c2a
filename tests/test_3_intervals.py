"""Intervals over recordings and over sets, and the answers of an audit, by plain loops."""

import math

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation import metrics

NAN = math.nan
# As text "10" sorts before "9"; "7" is only ever second; of "9+9" both are of one recording.
FIRST = ["9", "10", "400", "31", "8", "77", "12", "100", "5", "64"]


def rows_of(recordings, **columns):
    return pd.DataFrame(recordings, columns=["recording_a", "recording_b"]).assign(**columns)


def counted(singles, nb_mixtures, seed):
    """Clips of these recordings and of random pairs; the counter is right of two in three."""
    rng = np.random.default_rng(seed)
    pairs = [*rng.choice(FIRST, (nb_mixtures, 2)).tolist(), ("9", "7"), ("10", "9"), ("9", "9")]
    table = rows_of([*((name, "") for name in singles), *pairs])
    right = rng.random(len(table)) < 2 / 3
    return table.assign(count=np.where(right == (table["recording_b"] == ""), 1, 2))


COUNTED = [counted(FIRST, 17, 1), counted(["400", "31"], 9, 2)]


def draws_over(tables, nb_draws=1000, seed=0):
    """How often each recording is drawn, draw after draw. That numpy's generator of this seed is
    asked once, for the sorted recordings of all tables, is the protocol of published intervals.
    """
    recordings = sorted({name for t in tables for name in [*t["recording_a"], *t["recording_b"]]})
    recordings.remove("")
    chances = [1 / len(recordings)] * len(recordings)
    drawn = np.random.default_rng(seed).multinomial(len(recordings), chances, size=nb_draws)
    return [dict(zip(recordings, counts, strict=True)) for counts in drawn.tolist()]


def times(draw, row):
    """How often a clip counts in a draw."""
    a, b = row["recording_a"], row["recording_b"]
    return draw[a] * (draw[b] if b not in ("", a) else 1)


def share(flags, counts):
    """The share of clips that are right, each counting so often."""
    total = sum(counts)
    return sum(n for flag, n in zip(flags, counts, strict=True) if flag) / total if total else NAN


def balanced(rows, draw):
    shares = []
    for count in (1, 2):
        those = [row for row in rows if (row["recording_b"] != "") == (count == 2)]
        right = [row["count"] == count for row in those]
        shares.append(share(right, [times(draw, row) for row in those]))
    return (shares[0] + shares[1]) / 2


def middle_95(values):
    """Ends that leave 2.5 % of the sorted values out on either side, in proportion between two."""
    values = sorted(value for value in values if not math.isnan(value))
    ends = []
    for part in (0.025, 0.975):
        place = part * (len(values) - 1)
        below = math.floor(place)
        ends.append(values[below] + (place - below) * (values[below + 1] - values[below]))
    return ends


@pytest.mark.parametrize("seed", [0, 3, 4])
def test_every_weight_is_that_of_a_loop_over_clips(seed):
    got = list(metrics.draw_weights(COUNTED, nb_draws=40, seed=seed))
    draws = draws_over(COUNTED, 40, seed)
    for weights, table in zip(got, COUNTED, strict=True):
        expected = [[times(draw, row) for row in table.to_dict("records")] for draw in draws]
        np.testing.assert_array_equal(weights, expected)


def test_intervals_are_of_a_thousand_draws_of_seed_zero():
    (got,) = metrics.draw_weights(COUNTED[:1])
    expected = [
        [times(d, r) for r in COUNTED[0].to_dict("records")] for d in draws_over(COUNTED[:1])
    ]
    np.testing.assert_array_equal(got, expected)
    assert got.shape == (1000, 30)


@pytest.mark.parametrize("tables", [COUNTED, COUNTED[1:]])
def test_mean_std_and_interval_are_those_of_a_slow_bootstrap(tables):
    figure = metrics.with_intervals(metrics.counter_figures, tables)["accuracy_balanced"]
    once = dict.fromkeys(draws_over(tables)[0], 1)
    rows = [table.to_dict("records") for table in tables]
    values = [balanced(of_set, once) for of_set in rows]
    assert figure["sets"] == pytest.approx(values)
    assert figure["mean"] == pytest.approx(sum(values) / len(values))
    squares = sum((value - figure["mean"]) ** 2 for value in values)
    spread = math.sqrt(squares / (len(values) - 1)) if len(values) > 1 else 0
    assert figure["std"] == pytest.approx(spread)
    # The mean over the sets, draw by draw; a draw that leaves a set without a kind is left out.
    drawn = [sum(balanced(r, d) for r in rows) / len(rows) for d in draws_over(tables)]
    assert 0 < sum(map(math.isnan, drawn)) < 300
    assert [figure["low"], figure["high"]] == pytest.approx(middle_95(drawn))
    assert all(type(figure[key]) is float for key in ("mean", "std", "low", "high"))


def test_every_figure_has_its_own_interval():
    found = metrics.with_intervals(metrics.counter_figures, COUNTED)
    assert list(found) == [f"accuracy_{kind}" for kind in ("single", "mixture", "balanced")]
    for kind, name in enumerate(("accuracy_single", "accuracy_mixture"), 1):
        for table, value in zip(COUNTED, found[name]["sets"], strict=True):
            those = table[(table["recording_b"] != "") == (kind == 2)]
            assert value == pytest.approx((those["count"] == kind).sum() / len(those))
    assert len({(found[name]["low"], found[name]["high"]) for name in found}) == 3


def test_a_share_of_no_clips_is_none():
    weights = np.array([[1.0, 1, 2], [0, 0, 0], [0, 3, 0]])
    got = metrics.weighted_mean(np.array([1.0, 0, 0.5]), weights)
    np.testing.assert_array_equal(got, [0.5, NAN, 0])


@pytest.mark.parametrize(("nb_sets", "quantile"), [(2, 12.7062), (5, 2.7764), (10, 2.2622)])
def test_the_reach_over_sets_is_that_of_printed_tables(nb_sets, quantile):
    low, high = metrics.over_sets({"mean": 0.4, "std": 0.05, "sets": [0.4] * nb_sets})
    reach = quantile * 0.05 / nb_sets**0.5
    assert (low, high) == pytest.approx((0.4 - reach, 0.4 + reach), abs=1e-5)


# ---------------------------------------------------------------------------------- the audit


def audited(first, counts, **more):
    """Of one set: single clips first, though another group's name sorts before theirs."""
    groups = {
        "the clips alone": (NAN, [(str(first + i), "") for i in range(5)]),
        "also a group": (NAN, [("70", ""), (str(first), str(first + 1)), ("71", "72")]),
        "0 dB": (0.0, [(str(first + 1), "70"), ("72", str(first))]),
        "6 dB": (6.0, [("70", str(first + 4)), (str(first + 3), "71"), ("71", "70")]),
        **more,
    }
    tables = [
        rows_of(pairs, group=group, softer_db=softer_db, count=counts[group])
        for group, (softer_db, pairs) in groups.items()
    ]
    return pd.concat(tables, ignore_index=True)


COUNTS = [
    {
        "the clips alone": [1, 2, 1, 1, 1],
        "also a group": [2, 2, 1],
        "0 dB": [2, 1],
        "6 dB": [1, 1, 2],
    },
    {
        "the clips alone": [2, 2, 1, 1, 1],
        "also a group": [2, 2, 2],
        "0 dB": [2, 2],
        "6 dB": [1, 1, 1],
        "of one set": [2, 2],
    },
]
AUDITS = [
    audited(10, COUNTS[0]),
    audited(50, COUNTS[1], **{"of one set": (NAN, [("98", ""), ("99", "")])}),
]


def as_two(rows, group, draw):
    rows = [row for row in rows if row["group"] == group]
    return share([row["count"] == 2 for row in rows], [times(draw, row) for row in rows])


def test_an_audits_answers_are_those_of_a_slow_bootstrap():
    answers = metrics.audit_answers(AUDITS)
    assert list(answers) == ["the clips alone", "also a group", "0 dB", "6 dB"]
    assert [answer["clips"] for answer in answers.values()] == [10, 6, 4, 6]
    assert [answer.get("softer_db") for answer in answers.values()] == [None, None, 0, 6]
    # What only one set has takes no part in the draws.
    shared = [table[table["group"] != "of one set"] for table in AUDITS]
    draws, rows = draws_over(shared), [table.to_dict("records") for table in shared]
    once = dict.fromkeys(draws[0], 1)
    alone = [
        [as_two(of_set, "the clips alone", draw) for of_set in rows] for draw in (once, *draws)
    ]
    for group, answer in answers.items():
        two = [[as_two(of_set, group, draw) for of_set in rows] for draw in (once, *draws)]
        above = (np.array(two) - alone).tolist()
        for name, of_draws in (("counted_as_two", two), ("above_alone", above)):
            assert answer[name]["sets"] == pytest.approx(of_draws[0])
            expected = middle_95(sum(of_sets) / 2 for of_sets in of_draws[1:])
            assert [answer[name]["low"], answer[name]["high"]] == pytest.approx(expected)


def test_an_audit_of_one_set_keeps_its_groups():
    answers = metrics.audit_answers(AUDITS[1:])
    assert list(answers)[-1] == "of one set" and answers["of one set"]["clips"] == 2
    assert answers["the clips alone"]["counted_as_two"]["mean"] == pytest.approx(0.4)
    assert answers["also a group"]["above_alone"]["mean"] == pytest.approx(0.6)
    assert answers["6 dB"]["above_alone"]["mean"] == pytest.approx(-0.4)
