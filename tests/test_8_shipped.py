"""Predictions and shipped weights answer as the flow did."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import CLASSES, edit_weights, load_script, succeed

import crs_lib
from pipeline.inference import choose_weights
from pipeline.networks import yamnet


def test_predict_answers_as_the_flow_does(home):
    """The test mixtures written as WAV get the names that the flow gave them in memory."""
    (flow,) = home.glob("results/*overall_flow*/predictions.csv")
    expected = pd.read_csv(flow).set_index("clip")["with_counter"]
    folder = home / "data" / "esc10_2mix_vol_norm_4k"
    files = [folder / clip for clip in expected.index if (folder / clip).exists()]
    out = succeed("predict.py", "--models", home / "models", "--json", *files)
    rows = json.loads(out)["recordings"]
    assert len(rows) == 6
    for row in rows:
        assert "+".join(sorted(row["names"])) == expected[row["file"].split("/")[-1]]


def shipping(home, target, *flags):
    """The words of tools/ship.py on what `home` trained."""
    places = (
        "--dataset",
        home / "data",
        "--results",
        home / "results",
        "--models",
        home / "models",
    )
    return ("tools/ship.py", *places, "--target", target, *flags)


def test_shipped_weights_answer_as_those_that_were_trained(home, tmp_path, here):
    target = tmp_path / "pretrained"
    out = here(*shipping(home, target), status=0)
    assert "10 test clips are answered as before" in out
    card = (target / "README.md").read_text()
    assert "SYNTHETIC data" in card and str(home) not in card
    names = [path.name for path in target.iterdir()]
    assert len(names) == 5 and "sep_opt_isocc_multi_random_volnorm_STFT_isocc_both" not in card
    encoder = target / yamnet.ENCODER_FILE
    assert f"`{encoder.name}`" in card
    assert encoder.read_bytes() == yamnet.encoder_path().read_bytes()
    for path in {*target.glob("*.pt")} - {encoder}:
        assert f"`{path.name}`" in card
        content = torch.load(path, weights_only=True)
        trained = torch.load(home / "models" / path.name, weights_only=True)
        is_half = f"{target}/{path.name}: half precision" in out
        kinds = {value.dtype for value in content["weights"].values() if value.is_floating_point()}
        assert kinds == {torch.float16 if is_half else torch.float32}
        assert path.stat().st_size < (0.55 if is_half else 1.1) * trained_size(home, path) + 20_000
        assert content["classes"] == list(CLASSES) and content["metrics"] == trained["metrics"]
        assert content["record"]["test"] and len(content["record"]["history"]) == 1
        assert str(home) not in repr(content["constants"]) + repr(content["record"])
    assert "half precision" in out
    for network, _ in choose_weights.load(str(target), 0, 0, "", "", torch.device("cpu")).values():
        assert {p.dtype for p in network.parameters()} == {torch.float32}
    singles = [home / "data" / "esc10_rename_4k" / name / f"{name}1.wav" for name in CLASSES]
    tested = pd.read_csv(next(home.glob("results/*overall_flow*/predictions.csv")))["clip"]
    mixtures = [home / "data" / "esc10_2mix_vol_norm_4k" / clip for clip in tested[4:]]
    words = ("predict.py", "--json", *singles, *mixtures, "--models")
    answers = [json.loads(succeed(*words, models)) for models in (target, home / "models")]
    kept = [
        {Path(row["file"]).name: row["names"] for row in answer["recordings"]} for answer in answers
    ]
    assert set(kept[0]) == set(tested) and len(tested) == 10
    assert kept[0] == kept[1]


def trained_size(home, path):
    return (home / "models" / path.name).stat().st_size


def test_the_card_shows_what_the_runs_recorded(home, tmp_path, here):
    here(*shipping(home, tmp_path / "pretrained"), status=0)
    card = (tmp_path / "pretrained" / "README.md").read_text()
    (record,) = home.glob("results/*_audio_source_counter_*/run.json")
    record = json.loads(record.read_text())
    low, high = (f"{100 * value:.1f}" for value in record["test_interval"]["accuracy_balanced"])
    figure = f"{100 * record['test']['accuracy_balanced']:.1f}"
    assert re.search(rf"\| counter: balanced accuracy.*\| {figure} \| {low} to {high} \|", card)
    (table,) = home.glob("results/*_single_volnorm_STFT_isocc_set1_4k/predictions.csv")
    table = pd.read_csv(table)
    for name in CLASSES:
        clips = table[table["truth"] == name]
        right = (clips["labels"] == name).sum()
        others = [f"{n} (1)" for n in clips["labels"][clips["labels"] != name]]
        row = rf"\| {name} \| \d of 1 \| {right} of 1 \| {re.escape(', '.join(others))} \|"
        assert re.search(row, card)
    assert len(re.findall(r"^\| \w+ \+ \w+ \| \d of 1 \| \d of 1 \|$", card, re.MULTILINE)) == 6


def test_half_precision_is_taken_only_where_no_answer_changes(home, tmp_path, monkeypatch):
    """A network whose answers differ keeps its full precision, another does not."""
    ship = load_script("tools/ship.py")
    places = {"DATASET": home / "data", "RESULTS": home / "results", "MODELS": home / "models"}
    for name, value in {**places, "TARGET": tmp_path / "pretrained"}.items():
        monkeypatch.setattr(ship, name, str(value))
    given = ship.answers

    def answers(trained, *more):
        found = given(trained, *more)
        weights = trained["counter"][1]["weights"]
        if any(value.dtype == torch.float16 for value in weights.values()):
            found["counter"] = 3 - found["counter"]
        return found

    monkeypatch.setattr(ship, "answers", answers)
    ship.main()
    for path in (tmp_path / "pretrained").glob("*.pt"):
        weights = torch.load(path, weights_only=True)["weights"]
        expected = torch.float32 if "counter" in path.name else torch.float16
        assert {v.dtype for v in weights.values() if v.is_floating_point()} == {expected}
    monkeypatch.setattr(ship, "MOST_BYTES", 1_000_000)
    with pytest.raises(crs_lib.InputError, match=r"more than 1 together .*: counter\)"):
        ship.main()


def test_weights_are_shipped_only_with_the_run_that_tested_them(home, tmp_path, here):
    models = shutil.copytree(home / "models", tmp_path / "models")
    flags = ("--models", models)
    last = ("dense.4.weight", "dense.4.bias")  # every count is then the other one
    name = "audio_source_counter_asc_set1_4k.pt"
    edit_weights(models / name, models / name, lambda c: [c["weights"][key].neg_() for key in last])
    message = here(*shipping(home, tmp_path / "pretrained", *flags))
    assert "tested other weights: run  python overall_flow.py --dataset " in message
    edit_weights(models / name, models / name, lambda content: content.update(run="gone"))
    message = here(*shipping(home, tmp_path / "pretrained", *flags))
    assert f"{home}/results/gone/run.json is missing: run  python run_all.py" in message
    assert not (tmp_path / "pretrained").exists()


def test_who_recorded_what_goes_with_the_weights(home, tmp_path, here):
    names = pd.read_csv(home / "data" / "esc10_rename" / "names.csv")
    clips = ["-".join(original.split("-")[:3]) for original in names["original"]]
    lines = [
        f"- [{clip}.ogg]:  clip derived from a|b ({i}).wav (http://x.org/{i}/) by me {i} [CC-BY]"
        for i, clip in enumerate(clips)
    ]
    (tmp_path / "LICENSE").write_text("\n".join(lines))
    flags = ("--attribution", tmp_path / "LICENSE")
    here(*shipping(home, tmp_path / "pretrained", *flags), status=0)
    text = (tmp_path / "pretrained" / "ATTRIBUTION.md").read_text()
    for i, (clip, number) in enumerate(zip(clips, names["number"], strict=True)):
        row = f"| {clip} | [a\\|b ({i}).wav](http://x.org/{i}/) | me {i} | CC-BY |"
        assert (row in text) == (number != 1)  # number 1 is tested
    assert "`ATTRIBUTION.md`" in (tmp_path / "pretrained" / "README.md").read_text()
    (tmp_path / "LICENSE").write_text("\n".join(lines[:5]))
    message = here(*shipping(home, tmp_path / "pretrained", *flags))
    assert message.startswith(f"{tmp_path}/LICENSE does not say who recorded 1-")
