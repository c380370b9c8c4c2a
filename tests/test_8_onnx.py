"""The networks as ONNX files give what PyTorch gives, from samples to logits."""

import json
import sys

import numpy as np
import pytest
import torch
from conftest import CLASSES, HERE, load_script

import crs_lib
from pipeline.data.audio import LEVEL_RMS
from pipeline.evaluation import run_records
from pipeline.inference import choose_weights
from pipeline.networks import heads, registry, weights_file
from UNet_utils import audio_STFT_lib

# A low rate and a long window: few frames, for exporting a recurrent network takes long.
SAMPLE_RATE, N_FFT = 2000, 512
CPU = torch.device("cpu")
EXTRAS = ("onnx", "onnxscript", "onnxruntime")


@pytest.fixture(scope="module")
def script():
    for name in EXTRAS:
        pytest.importorskip(name, reason=f"{name} is not installed: requirements/onnx.txt has it")
    return load_script("export_onnx.py")


def tiny_network(model, nb_outputs=4):
    """A network that learned nothing, but whose weights are large enough to tell clips apart."""
    torch.manual_seed(0)
    network = registry.build(model, nb_outputs, SAMPLE_RATE, N_FFT, CPU)
    network.train()(torch.rand(2, 1, N_FFT // 2 + 1, 1 + 5 * SAMPLE_RATE // (N_FFT // 4)))
    with torch.no_grad():
        for weights in network.parameters():
            if weights.dim() > 1:
                weights.mul_(2)
    network.eval()
    # A small network's logits may lie so close together that a wrong file would pass.
    spread = np.ptp(logits_step_by_step(network, unlike_clips()), axis=0).min()
    with torch.no_grad():
        network.dense[-1].weight.mul_(max(1.0, 0.1 / float(spread)))
    return network


def unlike_clips():
    """Soft and loud noise, a tone, a burst, silence: float32 (5, samples)."""
    samples = np.random.default_rng(0).normal(size=(5, 5 * SAMPLE_RATE))
    samples *= [[0.001], [0.3], [0], [0.9], [0]]
    samples[2] = 0.5 * np.sin(0.3 * np.arange(samples.shape[1]))
    samples[3, 2000:] = 0
    return samples.astype(np.float32)


def answers_of_file(path, samples):
    """Logits, scores and metadata of an ONNX file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits, scores = session.run(["logits", "scores"], {"samples": samples})
    return logits, scores, session.get_modelmeta().custom_metadata_map


def logits_step_by_step(network, samples):
    """Clip by clip: levelled in numpy, librosa's STFT, the network."""
    logits = []
    for clip in samples.astype(np.float64):
        rms = np.sqrt((clip**2).mean())
        spectrogram = audio_STFT_lib(clip * LEVEL_RMS / rms if rms else clip, N_FFT)
        with torch.no_grad():
            logits.append(network(spectrogram[None])[0].numpy())
    return np.array(logits)


def differ(some, others):
    return np.abs(some - others).max()


@pytest.mark.parametrize("model", [name for name in registry.NETWORKS if name != "yamnet"])
def test_every_network_gives_the_same_logits(model, script, tmp_path):
    network = tiny_network(model)
    path = tmp_path / "new" / f"{model}.onnx"
    whole = script.FromSamples(network, heads.scores_of_two).eval()
    assert script.export(whole, SAMPLE_RATE, path, {"task": "a test"}) <= 1e-4
    samples = unlike_clips()
    for batch in (samples, samples[:1]):
        logits, scores, about = answers_of_file(path, batch)
        expected = logits_step_by_step(network, batch)
        assert differ(logits, expected) <= 1e-4
        assert differ(scores, heads.scores_of_two(torch.from_numpy(expected)).numpy()) <= 1e-4
    assert np.ptp(logits_step_by_step(network, samples), axis=0).min() > 0.05  # they do differ
    assert about["task"] == "a test"
    assert [path.name for path in path.parent.iterdir()] == [f"{model}.onnx"]


def test_the_encoders_features_are_in_its_file(script, tmp_path):
    """YAMNet takes 16 kHz alone, and its own log-mel spectrogram."""
    torch.manual_seed(0)
    network = registry.build("yamnet", 2 + 4, 16_000, 1024, CPU).eval()
    heads.count_by_labels(network)
    samples = np.random.default_rng(0).normal(0, 0.1, (2, 80_000)).astype(np.float32)
    path = tmp_path / "yamnet.onnx"
    whole = script.FromSamples(network, heads.scores_of_count).eval()
    assert script.export(whole, 16_000, path, {}) <= 1e-4
    logits, scores, _ = answers_of_file(path, samples)
    with torch.no_grad():
        expected = network(network.features(torch.from_numpy(samples)))[:, :2]
    assert differ(logits, expected.numpy()) <= 1e-4
    assert differ(scores, torch.softmax(expected, dim=1).numpy()) <= 1e-4


def test_a_joint_network_is_exported_as_three_files(script, here, tmp_path):
    """Its counter's weights alone are there."""
    network = tiny_network("logmel", 2 + len(CLASSES))
    samples = unlike_clips()
    logits = logits_step_by_step(network, samples)
    constants = {"MODELS": str(tmp_path / "models"), "SET": crs_lib.ALL_CLIPS, "MODEL": "logmel"}
    constants |= {"SAMPLE_RATE": SAMPLE_RATE, "N_FFT": N_FFT, "DATASET": str(tmp_path)}
    run = run_records.Run(tmp_path / "run", crs_lib.COUNTER, "logmel", constants, {}, commit="")
    label_head = heads.cut_label_head(network)
    weights_file.save_weights(run, network, list(CLASSES), {}, label_head)
    here("export_onnx.py", "--models", tmp_path / "models", "--exported", tmp_path / "e", status=0)
    for task, name in choose_weights.SCRIPT_OF.items():
        path = tmp_path / "e" / f"{name}_logmel_all_{SAMPLE_RATE // 1000}k.onnx"
        part = slice(2) if task == "counter" else slice(2, None)
        found, _, about = answers_of_file(path, samples)
        assert differ(found, logits[:, part]) <= 1e-4
        assert len(json.loads(about["outputs"])) == found.shape[1]


def test_a_file_that_answers_otherwise_is_not_kept(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "CLOSE", -1.0)
    whole = script.FromSamples(tiny_network("logmel"), torch.sigmoid).eval()
    with pytest.raises(crs_lib.InputError, match="its answers differ from PyTorch's by"):
        script.export(whole, SAMPLE_RATE, tmp_path / "a.onnx", {})
    assert not list(tmp_path.iterdir())


def test_the_script_exports_all_three_and_says_what_they_are(script, here, tmp_path):
    models = str(tmp_path / "models")
    networks_of = {}
    for task, name in choose_weights.SCRIPT_OF.items():
        networks_of[task] = tiny_network("logmel", 2 if task == "counter" else len(CLASSES))
        constants = {"MODELS": models, "SET": 3, "SAMPLE_RATE": SAMPLE_RATE, "N_FFT": N_FFT}
        constants |= {"MODEL": "logmel", "DATASET": str(tmp_path)}
        run = run_records.Run(tmp_path / f"run of {task}", name, "logmel", constants, {}, commit="")
        weights_file.save_weights(run, networks_of[task], list(CLASSES), {}, {})
    # Set, rate and networks are those of the files.
    flags = ("--models", models, "--exported", tmp_path / "exported")
    out = here("export_onnx.py", *flags, status=0)
    assert out.count("of PyTorch's answers") == 3 and "SYNTHETIC" not in out
    samples = unlike_clips()
    outputs = {"counter": ["one class", "two classes"], "single": [*CLASSES]}
    for task, name in choose_weights.SCRIPT_OF.items():
        path = tmp_path / "exported" / f"{name}_logmel_set3_2k.onnx"
        logits, scores, about = answers_of_file(path, samples)
        assert differ(logits, logits_step_by_step(networks_of[task], samples)) <= 1e-4
        assert differ(scores.sum(axis=1), 2 if task == "two_label" else 1) <= 1e-4
        assert (scores.argmax(axis=1) == logits.argmax(axis=1)).all()
        assert {name: about[name] for name in ("task", "sample_rate", "run")} == {
            "task": task,
            "sample_rate": "2000",
            "run": f"run of {task}",
        }
        assert json.loads(about["outputs"]) == outputs.get(task, [*CLASSES])
        assert about["clip_seconds"] == "5" and about["synthetic"] == "false"


def test_missing_extras_are_named(here, tmp_path, monkeypatch):
    for name in EXTRAS[1:]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "onnx", sys)  # as if it were there
    message = here("export_onnx.py", "--models", tmp_path)
    command = "pip install -r requirements/onnx.txt"
    assert message == f"onnxscript, onnxruntime: not installed; run  {command}  first"


def test_the_extras_are_no_requirements_of_the_pipeline():
    extras = (HERE / "requirements/onnx.txt").read_text()
    pipeline = (HERE / "requirements.txt").read_text()
    for name in EXTRAS:
        assert f"\n{name}==" in extras and name not in pipeline


def test_missing_weights_are_named(script, here, tmp_path):
    message = here("export_onnx.py", "--models", tmp_path, "--exported", tmp_path / "out")
    assert message.startswith(f"{tmp_path} holds no weights: run  python run_all.py --models ")
    assert not (tmp_path / "out").exists()
