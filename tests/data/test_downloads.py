"""Downloads from a server on this machine: right, wrong, stalled, trickling and endless ones."""

import contextlib
import hashlib
import os
import re
import socketserver
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vaezoo.data import downloads, svhn
from vaezoo.data._torchvision import datasets
from vaezoo.data.downloads import fetched

CONTENT = bytes(range(256)) * 1000
SLOW = ("silent", "stalled", "trickling", "hesitating")  # they would take minutes
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


class Answers(BaseHTTPRequestHandler):
    """Answers as the path says."""

    def do_GET(self):
        self.server.asked.append(self.path)
        with contextlib.suppress(OSError):
            getattr(self, self.path.strip("/").split(".")[0])()

    def _start(self, length):
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def right(self):
        self._start(len(CONTENT))
        self.wfile.write(CONTENT)

    def wrong(self):
        self._start(3)
        self.wfile.write(b"no!")

    def short(self):
        self._start(len(CONTENT))
        self.wfile.write(CONTENT[:1000])

    def cut(self):
        """Half of what is asked for, each time; it goes on where it is asked to."""
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.server.starts.append(start)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        half = start + (len(CONTENT) - start) // 2
        self.wfile.write(CONTENT[start : half if len(self.server.starts) < 3 else None])

    def forgetful(self):
        """As a server that knows nothing of ranges: whole from the second time on."""
        self.server.starts.append(self.headers.get("Range"))
        self._start(len(CONTENT))
        self.wfile.write(CONTENT[: None if len(self.server.starts) > 1 else 1000])

    def slow(self):
        """Long enough for all who want it to be there."""
        self.server.stopped.wait(1.0)
        self.right()

    def missing(self):
        self.send_error(404)

    def silent(self):
        self.server.stopped.wait(600)

    def stalled(self):
        self._start(len(CONTENT))
        self.wfile.write(CONTENT[:1000])
        self.server.stopped.wait(600)

    def trickling(self):
        self._start(len(CONTENT))
        for byte in CONTENT[:4000]:
            self.wfile.write(bytes([byte]))
            if self.server.stopped.wait(0.05):
                return

    def hesitating(self):
        for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 4000:
            self.wfile.write(bytes([byte]))
            if self.server.stopped.wait(0.05):
                return

    def endless(self):
        self._start(2**40)
        while not self.server.stopped.is_set():
            self.wfile.write(CONTENT)

    def garbage(self):
        self.wfile.write(b"\0" * 100)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(downloads, "TIMEOUT", 60)
    monkeypatch.setattr(downloads, "_LARGEST", 10**7)
    found = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    found.asked, found.starts, found.stopped = [], [], threading.Event()
    found.daemon_threads = True
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield found
    found.stopped.set()
    found.shutdown()
    found.server_close()
    thread.join()


def fetch(server, path, *answers, download=True):
    addresses = [f"http://127.0.0.1:{server.server_port}/{answer}" for answer in answers]
    return fetched(
        path, name="Set", md5=MD5, addresses=addresses, download=download, files=[path.name]
    )


def test_a_file_is_fetched_once(server, tmp_path):
    path = tmp_path / "deep" / "a.bin"
    assert fetch(server, path, "missing", "wrong", "right") == path
    assert path.read_bytes() == CONTENT
    assert fetch(server, path, "missing") == path
    assert server.asked == ["/missing", "/wrong", "/right"]
    assert [p.name for p in path.parent.iterdir()] == ["a.bin"]


def test_a_damaged_file_is_fetched_again(server, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(OSError, match=f"(?s)a file is damaged.*Delete the damaged {path} "):
        fetch(server, path, "right", download=False)
    with pytest.raises(ConnectionError, match=f"(?s)404.*Delete the damaged {path} "):
        fetch(server, path, "missing")
    assert path.read_bytes() == CONTENT[:-1]
    assert fetch(server, path, "right").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("wrong", "has the checksum"),
        ("short", "has the checksum|IncompleteRead"),
        ("missing", "404"),
        ("silent", "timed out"),
        ("stalled", "timed out"),
        ("trickling", "only .* bytes came in"),
        ("hesitating", "timed out"),
        ("endless", "more than 10,000,000 bytes came"),
        ("garbage", "BadStatusLine|bytes came|HTTP|\\x00"),
    ],
)
def test_servers_that_fail(server, tmp_path, monkeypatch, answer, message):
    """Long before they would end, by a message with the address, and nothing is left behind."""
    if answer in SLOW:
        monkeypatch.setattr(downloads, "TIMEOUT", 1)
    start = time.monotonic()
    with pytest.raises(ConnectionError, match=f"(?s)Set could not .*/{answer}: .*({message})"):
        fetch(server, tmp_path / "a.bin", answer)
    assert time.monotonic() - start < 100
    assert list(tmp_path.iterdir()) == []


def test_a_stalled_server_ends_a_loader(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT", 1)
    address = f"http://127.0.0.1:{server.server_port}/stalled"
    files = {"test": [address, "test_32x32.mat", MD5]}
    monkeypatch.setattr(datasets().SVHN, "split_list", files)
    with pytest.raises(ConnectionError, match=r"SVHN could not be loaded .*timed out"):
        svhn("test", root=tmp_path)


@pytest.mark.parametrize("answer", ["cut", "forgetful"])
def test_after_a_cut_it_goes_on(server, tmp_path, answer):
    """From the byte that was not there yet, or from the first where the server sends all again."""
    assert fetch(server, tmp_path / "a.bin", answer).read_bytes() == CONTENT
    half = len(CONTENT) // 2
    assert (
        server.starts
        == {
            "cut": [0, half, half + half // 2],
            "forgetful": [None, "bytes=1000-"],
        }[answer]
    )
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_both_checksums_count(server, tmp_path):
    path, sha256 = tmp_path / "a.bin", hashlib.sha256(CONTENT).hexdigest()
    address = f"http://127.0.0.1:{server.server_port}/right"
    options = {"name": "Set", "md5": MD5, "addresses": [address], "download": True, "files": "a"}
    with pytest.raises(ConnectionError, match=f"has the checksum {sha256}, not 0000"):
        fetched(path, sha256="0" * 64, **options)
    assert fetched(path, sha256=sha256, **options).read_bytes() == CONTENT


# without the rest of vaezoo, and torch, which would take longer than the download
FETCH = """
import importlib, resource, sys, types
from pathlib import Path

for name in ("vaezoo", "vaezoo.data"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["vaezoo.data"].__path__ = ["{folder}"]
fetched = importlib.import_module("vaezoo.data.downloads").fetched

if sys.argv[3:]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
print("ready", flush=True)
sys.stdin.readline()
try:
    fetched(Path(sys.argv[1]), name="Set", md5="{md5}", addresses=[sys.argv[2]], download=True,
            files=["a"])
except OSError as error:
    print(type(error).__name__, error)
else:
    print("fetched")
"""


def processes(n, path, address, *more):
    """What n processes say that all want the same file at the same time."""
    code = FETCH.replace("{md5}", MD5).replace("{folder}", os.path.dirname(downloads.__file__))
    command = [sys.executable, "-c", code, path, address, *more]
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, **pipe) for _ in range(n)]
    for each in started:
        assert each.stdout.readline() == "ready\n"
    for each in started:
        each.stdin.write("go\n")
        each.stdin.flush()
    return [each.communicate(timeout=60)[0].strip() for each in started]


def test_several_first_downloads_at_once(server, tmp_path):
    """One of four processes fetches the file, the others wait for it; nothing is left behind."""
    path, address = tmp_path / "new" / "a.bin", f"http://127.0.0.1:{server.server_port}/slow"
    assert processes(4, path, address) == ["fetched"] * 4
    assert server.asked == ["/slow"]
    assert [p.name for p in path.parent.iterdir()] == ["a.bin"]


def test_a_lock_goes_with_its_process(server, tmp_path):
    """What a process that was killed left behind keeps nobody out."""
    (tmp_path / ".vaezoo-a.bin.lock").touch()
    assert fetch(server, tmp_path / "a.bin", "right").read_bytes() == CONTENT
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_no_room_for_the_file(server, tmp_path):
    """As on a full disk: said so, with another folder to give, and what was there is there still."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    (said,) = processes(1, path, f"http://127.0.0.1:{server.server_port}/right", "limited")
    assert re.match(rf"OSError .*cannot write to {tmp_path} \(File too large\); give another", said)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.bin", b"old")]


def test_a_folder_that_is_none(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot write to .* give another folder by root=…"):
        fetch(server, tmp_path / "file" / "a.bin", "right")
    assert server.asked == []


def test_a_folder_that_is_read_only(server, tmp_path):
    tmp_path.chmod(0o555)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("this user may write anywhere")
    with pytest.raises(OSError, match=r"cannot write to .*denied"):
        fetch(server, tmp_path / "a.bin", "right")


def test_nothing_to_ask(tmp_path):
    """A port where nobody listens, and an address that is none."""
    with socketserver.TCPServer(("127.0.0.1", 0), None) as closed:
        port = closed.server_address[1]
    for address in (f"http://127.0.0.1:{port}/", "no address"):
        with pytest.raises(ConnectionError, match=f"tried {address}"):
            fetched(
                tmp_path / "a", name="Set", md5=MD5, addresses=[address], download=True, files="a"
            )
