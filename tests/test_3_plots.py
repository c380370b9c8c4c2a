"""What pictures show, read back from their axes."""

import json
from types import SimpleNamespace

import matplotlib.colors
import numpy as np
import pandas as pd
import pytest
from conftest import HERE, load_script

import crs_lib
from pipeline.evaluation import plots, run_records, strategies
from pipeline.inference import recording_plots


@pytest.fixture
def saved(monkeypatch):
    """Pictures as they would be written: (figure, path, whether synthetic)."""
    found = []
    monkeypatch.setattr(plots, "save_plot", lambda *given: found.append(given))
    yield found
    plots.plt.close("all")


def a_run(folder, script="x"):
    return run_records.Run(
        folder, script, "net", {"SET": 3, "SAMPLE_RATE": 8000, "DATASET": "d"}, {}, ""
    )


def line(axis, label):
    (found,) = (line for line in axis.lines if line.get_label() == label)
    return np.asarray(found.get_xdata()).tolist(), np.asarray(found.get_ydata()).tolist()


def bars(axis):
    """Of each horizontal bar where it starts, how long it is, and where its label stands."""
    return [
        (bar.get_x(), bar.get_width(), bar.get_y() + bar.get_height() / 2) for bar in axis.patches
    ]


def error_ends(axis, across=0):
    """The ends of the bars of error: of horizontal ones along x, of upright ones (1) along y."""
    (container,) = (c for c in axis.containers if hasattr(c, "has_xerr"))
    return [tuple(segment[:, across]) for segment in container.lines[2][0].get_segments()]


def same_color(found, wanted):
    return matplotlib.colors.to_rgba(found) == matplotlib.colors.to_rgba(wanted)


def test_learning_curves_count_epochs_from_one_and_mark_the_one_taken(saved, tmp_path):
    history = [
        {"epoch": e, "train_loss": 3.0 - e, "val_loss": 4.0 - e, "val_exact_pair": e / 8, "x": 9}
        for e in range(3)
    ]
    plots.plot_curves(a_run(tmp_path), history, 1, "exact_pair")
    ((figure, path, synthetic),) = saved
    left, right = figure.axes
    assert line(left, "training") == ([1, 2, 3], [3, 2, 1])
    assert line(left, "validation") == ([1, 2, 3], [4, 3, 2])
    assert line(right, "validation") == ([1, 2, 3], [0, 12.5, 25])
    assert line(right, "epoch taken") == ([2, 2], [0, 1])
    assert (left.get_ylabel(), right.get_title()) == ("loss", "exact pair (%)")
    assert left.get_xlabel() == right.get_xlabel() == "epoch"
    assert left.get_xlim() == right.get_xlim() == (0.5, 3.5) and right.get_ylim() == (0, 102)
    for axis in (left, right):
        assert all(tick == int(tick) for tick in axis.get_xticks())
        legend = {text.get_text() for text in axis.get_legend().get_texts()}
        assert legend == {line.get_label() for line in axis.lines}
    assert path == tmp_path / "curves.png" and not synthetic


def test_a_confusion_has_a_row_for_each_truth_and_writes_clips(saved, tmp_path):
    truth = pd.Series(["b", "a", "a", "a", "a", "b", "b", "c"])
    answers = pd.Series(["a", "a", "a", "b", plots.MISSED, "b", "b", "c"])
    plots.plot_confusion(a_run(tmp_path), truth, answers, ["a", "b", "c", "d"], "names")
    ((figure, path, _),) = saved
    (axis,) = figure.axes
    shares = np.asarray(axis.images[0].get_array())
    expected = [[1 / 2, 1 / 4, 0, 0, 1 / 4], [1 / 3, 2 / 3, 0, 0, 0], [0, 0, 1, 0, 0], [0] * 5]
    np.testing.assert_allclose(shares, expected)
    assert axis.images[0].get_clim() == (0, 1)
    texts = {t.get_position(): t for t in axis.texts}
    counts = [[2, 1, 0, 0, 1], [1, 2, 0, 0, 0], [0, 0, 1, 0, 0], [0] * 5]
    for row in range(4):
        for column in range(5):
            text = texts[column, row]
            assert text.get_text() == str(counts[row][column] or "")
            assert same_color(text.get_color(), "w" if expected[row][column] > 0.5 else "k")
    labels = [
        [t.get_text() for t in ticks] for ticks in (axis.get_xticklabels(), axis.get_yticklabels())
    ]
    assert labels == [["a", "b", "c", "d", plots.MISSED], ["a", "b", "c", "d"]]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("answer", "truth")
    assert axis.get_title() == "net, set 3: names" and path == tmp_path / "confusion.png"


def test_pairs_of_classes_are_below_the_diagonal_in_per_cent(saved, tmp_path):
    truth, shares = pd.Series(["a", "a+b", "b+c", "c"]), pd.Series([0.25, 0.666, 0.005, 1])
    plots.draw_pairs(tmp_path / "p.png", True, truth, shares, "title")
    ((figure, path, synthetic),) = saved
    (axis,) = figure.axes
    texts = {t.get_position(): t.get_text() for t in axis.texts if t.get_text()}
    assert texts == {(0, 0): "25", (0, 1): "67", (1, 2): "0", (2, 2): "100"}
    drawn = np.ma.filled(axis.images[0].get_array(), np.nan)
    expected = [[0.25, np.nan, np.nan], [0.666, np.nan, np.nan], [np.nan, 0.005, 1]]
    np.testing.assert_allclose(drawn, expected)
    assert (axis.get_xlabel(), axis.get_title()) == ("", "title")
    assert synthetic and path == tmp_path / "p.png"


def test_the_pictures_of_a_summary_are_of_all_its_runs_together(monkeypatch, tmp_path):
    singles = {
        "s1": pd.DataFrame({"truth": ["b", "a"], "labels": ["a", "a"]}),
        "s2": pd.DataFrame({"truth": ["b"], "labels": ["b"]}),
    }
    flows = {
        name: pd.DataFrame(
            {
                "truth": ["a", "a+b", "a+b"],
                "count": counts,
                "oracle_count": ["b", "a+b", "x"],
                "with_counter": answers,
            }
        )
        for name, counts, answers in (
            ("f1", [1, 2, 1], ["a", "x", "x"]),
            ("f2", [2, 2, 2], ["x", "a+b", "x"]),
        )
    }
    tables = {tmp_path / name: table for name, table in {**singles, **flows}.items()}
    monkeypatch.setattr(plots, "read_predictions", tables.__getitem__)
    drawn = {}
    for name in ("draw_confusion", "draw_pairs", "draw_audit"):
        monkeypatch.setattr(
            plots, name, lambda path, *given, name=name: drawn.update({path: (name, *given)})
        )
    summary = {"flows": list(flows), "singles": list(singles), "synthetic": True, "audit": {}}
    path = tmp_path / "sum_2.json"
    found = plots.plot_summary(tmp_path, summary, path)
    assert found == [tmp_path / f"sum_2_{n}.png" for n in ("confusion", "counter", "pairs")]
    name, synthetic, truth, answers, labels, title = drawn[found[0]]
    assert (name, synthetic, labels) == ("draw_confusion", True, ["a", "b"])
    assert (truth.tolist(), answers.tolist()) == (["b", "a", "b"], ["a", "a", "b"])
    assert "single-label" in title
    for picture, shares, words in (
        (found[1], [0.5, 0.75], "counter: right count"),
        (found[2], [0.5, 0.25], "flow: exact match (%)"),
    ):
        name, synthetic, truth, of_truth, title = drawn[picture]
        assert (name, synthetic, truth.tolist()) == ("draw_pairs", True, ["a", "a+b"])
        assert of_truth.tolist() == shares and words in title
    summary["audit"] = {"alone": 1}
    found = plots.plot_summary(tmp_path, {**summary, "synthetic": False}, path)
    assert found[3:] == [tmp_path / "sum_2_audit.png"]
    assert drawn[found[3]] == ("draw_audit", False, {"alone": 1})
    assert drawn[found[0]][1] is False and drawn[found[1]][1] is False


def test_attention_is_drawn_above_its_own_clip_in_seconds(saved, tmp_path):
    spectrograms, attentions = np.ones((2, 4, 6)), np.arange(12.0).reshape(2, 6)
    spectrograms[1] = 10
    plots.plot_attention(a_run(tmp_path), spectrograms, attentions, ["one", "two"])
    ((figure, path, _),) = saved
    above, below = figure.axes[:2], figure.axes[2:]
    for column in (0, 1):
        (curve,) = above[column].lines
        assert curve.get_xdata().tolist() == [0, 1, 2, 3, 4, 5]
        assert curve.get_ydata().tolist() == attentions[column].tolist()
        assert above[column].get_xlim() == (0, 5)
        (image,) = below[column].images
        assert np.unique(image.get_array()).tolist() == [20 * column]
        assert image.get_extent() == [0, 5, 0, 4] and image.get_array().shape == (4, 6)
    assert [axis.get_title() for axis in above] == ["one", "two"]
    assert path == tmp_path / "attention.png"


def span(name, start, end):
    return SimpleNamespace(name=name, start=start, end=end)


def test_a_recording_shows_when_what_sounds(saved):
    spans = [span("", 0, 1), span("ox", 1, 2.5), span("dog", 2.5, 3), span("ox", 3, 8)]
    answer = {"seconds": 8, "spans": spans}
    attention = np.array([0.1, 0.4, 0.2, 0.3])
    figure = recording_plots.draw_recording("a $title$", answer, np.ones((3, 5)), attention, 16000)
    over, middle, below = figure.axes
    (curve,) = over.lines
    assert curve.get_xdata().tolist() == [1, 3, 5, 7] and curve.get_ydata().tolist() == [*attention]
    assert over.get_ylim()[0] == 0 and over.get_title() == "a $title$"
    assert middle.images[0].get_extent() == [0, 8, 0, 8] and middle.get_xlabel() == ""
    assert [text.get_text() for text in below.get_yticklabels()] == ["ox", "dog", "silence"]
    assert bars(below) == [
        (0, 1, pytest.approx(2)),
        (1, 1.5, pytest.approx(0)),
        (2.5, 0.5, pytest.approx(1)),
        (3, 5, pytest.approx(0)),
    ]
    colors = [bar.get_facecolor() for bar in below.patches]
    assert same_color(colors[0], "lightgrey") and all(same_color(c, "C0") for c in colors[1:])
    assert below.get_xlim() == (0, 8) and below.get_ylim() == (2.6, -0.6)
    without = recording_plots.draw_recording("t", answer, np.ones((3, 5)), None, 16000)
    assert len(without.axes) == 2 and without.axes[0].images


def test_the_counters_mind_is_marked_at_the_chosen_level():
    figure = recording_plots.draw_score_over_level([-20, -10, 0], np.array([0.1, 0.3, 0.9]), -4)
    curve, chosen, half = figure.axes[0].lines
    assert curve.get_xdata().tolist() == [-20, -10, 0]
    assert curve.get_ydata().tolist() == [0.1, 0.3, 0.9]
    assert (chosen.get_xdata(), chosen.get_ydata()) == ([-4], pytest.approx([0.66]))
    assert figure.axes[0].get_xlabel() == "second sound above the first (dB)"
    assert set(half.get_ydata()) == {0.5} and figure.axes[0].get_ylim() == (-0.02, 1.02)
    plots.plt.close(figure)


def test_a_spectrogram_is_in_decibels_seconds_and_kilohertz(saved, tmp_path):
    magnitudes = np.array([[1.0, 10, 0], [1e-3, 1e-9, 1]])
    plots.plot_spectrogram(tmp_path / "s.png", True, magnitudes, 22050)
    ((figure, path, synthetic),) = saved
    (image,) = figure.axes[0].images
    np.testing.assert_allclose(image.get_array(), [[0, 20, -100], [-60, -100, 0]], atol=1e-9)
    assert image.get_extent() == [0, 5, 0, 11.025] and image.origin == "lower"
    assert image.get_clim() == (-60, 20) and synthetic and path == tmp_path / "s.png"
    # What is softer than -20 dB at its loudest is drawn as below that.
    for loudest, clim in (
        (0.2, (20 * np.log10(0.2) - 80, 20 * np.log10(0.2))),
        (0.01, (-100, -20)),
    ):
        _, axis = plots.plt.subplots()
        plots.draw_spectrogram(axis, loudest * magnitudes / 10, 4000, 7)
        assert axis.images[0].get_clim() == pytest.approx(clim)
        assert axis.images[0].get_extent() == [0, 7, 0, 2]


def test_bars_of_a_flow_show_every_way_and_its_interval(saved, tmp_path):
    shown, kinds = ["with_counter", "no_counter", "ensemble"], ["single", "mixture", "balanced"]
    test, intervals = {"gain": {}, "shortcut_balanced": 0.1}, {}
    for i, strategy in enumerate(shown):
        values = {f"exact_match_{kind}": 0.3 + 0.1 * i + 0.02 * j for j, kind in enumerate(kinds)}
        test[strategy] = values
        ends = {name: [value - 0.05, value + 0.07] for name, value in values.items()}
        # An interval need not hold its figure.
        intervals[strategy] = {
            **ends,
            "exact_match_mixture": [values["exact_match_mixture"] + 0.01] * 2,
        }
    record = {"test": test, "test_interval": intervals, "set": 7}
    plots.plot_flow(a_run(tmp_path), record)
    ((figure, path, _),) = saved
    assert [axis.get_title() for axis in figure.axes] == [
        "single clips",
        "mixtures",
        "macro average",
    ]
    for j, axis in enumerate(figure.axes):
        values = np.array([30, 40, 50]) + 2.0 * j
        assert bars(axis) == [(0, pytest.approx(value), i) for i, value in enumerate(values)]
        below, above = (0, 1) if j == 1 else (5, 7)
        expected = [pytest.approx((value - below, value + above)) for value in values]
        assert error_ends(axis) == expected
        assert axis.get_xlim() == (0, 100)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == [strategies.STRATEGIES[strategy] for strategy in shown]
    assert figure.axes[0].yaxis_inverted() and "set 7" in figure.axes[1].get_xlabel()
    assert path == tmp_path / "flow.png"


def test_an_audit_is_drawn_by_group_and_over_the_level(saved, tmp_path):
    def group(mean, low, high, **softer):
        return {
            "counted_as_two": {"mean": mean, "low": low, "high": high},
            "above_alone": 0,
        } | softer

    answers = {
        "alone": group(0.1, 0.05, 0.2),
        "0 dB": group(0.8, 0.7, 0.85, softer_db=0),
        "shifted": group(0.25, 0.3, 0.4),
        "6 dB": group(0.5, 0.4, 0.75, softer_db=6),
        "20 dB": group(0.2, 0.1, 0.3, softer_db=20),
    }
    plots.draw_audit(tmp_path / "a.png", True, answers)
    ((figure, path, synthetic),) = saved
    left, right = figure.axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["alone", "shifted"]
    assert bars(left) == [(0, pytest.approx(10), 0), (0, pytest.approx(25), 1)]
    assert error_ends(left) == [pytest.approx((5, 20)), pytest.approx((25, 40))]
    assert left.yaxis_inverted() and left.get_xlim() == (0, 100)
    (curve,) = (c.lines[0] for c in right.containers)
    assert curve.get_xdata().tolist() == [0, 6, 20]
    assert curve.get_ydata() == pytest.approx([80, 50, 20])
    assert error_ends(right, 1) == [pytest.approx(e) for e in ((70, 85), (40, 75), (10, 30))]
    assert line(right, "alone")[1] == pytest.approx([10, 10])
    assert right.get_ylim() == (-3, 103) and synthetic and path == tmp_path / "a.png"
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["alone"]


@pytest.mark.parametrize("synthetic", [True, False])
def test_pictures_of_the_synthetic_set_say_so(tmp_path, synthetic):
    figure, _ = plots.plt.subplots(figsize=(2, 1))
    plots.save_plot(figure, tmp_path / "new" / "p.png", synthetic)
    written = plots.plt.imread(tmp_path / "new" / "p.png")
    assert written.shape[:2] == (80, 160)
    assert [text.get_text() for text in figure.texts] == ["SYNTHETIC data"] * synthetic
    assert not plots.plt.fignum_exists(figure.number)


def test_a_run_that_lacks_plots_gets_them_drawn_again(tmp_path, monkeypatch):
    """What they are drawn of: the record's history and figures, the table's truth and answers."""
    drawn = {}
    for name in ("draw_curves", "draw_strategies", "draw_confusion"):
        monkeypatch.setattr(
            plots, name, lambda path, *given, name=name: drawn.update({path.name: given})
        )
    tables = {
        crs_lib.COUNTER: {"count": [1, 1, 2]},
        crs_lib.SINGLE: {"labels": ["a", "b", "a"]},
        crs_lib.TWO_LABEL: {"pair": ["a+b", "a+b", "a+b"]},
        f"{crs_lib.TWO_LABEL} both": {"pair": ["a+b"] * 3, "labels": ["a", "a", "b"]},
        crs_lib.FLOW: {"with_counter": ["a", "b", "a+b"]},
    }
    confused = {
        crs_lib.COUNTER: ([1, 1, 2], [1, 1, 2], [1, 2]),
        crs_lib.SINGLE: (["a", "b", "a+b"], ["a", "b", "a"], ["a", "b"]),
        crs_lib.TWO_LABEL: (list("aabbab"), list("abbaab"), ["a", "b"]),
        f"{crs_lib.TWO_LABEL} both": (
            ["a", "b", "b", "a", "b"], ["a", "missed", "a", "missed", "b"], ["a", "b"],
        ),
        crs_lib.FLOW: (list("abab"), list("abab"), ["a", "b"]),
    }  # fmt: skip
    clips = {"truth": ["a", "b", "a+b"], "recording_a": ["1", "2", "1"]}
    clips["recording_b"] = ["", "", "2"]
    for number, (name, answers) in enumerate(tables.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        script, *both = name.split(" ")
        history = [] if script == crs_lib.FLOW else [{"epoch": 0}]
        record = {"format": 2, "script": script, "model": "m" + "_both" * bool(both), "set": 3}
        record |= {"synthetic": bool(both), "history": history, "best_epoch": 7}
        (folder / "run.json").write_text(json.dumps(record))
        pd.DataFrame({**clips, **answers}).to_csv(folder / "predictions.csv", index=False)
        drawn.clear()
        plots.draw_missing(folder, tmp_path / "out")
        figure = plots.select_by(script, record["model"]) if history else ""
        if history:
            assert drawn.pop("curves.png") == (bool(both), history, 7, figure)
        if script == crs_lib.FLOW:
            assert drawn.pop("flow.png") == (False, record)
        synthetic, truth, found, labels, title = drawn.pop("confusion.png")
        assert (list(truth), list(found), labels) == confused[name], name
        assert (synthetic, title, drawn) == (bool(both), f"{record['model']}, set 3", {})
        for there in ("curves.png", "flow.png", "confusion.png"):
            (folder / there).touch()
        plots.draw_missing(folder, tmp_path / "out")
        assert drawn == {}  # what is there is not drawn again


def test_the_epoch_of_curves_is_picked_by_what_the_scripts_pick_it_by():
    for script, figure in plots.SELECT_BY.items():
        assert load_script(f"{script}.py").SELECT_BY == figure == plots.select_by(script, "m")
    source = (HERE / f"{crs_lib.TWO_LABEL}.py").read_text()
    baseline = plots.select_by(crs_lib.TWO_LABEL, "m_both")
    assert f'SELECT_BY = "{baseline}" if BOTH else ' in source
