"""On the real recordings, where the environment's ESC50_DIR names an ESC-50 folder."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import scipy.io.wavfile
import soundfile as sf
from conftest import HERE, succeed
from test_4_preparation import bytes_below, check_divisions, check_numbers, names_of

from pipeline.data import esc10_data


@pytest.fixture(scope="module")
def real(real_esc50, tmp_path_factory):
    """A root prepared from the real recordings, with the test mixtures of set 1."""
    root = tmp_path_factory.mktemp("real") / "data"
    succeed("0_make_esc10.py", "--dataset", root, "--esc50-dir", real_esc50)
    for script in ("0_rename_files.py", "0_txt_div.py", "0_downsampling.py", "0_2mix_csv.py"):
        succeed(script, "--dataset", root)
    succeed("0_2mix_norm_vol.py", "--dataset", root)
    return root


def test_counts(real):
    for folder in ("esc10", "esc10_rename", "esc10_rename_4k"):
        files = esc10_data.class_files(real / folder)
        assert len(files) == 10 and {len(paths) for paths in files.values()} == {40}
    table = pd.read_csv(real / "esc10_mixes.csv")
    assert len(table) == 72_000
    for number in range(1, 11):
        counts = table[f"set{number}"].value_counts().to_dict()
        assert counts == {1: 46_080, 2: 720, 3: 720, -1: 24_480}
    assert set(table["filename"]) == {p.name for p in (real / "esc10_2mix_vol_norm_4k").iterdir()}


def test_no_recording_lies_on_both_sides(real, real_esc50):
    names = names_of(real)
    assert check_numbers(names) == 6  # class-folds in which a recording spans two digits
    check_divisions(names, real / "esc10_811div_txts")
    # The file names say what the table says.
    table = pd.read_csv(real_esc50 / "meta" / "esc50.csv", dtype={"src_file": str})
    both = names.merge(table, left_on="original", right_on="filename")
    assert len(both) == 400 and both["src_file_x"].nunique() == 304
    for name in ("src_file", "fold", "take"):
        assert (both[f"{name}_x"] == both[f"{name}_y"]).all()
    assert (both["class"] == both["category"]).all()


def test_how_many_pairs_of_one_class_are_takes_of_one_recording(real):
    """What the audit's page says of the test clips of sets 1 to 5, whose last digits are odd."""
    names = names_of(real).assign(digit=lambda table: table["number"].astype(int) % 10)
    by_set = names[names["digit"] % 2 == 1].groupby(["class", "digit"])["src_file"]
    pairs = [pair for _, recordings in by_set for pair in combinations(recordings, 2)]
    alike = sum(first == second for first, second in pairs)
    page = (HERE / "docs" / "audit.md").read_text(encoding="utf-8")
    assert f"{alike} of {len(pairs)} pairs are takes of one recording" in page


def test_the_committed_division_is_this_one(real):
    assert bytes_below(real / "esc10_811div_txts") == bytes_below(HERE / "esc10_811div_txts")


def test_downsampled_clips_are_what_librosa_gives(real):
    import librosa

    overshooting = 0
    for path in sorted((real / "esc10_rename").rglob("*.wav")):
        expected, _ = librosa.load(path, sr=4000)
        overshooting += np.abs(expected).max() > 1
        expected = expected / max(1, np.abs(expected).max())
        got, _ = sf.read(real / "esc10_rename_4k" / path.parent.name / path.name)
        np.testing.assert_allclose(got, expected, atol=2e-3)
    assert overshooting == 22


def test_no_mixture_clips(real):
    """All 72,000, and each is half the sum of its stems to 16-bit rounding."""
    files = esc10_data.class_files(real / "esc10_rename_4k")
    paths = [path for some in files.values() for path in some]
    clips = np.stack([sf.read(path)[0] for path in paths])
    peaks = np.abs(clips).max(axis=1, keepdims=True)
    stems = {path.stem: clip for path, clip in zip(paths, clips * peaks.max() / peaks, strict=True)}
    for row in pd.read_csv(real / "esc10_mixes.csv").itertuples():
        path = real / "esc10_2mix_vol_norm_4k" / row.filename
        rate, mixture = scipy.io.wavfile.read(path)
        a, b = f"{row.A_class}{row.A_num}", f"{row.B_class}{row.B_num}"
        error = np.abs(mixture / 32768 - (stems[a] + stems[b]) / 2).max()
        assert rate == 4000 and error <= 0.51 / 32768, path
        assert np.abs(mixture.astype(int)).max() <= 32767
