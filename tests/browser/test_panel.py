"""The panel in JupyterLab, touched as a person does, and the kernel asked what came of it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.browser.page import PanelPage, until

pytestmark = pytest.mark.browser


def rest(panel: PanelPage) -> None:
    """Have it paused, whatever came before."""
    if panel.ask("panel.session.running"):
        panel.button("Pause").click()
        until(lambda: not panel.ask("panel.session.running"), "a pause")


def train(panel: PanelPage) -> None:
    if not panel.ask("panel.session.running"):
        panel.button("Train").click()
        until(lambda: panel.ask("panel.session.running"), "training")


def same_model(panel: PanelPage) -> None:
    """What is shown is what the kernel has."""
    lines = panel.ask("panel.model.equations()")
    until(lambda: panel.text("equations").splitlines() == lines, f"{lines} to be shown")


def test_it_trains_and_pauses(panel: PanelPage) -> None:
    """Numbers, codes and curves move while the kernel answers, and stand still after a pause."""
    panel.shot("new")
    drawn = panel.page.locator(".vaezoo-latent").get_attribute("data-drawn")
    train(panel)
    until(lambda: panel.step() > 60, "60 steps", 60)
    assert panel.ask("1 + 1") == 2
    until(
        lambda: (
            int(panel.page.locator(".vaezoo-latent").get_attribute("data-drawn")) > int(drawn) + 2
        ),
        "codes that move",
    )
    path = panel.page.locator(".vaezoo-curve .vaezoo-line").first.get_attribute("d")
    assert path.count("L") > 3
    panel.shot("training")
    rest(panel)
    then = panel.ask("panel.session.stepper.step")
    until(lambda: panel.step() == then, "the last number")
    time.sleep(0.5)
    assert panel.ask("panel.session.stepper.step") == then
    assert panel.ask("vae.training") is panel.ask("models.VAE().training"), "the mode it was in"


def test_menus_hold_the_catalogue(panel: PanelPage) -> None:
    for place, room in (("prior", "priors"), ("posterior", "posteriors"), ("member", "models")):
        lines = set(panel.menu(place).locator("option").all_inner_texts())
        assert lines == set(panel.ask(f"set(panel.swapping.menus['{place}'].options)"))
        assert lines < set(panel.ask(f"__import__('vaezoo').{room}.__all__"))


def test_prior_and_guide_are_swapped_while_it_trains_and_back(panel: PanelPage) -> None:
    rest(panel)
    swaps, before = panel.ask("len(panel.session.swaps)"), panel.ask("repr(panel.model)")
    train(panel)
    for place, name in (("prior", "MixtureOfGaussians"), ("posterior", "FullNormal")):
        panel.choose(place, name)
        until(lambda: panel.ask(f"type(panel.model.{place}).__name__") == name, name)  # noqa: B023
        same_model(panel)
        then = panel.step()
        until(lambda: panel.step() > then + 10, "training that goes on", 60)  # noqa: B023
    assert panel.ask("len(panel.session.swaps)") == swaps + 2
    marks = panel.page.locator(".vaezoo-curve").first.locator(".vaezoo-mark")
    until(lambda: marks.count() == swaps + 2, "marks of both swaps")
    panel.shot("swapped")
    rest(panel)
    for left in (swaps + 1, swaps):
        panel.button("Undo swap").click()
        until(lambda: panel.ask("len(panel.session.swaps)") == left, "undo")  # noqa: B023
    assert panel.ask("repr(panel.model)") == before
    same_model(panel)
    until(lambda: panel.menu("prior").input_value() == "StandardNormal", "the menu")


def test_an_error_is_said_and_the_panel_lives(panel: PanelPage) -> None:
    rest(panel)
    panel.choose("prior", "MixtureOfGaussians")
    panel.page.locator("input").nth(1)
    until(lambda: panel.row("prior").locator("input").input_value().startswith("k=500"), "options")
    panel.enter("prior", "k=ten")
    until(lambda: "options are written as in a call" in panel.text("message"), "the error")
    until(lambda: panel.page.get_by_role("alert").count() == 1, "one alert")
    panel.enter("prior", "k=-1")
    until(lambda: "k must be at least 1, got -1" in panel.text("message"), "the next error")
    panel.shot("error")
    panel.enter("prior", "k=7")
    until(lambda: "MixtureOfGaussians(10, k=7)" in panel.text("equations"), "the part")
    until(lambda: panel.page.get_by_role("alert").count() == 0, "no alert")
    # what the data cannot train
    panel.choose("objective", "SemiSupervised")
    until(lambda: "ValueError: VAE has no labels" in panel.text("message"), "the refusal")
    until(lambda: panel.menu("objective").input_value() == "ELBO", "the objective as it was")
    # one that comes up in training
    broken = "[p.data.fill_(float('nan')) for p in panel.session.model.likelihood.parameters()]"
    panel.ask(f"len({broken})")
    panel.button("Train").click()
    until(lambda: "NonFinite" in panel.text("message"), "an error of training")
    until(lambda: panel.button("Train").count() == 1, "training that has ended")
    panel.button("Undo swap").click()
    until(lambda: "k=500" in panel.text("equations"), "the part, and the weights, of before")
    train(panel)
    then = panel.step()
    until(lambda: panel.step() > then + 5, "training that goes on", 60)
    rest(panel)


def test_a_click_and_a_slider_decode(panel: PanelPage) -> None:
    rest(panel)
    until(lambda: sum(panel.pixels("the decoded")) > 0, "a picture")
    before, plane = panel.pixels("the decoded"), panel.page.locator(".vaezoo-latent")
    box = plane.bounding_box()
    panel.page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 0.25 * box["height"])
    until(lambda: panel.pixels("the decoded") != before, "another picture")
    extent = panel.ask("panel.looking.plane.state['extent']")
    at = panel.ask(
        "panel.session.viewer.codes.plane.shown(panel.session.viewer.z[None])[0].tolist()"
    )
    assert at == pytest.approx([extent / 2, extent / 2], abs=0.02 * extent)
    shown = panel.ask("panel.looking.decoded.state['levels']")
    until(lambda: panel.pixels("the decoded") == shown, "the decoded code")
    # keys move the cross too
    plane.focus()
    panel.page.keyboard.press("Shift+ArrowLeft")
    until(lambda: panel.pixels("the decoded") != shown, "another picture")
    # the slider moves one unit, and the cross with it
    unit, code = panel.ask("panel.looking.unit.value"), panel.ask("panel.session.viewer.z.tolist()")
    moved = plane.locator(".vaezoo-cross").get_attribute("transform")
    slider = panel.page.locator(".vaezoo-panel [role=slider]").first
    slider.focus()
    for _ in range(4):
        slider.press("ArrowRight")
    until(lambda: panel.ask("panel.session.viewer.z.tolist()") != code, "another code")
    until(lambda: plane.locator(".vaezoo-cross").get_attribute("transform") != moved, "the cross")
    now = panel.ask("panel.session.viewer.z.tolist()")
    assert [i for i, (a, b) in enumerate(zip(code, now, strict=True)) if a != b] == [unit]
    panel.shot("decoded")


def seven(panel: PanelPage) -> None:
    """Draw a seven with the mouse."""
    box = panel.page.locator(".vaezoo-pad").bounding_box()
    points = [(0.3, 0.25), (0.7, 0.25), (0.6, 0.45), (0.5, 0.65), (0.42, 0.85)]
    for i, (x, y) in enumerate(points):
        panel.page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4)
        if not i:
            panel.page.mouse.down()
    panel.page.mouse.up()


def test_a_drawn_digit_is_encoded_classified_and_reconstructed(panel: PanelPage) -> None:
    rest(panel)
    panel.button("Clear").click()
    until(lambda: not any(panel.pixels("the drawing")), "an empty picture")
    seven(panel)
    until(lambda: any(panel.pixels("the drawing")), "its reconstruction")
    image = "panel.drawing.image.flatten().tolist()"
    until(
        lambda: [bool(p) for p in panel.pixels("pad")] == [bool(i) for i in panel.ask(image)],
        "the whole drawing in the kernel",
    )
    ink = panel.ask(image)
    assert 20 < sum(map(bool, ink)) < 300
    reading = panel.page.locator(".vaezoo-note", has_text="nearest codes")
    until(lambda: "%" in reading.inner_text(), "what it is read as")
    panel.shot("drawn")
    # and by keys: right, down and drawn along
    panel.button("Clear").click()
    until(lambda: not any(panel.pixels("pad")), "an empty pad")
    panel.page.locator(".vaezoo-pad").focus()
    for key in (" ", *["ArrowRight"] * 6, *["ArrowDown"] * 6, " ", "ArrowLeft"):
        panel.page.keyboard.press(key)
    until(lambda: sum(map(bool, panel.pixels("pad"))) > 20, "a drawing")
    until(lambda: panel.ask("panel.drawing.image is not None"), "it")
    panel.page.keyboard.press("Delete")
    until(lambda: not any(panel.pixels("pad")), "an empty pad")
    panel.button("Example").click()
    until(lambda: any(panel.pixels("pad")), "an image of the data")


def test_code_rebuilds_the_model_and_before_is_compared_with_after(panel: PanelPage) -> None:
    rest(panel)
    panel.choose("prior", "StandardNormal")
    until(lambda: "StandardNormal" in panel.text("equations"), "it")
    panel.choose("prior", "MixtureOfGaussians")
    until(lambda: "MixtureOfGaussians(10, k=500)" in panel.text("equations"), "it")
    panel.button("Code").click()
    code = until(lambda: panel.page.locator(".vaezoo-panel textarea").input_value(), "code")
    names: dict[str, Any] = {}
    exec(code, names)
    assert repr(names["model"]) == panel.ask("repr(panel.model)")
    train(panel)
    then = panel.step()
    until(lambda: panel.step() > then + 30, "more steps", 60)
    panel.button("Before / after").click()
    until(lambda: "on 200 images" in panel.text("message"), "the comparison", 90)
    assert "paired (below 0 is better)" in panel.text("message")
    panel.shot("compared")
    panel.button("Code").click()
    rest(panel)


def test_keys_are_enough(panel: PanelPage) -> None:
    """Tab reaches everything in the order in which it is read, and no key goes to the notebook."""
    rest(panel)
    panel.choose("prior", "MixtureOfGaussians")
    until(lambda: panel.button("Undo swap").is_enabled(), "a swap")
    panel.button("Train").focus()
    name = """() => { const it = document.activeElement; return [it.tagName, it.getAttribute('role') ||
        it.innerText || it.closest('.widget-inline-hbox')?.innerText.split('\\n')[0] || ''].join(' ')}"""
    order = []
    for _ in range(30):
        order.append(panel.page.evaluate(name))
        panel.page.keyboard.press("Tab")
    kinds = [o.split()[0] for o in order]
    assert [o for o in order if o.startswith("BUTTON")][:6] == [
        *("BUTTON Train", "BUTTON Undo swap", "BUTTON Before / after", "BUTTON Code"),
        *("BUTTON Clear", "BUTTON Example"),
    ]
    assert kinds.count("SELECT") >= 6
    assert {"svg application", "CANVAS application"} <= set(order)
    assert any("slider" in o for o in order)
    panel.button("Undo swap").focus()
    assert panel.page.evaluate("document.activeElement.innerText") == "Undo swap"
    cells = panel.page.locator(".jp-Cell").count()
    for key in "ddabx":
        panel.page.keyboard.press(key)
    panel.page.wait_for_timeout(300)
    assert panel.page.locator(".jp-Cell").count() == cells
    panel.button("Train").focus()
    panel.page.keyboard.press("Enter")
    until(lambda: panel.ask("panel.session.running"), "training")
    panel.page.keyboard.press("Space")
    until(lambda: not panel.ask("panel.session.running"), "a pause")
    panel.page.locator(".vaezoo-place select").nth(1).focus()
    panel.page.keyboard.press("ArrowDown")
    until(
        lambda: panel.ask("type(panel.model.prior).__name__") == "StandardNormal", "the next prior"
    )


def test_a_kernel_that_starts_again_shows_it_again(panel: PanelPage) -> None:
    panel.page.get_by_role("button", name="Restart the kernel").first.click()
    panel.page.locator(".jp-Dialog .jp-mod-accept").click()
    panel.run_cell()
    until(lambda: panel.ask("panel.session.stepper.step") == 0, "a new panel")
    until(lambda: panel.page.locator(".vaezoo-panel").count() == 1, "one panel")
    train(panel)
    until(lambda: panel.step() > 10, "training", 60)
    rest(panel)
