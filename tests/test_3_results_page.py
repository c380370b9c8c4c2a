"""What the page of results chooses and computes: mistakes, their sounds, runs and their words."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
import torch
from conftest import load_script
from test_3_summaries import FLOWS, predicted, put_run, put_set

import crs_lib
from pipeline.data import set_data
from pipeline.evaluation import summary


@pytest.fixture
def script(monkeypatch, tmp_path):
    """The script, of sets 3 and 1 of a folder of runs, without data."""
    script = load_script("show_report.py")
    monkeypatch.setattr(script, "SETS", [3, 1])
    monkeypatch.setattr(script, "RESULTS", str(tmp_path / "runs"))
    monkeypatch.setattr(script, "DATASET", str(tmp_path / "gone"))
    return script


def answers(nb_clips, seed):
    """Answers of a flow that is right of one clip in three; every score is one of eight."""
    rng = np.random.default_rng(seed)
    names = ["ox", "dog_bark", "cat", "dog_bark+ox", "cat+ox", "cat+dog_bark"]
    given = rng.choice(names, nb_clips)
    scores = rng.integers(1, 9, (nb_clips, 4)) / 8 - 0.004
    columns = [f"score_{name}" for name in ("ox", "dog_bark", "cat", "two")]
    return pd.DataFrame(scores, columns=columns).assign(
        clip=[f"{i}.wav" for i in range(nb_clips)],
        with_counter=given,
        truth=np.where(rng.random(nb_clips) < 1 / 3, given, "cow"),
        # Now and then a count other than that of the names: its chance is of the count.
        count=np.where(
            rng.random(nb_clips) < 0.2, rng.integers(1, 3), 1 + np.char.count(given, "+")
        ),
    )


@pytest.mark.parametrize("nb_shown", [1, 7, 100])
def test_the_worst_mistakes_are_those_of_a_loop(script, monkeypatch, nb_shown):
    monkeypatch.setattr(script, "NB_MISTAKES", nb_shown)
    table = answers(60, nb_shown)
    mistakes = []
    for row in table.to_dict("records"):
        if row["with_counter"] != row["truth"]:
            named = [n for n in ("ox", "dog_bark", "cat") if n in row["with_counter"].split("+")]
            of_names = [row[f"score_{name}"] for name in named]
            chance = row["score_two"] if row["count"] == 2 else 1 - row["score_two"]
            words = ", ".join(f"{n} {s:.2f}" for n, s in zip(named, of_names, strict=True))
            mistakes.append((min([chance, *of_names]), chance, words, row["clip"]))
    # Of those that are as sure the first comes first.
    expected = sorted(mistakes, key=lambda mistake: -mistake[0])[:nb_shown]
    found = script.worst_mistakes(table)
    assert found.index.tolist() == list(range(len(expected)))
    for row, (sure, chance, words, clip) in zip(found.to_dict("records"), expected, strict=True):
        assert (row["clip"], row["scores"]) == (clip, words)
        assert (row["sure"], row["chance"]) == (pytest.approx(sure), pytest.approx(chance))
    assert len({mistake[0] for mistake in mistakes}) < len(mistakes)
    assert "sure" not in table  # what was given is left as it was


def test_the_sounds_are_half_the_sum_of_the_clips_stems(script, monkeypatch):
    stems = pd.DataFrame(
        {
            "file": [Path(f"{name}.wav") for name in ("ox1", "ox2", "cat1", "cat2")],
            "class_name": ["ox", "ox", "cat", "cat"],
            "recording": list("1234"),
            "copy": 0,
            "part": ["test", "train", "test", "test"],
        }
    )
    singles, mixtures = np.array([[0, -1], [3, -1], [2, -1]]), np.array([[0, 2], [0, 3]])
    parts = {"train": np.array([[1, -1]]), "test": singles}
    data = set_data.SetData(stems, ["cat", "ox"], parts, {"test": mixtures}, {})
    waves = torch.tensor([[0.5, 0.1], [0.9, 0.9], [-0.3, 0.2], [0.25, -0.75]])
    asked, stamps = [], {"clips": {"N": 1}, "mixes": {"N": 2}}

    def choose_files(*given, oversample):
        asked.append((*given, oversample))
        return data

    def data_stamps(constants):
        asked.append(constants)
        return stamps

    monkeypatch.setattr(script.set_data, "choose_files", choose_files)
    monkeypatch.setattr(script.run_records, "data_stamps", data_stamps)
    monkeypatch.setattr(script.features, "load", lambda stems, rate, device: waves)
    constants = {"DATASET": "elsewhere", "OVERSAMPLE": 5, "SAMPLE_RATE": 4000}
    flow = {"set": 7, "constants": constants, "data": {**stamps, "copies": {"N": 3}}}
    clips = pd.Series(["ox1_cat2.wav", "cat1.wav", "ox1_cat1.wav"])
    sounds = script.sounds_of(clips, flow)
    expected = [[(0.5 + 0.25) / 2, (0.1 - 0.75) / 2], [-0.15, 0.1], [0.1, 0.15]]
    np.testing.assert_allclose(sounds, expected, rtol=1e-6)
    assert asked == [
        (script.DATASET, "", 7, 4000, 1),
        {"DATASET": script.DATASET, "OVERSAMPLE": 1, "SAMPLE_RATE": 4000},
    ]
    for some, of_run in (
        (pd.Series(["cat1.wav", "ox2.wav"]), flow),
        (clips, {**flow, "data": {**stamps, "mixes": {"N": 3}}}),
    ):
        with pytest.raises(crs_lib.InputError, match="does not hold what set 7 was tested on"):
            script.sounds_of(some, of_run)


def test_each_mistake_has_its_own_sound_and_spectrogram(script, monkeypatch, tmp_path):
    """Of sets whose mistakes stand mixed, one of them without its data."""
    mistakes = pd.DataFrame({"set": [3, 1, 3, 2, 1], "clip": ["a", "b", "c", "d", "e"]})
    levels = dict(zip("abce", (0.5, -0.25, 0.125, -0.75), strict=True))
    runs = {
        number: {
            "flow": (None, {"number": number, "synthetic": number == 3}),
            "counter": (None, {"constants": {"N_FFT": 100 + number}}),
        }
        for number in (3, 2, 1)
    }

    def sounds_of(clips, flow):
        if flow["number"] == 2:
            raise crs_lib.InputError("no data of set 2")
        return torch.tensor([[levels[clip]] * 3 for clip in clips])

    drawn = {}
    monkeypatch.setattr(script, "sounds_of", sounds_of)
    monkeypatch.setattr(
        script.features, "stft_magnitude", lambda sounds, n_fft: (n_fft * sounds)[:, None]
    )
    monkeypatch.setattr(script, "SAMPLE_RATE", 8000)
    monkeypatch.setattr(
        script.plots, "plot_spectrogram", lambda path, *given: drawn.update({path: given})
    )
    found, reason = script.players_of(mistakes, runs, tmp_path)
    assert reason == "no data of set 2" and set(found) == {0, 1, 2, 4}
    assert len(drawn) == 4
    for row, (picture, wav) in found.items():
        level, number = levels[mistakes["clip"][row]], mistakes["set"][row]
        sound, rate = sf.read(io.BytesIO(wav), dtype="float32")
        assert (sound.tolist(), rate) == ([level] * 3, 8000)
        synthetic, spectrogram, rate = drawn[picture]
        assert (synthetic, rate) == (number == 3, 8000)
        assert spectrogram.tolist() == pytest.approx([level * (100 + number)] * 3)
    assert script.players_of(mistakes[:0], runs, tmp_path) == ({}, "")


def test_the_flows_of_sets_that_were_asked_for_are_found(script, monkeypatch, tmp_path):
    runs = tmp_path / "runs"
    for name, written in (("1", 5), ("2", 3)):
        put_run(runs, f"{name}_{FLOWS[0]}", 3, crs_lib.FLOW, "asc-isocc", None, written)
    with pytest.raises(
        crs_lib.InputError, match=r"no finished run overall_flow_asc-isocc_set1_4k:"
    ):
        script.find_flows()
    put_run(runs, f"1_{FLOWS[1]}", 1, crs_lib.FLOW, "asc-isocc", None, 1)
    assert script.find_flows() == {3: runs / f"1_{FLOWS[0]}", 1: runs / f"1_{FLOWS[1]}"}
    monkeypatch.setattr(script, "SETS", list(range(1, 11)))
    assert list(script.find_flows()) == [1, 3]
    monkeypatch.setattr(script, "SAMPLE_RATE", 8000)
    with pytest.raises(crs_lib.InputError) as error:
        script.find_flows()
    # The newest of what is there is pointed to.
    assert " overall_flow_asc-isocc_set1_8k: run " in str(error.value)
    assert "set2" not in str(error.value)
    other = str(error.value).split("or, as that is there,  ")[1]
    assert "--sample-rate" not in other and "--sets" not in other
    last = {"written": 9, "sample_rate": 16000}
    put_run(runs, "0_overall_flow_a-b_set2_16k", 2, crs_lib.FLOW, "a-b", None, **last)
    with pytest.raises(crs_lib.InputError, match=r"as that is there,  .*--sample-rate 16000 "):
        script.find_flows()
    monkeypatch.setattr(script, "SETS", [2, 3])
    with pytest.raises(crs_lib.InputError, match=r"_set2_8k, overall_flow_asc-isocc_set3_8k: run"):
        script.find_flows()
    assert script.flow_name(5) == "overall_flow_asc-isocc_set5_8k"


@pytest.fixture
def shown(script, monkeypatch, tmp_path, capsys):
    """The page of sets 3 and 1: its source, the flows' answers, and what was printed."""
    monkeypatch.setattr(script, "NB_MISTAKES", 4)
    runs, tables = tmp_path / "runs", []
    for number, flow in ((3, f"1_{FLOWS[0]}"), (1, f"1_{FLOWS[1]}")):
        put_set(runs, number)
        table = predicted(number, 5).replace({"with_counter": {"d": "c"}})
        table["score_two"] = np.random.default_rng(number).random(len(table))
        table.to_csv(runs / flow / "predictions.csv", index=False)
        tables.append(table.assign(set=number))
    for path in runs.glob("*/run.json"):
        record = json.loads(path.read_text())
        nb_epochs = (0 if "overall" in path.parent.name else 7) + record["set"]
        record |= {"history": [0] * nb_epochs, "best_epoch": 4 + record["set"], "seconds": 200}
        record |= {"seed": 8, "machine": {"device": "cpu"}, "commit": "0123456789abcdef"}
        if nb_epochs < 7:
            record["history"] = []
        time = path.stat().st_mtime
        path.write_text(json.dumps(record))
        script.run_records.os.utime(path, (time, time))

    def plot_summary(results, found, path):
        """Files of a few bytes: the kind's name."""
        kinds = ["confusion", "counter", "pairs", "audit"][: 3 + bool(found["audit"])]
        for kind in kinds:
            path.with_name(kind).write_text(kind)
        return [path.with_name(kind) for kind in kinds]

    def players_of(mistakes, of_sets, folder):
        """One mistake of four has a sound."""
        (folder / "seen").write_text("seen")
        return {2: (folder / "seen", b"heard")}, f"no data of {list(of_sets)}"

    monkeypatch.setattr(script.plots, "plot_summary", plot_summary)
    monkeypatch.setattr(script.plots, "draw_missing", lambda *_: None)
    monkeypatch.setattr(script, "players_of", players_of)
    script.main()
    source = (runs / "report.html").read_text()
    return script, source, pd.concat(tables, ignore_index=True), capsys.readouterr().out


def test_the_page_holds_the_figures_of_the_runs_it_names(shown, tmp_path):
    script, source, answers, out = shown
    found = summary.summarise(tmp_path / "runs", FLOWS, tmp_path / "s.json")
    note, rows = summary.summary_rows(found)
    cells = [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in source.split("<tr>")[1:]]
    first = summary.summary_rows(found, summary.HEADLINE)[1]
    assert [[cell.replace("&#39;", "'") for cell in row] for row in cells] == [*first, *rows]
    assert len(first) == 1 + len(summary.HEADLINE) < len(rows)
    assert source.index("<details>\n<summary>Every figure") < source.index(rows[5][0])
    assert f"<p>{note}</p>" in source
    shown = re.findall(r'"data:image/png;base64,(.*)" alt="(.*)"', source)
    kinds = ["confusion", "pairs", "counter", "seen"]
    assert [base64.b64decode(content).decode() for content, _ in shown] == kinds
    clip = script.worst_mistakes(answers)["clip"][2]
    alts = ("confusion", "exact match of the flow", "the counter", f"spectrogram of {clip}")
    for (_, alt), words in zip(shown, alts, strict=True):
        assert words in alt
    for number in (3, 1):
        epochs = f"_set{number}_4k: {7 + number} epochs in\n3.3 minutes, epoch {5 + number} taken"
        assert source.count(epochs) == 4
        assert f"1_overall_flow_asc-isocc_set{number}_4k: 0123456789, seed 8, cpu" in source
    assert source.count("0123456789, seed 8, cpu") == 10 and "of the synthetic set" not in source
    wrong = answers[answers["with_counter"] != answers["truth"]]
    assert len(wrong) > 4 and source.count("<article>") == 4
    assert (
        "sets 3, 1: 4 mistakes shown" in out and "without their sounds: no data of [3, 1]\n" in out
    )
    (sound,) = re.findall('"data:audio/wav;base64,(.*)"', source)
    assert base64.b64decode(sound) == b"heard" and "<p>Without sounds: no data of [3, 1]" in source
    third = source.split("<article>")[3]
    assert "<audio" in third and third.startswith("\n<h3>3. ")
    worst = script.worst_mistakes(answers).iloc[0]
    article = source[source.index("<article>") : source.index("</article>")]
    named, given = (worst[key].replace("+", " + ") for key in ("truth", "with_counter"))
    assert f"<h3>1. {named}, predicted {given}</h3>" in article
    sure = f"{100 * worst['sure']:.0f} % sure: count {worst['count']}\n({worst['chance']:.2f}), "
    assert sure + worst["scores"] in article
    second = f" and {worst['recording_b']}" if worst["recording_b"] else ""
    recordings = f"set {worst['set']},\nrecording {worst['recording_a']}{second}</p>"
    assert f"{worst['clip']}, {recordings}" in article


def test_the_runs_of_a_flow_are_those_whose_weights_it_used(script, tmp_path):
    put_set(tmp_path / "runs", 3)
    found = script.runs_of(tmp_path / "runs" / f"1_{FLOWS[0]}")
    assert list(found) == ["counter", "single", "two_label", "both", "flow"]
    for task, (folder, record) in found.items():
        assert record == json.loads((folder / "run.json").read_text()) and record["set"] == 3
        assert (folder.name == f"1_{FLOWS[0]}") == (task == "flow")
    assert found["both"][0].name.endswith("isocc_both_set3_4k") and set(script.TITLES) == set(found)
