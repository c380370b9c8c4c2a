import ast
import re
import shutil
import sys
from pathlib import Path

import pytest
from conftest import COUNTER, HERE, SINGLE, TWO_LABEL, fail, start

from pipeline.settings import command_line, good_values

SCRIPTS = sorted(
    path.name for path in HERE.glob("*.py") if "constants_from_command_line(" in path.read_text()
)
# What predict.py and app.py take from the weights they find, where the others have a default.
OF_THE_WEIGHTS = {
    "MODELS": "models",
    "SET": 1,
    "SAMPLE_RATE": 4000,
    "COUNTER_MODEL": "asc",
    "CLASSIFIER_MODEL": "isocc",
}
TRAININGS = (COUNTER, SINGLE, TWO_LABEL)


def test_every_script_of_the_pipeline_has_constants():
    assert len(SCRIPTS) == 8 + 3 + 7


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_lists_every_constant(script, here):
    text = here(script, "--help", status=0)
    source = re.split(r".*constants_from_command_line\(", (HERE / script).read_text())[0]
    names = re.findall(r"^([A-Z][A-Z0-9_]*) = ", source, flags=re.MULTILINE)
    assert len(names) >= 1
    for name in names:
        flag = name if name == "RECORDINGS" else "--" + name.lower().replace("_", "-")
        assert flag in text
    assert ast.get_docstring(ast.parse((HERE / script).read_text())).split("\n")[0] in text


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_unknown_flag_is_answered_with_the_known_ones(script, here):
    flags = ["x.wav"] if script == "predict.py" else []
    message = here(script, *flags, "--epoch-number", "3", status=2)
    assert "unknown: --epoch-number 3; the flags are --" in message


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_constant_has_a_comment(script):
    for name, (_, comment) in command_line.read_constants(HERE / script).items():
        assert comment, f"{script}: {name} says nothing of itself"


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_constant_has_good_values(script):
    """So that one written into the script of the wrong type is refused."""
    own = set(re.findall(r"\b([A-Z_]+)=", (HERE / script).read_text()))  # those of the call
    names = set(command_line.read_constants(HERE / script))
    assert names - own <= {*good_values.GOOD_VALUES, *good_values.FROM_WEIGHTS}


def test_a_shared_constant_has_one_default_and_one_meaning():
    values, meanings = {}, {}
    for script in SCRIPTS:
        for name, (value, comment) in command_line.read_constants(HERE / script).items():
            if name in (
                "EPOCHS",
                "LEARNING_RATE",
                "BATCH",
                "PATIENCE",
                "SEED",
                "WRITE",
                "MODEL",
                "N_JOBS",
                "SETS",
            ):
                continue  # stated in each script
            if script in ("predict.py", "app.py", "export_onnx.py") and name in OF_THE_WEIGHTS:
                value = OF_THE_WEIGHTS[name]
            values.setdefault(name, set()).add(repr(value))
            # What it is for may differ by script; what it is comes first.
            meanings.setdefault(name, set()).add(re.split(r"[,;:(]", comment)[0])
    assert {name: found for name, found in values.items() if len(found) > 1} == {}
    assert {name: found for name, found in meanings.items() if len(found) > 1} == {}


@pytest.mark.parametrize(
    ("script", "flags", "missing", "command"),
    [
        ("0_make_esc10.py", (), "ESC-50", "0_get_esc50.py --dataset {root}"),
        ("0_rename_files.py", (), "esc10", "0_make_esc10.py --dataset {root}"),
        ("0_txt_div.py", (), "esc10_rename", "0_rename_files.py --dataset {root}"),
        ("0_downsampling.py", (), "esc10_rename", "0_rename_files.py --dataset {root}"),
        (
            "0_pitch_oversample_4k.py",
            ("--sample-rate", "8000"),
            "esc10_rename_8k",
            "0_downsampling.py --dataset {root} --sample-rate 8000",
        ),
        ("0_2mix_norm_vol.py", (), "esc10_rename", "0_rename_files.py --dataset {root}"),
        ("0_2mix_csv.py", (), "esc10_rename", "0_rename_files.py --dataset {root}"),
        ("audio_source_counter.py", (), "esc10_rename_4k", "0_downsampling.py --dataset {root}"),
        (
            "overall_flow.py",
            ("--models", "nowhere", "--set", "3"),
            "nowhere/audio_source_counter_asc_set3_4k.pt",
            "audio_source_counter.py --dataset {root} --models nowhere --set 3",
        ),
    ],
)
def test_a_missing_step_is_named(tmp_path, script, flags, missing, command, here):
    message = here(script, "--dataset", tmp_path, *flags)
    assert missing in message
    assert f"run  python {command.format(root=tmp_path)}  first" in message


@pytest.mark.parametrize("script", TRAININGS)
@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("esc10_rename_4k", "0_downsampling.py"),
        ("esc10_rename_4k_p5", "0_pitch_oversample_4k.py"),
        ("esc10_mixes.csv", "0_2mix_csv.py"),
    ],
)
def test_a_training_names_the_step_it_lacks(demo, tmp_path, script, gone, message, here):
    for path in demo.iterdir():
        if path.name != gone:
            (tmp_path / path.name).symlink_to(path)
    last = here(script, "--dataset", tmp_path)
    assert (
        f"{tmp_path}/{gone} is missing: run  python {message} --dataset {tmp_path}  first" == last
    )


def test_the_message_of_the_contract(tmp_path):
    (tmp_path / "dataset" / "esc10_811div_txts").mkdir(parents=True)
    message = fail("0_pitch_oversample_4k.py", "--sample-rate", "8000", cwd=tmp_path)
    assert message == (
        "dataset/esc10_rename_8k is missing: run  "
        "python 0_downsampling.py --sample-rate 8000  first"
    )


def test_damaged_clips_are_named_together(demo, tmp_path, here):
    shutil.copytree(demo / "esc10_rename_4k", tmp_path / "esc10_rename_4k")
    clips = tmp_path / "esc10_rename_4k" / "chainsaw"
    (clips / "chainsaw1.wav").write_bytes(b"RIFF")
    (clips / "chainsaw7.wav").write_bytes((clips / "chainsaw7.wav").read_bytes()[:5000])
    for script in ("0_pitch_oversample_4k.py", "0_2mix_norm_vol.py"):
        message = here(script, "--dataset", tmp_path)
        assert "chainsaw1.wav" in message and "chainsaw7.wav" in message
    assert sorted(p.name for p in tmp_path.iterdir()) == ["esc10_rename_4k"]


def test_odd_names_are_refused(demo, tmp_path, here):
    shutil.copytree(demo / "esc10", tmp_path / "esc10")
    (tmp_path / "esc10" / "chainsaw" / "my saw.wav").write_bytes(b"x")
    message = here("0_rename_files.py", "--dataset", tmp_path)
    assert "my saw.wav: not called fold-recording-take-target.wav" in message
    shutil.copytree(demo / "esc10_rename", tmp_path / "esc10_rename")
    (tmp_path / "esc10_rename" / "chainsaw" / "saw.wav").write_bytes(b"x")
    message = here("0_txt_div.py", "--dataset", tmp_path)
    assert "saw.wav: not called chainsaw<number>.wav" in message


def test_classes_of_different_numbers_are_named(demo, tmp_path, here):
    shutil.copytree(demo / "esc10_rename", tmp_path / "esc10_rename")
    (tmp_path / "esc10_rename" / "crying_baby" / "crying_baby9.wav").unlink()
    for script in ("0_txt_div.py", "0_2mix_csv.py"):
        message = here(script, "--dataset", tmp_path)
        assert "the clips of crying_baby and chainsaw differ in number" in message


def test_a_folder_that_holds_other_things_is_not_taken_for_division_texts(demo, tmp_path, here):
    mine = tmp_path / "documents"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    message = here("0_txt_div.py", "--dataset", demo, "--division-dir", mine)
    assert message == f"{mine} holds thesis.txt and is not replaced"
    assert (mine / "thesis.txt").read_text() == "years of work"


def without_stamps(demo, root):
    """A root that links to another's data, but for the steps' stamps."""
    root.mkdir()
    for path in demo.iterdir():
        if path.suffix != ".json":
            (root / path.name).symlink_to(path)
    return root


def test_data_older_than_its_input_is_refused(demo, tmp_path, here):
    for name in ("esc10_rename", "esc10_rename_4k_p2", "esc10_811div_txts"):
        (tmp_path / name).symlink_to(demo / name)
    for path in [*demo.glob("*.json"), *demo.glob("*.csv"), demo / "SYNTHETIC"]:
        shutil.copy(path, tmp_path)
    here("0_downsampling.py", "--dataset", tmp_path, "--method", "scipy", status=0)
    message = here(SINGLE, "--dataset", tmp_path, "--oversample", "2")
    redo = f"run  python 0_pitch_oversample_4k.py --dataset {tmp_path} --oversample 2  again"
    assert message == (
        f"{tmp_path}/esc10_rename_4k_p2 was made from another esc10_rename_4k: {redo}"
    )


@pytest.mark.parametrize("content", [b"", b"clip,recording\n", "filé".encode("latin-1")])
def test_a_damaged_table_of_names_is_named(demo, tmp_path, here, content):
    root = without_stamps(demo, tmp_path / "data")
    (root / "esc10_rename").unlink()
    (root / "esc10_rename").mkdir()
    (root / "esc10_rename" / "names.csv").write_bytes(content)
    message = here(SINGLE, "--dataset", root, "--oversample", "2")
    assert message.startswith(f"{root}/esc10_rename/names.csv: not a table (")
    assert message.endswith(f"run  python 0_rename_files.py --dataset {root}  first")


def test_texts_that_do_not_fit_the_clips_are_named(demo, tmp_path, here):
    texts = tmp_path / "texts"
    shutil.copytree(demo / "esc10_811div_txts", texts)
    (texts / "set1" / "set1_train.txt").write_text("2, 3, 40, 41\n")
    message = here("0_2mix_csv.py", "--dataset", demo, "--division-dir", texts)
    assert message == f"{texts}/set1: no clip has the number 40"
    (texts / "set1" / "set1_train.txt").write_text("2, 3, 4\n")
    message = here("audio_source_counter.py", "--dataset", demo, "--division-dir", texts)
    redo = f"run  python 0_2mix_csv.py --dataset {demo} --division-dir {texts}"
    assert message == f"{demo}/esc10_mixes.csv was made from another DIVISION: {redo}  again"
    root = without_stamps(demo, tmp_path / "data")
    message = here("audio_source_counter.py", "--dataset", root, "--division-dir", texts)
    redo = f"run  python 0_2mix_csv.py --dataset {root} --division-dir {texts}  first"
    assert f"{root}/esc10_mixes.csv does not fit the clips and the division: {redo}" in message
    shutil.rmtree(texts / "set1")
    message = here("audio_source_counter.py", "--dataset", demo, "--division-dir", texts)
    redo = f"run  python 0_txt_div.py --dataset {demo} --division-dir {texts}  first"
    assert message == f"{texts}/set1/set1_train.txt is missing: {redo}"


def test_an_esc50_folder_that_is_not_whole_is_named(demo, tmp_path, here):
    esc50 = tmp_path / "mine"
    shutil.copytree(demo / "ESC-50", esc50)
    lost = sorted((esc50 / "audio").iterdir())[:2]
    for path in lost:
        path.unlink()
    root = tmp_path / "data"
    advice = {"0_get_esc50.py": "--esc50-dir", "0_make_esc10.py": "run  python 0_get_esc50.py"}
    for script, more in advice.items():
        for flags, environment in (
            (("--esc50-dir", esc50), {}),
            ((), {"ESC50_DIR": str(esc50)}),
        ):
            message = here(script, "--dataset", root, *flags, environment=environment)
            assert f"{esc50} is not a whole ESC-50 folder: audio/ lacks 2 of 40" in message
            assert lost[0].name in message and more in message
    assert not root.exists()


def test_a_real_table_with_too_few_rows_is_not_whole(demo, tmp_path, here):
    esc50 = tmp_path / "mine"
    shutil.copytree(demo / "ESC-50", esc50)
    (esc50 / "SYNTHETIC").unlink()
    message = here("0_get_esc50.py", "--esc50-dir", esc50)
    assert "has 40 ESC-10 rows, not 400 or more" in message
    (esc50 / "meta" / "esc50.csv").write_text("filename,fold\n1-2-A-3.wav,1\n")
    message = here("0_get_esc50.py", "--esc50-dir", esc50)
    assert "esc50.csv has no column category, esc10" in message


def test_synthetic_is_only_made_when_asked_and_never_over_real_recordings(tmp_path, here):
    root = tmp_path / "data"
    (root / "esc10").mkdir(parents=True)
    message = here("0_get_esc50.py", "--dataset", root, "--synthetic")
    assert message == f"{root} holds real recordings: name another root, --dataset dataset_demo"
    message = here(
        "0_get_esc50.py", "--dataset", tmp_path / "new", "--synthetic", "--esc50-dir", root
    )
    assert "leave --esc50-dir out" in message
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("device", ["cuda:9", "nonsense"])
def test_a_device_that_is_not_there(device, here):
    message = here("audio_source_counter.py", "--device", device)
    assert message.startswith(f"--device {device}: not to be had here")


def test_the_page_says_what_it_needs(here, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)  # as where it is not installed
    message = here("app.py")
    install = "pip install -r requirements/app.txt"
    assert message == f"gradio is missing: run  {install}  first, or  make app"


def test_a_window_that_does_not_fit_is_refused(here):
    message = here("audio_source_counter.py", "--n-fft", 254, status=2)
    assert "--n-fft 254: good values are 152 to 8192 in steps of 4" in message


def test_a_full_or_closed_folder_is_one_line(tmp_path):
    (tmp_path / "data").write_text("a file where the root should be")
    done = start("0_get_esc50.py", "--dataset", tmp_path / "data", "--synthetic")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert str(tmp_path / "data") in done.stderr
    assert Path(tmp_path / "data").read_text().startswith("a file")
