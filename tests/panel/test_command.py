"""`python -m vaezoo explore` refuses at once what could not be served."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from vaezoo.panel import app


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--port", "99999"], "a port is a number up to 65535, got '99999'"),
        (["--port", "-1"], "a port is a number up to 65535, got '-1'"),
        (["--load", "/no/such.safetensors"], "there is no file /no/such.safetensors: vaezoo.save"),
    ],
)
def test_it_refuses(asked: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        app.main(asked)
    assert message in capsys.readouterr().err


def test_a_port_that_another_server_has_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SystemExit, match="2"):
            app.main(["--port", str(port), "--no-browser"])
    said = capsys.readouterr()
    assert f"port {port} is in use: name another one" in said.err
    assert "token" not in said.out


def test_the_server_takes_no_other_port(tmp_path: Path) -> None:
    address = app._write(tmp_path, "", 8123)
    assert address.startswith("http://127.0.0.1:8123/?token=")
    assert json.loads((tmp_path / "voila.json").read_text())["Voila"]["port_retries"] == 0
