"""What the README shows is what the files hold; benchmarks keep to their form."""

import gzip
import json
import re
import runpy
import sys

import bench_lib
import pytest
import torch
from conftest import HERE, load_script

import crs_lib
from pipeline.evaluation import markdown, metrics, strategies, summary
from pipeline.networks import registry

DOCS = HERE / "docs"
fill_pages = runpy.run_path(str(HERE / "tools" / "fill_pages.py"))


# What a page shows of files, at least.
NB_BLOCKS = {"README.md": 3, "docs/results.md": 10, "docs/audit.md": 4, "docs/performance.md": 2}
NB_BLOCKS |= {"docs/trials.md": 1, "docs/labelling.md": 2}


@pytest.mark.parametrize("name", fill_pages["PAGES"])
def test_pages_show_what_their_files_hold(name):
    text = (HERE / name).read_text(encoding="utf-8")
    nb_blocks = text.count("<!-- from ")
    assert nb_blocks == text.count("<!-- end -->") >= NB_BLOCKS.get(name, 0)
    assert fill_pages["filled"](HERE / name) == text, "run  make docs"
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (HERE / name).parent.joinpath(picture).exists()


def test_the_tables_are_of_what_is_published():
    pages = runpy.run_path(str(HERE / "tools" / "tables.py"))["pages"]()
    for path, text in pages.items():
        assert path.read_text(encoding="utf-8") == text, "run  make docs"
    kinds = {path.stem.split("_")[0] for path in pages}
    assert kinds == {"aims", "answer", "confused", "headline", "sets"}
    beside = [path for path in pages if path.stem.startswith("sets_")]
    assert {path.stem for path in beside} == {"sets_4k", "sets_logmel-logmel_16k"}
    for path in beside:
        name = path.stem.removeprefix("sets_")
        five, ten = (
            json.loads((path.parent / name / f"summary_{name}_{nb_sets}.json").read_text())
            for nb_sets in (5, 10)
        )
        rows = [row for row in summary.SUMMARY_ROWS if row[0] in summary.HEADLINE]
        assert len(rows) == 8
        for line, (figure, label) in zip(path.read_text().splitlines()[4:], rows, strict=True):
            cells = [label, *cells_of(five["figures"][figure]), *cells_of(ten["figures"][figure])]
            assert line == f"| {' | '.join(cells)} |"


def cells_of(figure):
    """A figure's mean and its two intervals, as the tables show them."""
    mean, low, high = (f"{round(100 * figure[k], 1) + 0.0:.1f}" for k in ("mean", "low", "high"))
    least, most = (markdown.in_percent(end) for end in metrics.over_sets(figure))
    return mean, f"{low} to {high}", f"{least} to {most}"


def test_minutes_are_those_of_cpus(tmp_path):
    """Two trainings of a set on one core each, or one of them on a GPU; a flow is no training."""
    tables, training = load_script("tools/tables.py"), {"set": 1, "history": [{}], "seconds": 90}
    training["format"] = 2
    records = [training, {**training, "seconds": 150}, {"format": 2, "set": 1, "seconds": 1000}]
    folders = [tmp_path / str(number) for number in range(3)]
    for device in ("cpu", "cuda:0"):
        records[0]["machine"], records[1]["machine"] = (
            {"device": name, "threads": 1} for name in (device, "cpu")
        )
        for folder, record in zip(folders, records, strict=True):
            folder.mkdir(exist_ok=True)
            (folder / "run.json").write_text(json.dumps(record))
        if device == "cpu":
            assert tables.core_minutes(folders) == 4
        else:
            with pytest.raises(crs_lib.InputError, match="a training ran on a GPU"):
                tables.core_minutes(folders)


def test_aims_and_answers_of_a_made_up_summary(tmp_path, monkeypatch):
    tables = load_script("tools/tables.py")
    monkeypatch.setattr(tables, "PUBLISHED", tmp_path)
    monkeypatch.setattr(tables, "AIMS", {"4k": ("4 kHz", 85, 80, 60, 55, 40)})
    means = {
        strategy: 0.35 + 0.02 * number**1.2 for number, strategy in enumerate(strategies.STRATEGIES)
    }
    means |= {"with_counter": 0.55, "oracle_count": 0.7, "joint": 0.25}
    found = {f"flow.{strategy}.exact_match_balanced": mean for strategy, mean in means.items()}
    found |= {f"flow.gain.{a}_over_{b}": means[a] - means[b] for a, b in strategies.GAINS}
    found |= {"counter.accuracy_balanced": 0.8, "single.accuracy": 0.9, "two_label.exact_pair": 0.6}

    def written(nb_sets, nearer):
        """A summary of one configuration whose figures spread evenly over its sets."""
        figures = {
            name: {
                "mean": mean - nearer,
                "std": 0.01,
                "low": mean - 0.05,
                "high": mean + 0.05,
                "sets": [mean] * nb_sets,
            }
            for name, mean in found.items()
        }
        folders = []
        for number in range(1, nb_sets + 1):
            for script, seconds, threads in (("a", 1200, 2), ("b", 600, 1), ("flow", 60, 2)):
                folders.append(f"{script}{number}")
                record = {"format": 2, "history": [1] * (script != "flow"), "seconds": seconds}
                (tmp_path / "4k" / folders[-1]).mkdir(parents=True, exist_ok=True)
                record |= {"set": number, "machine": {"threads": threads, "device": "cpu"}}
                (tmp_path / "4k" / folders[-1] / "run.json").write_text(json.dumps(record))
        sets = list(range(1, nb_sets + 1))
        return {"figures": figures, "sets": sets, "runs": folders, "synthetic": False}

    for nb_sets, nearer in ((5, 0), (10, 0.1)):
        text = json.dumps(written(nb_sets, nearer))
        (tmp_path / "4k" / f"summary_4k_{nb_sets}.json").write_text(text)
    counter, single, pair, flow, minutes = (
        [cell.strip() for cell in row.split("|")[2:-1]]
        for row in tables.aims().strip().splitlines()[2:-2]
    )
    assert counter == ["85", "80.0", "5.0", "70.0"] and single == ["80", "90.0", "0.0", "80.0"]
    assert pair == ["60", "60.0", "0.0", "50.0"] and flow == ["55", "55.0", "0.0", "45.0"]
    assert minutes == ["40", "25", "0", ""]  # of 1200 s on two cores and 600 s on one, half
    note = "\n\\* The choices of networks and constants saw the test clips of sets 6-10.\n"
    assert tables.aims().endswith(note)

    def points(better, worse="no_counter"):
        gain, reach = means[better] - means[worse], 2.776 * 0.01 / 5**0.5  # Student's t of five
        low, high, least, most = (
            f"{100 * (gain + above):.1f}" for above in (-0.05, 0.05, -reach, reach)
        )
        return f"{100 * gain:.1f} points ({low} to {high}; over sets {least} to {most})"

    def reached(strategy):
        low, mean, high = (f"{100 * (means[strategy] + above):.1f}" for above in (-0.05, 0, 0.05))
        label = strategies.STRATEGIES[strategy]
        return f"*{label}*, {mean} ({low} to {high}) % and {points(strategy)}"

    flow, baseline = "with_counter_for_exact_match", "baseline_with_counter_for_exact_match"
    lines = (
        f"Of the 8 strategies without the oracle count, the best is {reached('ensemble')} over the "
        "baseline.",
        f"The worst is {reached('joint')} over the baseline.",
        "Of 100 answers of the flow, half of them to single clips, 30.0 have wrong labels even "
        "with the oracle count; counting costs 15.0 more.",
        f"The flow over the baseline: {points(flow)}; with the oracle count "
        f"{points('oracle_count')}.",
        f"The baseline with the counter's count over the baseline: {points(baseline)}; with the "
        f"oracle count {points('baseline_oracle_count')}.",
        "The flow's classifiers over the baseline, both with the oracle count: "
        f"{points('oracle_count', 'baseline_oracle_count')}.",
        f"The ensemble over the baseline: {points('ensemble')}; over the flow: "
        f"{points('ensemble', flow)}.",
    )
    assert tables.answer("4k").splitlines() == [f"- {line}" for line in lines]


def test_filling_replaces_what_stood_there_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setitem(fill_pages["filled"].__globals__, "ROOT", tmp_path)
    (tmp_path / "old_table.md").write_text("| old |\n")
    (tmp_path / "table.md").write_text("| new |\n")
    (tmp_path / "out.txt").write_text("$ python\n")
    (tmp_path / "a b.png").touch()
    before = (
        "x\n<!-- from *table.md -->\nwhat stood there\n<!-- end -->\ny\n"
        "<!-- from out.txt -->\n<!-- end -->\n<!-- from a*.png: a: b -->\n<!-- end -->\nz\n"
    )
    expected = (
        "x\n<!-- from *table.md -->\n| new |\n<!-- end -->\ny\n"
        "<!-- from out.txt -->\n```\n$ python\n```\n<!-- end -->\n"
        "<!-- from a*.png: a: b -->\n![a: b]({})\n<!-- end -->\nz\n"
    )
    (tmp_path / "below").mkdir()
    for page, picture in ("page.md", "a b.png"), ("below/page.md", "../a b.png"):
        for text in before, expected.format("old.png"):
            (tmp_path / page).write_text(text)
            assert fill_pages["filled"](tmp_path / page) == expected.format(picture)
    (tmp_path / "page.md").write_text("<!-- from none.md -->\n<!-- end -->")
    with pytest.raises(SystemExit, match=r"page\.md: no file fits none\.md"):
        fill_pages["filled"](tmp_path / "page.md")


@pytest.mark.parametrize(
    "path", sorted(HERE.glob("results_published/*/summary_*.json")), ids=lambda path: path.stem
)
def test_published_summaries_are_of_the_published_runs(path, tmp_path):
    flows = json.loads(path.read_text(encoding="utf-8"))["flows"]
    again = tmp_path / path.name
    summary.summarise(path.parent, [flow.split("_", 2)[2] for flow in flows], again)
    tables = list(path.parent.glob(f"{path.stem}[._]*md"))
    for file in tables:
        assert (tmp_path / file.name).read_text() == file.read_text(), "run  tools/publish.py"
    texts = path.read_text(encoding="utf-8"), again.read_text(encoding="utf-8")
    written, anew = (
        json.loads(text, parse_float=lambda number: f"{float(number):.9f}") for text in texts
    )
    assert anew == written
    pairs = f"{path.stem}_pairs.csv"
    assert (tmp_path / pairs).read_text() == (path.parent / pairs).read_text()
    assert len(list(tmp_path.glob("*.md"))) == len(tables)


def published_run(folder, script, set_number, method=1, data=(), **constants):
    """A finished run of a made-up training or flow: its folder's name."""
    model = {"overall_flow": "asc-isocc", "audio_source_counter": "asc"}.get(script, "isocc")
    name = f"2026-01-0{set_number}_00-00-00_{script}_{model}_set{set_number}_4k"
    (folder / name).mkdir(parents=True)
    record = {
        "format": 2,
        "script": script,
        "model": model,
        "set": set_number,
        "sample_rate": 4000,
        "synthetic": False,
        "commit": "c0ffee",
        "method": method,
        "data": dict(data),
        "constants": {"SET": set_number, "THREADS": set_number, "EPOCHS": 3, **constants},
    }
    (folder / name / "run.json").write_text(json.dumps(record))
    for other in ("last.pt", "curves.png", "history.csv"):
        (folder / name / other).touch()
    (folder / name / "predictions.csv").write_text("clip,count\na,1\n")
    return name


def test_publishing_gathers_sets_of_the_same_constants(tmp_path, monkeypatch):
    publish = load_script("tools/publish.py")
    results, published = tmp_path / "results", tmp_path / "published"
    monkeypatch.setattr(publish, "TARGET", published)
    seen = []
    monkeypatch.setattr(
        publish.summary, "summarise", lambda folder, names, path: seen.append((names, path.name))
    )

    def publish_set(number, **constants):
        runs = [
            published_run(results, script, number, **constants)
            for script in ("audio_source_counter", "overall_flow")
        ]
        path = results / f"summary_4k_{number}.json"
        path.write_text(json.dumps({"runs": runs}))
        monkeypatch.setattr(sys, "argv", ["publish.py", str(path)])
        publish.main()

    for number in (1, 3, 2, 4, 5):
        publish_set(number)
    names = [f"overall_flow_asc-isocc_set{number}_4k" for number in range(1, 6)]
    # Set 3 came before set 2.
    assert seen == [
        *[(names[:1], "summary_4k_1.json")] * 3,
        (names[:3], "summary_4k_3.json"),
        (names[:1], "summary_4k_1.json"),
        (names[:4], "summary_4k_4.json"),
        (names[:1], "summary_4k_1.json"),
        (names[:5], "summary_4k_5.json"),
    ]
    target = published / "4k"
    assert len(list(target.glob("*/run.json"))) == 10
    assert {path.name for path in target.glob("*/*")} == {"run.json", "predictions.csv.gz"}
    packed = sorted(target.glob("*/predictions.csv.gz"))
    assert {gzip.decompress(path.read_bytes()) for path in packed} == {b"clip,count\na,1\n"}
    assert len({path.read_bytes() for path in packed}) == 1  # no time in them
    message = "its EPOCHS is 4, not 3; one table is of one configuration: make one of them anew"
    with pytest.raises(crs_lib.InputError, match=message):
        publish_set(6, EPOCHS=4)
    with pytest.raises(crs_lib.InputError, match="its method is 2, not 1"):
        publish_set(7, method=2)
    assert len(list(target.glob("*/run.json"))) == 10
    (results / "other_4k_1.json").write_text((results / "summary_4k_1.json").read_text())
    monkeypatch.setattr(sys, "argv", ["publish.py", str(results / "other_4k_1.json")])
    with pytest.raises(crs_lib.InputError, match="is not called as a summary"):
        publish.main()


def test_one_table_is_of_runs_on_the_same_data(tmp_path):
    data = {"esc10_rename_4k": {"constants": {}}, "esc10_mixes.csv": {"constants": {"DIVISION": 1}}}
    other = {"esc10_mixes.csv": {"constants": {"DIVISION": 2}}}
    names = [
        published_run(tmp_path, "audio_source_counter", 1, data=data),
        published_run(tmp_path, "overall_flow", 1, data=data),
    ]
    # Trained without shifted copies: it read less, but not otherwise.
    names.append(published_run(tmp_path, "audit", 1, data=list(data.items())[:1]))
    folders = [tmp_path / name for name in names]
    assert summary.refuse_other_work(folders) == ["c0ffee"]
    folders.append(tmp_path / published_run(tmp_path, crs_lib.SINGLE, 1, data=other))
    with pytest.raises(crs_lib.InputError, match=r"its esc10_mixes.csv is .*2.*, not .*1"):
        summary.refuse_other_work(folders)
    with pytest.raises(crs_lib.InputError, match="gone is gone, which another run is of: run"):
        summary.refuse_other_work([*folders[:1], tmp_path / "gone"])


@pytest.mark.parametrize("question", [*bench_lib.QUESTIONS, "growth"])
def test_benchmark_results_have_their_form(question):
    assert (HERE / "benchmarks" / f"{question}.py").exists()
    rows = json.loads((HERE / "benchmarks" / "results" / f"{question}.json").read_text())
    assert rows
    for row in rows:
        assert list(row) == [
            "question",
            "work",
            "ours_s",
            "straightforward_s",
            "floor_s",
            "peak_mb",
        ]
        assert row["question"] in (("table", "train_data") if question == "growth" else (question,))
        assert all(row[key] is None or row[key] > 0 for key in list(row)[2:])


def test_a_row_shows_both_ratios():
    row = bench_lib.row("mixing", "files", 2.0, 30.0, 1.5, 123.4)
    assert bench_lib.as_cells(row) == ["files", "2", "30", "1.5", "15", "1.33", "123"]
    assert bench_lib.as_cells(bench_lib.row("mixing", "files", 2.0))[2:] == [""] * 5
    assert bench_lib.ratio(None, 2.0) is None


def test_the_networks_steps_are_timed(monkeypatch):
    script = load_script("benchmarks/train_network.py")
    monkeypatch.setattr(script, "SECONDS", 0.01)
    for model in script.SIZES:
        assert script.step_seconds(model, batch=0.25, keep_memory=False) > 0


def test_an_epoch_is_timed_beside_its_bare_steps(demo):
    script = load_script("benchmarks/train_epoch.py")
    row = script.one_epoch("single-label", *script.TRAININGS["single-label"], str(demo))
    assert row["ours_s"] > 0 and row["floor_s"] > 0 and "single-label: " in row["work"]


def test_weights_to_time_labelling_with_can_be_read(tmp_path):
    script = load_script("benchmarks/label.py")
    script.random_weights(str(tmp_path), ["a"] * 10)
    tasks = {task: given[:2] for task, given in script.TASKS.items()}
    assert registry.load_networks(tasks, str(tmp_path), 1, 4000, script.CPU).keys() == tasks.keys()


def test_the_picture_of_the_networks_shows_their_sizes():
    script = load_script("tools/draw_data.py")
    spectrograms = torch.rand(1, 1, 129, 313)
    counter = script.sizes(script.ASC(), spectrograms)
    assert counter[0] == "convolution 3 × 3:  8 × 129 × 313"
    assert counter[3:5] == [
        "LSTM, 2 layers, both directions:  313 × 128",
        "attention over time:  128",
    ]
    assert counter[-1] == "dense:  2" and len(counter) == 3 + 1 + 1 + 3
    classifier = script.sizes(script.CNN_ISOCC(), spectrograms)
    assert classifier[6:9] == [
        "convolution 5 × 5:  64 × 8 × 31",
        "maximum of 2 × 2:  64 × 4 × 15",
        "dense:  1024",
    ]


def test_processes_are_measured():
    more_than_the_child = b"x" * 500_000_000
    seconds, peak, out = bench_lib.run_measured("-c", "x = b'x' * 200_000_000; print(len(x))")
    assert out == "200000000\n" and 0 < seconds < 60
    assert 200 < peak < 300 and more_than_the_child
    with pytest.raises(RuntimeError, match="ended with status 3"):
        bench_lib.run_measured("-c", "raise SystemExit(3)")


def test_the_makefile_runs_every_benchmark():
    makefile = (HERE / "Makefile").read_text()
    listed = re.search(r"^BENCHMARKS = ((?:.*\\\n)*.*)$", makefile, re.MULTILINE)[1]
    assert listed.replace("\\", "").split() == [*bench_lib.QUESTIONS, "growth"]
