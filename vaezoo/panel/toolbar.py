"""The buttons of a panel, what it says of training, and the messages below."""

from __future__ import annotations

import html
import textwrap
import time
from typing import Any

import ipywidgets

from vaezoo.panel.inbox import Action, Inbox
from vaezoo.panel.session import Session
from vaezoo.panel.view import View

__all__ = ["Toolbar"]

POINTS = 200  # of a curve
OFTEN = 0.25  # seconds between two numbers shown
SHOWN = ("bound", "rec", "kl")


class Toolbar:
    """Train and pause, undo, compare, show the code; and what came of it.

    Args:
        session: what is done.
        inbox: where it is asked for.

    Attributes:
        buttons, equations, message, code, curves: widgets.
    """

    def __init__(self, session: Session, inbox: Inbox) -> None:
        self.session, self.inbox, self._told = session, inbox, 0.0
        self.train = self._button("Train", "play", self._train)
        self.undo = self._button("Undo swap", "undo", session.undo)
        self.compare = self._button("Before / after", "balance-scale", self._compare)
        self.show_code = self._button("Code", "code", self._code)
        self.status = ipywidgets.HTML(layout={"flex": "1 1 220px", "min_width": "0"})
        buttons = (self.train, self.undo, self.compare, self.show_code, self.status)
        self.buttons = ipywidgets.Box(buttons)
        self.buttons.add_class("vaezoo-wrap")
        self.equations, self.message = ipywidgets.HTML(), ipywidgets.HTML()
        self.code = ipywidgets.Textarea(layout={"display": "none", "width": "auto"})
        self.curves = View(kind="curves", state=self._curves())
        self.renew()

    def renew(self) -> None:
        """Show another model."""
        lines = "<br>".join(html.escape(line) for line in self.session.model.equations())
        self.equations.value = f'<div class="vaezoo-equations">{lines}</div>'
        last = self.session.swaps[-1:]
        self.undo.disabled = self.compare.disabled = not last
        self.undo.tooltip = f"Undo {last[0].what}" if last else "No swap to undo"
        if self.code.layout.display != "none":
            self._write()
        self.tell(now=True)

    def tell(self, *, now: bool = False) -> None:
        """Show how training goes, not oftener than one can read unless it is to be `now`."""
        running = self.session.running
        now = now or running != (self.train.description == "Pause")
        if not now and time.perf_counter() - self._told < OFTEN:
            return
        self._told = time.perf_counter()
        self.train.description = "Pause" if running else "Train"
        self.train.icon = "pause" if running else "play"
        stepper = self.session.stepper
        numbers = [f"step <b>{stepper.step:,}</b>"]
        if stepper.records:
            last = stepper.records[-1]
            numbers += [f"{n} <b>{last[n]:.2f}</b>".replace("-", "−") for n in SHOWN if n in last]
            numbers[-1] += " nats"
        self.status.value = f'<div class="vaezoo-note">{" · ".join(numbers)}</div>'
        self.curves.state = self._curves()

    def say(self) -> None:
        """Show the last message."""
        failed = " vaezoo-failed" if self.session.failed else ""
        text = html.escape(self.session.message)
        role = "alert" if failed else "status"
        self.message.value = f'<div class="vaezoo-message{failed}" role="{role}">{text}</div>'

    def _button(self, name: str, icon: str, action: Action) -> ipywidgets.Button:
        button = ipywidgets.Button(description=name, icon=icon, layout={"width": "auto"})
        button.on_click(lambda _: self.inbox.post(action))
        return button

    def _train(self) -> None:
        if self.session.running:
            self.session.pause()
        else:
            self.inbox.start(self.session.train())

    def _compare(self) -> None:
        if self.compare.disabled:  # by a press before
            return
        self.session.say("comparing …")
        self.compare.disabled = True
        self.inbox.start(self._compared())

    async def _compared(self) -> None:
        try:
            await self.session.compare()
        finally:
            self.compare.disabled = not self.session.swaps

    def _code(self) -> None:
        hidden = self.code.layout.display == "none"
        self.code.layout.display = "" if hidden else "none"
        self._write()

    def _write(self) -> None:
        try:
            self.code.value = self.session.source()
        except ValueError as error:  # not all that can be trained can be written
            self.code.value = "\n".join(textwrap.wrap(f"# {error}", 88, subsequent_indent="# "))
        self.code.rows = len(self.code.value.splitlines()) + 1

    def _curves(self) -> dict[str, Any]:
        stepper = self.session.stepper
        records = stepper.records[:: max(1, len(stepper.records) // POINTS)]
        names = [name for name in SHOWN if any(name in r for r in records)] or list(SHOWN)
        nothing = float("nan")
        return {
            "step": [r["step"] for r in records],
            "lines": [[n, [round(r.get(n, nothing), 2) for r in records]] for n in names],
            "marks": [list(mark) for mark in stepper.marks],
        }
