"""The whole run with tiny settings: what it prints, records and shows."""

import json
import os
import re
import shutil

import pandas as pd
import torch
from conftest import CLASSES, TINY_RUN, succeed

import crs_lib
from pipeline.evaluation import strategies, summary


def test_run_all_falls_back_to_the_synthetic_set_and_says_so(home):
    lines = (home / "out.txt").read_text().rstrip().split("\n")
    assert lines[0] == "SYNTHETIC: dataset_demo holds the synthetic set, not real recordings"
    assert lines[-1] == lines[0]
    assert "ESC-50 is neither there nor to be downloaded" in lines[1]
    assert "could not be downloaded (ProxyError" in (home / "err.txt").read_text()
    assert (home / "dataset_demo" / "results" / "summary_4k_1.json").exists()
    assert not list((home / "dataset").iterdir())


def test_the_whole_run_ends_with_the_table_and_the_pictures(home):
    out = (home / "out.txt").read_text()
    for label in ("counter:", "single-label", "two-label", "overall flow", "no-counter baseline"):
        assert label in out
    pictures = re.findall(r"^  (\S+\.png)$", out, flags=re.MULTILINE)
    assert len(pictures) == 4 + 12
    for path in pictures:
        assert os.path.getsize(home / path) < 300_000
    # What `demo` had prepared is passed over, also where it was prepared elsewhere; all mixtures
    # are more than those of the test.
    assert out.count("is up to date") == 7


def test_every_run_is_recorded(home):
    records = [json.loads(path.read_text()) for path in home.glob("results/*/run.json")]
    assert len(records) == 6
    wanted = {
        "audio_source_counter": {"accuracy_single", "accuracy_mixture", "accuracy_balanced"},
        "sep_opt_isocc_single_volnorm_STFT": {"accuracy"},
        "sep_opt_isocc_multi_random_volnorm_STFT": {"exact_pair", "mean_average_precision"},
        "overall_flow": {"with_counter", "oracle_count", "no_counter", "shortcut_balanced"},
        "audit": {"single clips", "single clips, pitch-shifted", "mixtures, one stem 20 dB down"},
    }
    for record in records:
        assert wanted[record["script"]] <= set(record["test"])
        assert record["synthetic"] and record["set"] == 1 and record["sample_rate"] == 4000
        assert {"constants", "seed", "commit", "versions", "machine", "seconds"} <= set(record)
        assert record["data"]["esc10_rename_4k_p2"]["constants"]["MAX_SHIFT"] > 0
        if record["script"] == "audit":
            continue
        assert record["test_interval"].keys() == record["test"].keys()
        if record["script"] != "overall_flow":
            assert len(record["history"]) == 1 and record["constants"]["EPOCHS"] == 1
    flow = next(r for r in records if r["script"] == "overall_flow")
    exact = {"exact_match_single", "exact_match_mixture", "exact_match_balanced"}
    assert all(set(flow["test"][strategy]) == exact for strategy in strategies.STRATEGIES)
    for task, folder in flow["trained_in"].items():
        assert (home / "results" / folder / "history.csv").exists(), task


def test_an_audit_that_is_gone_leaves_no_older_table(home, tmp_path):
    results, path = tmp_path / "results", tmp_path / "summary_4k_1.json"
    shutil.copytree(home / "results", results)
    flows = [crs_lib.flow_name("asc", "isocc", 1, 4000)]
    assert summary.summarise(results, flows, path)["audit"]
    assert path.with_name("summary_4k_1_audit.md").exists()
    for folder in results.glob("*_audit_*"):
        shutil.rmtree(folder)
    assert not summary.summarise(results, flows, path)["audit"]
    assert not path.with_name("summary_4k_1_audit.md").exists()


def test_summary(home):
    written = json.loads((home / "results" / "summary_4k_1.json").read_text())
    assert written["synthetic"] is True
    figures = written["figures"]
    for name in (
        "counter.accuracy_balanced",
        "single.accuracy",
        "two_label.exact_pair",
        "flow.with_counter.exact_match_balanced",
        "flow.oracle_count.exact_match_single",
        "flow.no_counter.exact_match_mixture",
        "flow.joint.exact_match_balanced",
        "flow.gain.with_counter_for_exact_match_over_no_counter",
        "audit.shortcut_balanced",
    ):
        figure = figures[name]
        assert set(figure) == {"mean", "std", "low", "high", "sets"}
        assert figure["sets"] == [figure["mean"]] and figure["low"] <= figure["high"]
    (counter,) = home.glob("results/*audio_source_counter*/run.json")
    test = json.loads(counter.read_text())["test"]
    assert figures["counter.accuracy_balanced"]["mean"] == test["accuracy_balanced"]
    (audit,) = home.glob("results/*_audit_*/audit.md")
    tables = [*(home / "results").glob("summary_4k_1*.md"), audit]
    assert len(tables) == 5
    assert all(table.read_text().startswith("SYNTHETIC data.") for table in tables)
    lines = (home / "results" / "summary_4k_1_strategies.md").read_text().splitlines()[4:]
    assert len(lines) == len(strategies.STRATEGIES)
    for line, (strategy, label) in zip(lines, strategies.STRATEGIES.items(), strict=True):
        kinds = [
            figures[f"flow.{strategy}.exact_match_{n}"] for n in ("single", "mixture", "balanced")
        ]
        means = [f"{100 * figure['mean']:.1f}" for figure in kinds]
        interval = f"{100 * kinds[-1]['low']:.1f} to {100 * kinds[-1]['high']:.1f}"
        gain = kinds[-1]["mean"] - figures["flow.no_counter.exact_match_balanced"]["mean"]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[:-2] == [label, *means, interval]
        assert cells[-2] == ("" if strategy == "no_counter" else f"{100 * gain:.1f}")


def test_a_table_says_what_is_to_be_said_of_its_sets():
    said = {
        (False, (1, 5)): "",
        (True, (1,)): "SYNTHETIC data.",
        (False, (1, 6)): "The choices of networks and constants saw the test clips of sets 6-10.",
    }
    for (synthetic, sets), note in said.items():
        assert summary.reservations({"synthetic": synthetic, "sets": list(sets)}) == note


def test_a_second_whole_run_keeps_what_is_finished(home):
    before = sorted((home / "results").iterdir())
    places = ("--dataset", "dataset_demo", "--results", "results", "--models", "models")
    out = succeed("run_all.py", *places, *TINY_RUN, cwd=home)
    assert sorted((home / "results").iterdir()) == before
    assert out.count("is finished") == 6 and out.count("is up to date") == 7


def test_weights_hold_what_prediction_needs_and_no_code(home):
    paths = sorted((home / "models").iterdir())
    assert [path.name for path in paths] == [
        "audio_source_counter_asc_set1_4k.pt",
        "sep_opt_isocc_multi_random_volnorm_STFT_isocc_both_set1_4k.pt",
        "sep_opt_isocc_multi_random_volnorm_STFT_isocc_set1_4k.pt",
        "sep_opt_isocc_single_volnorm_STFT_isocc_set1_4k.pt",
    ]
    for path in paths:
        content = torch.load(path, weights_only=True)
        assert content["classes"] == list(CLASSES)
        assert content["constants"]["SAMPLE_RATE"] == 4000 and content["constants"]["SET"] == 1
        assert content["synthetic"] is True


def test_the_page_shows_the_whole_run(home, tmp_path, here):
    results = tmp_path / "results"
    shutil.copytree(home / "results", results)
    (flow,) = results.glob("*_overall_flow_*/predictions.csv")
    table = pd.read_csv(flow, dtype=str, keep_default_na=False)
    table.loc[2, "with_counter"] = "+".join({*CLASSES[:2]} - {table["truth"][2]})  # wrong for sure
    table.to_csv(flow, index=False)
    out = here("show_report.py", "--dataset", home / "data", "--results", results, status=0)
    assert out.startswith("SYNTHETIC") and "sets 1: " in out and "without their sounds" not in out
    page = (results / "report.html").read_text()
    nb_wrong = (table["with_counter"] != table["truth"]).sum()
    assert page.count("<article>") == page.count("<audio") == nb_wrong > 0
    assert "is not there any more" not in page
    # Two of the flow, four of each of two kinds, one of attention, four over all sets.
    assert page.count("<img") == 2 + 8 + 1 + 4 + nb_wrong
    written = json.loads((results / "summary_4k_1.json").read_text())
    for _, figure, *_ in summary.summary_rows(written)[1][1:]:
        assert f"<td>{figure}</td>" in page
    # run_all.py ends with the command that makes it.
    command = "python show_report.py --dataset dataset_demo --results dataset_demo/results"
    assert f"a page of all this: {command}\n" in (home / "out.txt").read_text()
