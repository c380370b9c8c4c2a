"""On the real recordings, where the environment's ESC50_DIR names an ESC-50 folder."""

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from conftest import HERE, succeed
from test_4_preparation import bytes_below, check_divisions, check_numbers, names_of

import esc10_data


@pytest.fixture(scope="module")
def real(real_esc50, tmp_path_factory):
    """A root prepared from the real recordings, with the test mixtures of set 1."""
    root = tmp_path_factory.mktemp("real") / "data"
    succeed("0_make_esc10.py", "--dataset", root, "--esc50-dir", real_esc50)
    for script in ("0_rename_files.py", "0_txt_div.py", "0_downsampling.py", "0_2mix_csv.py"):
        succeed(script, "--dataset", root)
    succeed("0_2mix_norm_vol.py", "--dataset", root, "--write", "test")
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
    assert len(list((real / "esc10_2mix_vol_norm_4k").iterdir())) == 720


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
    loudest = 0.0
    for path in (real / "esc10_2mix_vol_norm_4k").iterdir():
        loudest = max(loudest, np.abs(sf.read(path)[0]).max())
    assert 0.5 < loudest <= esc10_data.FULL_SCALE
