"""The stop button (Ctrl-C, SIGINT), on which training acts between two steps."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TypeVar

__all__ = ["StopButton", "stop_button"]

T = TypeVar("T")


class StopButton:
    """A button that was pressed or not.

    Attributes:
        pressed: whether a stop was asked for.
        patience: seconds in which a second press is the same one: `torchrun` hands on a Ctrl-C that
            the terminal has sent to all processes already.
    """

    def __init__(self) -> None:
        self.pressed, self.patience = False, 0.0

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
                    return
                raise
            if first or not self.pressed:
                yield item
            first = False


@contextlib.contextmanager
def stop_button() -> Iterator[StopButton]:
    """Within it a first SIGINT presses the button; a second one interrupts as it would without.

    This holds in the main thread, which is the one that signals reach, and in place of Python's
    own handler: a handler of yours is left alone.

    Example:
        >>> with stop_button() as button:
        ...     signal.raise_signal(signal.SIGINT)
        >>> button.pressed
        True
    """
    button = StopButton()
    here = threading.current_thread() is threading.main_thread()
    usual = signal.default_int_handler
    if not here or signal.getsignal(signal.SIGINT) is not usual:
        yield button
        return

    last = -math.inf

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if button.pressed and last - before >= button.patience:
            signal.signal(signal.SIGINT, usual)
            usual(number, frame)
        button.pressed = True

    signal.signal(signal.SIGINT, press)
    try:
        yield button
    finally:
        signal.signal(signal.SIGINT, usual)
