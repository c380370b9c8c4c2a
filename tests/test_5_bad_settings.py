"""Tables, stamps, records and constants with something wrong: each works, or one line says what it
is.
"""

import os
import re
import shutil

import pandas as pd
import pytest
import torch
from conftest import COUNTER, HERE, SINGLE, TINY, TWO_LABEL
from hypothesis import given
from hypothesis import strategies as st
from test_5_bad_clips import CLIPS, PREPARED
from test_5_bad_table import FOLDERS, TABLES, TEXTS
from test_5_bad_weights import CHECKPOINTS, WEIGHTS, replaced_by

from crs_lib import InputError
from pipeline.data import set_data
from pipeline.evaluation import run_records
from pipeline.files import provenance
from pipeline.settings import command_line
from pipeline.settings.good_values import GOOD_VALUES, why_bad
from pipeline.training import loop

WORKS = None  # in place of a message


# --------------------------------------------------------------------- tables, stamps, records


def with_table(change):
    return lambda path: change(pd.read_csv(path)).to_csv(path, index=False)


FITS_NOT = "does not fit the clips and the division: run  python 0_2mix_csv.py"
NO_TABLE = "not a table of mixtures ("
MIXES = {
    "as they were written": (lambda path: None, WORKS),
    "empty": (lambda path: path.write_bytes(b""), NO_TABLE),
    "bytes of any kind": (lambda path: path.write_bytes(bytes(range(256))), NO_TABLE),
    "no column of the set": (with_table(lambda table: table.drop(columns="set1")), NO_TABLE),
    "no column of a stem": (with_table(lambda table: table.drop(columns="A_num")), NO_TABLE),
    "a number a text": (
        lambda path: path.write_text(path.read_text().replace(",chainsaw,0,", ",chainsaw,x,", 1)),
        NO_TABLE,
    ),
    "no rows": (with_table(lambda table: table.iloc[:0]), FITS_NOT),
    "a row less": (
        with_table(lambda t: t.drop(t.index[t["set1"] == 1][0])),
        FITS_NOT,
    ),
    "a row of training a test": (
        with_table(lambda t: t.assign(set1=t["set1"].where(t.index > 300, 3))),
        FITS_NOT,
    ),
    "a class that is not there": (
        with_table(lambda table: table.replace("chainsaw", "hen")),
        FITS_NOT,
    ),
    "a pipe": (replaced_by(os.mkfifo), "is neither a file nor a folder: remove it"),
}


@pytest.mark.parametrize("kind", MIXES)
def test_a_table_of_mixtures(demo, tmp_path, kind):
    spoil, wanted = MIXES[kind]
    for path in demo.iterdir():
        if path.name not in ("esc10_mixes.csv", "esc10_mixes.csv.json"):
            (tmp_path / path.name).symlink_to(path)
    shutil.copy(demo / "esc10_mixes.csv", tmp_path)
    spoil(tmp_path / "esc10_mixes.csv")
    if wanted is WORKS:
        assert len(choose(tmp_path).mixtures["train"]) == 384
        return
    with pytest.raises(InputError) as error:
        choose(tmp_path)
    assert f"{tmp_path}/esc10_mixes.csv" in str(error.value) and wanted in str(error.value)
    assert "\n" not in str(error.value)


def choose(root):
    return set_data.choose_files(str(root), "", 1, 4000, 2)


NOT_UP_TO_DATE, UP_TO_DATE = False, True
STAMPS = {
    "as it was written": (lambda path: None, UP_TO_DATE),
    "empty": (lambda path: path.write_text(""), NOT_UP_TO_DATE),
    "no JSON": (lambda path: path.write_text("{"), NOT_UP_TO_DATE),
    "a list": (lambda path: path.write_text("[1]"), NOT_UP_TO_DATE),
    "constants a number": (lambda p: p.write_text('{"constants": 1, "input": {}}'), NOT_UP_TO_DATE),
    "no input": (lambda path: path.write_text('{"constants": {}}'), NOT_UP_TO_DATE),
    "bytes of any kind": (lambda path: path.write_bytes(bytes(range(256))), NOT_UP_TO_DATE),
    "a folder": (replaced_by(os.mkdir), NOT_UP_TO_DATE),
    "not there": (replaced_by(lambda path: None), NOT_UP_TO_DATE),
}


@pytest.mark.parametrize("kind", STAMPS)
def test_a_stamp(demo, tmp_path, kind):
    """One that cannot be read is none: the step is run again, what there is, can be used."""
    spoil, wanted = STAMPS[kind]
    for path in demo.iterdir():
        (tmp_path / path.name).symlink_to(path)
    stamp = tmp_path / "esc10_rename_4k.json"
    stamp.unlink()
    shutil.copy(demo / stamp.name, stamp)
    spoil(stamp)
    constants = {"SAMPLE_RATE": 4000, "METHOD": "load"}
    output = tmp_path / "esc10_rename_4k"
    assert provenance.is_up_to_date(str(tmp_path), output, constants) is wanted
    provenance.refuse_stale(str(tmp_path), output, redo="")


def test_a_record_that_cannot_be_read(tmp_path):
    (tmp_path / "run.json").write_text('{"half": ')
    with pytest.raises(InputError, match=r"run\.json: no record of a run \(.*\): remove it"):
        run_records.read_record(tmp_path)


# ------------------------------------------------------------------------------------ constants

CONSTANTS = {
    "epochs 0": (SINGLE, "EPOCHS", "0", "good values are 1 to 100000"),
    "epochs below zero": (SINGLE, "EPOCHS", "-1", "good values are 1 to 100000"),
    "epochs absurd": (SINGLE, "EPOCHS", "1" + "0" * 30, "good values are 1 to 100000"),
    "epochs a text": (SINGLE, "EPOCHS", "many", "good values are 1 to 100000"),
    "epochs with a point": (SINGLE, "EPOCHS", "3.0", "good values are 1 to 100000"),
    "epochs nothing": (SINGLE, "EPOCHS", "", "good values are 1 to 100000"),
    "batch 1": (COUNTER, "BATCH", "1", "good values are 2 to 4096"),
    "learning rate 0": (COUNTER, "LEARNING_RATE", "0", "good values are 1e-08 to 10"),
    "learning rate below zero": (COUNTER, "LEARNING_RATE", "-1", "good values are 1e-08 to 10"),
    "learning rate NaN": (COUNTER, "LEARNING_RATE", "nan", "good values are 1e-08 to 10"),
    "learning rate infinite": (COUNTER, "LEARNING_RATE", "inf", "good values are 1e-08 to 10"),
    "gain absurd": (COUNTER, "GAIN", "1e9", "good values are 0 to 40"),
    "seed below zero": (TWO_LABEL, "SEED", "-1", "good values are 0 to 2147483647"),
    "set 0": (TWO_LABEL, "SET", "0", "good values are 1 to 10"),
    "set 11": ("overall_flow.py", "SET", "11", "good values are 1 to 10"),
    "rate 0": ("0_downsampling.py", "SAMPLE_RATE", "0", "good values are 2000 to 48000"),
    "rate absurd": ("0_downsampling.py", "SAMPLE_RATE", "10000000", "good values are 2000"),
    "window odd": (SINGLE, "N_FFT", "255", "good values are 152 to 8192 in steps of 4"),
    "oversampling 0": ("0_pitch_oversample_4k.py", "OVERSAMPLE", "0", "good values are 1 to 1000"),
    "shift below zero": ("0_pitch_oversample_4k.py", "MAX_SHIFT", "-1", "good values are 0 to 12"),
    "no threads": ("0_2mix_norm_vol.py", "N_JOBS", "0", "good values are 1 to 256"),
    "nothing to write": ("0_2mix_norm_vol.py", "WRITE", "", "good values are all, set, test, none"),
    "an unknown method": ("0_downsampling.py", "METHOD", "fft", "good values are load, resample"),
    "an unknown network": (COUNTER, "MODEL", "rnn", "good values are asc, isocc, logmel"),
    "no root": ("0_txt_div.py", "DATASET", "", "good values are texts that are not empty"),
    "a root of spaces": ("0_txt_div.py", "DATASET", "  ", "good values are texts that are not"),
    "clips 0": ("0_get_esc50.py", "CLIPS_PER_CLASS", "0", "good values are 10 to 1000"),
}


@pytest.mark.parametrize("kind", CONSTANTS)
def test_a_constant_on_the_command_line(kind, here):
    script, name, value, wanted = CONSTANTS[kind]
    message = here(script, f"{command_line.flag_of(name)}={value}", status=2)
    assert f"{command_line.flag_of(name)}" in message and wanted in message


def test_names_shared_with_another_network_are_refused_at_once(here):
    message = here("run_all.py", "--shared", status=1)
    assert message.startswith(
        "--shared: the classifiers take the label head of a counter of their own"
    )
    assert message.endswith("as in  --counter-model isocc")


EDITED = {
    "a number a text": (SINGLE, "EPOCHS", '"24"', "--epochs 24: good values are 1"),
    "a whole number a fraction": (SINGLE, "BATCH", "32.0", "--batch 32.0: good values are 2"),
    "a number a truth value": (SINGLE, "SET", "True", "--set True: good values are 1"),
    "a truth value a text": (SINGLE, "ROLL", '"no"', "--roll no: good values are False, True"),
    "a text a number": (SINGLE, "DATASET", "5", "--dataset 5: good values are texts"),
    "a text nothing": (SINGLE, "MODELS", "None", "--models None: good values are texts"),
    "several values one": ("run_all.py", "SETS", "3", "3: a list of one or more is wanted"),
    "several values none": ("run_all.py", "SETS", "[]", "[]: a list of one or more is wanted"),
    "one value several": (SINGLE, "SET", "[1, 2]", "[1, 2]: one value is wanted"),
    "zero": (SINGLE, "EPOCHS", "0", "--epochs 0: good values are 1 to 100000"),
    "absurd": (COUNTER, "GAIN", "6e9", "--gain 6000000000.0: good values are 0 to 40"),
    "a fraction a whole number": (COUNTER, "GAIN", "6", WORKS),
}


@pytest.mark.parametrize("kind", EDITED)
def test_a_constant_in_the_script(tmp_path, kind, here):
    script, name, value, wanted = EDITED[kind]
    source, count = re.subn(
        rf"^{name} = [^#\n]*",
        f"{name} = {value}  ",
        (HERE / script).read_text(),
        flags=re.MULTILINE,
    )
    assert count == 1
    edited = tmp_path / script
    edited.write_text(source)
    if wanted is WORKS:
        message = here(edited, "--gain", 2.5, "--dataset", tmp_path / "none")
        assert f"{tmp_path}/none/esc10_rename_4k is missing" in message
    else:
        assert wanted in here(edited, status=2)


@given(
    st.sampled_from(sorted(GOOD_VALUES)),
    st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.booleans()
    | st.none()
    | st.lists(st.integers(), max_size=2),
)
def test_whatever_a_constant_is_it_is_good_or_bad(name, value):
    reason = why_bad(name, value, GOOD_VALUES[name])
    if reason:
        assert "wanted" in reason or "good values are" in reason
        return
    for item in value if isinstance(value, list) else [value]:
        assert item in GOOD_VALUES[name]


@pytest.fixture
def failing(demo, tmp_path, here, monkeypatch):
    """What the two-label script says where its loss is computed otherwise."""

    def train(loss):
        monkeypatch.setattr(loop, "labels_loss", loss)
        places = ("--dataset", demo, "--results", tmp_path / "r", "--models", tmp_path / "m")
        message = here(TWO_LABEL, *places, *TINY)
        assert list((tmp_path / "r").iterdir()) == []
        return message

    return train


def test_a_loss_that_is_no_number_ends_a_training(failing):
    message = failing(lambda logits, *_, **__: logits.mean() * torch.nan)
    assert message == "epoch 1/2: the loss is nan: try a smaller --learning-rate"


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA out of memory. Tried\nto allocate 9 GiB"), MemoryError("9 GiB")]
)
def test_a_full_memory_is_one_line(failing, error):
    def loss(*_, **__):
        raise error

    assert failing(loss).endswith("): try smaller constants, --batch say")


def test_other_errors_of_the_program_are_shown_as_such(failing):
    def loss(*_, **__):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        failing(loss)


def test_the_page_counts_the_kinds_of_bad_input():
    files = (TABLES, FOLDERS, TEXTS, CLIPS, PREPARED, WEIGHTS, CHECKPOINTS, MIXES, STAMPS)
    names = [name for kinds in (*files, CONSTANTS, EDITED) for name in kinds]
    kinds = sum(" written" not in name for name in names)
    page = (HERE / "docs" / "robustness.md").read_text(encoding="utf-8")
    assert re.findall(r"(\d+)\s+kinds\s+of\s+bad\s+input", page) == [str(kinds)] * 2
    assert kinds >= 100
