"""The clips of an audit's questions, computed again."""

import numpy as np
import pandas as pd
import pytest
import tiny_set
import torch
from conftest import HERE, load_script

import crs_lib
from pipeline.data import audio, set_data
from pipeline.networks import features
from pipeline.settings import command_line

RATE = tiny_set.RATE
COUNTER = {"OVERSAMPLE": 2, "SEED": 0, "SET": 1, "REDRAW": True, "REPEAT": 1}


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """The audit's script, the set it asks about, its stems, and the groups by name."""
    root = tmp_path_factory.mktemp("tiny")
    tiny_set.make(root, nb_numbers=20, oversamples=(2,))  # of each class two clips to test
    audit = load_script("audit.py")
    audit.DATASET, audit.SAMPLE_RATE = str(root), RATE
    data = set_data.choose_files(str(root), "", 1, RATE, 2)
    stems = features.load(data.stems, RATE, torch.device("cpu"))
    return audit, data, stems, dict(audit.make_groups(stems, data, COUNTER, nb_epochs=2))


def rms_of(group):
    return group.waveforms.square().mean(dim=1).sqrt().numpy()


def test_clips_have_the_level_that_their_question_says(audited):
    groups = audited[-1]
    alone = [name for name in groups if name.startswith("single clips")]
    said = ("", ", pitch-shifted", ", a second later", " at -20 dB", " at +6 dB")
    assert alone == [f"single clips{more}" for more in said]
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
    """In the two epochs up to the counter's weights; of more than enough mixtures 720."""
    audit, data, stems, groups = audited
    indices = [set_data.draw_mixtures(data, COUNTER, epoch)[1] for epoch in (0, 1)]
    drawn = data.mixtures["train"][np.unique(np.concatenate(indices))]
    drawn = set(map(tuple, drawn.tolist()))
    every = set(map(tuple, data.mixtures["train"].tolist()))
    found = set(map(tuple, groups["training mixtures that were drawn"].rows.tolist()))
    assert found == drawn
    found = set(map(tuple, groups["training mixtures never drawn"].rows.tolist()))
    assert found == every - drawn
    audit.NB_LEARNED, few = 7, {}
    for seed in (0, 0, 1):
        audit.SEED = seed
        again = dict(audit.make_groups(stems, data, COUNTER, nb_epochs=2))
        rows = [
            again[f"training mixtures {name}"].rows for name in ("that were drawn", "never drawn")
        ]
        assert [len(some) for some in rows] == [7, 7]
        few.setdefault(seed, []).append(np.concatenate(rows).tolist())
    audit.NB_LEARNED, audit.SEED = 720, 0
    assert few[0][0] == few[0][1] != few[1][0]
    trained = data.stems[(data.stems["part"] == "train") & (data.stems["copy"] == 0)]
    assert groups["training clips"].rows[:, 0].tolist() == trained.index.tolist()


def test_a_shifted_copy_is_made_as_the_oversampling_makes_it(tmp_path, here):
    tiny_set.make(tmp_path, nb_numbers=10, oversamples=())
    flags = ("--sample-rate", RATE, "--oversample", 2, "--max-shift", 0.5)
    here("0_pitch_oversample_4k.py", "--dataset", tmp_path, *flags, status=0)
    audit = load_script("audit.py")
    audit.DATASET, audit.SAMPLE_RATE = str(tmp_path), RATE
    data = set_data.choose_files(str(tmp_path), "", 1, RATE, 2)
    files = data.stems["file"].iloc[data.singles["test"][:, 0]]
    folder = crs_lib.oversample_dir(str(tmp_path), RATE, 2)
    copied = [folder / file.parent.name / f"{file.stem}_Down1.wav" for file in files]
    semitones = audit.furthest_shift(data, 2)
    assert semitones == 0.5
    found = audit.shifted(audio.uploader(files, RATE), -semitones)
    assert np.array_equal(found, audio.uploader(copied, RATE))
    # Of a root without a stamp of its copies nobody knows how far they are: as by default.
    assert command_line.read_constants(HERE / "run_all.py")["MAX_SHIFT"][0] == audit.SHIFT_SEMITONES
    assert audit.furthest_shift(data._replace(stamps={}), 2) == audit.SHIFT_SEMITONES


def test_shifted_copies_are_of_the_test_clips_themselves(audited):
    audit, data, stems, groups = audited
    rows = data.singles["test"][:, 0]
    clips = audio.uploader(data.stems["file"].iloc[rows], RATE)
    copies = audit.shifted(clips, audit.furthest_shift(data, 2))
    copies = torch.from_numpy(audio.normalise_volume(copies, stems[rows].abs().max().item()))
    expected = audio.level_rms(copies).to(stems)
    assert torch.equal(groups["single clips, pitch-shifted"].waveforms, expected)


def test_a_clip_beside_itself(audited):
    _, data, stems, groups = audited
    rows = data.singles["test"][:, 0]
    assert torch.equal(groups["single clips"].waveforms, audio.level_rms(stems[rows]))
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
    middle, moved = first[:, RATE : 3 * RATE], later[:, 2 * RATE : 4 * RATE]
    scale = (moved * middle).sum(dim=1) / middle.square().sum(dim=1)
    assert torch.allclose(moved, scale[:, None] * middle, atol=1e-5)
