"""What a training is asked for and what it leaves: targets, tables, weights, records."""

import copy
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from test_3_training import CONSTANTS, CPU, Tiny, batch_of, some_clips

import crs_lib
from crs_lib import InputError
from pipeline.data import audio, set_data
from pipeline.evaluation import metrics, run_records
from pipeline.networks import features, heads, registry, weights_file
from pipeline.training import loop

CLASSES = ["ant", "bee", "cat"]


def test_targets_mark_each_class_in_a_clip():
    labels = torch.tensor([2, 0, 1, 2])
    rows = np.array([[0, -1], [1, 2], [3, 1], [0, 3], [2, -1]])
    found = loop.many_hot(rows, labels, 4)
    expected = [[0, 0, 1, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 1, 0], [0, 1, 0, 0]]
    assert found.tolist() == expected and found.dtype == torch.float32


def set_of(*clips):
    """A set of stems: (class, number, recording) each."""
    stems = pd.DataFrame(
        [
            (Path(f"{name}{number}.wav"), name, CLASSES.index(name), recording)
            for name, number, recording in clips
        ],
        columns=["file", "class_name", "class_index", "recording"],
    )
    return set_data.SetData(stems, CLASSES, {}, {}, {})


def test_validation_clips_have_their_logits():
    data = set_of(("ant", 0, "10"), ("cat", 4, "11"), ("bee", 2, "12"))
    logits = torch.tensor([[0.5, -1.0], [2.0, 3.0]])
    table = loop.validation_table(logits, np.array([[1, -1], [0, 2]]), data, ["one", "two"])
    assert table.to_dict("list") == {
        "clip": ["cat4.wav", "ant0_bee2.wav"],
        "recording_a": ["11", "10"],
        "recording_b": ["", "12"],
        "truth": ["cat", "ant+bee"],
        "logit_one": [0.5, 2.0],
        "logit_two": [-1.0, 3.0],
    }


# ------------------------------------------------------------------------------ what is left of it


def test_a_classifier_takes_the_logits_behind_the_count(tmp_path, monkeypatch):
    stems, _, _, rows = some_clips()
    counter, asked = Tiny(5), []
    expected = counter(batch_of(stems, rows))[:, 2:]
    content = {"classes": CLASSES, "label_head": {"bias": 1}, "run": "the counter's"}
    content |= {"constants": {"N_FFT": 64}, "metrics": {"validation": {"epoch": 6}}}

    def load(*where):
        asked.append(where)
        return copy.deepcopy(counter), content

    monkeypatch.setattr(registry, "load_network", load)
    constants = {**CONSTANTS, "MODELS": "m", "RESULTS": "r"}
    run = run_records.Run(tmp_path, crs_lib.SINGLE, "tiny", constants, {}, "")

    def take(classes=CLASSES):
        network, given = Tiny(), []

        def validate(logits):
            given.append(logits)
            return {"good": 0.7}

        found = loop.take_label_head(run, network, stems, classes, validate, rows)
        return network, given, found

    network, given, (row, logits, label_head_of) = take()
    assert asked == [("m", crs_lib.COUNTER, "tiny", 2, 4000, CPU, "d")]
    assert (row, label_head_of) == ({"epoch": 6, "val_good": 0.7}, "the counter's")
    torch.testing.assert_close(logits, expected.detach(), rtol=1e-4, atol=1e-5)
    assert torch.equal(given[0], logits)
    assert torch.equal(heads.logits_of(network, stems, rows), logits)
    for change in ({"label_head": {}}, {"classes": CLASSES[:2]}, {"constants": {"N_FFT": 128}}):
        monkeypatch.setattr(registry, "load_network", lambda *_, c=change: (counter, content | c))
        with pytest.raises(InputError, match="the counter of the counter's learned no such labels"):
            take()


def test_a_finished_training_is_written_down(tmp_path, capsys):
    data = set_of(("ant", 0, "10"), ("cat", 4, "11"), ("bee", 2, "12"), ("bee", 3, "12"))
    rows = np.array([[0, -1], [1, -1], [2, -1], [3, -1]])
    table = set_data.recordings_of(data.stems, rows).assign(labels=["ant", "cat", "bee", "ant"])
    constants = {**CONSTANTS, "MODELS": str(tmp_path / "m"), "DATASET": str(tmp_path)}
    run = run_records.Run(tmp_path / "run", crs_lib.SINGLE, "tiny", constants, {"x": None}, "abc")
    history = [{"epoch": 0, "seconds": 1.5, "val_loss": 2.0}, {"epoch": 1, "seconds": 2.25}]
    drawn, network = [], Tiny()
    loop.finish(
        run,
        network,
        classes=CLASSES,
        figures=metrics.single_figures,
        predictions=table,
        validation=table.iloc[:2],
        history=history,
        best=history[1],
        draw_plots=lambda: drawn.append((run.folder / "run.json").exists()),
        more_of_it=7,
    )
    record = json.loads((run.folder / "run.json").read_text())
    assert drawn == [False]  # the record comes last
    assert record["test"] == {"accuracy": 0.75}
    assert (record["seconds"], record["best_epoch"], record["more_of_it"]) == (3.75, 1, 7)
    assert record["history"] == history and record["machine"]["device"] == "cpu"
    assert pd.read_csv(run.folder / "predictions.csv")["labels"].tolist() == list(table["labels"])
    assert pd.read_csv(run.folder / "validation.csv")["clip"].tolist() == ["ant0.wav", "cat4.wav"]
    weights = weights_file.read_weights(tmp_path / "m" / f"{run.name}.pt")
    assert torch.equal(weights["weights"]["dense.0.weight"], network.dense[0].weight.detach())
    assert weights["metrics"] == {"test": {"accuracy": 0.75}, "validation": history[1]}
    assert (weights["classes"], weights["run"], weights["data"]) == (CLASSES, "run", {"x": None})
    assert (
        weights["constants"] == {**run_records.LATER_CONSTANTS, **constants}
        and weights["synthetic"] is False
    )
    assert weights["label_head"] == {}
    low, high = record["test_interval"]["accuracy"]
    line = f"test accuracy: 75.0 %  (95 %: {100 * low:.1f} to {100 * high:.1f})"
    assert line in capsys.readouterr().out


def test_a_clip_is_half_the_sum_of_its_stems_at_one_level():
    """As every network gets it in training and in tests: `batch_of` against the project's own."""
    stems, _, rows, _ = some_clips()
    torch.testing.assert_close(
        features.stft_magnitude(audio.level_rms(audio.mix(*features.stems_of(stems, rows))), 64),
        batch_of(stems, rows),
        rtol=1e-4,
        atol=1e-5,
    )
