"""Networks, the loss and the scores of names, averaged weights: shapes, sizes, slow sums."""

import math
import threading
from itertools import combinations

import librosa
import numpy as np
import pytest
import torch
from torch import nn

from asc_model import ASC
from CNN_ISOCC_copy import CNN_ISOCC
from pipeline.networks import features, heads, registry
from pipeline.networks.logmel import LogMel
from pipeline.settings import good_values
from pipeline.training import jobs, loop


def test_a_record_names_the_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", {torch.device("cuda:1"): "Fast"}.get)
    assert registry.machine(torch.device("cuda:1"))["device"] == "cuda:1 (Fast)"
    here = registry.machine(torch.device("cpu"))
    assert (here["device"], here["threads"]) == ("cpu", torch.get_num_threads())


def test_jobs_side_by_side_have_a_gpu_each_and_all_are_done(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    told = [{"CUDA_VISIBLE_DEVICES": name} for name in "0101"]
    assert list(jobs.environments(4, "auto").queue) == told
    assert list(jobs.environments(2, "cpu").queue) == [{}, {}]
    assert list(jobs.environments(1, "auto").queue) == [{}]  # as it would be without this
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    both = threading.Barrier(2, timeout=60)
    done = []

    def work(number, environment):
        both.wait()  # for another one: so two are at work at a time
        done.append((number, environment["CUDA_VISIBLE_DEVICES"]))
        both.wait()

    jobs.side_by_side(work, range(6), 2, "cuda")
    assert sorted(number for number, _ in done) == list(range(6))
    assert all({gpu for _, gpu in done[i : i + 2]} == {"5", "7"} for i in (0, 2, 4))


def nb_parameters(network):
    return sum(p.numel() for p in network.parameters())


def test_asc_has_its_size_and_two_logits():
    network = ASC().eval()
    assert nb_parameters(network) < 1_000_000
    logits, attention = network(torch.rand(2, 1, 129, 313), with_attention=True)
    assert logits.shape == (2, 2) and attention.shape == (2, 313)
    torch.testing.assert_close(attention.sum(dim=1), torch.ones(2))
    assert (attention >= 0).all()


def test_asc_reads_spectra_one_after_the_other():
    network = ASC(nb_bins=129).eval()
    seen = []
    network.convolutions = torch.nn.Identity()
    network.recurrent.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    spectrogram = torch.rand(1, 1, 129, 20)
    network(spectrogram)
    for frame in range(20):
        assert torch.equal(seen[0][0, frame], spectrogram[0, 0, :, frame])


def test_asc_convolutions_keep_the_spectrograms_size():
    assert ASC().convolutions(torch.rand(2, 1, 129, 313)).shape == (2, 1, 129, 313)


def test_isocc_has_its_size():
    network = CNN_ISOCC(10, 129, 313).eval()
    assert round(nb_parameters(network) / 1e6, 2) == 4.63
    assert network.convolutions(torch.rand(1, 1, 129, 313)).shape == (1, 64, 4, 15)
    spectrograms = torch.rand(3, 1, 129, 313)
    assert torch.equal(network(spectrograms, as_scores=True), torch.sigmoid(network(spectrograms)))


def test_logmel_hears_a_sine_in_its_band_and_silence_as_numbers():
    network = LogMel(10, nb_bins=1025, nb_frames=157, sample_rate=16000).eval()
    assert nb_parameters(network) < 1_000_000
    seconds = torch.arange(80_000) / 16000
    sine = features.stft_magnitude(torch.sin(2 * torch.pi * 1000 * seconds)[None], 2048)
    bands = (network.mel @ sine)[0, 0, :, 80]
    centres = librosa.mel_frequencies(n_mels=66, fmax=8000)[1:-1]
    assert bands.argmax() == np.abs(centres - 1000).argmin()
    # A band is a mean of bins, none of which is louder than the sine's own.
    assert 0.1 * sine.max() < bands.max() < sine.max()
    assert network(torch.zeros(1, 1, 1025, 157)).isfinite().all()


def test_logmel_says_how_much_each_frame_weighs_in_its_count():
    """The votes of all frames, and the biases, are the difference of the logits."""
    torch.manual_seed(0)
    network = LogMel(2, 129, 313, 4000).eval()
    kept = []
    network.frames.register_forward_hook(lambda *found: kept.append(found[2]))
    spectrograms = torch.rand(3, 1, 129, 313)
    spectrograms[0, :, :, 100:200] *= 30
    with torch.no_grad():
        logits, attention = network(spectrograms, with_attention=True)
        votes = network.votes(kept[0])
        assert torch.equal(logits, network(spectrograms))
    bias = network.dense[-1].bias.detach()
    torch.testing.assert_close(votes.sum(dim=1) + bias[1] - bias[0], logits[:, 1] - logits[:, 0])
    assert attention.shape == (3, 313) and (attention >= 0).all()
    torch.testing.assert_close(attention.sum(dim=1), torch.ones(3))


RATES = [(4000, 256), (8000, 512), (16000, 1024), (22050, 1024)]  # Hz, and the STFT's window


@pytest.mark.parametrize(
    ("model", "rate", "n_fft"),
    [
        (model, *r)
        for model in registry.NETWORKS
        for r in RATES
        if model != "yamnet" or r == RATES[2]
    ],
)
def test_networks_are_built_for_every_rate_they_take(model, rate, n_fft):
    network = registry.build(model, 7, rate, n_fft, torch.device("cpu")).eval()
    waves = torch.rand(1, 5 * rate)
    assert network(features.features_of(network, waves)).shape == (1, 7)


def test_a_spectrogram_that_is_too_small_is_named():
    with pytest.raises(ValueError, match="75 x 313 is too small: 76 x 76 or more"):
        CNN_ISOCC(10, 75, 313)
    CNN_ISOCC(10, 76, 76)
    with pytest.raises(ValueError, match="of 7 frames is too short: 8 or more"):
        LogMel(10, 129, 7, 4000)


@pytest.mark.parametrize("model", registry.NETWORKS)
def test_an_answer_does_not_depend_on_the_neighbours_in_the_batch(model):
    torch.manual_seed(0)
    network = registry.build(model, 3, 16_000, 1024, torch.device("cpu"))
    stems = torch.rand(6, 80_000) - 0.5
    rows = np.array([[i, -1] for i in range(6)])
    together = heads.logits_of(network, stems, rows)
    alone = torch.cat([heads.logits_of(network, stems, row[None]) for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_the_loss_of_labels_and_their_scores_against_every_set():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(6, 5, generator=generator, dtype=torch.float64)
    truths = [(0,), (3,), (0, 1), (2, 4), (1, 3), (4,)]
    targets = torch.zeros(6, 5, dtype=torch.float64)
    losses, scores = [], torch.zeros(6, 5, dtype=torch.float64)
    for clip, truth in enumerate(truths):
        targets[clip, list(truth)] = 1
        weights = {
            names: math.exp(sum(logits[clip, name].item() for name in names))
            for names in combinations(range(5), len(truth))
        }
        losses.append(-math.log(weights[truth] / sum(weights.values())))
        pairs = {n: math.exp(logits[clip, list(n)].sum().item()) for n in combinations(range(5), 2)}
        for name in range(5):
            share = sum(weight for names, weight in pairs.items() if name in names)
            scores[clip, name] = share / sum(pairs.values())
    assert loop.labels_loss(logits, targets).item() == pytest.approx(sum(losses) / 6)
    torch.testing.assert_close(heads.scores_of_two(logits), scores)
    # One name is one of k: the loss is cross-entropy.
    expected = nn.functional.cross_entropy(logits[:2], torch.tensor([0, 3]))
    torch.testing.assert_close(loop.labels_loss(logits[:2], targets[:2]), expected)


def test_the_loss_of_labels_stays_a_number_where_one_label_drowns_the_others():
    logits = torch.tensor([[90.0, 0.0, -5.0], [90.0, 0.0, -5.0]], requires_grad=True)
    loss = loop.labels_loss(logits, torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]))
    loss.backward()
    one_of_two = math.log(1 + math.exp(-5))
    assert loss.item() == pytest.approx((2 * one_of_two + 5) / 2, rel=1e-4)
    assert torch.isfinite(logits.grad).all()


def test_a_moved_threshold_is_where_the_count_turns():
    torch.manual_seed(0)
    network = ASC().eval()
    spectrograms = torch.rand(40, 1, 129, 313) * torch.rand(40, 1, 1, 1)
    with torch.no_grad():
        before = torch.softmax(network(spectrograms), dim=1)[:, 1]
        threshold = before.sort().values[19:21].mean().item()  # between two clips
        heads.move_threshold(network, threshold)
        counts = network(spectrograms).argmax(dim=1)
    assert counts.sum() == 20
    assert counts.tolist() == (before > threshold).int().tolist()


def test_averaged_weights_against_a_slow_sum():
    """A step's share fades over the span, and at the beginning no step is long remembered."""
    network, averaged = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    averaged.weight.data.fill_(99.0)  # of no step: must be forgotten
    values, span = [3.0, 5.0, -2.0, *np.linspace(0, 1, 60)], 4.5
    expected = 99.0
    for step, value in enumerate(values, start=1):
        network.weight.data.fill_(value)
        network.num_batches_tracked.fill_(step)
        loop.average_in(averaged, network, step, span)
        keep = min(span, step / 9) / (1 + min(span, step / 9))
        expected = keep * expected + (1 - keep) * value
        assert averaged.weight.item() == pytest.approx(expected, rel=1e-5)
        assert averaged.num_batches_tracked.item() == step
    assert abs(expected - np.mean(values[-9:])) < 0.05
    loop.average_in(averaged, network, 1000, 0)
    assert averaged.weight.item() == network.weight.item()


def test_every_network_can_be_named():
    assert tuple(registry.NETWORKS) == good_values.NETWORKS


def test_a_label_head_that_was_cut_off_is_joined_again():
    network = registry.build("asc", 2 + 3, 4000, 256, torch.device("cpu")).eval()
    spectrograms = torch.rand(2, 1, 129, 313)
    before = network(spectrograms)
    label_head = heads.cut_label_head(network)
    assert torch.allclose(network(spectrograms), before[:, :2])
    heads.join_label_head(network, label_head)
    assert torch.allclose(network(spectrograms), before)
