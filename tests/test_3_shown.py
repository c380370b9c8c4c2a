"""What predict.py makes of answers: table, JSON, CSV, labels; which files, which networks.

The answers are fabricated, so that every number shown is known.
"""

import csv
import json
from pathlib import Path

import pytest
import torch
from conftest import load_script

from crs_lib import InputError
from pipeline.inference import classify
from pipeline.inference.timeline import Span

CPU = torch.device("cpu")


@pytest.fixture
def script():
    return load_script("predict.py")


SCORES = {"dog": 0.126, "rain": 0.996, "rooster": 0.874, "sneezing": 0.004}
ROWS = [
    {
        "file": "one.wav",
        "seconds": 5.0,
        "of_seconds": 5.1,
        "count": 1,
        "count_score": 0.537,
        "names": ["rain"],
        "scores": {**SCORES, "rain": 0.614},
        "spans": [Span(0, 3, "rain", 0.614), Span(3, 5.0, None, None)],
    },
    {
        "file": "two, it is.wav",
        "seconds": 5.0,
        "of_seconds": 5.11,
        "count": 2,
        "count_score": 0.918,
        "names": ["rooster", "dog"],
        "scores": SCORES,
        "spans": [Span(0, 5.0, "dog", 0.126), Span(0, 5.0, "rooster", 0.874)],
    },
    {"file": "none.wav", "error": 'none.wav: "no", such'},
    {
        "file": "quiet.wav",
        "seconds": 0.25,
        "of_seconds": 0.25,
        "count": 0,
        "count_score": 1.0,
        "names": [],
        "scores": dict.fromkeys(SCORES, 0.0),
        "spans": [Span(0, 0.25, None, None)],
    },
    {
        "file": "long.wav",
        "seconds": 3725.54,
        "spans": [
            Span(0, 59, None, None),
            Span(59, 3661, "sneezing", 0.746),
            Span(3600, 3725.54, "rain", 0.999),
        ],
    },
]


NAMES = {row["file"]: row["file"] for row in ROWS}


def test_the_table_to_the_letter(script):
    """Names in the order of the answer, a cut beyond a tenth of a second said, spans a line each.

    `of_seconds` of 5.1 is not beyond.
    """
    table = [
        "recording       classes   labels and scores",
        "one.wav         1 (0.54)  rain 0.61",
        "two, it is.wav  2 (0.92)  rooster 0.87, dog 0.13  (in its first 5 s)",
        "none.wav        not read",
        "quiet.wav       0 (1.00)  silence",
        "long.wav        timeline  1:02:05.5",
        "                0:00:00.0 - 0:00:59.0  silence",
        "                0:00:59.0 - 1:01:01.0  sneezing 0.75",
        "                1:00:00.0 - 1:02:05.5  rain 1.00",
    ]
    assert list(script.as_table(iter(ROWS), False, NAMES)) == table
    note = "SYNTHETIC: these networks were trained on the synthetic set, not on real recordings"
    assert list(script.as_table(iter(ROWS), True, NAMES)) == [note, *table, note]


def test_the_clock_counts_tenths_minutes_and_hours(script):
    hours = {0: "0:00:00.0", 0.04: "0:00:00.0", 0.06: "0:00:00.1", 9.94: "0:00:09.9"}
    hours |= {59.94: "0:00:59.9", 59.96: "0:01:00.0", 61.7: "0:01:01.7", 600: "0:10:00.0"}
    hours |= {3599.94: "0:59:59.9", 3599.96: "1:00:00.0", 3660.3: "1:01:00.3"}
    hours |= {3725.5: "1:02:05.5", 36_000: "10:00:00.0", 100 * 3600 + 59.2: "100:00:59.2"}
    assert {seconds: script.clock(seconds) for seconds in hours} == hours
    for tenths in range(0, 80_000, 37):
        hour, minute, second = script.clock(tenths / 10).split(":")
        total = 3600 * int(hour) + 60 * int(minute) + float(second)
        assert total == pytest.approx(tenths / 10)
        assert int(minute) < 60 and float(second) < 60 and len(minute) == 2 and len(second) == 4


@pytest.mark.parametrize("synthetic", [True, False])
def test_json_holds_the_answers_as_they_are(script, synthetic):
    found = json.loads("\n".join(script.as_json(iter(ROWS), synthetic)))
    expected = [
        {**row, "spans": [dict(zip(Span._fields, span, strict=True)) for span in row["spans"]]}
        if "spans" in row
        else row
        for row in ROWS
    ]
    assert found == {"synthetic": synthetic, "recordings": expected}
    assert json.loads("".join(script.as_json(iter([]), True)))["recordings"] == []


@pytest.mark.parametrize("synthetic", [True, False])
def test_csv_has_every_span_and_every_error(script, synthetic):
    lines = list(script.as_csv(iter(ROWS), synthetic))
    expected = [
        ["file", "start", "end", "name", "score", "error", "synthetic"],
        ["one.wav", "0", "3", "rain", "0.614", ""],
        ["one.wav", "3", "5.0", "", "", ""],
        ["two, it is.wav", "0", "5.0", "dog", "0.126", ""],
        ["two, it is.wav", "0", "5.0", "rooster", "0.874", ""],
        ["none.wav", "", "", "", "", 'none.wav: "no", such'],
        ["quiet.wav", "0", "0.25", "", "", ""],
        ["long.wav", "0", "59", "", "", ""],
        ["long.wav", "59", "3661", "sneezing", "0.746", ""],
        ["long.wav", "3600", "3725.54", "rain", "0.999", ""],
    ]
    assert list(csv.reader(lines)) == [expected[0]] + [
        [*row, str(synthetic)] for row in expected[1:]
    ]
    (row,) = list(script.as_csv(iter([{"file": "a\nb.wav", "error": "x"}]), True))[1:]
    assert row == '"a\nb.wav",,,,,x,True'


def test_labels_are_the_spans_that_have_a_name(script, tmp_path):
    spans = [Span(0, 3, "비", 0.5), Span(3, 4, None, None), Span(4, 61.0625, "dog", 0.1)]
    script.write_labels(tmp_path / "a.txt", spans)
    text = (tmp_path / "a.txt").read_bytes().decode("utf-8")
    assert text == "0.000000\t3.000000\t비\n4.000000\t61.062500\tdog\n"


# ---------------------------------------------------------------------- which files, which answers


def test_what_nobody_asks_for_is_left_to_the_weights_of_the_project(script):
    assert (script.MODELS, script.SET, script.SAMPLE_RATE) == ("pretrained", 0, 0)
    assert script.COUNTER_MODEL == script.CLASSIFIER_MODEL == ""
    assert not any((script.JSON, script.CSV, script.LABELS, script.PLOT, script.THREADS))


def test_folders_give_their_sound_files_in_order_and_what_is_named_stays(script, tmp_path):
    for name in ("b.WAV", "a.flac", "deep/c.ogg", "deep/er/d.Aif", "e.txt", "f.raw", "wav"):
        (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / name).touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "named.txt").touch()
    paths = [tmp_path / name for name in ("named.txt", "x", "empty", "gone.wav")]
    found = script.find_files(list(map(str, paths)))
    x = tmp_path / "x"
    assert list(found.items()) == [
        (tmp_path / "named.txt", "named.txt"),
        (x / "a.flac", "a.flac"),
        (x / "b.WAV", "b.WAV"),
        (x / "deep" / "c.ogg", "deep/c.ogg"),
        (x / "deep" / "er" / "d.Aif", "deep/er/d.Aif"),
        (tmp_path / "empty", "empty"),
        (tmp_path / "gone.wav", "gone.wav"),
    ]
    assert {".wav", ".flac", ".ogg", ".mp3", ".aif", ".aifc", ".oga", ".opus", ".snd"} <= {
        *script.SUFFIXES
    }
    assert ".raw" not in script.SUFFIXES and sorted(script.SUFFIXES) == script.SUFFIXES


def test_two_recordings_may_not_share_what_they_write(script):
    script.refuse_same_names({Path("x/a.wav"): "a.wav", Path("x/b/a.wav"): "b/a.wav"})
    with pytest.raises(InputError, match=r"^x/a.wav and y/a.wav would share predictions/a.wav: "):
        script.refuse_same_names({Path("x/a.wav"): "a.wav", Path("y/a.wav"): "a.wav"})


TRAINED = {"counter": (None, {"synthetic": True})}


def answered(path, trained, device):
    """A stand-in for classify.answer, of which one file cannot be read."""
    assert trained is TRAINED and device is CPU
    if Path(path).name == "bad.wav":
        raise InputError("bad.wav: is bad")
    return {"seconds": len(Path(path).name), "spans": [Span(0, 1, Path(path).stem, 0.5)]}


@pytest.mark.parametrize(("labels", "plot"), [(False, False), (True, False), (False, True)])
def test_each_file_is_answered_in_turn_and_written_where_asked(
    script, monkeypatch, tmp_path, labels, plot
):
    written, drawn = [], []
    monkeypatch.setattr(classify, "answer", answered)
    monkeypatch.setattr(script, "write_labels", lambda *given: written.append(given))
    monkeypatch.setattr(script, "draw", lambda *given: drawn.append(given))
    for name, value in (("LABELS", labels), ("PLOT", plot), ("OUT", "out")):
        monkeypatch.setattr(script, name, value)
    files = {Path("x/a.wav"): "a.wav", Path("bad.wav"): "bad.wav", Path("y/cc.wav"): "y/cc.wav"}
    files[tmp_path] = "empty"
    failed = []
    rows = list(script.answers(files, TRAINED, CPU, failed))
    spans = [[Span(0, 1, name, 0.5)] for name in ("a", "cc")]
    answers = [{"seconds": 5, "spans": spans[0]}, {"seconds": 6, "spans": spans[1]}]
    message = f"{tmp_path}: holds no sound files ({' '.join(script.SUFFIXES)})"
    assert rows == [
        {"file": "x/a.wav", **answers[0]},
        {"file": "bad.wav", "error": "bad.wav: is bad"},
        {"file": "y/cc.wav", **answers[1]},
        {"file": str(tmp_path), "error": message},
    ]
    assert failed == ["bad.wav: is bad", message]
    texts = [Path("out/a.wav.txt"), Path("out/y/cc.wav.txt")]
    assert written == (list(zip(texts, spans, strict=True)) if labels else [])
    pictures = [Path("out/a.wav.png"), Path("out/y/cc.wav.png")]
    sources = [Path("x/a.wav"), Path("y/cc.wav")]
    given = [(*three, TRAINED, CPU) for three in zip(sources, pictures, answers, strict=True)]
    assert drawn == (given if plot else [])


def test_a_picture_is_of_the_columns_of_what_was_heard(script, monkeypatch):
    from pipeline.evaluation import plots
    from pipeline.inference import recording_plots

    done = []
    columns = ("spectrogram", "attention", 4000)
    monkeypatch.setattr(classify, "columns_of", lambda *given: done.append(given) or columns)
    monkeypatch.setattr(
        recording_plots, "draw_recording", lambda *given: done.append(given) or "figure"
    )
    monkeypatch.setattr(plots, "save_plot", lambda *given: done.append(given))
    answer = {"seconds": 5.0, "of_seconds": 6.0}
    script.draw(Path("x/a.wav"), Path("out/a.png"), answer, TRAINED, CPU)
    assert done == [
        (Path("x/a.wav"), 5.0, TRAINED, CPU),
        ("a.wav", answer, *columns),
        ("figure", Path("out/a.png"), True),
    ]


@pytest.mark.parametrize(
    ("form", "first"),
    [
        ("", "recording   classes   labels and"),
        ("JSON", '{\n"synthetic": true'),
        ("CSV", "file,start,"),
    ],
)
def test_the_constants_choose_networks_and_form(script, monkeypatch, capsys, tmp_path, form, first):
    asked = []
    monkeypatch.setattr(classify, "answer", answered)
    monkeypatch.setattr(
        script.choose_weights, "load", lambda *given: asked.append(given) or TRAINED
    )
    monkeypatch.setattr(script.registry, "joined", lambda trained: trained)
    monkeypatch.setattr(script.registry, "choose_device", lambda *given: asked.append(given) or CPU)
    values = {"MODELS": "m", "SET": 3, "SAMPLE_RATE": 8000, "COUNTER_MODEL": "asc"}
    values |= {"CLASSIFIER_MODEL": "logmel", "DEVICE": "cuda:1", "THREADS": 2}
    values |= {"RECORDINGS": ["x/a.wav", "longer.wav"], "OUT": str(tmp_path / "out")}
    for name, value in {**values, **({form: True} if form else {}), "LABELS": True}.items():
        monkeypatch.setattr(script, name, value)
    assert script.main() == 0
    out, err = capsys.readouterr()
    assert asked == [("cuda:1", 2), ("m", 3, 8000, "asc", "logmel", CPU)]
    lines = out.removeprefix(
        "SYNTHETIC: these networks were trained on the synthetic set, not on real recordings\n"
    )
    assert lines.startswith(first) and (lines != out) == (form == "")
    assert err.endswith(f"labels: {tmp_path}/out\n")
    assert (tmp_path / "out" / "longer.wav.txt").read_text() == "0.000000\t1.000000\tlonger\n"
    for labels, recordings in ((False, ["x/a.wav", "bad.wav"]), (True, ["bad.wav"])):
        monkeypatch.setattr(script, "LABELS", labels)
        monkeypatch.setattr(script, "RECORDINGS", recordings)
        with pytest.raises(InputError, match=r"^bad\.wav: is bad$"):
            script.main()
        assert "labels" not in capsys.readouterr().err  # none were asked for, or there are none


@pytest.mark.parametrize("kind", ["LABELS", "PLOT"])
def test_what_cannot_be_written_is_refused_before_a_network_is_loaded(
    script, monkeypatch, tmp_path, kind
):
    monkeypatch.setattr(script.choose_weights, "load", lambda *given: pytest.fail("loaded"))
    monkeypatch.setattr(script, "RECORDINGS", ["x/a.wav", "y/a.wav"])
    monkeypatch.setattr(script, kind, True)
    with pytest.raises(InputError, match=r"would share predictions/a\.wav"):
        script.main()
    (tmp_path / "out").touch()
    monkeypatch.setattr(script, "RECORDINGS", ["x/a.wav"])
    monkeypatch.setattr(script, "OUT", str(tmp_path / "out"))
    with pytest.raises(InputError, match="out: is a file; name a folder"):
        script.main()
    monkeypatch.setattr(script, "JSON", True)
    monkeypatch.setattr(script, "CSV", True)
    with pytest.raises(InputError, match="--json and --csv: one of them"):
        script.main()


def test_what_is_only_printed_may_share_a_name(script, monkeypatch, capsys):
    monkeypatch.setattr(classify, "answer", answered)
    monkeypatch.setattr(script.choose_weights, "load", lambda *given: TRAINED)
    monkeypatch.setattr(script.registry, "joined", lambda trained: trained)
    monkeypatch.setattr(script.registry, "choose_device", lambda *given: CPU)
    monkeypatch.setattr(script, "RECORDINGS", ["x/a.wav", "y/a.wav"])
    assert script.main() == 0
    assert capsys.readouterr().out.count("/a.wav") == 2


def test_a_recording_is_shown_by_its_name_where_no_other_has_it(script):
    paths = [Path("a/b/dog.wav"), Path("c/dog.wav"), Path("c/very/long/path/rain.wav")]
    names = script.shown_names(paths)
    assert list(names.values()) == ["a/b/dog.wav", "c/dog.wav", "rain.wav"]
    assert list(names) == [str(path) for path in paths]
    rows = [{"file": "c/very/long/path/rain.wav", "error": "x"}, {"file": "c/dog.wav", "error": ""}]
    _, *lines = script.as_table(iter(rows), False, names)
    assert lines == ["rain.wav     not read", "c/dog.wav    not read"]
