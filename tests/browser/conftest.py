"""A real Chromium, and pages of it that show a panel of a real Jupyter server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.page import PanelPage
from tests.browser.server import CELL, Server

ROOT = Path(__file__).parents[2]
SHOTS = Path(os.environ.get("VAEZOO_SHOTS", ROOT / "outputs" / "panel"))
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def chromium_in(playwright: Any) -> Any:
    """Debian's Chromium, started."""
    path = shutil.which("chromium")
    assert path, (
        "these tests need Debian's chromium: apt-get install chromium, or make test-browser"
    )
    return playwright.chromium.launch(executable_path=path, args=list(OPTIONS))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = chromium_in(playwright)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture(scope="module")
def panel(browser: Any, lab: Server) -> Iterator[PanelPage]:
    """A panel in JupyterLab, 1280 pixels wide."""
    page = PanelPage(browser, lab, CELL.format(member="VAE()"), SHOTS)
    yield page
    page.shot("last")
    page.close()
