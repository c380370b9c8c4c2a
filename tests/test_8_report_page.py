"""The page of results, from made-up runs on the small synthetic set."""

import base64
import html
import io
import json
import math
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from conftest import CLASSES, load_script

import crs_lib
from pipeline.data import audio, set_data
from pipeline.evaluation import metrics, plots, run_records, strategies, summary

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """The elements of a page: `found` lists (tag, attributes), `text` what stands between them."""

    def __init__(self, source):
        super().__init__()
        self.found, self.text, self.open = [], "", []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def decoded(uri, kind):
    head, content = uri.split(",", 1)
    assert head == f"data:{kind};base64"
    return base64.b64decode(content, validate=True)


def right_answers(root, number):
    """The table of predictions of a flow that makes no mistake on the test clips of a set."""
    data = set_data.choose_files(str(root), "", number, 4000, 1)
    rows = np.concatenate([data.singles["test"], data.mixtures["test"]])
    table = set_data.recordings_of(data.stems, rows)
    table["count"] = 1 + set_data.is_mixture(rows)
    table["score_two"] = np.where(table["count"] == 2, 0.9, 0.1)
    for column in ("with_counter", "oracle_count", "no_counter", "labels", "pair"):
        table[column] = table["truth"]
    table["shortcut_count"] = 1
    for name, there in table["truth"].str.get_dummies("+").items():
        table[f"score_{name}"] = np.where(there == 1, 0.8, 0.05)
    return table


def finish(root, results, script, model, number, figures, table, history=(), **more):
    """A finished run of that name, with pictures as the scripts draw them. Returns its folder."""
    constants = {"DATASET": str(root), "RESULTS": str(results), "MODELS": "models", "SET": number}
    constants |= {"SAMPLE_RATE": 4000, "N_FFT": 256, "OVERSAMPLE": 2, "SEED": 0}
    run = run_records.new_run(script, model, constants, run_records.data_stamps(constants))
    record = run_records.make_record(
        run,
        figures,
        table,
        list(history),
        61.5,
        run_records.machine("cpu", 1),
        best_epoch=1,
        **more,
    )
    if history:
        plots.plot_curves(run, history, 1, "accuracy")
    plots.plot_confusion(run, table["truth"], table["truth"], list(CLASSES), "made up")
    run_records.write_run(run, record, table, table)
    return run.folder


def finish_set(root, results, number, change=lambda table: table):
    """The five runs of a set; `change` gives the flow's table its mistakes."""
    epochs = [{"epoch": e, "train_loss": 1.0, "val_loss": 1.0, "val_accuracy": e} for e in (0, 1)]
    table = right_answers(root, number)
    is_single = table["recording_b"] == ""
    used = {
        task: finish(
            root, results, script, model, number, figures, rows.reset_index(drop=True), epochs
        ).name
        for task, script, model, figures, rows in (
            ("counter", crs_lib.COUNTER, "asc", metrics.counter_figures, table),
            ("single", crs_lib.SINGLE, "isocc", metrics.single_figures, table[is_single]),
            ("two_label", crs_lib.TWO_LABEL, "isocc", metrics.two_label_figures, table),
            ("both", crs_lib.TWO_LABEL, "isocc_both", metrics.two_label_figures, table),
        )
    }
    flow = (
        root,
        results,
        crs_lib.FLOW,
        "asc-isocc",
        number,
        strategies.flow_figures,
        change(table),
    )
    return finish(*flow, trained_in=used)


def mistake(table, row, answer, count, score_two, **scores):
    table.loc[row, ["with_counter", "count", "score_two"]] = answer, count, score_two
    for name, score in scores.items():
        table.loc[row, f"score_{name}"] = score


def with_mistakes(table):
    """Three mistakes; in the order of how sure the flow was of them rows 5, 0, 4."""
    truths = ["chainsaw", "chainsaw+clock_tick", "chainsaw+crackling_fire"]
    assert table["truth"].iloc[[0, 4, 5]].tolist() == truths
    mistake(table, 0, "clock_tick", 1, 0.25, clock_tick=0.99)
    mistake(table, 4, "crackling_fire+crying_baby", 2, 0.99, crackling_fire=0.6, crying_baby=0.8)
    mistake(table, 5, "chainsaw", 1, 0.05, chainsaw=0.9, clock_tick=0.95)
    return table


@pytest.fixture(scope="module")
def two_sets(demo, tmp_path_factory):
    """Runs of sets 1, with three mistakes, and 2, with none; not to be changed."""
    results = tmp_path_factory.mktemp("page") / "results"
    finish_set(demo, results, 1, with_mistakes)
    finish_set(demo, results, 2)
    return results


@pytest.fixture
def show(here, demo):
    """Make the page of a folder of runs; returns what is on it and what was printed."""

    def run(results, *flags, dataset=demo):
        out = here("show_report.py", "--dataset", dataset, "--results", results, *flags, status=0)
        source = (results / "report.html").read_text(encoding="utf-8")
        return Page(source), source, out

    return run


def without_data(source):
    return re.sub(r'"data:[^"]*"', '""', source)


def test_every_part_is_there_for_all_sets(two_sets, show):
    page, source, out = show(two_sets)
    sections = re.findall(r'<h2 id="(\w+)">', source)
    assert sections == ["table", "curves", "confusion", "pairs", "audit", "mistakes"]
    assert {link["href"] for link in page.all("a")} == {f"#{name}" for name in sections}
    assert "Test clips of set 1, 2, 4000 Hz, asc-isocc." in page.text
    assert "SYNTHETIC: these runs are of the synthetic set" in page.text
    # Curves of four networks and confusion of four and the flow, each of two sets; three over
    # both sets; three mistakes. The made-up flows have no flow.png: it is drawn.
    assert len(page.all("img")) == 2 * (4 + 5 + 1) + 3 + 3
    assert "is not there any more" not in page.text
    for image in page.all("img"):
        assert image["alt"] and decoded(image["src"], "image/png").startswith(b"\x89PNG")
    assert "2 epochs in\n1.0 minutes, epoch 2 taken" in page.text
    assert f"{two_sets}/report.html" in out and "sets 1, 2: 3 mistakes shown" in out
    assert len(source) < 3e6


def test_the_table_is_the_summarys(two_sets, show, tmp_path):
    _, source, _ = show(two_sets)
    names = [crs_lib.flow_name("asc", "isocc", number, 4000) for number in (1, 2)]
    found = summary.summarise(two_sets, names, tmp_path / "summary.json")
    (_, first), (_, rows) = (
        summary.summary_rows(found, *chosen) for chosen in ((summary.HEADLINE,), ())
    )
    text = html.unescape(source)
    cells = [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in text.split("<tr>")[1:]]
    assert cells == [*first, *rows]
    assert rows[6][:2] == ["overall flow: exact match", "85.4"]  # mean of 3/4 and 4/6, and 1


def test_sets_that_were_not_trained_alike_make_no_table(demo, two_sets, tmp_path, here):
    results = tmp_path / "results"
    shutil.copytree(two_sets, results)
    (counter,) = results.glob("*_audio_source_counter_asc_set2_4k/run.json")
    record = json.loads(counter.read_text())
    record["constants"]["SEED"] = 77
    counter.write_text(json.dumps(record))
    message = here("show_report.py", "--dataset", demo, "--results", results)
    assert message.startswith(f"{counter.parent} does not belong to {results}/")
    assert "its SEED is 77, not 0; one table is of one configuration: make one of them" in message
    here("show_report.py", "--dataset", demo, "--results", results, "--sets", 2, status=0)


def test_the_page_needs_nothing_else(two_sets, show):
    page, source, _ = show(two_sets)
    assert not re.search(r"//|<script|@import|url\(", without_data(source))
    assert all(tag not in ("link", "script", "iframe") for tag, _ in page.found)
    (viewport,) = (meta for meta in page.all("meta") if meta.get("name") == "viewport")
    assert viewport["content"] == "width=device-width, initial-scale=1"


def test_the_surest_mistakes_come_first_and_sound_as_they_were_heard(two_sets, show, demo):
    page, source, _ = show(two_sets)
    assert re.findall(r"<article>\n<h3>(.*)</h3>", source) == [
        "1. chainsaw + crackling fire, predicted chainsaw",
        "2. chainsaw, predicted clock tick",
        "3. chainsaw + clock tick, predicted crackling fire + crying baby",
    ]
    assert re.findall(r"<p>(\d+ % sure: .*\n.*)</p>", source) == [
        "90 % sure: count 1\n(0.95), chainsaw 0.90",
        "75 % sure: count 1\n(0.75), clock tick 0.99",
        "60 % sure: count 2\n(0.99), crackling fire 0.60, crying baby 0.80",
    ]
    sounds = [
        sf.read(io.BytesIO(decoded(player["src"], "audio/wav")), dtype="int16")
        for player in page.all("audio")
    ]
    assert [rate for _, rate in sounds] == [4000] * 3
    clips = re.findall(r'alt="spectrogram of (\S+)"', source)
    assert [clips[0][:8], clips[1]] == ["chainsaw", "chainsaw1.wav"]
    for clip, (sound, _) in zip(clips[::2], sounds[::2], strict=True):
        mixture, _ = sf.read(demo / "esc10_2mix_vol_norm_4k" / clip, dtype="int16")
        assert np.abs(sound.astype(int) - mixture).max() <= 1
    files = sorted((demo / "esc10_rename_4k").glob("*/*.wav"))
    normalised = audio.normalise_volume(audio.uploader(files, 4000))
    expected = normalised[[path.name for path in files].index("chainsaw1.wav")] / 2
    assert np.abs(sounds[1][0] / 32768 - expected).max() <= 1 / 32768


def test_how_sure_is_the_weakest_part_of_an_answer():
    rng = np.random.default_rng(0)
    nb_clips = 60
    table = pd.DataFrame(rng.random((nb_clips, 3)), columns=[f"score_{name}" for name in "abc"])
    table["count"] = rng.integers(1, 3, nb_clips)
    table["score_two"] = np.where(table["count"] == 2, 0.75, 0.25) + 0.2 * rng.random(nb_clips)
    table["with_counter"] = np.where(table["count"] == 2, "a+c", "b")
    table["truth"] = np.where(rng.random(nb_clips) < 0.5, "b", "a+c")
    script = load_script("show_report.py")
    found = script.worst_mistakes(table)
    expected = []
    for row in table.to_dict("records"):
        if row["with_counter"] != row["truth"]:
            parts = [row[f"score_{name}"] for name in row["with_counter"].split("+")]
            two = row["score_two"]
            expected.append(min(*parts, two if row["count"] == 2 else 1 - two))
    assert len(expected) > script.NB_MISTAKES == len(found) == 20
    assert found["sure"].tolist() == pytest.approx(sorted(expected, reverse=True)[:20])


def test_a_page_may_be_of_one_set_and_of_fewer_mistakes(two_sets, show):
    page, source, _ = show(two_sets, "--sets", 1, "--nb-mistakes", 2)
    assert source.count("<article>") == len(page.all("audio")) == 2
    assert "Test clips of set 1, 4000 Hz" in page.text and "Set 2" not in page.text
    page, source, _ = show(two_sets, "--sets", 2)
    assert "<article>" not in source and "surest, 0 of them" in page.text


def test_without_the_recordings_the_page_says_why_it_is_silent(two_sets, show, demo, tmp_path):
    page, source, out = show(two_sets, dataset=tmp_path / "gone")
    assert source.count("<article>") == 3 and not page.all("audio")
    reason = f"{tmp_path}/gone/esc10_rename_4k is missing: run  python 0_downsampling.py"
    assert f"Without sounds: {reason}" in page.text and f"without their sounds: {reason}" in out


def test_other_recordings_are_not_taken_for_those_that_were_heard(two_sets, show, demo, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(demo, root, ignore=shutil.ignore_patterns("ESC-50", "esc10_2mix*", "*_p*"))
    recordings = json.loads((root / "esc10.json").read_text())["constants"]["ESC10"]
    for path in root.glob("*.json"):
        path.write_text(path.read_text().replace(recordings, "another"))
    page, _, _ = show(two_sets, dataset=root)
    assert not page.all("audio")
    assert f"Without sounds: {root} does not hold what set 1 was tested on" in page.text


def test_a_clip_that_is_not_tested_any_more_is_not_mistaken_for_another(demo, show, tmp_path):
    finish_set(demo, tmp_path, 1, with_mistakes)
    for path in tmp_path.glob("*/predictions.csv"):
        path.write_text(path.read_text().replace("chainsaw1.wav", "x"))
    page, _, _ = show(tmp_path)
    assert page.text.count(", predicted ") == 3 and not page.all("audio")
    assert f"Without sounds: {demo} does not hold what set 1 was tested on" in page.text


def audit(root, results, number, counter, group, nb_two, seed=0):
    """An audit of ten single clips, of which one was counted as two, and of twenty of a group."""
    constants = {"DATASET": str(root), "RESULTS": str(results), "MODELS": "models", "SET": number}
    constants |= {"SAMPLE_RATE": 4000, "OVERSAMPLE": 2, "SEED": seed}
    run = run_records.new_run("audit", "asc", constants, run_records.data_stamps(constants))
    groups = {"alone": (10, 1, math.nan), group: (20, nb_two, math.nan), "softer": (20, 10, 3)}
    tables = [
        pd.DataFrame(
            {
                "group": name,
                "softer_db": softer_db,
                "recording_a": [str(100 * number + clip) for clip in range(nb_clips)],
                "recording_b": "",
                "count": [2] * nb_twos + [1] * (nb_clips - nb_twos),
            }
        )
        for name, (nb_clips, nb_twos, softer_db) in groups.items()
    ]
    if number == 2:  # a group that only some sets have
        tables.append(tables[0].assign(group="of this set alone"))
    table = pd.concat(tables)
    run_records.write_packed(run.folder / run_records.ANSWERS, table)
    record = {**run_records.header(run, {}), "audited": counter, "test": {}}
    crs_lib.write_json(run.folder / run_records.RECORD, record)


def test_audits_are_shown_together_where_all_counters_have_one(two_sets, show, demo, tmp_path):
    results = tmp_path / "results"
    shutil.copytree(two_sets, results)
    counters = [
        next(results.glob(f"*_audio_source_counter_asc_set{number}_4k")).name for number in (1, 2)
    ]
    group = "two <b>clips</b> & more"
    command = f"python run_all.py --dataset {demo} --results {results} --sets 1 2"
    missing = f"Not every counter was audited yet: run {command}, then this page again."
    for number, counter in ((1, "another run"), (2, counters[1])):
        page, _, _ = show(results)
        assert missing in page.text
        audit(demo, results, number, counter, group, 10)
    page, _, _ = show(results)
    assert missing in page.text
    audit(demo, results, 1, counters[0], group, 2)
    page, source, _ = show(results)
    # 2 and 10 of 20; both sets beside it.
    cells = r"<td>40</td><td>30\.0</td><td>[\d.]+ to [\d.]+</td>"
    cells += r"<td>20\.0</td><td>[\d.]+ to [\d.]+</td><td>10\.0</td><td>50\.0</td>"
    assert re.search(f"<td>two &lt;b&gt;clips&lt;/b&gt; &amp; more</td>{cells}", source)
    assert "of this set alone" not in source
    assert group in page.text and not page.all("b")
    alts = [image["alt"] for image in page.all("img")]
    assert "share of clips counted as two, by group" in alts
    # An audit of a counter trained again replaces the earlier one.
    audit(demo, results, 1, counters[0], group, 14)
    audits = summary.find_audits(results, counters)
    found = metrics.audit_answers(
        [run_records.read_packed(folder / run_records.ANSWERS) for folder in audits]
    )
    assert found[group]["clips"] == 40 and "softer_db" not in found[group]
    shares, above = found[group]["counted_as_two"], found[group]["above_alone"]
    assert shares["sets"] == [0.7, 0.5] and shares["mean"] == pytest.approx(0.6)
    assert shares["low"] < 0.5 and shares["high"] > 0.7
    assert above["mean"] == pytest.approx(0.5)
    assert found["softer"]["clips"] == 40 and found["softer"]["softer_db"] == 3
    audit(demo, results, 2, counters[1], group, 10, seed=5)
    flows = [crs_lib.flow_name("asc", "isocc", number, 4000) for number in (1, 2)]
    with pytest.raises(crs_lib.InputError, match="its SEED is 5, not 0; one table"):
        summary.summarise(results, flows, tmp_path / "summary.json")


def test_what_is_missing_is_named(two_sets, demo, tmp_path, here):
    places = ("--dataset", demo, "--results", tmp_path)
    name = "overall_flow_asc-isocc_set{}_4k"
    command = f"python run_all.py --dataset {demo} --results {tmp_path}"
    message = here("show_report.py", *places)
    assert message == f"{tmp_path} has no finished run {name.format(1)}: run  {command}  first"
    places = ("--dataset", demo, "--results", two_sets)
    command = f"python run_all.py --dataset {demo} --results {two_sets} --sets 3 4"
    message = here("show_report.py", *places, "--sets", 1, 3, 4)
    names = f"{name.format(3)}, {name.format(4)}"
    assert message == f"{two_sets} has no finished run {names}: run  {command}  first"
    command = f"python run_all.py --dataset {demo} --results {two_sets}"
    there = f"python show_report.py --dataset {demo} --results {two_sets}"
    for sets, flags in (("1", ()), ("7", ("--sets", "7"))):
        message = here("show_report.py", *places, "--sample-rate", 8000, *flags)
        missing = f"{two_sets} has no finished run overall_flow_asc-isocc_set{sets}_8k"
        run = " ".join([command, *flags, "--sample-rate 8000"])
        assert message == f"{missing}: run  {run}  first, or, as that is there,  {there}"
    results = tmp_path / "results"
    shutil.copytree(two_sets, results, ignore=shutil.ignore_patterns("*.html"))
    (both,) = results.glob("*_both_set1_4k")
    shutil.rmtree(both)
    message = here("show_report.py", "--dataset", demo, "--results", results)
    (flow,) = results.glob("*_overall_flow_*_set1_4k")
    command = f"python run_all.py --dataset {demo} --results {results}"
    assert message == f"{both}, of {flow.name}, is gone: run  {command}  again"
    assert not (results / "report.html").exists()
