"""Predictions and shipped weights answer as the flow did."""

import json
import re
import shutil

import pandas as pd
import pytest
import torch
from conftest import CLASSES, edit_weights, load_script, succeed

import crs_lib
from pipeline.data import set_data
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


@pytest.fixture(scope="module")
def all_clips(home, tmp_path_factory):
    """Where a counter of all clips was trained by the recipe of `home`, its threshold the median:
    results/, models/. Not to be changed.
    """
    folder = tmp_path_factory.mktemp("all_clips")
    (record,) = home.glob("results/*_audio_source_counter_*/run.json")
    record = json.loads(record.read_text())
    threshold = round(record["history"][record["best_epoch"]]["val_threshold"], 2)
    places = ("--dataset", home / "data", "--results", folder / "results")
    recipe = ("--oversample", 2, "--epochs", 1, "--all-clips", "--threshold", threshold)
    succeed("audio_source_counter.py", *places, "--models", folder / "models", *recipe)
    return folder


def shipping(home, all_clips, target, *flags):
    """The words of tools/ship.py on what was trained in `all_clips`."""
    places = {
        "--dataset": home / "data",
        "--results": all_clips / "results",
        "--models": all_clips / "models",
        "--cross-validated": home / "results" / "summary_4k_1.json",
        "--counter-model": "asc",
        "--sample-rate": 4000,
        "--target": target,
    }
    return ("tools/ship.py", *(word for pair in places.items() for word in pair), *flags)


NAME = "audio_source_counter_asc_all_4k.pt"


def test_shipped_weights_answer_as_those_that_were_trained(home, all_clips, tmp_path, here):
    target = tmp_path / "pretrained"
    out = here(*shipping(home, all_clips, target), status=0)
    data = set_data.choose_files(str(home / "data"), "", crs_lib.ALL_CLIPS, 4000, 2)
    nb_clips = len(data.singles["train"]) + len(data.mixtures["train"][::40])
    assert f"{target}/{NAME}: half precision\n{nb_clips} clips answered alike\n" in out
    card = (target / "README.md").read_text()
    assert "SYNTHETIC data" in card and str(home) not in card + str(all_clips)
    encoder = target / yamnet.ENCODER_FILE
    assert {path.name for path in target.iterdir()} == {NAME, encoder.name, "README.md"}
    assert f"`{encoder.name}`" in card and f"`{NAME}`" in card
    assert encoder.read_bytes() == yamnet.encoder_path().read_bytes()
    content = torch.load(target / NAME, weights_only=True)
    trained = torch.load(all_clips / "models" / NAME, weights_only=True)
    kinds = {value.dtype for value in content["weights"].values() if value.is_floating_point()}
    assert kinds == {torch.float16}
    size = (all_clips / "models" / NAME).stat().st_size
    assert (target / NAME).stat().st_size < 0.55 * size + 20_000
    assert content["classes"] == list(CLASSES) and content["metrics"] == trained["metrics"]
    assert len(content["record"]["history"]) == 1 and content["record"]["set"] == 0
    kept = repr(content["constants"]) + repr(content["record"])
    assert str(home) not in kept and str(all_clips) not in kept
    loaded = choose_weights.load(str(target), 0, 0, "", "", torch.device("cpu"))
    for network, _ in loaded.values():
        assert {p.dtype for p in network.parameters()} == {torch.float32}
    singles = [home / "data" / "esc10_rename_4k" / name / f"{name}1.wav" for name in CLASSES]
    mixtures = sorted((home / "data" / "esc10_2mix_vol_norm_4k").glob("*.wav"))[:6]
    assert len(mixtures) == 6
    words = ("predict.py", "--json", *singles, *mixtures, "--models")
    answers = [
        json.loads(succeed(*words, models))["recordings"]
        for models in (target, all_clips / "models")
    ]
    assert [row["names"] for row in answers[0]] == [row["names"] for row in answers[1]]


def test_the_card_shows_what_the_cross_validation_reached(home, all_clips, tmp_path, here):
    here(*shipping(home, all_clips, tmp_path / "pretrained"), status=0)
    card = (tmp_path / "pretrained" / "README.md").read_text()
    (record,) = home.glob("results/*_audio_source_counter_*/run.json")
    record = json.loads(record.read_text())
    low, high = (f"{100 * value:.1f}" for value in record["test_interval"]["accuracy_balanced"])
    figure = f"{100 * record['test']['accuracy_balanced']:.1f}"
    assert re.search(rf"\| counter: balanced accuracy.*\| {figure} \| {low} to {high} \|", card)
    (table,) = home.glob("results/*_overall_flow_*/predictions.csv")
    table = pd.read_csv(table)
    for name in CLASSES:
        (clip,) = table[table["truth"] == name].to_dict("records")
        is_one, is_label = clip["count"] == 1, clip["oracle_count"] == name
        shares = [f"{100.0 * value:.1f}" for value in (is_one, is_label, is_one and is_label)]
        assert f"| {name} | 1 | {' | '.join(shares)} |" in card
    assert len(re.findall(r"^\| \w+ \+ \w+ \| 1 \|", card, re.MULTILINE)) == 6
    assert "all of its 40 five-second recordings of 4 classes" in card


def test_half_precision_is_taken_only_where_no_answer_changes(
    home, all_clips, tmp_path, monkeypatch
):
    ship = load_script("tools/ship.py")
    _, *words = shipping(home, all_clips, tmp_path / "pretrained")
    for flag, value in zip(words[::2], words[1::2], strict=True):
        name = flag.removeprefix("--").replace("-", "_").upper()
        monkeypatch.setattr(ship, name, value if isinstance(value, int) else str(value))
    calls = []

    def answers(*given):
        calls.append(given)
        return [f"of call {len(calls)}"]

    monkeypatch.setattr(ship, "answers", answers)
    ship.main()
    assert len(calls) == 2
    weights = torch.load(tmp_path / "pretrained" / NAME, weights_only=True)["weights"]
    assert {v.dtype for v in weights.values() if v.is_floating_point()} == {torch.float32}
    assert "| full |" in (tmp_path / "pretrained" / "README.md").read_text()
    monkeypatch.setattr(ship, "MOST_BYTES", 1_000_000)
    with pytest.raises(crs_lib.InputError, match=r"full \(in half .* MB, more than 1$"):
        ship.main()


def test_weights_are_shipped_only_with_the_figures_of_their_recipe(home, all_clips, tmp_path, here):
    target = tmp_path / "pretrained"
    (trained,) = (all_clips / "results").iterdir()
    results = shutil.copytree(all_clips / "results", tmp_path / "results")
    record = json.loads((results / trained.name / "run.json").read_text())
    flags = ("--results", results)

    def message(data=record["data"], **changes):
        changed = {**record, "data": data, "constants": {**record["constants"], **changes}}
        (results / trained.name / "run.json").write_text(json.dumps(changed))
        return here(*shipping(home, all_clips, target, *flags))

    other = "the cross-validation is of another recipe than the network of all clips: it "
    assert message(GAIN=3.0) == f"{other}has GAIN 6.0, not 3.0"
    threshold = record["constants"]["THRESHOLD"]
    assert message(THRESHOLD=0.01) == (
        "the network of all clips has a threshold of 0.01, the median of the cross-validation is "
        f"{threshold}: train it again, with  --threshold {threshold}"
    )
    assert message(data={**record["data"], "esc10_mixes.csv": {}}) == f"{other}is of other data"
    shutil.rmtree(results / trained.name)
    said = here(*shipping(home, all_clips, target, *flags))
    assert f"{results}/{trained.name}/run.json is missing: run  python audio_source" in said
    assert "--all-clips" in said
    models = shutil.copytree(all_clips / "models", tmp_path / "models")
    edit_weights(models / NAME, models / NAME, lambda content: content.update(label_head={}))
    said = here(*shipping(home, all_clips, target, "--models", models))
    assert said == f"{trained.name} learned no labels, so that nothing would classify"
    said = here(*shipping(home, all_clips, target, "--cross-validated", tmp_path / "none.json"))
    assert said.startswith(f"{tmp_path}/none.json is missing: run  python run_all.py")
    assert not target.exists()


def test_who_recorded_what_goes_with_the_weights(home, all_clips, tmp_path, here):
    names = pd.read_csv(home / "data" / "esc10_rename" / "names.csv")
    clips = ["-".join(original.split("-")[:3]) for original in names["original"]]
    lines = [
        f"- [{clip}.ogg]:  clip derived from a|b ({i}).wav (http://x.org/{i}/) by me {i} [CC-BY]"
        for i, clip in enumerate(clips)
    ]
    (tmp_path / "LICENSE").write_text("\n".join(lines))
    flags = ("--attribution", tmp_path / "LICENSE")
    here(*shipping(home, all_clips, tmp_path / "pretrained", *flags), status=0)
    text = (tmp_path / "pretrained" / "ATTRIBUTION.md").read_text()
    for i, clip in enumerate(clips):
        assert f"| {clip} | [a\\|b ({i}).wav](http://x.org/{i}/) | me {i} | CC-BY |" in text
    assert "`ATTRIBUTION.md`" in (tmp_path / "pretrained" / "README.md").read_text()
    (tmp_path / "LICENSE").write_text("\n".join(lines[:5]))
    message = here(*shipping(home, all_clips, tmp_path / "pretrained", *flags))
    assert message.startswith(f"{tmp_path}/LICENSE does not say who recorded 1-")
