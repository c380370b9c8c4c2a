"""app.py in a real browser.

With APP_PICTURE=docs/app.png the page is also shown with the shipped weights, for the README.
"""

import os
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import bench_lib
import numpy as np
import pytest
import soundfile as sf
import torch
from PIL import Image
from playwright.sync_api import expect

from pipeline.data import audio
from pipeline.inference import choose_weights, classify

HERE = Path(__file__).resolve().parents[2]
CLASSES = ["chainsaw", "dog", "rain", "sea_waves"]
CPU = torch.device("cpu")
PATIENCE = 60_000  # milliseconds that the page may take


def free_port():
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return some.getsockname()[1]


# Writes down whom a process asks for an address, and whom it connects to.
LISTENER = """
import os, sys

def note(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        where = arguments[0] if event == "socket.getaddrinfo" else arguments[1]
        with open(os.environ["CALLS"], "a") as file:
            print(where[0] if isinstance(where, tuple) else where, file=file)

sys.addaudithook(note)
"""


def start_app(*flags, environment=None):
    """A process of app.py that answers, and its address."""
    port = free_port()
    words = [sys.executable, str(HERE / "app.py"), "--port", str(port), *map(str, flags)]
    environment = {**os.environ, **(environment or {})}
    process = subprocess.Popen(words, cwd=HERE, stdout=subprocess.PIPE, text=True, env=environment)
    line = process.stdout.readline()
    assert line.startswith(f"open  http://127.0.0.1:{port}  in your browser"), line
    return process, f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """Random weights, and a data set of four clips that can be mixed."""
    home = tmp_path_factory.mktemp("app")
    torch.manual_seed(3)
    bench_lib.script("benchmarks/label.py").random_weights(str(home / "models"), CLASSES)
    counter = home / "models" / "audio_source_counter_asc_set1_4k.pt"
    content = torch.load(counter, weights_only=True)
    for name, value in content["weights"].items():  # it shall changes with what it gets
        if name.startswith(("dense", "query")):
            value.mul_(0 if name.endswith("bias") else 10)
    torch.save(content, counter)
    rng = np.random.default_rng(0)
    for name in CLASSES:
        folder = home / "data" / "esc10_rename" / name
        folder.mkdir(parents=True)
        noise = rng.standard_normal(5 * 44_100) * np.hanning(5 * 44_100) / 10
        sf.write(
            folder / f"{name}0.wav", np.cumsum(noise) / 300 if name == "rain" else noise, 44_100
        )
    return home


@pytest.fixture(scope="session")
def app(home):
    flags = ["--models", home / "models", "--dataset", home / "data"]
    flags += ["--most-minutes", 1, "--most-mb", 5, "--threads", 1]
    (home / "hook").mkdir()
    (home / "hook" / "sitecustomize.py").write_text(LISTENER)
    calls = {"PYTHONPATH": str(home / "hook"), "CALLS": str(home / "calls.txt")}
    process, address = start_app(*flags, environment=calls)
    yield process, address
    process.terminate()
    process.wait(30)


@pytest.fixture
def page(browser, app):
    """A page that must ask nobody else for anything."""
    page = browser.new_page(viewport={"width": 1100, "height": 1400})
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    answered = []
    page.on("response", lambda response: answered.append(response.url))
    page.goto(app[1])
    yield page
    page.close()
    elsewhere = [url for url in answered if not url.startswith((app[1], "blob:", "data:"))]
    assert elsewhere == []


def expected(home, path):
    trained = choose_weights.load(str(home / "models"), 0, 0, "", "", CPU)
    return classify.answer(path, trained, CPU)


def upload(page, name, path):
    page.locator(f"#{name} input[type=file]").set_input_files(path)


def choose(page, name, clip):
    box = page.locator(f"#{name}_clip input")
    box.fill(clip)  # of hundreds only those that fit are then shown
    box.press("Enter")
    expect(page.locator(f"#{name} #waveform")).to_be_visible()  # it is there


def headline(page, prefix):
    return page.locator(f"#{prefix}_headline")


def test_a_file_is_answered_with_count_names_and_pictures(page, home):
    path = home / "data" / "esc10_rename" / "rain" / "rain0.wav"
    answer = expected(home, path)
    upload(page, "recording", path)
    expect(headline(page, "found")).to_contain_text(" + ".join(answer["names"]))
    words = {1: "one class", 2: "two classes"}[answer["count"]]
    expect(headline(page, "found")).to_contain_text(f"{words} ({answer['count_score']:.2f})")
    best = max(answer["scores"], key=answer["scores"].get)
    expect(page.locator("#found_scores")).to_contain_text(best)
    expect(page.locator("#found_picture img")).to_be_visible()
    assert page.locator("#found_picture img").evaluate("image => image.naturalWidth") > 500
    expect(page.locator("#found_timeline")).to_contain_text(answer["names"][0])


def test_a_long_recording_gets_a_timeline_and_silence_is_nothing_heard(page, tmp_path, home):
    rain, rate = sf.read(home / "data" / "esc10_rename" / "rain" / "rain0.wav")
    sf.write(tmp_path / "long.flac", np.concatenate([rain, np.zeros(10 * rate)]), rate)
    answer = expected(home, tmp_path / "long.flac")
    upload(page, "recording", tmp_path / "long.flac")
    expect(headline(page, "found")).to_contain_text("A timeline of 15.0 seconds")
    expect(page.locator("#found_timeline")).to_contain_text("silence")
    expect(page.locator("#found_timeline")).to_contain_text(answer["spans"][0].name)
    sf.write(tmp_path / "quiet.wav", np.zeros(rate), rate)
    page.reload()
    upload(page, "recording", tmp_path / "quiet.wav")
    expect(headline(page, "found")).to_contain_text("Silence")


def test_the_counter_is_asked_anew_at_every_level(page, home):
    """Against mixtures made and counted here, at three levels of the second sound."""
    page.get_by_role("tab", name="Two sounds mixed").click()
    choose(page, "first", "rain: rain0.wav")
    choose(page, "second", "dog: dog0.wav")
    trained = choose_weights.load(str(home / "models"), 0, 0, "", "", CPU)
    folder = home / "data" / "esc10_rename"
    read = partial(audio.read_clip, sample_rate=4000)
    first, second = (
        audio.level_rms(read(folder / name / f"{name}0.wav")) for name in ("rain", "dog")
    )
    scores = set()
    for level_db in (0, -30, 20):
        box = page.locator("#level input[type=number]")
        if level_db:
            box.fill(str(level_db))
            box.press("Enter")
            box.blur()
        mixture = audio.level_rms(audio.mix(first, 10 ** (level_db / 20) * second))
        got = classify.predict(audio.as_clip(mixture, 4000)[None], trained, CPU)
        expect(headline(page, "mixed")).to_contain_text(f"({got.count_scores[0]:.2f})")
        scores.add(f"{got.count_scores[0]:.2f}")
    assert len(scores) > 1  # else no level changed anything
    expect(page.locator("#score_of_two img")).to_be_visible()
    expect(page.locator("#mixed_picture img")).to_be_visible()


def test_the_microphone_is_recorded(page):
    page.locator("#recording").get_by_label("Record audio").click()
    page.locator("#recording button.record-button").click()
    time.sleep(3)
    page.locator("#recording button.stop-button").click()
    expect(headline(page, "found")).to_contain_text("(")  # a count with its probability


def test_what_is_too_long_too_large_or_no_sound_is_said(page, tmp_path):
    sf.write(tmp_path / "long.wav", np.zeros(61 * 8000), 8000, subtype="PCM_U8")
    upload(page, "recording", tmp_path / "long.wav")
    message = "long.wav lasts 1.0 minutes, more than 1: python predict.py takes any length"
    expect(page.get_by_text(message)).to_be_visible()
    page.reload()
    (tmp_path / "text.wav").write_text("no sound")
    upload(page, "recording", tmp_path / "text.wav")
    expect(page.get_by_text("text.wav: cannot be read as sound")).to_be_visible()
    page.reload()
    sf.write(tmp_path / "large.wav", np.zeros(3_000_000), 48_000)
    upload(page, "recording", tmp_path / "large.wav")
    expect(page.get_by_text("exceed the maximum allowed size of 5")).to_be_visible()


def test_it_calls_nobody_but_itself(page, home):
    """From its start to now, with a page open."""
    calls = set((home / "calls.txt").read_text().split())
    assert "127.0.0.1" in calls and calls <= {"127.0.0.1", "localhost"}


def test_it_listens_on_this_machine_alone(app):
    """Linux says which process has which socket, and where the other end is."""
    process, _ = app
    folder = Path("/proc", str(process.pid), "fd")
    mine = {os.readlink(link) for link in folder.iterdir() if link.exists() or link.is_symlink()}
    ends = []
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            _, local, remote, *_, inode = line.split()[:10]
            if f"socket:[{inode}]" in mine:
                ends += [local.split(":")[0], remote.split(":")[0]]
    assert set(ends) <= {"0100007F", "00000000"} and "0100007F" in ends, ends
    assert ends[0] == "0100007F"  # what listens does so here, not everywhere


def test_a_port_that_is_taken_is_named(app, home):
    port = app[1].rsplit(":", 1)[1]
    words = [sys.executable, "app.py", "--port", port, "--models", home / "models"]
    done = subprocess.run(words, cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    message = done.stderr.rstrip().split("\n")[-1]
    assert message.startswith(f"--port {port} is taken, or no page can be: ")


@pytest.mark.skipif("APP_PICTURE" not in os.environ, reason="APP_PICTURE names no file")
def test_picture_for_the_readme(browser):
    """The shipped networks on a mixture of two test clips that they were not trained on."""
    process, address = start_app()
    page = browser.new_page(viewport={"width": 1000, "height": 1180})
    try:
        page.goto(address)
        page.get_by_role("tab", name="Two sounds mixed").click()
        choose(page, "first", "dog: dog1.wav")
        choose(page, "second", "rain: rain1.wav")
        expect(page.locator("#score_of_two img")).to_be_visible(timeout=PATIENCE)
        expect(page.locator("#mixed_picture img")).to_be_visible(timeout=PATIENCE)
        page.wait_for_timeout(1000)  # until what moves stands still
        path = HERE / os.environ["APP_PICTURE"]
        page.screenshot(path=path, full_page=True)
        Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)
        assert path.stat().st_size < 300_000
    finally:
        page.close()
        process.terminate()
