"""What is exported to ONNX: which network behind which scores, of which samples, what is compared.

The exporter itself is stood in for: test_8_onnx.py runs it.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import load_script
from torch import nn

import crs_lib
from pipeline.networks import heads

CPU = torch.device("cpu")
RATE = 2000


@pytest.fixture
def script():
    return load_script("export_onnx.py")


def bands(nb_outputs, n_fft):
    """Logits are the mean magnitudes in so many bands, the first four times as heavy."""
    network = nn.Sequential(nn.AdaptiveAvgPool2d((nb_outputs, 1)), nn.Flatten())
    network = nn.Sequential(network, Weighing())
    network.n_fft = n_fft
    return network


class Weighing(nn.Module):
    """Four times the first logit, and none of the others where it trains."""

    def forward(self, logits):
        logits = torch.cat([4 * logits[:, :1], logits[:, 1:]], dim=1)
        return logits * 0 if self.training else logits


def logits_of(samples, n_fft, nb_outputs):
    """Clip by clip: levelled, windows, spectra, means over bands."""
    logits = []
    for clip in samples.astype(float):
        rms = np.sqrt(np.mean(clip**2))
        padded = np.pad(clip * 0.1 / rms if rms else clip, n_fft // 2)
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
        frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[:: n_fft // 4]
        magnitudes = np.abs(np.fft.rfft(frames * hann)).mean(axis=0)
        ends = np.arange(nb_outputs + 1) * len(magnitudes) / nb_outputs
        pieces = zip(ends[:-1].astype(int), np.ceil(ends[1:]).astype(int), strict=True)
        logits.append([magnitudes[start:end].mean() for start, end in pieces])
    return np.array(logits) * [4, *[1] * (nb_outputs - 1)]


SAMPLES = np.random.default_rng(1).uniform(-0.4, 0.4, (3, 5 * RATE)).astype(np.float32)
SAMPLES[0] = np.cumsum(SAMPLES[0]) / 20
SAMPLES[1] *= 0.01
SAMPLES[2] = 0


@pytest.mark.parametrize("n_fft", [160, 512])
def test_samples_are_levelled_and_logits_made_scores_of(script, n_fft):
    whole = script.FromSamples(bands(3, n_fft), lambda logits: 2 - logits).eval()
    logits, scores = whole(torch.from_numpy(SAMPLES))
    expected = logits_of(SAMPLES, n_fft, 3)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    np.testing.assert_allclose(scores, 2 - expected, atol=1e-5)


def test_a_file_says_what_its_outputs_stand_for(script):
    content = {"classes": ["dog", "sea"], "run": "some run", "synthetic": True}
    content["constants"] = {"SAMPLE_RATE": 22_050}
    same = {"sample_rate": "22050", "clip_seconds": "5", "run": "some run", "synthetic": "true"}
    outputs = {"counter": ["one class", "two classes"]}
    for task in ("counter", "single", "two_label"):
        about = script.description(task, content)
        assert json.loads(about.pop("outputs")) == outputs.get(task, ["dog", "sea"])
        assert about == {"task": task, **same}
    assert script.description("single", {**content, "synthetic": False})["synthetic"] == "false"


NAN = float("nan")
OFF = [(0, 0), (9e-5, 0), (2e-4, 0), (0, 9e-5), (0, -2e-4), (9e-5, -1), (NAN, 0), (0, NAN)]


@pytest.mark.parametrize("off", OFF)
def test_a_file_is_kept_only_where_logits_and_scores_are_close(script, monkeypatch, tmp_path, off):
    """The file's answers to the samples that it was exported with are off by a known number, the
    logits of one clip, the scores of another. Close is what is a ten-thousandth off at most.
    """
    is_kept = all(abs(by) < 1e-4 for by in off)
    given = {}
    whole = script.FromSamples(bands(4, 160), heads.scores_of_two).eval()
    program = SimpleNamespace(
        model=SimpleNamespace(metadata_props={}), save=lambda path: path.write_text("a network")
    )

    def export(*words, **options):
        given.update(options, words=words)
        return program

    def run_file(path, samples):
        assert path.read_text() == "a network" and program.model.metadata_props == {"task": "x"}
        given["samples"] = samples
        with torch.no_grad():
            answers = [output.numpy().copy() for output in whole(torch.from_numpy(samples))]
        answers[0][1, 2] += off[0]
        answers[1][2, 0] += off[1]
        return answers

    monkeypatch.setattr(torch.onnx, "export", export)
    monkeypatch.setattr(script, "run_file", run_file)
    path = tmp_path / "a.onnx"
    torch.manual_seed(3)
    if is_kept:
        found = script.export(whole, RATE, path, {"task": "x"})
        assert found == pytest.approx(max(map(abs, off)), abs=1e-6)
    else:
        with pytest.raises(crs_lib.InputError, match=r"a\.onnx: its answers differ from PyTorch's"):
            script.export(whole, RATE, path, {"task": "x"})
    assert [file.name for file in tmp_path.iterdir()] == ["a.onnx"] * is_kept
    network, (samples,) = given["words"]
    assert network is whole and samples.shape == (3, 5 * RATE)
    np.testing.assert_array_equal(samples.numpy(), given["samples"])
    # Loud noise, soft noise, silence; on both sides of nought.
    assert samples.std(dim=1).tolist() == pytest.approx([0.289, 0.00289, 0], rel=0.05)
    assert abs(samples.mean()) < 0.01 and samples.abs().max() <= 0.5
    assert (given["input_names"], given["output_names"]) == (["samples"], ["logits", "scores"])
    assert given["opset_version"] == 18 and given["dynamo"] is True
    ((dims,),) = (given["dynamic_shapes"],)
    assert list(dims) == [0]  # clips, as many as there are


def test_the_largest_difference_is_that_of_any_array(script):
    some = [np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[0.5]])]
    for others, expected in (
        ([some[0] + [[0, 0], [-0.25, 0.125]], some[1]], 0.25),
        ([some[0] + 0.125, some[1] + 0.5], 0.5),
        ([some[0] + 0.25, some[1] - 0.125], 0.25),
    ):
        assert script.largest_difference(some, others) == expected
    assert script.CLOSE == 1e-4


@pytest.mark.parametrize("synthetic", [False, True])
def test_each_task_is_exported_with_its_own_window_scores_and_name(
    script, monkeypatch, capsys, tmp_path, synthetic
):
    constants = {
        "counter": {"MODEL": "asc", "SET": 3, "SAMPLE_RATE": RATE, "N_FFT": 160},
        "single": {"MODEL": "isocc", "SET": 3, "SAMPLE_RATE": RATE, "N_FFT": 512},
        "two_label": {"MODEL": "logmel", "SET": 3, "SAMPLE_RATE": RATE, "N_FFT": 256},
    }
    more = {"classes": ["a", "b", "c", "d"], "run": "some run", "synthetic": synthetic}
    trained = {
        task: (
            bands(2 if task == "counter" else 4, named["N_FFT"]),
            {"constants": named, **more},
        )
        for task, named in constants.items()
    }
    asked, exported = [], {}

    def export(whole, rate, path, metadata):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(2_340_000))
        exported[path.name] = whole(torch.from_numpy(SAMPLES)), rate, metadata
        return 2e-6

    monkeypatch.setattr(script, "find_spec", lambda name: name)
    monkeypatch.setattr(
        script.choose_weights, "load", lambda *given: asked.append(given) or trained
    )
    monkeypatch.setattr(script, "export", export)
    # What nobody asks for is left to the weights.
    assert (script.MODELS, script.SET, script.SAMPLE_RATE) == ("models", 0, 0)
    assert script.COUNTER_MODEL == script.CLASSIFIER_MODEL == ""
    values = {"MODELS": "m", "SET": 3, "SAMPLE_RATE": 8000, "COUNTER_MODEL": "asc"}
    for name, value in {**values, "CLASSIFIER_MODEL": "x", "EXPORTED": str(tmp_path)}.items():
        monkeypatch.setattr(script, name, value)
    script.main()
    assert asked == [("m", 3, 8000, "asc", "x", CPU)]
    names = [
        "audio_source_counter_asc_set3_2k.onnx",
        "sep_opt_isocc_single_volnorm_STFT_isocc_set3_2k.onnx",
        "sep_opt_isocc_multi_random_volnorm_STFT_logmel_set3_2k.onnx",
    ]
    assert list(exported) == names
    out = capsys.readouterr().out
    for task, name in zip(constants, names, strict=True):
        (logits, scores), rate, about = exported[name]
        expected = logits_of(SAMPLES, constants[task]["N_FFT"], logits.shape[1])
        np.testing.assert_allclose(logits, expected, atol=1e-5)
        shares = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
        if task == "two_label":
            pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
            weights = np.exp([[row[i] + row[j] for i, j in pairs] for row in expected])
            having = [[c in pair for pair in pairs] for c in range(4)]
            shares = weights @ np.array(having).T / weights.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(scores, shares, atol=1e-5)
        assert (rate, about) == (RATE, script.description(task, trained[task][1]))
        assert f"{Path(tmp_path, name)}: 2.3 MB, within 2e-06 of PyTorch's answers" in out
    assert ("SYNTHETIC" in out) == synthetic


def test_a_file_is_run_on_the_samples_and_gives_logits_then_scores(script, monkeypatch):
    import sys

    asked = []

    def run(outputs, inputs):
        asked.append((outputs, list(inputs)))
        return [inputs["samples"] + 1, inputs["samples"] + 2]

    def session(path, providers):
        asked.append((path, providers))
        return SimpleNamespace(run=run)

    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(InferenceSession=session))
    logits, scores = script.run_file("a.onnx", SAMPLES)
    assert asked == [
        ("a.onnx", ["CPUExecutionProvider"]),
        (["logits", "scores"], ["samples"]),
    ]
    np.testing.assert_array_equal((logits, scores), (SAMPLES + 1, SAMPLES + 2))
