"""Progress bars where there is nothing to show them on."""

from __future__ import annotations

import fcntl
import io
import os
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from zoo import fixed, member

from vaezoo import data, evaluate, fit
from vaezoo.data.neighbours import nearest

BARS = Path(data.__file__).with_name("bars.py")
SHOWN = f"""
import runpy
bar = runpy.run_path({str(BARS)!r})["bar"]
with bar(3, "step", shown=True) as shown:
    shown.update()
    print(shown.disable)
"""


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


class Least:
    def write(self, text: str) -> None:
        pass


@pytest.mark.parametrize("stderr", [None, Full(), Least()])
def test_training_goes_on_without_a_place_for_its_bar(
    stderr: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    vae, x = member("VAE"), fixed(8)
    assert fit(vae, [x], steps=3, log_every=3)["step"] == [3]
    assert evaluate(vae, [x]).keys() >= {"nelbo"}
    assert nearest(x.flatten(1), 2, progress=True)[0].shape == (8, 2)


@pytest.mark.parametrize(
    ("environment", "said", "printed"),
    [({}, "step/s", "False"), ({"TQDM_DISABLE": "1"}, "", "True")],
)
def test_tqdms_own_switch_holds(environment: dict[str, str], said: str, printed: str) -> None:
    env = {n: v for n, v in os.environ.items() if not n.startswith("TQDM_")} | environment
    command = [sys.executable, "-c", SHOWN]
    done = subprocess.run(command, check=True, env=env, capture_output=True, text=True)
    assert (said in done.stderr, bool(done.stderr)) == (True, bool(said))
    assert done.stdout.strip() == printed


WRITTEN = f"""
import runpy, tqdm
bar = runpy.run_path({str(BARS)!r})["bar"]
with bar(3, "step", shown=True) as shown:
    shown.set_postfix_str("many words, " * 9)
    tqdm.tqdm.write("a note")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no terminals of this kind")
def test_a_terminal_has_it_in_one_line_of_its_width() -> None:
    """Of 50 columns; and what is written beside it stands alone, as with tqdm's own file."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 50, 0, 0))
    files: Any = dict.fromkeys(("stdin", "stdout", "stderr"), theirs)
    subprocess.run([sys.executable, "-c", WRITTEN], check=True, **files)
    lines = os.read(ours, 2**16).decode().replace("\n", "\r").split("\r")
    os.close(ours)
    os.close(theirs)
    assert max(map(len, lines)) == 49
    assert "a note" in lines


def test_a_closed_stderr_hides_it() -> None:
    command = f"{sys.executable} -c '{SHOWN}' 2>&-".replace(repr(str(BARS)), f'"{BARS}"')
    done = subprocess.run(command, shell=True, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "True"
