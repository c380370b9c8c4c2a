"""Figures as text: per cent, intervals, tables in markdown."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import crs_lib

SYNTHETIC_NOTE = "SYNTHETIC data."  # above every table of such


def markdown_table(head: Sequence, rows: Iterable[Sequence]) -> str:
    """A table in markdown. head: the names of its columns."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def write_table(path: Path, rows: list[list], note: str = "") -> str:
    """Write rows, the names of the columns first, as a markdown table below a note, if there is
    one, and return it.
    """
    head, *below = rows
    table = (f"{note}\n\n" if note else "") + markdown_table(head, below)
    with crs_lib.replaced_file(path) as part:
        part.write_text(table + "\n", encoding="utf-8")
    return table


def percent(figure: dict) -> list[str]:
    """The mean of a figure, as `metrics.with_intervals` has it, and its interval, in per cent."""
    return [in_percent(figure["mean"]), interval(figure["low"], figure["high"])]


def interval(low: float, high: float) -> str:
    """An interval in per cent."""
    return f"{in_percent(low)} to {in_percent(high)}"


def in_percent(value: float) -> str:
    """A share in per cent, with one decimal."""
    return f"{round(100 * value, 1) + 0.0:.1f}"  # zero has no sign: + 0.0 takes it away


def shift_rows(figures: dict[str, dict]) -> list[list[str]]:
    """What a joint network reaches under each shift, in per cent, the names of the columns first.

    figures: of metrics.shift_figures, as metrics.with_intervals has them.
    """
    columns = ("accuracy_balanced", "accuracy", "exact_pair", "exact_match_balanced")
    head = ["clips", "counter", "95 %", "single clips", "95 %", "exact pair", "95 %"]
    rows = [[*head, "exact match", "95 %"]]
    for shift in dict.fromkeys(name.rpartition(".")[0] for name in figures):
        cells = [cell for name in columns for cell in percent(figures[f"{shift}.{name}"])]
        rows.append([shift, *cells])
    return rows


def audit_rows(answers: dict[str, dict], sets: list[int]) -> list[list]:
    """The answers of an audit in per cent, the names of the columns first.

    answers: as `metrics.audit_answers` has them. sets: of several each has a column.
    """
    several = sets if len(sets) > 1 else []
    head = ["clips", "number", "counted as two, %", "95 %", "above single clips", "95 %"]
    rows = [[*head, *(f"set {number}" for number in several)]]
    for group, answer in answers.items():
        shares = answer["counted_as_two"]
        each = [f"{100 * share:.1f}" for share in shares["sets"] if several]
        row = [group, answer["clips"], *percent(shares), *percent(answer["above_alone"])]
        rows.append([*row, *each])
    return rows
