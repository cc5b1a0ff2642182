"""The widgets of a panel without a browser: what is asked for is done, on the kernel's loop alone."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import Any

import pytest
import torch
from zoo import images, labels, member

import vaezoo
from vaezoo.panel import app
from vaezoo.panel.inbox import Inbox
from vaezoo.panel.panel import Panel


def panel(name: str = "VAE", **options: Any) -> Panel:
    return vaezoo.explore(member(name), [(images(30), labels(30))], **options)


def test_what_is_asked_on_another_thread_is_done_on_the_loops_own() -> None:
    """Of several moves of one slider the last one, all else in the order in which it was asked."""
    done: list[tuple[str, int, bool]] = []

    async def kernel() -> None:
        inbox, here = Inbox(lambda error: done.append((str(error), 0, True))), threading.get_ident()

        def ask() -> None:
            for i in range(5):
                inbox.post(lambda i=i: note("slider", i), instead_of="slider")
                inbox.post(lambda i=i: note("menu", i))
            inbox.post(lambda: int("no number"))

        def note(what: str, i: int) -> None:
            done.append((what, i, threading.get_ident() == here))

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        assert not done
        await asyncio.sleep(0)
        ask()
        await asyncio.sleep(0)

    asyncio.run(kernel())
    said = ("invalid literal for int() with base 10: 'no number'", 0, True)
    menus = [("menu", i, True) for i in range(5)]
    assert done == [*menus[:4], ("slider", 4, True), menus[4], said] * 2


def test_messages_of_widgets_wait_for_the_rest_between_two_pieces() -> None:
    """A menu is changed on another thread while it trains, and never in the midst of a step."""

    async def kernel() -> None:
        it = panel()
        here, seen = threading.get_ident(), []
        swap = it.session.swap

        def watched(*arguments: Any) -> None:
            seen.append((threading.get_ident() == here, it.session.stepper.step))
            swap(*arguments)

        it.session.swap = watched  # type: ignore[method-assign]
        it.toolbar.train.click()
        while it.session.stepper.step < 20:
            await asyncio.sleep(0)
        menu = it.swapping.menus["prior"]
        thread = threading.Thread(target=lambda: setattr(menu, "value", "MixtureOfGaussians"))
        thread.start()
        while not it.session.swaps:
            await asyncio.sleep(0)
        thread.join()
        then = it.session.stepper.step
        while it.session.stepper.step < then + 5:
            await asyncio.sleep(0)
        it.toolbar.train.click()
        while it.session.running:
            await asyncio.sleep(0)
        assert [on for on, _ in seen] == [True]
        assert repr(it.model.prior) == "MixtureOfGaussians(3, k=500)"
        assert it.swapping.options["prior"].value == "k=500, learn_weights=False"
        assert not it.session.failed

    asyncio.run(kernel())


def test_a_panel_shows_what_was_done_and_what_went_wrong() -> None:
    it = panel("SSVAE")
    assert list(it.swapping.menus) == ["member", "prior", "likelihood", "posterior", "objective"]
    assert it.looking.label.options == (0, 1, 2)
    it.swapping.menus["prior"].value = "MixtureOfGaussians"
    it.swapping.options["prior"].value = "k=4"
    assert "p(z) = MixtureOfGaussians(3, k=4)" in it.toolbar.equations.value
    assert it.swapping.options["prior"].value == "k=4, learn_weights=False"
    it.swapping.options["prior"].value = "k='<b>'"
    assert (
        'role="alert">TypeError: k must be a whole number, such as 2, got &#x27;&lt;b&gt;&#x27;'
        in (it.toolbar.message.value)
    )
    assert len(it.session.swaps) == 2
    it.toolbar.undo.click()
    it.toolbar.undo.click()
    assert it.toolbar.undo.disabled
    assert it.swapping.menus["prior"].value == "StandardNormal"
    it.toolbar.train.click()
    assert "this needs a running event loop, as a notebook" in it.toolbar.message.value


def test_a_hand_moves_the_code_and_the_pictures_follow() -> None:
    it = panel("FSVAE")
    viewer = it.session.viewer
    it.looking.plane.cross = [0.5, -0.25]
    assert viewer.codes.plane.shown(viewer.z[None])[0].tolist() == pytest.approx([0.5, -0.25])
    it.looking.value.value = 1.5
    assert viewer.z[it.looking.unit.value] == 1.5
    at = viewer.codes.plane.shown(viewer.z[None])[0].tolist()
    assert it.looking.plane.cross == pytest.approx(at, abs=1e-3)
    before = it.looking.decoded.state
    it.looking.label.value = 2
    assert viewer.label == 2
    assert it.looking.decoded.state != before
    cells = (255 * images(1)).flatten().int().tolist()
    it.drawing.pad._handle_custom_msg({"cells": cells}, [])
    assert torch.equal(it.drawing.image, torch.tensor(cells).reshape(1, 4, 4) / 255)  # type: ignore[arg-type]
    assert "by the 15 nearest codes" in it.drawing.reading.value
    assert it.drawing.again.state["levels"] != [0] * 16
    it.drawing.clear.click()
    assert it.drawing.pad.state["levels"] == [0] * 16


def test_a_panel_of_what_is_no_picture_has_no_pad() -> None:
    model = member("VAE", x_shape=(5,))
    it = vaezoo.explore(model, [torch.rand(20, 5).round()])
    assert it.drawing.box.children == ()
    assert it.looking.decoded.state["width"] == 5
    it.swapping.menus["member"].value = "HierarchicalVAE"
    assert "upper_posterior" in it.swapping.menus
    assert len(it.swapping.box.children) == 6


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return done.stdout + done.stderr.strip().rpartition("\n")[2]


def test_without_widgets_it_says_what_to_install() -> None:
    code = """
import sys
sys.modules["anywidget"] = None
import vaezoo
assert not [m for m in sys.modules if m.startswith(("ipywidgets", "vaezoo.panel"))]
vaezoo.explore(vaezoo.models.VAE(), vaezoo.data.digits("test"))
"""
    assert run(code) == (
        "ImportError: vaezoo.explore needs anywidget, which is not installed: "
        "pip install 'vaezoo[notebooks]'"
    )


def test_without_voila_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "voila", None)
    assert app.main(["VAE"]) == 1
    assert capsys.readouterr().out == (
        "the panel is served by voila, which is not installed: pip install 'vaezoo[panel]'\n"
    )
