"""Downloads from a server on this machine: right, wrong, stalled, trickling and endless ones."""

import contextlib
import hashlib
import socketserver
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
    found.asked, found.stopped = [], threading.Event()
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


def test_nothing_to_ask(tmp_path):
    """A port where nobody listens, and an address that is none."""
    with socketserver.TCPServer(("127.0.0.1", 0), None) as closed:
        port = closed.server_address[1]
    for address in (f"http://127.0.0.1:{port}/", "no address"):
        with pytest.raises(ConnectionError, match=f"tried {address}"):
            fetched(
                tmp_path / "a", name="Set", md5=MD5, addresses=[address], download=True, files="a"
            )
