"""Progress bars, where there is somewhere to show them."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from tqdm.auto import tqdm

__all__ = ["bar"]

_IN_NOTEBOOK = any("notebook" in base.__module__ for base in tqdm.__mro__)


def bar(
    total: int | None, unit: str, *, shown: bool, initial: int = 0, name: str | None = None
) -> tqdm[None]:
    """A bar of tqdm; what it cannot write, as where a disk is full, is lost without an error.

    It is told of each unit: given the iterable, it would begin to iterate over it once more.

    Args:
        total: how many units there are, where that is known.
        unit: what is counted.
        shown: whether to show it; `TQDM_DISABLE` and a missing `sys.stderr` hide it all the same.
        initial: where it begins.
        name: what stands in front.

    Example:
        >>> with bar(3, "batch", shown=False) as shown:
        ...     shown.update(2)
    """
    options: dict[str, Any] = {"total": total, "unit": unit, "initial": initial, "desc": name}
    if not shown or sys.stderr is None:
        options["disable"] = True  # not False elsewhere, which would outvote TQDM_DISABLE
    elif not _IN_NOTEBOOK:  # there a bar is a widget, and would be a text by a file of its own
        options["file"] = _Stderr()
    return tqdm(**options)


class _Stderr:
    """`sys.stderr`, whatever that is now; what it does not take is left out."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # or there is no such method
            sys.stderr.flush()

    def __eq__(self, other: object) -> bool:
        return other is sys.stderr or isinstance(other, _Stderr)  # tqdm asks which file it is

    def __hash__(self) -> int:
        return hash(_Stderr)

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)
