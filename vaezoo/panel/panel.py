"""The panel: its parts side by side, each redrawn when what it shows has changed."""

from __future__ import annotations

from collections.abc import Iterator

import ipywidgets

from vaezoo.models import LatentVariableModel
from vaezoo.panel.drawing import Drawing
from vaezoo.panel.inbox import Inbox
from vaezoo.panel.looking import Looking
from vaezoo.panel.session import Session
from vaezoo.panel.swapping import Swapping
from vaezoo.panel.toolbar import Toolbar

__all__ = ["Panel"]


class Panel(ipywidgets.VBox):
    """A session to look at and to touch; show it as the last line of a cell.

    Args:
        session: what it shows and does.

    Attributes:
        session: as given.
        toolbar, swapping, looking, drawing: its parts, whose widgets are attributes of theirs.
    """

    def __init__(self, session: Session) -> None:
        self.session, self.inbox = session, Inbox(session.fail)
        self.toolbar = Toolbar(session, self.inbox)
        with self.inbox.showing():
            self.swapping = Swapping(session, self.inbox)
        self.looking = Looking(session, self.inbox)
        self.drawing = Drawing(session, self.inbox, self.looking)
        right = ipywidgets.VBox([self.looking.beside, self.drawing.box])
        views = ipywidgets.Box([self.looking.box, right])
        views.add_class("vaezoo-wrap")
        bar = self.toolbar
        above = (bar.buttons, bar.message, bar.equations, self.swapping.box)
        rows = (*above, views, bar.curves, bar.code)
        super().__init__(rows, layout={"overflow": "visible"})
        self.add_class("vaezoo-panel")
        session.changed = self._changed

    @property
    def model(self) -> LatentVariableModel:
        """The present model."""
        return self.session.model

    def close(self) -> None:
        """Rest, let go of the data, and take the panel away."""
        self.session.changed = lambda what: None
        try:
            self.session.pause()
        finally:
            self.session.stepper.close()
            for widget in _inside(self):
                widget.close()
            super().close()

    def _changed(self, what: str) -> None:
        with self.inbox.showing():
            self._show(what)

    def _show(self, what: str) -> None:
        if what == "step":
            self.toolbar.tell()
        elif what == "message":
            self.toolbar.say()
        elif what == "codes":
            self.looking.redraw()
            self.drawing.redraw()
        else:
            self.toolbar.renew()
            self.swapping.renew()
            self.looking.renew()
            self.drawing.redraw()


def _inside(widget: ipywidgets.Widget) -> Iterator[ipywidgets.Widget]:
    """All widgets in a box, which ipywidgets would keep for ever."""
    for child in getattr(widget, "children", ()):
        yield from _inside(child)
        yield child
