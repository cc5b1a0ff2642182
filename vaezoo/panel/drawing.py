"""A pad to draw on: the drawing is encoded, classified and reconstructed."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets
import torch
from torch import Tensor

from vaezoo.panel.images import levels
from vaezoo.panel.inbox import Inbox
from vaezoo.panel.latents import NEAREST
from vaezoo.panel.looking import Looking, column
from vaezoo.panel.session import Session
from vaezoo.panel.view import View

__all__ = ["Drawing"]

CLASSES = 3  # that are named


class Drawing:
    """A pad, and what the model makes of the drawing; the cross of the latent space moves there.

    Attributes:
        box: the widget; empty for data that are no pictures.
        pad, again: views of the drawing and of its reconstruction.
        reading: what class it is.
    """

    def __init__(self, session: Session, inbox: Inbox, looking: Looking) -> None:
        self.session, self.inbox, self.looking = session, inbox, looking
        self.image: Tensor | None = None
        self._next = 0
        self.pad = View(kind="pad", state=levels(self._blank().mean(0, keepdim=True)))
        self.again = View(kind="picture", label="the drawing, reconstructed")
        self.reading = ipywidgets.HTML(layout={"width": "168px"})
        self.clear = self._button("Clear", self._clear)
        self.another = self._button("Example", self._another)
        self.pad.on_drawn(lambda c: inbox.post(lambda: self._draw(c), instead_of="pad"))
        self._clear()
        buttons = ipywidgets.HBox([self.clear, self.another], layout={"width": "172px"})
        left = column("draw here", self.pad, buttons)
        right = column("encoded and decoded", self.again, self.reading)
        drawn = [left, right] if len(session.model.x_shape) == 3 else []
        self.box = ipywidgets.HBox(drawn, layout={"overflow": "visible", "grid_gap": "16px"})

    def redraw(self) -> None:
        """Read the drawing by the weights of now."""
        if self.image is not None:
            reading = self.session.viewer.recognise(self.image)
            self.again.state = levels(reading.again)
            self.reading.value = f'<div class="vaezoo-note">{self._words(reading.classes)}</div>'

    def _blank(self) -> Tensor:
        shape = self.session.model.x_shape
        return torch.zeros(shape if len(shape) == 3 else (1, 1, 1))

    def _button(self, name: str, action: Callable[[], object]) -> ipywidgets.Button:
        button = ipywidgets.Button(description=name, layout={"width": "82px"})
        button.on_click(lambda _: self.inbox.post(action))
        return button

    def _draw(self, cells: list[int]) -> None:
        """Take in what is on the pad: black and white, which every likelihood of pixels takes."""
        channels, height, width = self._blank().shape
        grey = torch.tensor(cells).reshape(1, height, width) / 255
        self._take(grey.expand(channels, -1, -1))

    def _take(self, image: Tensor) -> None:
        self.image = image
        self.session.viewer.z = self.session.viewer.recognise(image).z
        self.redraw()
        self.looking.decode()

    def _clear(self) -> None:
        self.image = None
        self.pad.state = {}
        self.pad.state = levels(self._blank()[:1])
        self.again.state = levels(self._blank()[:1])
        self.reading.value = (
            '<div class="vaezoo-note">draw with the mouse, or by arrows and space</div>'
        )

    def _another(self) -> None:
        """Put an image of the data on the pad."""
        viewer = self.session.viewer
        image = viewer.x[self._next % len(viewer.x)].cpu()
        self._next += 1
        self.pad.state = levels(image.mean(0, keepdim=True))
        self._take(image)

    def _words(self, classes: Tensor | None) -> str:
        if classes is None:
            return "no labels to go by"
        top = classes.topk(min(CLASSES, len(classes)))
        shares = zip(top.indices.tolist(), top.values.tolist(), strict=True)
        named = ", ".join(f"<b>{i}</b>: {share:.0%}" for i, share in shares)
        by = "q(y|x)" if hasattr(self.session.model, "classify") else f"the {NEAREST} nearest codes"
        return f"{named}<br>by {by}"
