"""Codes in a plane to point at, one code decoded, and a slider to traverse a unit of it."""

from __future__ import annotations

import math
from typing import Any

import ipywidgets
from torch import Tensor

from vaezoo.panel.images import levels
from vaezoo.panel.inbox import Inbox
from vaezoo.panel.session import Session
from vaezoo.panel.view import View

__all__ = ["Looking", "column"]

FARTHEST = 4.0  # that a slider goes
WIDTH = {"width": "190px"}
SHORT = {"description_width": "38px"}


class Looking:
    """A latent space, and what a point of it decodes to.

    Attributes:
        box, beside: the widgets: the plane, and the code decoded with what moves it.
        plane, decoded: views of the codes and of the decoded one.
        unit, value, label: which unit the slider moves, how far, and the class that is drawn.
    """

    def __init__(self, session: Session, inbox: Inbox) -> None:
        self.session, self.inbox = session, inbox
        self.plane, self.caption = View(kind="latent"), ipywidgets.HTML()
        self.decoded = View(kind="picture", label="the decoded code")
        self.unit = ipywidgets.Dropdown(description="unit", layout=WIDTH, style=SHORT)
        self.label = ipywidgets.Dropdown(description="class", layout=WIDTH, style=SHORT)
        self.value = ipywidgets.FloatSlider(
            min=-FARTHEST, max=FARTHEST, step=0.05, layout=WIDTH, tooltip="value of this unit"
        )
        self.renew()
        self._listen()
        self.box = column("latent space", self.plane, self.caption, width="min(400px, 100%)")
        controls = ipywidgets.VBox([self.unit, self.value, self.label])
        beside = ipywidgets.HBox([self.decoded, controls], layout={"overflow": "visible"})
        self.beside = column("decoded", beside)

    def renew(self) -> None:
        """Show another model."""
        model, viewer = self.session.model, self.session.viewer
        if len(self.unit.options) != len(viewer.z):
            self.unit.options = [(f"{i + 1}", i) for i in range(len(viewer.z))]
            self.unit.value = int(viewer.codes.z.var(0, correction=0).argmax())
        self.label.layout.display = "" if model.classes else "none"
        if len(self.label.options) != model.classes:
            viewer.label = 0
            self.label.options = range(model.classes)
            self.label.value = 0 if model.classes else None
        self.redraw()

    def redraw(self) -> None:
        """Show the codes, and what the present one decodes to, by the weights of now."""
        viewer = self.session.viewer
        self.plane.state = self._codes()
        self.caption.value = (
            f'<div class="vaezoo-note">{viewer.codes.plane.name}<br>numbers: images, by class; '
            "dots: draws of the prior; cross: the code decoded</div>"
        )
        self.decode()

    def decode(self) -> None:
        """Decode the present code, and move cross and slider there."""
        self.decoded.state = levels(self.session.viewer.decoded())
        self._follow()

    def _follow(self) -> None:
        viewer = self.session.viewer
        self._at = _numbers(viewer.codes.plane.shown(viewer.z[None]))
        if not self.inbox.waits("cross"):  # or a hand that moves it would see it jump back
            self.plane.cross = self._at
        self._move_slider()

    def _move_slider(self) -> None:
        value = float(self.session.viewer.z[self.unit.value])
        if not self.inbox.waits(f"unit {self.unit.value}"):
            self.value.value = min(FARTHEST, max(-FARTHEST, value))

    def _codes(self) -> dict[str, Any]:
        viewer = self.session.viewer
        plane, y = viewer.codes.plane, viewer.y
        codes, prior = plane.shown(viewer.codes.z), plane.shown(viewer.codes.prior)
        # a few draws of a prior may be anywhere
        drawn = prior.abs().nan_to_num(0, 0, 0).quantile(0.99).item()
        farthest = max(codes.abs().nan_to_num(0, 0, 0).max().item(), drawn)
        return {
            "codes": _numbers(codes),
            "labels": [-1] * len(codes) if y is None else y.tolist(),
            "prior": _numbers(prior),
            "extent": max(1, math.ceil(1.05 * farthest)),
        }

    def _listen(self) -> None:
        for widget, name, what, action in (
            (self.plane, "cross", "cross", self._point),
            (self.unit, "value", "unit", lambda _: self._move_slider()),
            (self.label, "value", "class", self._draw_class),
        ):

            def ask(change: Any, action: Any = action, what: str = what) -> None:
                self.inbox.post(lambda: action(change["new"]), instead_of=what)

            widget.observe(ask, name)
        self.value.observe(lambda change: self._ask(self.unit.value, change["new"]), "value")

    def _ask(self, unit: int, value: float) -> None:
        """Ask for a move of the unit that is chosen now: another may be when it is done."""
        self.inbox.post(lambda: self._traverse(unit, value), instead_of=f"unit {unit}")

    def _point(self, cross: list[float]) -> None:
        if cross != self._at:  # else it is what was just shown
            self._at = cross
            self.decoded.state = levels(self.session.viewer.at(*cross))
            self._move_slider()

    def _traverse(self, unit: int, value: float) -> None:
        if unit < len(self.session.viewer.z):  # which another model may have fewer of
            self.decoded.state = levels(self.session.viewer.traverse(unit, value))
            self._follow()

    def _draw_class(self, label: int | None) -> None:
        if label is not None and label != self.session.viewer.label:
            self.session.viewer.label = label
            self.session.changed("codes")


def column(title: str, *widgets: ipywidgets.Widget, width: str = "auto") -> ipywidgets.VBox:
    """Widgets below each other, under a title."""
    head = ipywidgets.HTML(f'<div class="vaezoo-note"><b>{title}</b></div>')
    return ipywidgets.VBox([head, *widgets], layout={"width": width, "overflow": "visible"})


def _numbers(points: Tensor) -> list[float]:
    """Points (n, 2) as numbers, one after the other, few digits each."""
    return [round(v, 3) for v in points.flatten().tolist()]
