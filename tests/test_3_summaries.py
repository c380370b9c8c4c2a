"""The summary over sets: which runs it is of, its figures, and the tables that are made of it."""

import csv
import json
import os

import numpy as np
import pandas as pd
import pytest

import crs_lib
from pipeline.evaluation import markdown, metrics, run_records, strategies, summary

FLOWS = [f"{crs_lib.FLOW}_asc-isocc_set{number}_4k" for number in (3, 1)]
TASKS = {  # task -> script and network
    "counter": (crs_lib.COUNTER, "asc"),
    "single": (crs_lib.SINGLE, "isocc"),
    "two_label": (crs_lib.TWO_LABEL, "isocc"),
    "both": (crs_lib.TWO_LABEL, "isocc_both"),
}
SEEDS = {"counter": 1, "single": 2, "two_label": 3, "both": 4, "flow": 5, "older": 6}


def predicted(number, seed):
    """Answers to the clips of a set as a run of any script may hold them, right by chance."""
    rng = np.random.default_rng([number, seed])
    singles, pairs = ["a", "b", "c"] * 3, ["a+b", "a+c", "b+c"] * 4
    truth = np.array(singles + pairs)
    table = pd.DataFrame(
        {
            "clip": [f"{i}.wav" for i in range(len(truth))],
            "recording_a": rng.permutation(len(truth)) % 15 + 100 * number,
            "recording_b": [*[""] * len(singles), *(str(100 * number + i) for i in range(12))],
            "truth": truth,
            "count": rng.integers(1, 3, len(truth)),
            "shortcut_count": rng.integers(1, 3, len(truth)),
            "pair": rng.permutation(truth),
            **{f"score_{name}": rng.random(len(truth)) for name in "abc"},
        }
    )
    right = rng.random((1 + len(strategies.STRATEGIES), len(truth))) < rng.random((13, 1))
    for name, of_way in zip(["labels", *strategies.STRATEGIES], right, strict=True):
        table[name] = np.where(of_way, truth, "d")
    return table


def put_run(results, folder, number, script, model, table, written, **more):
    """A finished run by hand, last written at a time of so many seconds."""
    record = {
        "format": 2,
        "script": script,
        "model": model,
        "set": number,
        "sample_rate": 4000,
        "synthetic": False,
        "constants": {"SET": number, "SEED": 0},
        "data": {"esc10_rename_4k": {"constants": {}}},
        "commit": f"c{number}",
        "method": 2,
        **more,
    }
    (results / folder).mkdir(parents=True)
    if table is not None:
        table.to_csv(results / folder / run_records.PREDICTIONS, index=False)
    (results / folder / run_records.RECORD).write_text(json.dumps(record))
    os.utime(results / folder / run_records.RECORD, (written, written))
    return folder


def put_set(results, number):
    used = {}
    for task, (script, model) in TASKS.items():
        name = f"2_{script}_{model}_set{number}_4k"
        table = predicted(number, SEEDS[task])
        if task == "single":
            table = table[table["recording_b"] == ""]
        used[task] = put_run(results, name, number, script, model, table, 50)
    flow = (number, crs_lib.FLOW, "asc-isocc")
    name = f"{crs_lib.FLOW}_asc-isocc_set{number}_4k"
    put_run(results, f"1_{name}", *flow, predicted(number, 5), 100, trained_in=used)
    # An older one whose name is newer, and a newer one that did not finish.
    put_run(results, f"9_{name}", *flow, predicted(number, 6), 90, trained_in={})
    (results / f"99_{name}").mkdir()
    return used["counter"]


def put_audit(results, name, number, counter, two_of, written, **more):
    """An audit of single clips and of mixtures with a softer stem, so many counted as two."""
    put_run(results, name, number, crs_lib.AUDIT, "asc", None, written, audited=counter, **more)
    groups = [("alone", np.nan), ("softer", 6.0)]
    tables = [
        pd.DataFrame(
            {
                "group": group,
                "softer_db": softer_db,
                "recording_a": [str(10 * number + i) for i in range(5)],
                "recording_b": "",
                "count": [2] * nb_two + [1] * (5 - nb_two),
            }
        )
        for (group, softer_db), nb_two in zip(groups, two_of, strict=True)
    ]
    run_records.write_packed(results / name / run_records.ANSWERS, pd.concat(tables))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of runs of sets 3 and 1, the summary of both and where it was written."""
    results = tmp_path_factory.mktemp("summaries")
    counters = [put_set(results, number) for number in (3, 1)]
    put_audit(results, "1_audit_asc_set3_4k", 3, counters[0], (1, 3), 200)
    put_audit(results, "2_audit_asc_set3_4k", 3, counters[0], (5, 5), 150)
    put_audit(results, "1_audit_asc_set1_4k", 1, counters[1], (2, 2), 160)
    path = results / "out" / "summary_4k_2.json"
    return results, summary.summarise(results, FLOWS, path), path


def test_every_figure_is_of_the_run_of_its_task(made):
    _, found, path = made
    assert json.loads(path.read_text()) == found
    figures = found["figures"]
    expected = {}
    for task, of_task in (
        ("counter", metrics.counter_figures),
        ("single", metrics.single_figures),
        ("two_label", metrics.two_label_figures),
        ("flow", strategies.flow_figures),
    ):
        tables = [predicted(number, SEEDS[task]).astype({"recording_a": str}) for number in (3, 1)]
        if task == "single":
            tables = [table[table["recording_b"] == ""] for table in tables]
        for name, figure in metrics.with_intervals(of_task, tables).items():
            place = "audit" if name == "shortcut_balanced" else task
            expected[f"{place}.{name}"] = figure
    assert set(figures) == set(expected)
    for name, figure in expected.items():
        assert {**figures[name], "sets": 0} == pytest.approx({**figure, "sets": 0}), name
        assert figures[name]["sets"] == pytest.approx(figure["sets"]), name
    assert (
        "flow.gain.ensemble_over_with_counter_for_exact_match" in figures
        and "audit.shortcut_balanced" in figures
    )
    # By hand: of twelve mixtures and nine single clips of set 3.
    table = predicted(3, SEEDS["counter"])
    right = table["count"] == np.where(table["recording_b"] == "", 1, 2)
    value = (right[:9].sum() / 9 + right[9:].sum() / 12) / 2
    assert figures["counter.accuracy_balanced"]["sets"][0] == pytest.approx(value)


def test_a_summary_says_what_it_is_of(made):
    _, found, _ = made
    about = {key: found[key] for key in ("sets", "sample_rate", "model", "synthetic", "flows")}
    assert about == {
        "sets": [3, 1],
        "sample_rate": 4000,
        "model": "asc-isocc",
        "synthetic": False,
        "flows": [f"1_{name}" for name in FLOWS],
    }
    assert found["singles"] == [f"2_{crs_lib.SINGLE}_isocc_set{n}_4k" for n in (3, 1)]
    assert found["runs"] == [
        *(
            name
            for n, flow in zip((3, 1), FLOWS, strict=True)
            for name in (*(f"2_{s}_{m}_set{n}_4k" for s, m in TASKS.values()), f"1_{flow}")
        ),
        "1_audit_asc_set3_4k",
        "1_audit_asc_set1_4k",
    ]
    shares = {group: answer["counted_as_two"]["sets"] for group, answer in found["audit"].items()}
    assert shares == {"alone": [0.2, 0.4], "softer": [0.6, 0.4]}


def test_the_tables_beside_a_summary_show_its_figures(made):
    _, found, path = made
    with open(path.with_suffix(".csv")) as file:
        head, *rows = csv.reader(file)
    assert head == ["figure", "mean", "std", "low", "high", "set3", "set1", "synthetic"]
    assert [row[0] for row in rows] == list(found["figures"])
    for (_, *values, synthetic), figure in zip(rows, found["figures"].values(), strict=True):
        expected = [figure[key] for key in ("mean", "std", "low", "high")] + figure["sets"]
        assert list(map(float, values)) == expected and synthetic == "False"
    pairs = pd.read_csv(path.with_name("summary_4k_2_pairs.csv"))
    both = pd.concat([predicted(3, 5), predicted(1, 5)])
    assert list(pairs) == [
        "truth", "clips", "counted_right", "oracle_exact_match", "exact_match", "synthetic"
    ]  # fmt: skip
    for row in pairs.itertuples():
        clips = both[both["truth"] == row.truth]
        exact = (clips["with_counter"] == row.truth).mean()
        assert (row.clips, row.exact_match) == (len(clips), pytest.approx(exact, abs=5e-5))
    assert len(pairs) == 6 and not pairs["synthetic"].any()
    note, (head, *rows) = summary.summary_rows(found)
    table = f"{note}\n\n{markdown.markdown_table(head, rows)}\n"
    assert path.with_suffix(".md").read_text() == table
    for kind, (head, *rows) in (
        ("strategies", summary.strategy_rows(found["figures"])),
        ("audit", markdown.audit_rows(found["audit"], [3, 1])),
    ):
        text = path.with_name(f"summary_4k_2_{kind}.md").read_text()
        assert text == markdown.markdown_table(head, rows) + "\n"


def test_a_summary_without_audits_leaves_no_older_ones_table(made, tmp_path):
    """One set's counter has none; a set of synthetic data makes all of it synthetic."""
    put_audit(tmp_path, "1_audit_asc_set1_4k", 1, put_set(tmp_path, 1), (2, 2), 160)
    put_set(tmp_path, 3)
    path = tmp_path / f"1_{FLOWS[1]}" / run_records.RECORD
    path.write_text(json.dumps({**json.loads(path.read_text()), "synthetic": True}))
    path = tmp_path / "s_2.json"
    for ending in ("md", "png"):
        (tmp_path / f"s_2_audit.{ending}").touch()
    found = summary.summarise(tmp_path, FLOWS, path)
    assert found["audit"] == {} and not list(tmp_path.glob("s_2_audit*"))
    assert found["synthetic"] and pd.read_csv(tmp_path / "s_2_pairs.csv")["synthetic"].all()
    for kind in ("", "_strategies"):
        assert (tmp_path / f"s_2{kind}.md").read_text().startswith("SYNTHETIC data.")
    assert ",True" in (tmp_path / "s_2.csv").read_text()
    alone = summary.summarise(tmp_path, FLOWS[1:], path)
    assert alone["audit"]["softer"]["counted_as_two"]["mean"] == 0.4 and alone["sets"] == [1]
    assert (tmp_path / "s_2_audit.md").read_text().startswith("SYNTHETIC data.\n\n| clips |")


@pytest.mark.parametrize("kind", ["single_volnorm", "isocc_both", "audit", "overall_flow"])
def test_no_summary_is_of_runs_of_other_constants(tmp_path, kind):
    """Of trainings, audits and flows of one script and network alike."""
    for number in (3, 1):
        put_audit(
            tmp_path, f"1_audit_asc_set{number}_4k", number, put_set(tmp_path, number), (1, 2), 9
        )
    (path,) = tmp_path.glob(f"[12]_*{kind}*set1_4k/run.json")
    record = json.loads(path.read_text())
    record["constants"]["SEED"] = 9
    path.write_text(json.dumps(record))
    os.utime(path, (100, 100))
    with pytest.raises(crs_lib.InputError, match="its SEED is 9, not 0"):
        summary.summarise(tmp_path, FLOWS, tmp_path / "s.json")
    assert not (tmp_path / "s.json").exists()


def test_the_first_set_without_a_flow_is_named(made):
    results, _, path = made
    names = [FLOWS[0], "overall_flow_x", "overall_flow_y"]
    with pytest.raises(crs_lib.InputError, match="no finished run overall_flow_x: run"):
        summary.summarise(results, names, path)


def test_the_newest_audit_of_each_counter_is_found_or_none(made, tmp_path):
    put_audit(tmp_path, "1_audit_x", 1, "first", (1, 1), 300)
    for older in "023567":
        put_audit(tmp_path, f"{older}_audit_y", 1, "first", (1, 1), 200)
    put_run(
        tmp_path, "3_audit_x", 1, crs_lib.AUDIT, "asc", None, 400, audited="first"
    )  # no answers
    put_audit(tmp_path, "4_audit_x", 1, "second", (1, 1), 100)
    first, second = tmp_path / "1_audit_x", tmp_path / "4_audit_x"
    assert summary.find_audits(tmp_path, ["second", "first"]) == [second, first]
    assert summary.find_audits(tmp_path, ["first"]) == [first]
    assert summary.find_audits(tmp_path, ["first", "third"]) == []


@pytest.mark.parametrize(
    ("script", "change", "differing"),
    [
        (crs_lib.SINGLE, {"constants": {"SET": 1, "SEED": 3}}, "SEED is 3, not 0"),
        (crs_lib.SINGLE, {"constants": {"SET": 1}}, "SEED is None, not 0"),
        (crs_lib.SINGLE, {"constants": {"SET": 1, "SEED": 0, "SPEED": 0.0}}, ""),
        (crs_lib.SINGLE, {"constants": {"SET": 1, "SEED": 0, "SPEED": 0.25}}, "SPEED is 0.25, not"),
        (crs_lib.SINGLE, {"constants": {"SET": 7, "SEED": 0, "THREADS": 9}}, ""),
        (crs_lib.SINGLE, {"method": 3}, "method is 3, not 2"),
        (crs_lib.SINGLE, {"model": "x", "method": 1}, "method is 1, not 2"),
        (crs_lib.SINGLE, {"model": "x", "constants": {"SET": 1, "SEED": 3}}, ""),
        (crs_lib.FLOW, {"method": 3, "constants": {"SET": 1, "SEED": 3}}, ""),
        (crs_lib.FLOW, {"data": {"esc10_rename_4k": None}}, "esc10_rename_4k is None, not"),
        (crs_lib.FLOW, {"data": {"other": None}}, ""),
        (crs_lib.FLOW, {"data": {}}, ""),
    ],
)
def test_runs_of_one_table_are_alike(tmp_path, script, change, differing):
    put_run(tmp_path, "a", 3, crs_lib.SINGLE, "isocc", None, 1)
    change = {"model": "isocc", **change}
    put_run(tmp_path, "b", 1, script, table=None, written=1, **change)
    folders = [tmp_path / "a", tmp_path / "b"]
    if differing:
        with pytest.raises(crs_lib.InputError, match=f"b does not belong to .*a: its {differing}"):
            summary.refuse_other_work(folders)
    else:
        assert summary.refuse_other_work(folders) == ["c1", "c3"]
        assert summary.refuse_other_work([folders[0], *folders]) == ["c1", "c3"]


def test_rows_of_a_summary_name_figures_that_there_are(made):
    found = made[1]["figures"]
    assert {name for name, _ in summary.SUMMARY_ROWS} <= set(found)
    for name, label in summary.SUMMARY_ROWS:
        assert ("(points)" in label) == name.startswith("flow.gain."), name
        assert ("oracle count" in label) == ("oracle_count" in name), name
        is_optimised = "for_exact_match" in name
        assert ("(threshold: exact match)" in label) == is_optimised, name
        assert ("joint network" in label) == ("joint" in name), name
        assert ("ensemble" in label) == ("ensemble" in name), name
        assert ("shortcut baseline" in label) == ("shortcut" in name), name
    assert len(dict(summary.SUMMARY_ROWS)) == len(summary.SUMMARY_ROWS) == 26
    balanced = [name for name, _ in summary.SUMMARY_ROWS if name.endswith("exact_match_balanced")]
    assert balanced == [
        f"flow.{strategy}.exact_match_balanced" for strategy in strategies.STRATEGIES
    ]
