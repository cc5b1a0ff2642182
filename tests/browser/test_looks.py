"""The panel at two widths, in the light and in the dark: all of it there, and all of it legible."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import SHOTS
from tests.browser.page import PanelPage, until
from tests.browser.server import CELL, Server

pytestmark = pytest.mark.browser

# what sticks out of the panel, or is wider than the box that it is in
CLIPPED = """() => {
  const panel = document.querySelector('.vaezoo-panel'), box = panel.getBoundingClientRect();
  const output = panel.closest('.jp-OutputArea-output') ?? panel;
  const found = output.scrollWidth > output.clientWidth + 1 ? ['the output scrolls'] : [];
  for (const it of panel.querySelectorAll('*')) {
    const own = it.getBoundingClientRect();
    if (!own.width || it.closest('svg') && it.tagName !== 'svg') continue;
    const name = `${it.tagName} ${it.className} ${(it.innerText ?? '').slice(0, 20)}`;
    if (own.right > box.right + 1 || own.left < box.left - 1) found.push(name + ' sticks out');
    if (['BUTTON', 'LABEL'].includes(it.tagName) && it.scrollWidth > it.clientWidth + 1)
      found.push(name + ' is cut');
  }
  return found;
}"""
# contrast ratios of texts against what lies behind them, by WCAG 2.2
CONTRASTS = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (c) => c.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (it) => {
    for (; it; it = it.parentElement) {
      const colour = rgb(getComputedStyle(it).backgroundColor);
      if (colour[3] === 255) return colour;
    }
  };
  const found = {};
  for (const it of document.querySelectorAll(
    '.vaezoo-panel :is(.vaezoo-note, .vaezoo-equations, .vaezoo-message, .vaezoo-tick, .vaezoo-code, button:enabled, label, select, input)',
  )) {
    if (!it.getClientRects().length) continue;
    const style = getComputedStyle(it);
    const [a, b] = [light(rgb(it instanceof SVGElement ? style.fill : style.color)), light(behind(it))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const kind = it.classList[0] ?? it.tagName;
    found[kind] = Math.min(found[kind] ?? 99, ratio);
  }
  return found;
}"""


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_nothing_is_clipped_and_all_is_legible(browser: Any, lab: Server, theme: str) -> None:
    lab.theme(f"JupyterLab {theme}")
    page = PanelPage(browser, lab, CELL.format(member="VAE()"), SHOTS)
    lab.theme("JupyterLab Light")
    page.button("Train").click()
    until(lambda: page.step() > 60, "60 steps", 90)
    page.choose("prior", "MixtureOfGaussians")
    until(lambda: "MixtureOfGaussians" in page.text("equations"), "the swap")
    page.button("Example").click()
    until(lambda: any(page.pixels("pad")), "an image")
    page.button("Code").click()
    until(lambda: page.page.locator(".vaezoo-panel textarea").is_visible(), "code")
    page.button("Pause").click()
    until(lambda: page.button("Train").count() == 1, "a pause")
    page.enter("prior", "k=ten")
    until(lambda: "k=50" in page.text("message"), "the error")
    for width in (1280, 800):
        page.page.set_viewport_size({"width": width, "height": 1900})
        page.page.wait_for_timeout(800)
        page.shot(f"{theme.lower()}-{width}")
        assert page.page.evaluate(CLIPPED) == []
    ratios = page.page.evaluate(CONTRASTS)
    assert {"vaezoo-note", "vaezoo-message", "vaezoo-code", "vaezoo-tick", "SELECT"} <= set(ratios)
    # 4.5 for text; numbers of classes are large and bold marks of points, of which 3 is asked
    low = {k: r for k, r in ratios.items() if r < (3 if k == "vaezoo-code" else 4.5)}
    page.close()
    assert not low
