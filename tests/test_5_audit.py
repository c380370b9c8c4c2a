"""The clips of an audit's questions, computed again."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import load_script

import crs_lib
import esc10_data
import hearing
import set_data


@pytest.fixture(scope="module")
def audited(demo):
    """The audit's script, the set it asks about, its stems, and the groups by name."""
    audit = load_script("audit.py")
    audit.DATASET = str(demo)
    data = set_data.choose_files(str(demo), "", 1, 4000, 2)
    stems = hearing.load(data.stems, 4000, torch.device("cpu"))
    counter = {"OVERSAMPLE": 2, "SEED": 0, "SET": 1, "REDRAW": True}
    return audit, data, stems, dict(audit.make_groups(stems, data, counter, nb_epochs=1))


def rms_of(group):
    return group.waveforms.square().mean(dim=1).sqrt().numpy()


def test_clips_have_the_level_that_their_question_says(audited):
    groups = audited[-1]
    for name, group in groups.items():
        decibels = {"single clips at -20 dB": -20, "single clips at +6 dB": 6}.get(name, 0)
        assert rms_of(group) == pytest.approx(0.1 * 10 ** (decibels / 20), rel=1e-4), name
        assert len(group.rows) == len(group.waveforms)


@pytest.mark.parametrize("decibels", [0, 3, 6, 10, 20])
def test_one_stem_of_a_mixture_is_so_much_softer(audited, decibels):
    _, data, stems, groups = audited
    group, rows = groups[f"mixtures, one stem {decibels} dB down"], data.mixtures["test"]
    assert group.softer_db == decibels and len(group.rows) == len(rows) * (1 + (decibels > 0))
    gain = 10 ** (decibels / 20)
    for number, (row, waveform) in enumerate(zip(group.rows, group.waveforms, strict=True)):
        assert (row == rows[number % len(rows)]).all()
        both = stems[row].double().numpy().T
        first, second = np.linalg.lstsq(both, waveform.double().numpy(), rcond=None)[0]
        louder, softer = (first, second) if number < len(rows) else (second, first)
        assert louder / softer == pytest.approx(gain, rel=1e-3)


def test_pairs_of_one_class_are_two_test_clips_of_it(audited):
    audit, data, *_ = audited
    clips = [("dog", "test"), ("rain", "test"), ("dog", "train"), ("dog", "test"), ("dog", "test")]
    stems = pd.DataFrame(clips, columns=["class_name", "part"])
    pairs = audit.pairs_of_one_class(data._replace(stems=stems))
    assert sorted(pairs.tolist()) == [[0, 3], [0, 4], [3, 4]]


def test_what_was_drawn_and_what_never_was(audited):
    _, data, _, groups = audited
    counter = {"OVERSAMPLE": 2, "SEED": 0, "SET": 1, "REDRAW": True}
    _, indices = set_data.draw_mixtures(data, counter, epoch=0)
    drawn = set(map(tuple, data.mixtures["train"][indices].tolist()))
    every = set(map(tuple, data.mixtures["train"].tolist()))
    found = set(map(tuple, groups["training mixtures that were drawn"].rows.tolist()))
    assert found and found <= drawn
    found = set(map(tuple, groups["training mixtures never drawn"].rows.tolist()))
    assert found and found <= every - drawn
    trained = data.stems[(data.stems["part"] == "train") & (data.stems["copy"] == 0)]
    assert groups["training clips"].rows[:, 0].tolist() == trained.index.tolist()


def test_a_shifted_copy_is_made_as_the_oversampling_makes_it(audited, demo):
    audit, data, _, _ = audited
    files = data.stems["file"].iloc[data.singles["test"][:, 0]]
    folder = crs_lib.oversample_dir(str(demo), 4000, 2)
    copied = [folder / file.parent.name / f"{file.stem}_Down1.wav" for file in files]
    semitones = audit.furthest_shift(data, 2)
    assert semitones > 0
    found = audit.shifted(esc10_data.uploader(files, 4000), -semitones)
    assert np.array_equal(found, esc10_data.uploader(copied, 4000))


def test_a_clip_beside_itself(audited):
    _, data, stems, groups = audited
    rows = data.singles["test"][:, 0]
    assert torch.equal(groups["single clips"].waveforms, esc10_data.level_rms(stems[rows]))
    beside = {
        "a clip and itself, a second later": "single clips, a second later",
        "a clip and its pitch-shifted copy": "single clips, pitch-shifted",
    }
    for name, other in beside.items():
        for stem, copy, both in zip(
            stems[rows].double().numpy(),
            groups[other].waveforms.double().numpy(),
            groups[name].waveforms.double().numpy(),
            strict=True,
        ):
            shares, left, *_ = np.linalg.lstsq(np.stack([stem, copy]).T, both, rcond=None)
            assert (shares > 0).all() and left.item() < 1e-6 * np.square(both).sum()
    # The middle of a clip comes a second later, unchanged but for its level.
    first, later = (groups[n].waveforms for n in ("single clips", "single clips, a second later"))
    middle, moved = first[:, 4000:12000], later[:, 8000:16000]
    scale = (moved * middle).sum(dim=1) / middle.square().sum(dim=1)
    assert torch.allclose(moved, scale[:, None] * middle, atol=1e-5)
