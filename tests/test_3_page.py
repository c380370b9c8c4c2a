"""What the page shows of a recording and of two mixed. Gradio, which draws it, is stood in for."""

import importlib
import sys
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
import soundfile as sf
import torch
from conftest import load_script

from crs_lib import InputError
from pipeline.evaluation import plots
from pipeline.inference import classify, recording_plots
from pipeline.inference.timeline import Span

CPU = torch.device("cpu")
RATE = 2000


@pytest.fixture
def page(monkeypatch):
    """The page's module, imported anew with stand-ins for what only the page needs."""
    for name in ("GRADIO_ANALYTICS_ENABLED", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "")
    for name in ("gradio", "starlette", "starlette.middleware", "starlette.middleware.base"):
        monkeypatch.setitem(sys.modules, name, MagicMock())
    monkeypatch.delitem(sys.modules, "pipeline.inference.web_page", raising=False)
    yield importlib.import_module("pipeline.inference.web_page")
    sys.modules.pop("pipeline.inference.web_page", None)
    del sys.modules["pipeline.inference"].web_page  # else others would find it there


def counter(spectrograms):
    """Two, the more of a clip lies in the upper half of its spectrum."""
    halves = spectrograms[:, 0].mean(dim=2).tensor_split(2, dim=1)
    low, high = (half.square().sum(dim=1) for half in halves)
    return torch.stack([torch.zeros_like(low), 6 * high / (low + high) - 2], dim=1)


def classifier(spectrograms):
    return torch.tensor([[0.0, 1.0, 3.0]]).repeat(len(spectrograms), 1)


counter.forward = classifier.forward = counter  # neither has attention
counter.n_fft = classifier.n_fft = 256


def setup_of(page, synthetic=False, most_minutes=1):
    content = {
        "classes": ["clock_tick", "dog", "sea_waves"],
        "constants": {"N_FFT": 256, "SAMPLE_RATE": RATE},
        "synthetic": synthetic,
    }
    networks = {"counter": counter, "single": classifier, "two_label": classifier}
    trained = {task: (network, content) for task, network in networks.items()}
    return page.Setup(trained, CPU, most_minutes, 7)


def tone(path, frequency, level=0.2, seconds=5, rate=RATE):
    wave = level * np.sin(2 * np.pi * frequency / rate * np.arange(round(seconds * rate)))
    sf.write(path, wave, rate, subtype="FLOAT")
    return str(path)


# -------------------------------------------------------------------------------- one recording


def test_a_recording_is_shown_as_it_is_answered(page, tmp_path, monkeypatch):
    """Scores as they are, those of the timeline to hundredths, silence without any."""
    drawn, done = [], []
    monkeypatch.setattr(
        recording_plots, "draw_recording", lambda *given: drawn.append(given) or "figure"
    )
    monkeypatch.setattr(plots, "finish", lambda *given: done.append(("finish", *given)))
    monkeypatch.setattr(plots.plt, "close", lambda figure: done.append(("close", figure)))
    path = tone(tmp_path / "a.wav", 900, seconds=3)
    for synthetic in (False, True):
        setup = setup_of(page, synthetic)
        title, scores, rows, figure = page.show_recording(path, setup)
        answer = classify.answer(Path(path), setup.trained, CPU)
        two = 1 / (1 + np.exp(2 - 6))  # all of it lies in the upper half
        assert title == f"## sea_waves + dog\ntwo classes ({two:.2f})"
        pairs = {name: np.exp(total) for name, total in {"cd": 1, "cs": 3, "ds": 4}.items()}
        each = [pairs["cd"] + pairs["cs"], pairs["cd"] + pairs["ds"], pairs["cs"] + pairs["ds"]]
        expected = np.array(each) / sum(pairs.values())
        names = ["clock_tick", "dog", "sea_waves"]
        assert scores == pytest.approx(dict(zip(names, expected, strict=True)), abs=1e-3)
        assert rows == [
            [0, 3.0, "dog", round(expected[1], 2)],
            [0, 3.0, "sea_waves", round(expected[2], 2)],
        ]
        assert figure == "figure" and done == [("finish", "figure", synthetic), ("close", "figure")]
        done.clear()
    (name, given, magnitudes, attention, rate) = drawn[0]
    assert (name, given, attention, rate) == ("a.wav", answer, None, RATE)
    columns = classify.columns_of(Path(path), 3.0, setup.trained, CPU)
    np.testing.assert_array_equal(magnitudes, columns[0])


def test_of_silence_no_scores_are_shown_nor_of_a_long_recording(page, tmp_path):
    setup = setup_of(page)
    title, scores, rows, figure = page.show_recording(tone(tmp_path / "a.wav", 100, level=0), setup)
    assert (title, scores) == ("## Silence", None)
    assert rows == [[0, 5.0, "silence", None]] and figure.axes
    title, scores, rows, _ = page.show_recording(tone(tmp_path / "b.wav", 100, seconds=7.25), setup)
    assert (title, scores) == ("## A timeline of 7.2 seconds", None)
    assert rows == [[0, 7.25, "sea_waves", 0.84]]  # the share e^3 / (1 + e + e^3)
    assert page.show_recording(None, setup) == ("", None, [], None)


def test_headlines(page):
    one = {"count": 1, "names": ["dog"], "count_score": 0.738, "seconds": 5.0}
    assert page.headline(one) == "## dog\none class (0.74)"
    two = {"count": 2, "names": ["rain", "dog"], "count_score": 0.5, "seconds": 5.0}
    assert page.headline(two) == "## rain + dog\ntwo classes (0.50)"
    assert page.headline({**one, "count": 0, "names": []}) == "## Silence"
    assert page.headline({"seconds": 61.26}) == "## A timeline of 61.3 seconds"


def test_what_cannot_be_heard_is_said_by_its_name_alone(page, tmp_path):
    (tmp_path / "a.wav").write_text("no sound")
    setup = setup_of(page)
    title, *nothing = page.show_recording(str(tmp_path / "a.wav"), setup)
    assert title.startswith("a.wav: cannot be read as sound") and str(tmp_path) not in title
    assert nothing == [None, [], None]
    title, *nothing = page.show_recording(
        tone(tmp_path / "b.wav", 100, seconds=75, rate=400), setup
    )
    long = "b.wav lasts 1.2 minutes, more than 1: python predict.py takes any length"
    assert title == long and nothing == [None, [], None]
    with pytest.raises(InputError, match=r"^b\.wav lasts 1\.2 minutes"):
        page.levelled_clip(str(tmp_path / "b.wav"), RATE, setup)


@pytest.mark.parametrize(("beyond", "refused"), [(0, False), (1, True)])
def test_a_recording_of_the_most_minutes_is_taken_and_a_sample_more_is_not(
    page, tmp_path, beyond, refused
):
    sf.write(tmp_path / "a.wav", np.zeros(2 * 60 * 200 + beyond), 200)
    try:
        page.refuse_long(str(tmp_path / "a.wav"), setup_of(page, most_minutes=2))
    except InputError:
        assert refused
    else:
        assert not refused


# ----------------------------------------------------------------------------------- two mixed


def mixture_of(first, second, level_db):
    """Both at one level, then the second so many decibels above the first; the sum at an RMS of
    0.1, within full scale, in steps of 16 bits.
    """
    first, second = (wave / np.sqrt(np.mean(wave**2)) for wave in (first, second))
    mixture = first + 10 ** (level_db / 20) * second
    mixture *= 0.1 / np.sqrt(np.mean(mixture**2))
    mixture /= max(1, np.abs(mixture).max() * 32768 / 32767)
    return np.round(mixture * 32768) / 32768


@pytest.mark.parametrize("level_db", [0, -11, 20])
def test_a_mixture_has_the_level_that_was_chosen_and_the_curve_all_others(
    page, tmp_path, monkeypatch, level_db
):
    """A low hum that is loud and a soft hiss, which clicks so loud that the mixture is scaled."""
    curves, shown = [], []
    monkeypatch.setattr(
        recording_plots, "draw_score_over_level", lambda *given: curves.append(given) or "curve"
    )
    monkeypatch.setattr(page, "finished", lambda *given: given)
    rng, time = np.random.default_rng(0), np.arange(5 * RATE) / RATE
    waves = [0.5 * np.sin(2 * np.pi * 150 * time), 0.01 * rng.standard_normal(5 * RATE)]
    waves[1][500] = 0.9
    paths = [str(tmp_path / "hum.wav"), str(tmp_path / "a hiss.wav")]
    for path, wave in zip(paths, waves, strict=True):
        sf.write(path, np.round(wave * 32768) / 32768, RATE)
    waves = [sf.read(path)[0] for path in paths]
    setup = setup_of(page)

    def show(path, setup):
        shown.append((Path(path).name, *sf.read(path)))
        return "title", "scores", "rows", "picture"

    monkeypatch.setattr(page, "show_recording", show)
    *found, (rate, samples), curve = page.mix(*paths, level_db, setup)
    assert found == ["title", "scores", "rows", "picture"] and curve == ("curve", setup)
    expected = mixture_of(*waves, level_db)
    ((name, written, written_rate),) = shown
    assert (name, written_rate, rate) == ("hum + a hiss.wav", RATE, RATE)
    np.testing.assert_allclose(written, expected, atol=1.1 / 32768)
    assert samples.dtype == np.int16
    np.testing.assert_array_equal(samples / 32768, written)
    ((levels, chances, chosen),) = curves
    assert list(levels) == list(range(-30, 31, 3)) and chosen == level_db
    assert len(chances) == 21
    given = {"window": torch.hann_window(256), "pad_mode": "constant", "return_complex": True}
    for level, chance in zip(levels, chances, strict=True):
        window = torch.from_numpy(mixture_of(*waves, level)).float()[None]
        spectra = torch.stft(window, 256, 64, **given).abs()
        one, two = counter(spectra[:, None])[0].exp().tolist()
        assert chance == pytest.approx(two / (one + two), abs=2e-3)
    assert min(chances) < 0.3 and max(chances) > 0.7  # the count does change


def test_without_two_sounds_nothing_is_mixed(page, tmp_path):
    setup = setup_of(page)
    good, silent = tone(tmp_path / "a.wav", 100), tone(tmp_path / "s.wav", 100, level=1e-4)
    for pair in ((None, good), (good, None), (None, None)):
        assert page.mix(*pair, 0, setup) == ("Choose two sounds.", None, [], None, None, None)
    for pair in ((silent, good), (good, silent)):
        title, *nothing = page.mix(*pair, 0, setup)
        assert title == "s.wav is silent: there is nothing to mix"
        assert nothing == [None, [], None, None, None]
    (tmp_path / "x.wav").write_text("no sound")
    title, *_ = page.mix(good, str(tmp_path / "x.wav"), 0, setup)
    assert title.startswith("x.wav: cannot be read as sound")


def test_a_clip_with_one_second_of_sound_is_mixed_at_its_level(page, tmp_path):
    wave = np.zeros(5 * RATE)
    wave[:RATE] = 0.4 * np.sin(0.3 * np.arange(RATE))
    sf.write(tmp_path / "a.wav", np.concatenate([wave, np.ones(RATE)]), RATE, subtype="FLOAT")
    clip = page.levelled_clip(str(tmp_path / "a.wav"), RATE, setup_of(page))
    assert clip.shape == wave.shape and np.sqrt(np.mean(clip**2)) == pytest.approx(0.1)
    assert np.corrcoef(clip, wave)[0, 1] > 0.9999


# ---------------------------------------------------------------------------- how it is shown


@pytest.mark.parametrize("synthetic", [False, True])
def test_the_introduction_has_the_classes_and_the_limits(page, synthetic):
    text = page.introduction(setup_of(page, synthetic, most_minutes=4))
    assert ("**SYNTHETIC: trained on the synthetic set" in text) == synthetic
    assert "know 3 classes, one or two at a time: clock tick, dog, sea waves." in text
    assert "Up to 4 minutes and 7 MB; beyond 6 seconds a recording gets a timeline." in text


def test_a_span_of_no_score_stays_without_one(page, tmp_path, monkeypatch):
    """A score of nought is one; of silence there is none."""
    spans = [Span(0, 2, "dog", 0.0), Span(2, 5.0, None, None)]
    answer = {"seconds": 5.0, "spans": spans, "count": 1, "names": ["dog"], "count_score": 1.0}
    monkeypatch.setattr(classify, "answer", lambda *given: {**answer, "scores": {"dog": 0.0}})
    path = tone(tmp_path / "a.wav", 100)
    _, scores, rows, _ = page.show_recording(path, setup_of(page))
    assert scores == {"dog": 0.0}
    assert rows == [[0, 2, "dog", 0.0], [2, 5.0, "silence", None]]


def test_the_page_asks_for_the_first_sound_then_the_second_then_the_level(page):
    """Its sliders and sounds are stand-ins that know what they are called."""
    made = {}

    def make(*given, **named):
        found = made[named["elem_id"]] = MagicMock(given=given, named=named)
        return found

    def unnamed(*given, **named):
        return make(*given, **{"elem_id": named["label"], **named})

    page.gr.Audio.side_effect, page.gr.Slider.side_effect = unnamed, make
    setup, clips = setup_of(page), {"dog: dog1.wav": "x/dog1.wav"}
    page.gr.Dropdown.side_effect = make
    page.page(setup, clips)
    assert page.gr.Blocks.call_args.kwargs["analytics_enabled"] is False
    assert made["level"].given == (-30, 30, 0)
    sounds = [made["first"], made["second"], made["level"]]
    events = (made["first"].change, made["second"].change, made["level"].release)
    for event in events:
        function, inputs, outputs = event.call_args.args
        assert function.func is page.mix and function.keywords == {"setup": setup}
        assert inputs == sounds and len(outputs) == 6 and outputs[4] is made["the mixture"]
    function, source, outputs = made["recording"].change.call_args.args
    assert (
        function.func is page.show_recording and source is made["recording"] and len(outputs) == 4
    )
    for side in ("first", "second"):
        chosen, choice, sound = made[f"{side}_clip"].change.call_args.args
        assert made[f"{side}_clip"].given == (["dog: dog1.wav"],)
        assert chosen("dog: dog1.wav") == "x/dog1.wav"
        assert choice is made[f"{side}_clip"] and sound is made[side]
    made.clear()
    page.page(setup, {})
    assert {"first", "second"} <= made.keys() and "first_clip" not in made  # nothing to choose from


def test_the_page_is_served_here_alone(page, capsys):
    blocks = MagicMock()
    page.serve(blocks, 7861, setup_of(page), [Path("x")])
    given = blocks.launch.call_args.kwargs
    assert (given["server_name"], given["server_port"]) == ("127.0.0.1", 7861)
    assert given["share"] is False and given["max_file_size"] == "7mb"
    assert given["allowed_paths"] == ["x"] and blocks.block_thread.called
    assert "open  http://127.0.0.1:7861  in" in capsys.readouterr().out
    blocks.launch.side_effect = OSError("in use")
    with pytest.raises(InputError, match=r"^--port 7861 is taken, or no page can be: in use$"):
        page.serve(blocks, 7861, setup_of(page), [])


@pytest.mark.parametrize("has_clips", [False, True])
def test_the_constants_of_the_app_reach_the_page(page, monkeypatch, tmp_path, has_clips):
    app, asked = load_script("app.py"), []
    # What nobody asks for is left to the weights of the project.
    assert (app.MODELS, app.SET, app.SAMPLE_RATE) == ("pretrained", 0, 0)
    assert app.COUNTER_MODEL == app.CLASSIFIER_MODEL == ""
    monkeypatch.setattr(app.registry, "choose_device", lambda *given: asked.append(given) or CPU)
    monkeypatch.setattr(app.choose_weights, "load", lambda *given: asked.append(given) or "apart")
    monkeypatch.setattr(app.registry, "joined", {"apart": "trained"}.get)
    monkeypatch.setattr(page, "page", lambda *given: asked.append(given) or "blocks")
    monkeypatch.setattr(page, "serve", lambda *given: asked.append(given))
    folder = tmp_path / "esc10_rename"
    if has_clips:
        (folder / "dog").mkdir(parents=True)
        (folder / "dog" / "dog1.wav").touch()
    values = {"MODELS": "m", "SET": 3, "SAMPLE_RATE": 8000, "COUNTER_MODEL": "asc", "PORT": 7862}
    values |= {"CLASSIFIER_MODEL": "logmel", "DATASET": str(tmp_path), "MOST_MB": 5}
    for name, value in {**values, "MOST_MINUTES": 9, "DEVICE": "cpu", "THREADS": 2}.items():
        monkeypatch.setattr(app, name, value)
    app.main()
    setup = page.Setup("trained", CPU, most_minutes=9, most_mb=5)
    clips = {"dog: dog1.wav": str(folder / "dog" / "dog1.wav")} if has_clips else {}
    assert asked == [
        ("cpu", 2),
        ("m", 3, 8000, "asc", "logmel", CPU),
        (setup, clips),
        ("blocks", 7862, setup, [folder] if has_clips else []),
    ]
