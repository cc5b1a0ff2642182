"""A page with a panel in it: what a person does there, what it shows, and what the kernel says."""

from __future__ import annotations

import ast
import contextlib
import itertools
import queue
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient

from tests.browser.server import Server

__all__ = ["PanelPage", "until"]

COUNT = itertools.count()


def until(test: Callable[[], Any], what: str, seconds: float = 40) -> Any:
    """Wait for something to hold, and return it."""
    end = time.monotonic() + seconds
    while not (found := test()):
        assert time.monotonic() < end, f"waited {seconds} s in vain for {what}"
        time.sleep(0.05)
    return found


class PanelPage:
    """A notebook whose one cell, run, shows a panel.

    Args:
        browser: of Playwright.
        server: that serves the notebook.
        cell: what the cell says; it leaves `panel`.
        shots: folder of the screenshots.
        width, height: of the window, in pixels.
    """

    def __init__(
        self,
        browser: Any,
        server: Server,
        cell: str,
        shots: Path,
        *,
        width: int = 1280,
        height: int = 1400,
    ) -> None:
        self.server, self.shots = server, shots
        shots.mkdir(parents=True, exist_ok=True)
        known = set(self._kernels())
        self.page = browser.new_page(viewport={"width": width, "height": height})
        self.errors: list[str] = []
        self.page.on("pageerror", self._note)
        self.page.goto(server.notebook(cell, f"panel{next(COUNT)}"))
        (file,) = until(lambda: set(self._kernels()) - known, "a kernel", 60)
        self.kernel = BlockingKernelClient()
        until(lambda: self._connects(file), "the kernel's address")
        self.kernel.start_channels()
        self.run_cell()

    def run_cell(self) -> None:
        """Run the cell once the kernel answers, and wait for the panel."""
        until(self._is_ready, "the kernel", 90)
        self.page.locator(".jp-Cell .cm-content").first.click()
        self.page.wait_for_timeout(500)
        self.page.keyboard.press("Shift+Enter")
        self.page.locator(".vaezoo-latent").first.wait_for(timeout=60_000)

    def _connects(self, file: Path) -> bool:
        try:
            self.kernel.load_connection_file(str(file))
        except ValueError:  # it is still being written
            return False
        return True

    def _is_ready(self) -> bool:
        self.kernel.kernel_info()
        with contextlib.suppress(queue.Empty):
            return bool(self.kernel.get_shell_msg(timeout=2))
        return False

    def close(self) -> None:
        """Close the page, and insist that no script has failed in it."""
        self.kernel.stop_channels()
        self.page.close()
        assert not self.errors, self.errors

    def ask(self, expression: str) -> Any:
        """The value of an expression in the kernel."""
        message = self.kernel.execute(
            "", silent=True, user_expressions={"it": f"repr({expression})"}
        )
        while (reply := self.kernel.get_shell_msg(30))["parent_header"].get("msg_id") != message:
            pass
        it = reply["content"]["user_expressions"]["it"]
        assert it["status"] == "ok", it
        text = ast.literal_eval(it["data"]["text/plain"])
        try:
            return ast.literal_eval(text)
        except (SyntaxError, ValueError):
            return text

    def shot(self, name: str) -> None:
        """Keep a picture of the page."""
        self.page.screenshot(path=self.shots / f"{name}.png")

    # what a person does

    def button(self, name: str) -> Any:
        """A button of the panel by what it says."""
        return self.page.locator(".vaezoo-panel button", has_text=name)

    def choose(self, place: str, name: str) -> None:
        """Choose a line of the menu of a place."""
        self.menu(place).select_option(name)

    def enter(self, place: str, options: str) -> None:
        """Write options behind the menu of a place, and enter them."""
        text = self.row(place).locator("input")
        text.fill(options)
        text.press("Enter")

    def menu(self, place: str) -> Any:
        return self.row(place).locator("select")

    def row(self, place: str) -> Any:
        return self.page.locator(".vaezoo-place").filter(
            has=self.page.get_by_text(place, exact=True)
        )

    # what it shows

    def text(self, kind: str) -> str:
        return str(self.page.locator(f".vaezoo-panel .vaezoo-{kind}").first.inner_text())

    def step(self) -> int:
        """The step that is shown."""
        status = self.page.locator(".vaezoo-panel .vaezoo-note", has_text="step").first
        return int(status.locator("b").first.inner_text().replace(",", ""))

    def pixels(self, label: str) -> list[int]:
        """What a picture shows: the red of each of its pixels."""
        read = """canvas => [...canvas.getContext('2d')
            .getImageData(0, 0, canvas.width, canvas.height).data].filter((_, i) => i % 4 == 0)"""
        return list(self.page.locator(f'canvas[aria-label^="{label}"]').first.evaluate(read))

    def _note(self, error: Any) -> None:
        if "blob:" in str(
            error.stack
        ):  # from where anywidget has its scripts; others are the app's
            self.errors.append(str(error.stack))

    def _kernels(self) -> list[Path]:
        return list((self.server.folder / "runtime").glob("kernel-*.json"))
