"""Which panels train: two that train one model would leave it in one another's mode."""

from __future__ import annotations

import weakref
from typing import Any, Protocol

__all__ = ["Turns"]

_training: weakref.WeakSet[Any] = weakref.WeakSet()


class Panel(Protocol):
    """What trains a model, and can be paused."""

    @property
    def model(self) -> Any:
        """The one that it trains now."""

    def pause(self) -> None:
        """Rest."""


class Turns:
    """Whether a panel trains, and which of its loops.

    Args:
        panel: the one whose turns they are.

    Example:
        >>> class Endless:
        ...     model = "the same"
        ...     def __init__(self): self.turns = Turns(self)
        ...     def pause(self): self.turns.end()
        >>> a, b = Endless(), Endless()
        >>> first, second = a.turns.begin(), b.turns.begin()
        >>> a.turns.has(first), b.turns.has(second)
        (False, True)
    """

    def __init__(self, panel: Panel) -> None:
        self._panel: Any = weakref.proxy(panel)
        self._present: object = None

    def __bool__(self) -> bool:
        return self._present is not None

    def begin(self) -> object:
        """A turn, which ends that of another panel with the same model."""
        self.alone()
        self._present = object()
        _training.add(self)
        return self._present

    def has(self, turn: object) -> bool:
        """Whether it goes on: it may have ended, and another may have begun."""
        return self._present is turn

    def end(self) -> None:
        """End the present turn."""
        self._present = None
        _training.discard(self)

    def alone(self) -> None:
        """Pause other panels that train the same model, which a swap may have made theirs too."""
        for other in list(_training):
            if other is not self and other._panel.model is self._panel.model:
                other._panel.pause()
