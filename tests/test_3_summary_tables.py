"""The tables of a summary: their rows, their figures in per cent and what is said above them."""

import pytest

from pipeline.evaluation import strategies, summary


def figure(mean, std=0.02, low=-0.01, high=0.01, sets=(0, 0)):
    """So many sets whose values lie apart from their mean."""
    ends = {"low": mean + low, "high": mean + high}
    return {"mean": mean, "std": std, **ends, "sets": [mean + of_set for of_set in sets]}


def test_rows_of_a_summary_are_of_the_figures_their_words_say():
    """Two sets: Student's t of one degree of freedom is 12.706, over the root of two."""
    names = [name for name, _ in summary.SUMMARY_ROWS]
    figures = {
        name: figure(number / 100, sets=(-0.003, 0.003)) for number, name in enumerate(names, 10)
    }
    of = {"sets": [2, 6], "sample_rate": 8000, "model": "m", "synthetic": True, "figures": figures}
    note, (head, *rows) = summary.summary_rows(of)
    said = "The choices of networks and constants saw the test clips of sets 6-10."
    assert note == f"SYNTHETIC data. {said} Test clips of set 2, 6, 8000 Hz, m."
    head_of_one = ["figure", "%", "95 % interval"]
    assert head == [*head_of_one, "over sets", "std", "set 2", "set 6"]
    reach = 12.7062 * 2 / 2**0.5
    for number, ((_, label), row) in enumerate(zip(summary.SUMMARY_ROWS, rows, strict=True), 10):
        over_sets = f"{number - reach:.1f} to {number + reach:.1f}"
        means = [f"{number}.0", f"{number - 1}.0 to {number + 1}.0"]
        each = ["2.0", f"{number - 0.3:.1f}", f"{number + 0.3:.1f}"]
        assert row == [label, *means, over_sets, *each]
    del figures[names[3]]
    note, (head, *fewer) = summary.summary_rows({**of, "sets": [5], "synthetic": False})
    assert note == "Test clips of set 5, 8000 Hz, m." and head == head_of_one
    assert fewer == [row[:3] for row in rows if row != rows[3]]


@pytest.mark.parametrize("sets", [(0.0,), (-0.01, 0.01)])
def test_rows_of_the_strategies_show_what_each_gains(sets):
    shown = ["with_counter", "no_counter", "ensemble_oracle_count"]
    figures = {"counter.accuracy_balanced": figure(0.5, sets=sets)}
    for number, strategy in enumerate(shown, 1):
        for kind, mean in (("single", 0.1), ("mixture", 0.3), ("balanced", 0.2)):
            figures[f"flow.{strategy}.exact_match_{kind}"] = figure(mean + number / 1000, sets=sets)
        if strategy != "no_counter":
            gain = figure(-number / 10, low=-0.05, high=0.02, sets=sets)
            figures[f"flow.gain.{strategy}_over_no_counter"] = gain
    head, *rows = summary.strategy_rows(figures)
    several = len(sets) > 1
    assert head == [
        *("strategy", "single clips", "mixtures", "macro average", "95 %"),
        *("over the baseline (points)", "95 %"),
        *(["95 % over sets"] if several else []),
    ]
    reach = 12.7062 * 2 / 2**0.5
    for number, (row, strategy) in enumerate(zip(rows, shown, strict=True), 1):
        shares = [f"{mean + number / 10:.1f}" for mean in (10, 30, 20)]
        interval = f"{19 + number / 10:.1f} to {21 + number / 10:.1f}"
        gain = [f"{-10.0 * number}", f"{-10.0 * number - 5} to {-10.0 * number + 2}"]
        over_sets = [f"{-10 * number - reach:.1f} to {-10 * number + reach:.1f}"][:several]
        gained = ["", "", *[""] * several] if strategy == "no_counter" else [*gain, *over_sets]
        assert row == [strategies.STRATEGIES[strategy], *shares, interval, *gained]


@pytest.mark.parametrize("sets", [[1], [5, 2], [6], [10, 1], [1, 10]])
def test_it_is_said_where_the_choices_saw_the_test_clips(sets):
    said = "The choices of networks and constants saw the test clips of sets 6-10."
    for synthetic, above in ((False, []), (True, ["SYNTHETIC data."])):
        note = " ".join([*above, *([said] if max(sets) >= 6 else [])])
        assert summary.reservations({"synthetic": synthetic, "sets": sets}) == note
