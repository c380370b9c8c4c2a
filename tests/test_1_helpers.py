import datetime
import json
import re
import threading

import pytest
from conftest import HERE

import crs_lib
import tmr
from pipeline.files import provenance
from pipeline.settings import command_line, good_values


def test_elapsed_counts_days_hours_minutes_seconds():
    then = datetime.datetime.now() - datetime.timedelta(days=2, hours=3, minutes=4, seconds=5)
    assert tmr.elapsed(then).startswith("2 days 3 hours 4 minutes 5.")
    assert 183_845 <= tmr.seconds(then) < 183_847


@pytest.mark.parametrize(
    ("nb_seconds", "text"),
    [
        (0, "0 days 0 hours 0 minutes 0.0 seconds"),
        (59.96, "0 days 0 hours 1 minutes 0.0 seconds"),
        (86_399.99, "1 days 0 hours 0 minutes 0.0 seconds"),
        (3_661.25, "0 days 1 hours 1 minutes 1.2 seconds"),
    ],
)
def test_seconds_as_text_never_show_sixty(nb_seconds, text):
    assert tmr.as_text(nb_seconds) == text


def test_now_is_text_that_fits_a_folder_name():
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", tmr.now())


@pytest.mark.parametrize(
    ("rate", "tag"), [(4000, "4k"), (8000, "8k"), (16000, "16k"), (22050, "22.05k")]
)
def test_rate_tag(rate, tag):
    assert crs_lib.rate_tag(rate) == tag
    assert crs_lib.oversample_dir("d", rate, 20).as_posix() == f"d/esc10_rename_{tag}_p20"


def test_division_texts_are_the_committed_ones_for_the_default_root_only():
    assert crs_lib.division_dir("dataset", "").as_posix() == "esc10_811div_txts"
    assert crs_lib.division_dir("elsewhere", "").as_posix() == "elsewhere/esc10_811div_txts"
    assert crs_lib.division_dir("elsewhere", "mine").as_posix() == "mine"


def test_a_block_that_fails_leaves_the_earlier_folder(tmp_path):
    folder = tmp_path / "made"
    with crs_lib.replaced_folder(folder) as part:
        (part / "a").write_text("first")
    with pytest.raises(ZeroDivisionError), crs_lib.replaced_folder(folder) as part:
        (part / "b").write_text("second")
        assert not (folder / "b").exists()
        1 / 0  # noqa: B018
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "a"]
    with crs_lib.replaced_folder(folder) as part:
        (part / "c").write_text("third")
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "c"]


def test_a_link_is_not_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "made").symlink_to(tmp_path / "mine")
    with (
        pytest.raises(crs_lib.InputError, match="symbolic link"),
        crs_lib.replaced_folder(tmp_path / "made"),
    ):
        pass


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "sub" / "run.json"
    crs_lib.write_json(path, {"a": 1})
    with pytest.raises(ZeroDivisionError), crs_lib.replaced_file(path) as part:
        part.write_text("half")
        1 / 0  # noqa: B018
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in path.parent.iterdir()] == ["run.json"]


def test_a_stamp_holds_while_constants_and_inputs_stay(tmp_path):
    root = str(tmp_path)

    def make(output, constants, inputs):
        with provenance.made(root, tmp_path / output, constants, inputs):
            pass

    make("first", {"A": 1}, [])
    make("second", {"B": 2}, ["first"])
    second = tmp_path / "second"
    assert provenance.is_up_to_date(root, second, {"B": 2, "N_JOBS": 7})
    assert not provenance.is_up_to_date(root, second, {"B": 3})
    make("first", {"A": 2}, [])
    assert not provenance.is_up_to_date(root, second, {"B": 2})
    make("second", {"B": 2}, ["first"])
    assert provenance.is_up_to_date(root, second, {"B": 2})
    second.rmdir()
    assert not provenance.is_up_to_date(root, second, {"B": 2})


def test_a_step_that_fails_leaves_the_earlier_output_and_its_stamp(tmp_path):
    """Without its stamp an output would count as somebody's own, and never as out of date."""
    root, made = str(tmp_path), tmp_path / "made"
    with provenance.made(root, made, {"A": 1}, []) as part:
        (part / "a").write_text("first")
    with pytest.raises(ZeroDivisionError), provenance.made(root, made, {"A": 2}, []) as part:
        (part / "a").write_text("second")
        1 / 0  # noqa: B018
    assert provenance.read_stamp(root, "made")["constants"] == {"A": 1}
    assert (made / "a").read_text() == "first"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "made.json"]


def test_a_file_of_ones_own_is_not_replaced_by_a_folder(tmp_path):
    (tmp_path / "made").write_text("mine")
    with (
        pytest.raises(crs_lib.InputError, match="made is a file, which is never replaced"),
        crs_lib.replaced_folder(tmp_path / "made"),
    ):
        pass
    assert (tmp_path / "made").read_text() == "mine"


SCRIPT = '''"""What it does, 50 % of it."""

import crs_lib
from pipeline.settings import command_line, good_values

lower_case = 3
'''

CONSTANTS = """# ---- constants
RATE = 4000  # Hz, at 100 %
NAME = ""  # a name
SETS = [1]  # sets
BOLD = False  # bold
SHARE = 0.5  # share
FILES = ["x"]  # files
print(command_line.constants_from_command_line(globals(), {}))
DERIVED = RATE * 2
print(DERIVED)
"""


@pytest.fixture
def script(tmp_path):
    def write(arguments="RATE=range(1000, 9001, 1000)"):
        path = tmp_path / "toy.py"
        path.write_text(SCRIPT + CONSTANTS.replace("{}", arguments))
        return path

    return write


def run(path, *flags, status=0):
    from conftest import HERE, start

    done = start(path, *flags, environment={"PYTHONPATH": str(HERE)})
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr.rstrip().split("\n")[-1]


def test_constants_become_flags_of_their_own_type(script):
    path = script()
    flags = ("--rate", "8000", "--name", "x", "--sets", "2", "3", "--bold", "--share", "1")
    out = run(path, *flags)
    assert "{'RATE': 8000, 'NAME': 'x', 'SETS': [2, 3], 'BOLD': True, 'SHARE': 1.0, " in out
    assert out.endswith("16000\n")
    assert "'BOLD': False" in run(path, "--no-bold")


def test_help_shows_comments_and_defaults(script):
    text = run(script(), "--help")
    assert "Hz, at 100 % (default: 4000)" in text
    assert "What it does, 50 % of it." in text
    assert "--no-bold" in text
    assert "lower-case" not in text


def test_help_shows_good_words_that_the_comment_does_not_name(script):
    """NAME's comment names none, `share` none either, and that one takes no words."""
    text = " ".join(run(script("NAME=('x', 'y', '')"), "--help").split())
    assert ": x, y, empty (default: " in text
    assert text.count(": x, y") == 1
    assert ": good" not in text and "range(" not in text


def test_help_names_the_networks_wherever_one_is_chosen():
    for name in ("audio_source_counter", "run_all"):
        text = " ".join(run(HERE / f"{name}.py", "--help").split())
        assert f": {', '.join(good_values.NETWORKS)}" in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--rat", "8000"), "unknown: --rat 8000; the flags are --rate --name --sets --bold"),
        (("stray",), "unknown: stray"),
        (("--rate", "4500"), "--rate 4500: good values are 1000 to 9000 in steps of 1000"),
        (("--rate", "x"), "--rate: x: good values are 1000 to 9000"),
        (("--sets", "0"), "--sets 0: good values are 1 to 10"),
        (("--share", "nan"), "--share nan: good values are 0 to 1"),
    ],
)
def test_wrong_flags_are_refused_with_the_good_ones(script, flags, message):
    path = script("RATE=range(1000, 9001, 1000), SHARE=good_values.Between(0, 1)")
    assert message in run(path, *flags, status=2)


def test_a_bad_value_in_the_file_itself_is_refused(script):
    assert "--rate 4000: good values are 1 to 9" in run(script("RATE=range(1, 10)"), status=2)


def test_one_constant_may_stand_without_a_flag(script):
    path = script('positional="FILES"')
    assert "'FILES': ['a', 'b']" in run(path, "a", "b")
    assert "'FILES': ['x']" in run(path)
    path.write_text(path.read_text().replace('FILES = ["x"]', "FILES = []"))
    assert "FILES" in run(path, status=2)


def test_a_command_names_only_what_differs():
    command = command_line.command("0_downsampling.py", DATASET="my data", SAMPLE_RATE=4000, SET=3)
    assert command == "python 0_downsampling.py --dataset 'my data'"
    words = command_line.words("audio_source_counter.py", RESUME=True, REDRAW=False)
    assert words == ["python", "audio_source_counter.py", "--resume", "--no-redraw"]


def test_a_folder_that_failed_is_gone_though_a_thread_still_writes_to_it(tmp_path):
    """As those of a step's pool do, for a moment, when one of them met a full disk."""
    folder = tmp_path / "folder"
    failed, started = [], threading.Event()

    def write_on(part):
        try:
            for number in range(1_000_000):
                (part / str(number)).touch()
                started.set()
        except FileNotFoundError as error:
            failed.append(error)

    with pytest.raises(ZeroDivisionError), crs_lib.replaced_folder(folder) as part:
        writer = threading.Thread(target=write_on, args=(part,))
        writer.start()
        started.wait()
        raise ZeroDivisionError
    writer.join()
    assert failed and list(tmp_path.iterdir()) == []
