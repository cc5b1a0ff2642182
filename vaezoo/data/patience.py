"""Opening an address without waiting for ever, also for a server that sends its header in trickles.

The time-out of a socket is one for each piece that comes, be it a byte: so the connection is cut
where its header takes longer than that.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

__all__ = ["open_within"]


def open_within(address: str, seconds: float, *, start: int = 0) -> Any:
    """The answer of an http or https address, its header read, within a time.

    Args:
        address: redirects and the environment's proxies are followed, as urllib does.
        seconds: for each of: to connect, the whole header, and every later piece.
        start: the first byte that is asked for; a server that does not heed it sends all of them.

    Raises:
        OSError: there is no answer in time, or it is an error.
        http.client.HTTPException: the answer is no HTTP, or was cut.
        ValueError: the address is none.
    """
    opener = urllib.request.build_opener(_Http, _Https)
    opener.addheaders = [("User-Agent", "vaezoo")]
    if start:
        opener.addheaders.append(("Range", f"bytes={start}-"))
    return opener.open(address, timeout=seconds)


@contextlib.contextmanager
def _cut_after_timeout(connection: http.client.HTTPConnection) -> Iterator[None]:
    late = threading.Event()

    def cut() -> None:
        late.set()
        with contextlib.suppress(OSError, AttributeError):
            connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(connection.timeout or 0, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException):
        if not late.is_set():
            raise
    finally:
        timer.cancel()
    if late.is_set():
        raise TimeoutError("timed out")


class _Connection(http.client.HTTPConnection):
    def getresponse(self) -> http.client.HTTPResponse:
        with _cut_after_timeout(self):
            return super().getresponse()


class _SecureConnection(http.client.HTTPSConnection):
    def getresponse(self) -> http.client.HTTPResponse:
        with _cut_after_timeout(self):
            return super().getresponse()


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_Connection, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_SecureConnection, req)
