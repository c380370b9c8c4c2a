import functools
import hashlib
import http.server
import shutil
import threading

import pytest
from conftest import fail, succeed


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


def test_an_archive_that_reaches_outside_of_its_folder_is_refused(tmp_path):
    import zipfile

    from conftest import load_script

    from crs_lib import InputError

    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as content:
        content.writestr("ESC-50-abc/audio/../../../evil.wav", "x")
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    with pytest.raises(InputError, match="outside its own folder"):
        load_script("0_get_esc50.py").unpack(path, folder)
    assert not list(tmp_path.rglob("evil.wav"))
    path.write_bytes(b"PK no zip at all")
    with pytest.raises(InputError, match="archive is damaged"):
        load_script("0_get_esc50.py").unpack(path, folder)
