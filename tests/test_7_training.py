"""One training after the other, with tiny settings: what it learns, keeps and goes on with."""

import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny_set
import torch
from conftest import (
    CLASSES,
    COUNTER,
    HERE,
    SINGLE,
    TINY,
    TWO_LABEL,
    load_script,
    numbers,
    only_run,
    succeed,
)

from pipeline.data import set_data
from pipeline.evaluation import shortcuts, strategies
from pipeline.networks import features, heads, registry
from pipeline.training import loop


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A root of 27 training clips a set, 243 training mixtures, at 2 kHz."""
    root = tmp_path_factory.mktemp("tiny")
    tiny_set.make(root, oversamples=())
    return root


def test_a_killed_training_goes_on_to_the_same_numbers(tiny, tmp_path, here):
    places = ("--dataset", tiny, "--models", tmp_path / "models", "--sample-rate", 2000)
    flags = (*places, *TINY, "--epochs", 3, "--batch", 4, "--test-unselected")
    succeed(COUNTER, *flags, "--results", tmp_path / "whole")
    broken = tmp_path / "broken"
    command = [sys.executable, HERE / COUNTER, *flags, "--results", broken]
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL) as training:
        while not list(broken.glob("*/last.pt")):
            assert training.poll() is None
            time.sleep(0.02)
        training.send_signal(signal.SIGKILL)
    (folder,) = broken.iterdir()
    assert not (folder / "run.json").exists()
    epochs_before = len(torch.load(folder / "last.pt", weights_only=True)["state"]["history"])
    assert epochs_before < 3
    out = succeed(COUNTER, *flags, "--results", broken, "--resume")
    assert f"resuming {folder} after {epochs_before} epochs" in out
    assert numbers(folder) == numbers(only_run(tmp_path / "whole"))
    record = json.loads((folder / "run.json").read_text())
    # 27 singles an epoch, as many of the 243 mixtures drawn anew each epoch.
    assert 243 - 3 * 27 <= record["unselected"]["mixtures"] < 243 - 27
    # Recomputed, from the weights that were left.
    place = (tmp_path / "models", COUNTER[:-3], "asc", 1, 2000, torch.device("cpu"))
    network, content = registry.load_network(*place)
    data = set_data.choose_files(str(tiny), "", 1, 2000, 1)
    _, never = set_data.split_by_drawn(data, content["constants"], 3)
    assert len(never) == record["unselected"]["mixtures"]
    stems = features.load(data.stems, 2000, torch.device("cpu"))
    twos = heads.logits_of(network, stems, never)[:, :2].argmax(dim=1)
    assert record["unselected"]["accuracy"] == pytest.approx(twos.double().mean().item())
    # It is finished now: nothing to go on with.
    out = here(COUNTER, *flags, "--results", broken, "--resume", "--epochs", 1, status=0)
    assert "starting a new one" in out and len(list(broken.iterdir())) == 2


def test_the_same_seed_gives_the_same_numbers_and_another_does_not(tiny, tmp_path):
    def train(name, *flags, **environment):
        places = ("--results", tmp_path / name, "--models", tmp_path / name / "m")
        places = ("--dataset", tiny, "--sample-rate", 2000, "--model", "asc", *places)
        flags = (*places, *TINY, "--epochs", 1, *flags)
        succeed(TWO_LABEL, *flags, environment=environment)
        (folder,) = (tmp_path / name).glob("*_set1_2k")
        return numbers(folder)

    first = train("a", "--train-on", "both")
    assert train("b", "--train-on", "both", PYTHONHASHSEED="5", LC_ALL="C") == first
    assert train("c", "--train-on", "both", "--seed", 6) != first


def test_a_damaged_checkpoint_is_passed_over(demo, tmp_path, here):
    """As is one of other data: --resume then starts anew."""
    places = ("--dataset", demo, "--results", tmp_path, "--models", tmp_path / "models")
    flags = (*places, *TINY, "--epochs", 1, "--resume")
    old = tmp_path / "2000-01-01_00-00-00_sep_opt_isocc_single_volnorm_STFT_isocc_set1_4k"
    old.mkdir()
    (old / "last.pt").write_bytes(b"")
    first = here(SINGLE, *flags, status=0)
    assert f"{old / 'last.pt'} is damaged or of an earlier version, and is passed over" in first
    assert "starting a new one" in first
    (folder,) = tmp_path.glob("*/run.json")
    os.remove(folder)  # unfinished again
    content = torch.load(folder.parent / "last.pt", weights_only=True)
    content["data"]["esc10_rename_4k"]["constants"]["METHOD"] = "scipy"
    torch.save(content, folder.parent / "last.pt")
    assert "starting a new one" in here(SINGLE, *flags, status=0)


def test_where_every_mixture_was_drawn_none_is_left_to_test(demo, tmp_path, here):
    """Two classes of 8 training clips: 16 x 4 singles, as many as there are mixtures."""
    root = tmp_path / "data"
    for name in CLASSES[:2]:
        shutil.copytree(demo / "esc10_rename" / name, root / "esc10_rename" / name)
    shutil.copy(demo / "esc10_rename" / "names.csv", root / "esc10_rename")
    for script in ("0_txt_div.py", "0_downsampling.py", "0_2mix_csv.py"):
        here(script, "--dataset", root, status=0)
    here("0_pitch_oversample_4k.py", "--dataset", root, "--oversample", 4, status=0)
    places = ("--dataset", root, "--results", tmp_path, "--models", tmp_path / "models")
    flags = ("--oversample", 4, "--epochs", 1, "--test-unselected")
    for script in (COUNTER, TWO_LABEL):
        here(script, *places, *flags, status=0)
    for path in tmp_path.glob("*_set1_4k/run.json"):
        unselected = json.loads(path.read_text())["unselected"]
        assert unselected["mixtures"] == 0 and None in unselected.values()


@pytest.fixture(scope="module")
def learned(demo, tmp_path_factory):
    """The single-label classifier after eight epochs, and its checkpoint."""
    results = tmp_path_factory.mktemp("learned")
    places = ("--dataset", demo, "--results", results, "--models", results / "models")
    flags = ("--no-both-kinds", "--oversample", 2, "--epochs", 8, "--patience", 8, "--batch", 8)
    succeed(SINGLE, *places, *flags)
    folder = only_run(results)
    record = json.loads((folder / "run.json").read_text())
    return record, torch.load(folder / "last.pt", weights_only=True)


def test_a_network_learns(learned):
    record, _ = learned
    losses = [row["train_loss"] for row in record["history"]]
    assert losses[-1] < losses[0] / 2
    assert record["test"]["accuracy"] >= 0.75  # four clips of four kinds of sound


def test_the_learning_rate_goes_up_and_comes_down(learned):
    _, checkpoint = learned
    assert checkpoint["scheduler"]["last_epoch"] == 8 * 8
    assert checkpoint["optimiser"]["param_groups"][0]["lr"] < 1e-5


def validation_loss(weights, record, demo):
    """What validation would measure of a single-label classifier's weights."""
    constants = record["constants"]
    data = set_data.choose_files(str(demo), "", 1, 4000, constants["OVERSAMPLE"])
    stems = features.load(data.stems, 4000, torch.device("cpu"))
    labels = torch.tensor(data.stems["class_index"].to_numpy(copy=True))
    network = registry.build("isocc", len(CLASSES), 4000, 256, torch.device("cpu"))
    network.load_state_dict(weights)
    rows = data.singles["val"]
    logits = heads.logits_of(network, stems, rows)
    return torch.nn.functional.cross_entropy(logits, labels[rows[:, 0]]).item()


def test_the_averaged_weights_are_validated_and_kept(learned, demo):
    record, checkpoint = learned
    last, averaged = checkpoint["network"], checkpoint["averaged"]
    assert not torch.equal(last["dense.1.weight"], averaged["dense.1.weight"])
    found = record["history"][-1]["val_loss"]
    assert validation_loss(averaged, record, demo) == pytest.approx(found, rel=1e-3, abs=1e-6)
    assert validation_loss(last, record, demo) != pytest.approx(found, rel=1e-3, abs=1e-6)
    kept = checkpoint["state"]["best"]["weights"]
    found = record["history"][record["best_epoch"]]["val_loss"]
    assert validation_loss(kept, record, demo) == pytest.approx(found, rel=1e-3, abs=1e-6)


def test_without_averaging_the_last_weights_are_kept(demo, tmp_path, here):
    places = ("--dataset", demo, "--results", tmp_path, "--models", tmp_path / "models")
    here(SINGLE, *places, *TINY, "--epochs", 1, "--average", 0, status=0)
    checkpoint = torch.load(next(tmp_path.glob("*/last.pt")), weights_only=True)
    for name, value in checkpoint["network"].items():
        assert torch.equal(value, checkpoint["averaged"][name])


def test_the_epoch_is_the_best_by_validation(learned):
    record, checkpoint = learned
    best = max(record["history"], key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    assert record["best_epoch"] == best["epoch"] == checkpoint["state"]["best"]["row"]["epoch"]


def test_training_stops_when_validation_gets_no_better(demo, tmp_path, here, monkeypatch):
    monkeypatch.setattr(loop, "rank", lambda row, _: -row["epoch"])  # it only gets worse
    places = ("--dataset", demo, "--results", tmp_path, "--models", tmp_path / "models")
    here(SINGLE, *places, *TINY, "--no-both-kinds", "--epochs", 30, "--patience", 2, status=0)
    (record,) = tmp_path.glob("*/run.json")
    record = json.loads(record.read_text())
    assert record["best_epoch"] == 0 and len(record["history"]) == 1 + 2


def test_bfloat16_is_close_to_float32_and_not_the_same(demo, tmp_path, here):
    losses = []
    for name in ("no-bf16", "bf16"):
        places = ("--dataset", demo, "--results", tmp_path / name, "--models", tmp_path / name)
        here(SINGLE, *places, *TINY, "--no-both-kinds", "--epochs", 1, f"--{name}", status=0)
        record = json.loads((only_run(tmp_path / name) / "run.json").read_text())
        losses.append(record["history"][0]["train_loss"])
    assert losses[0] != losses[1] == pytest.approx(losses[0], rel=0.1)


def test_the_shortcut_baseline_finds_a_planted_shortcut():
    flow = load_script("overall_flow.py")
    rows = np.array([[i, -1] for i in range(40)] + [[i, i + 40] for i in range(40)])
    data = set_data.SetData(None, [], {"train": rows[:40]}, {"train": rows[40:]}, {})
    stems = torch.rand(80, 4000, generator=torch.manual_seed(0)) - 0.5
    constants = {"SEED": 0, "SET": 1, "REDRAW": True, "OVERSAMPLE": 1, "REPEAT": 1, "N_FFT": 256}
    stems[:40, ::2] = 0  # every single clip is half digital silence, no mixture is
    parts = [rows[20:60], rows[[70, 3, 41]]]
    several, few = flow.shortcut_scores(stems, data, parts, constants)
    assert (several[:20] < 0.1).all() and (several[20:] > 0.9).all()
    assert (few > 0.5).tolist() == [True, False, True] and few[2] == several[41 - 20]


def test_the_ensemble_is_the_product_of_both_chances(demo):
    flow, draw = load_script("overall_flow.py"), torch.Generator().manual_seed(0)
    data = set_data.choose_files(str(demo), "", 1, 4000, 1)
    rows = np.concatenate([data.singles["test"], data.mixtures["test"]])
    widths = {"counter": 6, "single": 4, "two_label": 4, "both": 4}
    logits = {task: torch.randn(len(rows), n, generator=draw) for task, n in widths.items()}
    content = {"constants": {"N_FFT": 256, "SHARED": False}}
    content |= {"metrics": {"validation": {"val_threshold": 0.5}}}
    found = flow.strategies_of({task: (task, content) for task in widths}, logits)
    halves = dict.fromkeys(strategies.OPTIMISED.values(), 0.5)
    table = flow.predictions(found, rows, data, halves)
    singles, pairs = [(a,) for a in range(4)], list(itertools.combinations(range(4), 2))
    for clip, row in table.iterrows():
        there = logits["both"][clip].sigmoid().tolist()
        baseline = {
            names: math.prod(p if a in names else 1 - p for a, p in enumerate(there))
            for names in singles + pairs
        }
        of_two = sum(map(baseline.get, pairs)) / sum(map(baseline.get, singles))
        of_two *= math.exp(logits["counter"][clip, 1] - logits["counter"][clip, 0])
        assert row["ensemble_score_two"] == pytest.approx(of_two**0.5 / (1 + of_two**0.5), rel=1e-4)
        is_mixture = row["recording_b"] != ""
        sets, task = (pairs, "two_label") if is_mixture else (singles, "single")
        sums = {names: logits[task][clip, list(names)].sum().item() for names in sets}
        best = max(sets, key=lambda names, s=sums, r=baseline: math.exp(s[names]) * r[names])
        assert row["ensemble_oracle_count"] == "+".join(data.classes[a] for a in best)
        assert row["ensemble"].count("+") == (row["ensemble_score_two"] > 0.5)


def test_shortcut_features_are_what_they_are_called():
    wave = torch.zeros(1, 4000)
    wave[0, 1000:3000] = 0.2
    wave[0, 1000:3000:2] *= -1
    peak, rms, crest, silence, flatness = shortcuts.shortcut_features(wave, 256)[0]
    assert (peak, rms, silence) == pytest.approx((0.2, 0.2 / 2**0.5, 0.5))
    assert crest == pytest.approx(2**0.5) and 0 < flatness < 0.1
    noise = torch.randn(1, 400_000, generator=torch.manual_seed(0))
    assert shortcuts.shortcut_features(noise, 256)[0][4] > 0.9


def test_the_counter_learns_names_beside_the_count():
    script = load_script(COUNTER)
    labels = torch.tensor([0, 0, 1, 2])
    rows = np.array([[0, -1], [1, 2], [3, 2]])
    targets = script.targets(rows, labels, 3)
    assert targets.tolist() == [[0, 1, 0, 0], [1, 1, 1, 0], [1, 0, 1, 1]]
    logits = torch.randn(3, 5, generator=torch.manual_seed(0))
    count = -torch.log_softmax(logits[:, :2], dim=1)[range(3), [0, 1, 1]].mean()
    # Of one name the likelihood among all names, of two that among all pairs.
    weights = logits[:, 2:].exp()
    pairs = torch.stack([weights[:, a] * weights[:, b] for a, b in ((0, 1), (0, 2), (1, 2))], dim=1)
    likelihoods = [
        weights[0, 0] / weights[0].sum(),
        pairs[1, 0] / pairs[1].sum(),
        pairs[2, 2] / pairs[2].sum(),
    ]
    expected = count - script.LABELS_WEIGHT * torch.stack(likelihoods).log().mean()
    assert script.loss(logits, targets).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_classifiers_learn_from_singles_and_mixtures_or_each_from_its_own(monkeypatch):
    singles, mixtures = np.array([[0, -1], [1, -1]]), np.array([[0, 1], [1, 2], [2, 3]])
    data = set_data.SetData(None, [], {"train": singles}, {"train": mixtures}, {})
    monkeypatch.setattr(set_data, "draw_mixtures", lambda *_: (mixtures[1:], None))
    everything = [*singles.tolist(), *mixtures[1:].tolist()]
    for script, alone in ((SINGLE, singles), (TWO_LABEL, mixtures[1:])):
        module = load_script(script)
        assert module.BOTH_KINDS and module.draw(0, data).tolist() == everything
        monkeypatch.setattr(module, "BOTH_KINDS", False)
        assert module.draw(0, data).tolist() == alone.tolist()
    module.BOTH = True  # the baseline learns from both in any case
    assert module.draw(0, data).tolist() == everything
