"""A run's records and a summary against what second_hand.py makes of their tables.

As that, it imports nothing of the project.
"""

import itertools
import json

import numpy as np
import pytest
import second_hand
from second_hand import column, read_record, read_table

TASKS = {
    "counter": "audio_source_counter",
    "single": "sep_opt_isocc_single_volnorm_STFT",
    "two_label": "sep_opt_isocc_multi_random_volnorm_STFT",
    "both": "sep_opt_isocc_multi_random_volnorm_STFT",
}
SELECT_BY = {
    "counter": "val_accuracy_balanced",
    "single": "val_accuracy",
    "two_label": "val_exact_pair",
    "both": "val_exact_match_balanced",
}


def flat(nested, before=""):
    """{"a": {"b": 1}} -> {"a.b": 1}"""
    found = {}
    for name, value in nested.items():
        inside = flat(value, f"{before}{name}.") if isinstance(value, dict) else None
        found |= inside if inside is not None else {before + name: value}
    return found


def same_numbers(found, expected):
    """Nested dictionaries of numbers, or of lists of them, are the same but for rounding."""
    found, expected = flat(found), flat(expected)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, nan_ok=True, abs=1e-9), name


def same_figures(record, expected):
    """A record's test figures and their intervals are those expected, no more and no fewer."""
    same_numbers(record["test"], {name: figure["mean"] for name, figure in expected.items()})
    bounds = {name: [figure["low"], figure["high"]] for name, figure in expected.items()}
    same_numbers(record["test_interval"], bounds)


JOINT = ("joint", "joint_for_exact_match", "joint_oracle_count")
# Column under an optimised threshold -> the same strategy's under the oracle count.
OPTIMISED = {
    "with_counter_for_exact_match": "oracle_count",
    "baseline_with_counter_for_exact_match": "baseline_oracle_count",
    "joint_for_exact_match": "joint_oracle_count",
    "ensemble": "ensemble_oracle_count",
}
STRATEGIES = ("with_counter", "with_counter_for_exact_match", "oracle_count", "no_counter")
STRATEGIES += ("baseline_with_counter", "baseline_with_counter_for_exact_match")
STRATEGIES += ("baseline_oracle_count", *JOINT, "ensemble", "ensemble_oracle_count")
GAINS = [(name, "no_counter") for name in STRATEGIES if name != "no_counter"]
GAINS += [("oracle_count", "baseline_oracle_count"), ("ensemble", "with_counter_for_exact_match")]
GAINS += [("with_counter_for_exact_match", "joint_for_exact_match")]


def strategies_and_gains(record):
    """The strategies and gains that a flow must have; with shared labels no joint network."""
    left_out = JOINT if record["shared"] else ()
    names = [name for name in STRATEGIES if name not in left_out]
    return names, [gain for gain in GAINS if not set(gain) & set(left_out)]


def is_shared(results, flow):
    """Whether a flow's classifiers took the counter's labels."""
    constants = read_record(results / flow["trained_in"]["single"])["constants"]
    return constants.get("SHARED", False)


def check_unselected(folder, record, task):
    """The training mixtures never drawn, and the share that is right."""
    found = record["unselected"]
    table = read_table(folder / "unselected.csv.gz") if found["mixtures"] else []
    assert len(table) == found["mixtures"] == len({row["clip"] for row in table})
    if not table:
        assert None in found.values()
    elif task == "counter":
        assert found["accuracy"] == pytest.approx(np.mean([row["count"] == "2" for row in table]))
    else:
        right = [row["pair"] == row["truth"] for row in table]
        assert found["exact_pair"] == pytest.approx(np.mean(right))


def check_training(root, folder, task):
    """What a training measured, chose and predicted; nothing of it needs its network."""
    record, table = read_record(folder), read_table(folder / "predictions.csv")
    validation = read_table(folder / "validation.csv")
    for part, found in (("val", validation), ("test", table)):
        singles, mixtures = second_hand.clips_of(root, record["set"], part)
        kinds = {"single": [singles], "two_label": [mixtures]}.get(task, [singles, mixtures])
        second_hand.check_clips(found, *kinds)
    figures = {"both": second_hand.two_label}.get(task) or getattr(second_hand, task)
    same_figures(record, second_hand.over_sets(figures, [table]))
    if "unselected" in record:
        check_unselected(folder, record, task)

    weight = record["constants"].get("LABELS_WEIGHT", 1.0)
    expected = second_hand.validated(task, validation, weight)
    if record["history"]:
        best = max(record["history"], key=lambda row: (row[SELECT_BY[task]], -row["val_loss"]))
        assert record["best_epoch"] == best["epoch"]
        found = {n.removeprefix("val_"): v for n, v in best.items() if n.startswith("val_")}
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)
        assert sum(row["seconds"] for row in record["history"]) == pytest.approx(record["seconds"])

    # Answers follow from the scores beside them, by the threshold of validation.
    scores = np.array([[float(v) for n, v in r.items() if n.startswith("score_")] for r in table])
    if task == "counter":
        assert scores.sum(axis=1) == pytest.approx(np.ones(len(table)))
        assert (column(table, "count", int) == 1 + scores.argmax(axis=1)).all()
        return
    classes = [name.removeprefix("score_") for name in table[0] if name.startswith("score_")]
    one, two = (second_hand.best_labels(scores, classes, count) for count in (1, 2))
    if task == "single":
        assert (column(table, "labels") == one).all()
        return
    assert (column(table, "pair") == two).all()
    if task == "both":
        is_two = np.sort(scores, axis=1)[:, -2] > expected["threshold"]
        assert (column(table, "labels") == np.where(is_two, two, one)).all()


def check_flow(root, results, folder):
    """The flow's answers follow from its scores and thresholds, these from validation clips, and
    both fit what the trainings predicted of the same clips.
    """
    record, table = read_record(folder), read_table(folder / "predictions.csv")
    validation = read_table(folder / "validation.csv")
    for part, found in (("val", validation), ("test", table)):
        second_hand.check_clips(found, *second_hand.clips_of(root, record["set"], part))
    record["shared"] = is_shared(results, record)
    names, gains = strategies_and_gains(record)

    def figures(table, weights):
        return second_hand.flow(table, weights, names, gains)

    same_figures(record, second_hand.over_sets(figures, [table]))
    counted = second_hand.counter(table, np.ones((1, len(table))))
    assert record["counter"] == pytest.approx({n: v.item() for n, v in counted.items()})

    chances = {name: "score_two" for name in record["thresholds"]}
    chances |= {"ensemble": "ensemble_score_two", "shortcuts": "shortcut_score_two"}
    is_mixture = column(validation, "recording_b") != ""
    for name, threshold in record["thresholds"].items():
        right = np.ones(len(validation), dtype=bool)
        if name != "shortcuts":
            right = column(validation, OPTIMISED[name]) == column(validation, "truth")
        best, _ = second_hand.best_threshold(
            is_mixture, column(validation, chances[name], float), right & ~is_mixture,
            right & is_mixture,
        )  # fmt: skip
        assert threshold == pytest.approx(best, abs=1e-8), name
    for some in (validation, table):
        check_counts(some, names, record["thresholds"], chances)

    runs = {task: results / name for task, name in record["trained_in"].items()}
    answers = {
        task: {row["clip"]: row for row in read_table(run / "predictions.csv")}
        for task, run in runs.items()
    }
    for row in table:
        clip, is_two = row["clip"], row["recording_b"] != ""
        assert row["count"] == answers["counter"][clip]["count"]
        assert float(row["score_two"]) == pytest.approx(
            float(answers["counter"][clip]["score_two"]), abs=1e-3
        )
        right = answers["two_label"][clip]["pair"] if is_two else answers["single"][clip]["labels"]
        assert row["oracle_count"] == right and row["no_counter"] == answers["both"][clip]["labels"]
        baseline = answers["both"][clip]
        scores = {n.removeprefix("score_"): float(v) for n, v in baseline.items() if "score_" in n}
        by_count = [max(scores, key=scores.get), baseline["pair"]]
        assert row["baseline_with_counter"] == by_count[int(row["count"]) - 1]
        assert row["baseline_oracle_count"] == by_count[is_two]
        is_over = (
            float(row["score_two"]) > record["thresholds"]["baseline_with_counter_for_exact_match"]
        )
        assert row["baseline_with_counter_for_exact_match"] == by_count[is_over]
        odds = np.log([p / (1 - p) for p in scores.values()])
        pairs = [a + b for a, b in itertools.combinations(odds, 2)]
        gap = np.logaddexp.reduce(pairs) - np.logaddexp.reduce(odds)
        chance = float(row["score_two"])
        both = 1 / (1 + np.exp(-(np.log(chance / (1 - chance)) + gap) / 2))
        assert float(row["ensemble_score_two"]) == pytest.approx(both, abs=1e-3)


def check_counts(table, names, thresholds, chances):
    """How many labels each strategy gives, and which, where the scores beside it tell."""
    count, truth = column(table, "count", int), 1 + (column(table, "recording_b") != "")
    assert (count == 1 + (column(table, "score_two", float) > 0.5)).all()
    for name in names:
        nb_labels = np.char.count(column(table, name), "+") + 1
        if name in thresholds:
            over = column(table, chances[name], float) > thresholds[name]
            assert (nb_labels == 1 + over).all(), name
        elif name.endswith("oracle_count"):
            assert (nb_labels == truth).all(), name
        elif name != "no_counter":
            assert (nb_labels == count).all(), name
    shortcut = 1 + (column(table, chances["shortcuts"], float) > thresholds["shortcuts"])
    assert (column(table, "shortcut_count", int) == shortcut).all()
    names = [n for n in table[0] if n.startswith("score_") and n != "score_two"]
    scores = np.array([[float(row[name]) for name in names] for row in table])
    classes = [name.removeprefix("score_") for name in names]
    assert scores.sum(axis=1) == pytest.approx(count, rel=1e-5)
    for number in (1, 2):
        best = second_hand.best_labels(scores, classes, number)
        asked = count == number
        assert (column(table, "with_counter")[asked] == best[asked]).all()
        alike = asked & (truth == number)
        assert (column(table, "oracle_count")[alike] == best[alike]).all()


def check_audit(root, folder):
    """An audit's shares, and of whose recordings its clips are made."""
    record, table = read_record(folder), read_table(folder / "answers.csv.gz")
    of_part = {part: second_hand.clips_of(root, record["set"], part) for part in ("train", "test")}
    recordings = {
        (part, kind): sorted(clip[:2] for clip in clips.values())
        for part, both in of_part.items()
        for kind, clips in zip(("single", "mixture"), both, strict=True)
    }
    for group in dict.fromkeys(column(table, "group")):
        found = sorted(
            (row["recording_a"], row["recording_b"]) for row in table if row["group"] == group
        )
        if group.startswith(("single clips", "a clip and")):
            assert found == recordings["test", "single"], group
        elif group.startswith("mixtures"):
            twice = 1 + (" 0 dB" not in group)
            assert found == sorted(recordings["test", "mixture"] * twice), group
        elif group.startswith("training clips"):
            assert found == recordings["train", "single"], group
        elif group.startswith("training mixtures"):
            assert set(found) <= set(recordings["train", "mixture"]), group
        else:  # two clips of one class
            of_class = {}
            for recording, _, name in of_part["test"][0].values():
                of_class.setdefault(name, []).append(recording)
            pairs = [p for some in of_class.values() for p in itertools.combinations(some, 2)]
            assert sorted(map(sorted, found)) == sorted(map(sorted, pairs)), group
    expected = audited([table])
    assert list(record["test"]) == list(expected)
    same_numbers(record["test"], expected)


def audited(tables):
    """Group -> its clips, shares with intervals, and how much softer one stem is, if it is."""
    groups = [g for g in dict.fromkeys(column(tables[0], "group"))]
    groups = [g for g in groups if all(g in column(table, "group") for table in tables)]
    tables = [[row for row in table if row["group"] in groups] for table in tables]
    figures = second_hand.over_sets(lambda t, w: second_hand.audit(t, w, groups), tables)
    found = {}
    for group in groups:
        rows = [row for table in tables for row in table if row["group"] == group]
        found[group] = {"clips": len(rows)}
        for name in ("counted_as_two", "above_alone"):
            found[group][name] = figures[f"{name}.{group}"]
        if softer := [float(row["softer_db"]) for row in rows if row["softer_db"]]:
            found[group]["softer_db"] = max(softer)
    return found


def check_summary(results, path):
    """A summary over sets, from the tables of the runs that it names."""
    summary = json.loads(path.read_text(encoding="utf-8"))
    records = [read_record(results / name) for name in summary["flows"]]
    assert [record["set"] for record in records] == summary["sets"]
    tables = [read_table(results / name / "predictions.csv") for name in summary["flows"]]
    records[0]["shared"] = is_shared(results, records[0])
    names, gains = strategies_and_gains(records[0])
    found = second_hand.over_sets(lambda t, w: second_hand.flow(t, w, names, gains), tables)
    expected = {
        f"{'audit' if name == 'shortcut_balanced' else 'flow'}.{name}": figure
        for name, figure in found.items()
    }
    for task in ("counter", "single", "two_label"):
        runs = [results / record["trained_in"][task] for record in records]
        of_task = [read_table(run / "predictions.csv") for run in runs]
        for name, figure in second_hand.over_sets(getattr(second_hand, task), of_task).items():
            expected[f"{task}.{name}"] = figure
    same_numbers(summary["figures"], expected)
    written = {row["figure"]: row for row in read_table(path.with_suffix(".csv"))}
    for name, figure in expected.items():
        for key in ("mean", "std", "low", "high"):
            value = pytest.approx(figure[key], nan_ok=True, abs=1e-9)
            assert float(written[name][key]) == value, (name, key)
    counters = [record["trained_in"]["counter"] for record in records]
    audits = [name for name in summary["runs"] if "_audit_" in name]
    assert [read_record(results / name)["audited"] for name in audits] == counters
    answers = audited([read_table(results / name / "answers.csv.gz") for name in audits])
    same_numbers(summary["audit"], answers)
    pairs = {row["truth"]: row for row in read_table(path.with_name(f"{path.stem}_pairs.csv"))}
    every = [row for table in tables for row in table]
    assert pairs.keys() == {row["truth"] for row in every}
    for truth, row in pairs.items():
        of_truth = [clip for clip in every if clip["truth"] == truth]
        shares = {
            "counted_right": np.mean([int(c["count"]) == 1 + truth.count("+") for c in of_truth]),
            "oracle_exact_match": np.mean([c["oracle_count"] == truth for c in of_truth]),
            "exact_match": np.mean([c["with_counter"] == truth for c in of_truth]),
        }
        assert int(row["clips"]) == len(of_truth)
        assert {n: float(row[n]) for n in shares} == pytest.approx(shares, abs=5.1e-5)


def check_runs(root, results, summary_path):
    """Every finished run below `results`, and the summary over them. Returns how many of a kind."""
    nb_checked = dict.fromkeys([*TASKS, "flow", "audit"], 0)
    for path in results.glob("*/run.json"):
        script, folder = read_record(path.parent)["script"], path.parent
        kind = {"overall_flow": "flow", "audit": "audit"}.get(script)
        if kind == "flow":
            check_flow(root, results, folder)
        elif kind == "audit":
            check_audit(root, folder)
        else:
            kind = next(task for task, name in TASKS.items() if name == script)
            kind = "both" if "_both_" in folder.name else kind
            check_training(root, folder, kind)
        nb_checked[kind] += 1
    check_summary(results, summary_path)
    return nb_checked
