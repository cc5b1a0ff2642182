"""The panel in Notebook 7, and as a page of its own from a terminal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import SHOTS
from tests.browser.page import PanelPage, until
from tests.browser.server import CELL, ROOT, Server

pytestmark = pytest.mark.browser


def test_it_works_in_notebook_7(browser: Any, tmp_path: Path) -> None:
    with Server(tmp_path, "notebook") as server:
        page = PanelPage(browser, server, CELL.format(member="SSVAE(z_dim=2, hidden=(50,))"), SHOTS)
        page.choose("objective", "ELBO")
        until(lambda: page.menu("objective").input_value() == "ELBO", "the objective")
        page.button("Train").click()
        until(lambda: page.step() > 10, "10 steps", 90)
        page.choose("prior", "MixtureOfGaussians")
        until(lambda: "MixtureOfGaussians" in page.text("equations"), "the swap")
        before = page.pixels("the decoded")
        page.page.locator(".vaezoo-latent").click(position={"x": 60, "y": 60})
        until(lambda: page.pixels("the decoded") != before, "another picture")
        page.button("Example").click()
        until(lambda: page.page.get_by_text("by q(y|x)").count() == 1, "a reading")
        page.button("Pause").click()
        until(lambda: page.button("Train").count() == 1, "a pause")
        page.shot("notebook7")
        page.close()


def test_a_terminal_opens_it_with_a_token(browser: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vaezoo", "explore", "--no-browser"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (tmp_path / "log").open("w") as log:
        run = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert run.stdout is not None
        address = run.stdout.readline().strip()
        place, token = re.fullmatch(r"(http://127\.0\.0\.1:\d+/)\?token=(.{32})", address).groups()  # type: ignore[union-attr]
        with urllib.request.urlopen(place) as answer:
            assert "/login" in answer.url, "nothing is shown without the token"
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"{place}api/kernels", data=b"{}")
        listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
        assert token not in listed
        page = browser.new_page(viewport={"width": 1280, "height": 1100})
        page.goto(address, timeout=120_000)
        page.locator(".vaezoo-latent").wait_for(timeout=90_000)
        page.get_by_role("button", name="Train").click()
        status = page.locator(".vaezoo-panel .vaezoo-note", has_text="step").first
        until(lambda: "bound" in status.inner_text(), "training", 90)
        page.screenshot(path=SHOTS / "terminal.png")
        page.close()
    finally:
        run.send_signal(signal.SIGTERM)
        run.communicate(timeout=30)
    assert run.returncode == 0
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(place)
