"""`python -m vaezoo explore`: the panel as a page of its own, served to this machine alone."""

from __future__ import annotations

import argparse
import importlib.util
import json
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from vaezoo.models import LatentVariableModel
from vaezoo.panel.menus import offered

__all__ = ["main"]

MEMBERS = [member.__name__ for member in offered(LatentVariableModel)]
COLOUR, LABELS = "FSVAE", ("SSVAE", "M1M2", "ADGM")  # by what they are trained on
PATIENCE = 60  # seconds for a server to start
LAST_PORT = 65535


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve a panel until Ctrl-C, with a token, on 127.0.0.1.

    Args:
        arguments: of the command line.
    """
    parser = _parser()
    asked = parser.parse_args(arguments)
    if not _is_free(asked.port):  # voila would take another, and the token be shown to this one
        parser.error(f"port {asked.port} is in use: name another one, or none for any free one")
    if importlib.util.find_spec("voila") is None:
        print("the panel is served by voila, which is not installed: pip install 'vaezoo[panel]'")
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # or the server would be left behind
    with tempfile.TemporaryDirectory() as folder:
        address = _write(Path(folder), _cell(asked.member, asked.load), asked.port)
        server = subprocess.Popen([sys.executable, "-m", "voila", "panel.ipynb"], cwd=folder)
        try:
            _wait(server, address)
            print(f"{address}\nCtrl-C ends it", flush=True)
            if not asked.no_browser:
                webbrowser.open(address)
            return server.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            server.terminate()
            server.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vaezoo explore",
        description="Train, swap, decode and draw at a model in the browser, on built-in digits.",
    )
    parser.add_argument("member", nargs="?", default="VAE", choices=MEMBERS, help="VAE by default")
    parser.add_argument("--load", metavar="FILE", type=_file, help="a checkpoint of vaezoo.save")
    parser.add_argument("--port", type=_port, default=0, help="any free one by default")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    return parser


def _file(text: str) -> str:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}: vaezoo.save writes one")
    return text


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > LAST_PORT:
        raise argparse.ArgumentTypeError(f"a port is a number up to {LAST_PORT}, got {text!r}")
    return int(text)


def _cell(member: str, checkpoint: str | None) -> str:
    """The code that shows the panel."""
    made = f"models.{member}()"
    if checkpoint is not None:
        made = f"vaezoo.load({str(Path(checkpoint).resolve())!r})"
    train = "data.digits('train')"
    if member == COLOUR:
        train = "data.colour_digits('train')"
    elif member in LABELS:
        train = "data.semi_supervised(images, images.labelled(100))"
    test = train.replace("train", "test") if member == COLOUR else "data.digits('test')"
    lines = ("import vaezoo", "from vaezoo import data, models", "images = data.digits('train')")
    return "\n".join([*lines, f"vaezoo.explore({made}, {train}, validation={test})"])


def _write(folder: Path, cell: str, port: int) -> str:
    """Write the notebook and the server's settings; the address to open.

    The token stands in a file that only its owner can read, and not on the command line, which
    everyone on the machine can.
    """
    content = {"cell_type": "code", "source": cell, "metadata": {}, "outputs": [], "id": "panel"}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    cells = [content | {"execution_count": None}]
    notebook = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (folder / "panel.ipynb").write_text(json.dumps(notebook))
    token, port = secrets.token_urlsafe(24), port or _free_port()
    settings: dict[str, object] = {"ip": "127.0.0.1", "port": port, "port_retries": 0}
    settings |= {"token": token, "open_browser": False}
    (folder / "voila.json").write_text(json.dumps({"Voila": settings}))
    return f"http://127.0.0.1:{port}/?token={token}"


def _is_free(port: int) -> bool:
    with socket.socket() as asked:
        asked.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        try:
            asked.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait(server: subprocess.Popen[bytes], address: str) -> None:
    """Wait until the server answers, if only to ask for a token, or raise SystemExit."""
    end, place = time.monotonic() + PATIENCE, address.partition("?")[0]
    while server.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(place, timeout=5).close()
            return
        except urllib.error.HTTPError as error:
            error.close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the server did not start: what it says stands above")
