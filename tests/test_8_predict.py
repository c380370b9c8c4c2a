"""predict.py as a user runs it: what it reads, the forms of its answers, whose weights it takes.

The weights are random: what they say is checked against the networks themselves, and against the
flow in test_8_shipped.py.
"""

import csv
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import bench_lib
import numpy as np
import pytest
import soundfile as sf
import torch
from conftest import CLASSES, COUNTER, HERE, SINGLE, load_script, start, succeed

from pipeline.data import audio
from pipeline.inference import choose_weights, classify, timeline

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def random_weights():
    """What leaves weights of random numbers in a folder, of any constants."""
    return load_script("benchmarks/label.py").random_weights


@pytest.fixture(scope="session")
def models(demo, random_weights, tmp_path_factory):
    """A folder of random weights, marked as trained on the synthetic set. Not to be changed."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    random_weights(str(folder), list(CLASSES), DATASET=str(demo))
    return folder


@pytest.fixture
def clip(demo):
    """A clip of the synthetic set: its samples and rate."""
    return sf.read(next((demo / "esc10" / "chainsaw").iterdir()))


def sounds(folder, clip):
    """Files of every kind: short ones, a longer one, silence, no sound, nothing."""
    samples, rate = clip
    sf.write(folder / "a.wav", samples, rate, subtype="FLOAT")
    sf.write(folder / "b.flac", np.stack([samples, samples], axis=1), rate)
    sf.write(folder / "c.ogg", np.tile(samples, 2), rate)
    sf.write(folder / "d.wav", samples[: rate // 2], rate, subtype="PCM_24")
    sf.write(folder / "e.wav", np.zeros(8000), 8000)
    (folder / "f.wav").write_text("no sound")
    sf.write(folder / "g.wav", np.zeros(0), 8000)
    (folder / "notes.txt").write_text("passed over")
    return folder


def test_any_format_is_read_and_bad_files_are_named_while_others_go_on(models, tmp_path, clip):
    flags = ("--models", models, sounds(tmp_path, clip))
    done = start("predict.py", *flags, "--json")
    assert done.returncode == 1
    message = done.stderr.rstrip().split("\n")[-1]
    assert message.startswith(f"{tmp_path}/f.wav: cannot be read as sound")
    assert message.endswith(f"; {tmp_path}/g.wav: holds no samples")
    answer = json.loads(done.stdout)
    assert answer["synthetic"] is True
    by_name = {row["file"].split("/")[-1]: row for row in answer["recordings"]}
    assert list(by_name) == ["a.wav", "b.flac", "c.ogg", "d.wav", "e.wav", "f.wav", "g.wav"]
    for name in ("a.wav", "b.flac", "d.wav"):
        row = by_name[name]
        assert row["count"] in (1, 2) and len(row["names"]) == row["count"]
        assert set(row["scores"]) == set(CLASSES)
        assert row["names"] == sorted(CLASSES, key=lambda c: -row["scores"][c])[: row["count"]]
        assert {span["name"] for span in row["spans"]} <= {*row["names"], None}
    assert by_name["a.wav"]["names"] == by_name["b.flac"]["names"]
    assert by_name["d.wav"]["seconds"] == 0.5
    assert by_name["e.wav"]["count"] == 0 and by_name["e.wav"]["names"] == []
    assert by_name["e.wav"]["spans"] == [{"start": 0, "end": 1.0, "name": None, "score": None}]
    assert by_name["c.ogg"]["seconds"] == 10 and "count" not in by_name["c.ogg"]
    assert "cannot be read" in by_name["f.wav"]["error"]


def test_the_table(models, tmp_path, clip):
    out = start("predict.py", "--models", models, sounds(tmp_path, clip)).stdout
    assert out.startswith("SYNTHETIC") and out.rstrip().split("\n")[-1].startswith("SYNTHETIC")
    assert re.search(r"a\.wav +[12] \(\d\.\d\d\)  \w+ \d\.\d\d", out)
    assert re.search(r"c\.ogg +timeline  0:00:10\.0\n +0:00:00\.0 - 0:00:\d\d\.0  \w+ \d\.", out)
    assert re.search(r"e\.wav +0 \(1\.00\) +silence", out)
    assert re.search(r"f\.wav +not read", out)


def test_what_is_heard_of_a_longer_clip_is_said(models, tmp_path, clip, here):
    samples, rate = clip
    for name, seconds in (("five", 5), ("six", 6), ("two", 2)):
        sf.write(tmp_path / f"{name}.wav", np.tile(samples, 2)[: seconds * rate], rate)
    out = here("predict.py", "--models", models, tmp_path, status=0)
    assert [line.endswith("  (in its first 5 s)") for line in out.split("\n")[2:5]] == [
        False,
        True,
        False,
    ]
    out = here("predict.py", "--models", models, "--json", tmp_path / "six.wav", status=0)
    (row,) = json.loads(out)["recordings"]
    assert (row["seconds"], row["of_seconds"]) == (5, 6)


def test_one_sample_is_answered_in_every_form(models, tmp_path, here):
    path = tmp_path / "a\nb.wav"  # a name that a table of lines must quote
    sf.write(path, np.full(1, 0.5), 44_100)
    flags = ("--models", models, "--plot", "--labels", "--out", tmp_path / "out", path)
    out = here("predict.py", *flags, "--csv", status=0)
    (row,) = csv.DictReader(io.StringIO(out))
    assert row["file"] == str(path) and 0 < float(row["end"]) < 0.001
    assert (tmp_path / "out" / "a\nb.wav.png").exists()


def test_folders_without_sounds_and_odd_files_do_not_stop_the_others(models, tmp_path, clip):
    good, empty, inside = tmp_path / "good.wav", tmp_path / "empty", tmp_path / "inside"
    sf.write(good, *clip)
    for folder in (empty, inside):
        folder.mkdir()
    os.mkfifo(inside / "pipe.wav")
    (inside / "nowhere.wav").symlink_to(tmp_path / "nowhere")
    (tmp_path / "x.raw").write_bytes(bytes(1000))
    too_long = tmp_path / ("x" * 300 + ".wav")
    # A rate of 2 GHz: six seconds of it would take 48 GB.
    content = bytearray(good.read_bytes())
    content[24:28] = (2_000_000_000).to_bytes(4, "little")
    (tmp_path / "fast.wav").write_bytes(content)
    paths = (empty, inside, tmp_path / "x.raw", too_long, tmp_path / "fast.wav", good)
    done = start("predict.py", "--models", models, "--csv", *paths)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    errors = {
        row["file"].removeprefix(f"{tmp_path}/"): row["error"]
        for row in csv.DictReader(done.stdout.splitlines())
    }
    assert errors.pop("good.wav") == ""
    said = {
        "empty": "holds no sound files (",
        "inside/nowhere.wav": "there is no such file",
        "inside/pipe.wav": "cannot be read as sound (it is no file)",
        "x.raw": "cannot be read as sound (",
        too_long.name: "cannot be read as sound (",
        "fast.wav": "its rate is said to be 2000000000 Hz",
    }
    assert errors.keys() == said.keys()
    assert all(text in errors[name] for name, text in said.items())


def test_nobody_is_told_to_train_into_the_shipped_weights(tmp_path, clip, here):
    path = tmp_path / "a.wav"
    sf.write(path, *clip)
    message = here("predict.py", "--set", 2, path)
    assert message.startswith(f"{HERE}/pretrained has no audio_source_counter_asc_set2_")
    assert message.endswith("or name a folder of your own with  --models")
    # From another folder too they are those of the project.
    assert "silence" in here("predict.py", silence(tmp_path), cwd=tmp_path, status=0)
    message = here("predict.py", "--set", 2, path, cwd=tmp_path)
    assert message.startswith(f"{HERE}/pretrained has no ")


def silence(folder):
    sf.write(folder / "silence.wav", np.zeros(8000), 8000)
    return folder / "silence.wav"


def test_a_reader_that_has_seen_enough_is_no_error(models, tmp_path, clip):
    for number in range(30):
        sf.write(tmp_path / f"{number}.wav", *clip)
    words = [sys.executable, str(HERE / "predict.py"), "--models", str(models)]
    words += ["--json", str(tmp_path)]
    done = subprocess.run(
        ["bash", "-c", f"{shlex.join(words)} | head -1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "{\n" and "pipe" not in done.stderr and "Trace" not in done.stderr


@pytest.mark.parametrize(
    ("name", "reason"),
    [("meta", "good ones are auto, cpu, cuda, mps"), ("hpu", "not to be had"), ("x", "not to be")],
)
def test_odd_devices_are_refused(models, tmp_path, clip, here, name, reason):
    sf.write(tmp_path / "a.wav", *clip)
    message = here("predict.py", "--models", models, "--device", name, tmp_path / "a.wav")
    assert message.startswith(f"--device {name}: not to be had here") and reason in message


def test_csv_has_a_line_for_each_span(models, tmp_path, clip):
    done = start("predict.py", "--models", models, sounds(tmp_path, clip), "--csv")
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert list(rows[0]) == ["file", "start", "end", "name", "score", "error", "synthetic"]
    files = {row["file"].split("/")[-1] for row in rows}
    assert files == {"a.wav", "b.flac", "c.ogg", "d.wav", "e.wav", "f.wav", "g.wav"}
    for row in rows:
        assert row["synthetic"] == "True"
        if row["error"]:
            assert row["start"] == row["name"] == ""
        else:
            assert float(row["start"]) < float(row["end"]) and row["name"] in (*CLASSES, "")
            assert (row["score"] == "") == (row["name"] == "")


def test_the_timeline_is_that_of_the_windows_one_by_one(models, tmp_path, clip):
    """Through the whole program, against each window read, labelled and joined by itself."""
    samples, rate = clip
    samples = samples * np.clip(np.arange(5 * rate)[::-1] / 1000, 0, 1)  # no click before silence
    wave = np.concatenate([samples, np.zeros(7 * rate), samples[::-1], samples[::-1]])
    sf.write(tmp_path / "a.wav", wave, rate)
    out = succeed("predict.py", "--models", models, tmp_path / "a.wav", "--json")
    (row,) = json.loads(out)["recordings"]
    trained = choose_weights.load(str(models), 0, 0, "", "", CPU)
    parts = []
    for start_second in range(int(np.ceil(len(wave) / rate)) - 4):
        sf.write(tmp_path / "b.wav", wave[start_second * rate :][: 5 * rate], rate)
        window = audio.read_clip(tmp_path / "b.wav", 4000)
        parts.append(classify.predict(window[None], trained, CPU))
    whole = classify.Predicted(*map(np.concatenate, zip(*parts, strict=True)))
    expected = timeline.spans(
        whole.labels, whole.scores, whole.silent, row["seconds"], list(CLASSES)
    )
    assert row["seconds"] == 22 and {s.name for s in expected} >= {None}
    for got, span in zip(row["spans"], expected, strict=True):
        assert (got["start"], got["end"], got["name"]) == span[:3]
        assert got["score"] == (span.score and pytest.approx(span.score, abs=0.02))


def test_labels_and_pictures_lie_in_a_folder_of_their_own(models, tmp_path, clip):
    folder = sounds(tmp_path, clip)
    (folder / "deep").mkdir()
    shutil.copy(folder / "a.wav", folder / "deep" / "a.wav")
    shutil.copy(folder / "c.ogg", folder / "deep" / "사랑 $x_$.ogg")
    before = list(folder.rglob("*"))
    out = tmp_path / "new" / "out"
    flags = ("--models", models, "--labels", "--plot", "--out", out, "--json", folder)
    rows = json.loads(start("predict.py", *flags).stdout)["recordings"]
    written = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    names = ["a.wav", "b.flac", "c.ogg", "d.wav", "deep/a.wav", "deep/사랑 $x_$.ogg", "e.wav"]
    assert written == sorted(f"{name}.{kind}" for name in names for kind in ("png", "txt"))
    beside = {path for path in folder.rglob("*") if out not in (path, *path.parents)}
    assert beside == {*before, tmp_path / "new"}
    for row in rows:
        if "error" in row:
            continue
        name = row["file"].removeprefix(f"{folder}/")
        spans = [span for span in row["spans"] if span["name"]]
        lines = (out / f"{name}.txt").read_text().splitlines()
        assert lines == [f"{s['start']:.6f}\t{s['end']:.6f}\t{s['name']}" for s in spans]
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_two_recordings_of_one_name_are_not_written_over_each_other(models, tmp_path, clip, here):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        sf.write(tmp_path / name / "a.wav", *clip)
    flags = ("--models", models, "--out", tmp_path / "out", tmp_path / "x", tmp_path / "y")
    message = here("predict.py", *flags, "--labels")
    first, second = (tmp_path / name / "a.wav" for name in ("x", "y"))
    assert message == f"{first} and {second} would share {tmp_path}/out/a.wav: one at a time"
    assert not (tmp_path / "out").exists()
    assert "--json and --csv: one of them" in here("predict.py", *flags, "--json", "--csv")


def test_an_hour_is_read_in_a_stream(models, tmp_path, clip):
    """Mostly silent, which costs no network anything; as much memory as a minute."""
    samples, rate = clip
    ends = np.minimum(np.arange(5 * rate), np.arange(5 * rate)[::-1])
    samples = (samples * np.clip(ends / 1000, 0, 1))[::2]  # no clicks beside silence
    times, peaks = {60: (20,), 3600: (100, 1800, 3590)}, []
    for seconds, starts in times.items():
        wave = np.zeros(seconds * rate // 2, dtype=np.float32)
        for second in starts:
            wave[second * rate // 2 :][: len(samples)] = samples
        sf.write(tmp_path / "a.wav", wave, rate // 2, subtype="PCM_U8")
        words = ("predict.py", "--models", models, "--json", tmp_path / "a.wav")
        _, peak, out = bench_lib.run_measured(*words)
        peaks.append(peak)
    (row,) = json.loads(out)["recordings"]
    assert row["seconds"] == 3600
    quiet = [(s["start"], s["end"]) for s in row["spans"] if s["name"] is None]
    assert quiet == [(0, 100), (105, 1800), (1805, 3590), (3595, 3600)]
    assert peaks[1] < peaks[0] + 150  # MB; the hour itself has 318 as float32


def test_memory_does_not_grow_with_the_number_of_files(models, tmp_path):
    """Answers are printed as they come: ten times as many take no more."""
    peaks, rng = [], np.random.default_rng(0)
    for nb_files in (30, 300):
        for i in range(nb_files):
            sf.write(tmp_path / f"{i}.wav", rng.uniform(-1, 1, 4000), 4000)
        words = ("predict.py", "--models", models, "--json", tmp_path)
        _, peak, out = bench_lib.run_measured(*words)
        assert len(json.loads(out)["recordings"]) == nb_files
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 10


# -------------------------------------------------------------------------------------- weights


def test_networks_that_do_not_belong_together_are_refused(models, tmp_path, clip, here):
    shutil.copytree(models, tmp_path / "models")
    single = tmp_path / "models" / "sep_opt_isocc_single_volnorm_STFT_isocc_set1_4k.pt"
    content = torch.load(single, weights_only=True)
    torch.save({**content, "classes": ["a", "b", "c", "d"]}, single)
    sf.write(tmp_path / "a.wav", *clip)
    message = here("predict.py", tmp_path / "a.wav", "--models", tmp_path / "models")
    assert message == f"{tmp_path}/models: the weights were trained on different classes or data"


def test_what_is_missing_is_named(models, tmp_path, here):
    message = here("predict.py", tmp_path / "none.wav", "--models", models)
    assert message.startswith(f"{tmp_path}/none.wav: there is no such file")
    assert "holds no sound files" in here("predict.py", tmp_path)
    sf.write(tmp_path / "a.wav", np.zeros(10), 4000)
    for folder in (tmp_path, tmp_path / "gone"):
        message = here("predict.py", tmp_path, "--models", folder)
        assert message == (
            f"{folder} holds no weights: run  python run_all.py --models {folder}  first, or name "
            "the folder of those that come with the project, --models pretrained"
        )
    shutil.copy(models / f"{SINGLE[:-3]}_isocc_set1_4k.pt", tmp_path)
    message = here("predict.py", tmp_path, "--models", tmp_path)
    assert message.endswith(f"run  python {COUNTER} --models {tmp_path}  first")
    for content in (b"not weights", b"", b"PK"):
        (tmp_path / "audio_source_counter_asc_set1_4k.pt").write_bytes(content)
        message = here("predict.py", tmp_path, "--models", tmp_path)
        assert "not weights that can be read" in message


class Code:
    """What would make a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_code_in_weights_is_not_run(models, tmp_path, clip, here):
    folder = shutil.copytree(models, tmp_path / "models")
    single = folder / "sep_opt_isocc_single_volnorm_STFT_isocc_set1_4k.pt"
    content = torch.load(single, weights_only=True)
    torch.save({**content, "metrics": Code(tmp_path / "was_run")}, single)
    sf.write(tmp_path / "a.wav", *clip)
    message = here("predict.py", tmp_path / "a.wav", "--models", folder)
    assert message.startswith(str(single)) and "not weights that can be read" in message
    assert not (tmp_path / "was_run").exists()
    torch.load(single, weights_only=False)["metrics"].close()
    assert (tmp_path / "was_run").exists()


def test_the_weights_of_a_folder_are_found_whatever_they_are(random_weights, tmp_path, here):
    """Set, rate and networks are those of the files; where several are, the flag that chooses."""
    sf.write(tmp_path / "a.wav", np.random.default_rng(0).uniform(-1, 1, 16_000), 8000)
    folder = tmp_path / "models"
    words = ("predict.py", tmp_path / "a.wav", "--models", folder)

    def seconds_heard(*flags):
        return json.loads(here(*words, "--json", *flags, status=0))["recordings"][0]["seconds"]

    random_weights(str(folder), ["a", "b"], SET=3, SAMPLE_RATE=8000, MODEL="asc")
    (folder / "audio_source_counter_asc_set1_1.2.3k.pt").touch()  # no rate, so none of them
    assert seconds_heard() == 2
    random_weights(str(folder), ["a", "b"], SET=2, MODEL="asc")
    assert here(*words) == f"{folder} holds several weights: choose with  --set 2 or 3"
    assert seconds_heard("--set", 3) == seconds_heard("--sample-rate", 4000) == 2
    random_weights(str(folder), ["a", "b"], SET=2, SAMPLE_RATE=8000, MODEL="asc")
    message = here(*words, "--set", 2)
    assert message == f"{folder} holds several weights: choose with  --sample-rate 4000 or 8000"
    message = here(*words, "--sample-rate", 8000)
    assert message == f"{folder} holds several weights: choose with  --set 2 or 3"
    random_weights(str(folder), ["a", "b"], SET=2)
    message = here(*words, "--set", 2, "--sample-rate", 4000)
    choice = "--classifier-model asc or isocc"
    assert message == f"{folder} holds several weights: choose with  {choice}"
    assert seconds_heard("--set", 2, "--sample-rate", 4000, "--classifier-model", "asc") == 2
    shutil.move(folder / "audio_source_counter_asc_set3_8k.pt", tmp_path)
    missing = "audio_source_counter_asc_set3_8k.pt is missing"
    assert missing in here(*words, "--set", 3)
