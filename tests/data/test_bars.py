"""Progress bars where there is nothing to show them on."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.parametrize("stderr", [None, Full()])
def test_training_goes_on_without_a_place_for_its_bar(
    stderr: io.StringIO | None, monkeypatch: pytest.MonkeyPatch
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


def test_a_closed_stderr_hides_it() -> None:
    command = f"{sys.executable} -c '{SHOWN}' 2>&-".replace(repr(str(BARS)), f'"{BARS}"')
    done = subprocess.run(command, shell=True, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "True"
