"""What a joint network predicts of clips under shifts, and the figures of it; tilts and noise."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from test_3_finished import CLASSES
from test_3_trainers import DATA, ROWS, TRUTH

from pipeline.data import audio, shifts
from pipeline.evaluation import markdown, metrics
from pipeline.inference import shifted_clips
from pipeline.networks import features, heads

RATE = 2000


def joint_network(waveforms):
    """Logits of the count and of three classes, from how often a waveform crosses zero."""
    crossings = (waveforms[:, 1:] * waveforms[:, :-1] < 0).float().mean(dim=1)
    columns = [0.3 + 0 * crossings, crossings, crossings - 0.2, 0.25 - crossings, crossings * 0.5]
    return torch.stack(columns, dim=1)


def stems_of_a_set():
    rng, times = np.random.default_rng(1), np.arange(5 * RATE) / RATE
    nb_stems = int(ROWS.max()) + 1
    tones = [np.sin(2 * np.pi * (90 + 150 * i) * times) for i in range(nb_stems)]
    noise = 0.05 * rng.standard_normal((nb_stems, len(times)))
    return torch.from_numpy(0.5 * np.stack(tones) + noise).float()


@pytest.fixture
def predicted(monkeypatch):
    monkeypatch.setattr(features, "features_of", lambda network, waveforms: waveforms)
    stems = stems_of_a_set()
    found = shifted_clips.predictions(joint_network, stems, ROWS, DATA, RATE, threshold=0.47)
    return stems, found


def test_each_shift_has_every_clip_as_the_network_gets_it(predicted):
    stems, found = predicted
    names = ["as they are", *shifts.names()]
    assert found["shift"].tolist() == [name for name in names for _ in TRUTH]
    assert found["truth"].tolist() == TRUTH * len(names)
    clips = features.waveforms_of(stems, ROWS).numpy()
    for number, name in enumerate(names):
        waves = shifts.shifted(clips, RATE, number - 1) if number else clips
        levelled = waves * 0.1 / np.sqrt((waves**2).mean(axis=1, keepdims=True))
        logits = joint_network(torch.from_numpy(levelled)).double().numpy()
        score_two = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
        table = found[found["shift"] == name]
        np.testing.assert_allclose(table["score_two"], score_two, atol=1e-4)
        assert table["count"].tolist() == [1 + (score > 0.47) for score in score_two]
        for row, scores in zip(table.itertuples(), logits[:, 2:], strict=True):
            best = [CLASSES[c] for c in np.argsort(-scores, kind="stable")]
            assert row.labels == "+".join(sorted(best[: row.count]))
            assert row.oracle_labels == "+".join(sorted(best[: 1 + row.truth.count("+")]))
    assert found.groupby("shift")["score_two"].apply(tuple).nunique() > 5  # shifts do something
    assert set(found["count"]) == {1, 2}


def test_figures_of_shifts_by_counting():
    rows = [  # shift, recording_b, truth, count, labels, oracle_labels
        ("as they are", "", "dog", 1, "dog", "dog"),
        ("as they are", "", "rain", 2, "dog+rain", "rain"),
        ("as they are", "2", "dog+rain", 2, "dog+rain", "dog+rain"),
        ("noise", "", "dog", 1, "rain", "rain"),
        ("noise", "", "rain", 1, "rain", "rain"),
        ("noise", "2", "dog+rain", 1, "dog", "dog+rain"),
        ("room", "", "dog", 2, "dog+rain", "dog"),
        ("room", "", "rain", 2, "dog+rain", "dog"),
        ("room", "2", "dog+rain", 2, "dog+sea", "dog+sea"),
    ]
    columns = ["shift", "recording_b", "truth", "count", "labels", "oracle_labels"]
    table = pd.DataFrame(rows, columns=columns).assign(recording_a="1")
    found = metrics.unweighted(metrics.shift_figures, table)
    expected = {
        "as they are": (0.75, 1, 1, 0.75),
        "noise": (0.5, 0.5, 1, 0.25),
        "room": (0.5, 0.5, 0, 0),
        "mean of the shifts": (0.5, 0.5, 0.5, 0.125),
        "lost": (0.25, 0.5, 0.5, 0.625),
    }
    names = ("accuracy_balanced", "accuracy", "exact_pair", "exact_match_balanced")
    assert found == pytest.approx(
        {
            f"{shift}.{name}": value
            for shift, values in expected.items()
            for name, value in zip(names, values, strict=True)
        }
    )
    # A clip that counts twice, as in a bootstrap.
    weights = np.array([[2, 1, 1, 1, 1, 1, 1, 1, 1]])
    assert metrics.shift_figures(table, weights)["as they are.accuracy_balanced"] == pytest.approx(
        (2 / 3 + 1) / 2
    )
    figures = metrics.with_intervals(metrics.shift_figures, [table])
    head, *cells = markdown.shift_rows(figures)
    assert [row[0] for row in cells] == [*expected]
    assert head[1::2] == ["counter", "single clips", "exact pair", "exact match"]
    assert cells[1][1::2] == ["50.0", "50.0", "100.0", "25.0"]


# ------------------------------------------------------------------------ augmentation by the same


def noises(nb_clips):
    return 0.1 * torch.randn(nb_clips, 80_000, generator=torch.manual_seed(0))


def test_a_tilt_is_so_many_db_over_the_span_a_clip_its_own():
    torch.manual_seed(1)
    waves = noises(60)
    found = features.tilted(waves, 3.0)
    gains = (torch.fft.rfft(found).abs() / torch.fft.rfft(waves).abs()).log10() * 20
    lowest, highest = (int(share * 40_000) for share in features.TILT_SHARES)
    tilts = (gains[:, highest - 1] - gains[:, lowest]).numpy()
    assert np.abs(tilts).max() <= 6.01 and tilts.max() > 4 and tilts.min() < -4
    octaves = gains[:, [lowest, 2 * lowest, 4 * lowest, 8 * lowest]].diff(dim=1)
    np.testing.assert_allclose(octaves, octaves[:, :1].expand(-1, 3), atol=1e-2)
    np.testing.assert_allclose(gains[:, lowest] + gains[:, highest - 1], 0, atol=1e-2)
    assert gains.abs().max() <= 3.01  # rises or falls by so much at the ends


def test_white_noise_lies_below_each_clip_at_a_level_of_its_own():
    torch.manual_seed(1)
    waves = noises(300)
    added = features.with_white_noise(waves) - waves
    below = -20 * (added.square().mean(dim=1) / waves.square().mean(dim=1)).sqrt().log10()
    lowest, highest = features.NOISE_DB
    assert lowest - 0.1 < below.min() < lowest + 2 and highest - 2 < below.max() < highest + 0.1
    assert below.mean().item() == pytest.approx((lowest + highest) / 2, abs=2.5)
    spectrum = torch.fft.rfft(added).abs().square().mean(dim=0)
    halves = spectrum.split(len(spectrum) // 2)
    assert (halves[0].mean() / halves[1].mean()).item() == pytest.approx(1, abs=0.02)


def test_tilt_and_noise_change_a_batch_and_keep_its_level(monkeypatch):
    kept = []
    monkeypatch.setattr(features, "stft_magnitude", lambda waves, n_fft: kept.append(waves))
    network = SimpleNamespace(n_fft=16)
    plain = {"ROLL": False, "SPEED": 0.0, "GAIN": 0.0, "MASK": False}
    stems, rows = noises(2), np.array([[0, 1], [1, -1]])
    for more in ({}, {"TILT": 6.0}, {"NOISE": True}, {"TILT": 0.0, "NOISE": False}):
        torch.manual_seed(2)
        features.augmented_features(network, stems, rows, {**plain, **more})
    assert torch.equal(kept[0], kept[3])
    for other in kept[1:3]:
        assert (other - kept[0]).abs().max() > 0.01
        np.testing.assert_allclose(other.square().mean(dim=1).sqrt(), audio.LEVEL_RMS, rtol=1e-4)


def test_logits_of_waveforms_are_those_of_rows():
    torch.manual_seed(0)
    network = torch.nn.Flatten()
    network.n_fft = 64
    stems, rows = noises(3)[:, :3000], np.array([[0, 1], [2, -1]] * 40)
    waveforms = features.waveforms_of(stems, rows)
    expected = heads.logits_of(network, stems, rows)
    assert torch.equal(heads.logits_of_waveforms(network, waveforms), expected)
