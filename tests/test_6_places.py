"""Places with odd names, behind links, only to be read: they work, or one line says why not."""

import json
import os
import shutil
import subprocess

import pytest
from conftest import SINGLE, TINY, fail, only_run, succeed
from faults import linked, prepare_again, small_disk
from test_4_preparation import bytes_below

ODD_NAME = "내 소리 & 'set' %d"


def test_a_place_with_an_odd_name(demo, tmp_path, here, demo_bytes):
    """Prepared and trained there, from a terminal that cannot show the name."""
    place = tmp_path / ODD_NAME
    assert prepare_again(demo, place / "data", here) == demo_bytes
    places = ("--dataset", place / "data", "--results", place / "r", "--models", place / "m")
    environment = {"PYTHONIOENCODING": "ascii"}
    out = succeed(SINGLE, *places, *TINY, "--epochs", 1, environment=environment)
    assert "\\ub0b4 \\uc18c\\ub9ac & 'set'" in out
    record = json.loads((only_run(place / "r") / "run.json").read_text("utf-8"))
    assert record["constants"]["DATASET"] == str(place / "data")
    message = fail("0_2mix_csv.py", "--dataset", place / "none", environment=environment)
    assert "esc10_rename is missing: run  python 0_rename_files.py" in message


def test_a_root_that_is_a_link(demo, tmp_path, here, demo_bytes):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "elsewhere")
    assert prepare_again(demo, tmp_path / "data", here) == demo_bytes
    # Within it a link is never replaced: what it points to may be anybody's.
    shutil.move(tmp_path / "elsewhere" / "esc10_rename_4k", tmp_path / "mine")
    (tmp_path / "data" / "esc10_rename_4k").symlink_to(tmp_path / "mine")
    before = bytes_below(tmp_path / "mine")
    message = here("0_downsampling.py", "--dataset", tmp_path / "data")
    assert message == (
        f"{tmp_path}/data/esc10_rename_4k is a symbolic link, which is never replaced: "
        "remove it first"
    )
    assert bytes_below(tmp_path / "mine") == before
    here("0_pitch_oversample_4k.py", "--dataset", tmp_path / "data", status=0)


@pytest.fixture
def read_only(demo, tmp_path):
    """A prepared root on a disk that may only be read (root may write wherever else it likes)."""
    with small_disk(tmp_path / "disk", 40) as disk:
        linked(demo, disk / "data", without=["ESC-50", "esc10", "*_p5", "*2mix*"])
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        yield disk / "data"


def test_a_read_only_root_is_read_and_not_written(read_only, tmp_path, here):
    places = ("--results", tmp_path / "r", "--models", tmp_path / "m")
    here(SINGLE, "--dataset", read_only, *places, *TINY, "--epochs", 1, status=0)
    for script in ("0_txt_div.py", "0_downsampling.py", "0_2mix_csv.py"):
        message = here(script, "--dataset", read_only)
        assert message.startswith(f"{read_only}/esc10") and message.endswith(
            ": Read-only file system"
        )
    places = ("--dataset", read_only, "--oversample", 1)
    for name in ("results", "models"):
        elsewhere = {"results": tmp_path / "r", "models": tmp_path / "m", name: read_only / name}
        flags = [word for flag, folder in elsewhere.items() for word in (f"--{flag}", folder)]
        message = here(SINGLE, *places, *flags)
        assert message == f"{read_only}/{name}: Read-only file system"


def test_a_folder_that_may_not_be_written(demo, tmp_path):
    """By permissions, which root need not keep to."""
    root = linked(demo, tmp_path / "data")
    before = bytes_below(root)
    os.chmod(root, 0o555)
    try:
        if os.access(root, os.W_OK):
            pytest.skip("root may write everywhere")
        message = fail("0_txt_div.py", "--dataset", root)
        assert message == f"{root}/esc10_811div_txts.lock: Permission denied"
    finally:
        os.chmod(root, 0o755)
    assert bytes_below(root) == before


def test_a_name_too_long(tmp_path, here):
    for script in ("0_make_esc10.py", "0_get_esc50.py", "0_txt_div.py", SINGLE):
        message = here(script, "--dataset", tmp_path / ("x" * 300))
        assert message.endswith(": File name too long")
    message = here("0_make_esc10.py", "--esc50-dir", "y" * 300)
    assert message.endswith(": File name too long")
