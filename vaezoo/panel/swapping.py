"""The menus of a panel: a line for each place, with its choices and their options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets

from vaezoo.panel.inbox import Inbox
from vaezoo.panel.session import Session

__all__ = ["Swapping"]


class Swapping:
    """Menus for the member, each of its parts, and the objective.

    What is chosen is swapped in at once, with the options that the choice begins with; others are
    written behind it and entered.

    Attributes:
        box: the widget.
        menus, options: the drop-down and the text of each place.
    """

    def __init__(self, session: Session, inbox: Inbox) -> None:
        self.session, self.inbox = session, inbox
        self.menus: dict[str, ipywidgets.Dropdown] = {}
        self.options: dict[str, ipywidgets.Text] = {}
        self.box = ipywidgets.VBox(layout={"overflow": "visible"})
        self.renew()

    def renew(self) -> None:
        """Show what there is to choose now, and what stands in each place."""
        found = self.session.menus()
        for place, (menu, name, options) in found.items():
            if place not in self.menus:
                self._add(place)
            drop = self.menus[place]
            if drop.options != tuple(menu):
                drop.options = tuple(menu)
            drop.value, self.options[place].value = name or None, options
        rows = [self._row(place) for place in found]
        if [r.children for r in rows] != [r.children for r in self.box.children]:
            self.box.children = rows

    def _add(self, place: str) -> None:
        name = place.replace("_", " ")
        drop = ipywidgets.Dropdown(
            description=name,
            layout={"flex": "0 1 300px", "min_width": "200px"},
            style={"description_width": "110px"},
        )
        text = ipywidgets.Text(
            placeholder="no options",
            continuous_update=False,
            tooltip=f"options of the {name}, as in a call; Enter puts them in",
            layout={"flex": "1 1 200px", "min_width": "160px", "width": "auto"},
        )
        drop.observe(lambda change: self._ask(place, change["new"], None), "value")
        text.observe(lambda change: self._ask(place, drop.value, change["new"]), "value")
        self.menus[place], self.options[place] = drop, text

    def _row(self, place: str) -> ipywidgets.Box:
        row = ipywidgets.Box([self.menus[place], self.options[place]])
        row.add_class("vaezoo-wrap")
        row.add_class("vaezoo-place")
        return row

    def _ask(self, place: str, name: str | None, options: str | None) -> None:
        self.inbox.post(self._swap(place, name, options))

    def _swap(self, place: str, name: str | None, options: str | None) -> Callable[[], Any]:
        def swap() -> None:
            menus = self.session.menus()
            _, present, written = menus.get(place, ({}, name, options))
            if name is None or (name == present and options in (None, written)):
                return  # it is what this panel has just shown
            try:
                self.session.swap(place, name, options)
            except Exception:
                if options is None:  # what was chosen is not there; what was written can be mended
                    self.menus[place].value = present or None
                raise

        return swap
