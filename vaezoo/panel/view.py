"""The widgets of a panel that ipywidgets does not have, drawn by `view.js`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anywidget
import traitlets

__all__ = ["View"]

FOLDER = Path(__file__).parent


class View(anywidget.AnyWidget):
    """A picture, a pad, a plane of codes or curves, by `kind`.

    Args:
        kind: "picture", "pad", "latent" or "curves".
        label: what it is called to those who do not see it.
        state: what it shows; numbers come as lists, as bytes do not arrive everywhere.
        cross: in a plane, the point that is decoded.

    Example:
        >>> from vaezoo.panel.images import levels
        >>> import torch
        >>> View(kind="picture", state=levels(torch.ones(1, 2, 2))).state["levels"]
        [255, 255, 255, 255]
    """

    # texts: of a path anywidget keeps a watcher, and that keeps every view there was
    _esm = (FOLDER / "view.js").read_text(encoding="utf-8")
    _css = (FOLDER / "view.css").read_text(encoding="utf-8")
    kind = traitlets.Unicode().tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)
    cross = traitlets.List(default_value=[0.0, 0.0]).tag(sync=True)

    def on_drawn(self, function: Callable[[list[int]], object]) -> None:
        """Call a function with the cells of a pad, row by row, on the thread that brings them."""
        self.on_msg(lambda _, content, __: function(content["cells"]))
