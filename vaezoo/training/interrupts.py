"""The stop button (Ctrl-C, SIGINT), on which training acts between two steps."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, TypeVar

__all__ = ["StopButton", "stop_button"]

T = TypeVar("T")


class StopButton:
    """A button that was pressed or not.

    Attributes:
        pressed: whether a stop was asked for.
        keeps: whether an item that is made while the button is pressed is yielded too, so that
            none is lost to whoever goes on behind them.
        lost: whether one was, as it could not be made.
        patience: seconds in which a second press is the same one: `torchrun` hands on a Ctrl-C that
            the terminal has sent to all processes already.
    """

    def __init__(self) -> None:
        self.pressed = self.keeps = self.lost = False
        self.patience = 0.0

    def until(self, items: Iterable[T]) -> Iterator[T]:
        """The items until the button is pressed, the first one in any case.

        The signal reaches a loader's processes too: an error of theirs once the button is pressed
        is the end of the items.

        Example:
            >>> button = StopButton()
            >>> for i in button.until(range(9)):
            ...     button.pressed = i == 2
            >>> i
            2
        """
        left, first = iter(items), True
        while first or not self.pressed:
            try:
                item = next(left)
            except StopIteration:
                return
            except RuntimeError:
                if self.pressed:
                    self.lost = True
                    return
                raise
            if first or self.keeps or not self.pressed:
                yield item
            first = False


@contextlib.contextmanager
def stop_button(*signals: signal.Signals) -> Iterator[StopButton]:
    """Within it a first SIGINT presses the button; a second one interrupts as it would without.

    This holds in the main thread, which is the one that signals reach, and in place of the usual
    handlers, and those of event loops, in which nothing runs meanwhile: a handler of yours is left
    alone.

    Args:
        signals: others that press it too, such as SIGTERM.

    Example:
        >>> with stop_button() as button:
        ...     signal.raise_signal(signal.SIGINT)
        >>> button.pressed
        True
    """
    button = StopButton()
    last = -math.inf

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if button.pressed and last - before >= button.patience:
            interrupts = signal.default_int_handler if number == signal.SIGINT else usual[number]
            signal.signal(number, interrupts)
            signal.raise_signal(number)
        button.pressed = True

    usual: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        found = {number: signal.getsignal(number) for number in (signal.SIGINT, *signals)}
        usual = {number: handler for number, handler in found.items() if _is_usual(number, handler)}
    for number in usual:
        signal.signal(number, press)
    try:
        yield button
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def _is_usual(number: int, handler: Any) -> bool:
    """Whether a signal has Python's handler, or a loop's: of asyncio, or of a notebook's cell."""
    if handler is (signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL):
        return True
    module = getattr(getattr(handler, "func", handler), "__module__", None) or ""
    return module.partition(".")[0] in ("asyncio", "ipykernel", "uvloop")
