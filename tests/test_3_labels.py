"""Counts, names and scores of windows: against each network by itself, the flow, the trainings.

The networks are a few weights over three bands of a spectrogram, a set each of its own, and see
windows of their own length: whose answer, and of which spectrogram, is then never in doubt.
"""

import copy
import math
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
import torch
from conftest import load_script
from torch import nn

import overall_flow
from crs_lib import InputError
from pipeline.data import set_data
from pipeline.evaluation import strategies
from pipeline.inference import choose_weights, classify, timeline
from pipeline.networks import heads, registry

CPU = torch.device("cpu")
CLASSES = ["a", "b", "c", "d"]
RATE = 2000
N_FFT = {"counter": 256, "single": 512, "two_label": 160, "both": 200}


def network_of(*weights):
    """Logits from the mean magnitudes in three bands: a row of weights a logit, the bias last."""
    linear = nn.Linear(3, len(weights))
    values = torch.tensor(weights, dtype=torch.float)
    linear.load_state_dict({"weight": values[:, :3], "bias": values[:, 3]})
    return nn.Sequential(nn.AdaptiveAvgPool2d((3, 1)), nn.Flatten(), linear).eval()


WEIGHTS = {
    "counter": [(4, -2, 2, -1), (-3, 3, 4, -1)],
    "single": [(5, 3, -3, -0.25), (4, -2, 1, 0.5), (4, -1, 3, 0), (2, 1, -3, 1.5)],
    "two_label": [(-2, -1, 6, 0), (-1, 4, -1, -0.5), (6, 5, -3, -0.5), (3, -3, -2, 1.25)],
    "both": [(1, 2, 3, 0), (3, 2, 1, 0), (0, 1, 5, 0), (4, 4, 0, 0)],
}


def with_n_fft(network, n_fft):
    """As registry.build says what a network takes."""
    network.n_fft = n_fft
    return network


def trained_networks(rate=RATE):
    """What labels: of each task a network and what its file says of it."""
    more = {"run": "", "synthetic": False, "metrics": {"validation": {"val_threshold": 0.6}}}
    return {
        task: (
            with_n_fft(network_of(*WEIGHTS[task]), n_fft),
            {
                "classes": CLASSES,
                "constants": {"N_FFT": n_fft, "SAMPLE_RATE": rate, "SHARED": False},
                **more,
            },
        )
        for task, n_fft in N_FFT.items()
    }


def unlike_waves(nb_waves, rate=RATE):
    """Noise and tones of unlike levels, shorter than a clip at times: float32 (waves, samples)."""
    rng, time = np.random.default_rng(2), np.arange(5 * rate) / rate
    waves = 0.02 * rng.standard_normal((nb_waves, 5 * rate))
    for i, wave in enumerate(waves):
        wave += 0.1 * np.sin(2 * np.pi * (0.02 + 0.43 * i / nb_waves) * rate * time)
        wave *= (time < 1 + i % 5) * 0.2 ** (i % 3)
    return (waves / 2).astype(np.float32)


def logits_of(network, n_fft, wave):
    """One clip's logits, step by step: levelled, windows, their spectra, the network."""
    levelled = np.pad(wave * 0.1 / np.sqrt(np.mean(wave.astype(float) ** 2)), n_fft // 2)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    frames = np.lib.stride_tricks.sliding_window_view(levelled, n_fft)[:: n_fft // 4]
    magnitudes = torch.from_numpy(np.abs(np.fft.rfft(frames * hann)).T)
    with torch.no_grad():
        return network(magnitudes.float()[None, None])[0].tolist()


def shares(logits):
    weights = [math.exp(logit) for logit in logits]
    return [weight / sum(weights) for weight in weights]


def shares_of_two(logits):
    """Over all pairs of classes, the share of those with a class."""
    pairs = {pair: math.exp(sum(logits[c] for c in pair)) for pair in combinations(range(4), 2)}
    having = [sum(w for pair, w in pairs.items() if c in pair) for c in range(4)]
    return [weight / sum(pairs.values()) for weight in having]


def test_a_window_gets_the_count_the_names_and_the_scores_of_the_networks_alone():
    trained, windows = trained_networks(), unlike_waves(12)
    windows[[3, 8]] = 0
    got = classify.predict(windows, trained, CPU)
    chances, answers = [], set()
    for row in sorted({*range(12)} - {3, 8}):
        one, two = shares(logits_of(trained["counter"][0], N_FFT["counter"], windows[row]))
        count = 2 if two > one else 1
        task, scores_of = {1: ("single", shares), 2: ("two_label", shares_of_two)}[count]
        scores = scores_of(logits_of(trained[task][0], N_FFT[task], windows[row]))
        best = sorted(range(4), key=lambda c, scores=scores: -scores[c])[:count]
        assert got.counts[row] == count
        assert got.count_scores[row] == pytest.approx(max(one, two), abs=1e-5)
        assert got.scores[row].tolist() == pytest.approx(scores, abs=1e-5)
        assert got.labels[row].nonzero()[0].tolist() == sorted(best)
        assert sum(scores) == pytest.approx(count)
        chances.append((count, max(one, two)))
        answers.add(tuple(best))
    # Otherwise this test would tell too little: counts, chances and names differ.
    assert {count for count, _ in chances} == {1, 2} and len(answers) >= 5
    assert all(0.5 < chance < 0.95 for _, chance in chances)
    assert got.counts[[3, 8]].tolist() == [0, 0]
    assert got.count_scores[[3, 8]].tolist() == [1, 1]  # it is sure to be silence
    assert not got.labels[[3, 8]].any() and not got.scores[[3, 8]].any()
    assert got.silent.all(axis=1).tolist() == [row in (3, 8) for row in range(12)]
    assert [part.dtype.name for part in got] == ["int64", "float32", "bool", "float32", "bool"]


def test_one_second_of_sound_in_a_window_is_heard():
    windows = np.zeros((5, 5 * RATE), dtype=np.float32)
    for second in range(5):
        windows[second, second * RATE : (second + 1) * RATE] = unlike_waves(1)[0, :RATE]
    got = classify.predict(windows, trained_networks(), CPU)
    assert (got.counts > 0).all()
    assert got.silent.tolist() == (~np.eye(5, dtype=bool)).tolist()


def test_a_network_is_asked_only_where_there_is_something_for_it():
    """Of five windows two are silent, and the counter counts two in none."""
    asked = []

    def ask(task, logits, spectrograms):
        asked.append((task, len(spectrograms)))
        return torch.tensor([logits] * len(spectrograms))

    content = trained_networks()["counter"][1]
    logits = {"counter": [1.0, 0.0], "single": [0.0, 3.0, 0.0, 0.0], "two_label": [0.0] * 4}
    trained = {
        task: (with_n_fft(partial(ask, task, given), N_FFT[task]), content)
        for task, given in logits.items()
    }
    windows = unlike_waves(5)
    windows[[0, 3]] = 0
    assert classify.predict(windows, trained, CPU).counts.tolist() == [0, 1, 1, 0, 1]
    assert asked == [("counter", 3), ("single", 3)]
    classify.predict(windows[[0, 3]], trained, CPU)
    assert len(asked) == 2


def test_a_joint_network_is_asked_once_and_answers_as_its_parts_do():
    """Its last logits are those of the labels."""
    whole = with_n_fft(network_of(*WEIGHTS["counter"], *WEIGHTS["single"]), 256)
    parts = {"counter": whole, "single": network_of(*WEIGHTS["single"])}
    parts["two_label"] = parts["single"]
    contents = {task: content for task, (_, content) in trained_networks().items()}
    apart = {task: (with_n_fft(parts[task], 256), contents[task]) for task in parts}
    windows = unlike_waves(12)
    windows[[3, 8]] = 0
    expected = classify.predict(windows, apart, CPU)
    joint, asked = registry.joined(apart), []
    assert {network for network, _ in joint.values()} == {whole}
    assert [joint[task][1] for task in joint] == [contents[task] for task in joint]
    whole.register_forward_hook(lambda _, inputs, logits: asked.append(len(inputs[0])))
    for got, wanted in zip(classify.predict(windows, joint, CPU), expected, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-6)
    assert asked == [10] and set(expected.counts) == {0, 1, 2}
    # One weight that differs, and it is a network of its own.
    other = copy.deepcopy(parts["single"])
    other[-1].bias.data[2] += 1e-3
    joint = registry.joined({**apart, "two_label": (other, contents["two_label"])})
    assert [network is whole for network, _ in joint.values()] == [True, True, False]


def test_how_loud_a_window_is_changes_no_answer():
    windows = unlike_waves(6)
    got = classify.predict(windows, trained_networks(), CPU)
    louder = classify.predict(windows * np.float32(7), trained_networks(), CPU)
    assert (got.counts == louder.counts).all() and (got.labels == louder.labels).all()
    np.testing.assert_allclose(got.scores, louder.scores, atol=1e-5)
    np.testing.assert_allclose(got.count_scores, louder.count_scores, atol=1e-5)


@pytest.mark.parametrize(("loud", "is_silent"), [(2**-11, False), (0.999 * 2**-11, True)])
def test_a_second_as_loud_as_the_threshold_is_no_silence(monkeypatch, loud, is_silent):
    """Of numbers whose squares and sums are exact; each second by itself, each about its mean."""
    monkeypatch.setattr(classify, "SILENT_RMS", 2**-11)
    windows = np.zeros((3, 5 * 64), dtype=np.float32)
    windows[1, 64:128] = loud * (-1) ** np.arange(64)
    windows[2, 128:192] = 0.5 + loud * (-1) ** np.arange(64)
    windows[2, 192:] = -0.25
    expected = np.ones((3, 5), dtype=bool)
    expected[1, 1] = expected[2, 2] = is_silent
    assert classify.silent_seconds(windows).tolist() == expected.tolist()


# ----------------------------------------------------------- as the flow and the trainings answer


def clips_of_a_set():
    """Stems, what they are, rows of single clips and of mixtures."""
    stems = unlike_waves(8)
    files = [f"{name}{number}.wav" for name in CLASSES for number in (1, 2)]
    table = pd.DataFrame(
        {
            "file": [Path(file) for file in files],
            "class_name": [file[0] for file in files],
            "recording": files,
        }
    )
    data = set_data.SetData(table, CLASSES, {}, {}, {})
    pairs = [*combinations(range(0, 8, 2), 2), (1, 3), (5, 7)]
    rows = np.array([*((i, set_data.NO_STEM) for i in range(8)), *pairs])
    windows = np.stack([(stems[a] + (stems[b] if b >= 0 else 0)) / 2 for a, b in rows])
    return torch.from_numpy(stems), data, rows, windows


def names_of(got):
    return ["+".join(np.array(CLASSES)[row]) for row in got.labels]


def test_a_recording_is_answered_as_the_flow_answers_the_clip():
    stems, data, rows, windows = clips_of_a_set()
    trained = trained_networks()
    got = classify.predict(windows, trained, CPU)
    # The flow's counter has its class labels behind the two logits of the count.
    behind = [(0.1, 0.2, 0.3, 0.4)] * 4
    counter = with_n_fft(network_of(*WEIGHTS["counter"], *behind), N_FFT["counter"])
    flow = {**trained, "counter": (counter, trained["counter"][1])}
    logits = overall_flow.logits_of(flow, stems, rows)
    found = overall_flow.strategies_of(flow, logits)
    thresholds = dict.fromkeys(strategies.OPTIMISED.values(), 0.5)
    table = overall_flow.predictions(found, rows, data, thresholds)
    assert {1, 2} == set(got.counts) and got.counts.tolist() == table["count"].tolist()
    of_two = np.where(got.counts == 2, got.count_scores, 1 - got.count_scores)
    np.testing.assert_allclose(of_two, table["score_two"], atol=1e-5)
    assert names_of(got) == table["with_counter"].tolist()
    np.testing.assert_allclose(got.scores, table[[f"score_{c}" for c in CLASSES]], atol=1e-5)


def test_a_recording_is_answered_as_the_trainings_tested_their_networks():
    stems, data, rows, windows = clips_of_a_set()
    trained = trained_networks()
    got = classify.predict(windows, trained, CPU)
    tables = {}
    for task, name in choose_weights.SCRIPT_OF.items():
        script = load_script(f"{name}.py")
        logits = heads.logits_of(trained[task][0], stems, rows)
        tables[task] = script.predictions(logits, rows, data)
    assert got.counts.tolist() == tables["counter"]["count"].tolist()
    said = tables["counter"][["score_one", "score_two"]].to_numpy()
    np.testing.assert_allclose(got.count_scores, said.max(axis=1), atol=1e-5)
    for count, task, column in ((1, "single", "labels"), (2, "two_label", "pair")):
        counted = got.counts == count
        found = tables[task][counted]
        assert np.array(names_of(got))[counted].tolist() == found[column].tolist()
        expected = found[[f"score_{c}" for c in CLASSES]]
        np.testing.assert_allclose(got.scores[counted], expected, atol=1e-5)


# ------------------------------------------------------------------------- what a recording holds


@pytest.mark.parametrize("rate", [2000, 4000, 8000])
def test_an_answer_has_the_best_name_first_and_says_what_was_heard(tmp_path, rate):
    """At the rate of the weights; of the cut rest nothing counts."""
    trained, seen = trained_networks(rate), []
    for i, wave in enumerate(unlike_waves(12, rate)):
        beyond = 0.5 * np.ones(rate // 2)  # behind the fifth second: does not count
        sf.write(tmp_path / "a.wav", np.concatenate([wave, beyond]), rate, subtype="FLOAT")
        answer = classify.answer(tmp_path / "a.wav", trained, CPU)
        window = np.round(wave * 32768).astype(np.float32) / 32768
        got = classify.predict(window[None], trained, CPU)
        assert (answer["seconds"], answer["of_seconds"]) == (5, 5.5)
        assert answer["count"] == got.counts[0]
        assert answer["count_score"] == pytest.approx(got.count_scores[0], abs=1e-4)
        assert answer["scores"] == pytest.approx(
            dict(zip(CLASSES, got.scores[0].tolist(), strict=True)), abs=1e-4
        )
        best = sorted(CLASSES, key=lambda name: -answer["scores"][name])
        assert answer["names"] == best[: answer["count"]]
        kinds = {"count": int, "count_score": float, "seconds": float}
        assert all(type(answer[key]) is kind for key, kind in kinds.items())  # JSON has no others
        seen.append(answer["names"])
        nb_sounding = 1 + i % 5
        for span in answer["spans"]:
            if span.name:
                assert (span.start, span.end) == (0, nb_sounding)
                assert span.score == pytest.approx(answer["scores"][span.name])
        silent = [span[:2] for span in answer["spans"] if span.name is None]
        assert silent == [(nb_sounding, 5.0)] * (nb_sounding < 5)
    assert any(names != sorted(names) for names in seen)  # the best is not always the first class


def test_a_long_recording_has_spans_alone(tmp_path):
    wave = np.concatenate([unlike_waves(5)[4], np.zeros(2 * RATE, dtype=np.float32)])
    sf.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
    trained = trained_networks()
    answer = classify.answer(tmp_path / "a.wav", trained, CPU)
    assert answer.keys() == {"seconds", "spans"} and answer["seconds"] == 7
    assert answer["spans"][-1] == timeline.Span(5, 7, None, None)
    windows = np.stack([wave[s * RATE : (s + 5) * RATE] for s in range(3)])
    got = classify.predict(np.round(windows * 32768) / np.float32(32768), trained, CPU)
    found = {span.name for span in answer["spans"]} - {None}
    assert found and found <= {c for i, c in enumerate(CLASSES) if got.labels[:, i].any()}


def test_parts_of_a_recording_are_put_together_in_their_order(monkeypatch, tmp_path):
    """Three parts of unlike lengths, whose windows tell where they come from."""
    parts = [(np.full((nb, 10), nb / 10), new) for nb, new in ((2, 25), (3, 30), (1, 7))]
    monkeypatch.setattr(classify, "windows_of", lambda path, rate: iter(parts))

    def label(windows):
        nb = len(windows)
        named = np.full((nb, 2), nb == 3)
        scores = np.stack([windows[:, 0], np.arange(nb)], axis=1)
        return classify.Predicted(np.full(nb, nb), windows[:, 0], named, scores, ~named)

    got, seconds = classify.predict_recording(tmp_path / "a.wav", 10, label)
    assert seconds == 6.2 and got.counts.tolist() == [2, 2, 3, 3, 3, 1]
    assert got.count_scores.tolist() == [0.2, 0.2, 0.3, 0.3, 0.3, 0.1]
    assert got.scores[:, 1].tolist() == [0, 1, 0, 1, 2, 0]
    assert got.labels[:, 0].tolist() == [False, False, True, True, True, False]
    assert got.silent[:, 1].tolist() == [True, True, False, False, False, True]


def test_a_recording_of_which_nothing_comes_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(classify, "windows_of", lambda path, rate: iter([]))
    label = partial(classify.predict, trained=trained_networks(), device=CPU)
    with pytest.raises(InputError, match=r"a\.wav: holds no samples"):
        classify.predict_recording(tmp_path / "a.wav", RATE, label)
