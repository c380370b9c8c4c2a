"""The tables of what is published: which figures they choose, and what they compute of them."""

import json
import re

import pandas as pd
import pytest
from conftest import load_script

import crs_lib
from pipeline.evaluation import strategies

FLOW = "flow.{}.exact_match_balanced"


@pytest.fixture
def tables(monkeypatch, tmp_path):
    """The script, of what is published in a folder of the test's own."""
    script = load_script("tools/tables.py")
    monkeypatch.setattr(script, "PUBLISHED", tmp_path)
    return script


def figure(mean, nb_sets=5):
    ends = {"low": mean - 0.04, "high": mean + 0.03}
    return {"mean": mean, "std": 0.01, **ends, "sets": [mean] * nb_sets}


def put_summary(folder, name, figures, nb_sets=5, **more):
    (folder / name).mkdir(exist_ok=True)
    written = {"figures": figures, "sets": list(range(1, nb_sets + 1)), "synthetic": False, **more}
    (folder / name / f"summary_{name}_{nb_sets}.json").write_text(json.dumps(written))


def put_trainings(folder, name, runs):
    """Finished runs: (seconds, threads, set, device, epochs), no epochs in a flow."""
    for number, (seconds, threads, of_set, device, nb_epochs) in enumerate(runs):
        record = {"format": 2, "seconds": seconds, "set": of_set, "machine": {"threads": threads}}
        record["machine"]["device"] = device
        (folder / name / str(number)).mkdir(parents=True)
        record |= {"history": [0] * nb_epochs} if nb_epochs is not None else {}
        (folder / name / str(number) / "run.json").write_text(json.dumps(record))
    return [folder / name / str(number) for number in range(len(runs))]


def test_minutes_are_of_one_core_and_of_one_set(tables, tmp_path):
    """Of a flow, a classifier that was taken over and an audit there is no training."""
    runs = [(600, 2, 1, "cpu", 3), (120, 1, 1, "cpu", 1), (60, 4, 2, "cpu", 9)]
    others = [(999, 2, 3, "cpu", 0), (999, 2, 4, "cuda", None)]
    folders = put_trainings(tmp_path, "4k", [*runs, *others])
    assert tables.core_minutes(folders) == (2 * 10 + 2 + 4) / 2
    gpu = put_trainings(tmp_path, "other", [(60, 1, 1, "cpu", 1), (60, 1, 1, "mps", 1)])
    with pytest.raises(crs_lib.InputError, match="other: a training ran on a GPU"):
        tables.core_minutes(gpu)


def test_aims_are_beside_what_was_reached_and_what_is_missing(tables, monkeypatch, tmp_path):
    """A configuration without ten sets and without an aim in minutes, timed on a CPU elsewhere."""
    monkeypatch.setattr(
        tables, "AIMS", {"a": ("A", 50, 62.5, 30, 41, 10), "b": ("B", 90, 80, 70, 60, None)}
    )
    names = ("counter.accuracy_balanced", "single.accuracy", "two_label.exact_pair")
    names = (*names, FLOW.format("with_counter"))
    assert tuple(tables.FIGURES) == names
    for word, label in zip(
        ("counter", "single", "two-label", "flow"), tables.FIGURES.values(), strict=True
    ):
        assert word in label
    for name, means in (("a", (0.45, 0.7, 0.2, 0.41)), ("b", (0.91, 0.7, 0.6567, 0.5))):
        figures = {key: figure(mean) for key, mean in zip(names, means, strict=True)}
        more = {key: figure(figures[key]["mean"] + 0.011) for key in names}
        put_summary(tmp_path, name, figures, runs=["0", "1"])
        if name == "a":
            put_summary(tmp_path, name, more, nb_sets=10)
    put_trainings(tmp_path, "a", [(1500, 1, 1, "cpu", 1), (900, 1, 1, "cpu", 1)])
    put_trainings(tmp_path, "b", [(60, 1, 1, "cuda", 1), (60, 1, 1, "cuda", 1)])
    put_trainings(
        tmp_path / "trials", "b_on_cpu", [(3600, 2, 1, "cpu", 1), (60, 2, 1, "cpu", None)]
    )
    head, _, *rows, note = [line for line in tables.aims().splitlines() if line]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in (head, *rows)]
    of_b = ["B: aim", "reached", "missing", "all ten sets \\*"]
    assert cells[0] == ["figure", "A: aim", *of_b[1:], *of_b]
    assert [row[1:] for row in cells[1:]] == [
        ["50", "45.0", "5.0", "46.1", "90", "91.0", "0.0", ""],
        ["62.5", "70.0", "0.0", "71.1", "80", "70.0", "10.0", ""],
        ["30", "20.0", "10.0", "21.1", "70", "65.7", "4.3", ""],
        ["41", "41.0", "0.0", "42.1", "60", "50.0", "10.0", ""],
        ["10", "20", "10", "", "", "60", "", ""],
    ]
    assert [row[0] for row in cells[1:]] == [*tables.FIGURES.values(), tables.MINUTES]
    assert note.startswith("\\* The choices of networks")


def test_the_best_and_the_worst_strategy_are_among_those_without_the_oracle_count(tables, tmp_path):
    means = dict.fromkeys(strategies.STRATEGIES, 0.5)
    means |= {"oracle_count": 0.9, "baseline_oracle_count": 0.05, "with_counter": 0.62}
    means |= {"joint_for_exact_match": 0.7, "no_counter": 0.1, "ensemble": 0.6}
    del means["joint"], means["ensemble_oracle_count"]  # a flow may lack some
    figures = {FLOW.format(strategy): figure(mean) for strategy, mean in means.items()}
    gains = {}
    for number, (better, worse) in enumerate(strategies.GAINS):
        gains[better, worse] = -0.3 + 0.011 * number
        figures[f"flow.gain.{better}_over_{worse}"] = figure(gains[better, worse])
    put_summary(tmp_path, "4k", figures)
    text = tables.answer("4k")

    def points(better, worse="no_counter"):
        gain, reach = 100 * gains[better, worse], 2.7764 / 5**0.5
        low, high, least, most = (f"{gain + off:.1f}" for off in (-4, 3, -reach, reach))
        return f"{gain:.1f} points ({low} to {high}; over sets {least} to {most})"

    best, worst = (
        strategies.STRATEGIES[strategy] for strategy in ("joint_for_exact_match", "no_counter")
    )
    gained = points("joint_for_exact_match")
    assert (
        f"the 7 strategies without the oracle count, the best is *{best}*, 70.0 (66.0 to " in text
    )
    assert (
        f"70.0 (66.0 to 73.0) % and {gained} over the baseline.\n- The worst is *{worst}*" in text
    )
    assert f"*{worst}*, 10.0 (6.0 to 13.0) %.\n- Of 100 answers" in text
    assert ", 10.0 have wrong labels even with the oracle count; counting costs 28.0" in text
    shown = re.findall(r"[-\d.]+ points \(.*?\)", text)
    assert shown == [
        gained,
        points("with_counter_for_exact_match"),
        points("oracle_count"),
        points("baseline_with_counter_for_exact_match"),
        points("baseline_oracle_count"),
        points("oracle_count", "baseline_oracle_count"),
        points("ensemble"),
        points("ensemble", "with_counter_for_exact_match"),
    ]


def test_what_is_confused_most_is_listed(tables, tmp_path):
    """Singles by their count; mixtures by their count and, in another order, by their names."""
    rows = [("b_x", 7, 0.4, 0.9, 0.1), ("c", 8, 0.2, 0.3, 0.2), ("d", 9, 0.9, 0.1, 0.3)]
    rows += [("e", 6, 0.3, 0.2, 0.126), ("f", 5, 0.8, 0.8, 0.5)]
    pairs = [("b_x+c", 0.7, 0.1), ("b_x+d", 0.6, 0.6), ("b_x+e", 0.5, 0.2), ("c+d", 0.4, 0.5)]
    pairs += [("c+e", 0.3, 0.3), ("d+e", 0.1, 0.7), ("d+f", 0.95, 0.4)]
    rows += [(pair, 60, counted, named, 0.05) for pair, counted, named in pairs]
    columns = ["truth", "clips", "counted_right", "oracle_exact_match", "exact_match"]
    (tmp_path / "4k").mkdir()
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "4k/summary_4k_5_pairs.csv", index=False)
    put_summary(tmp_path, "4k", {})
    head, _, *lines = tables.confused("4k").strip().splitlines()
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[:2] for row in found] == [
        *(["counting single clips", names] for names in ("c", "e", "b x")),
        *(["counting mixtures", names] for names in ("d, e", "c, e", "c, d", "b x, e", "b x, d")),
        *(
            ["classifying mixtures", names]
            for names in ("b x, c", "b x, e", "c, e", "d, f", "c, d")
        ),
    ]
    assert found[1][2:] == ["6", "30", "20", "13"] and found[3][2:] == ["60", "10", "70", "5"]
    wanted = ["clips", "counted right", "exact match, oracle count", "exact match"]
    assert [cell.strip() for cell in head.strip("|").split("|")][2:] == wanted


def test_all_ten_sets_are_beside_the_first_five(tables, tmp_path):
    names = ("counter.accuracy_balanced", "single.accuracy")
    about = {"sample_rate": 4000, "model": "asc-isocc"}
    for nb_sets, more in ((5, 0), (10, 0.2)):
        figures = {n: figure(0.1 * i + more, nb_sets) for i, n in enumerate(names, 3)}
        put_summary(tmp_path, "4k", figures, nb_sets, **about)
    of_what, _, head, _, *lines = tables.beside("4k").strip().splitlines()
    said = "The choices of networks and constants saw the test clips of sets 6-10."
    sets = ", ".join(str(number) for number in range(1, 11))
    assert of_what == f"{said} Test clips of set {sets}, 4000 Hz, asc-isocc."
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in (head, *lines)]
    intervals = ["95 % interval", "over sets"]
    assert rows[0] == ["figure", "sets 1 to 5", *intervals, "all ten", *intervals]
    # Student's t of four and of nine degrees of freedom, over the roots of five and of ten.
    assert [row[1:] for row in rows[1:]] == [
        [
            *(
                f"{mean}.0",
                f"{mean - 4}.0 to {mean + 3}.0",
                f"{mean - 1.2:.1f} to {mean + 1.2:.1f}",
            ),
            *(f"{mean + 20}.0", f"{mean + 16}.0 to {mean + 23}.0"),
            f"{mean + 20 - 0.7:.1f} to {mean + 20 + 0.7:.1f}",
        ]
        for mean in (30, 40)
    ]


def test_every_configuration_has_its_pages(tables, monkeypatch, tmp_path):
    for page in ("answer", "confused", "beside"):
        monkeypatch.setattr(tables, page, lambda name, page=page: f"{page} of {name}")
    for page in ("aims", "headline", "answer_in_short"):
        monkeypatch.setattr(tables, page, lambda page=page: page)
    first, second = tables.AIMS
    put_summary(tmp_path, second, {}, 10)
    found = {path.relative_to(tmp_path).as_posix(): text for path, text in tables.pages().items()}
    assert found == {
        "aims.md": "aims",
        "headline.md": "headline",
        "answer.md": "answer_in_short",
        **{f"answer_{name}.md": f"answer of {name}" for name in (first, second, tables.ALIKE)},
        **{f"confused_{name}.md": f"confused of {name}" for name in (first, second)},
        f"sets_{second}.md": f"beside of {second}",
    }


def test_the_headline_is_the_main_figures_of_both_configurations(tables, tmp_path):
    numbers = {name: i / 10 for i, name in enumerate(tables.summary.HEADLINE)}
    for off, name in ((0.01, "4k"), (0.02, "logmel-logmel_16k")):
        figures = {figure_name: figure(mean + off) for figure_name, mean in numbers.items()}
        put_summary(tmp_path, name, {**figures, "flow.joint.exact_match_balanced": figure(0.9)})
    head, rule, *rows = tables.headline().splitlines()
    assert head == "| % (95 % interval) | the study's networks, 4 kHz | log-mel network, 16 kHz |"
    labels = dict(tables.summary.SUMMARY_ROWS)
    for row, (name, mean) in zip(rows, numbers.items(), strict=True):
        cells = [f"{100 * (mean + off):.1f} ({100 * (mean + off) - 4:.1f} to "
                 f"{100 * (mean + off) + 3:.1f})" for off in (0.01, 0.02)]  # fmt: skip
        assert row == f"| {labels[name]} | {' | '.join(cells)} |"
    assert set(rule) == set("| -")


def test_the_answer_in_short_quotes_each_gain_of_sets_1_to_5(tables, tmp_path):
    columns = ("oracle_count", "baseline_oracle_count", "with_counter_for_exact_match", "ensemble")
    means = {"4k": (0.1, 0.2, 0.01, 0.05), "logmel-logmel_16k": (0.12, 0.3, -0.01, -0.2)}

    def put(**changed):
        for name, of_columns in means.items():
            gains = {**dict(zip(columns, of_columns, strict=True)), **changed}
            figures = {f"flow.gain.{c}_over_no_counter": figure(mean) for c, mean in gains.items()}
            put_summary(tmp_path, name, figures)

    put()
    text = tables.answer_in_short()
    assert re.findall(r"[-\d.]+ points \(.*?\)", text) == [
        f"{100 * mean:.1f} points ({100 * mean - 4:.1f} to {100 * mean + 3:.1f})"
        for of_column in zip(*means.values(), strict=True)
        for mean in of_column
    ]
    assert text.count(". ") == 2 and text.endswith(".\n")  # three sentences
    for changed in (
        {"oracle_count": 0.03},
        {"baseline_oracle_count": 0.0},
        {"with_counter_for_exact_match": 0.05},
        {"with_counter_for_exact_match": -0.04},
    ):
        put(**changed)
        with pytest.raises(crs_lib.InputError, match="its words do not fit"):
            tables.answer_in_short()
