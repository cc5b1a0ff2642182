"""What the browser asks for, done on the kernel's own loop.

JupyterLab hands messages of widgets to other threads (subshells), so that they arrive while the
kernel is busy. Nothing may be done to a model there: what is asked for waits until the loop that
trains it rests.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

__all__ = ["Action", "Inbox"]

Action = Callable[[], object]


class Inbox:
    """Actions to be done by the loop that runs when this is made; at once, where none runs.

    Args:
        fail: called with the error of an action that went wrong.

    Example:
        >>> done = []
        >>> async def kernel():
        ...     inbox = Inbox(print)
        ...     for i in range(3):
        ...         inbox.post(lambda i=i: done.append(f"button {i}"))
        ...         inbox.post(lambda i=i: done.append(i), instead_of="slider")
        ...     inbox.post(lambda: 1 / 0)
        ...     await asyncio.sleep(0)
        >>> asyncio.run(kernel())
        division by zero
        >>> done
        ['button 0', 'button 1', 'button 2', 2]
    """

    def __init__(self, fail: Callable[[Exception], object]) -> None:
        self.fail = fail
        self._waiting: dict[object, Action] = {}
        self._lock, self._here = threading.Lock(), threading.local()
        self._tasks: set[asyncio.Task[Any]] = set()
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None

    def post(self, action: Action, *, instead_of: str | None = None) -> None:
        """Have an action done after those that wait, each press of a button as well.

        Nothing is asked for while this thread is `showing`: no hand did it.

        Args:
            action: what to do.
            instead_of: a name; an earlier action of this name that still waits is left out, as
                for a slider, whose last place is the one that counts.
        """
        if getattr(self._here, "showing", False):
            return
        with self._lock:
            first = not self._waiting
            name = object() if instead_of is None else instead_of
            self._waiting.pop(name, None)
            self._waiting[name] = action
        if self._loop is None:
            self._empty()
        elif first:
            self._loop.call_soon_threadsafe(self._empty)

    def waits(self, what: str) -> bool:
        """Whether an action of this name is still to be done."""
        with self._lock:
            return what in self._waiting

    @contextlib.contextmanager
    def showing(self) -> Iterator[None]:
        """Within it widgets are written, as they are within an action.

        Example:
            >>> inbox = Inbox(print)
            >>> with inbox.showing():
            ...     inbox.post(lambda: print("moved"))
            >>> inbox.post(lambda: print("moved by hand"))
            moved by hand
        """
        before = getattr(self._here, "showing", False)
        self._here.showing = True
        try:
            yield
        finally:
            self._here.showing = before

    def start(self, work: Coroutine[Any, Any, object]) -> None:
        """Begin something that goes on in pieces; to be called within an action.

        Raises:
            RuntimeError: no loop runs.
        """
        if self._loop is None:
            work.close()
            raise RuntimeError(
                "this needs a running event loop, as a notebook's kernel has: call vaezoo.explore "
                "in a cell, or `await panel.session.train()` in a coroutine of yours"
            )
        task = self._loop.create_task(self._watched(work))
        self._tasks.add(task)  # a loop keeps no hold of its tasks
        task.add_done_callback(self._tasks.discard)

    async def _watched(self, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except Exception as error:
            self.fail(error)

    def _empty(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for action in waiting.values():
            try:
                with self.showing():
                    action()
            except Exception as error:
                self.fail(error)
