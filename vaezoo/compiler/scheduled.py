"""Schedules whose values a step reads: inputs of its graph, read anew at each step."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from numbers import Real
from typing import Any

from torch import Tensor

from vaezoo.objectives.schedules import Schedule

__all__ = ["Scheduled"]


class Scheduled:
    """Schedules that a program may read, wherever it holds them.

    Args:
        schedules: all that are found; one whose value is no number is left to those that watch
            what it is made of.

    Attributes:
        read: those whose value was read, within `given`.

    Example:
        >>> from vaezoo.objectives import WarmUp
        >>> one, another = WarmUp(4), WarmUp(4)
        >>> scheduled = Scheduled([one, another])
        >>> with scheduled.given([0.5, 0.25]):
        ...     print(one.value)
        0.5
        >>> one.value, scheduled.read == [one]
        (0.0, True)
    """

    def __init__(self, schedules: Iterable[Schedule]) -> None:
        self._known = {id(s): s for s in schedules}
        self._numbers = [s for s in self._known.values() if _is_number(s)]
        self._read: set[int] = set()

    @property
    def read(self) -> list[Schedule]:
        """Those whose value was read."""
        return [s for s in self._numbers if id(s) in self._read]

    def were_read(self) -> list[bool]:
        """Whether each was, in the order of `values`."""
        return [id(s) in self._read for s in self._numbers]

    def values(self) -> list[Any]:
        """What they are now."""
        return [s.value for s in self._numbers]

    @contextlib.contextmanager
    def given(self, values: Sequence[Any]) -> Iterator[None]:
        """Within it they have these values, and one that was not found is refused."""
        fixed = dict(zip(map(id, self._numbers), values, strict=True))
        here = threading.get_ident()  # another thread may show a schedule meanwhile

        def look(schedule: Schedule, name: str) -> Any:
            if name == "value" and threading.get_ident() == here:
                if id(schedule) in fixed:
                    self._read.add(id(schedule))
                    return fixed[id(schedule)]
                if id(schedule) not in self._known:
                    raise RuntimeError(f"{schedule!r} is held where a compiled step cannot find it")
            return object.__getattribute__(schedule, name)

        before = vars(Schedule).get("__getattribute__")
        setattr(Schedule, "__getattribute__", look)  # noqa: B010
        try:
            yield
        finally:
            del Schedule.__getattribute__
            if before is not None:
                setattr(Schedule, "__getattribute__", before)  # noqa: B010


def _is_number(schedule: Schedule) -> bool:
    try:
        return isinstance(schedule.value, Real | Tensor)
    except Exception:  # of one that no program may ever ask
        return False
