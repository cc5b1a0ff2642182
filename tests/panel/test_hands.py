"""What a hand moves is done as it was meant, whatever is shown meanwhile."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import torch
from zoo import images, labels, member

import vaezoo
from vaezoo import data, models
from vaezoo.panel.images import levels
from vaezoo.panel.panel import Panel


def panel(name: str = "VAE") -> Panel:
    return vaezoo.explore(member(name), [(images(30), labels(30))])


def on_another_thread(widget: Any, name: str, value: Any) -> None:
    thread = threading.Thread(target=lambda: setattr(widget, name, value))
    thread.start()
    thread.join()


def test_a_redraw_takes_no_move_away() -> None:
    """What arrives on another thread waits while the loop draws the codes and moves the slider."""

    async def kernel() -> None:
        it = panel()
        looking, viewer = it.looking, it.session.viewer
        on_another_thread(looking.value, "value", 1.5)
        it.session.look()
        assert looking.value.value == 1.5, "it does not jump back"
        await asyncio.sleep(0)
        assert viewer.z[looking.unit.value] == 1.5
        on_another_thread(looking.plane, "cross", [0.5, -0.25])
        it.session.look()
        assert looking.plane.cross == [0.5, -0.25]
        await asyncio.sleep(0)
        at = viewer.codes.plane.shown(viewer.z[None])[0].tolist()
        assert at == pytest.approx([0.5, -0.25], abs=1e-5)

    asyncio.run(kernel())


def test_nothing_is_asked_by_what_is_shown() -> None:
    """Nor is there a unit to move that a smaller model does not have."""

    async def kernel() -> None:
        it = panel("SSVAE")
        it.looking.unit.value = 2
        await asyncio.sleep(0)
        it.session.swap("prior", "MixtureOfGaussians", "k=4")
        it.session.swap("member", "VAE", "z_dim=2, hidden=(8,)")
        assert it.looking.unit.options == (("1", 0), ("2", 1))
        assert it.swapping.menus["member"].value == "VAE"
        assert not it.inbox._waiting

    asyncio.run(kernel())


def test_options_beside_a_schedule_can_be_mended() -> None:
    it = panel()
    it.swapping.options["objective"].value = "beta=WarmUp(7), free_bits=0.0"
    shown = it.swapping.options["objective"].value
    assert shown.startswith("beta=WarmUp(7, start=0, end=1), free_bits=0.0")
    it.swapping.options["objective"].value = shown.replace("bits=0.0", "bits=0.5")
    assert it.session.message == ""
    objective: Any = it.session.objective
    assert (repr(objective.beta), objective.free_bits) == ("WarmUp(7, start=0, end=1)", 0.5)
    it.swapping.options["objective"].value = "beta=WarmUp(0)"
    assert it.session.message == "ValueError: steps must be at least 1, got 0"


def test_a_move_is_of_the_unit_that_was_chosen_then() -> None:
    async def kernel() -> None:
        it = panel()
        chosen = it.looking.unit.value
        other = (chosen + 1) % 3
        expected = it.session.viewer.z.tolist()
        expected[chosen] = 1.5
        it.looking.value.value = 1.5
        it.looking.unit.value = other
        await asyncio.sleep(0)
        assert it.session.viewer.z.tolist() == pytest.approx(expected)
        assert it.looking.value.value == pytest.approx(expected[other], abs=1e-6)
        # and both of two units, moved before the loop rests
        it.looking.value.value = -1.0
        it.looking.unit.value = chosen
        it.looking.value.value = -2.0
        await asyncio.sleep(0)
        expected[other], expected[chosen] = -1.0, -2.0
        assert it.session.viewer.z.tolist() == pytest.approx(expected)

    asyncio.run(kernel())


def test_another_class_is_drawn_everywhere() -> None:
    it = panel("FSVAE")
    it.drawing.another.click()
    image = it.drawing.image
    assert image is not None
    it.looking.label.value = 2
    shown, reading = it.drawing.again.state, it.drawing.reading.value
    it.drawing.redraw()
    assert (it.drawing.again.state, it.drawing.reading.value) == (shown, reading)
    again: Any = it.model.reconstruct(image[None], torch.tensor([2]))  # type: ignore[operator]
    assert shown == levels(again[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("z_dim", [2, 5])
def test_other_dtypes_are_looked_at(dtype: torch.dtype, z_dim: int) -> None:
    pixels = data.Images((255 * images(30)).to(torch.uint8), labels(30), binarisation="threshold")
    it = vaezoo.explore(models.VAE((1, 4, 4), z_dim, hidden=(8,)).to(dtype), pixels)
    wide = torch.float64 if dtype is torch.float64 else torch.float32
    assert it.session.viewer.codes.z.dtype == wide
    it.looking.value.value = 1.5
    assert it.session.viewer.z[it.looking.unit.value] == 1.5
    it.drawing.another.click()
    assert "by the 15 nearest codes" in it.drawing.reading.value
    assert not it.session.failed


def test_codes_follow_a_dtype_that_a_cell_has_changed() -> None:
    it = panel()
    it.model.double()
    it.looking.value.value = 1.5
    it.looking.plane.cross = [0.5, -0.25]
    it.drawing.another.click()
    it.session.look()
    assert it.session.viewer.codes.z.dtype == torch.float64
    it.looking.value.value = -1.5
    assert (it.session.message, it.session.failed) == ("", False)
    assert it.session.viewer.z[it.looking.unit.value] == -1.5
