"""How soon the panel answers while a VAE trains in the same kernel, in JupyterLab and Chromium.

    python -m benchmarks.panel

    slider    from a key on the slider to the next frame with the picture redrawn, in the browser
    drawing   from a stroke on the pad to the frame with its reconstruction, likewise
    swap      from the kernel's taking up a swap to the end of the first steps with the new part
    answer    from asking the kernel for 1 + 1 to its answer

Server, kernel and browser are given priority over whatever else the machine does, where that is
allowed; the load that there was besides is written down.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.command import without_arguments
from benchmarks.markdown import table as markdown

RESULTS = Path(__file__).parent / "results"
N = 20
SWAPS = (
    *(("prior", "MixtureOfGaussians"), ("prior", "VampPrior"), ("prior", "StandardNormal")),
    *(("posterior", "FullNormal"), ("posterior", "DiagonalNormal")),
)
TIMED = """
import time
waits, asked = [], []
swap, piece = panel.session.swap, panel.session.stepper.piece
def timed_swap(*arguments):
    asked.append(time.perf_counter())
    swap(*arguments)
def timed_piece(*arguments):
    piece(*arguments)
    while asked:
        waits.append(1000 * (time.perf_counter() - asked.pop()))
panel.session.swap, panel.session.stepper.piece = timed_swap, timed_piece
panel"""
# the picture is redrawn every half second in any case: a move begins just after that
MOVES = """async ([n, label, move]) => {
  const canvas = document.querySelector(`canvas[aria-label="${label}"]`);
  const redrawn = () => new Promise((done) => {
    const observer = new MutationObserver(() => { observer.disconnect(); done(); });
    observer.observe(canvas, { attributes: true, attributeFilter: ['data-drawn'] });
  });
  const frame = () => new Promise(requestAnimationFrame);
  const times = [];
  for (let i = 0; i < n; i++) {
    await redrawn();
    await frame();
    const begun = performance.now(), drawn = redrawn();
    (new Function('i', move))(i);
    await drawn;
    await frame();
    times.push(performance.now() - begun);
  }
  return times;
}"""
SLIDE = """document.querySelector('.vaezoo-panel [role=slider]').dispatchEvent(
  new KeyboardEvent('keydown', { key: i % 4 < 2 ? 'ArrowRight' : 'ArrowLeft', bubbles: true }))"""
STROKE = """const pad = document.querySelector('.vaezoo-pad'), box = pad.getBoundingClientRect();
  const [x, y] = [box.left + box.width * (0.2 + 0.03 * i), box.top + 0.5 * box.height];
  pad.setPointerCapture = () => {};
  pad.dispatchEvent(new PointerEvent('pointerdown', { clientX: x, clientY: y, buttons: 1 }))"""


def prefer() -> bool:
    """Let all that this process has started go before other work; whether that is allowed."""
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    try:  # Linux shares a processor among sessions first, and servers and kernels have their own
        for each in family:
            Path(f"/proc/{each.pid}/autogroup").write_text("-15")
    except OSError:
        return False
    return True


def summary(times: list[float]) -> dict[str, Any]:
    """Median, quartiles and the longest of some times in milliseconds."""
    low, _, high = statistics.quantiles(times, n=4)
    rounded = {"median": statistics.median(times), "quartiles": [low, high], "longest": max(times)}
    numbers = json.loads(json.dumps(rounded), parse_float=lambda text: round(float(text), 1))
    return {"n": len(times), **numbers}


def answers(page: Any, n: int) -> list[float]:
    """Milliseconds that the kernel takes for 1 + 1."""
    times = []
    for _ in range(n):
        started = time.perf_counter()
        page.ask("1 + 1")
        times.append(1000 * (time.perf_counter() - started))
        time.sleep(0.05)
    return times


def swaps(page: Any, n: int) -> list[float]:
    """Milliseconds until training goes on with a part that was chosen in a menu."""
    for i in range(n):
        place, name = SWAPS[i % len(SWAPS)]
        page.choose(place, name)
        while page.ask("len(waits)") <= i:
            time.sleep(0.05)
        time.sleep(0.5)
    return list(page.ask("waits"))


def measure(page: Any) -> dict[str, Any]:
    """Every time, while the panel trains."""
    page.button("Train").click()
    while page.step() < 100:
        time.sleep(0.1)
    answered = answers(page, 5 * N)
    slid = page.page.evaluate(MOVES, [N, "the decoded code", SLIDE])
    page.button("Example").click()
    drawn = page.page.evaluate(MOVES, [N, "the drawing, reconstructed", STROKE])
    swapped = swaps(page, N)
    times = {"slider": slid, "drawing": drawn, "answer": answered, "swap": swapped}
    rows = {name: summary(each) for name, each in times.items()}
    for place, name in SWAPS:
        each = [t for t, s in zip(swapped, SWAPS * N, strict=False) if s == (place, name)]
        rows[f"swap, {place} {name}"] = summary(each)
    return rows


def table(record: dict[str, Any]) -> str:
    """The record as a table in Markdown."""
    what = {
        "slider": "a move of the slider, until the picture is redrawn",
        "drawing": "a stroke on the pad, until its reconstruction is shown",
        "swap": "a swap, until the first steps with the new part are over",
        "answer": "`1 + 1`, until the kernel answers",
    }
    rows = [
        (text, f"{row['median']:.0f}", f"{row['longest']:.0f}", row["n"])
        for name, text in what.items()
        for row in [record["milliseconds"][name]]
    ]
    return markdown(("while a VAE trains", "median, ms", "longest, ms", "times"), rows)


def main() -> None:
    """Write what was measured."""
    without_arguments(__doc__)
    from playwright.sync_api import sync_playwright

    from tests.browser.conftest import chromium_in
    from tests.browser.page import PanelPage
    from tests.browser.server import CELL, Server

    load = os.getloadavg()[0]
    cell = CELL.format(member="VAE()").rpartition("\n")[0] + TIMED
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(Path(folder)) as server,
        sync_playwright() as playwright,
    ):
        page = PanelPage(chromium_in(playwright), server, cell, Path(folder))
        preferred = prefer()
        rows = measure(page)
        page.close()
    names = ("jupyterlab", "ipykernel", "ipywidgets", "anywidget", "torch")
    record = {
        "milliseconds": rows,
        "versions": {name: importlib.metadata.version(name) for name in names},
        "cores": os.cpu_count(),
        "threads of torch": torch.get_num_threads(),
        "preferred to other processes": preferred,
        "load of others": round(load, 1),
    }
    (RESULTS / "panel.json").write_text(json.dumps(record, indent=1) + "\n")
    print(table(record))


if __name__ == "__main__":
    main()
