"""Writes of a program into tensors that it did not make, undone at the end of a block."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Writes", "memory", "tensors_in"]

STATISTICS = ("running_mean", "running_var")  # batch norms write into them, and do not say so


class Writes(TorchDispatchMode):
    """Within it tensors may be written into; those not made within it come back as they were.

    Example:
        >>> total = torch.zeros(2)
        >>> with Writes() as writes:
        ...     _ = total.add_(1)
        ...     (after,) = writes.now().values()
        >>> total.tolist(), after.tolist()
        ([0.0, 0.0], [1.0, 1.0])
    """

    def __init__(self) -> None:
        super().__init__()
        self._made: set[int | None] = set()
        self._before: dict[Any, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = set(map(memory, tensors_in((args, kwargs))))
        for t in _written(func, args, kwargs or {}):
            self._keep(t)
        result = func(*args, **(kwargs or {}))
        made = set(map(memory, tensors_in(result)))
        self._made |= made - given  # what an operation returns may be a view of what it was given
        return result

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        with torch.no_grad():
            for t, value in reversed(self._before.values()):
                t.copy_(value)

    @property
    def memory(self) -> set[int]:
        """What was written into, by the numbers of `memory`."""
        return {where for where, *_ in self._before}

    def now(self) -> dict[Any, Tensor]:
        """What the tensors that were written into hold now, by their place in memory."""
        return {place: t.clone() for place, (t, _) in self._before.items()}

    def _keep(self, t: Tensor) -> None:
        where = memory(t)
        if where is None or where in self._made:
            return
        place = (where, t.dtype, t.shape, t.stride(), t.storage_offset())
        if place not in self._before:
            self._before[place] = (t.detach(), t.detach().clone())


def memory(t: Tensor) -> int | None:
    """The number of the memory that a tensor lies in: that of its views is the same.

    Example:
        >>> a, b = torch.zeros(2, 3), torch.zeros(2)
        >>> memory(a) == memory(a[1]), memory(a) == memory(b)
        (True, False)
    """
    return t.untyped_storage()._cdata if t.layout == torch.strided else None


def tensors_in(tree: Any) -> list[Tensor]:
    """The tensors of nested tuples, lists and dictionaries.

    Example:
        >>> len(tensors_in(([torch.zeros(1)], {"alpha": 2.0, "out": torch.zeros(1)})))
        2
    """
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, tuple | list):
        return []
    return [t for each in tree for t in tensors_in(each)]


def _written(func: Any, args: Any, kwargs: dict[str, Any]) -> list[Tensor]:
    """The arguments of an operation that it writes into."""
    places = _places(func)
    return tensors_in([args[i] if i < len(args) else kwargs.get(n) for i, n in places])


@functools.cache  # an operation is asked for thousands of times in a step that is traced
def _places(func: Any) -> list[tuple[int, str]]:
    """Numbers and names of the arguments that an operation writes into."""
    return [
        (i, each.name)
        for i, each in enumerate(func._schema.arguments)
        if (each.alias_info is not None and each.alias_info.is_write) or each.name in STATISTICS
    ]
