import contextlib
import functools
import hashlib
import http.server
import shutil
import socket
import threading
import time
import zipfile

import pooch
import pytest
from conftest import fail, load_script, succeed
from faults import Process, moments, seconds_of, small_disk
from faults import fail as fail_again
from faults import succeed as succeed_again
from test_4_preparation import bytes_below

from crs_lib import InputError


@pytest.fixture(scope="module")
def archive(tmp_path_factory, demo):
    """A zip as the forge serves it: everything below one top-level folder, more than is wanted."""
    folder = tmp_path_factory.mktemp("archive")
    inside = folder / "tree" / "ESC-50-abc"
    # The real archive has no mark; a small one would not be whole without it.
    shutil.copytree(demo / "ESC-50", inside)
    (inside / "meta" / "SYNTHETIC").write_text("x")
    (inside / "README.md").write_text("not wanted")
    return shutil.make_archive(str(folder / "served"), "zip", folder / "tree")


@pytest.fixture
def server(archive):
    """Serves /good.zip; /cut.zip, which breaks off; all on the loopback address."""
    with open(archive, "rb") as file:
        content = file.read()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path not in ("/good.zip", "/cut.zip"):
                return self.send_error(404)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content if self.path == "/good.zip" else content[: len(content) // 2])

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{httpd.server_port}"
        yield functools.partial("{}/{}".format, address), hashlib.sha256(content).hexdigest()
        httpd.shutdown()


def left_behind(root):
    return [path.name for path in root.iterdir()] if root.exists() else []


def test_an_archive_that_is_not_whole_is_not_taken(server, tmp_path):
    url, sha256 = server
    root = tmp_path / "data"
    flags = ("--dataset", root, "--url", url("good.zip"), "--sha256", sha256)
    # The mark SYNTHETIC lies outside of audio/ and meta/: what was unpacked counts as real.
    assert "has 40 ESC-10 rows, not 400 or more" in fail("0_get_esc50.py", *flags)
    assert left_behind(root) == []


def test_nothing_real_is_downloaded_into_a_synthetic_root(server, tmp_path):
    url, sha256 = server
    (tmp_path / "SYNTHETIC").write_text("x")
    flags = ("--dataset", tmp_path, "--url", url("good.zip"), "--sha256", sha256)
    message = fail("0_get_esc50.py", *flags)
    assert "is marked SYNTHETIC: run  python 0_get_esc50.py --dataset" in message
    assert left_behind(tmp_path) == ["SYNTHETIC"]


def test_a_whole_archive_of_400_clips_is_unpacked(tmp_path):
    import csv
    import zipfile

    path = tmp_path / "big.zip"
    with zipfile.ZipFile(path, "w") as content:
        rows = [["filename", "fold", "target", "category", "esc10", "src_file", "take"]]
        for clip in range(400):
            name = f"{clip % 5 + 1}-{clip}-A-{clip // 40}.wav"
            rows.append([name, clip % 5 + 1, clip // 40, f"class{clip // 40}", "True", clip, "A"])
            content.writestr(f"ESC-50-abc/audio/{name}", b"sound %d" % clip)
        lines = "\n".join(",".join(map(str, row)) for row in rows)
        content.writestr("ESC-50-abc/meta/esc50.csv", lines)
        content.writestr("ESC-50-abc/setup.py", "not wanted")
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        root = tmp_path / "data"
        url = f"http://127.0.0.1:{httpd.server_port}/big.zip"
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        out = succeed("0_get_esc50.py", "--dataset", root, "--url", url, "--sha256", sha256)
        httpd.shutdown()
    assert f"downloaded and unpacked into {root}/ESC-50" in out
    assert sorted(p.name for p in (root / "ESC-50").iterdir()) == ["audio", "meta"]
    assert len(list((root / "ESC-50" / "audio").iterdir())) == 400
    with open(root / "ESC-50" / "meta" / "esc50.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 400
    # Now it is there: no server is asked a second time.
    assert "is whole" in succeed("0_get_esc50.py", "--dataset", root, "--url", url)
    succeed("0_make_esc10.py", "--dataset", root)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    ("name", "hash_of", "reason"),
    [
        ("good.zip", "0" * 64, "hash"),
        ("cut.zip", None, "Incomplete"),
        ("absent.zip", None, "404"),
    ],
)
def test_a_bad_download_leaves_nothing_and_says_what_to_do(server, tmp_path, name, hash_of, reason):
    url, sha256 = server
    root = tmp_path / "data"
    flags = ("--url", url(name), "--sha256", hash_of or sha256)
    message = fail("0_get_esc50.py", "--dataset", root, *flags)
    assert f"{root}/ESC-50 is not a whole ESC-50 folder: " in message
    assert f"esc50.csv is missing, and {url(name)} could not be downloaded" in message
    assert reason in message
    assert "--esc50-dir" in message and "python 0_get_esc50.py --synthetic" in message
    assert left_behind(root) == []


def test_no_network(tmp_path):
    root = tmp_path / "data"
    message = fail("0_get_esc50.py", "--dataset", root, "--url", "http://127.0.0.1:9/x.zip")
    assert "could not be downloaded (ConnectionError" in message
    assert left_behind(root) == []


OUTSIDE = "outside its own folder"
DAMAGED = "the downloaded archive is damaged: "
ARCHIVES = {
    "a file above": ("top/audio/../../../evil.wav", OUTSIDE),
    "a file above audio": ("top/audio/../../evil.wav", OUTSIDE),
    "an absolute file": ("/audio/evil.wav", None),
    "two slashes": ("top//audio//evil.wav", None),
    "a drive": ("C:/audio/evil.wav", None),
    "beside audio and meta": ("top/audio.wav", None),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_does_not_reach_outside_of_its_folder(tmp_path, kind):
    name, wanted = ARCHIVES[kind]
    path, folder = tmp_path / "evil.zip", tmp_path / "a" / "b" / "c"
    with zipfile.ZipFile(path, "w") as content:
        content.writestr("top/meta/esc50.csv", "x")
        content.writestr(name, "x")
    folder.mkdir(parents=True)
    before = set(tmp_path.rglob("*"))
    unpack = load_script("0_get_esc50.py").unpack
    if wanted:
        with pytest.raises(InputError, match=wanted):
            unpack(path, folder)
    else:
        unpack(path, folder)
    inside = {folder / "audio" / "evil.wav", folder / "meta" / "esc50.csv"}
    assert set(tmp_path.rglob("*.*")) - before <= inside
    assert not list(folder.parent.glob("*.*"))


def test_a_link_in_an_archive_is_no_link(tmp_path):
    path, folder = tmp_path / "evil.zip", tmp_path / "a"
    folder.mkdir()
    with zipfile.ZipFile(path, "w") as content:
        link = zipfile.ZipInfo("top/audio/out")
        link.external_attr = 0o120777 << 16
        content.writestr(link, "..")
        content.writestr("top/audio/out/evil.wav", "x")
    with pytest.raises(OSError):
        load_script("0_get_esc50.py").unpack(path, folder)
    assert (folder / "audio" / "out").is_file()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"PK no zip at all",
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content.replace(b"sound", b"noise", 1),
        lambda content: content[:60] + bytes(20) + content[80:],
    ],
    ids=["a text", "empty", "half", "another sound", "zeros"],
)
def test_a_damaged_archive_is_one_line(tmp_path, spoil):
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as content:
        content.writestr("top/audio/1.wav", bytes(range(256)) * 9)
        content.writestr(zipfile.ZipInfo("top/audio/2.wav"), b"sound")
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(InputError, match=DAMAGED):
        load_script("0_get_esc50.py").unpack(path, tmp_path)


@pytest.fixture
def whole(tmp_path):
    """A served archive of 400 clips: (root, flags of the script, what a whole download gives)."""
    path = tmp_path / "served" / "esc50.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as content:
        rows = ["filename,category,esc10"]
        for clip in range(400):
            rows.append(f"{clip}.wav,class{clip // 40},True")
            content.writestr(f"ESC-50-abc/audio/{clip}.wav", bytes([clip % 256]) * 20_000)
        content.writestr("ESC-50-abc/meta/esc50.csv", "\n".join(rows))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with served(path.read_bytes()) as url:
        yield tmp_path / "data", ("--url", url("slow.zip"), "--sha256", sha256)


@contextlib.contextmanager
def served(content):
    """A server of an archive that takes half a second to give it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with contextlib.suppress(OSError):  # of whoever is killed
                for start in range(0, len(content), len(content) // 50):
                    self.wfile.write(content[start : start + len(content) // 50])
                    time.sleep(0.01)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}/{{}}".format
        httpd.shutdown()


@pytest.mark.parametrize("nb_moments", [2, pytest.param(20, marks=pytest.mark.faults)])
def test_a_download_that_is_killed_starts_again_cleanly(whole, nb_moments):
    """At random moments of downloading and unpacking, over a folder that is not whole."""
    root, flags = whole
    flags = ("0_get_esc50.py", "--dataset", root, *flags)
    seconds = seconds_of(*flags)
    expected = bytes_below(root)
    assert len(expected) == 401
    for moment in moments("0_get_esc50.py", nb_moments, seconds):
        shutil.rmtree(root)
        (root / "ESC-50").mkdir(parents=True)
        (root / "ESC-50" / "half.txt").write_text("an earlier try")
        process = Process(*flags)
        process.process.join(moment)
        process.kill()
        assert [path.name for path in root.glob("*") if path.suffix == ""] in ([], ["ESC-50"])
        left = bytes_below(root / "ESC-50") if (root / "ESC-50").exists() else {}
        assert list(left) in ([], ["half.txt"]) or len(left) == 401
        out = succeed_again(*flags)
        assert "ESC-50" in out and bytes_below(root) == expected


def test_a_disk_that_fills_while_an_archive_is_unpacked(whole, tmp_path):
    """8 MB of archive and 8 of what it holds, on a disk of 12."""
    _, flags = whole
    with small_disk(tmp_path / "disk", 12) as disk:
        message = fail_again("0_get_esc50.py", "--dataset", disk / "data", *flags)
        assert message == (
            f"{disk}/data/ESC-50.part: No space left on device: make room there and run it again"
        )
        assert left_behind(disk / "data") == []


def test_a_server_that_stops_answering_is_given_up(whole, monkeypatch, tmp_path, here):
    """After half a minute; here after a tenth of a second."""
    assert pooch.downloaders.DEFAULT_TIMEOUT == 30
    monkeypatch.setattr(pooch.downloaders, "DEFAULT_TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.zip"
        message = here("0_get_esc50.py", "--dataset", tmp_path / "data", "--url", url)
    assert "could not be downloaded (ReadTimeout: " in message
    assert left_behind(tmp_path / "data") == []
