"""An allowance of memory and work for the construction of a described model."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from vaezoo.models.checkpoints.errors import CheckpointError
from vaezoo.programs.writes import tensors_in

__all__ = ["Allowance"]

_BUFFERS = 2**24  # elements made from nothing beyond four times the file's: buffers, probes
_ACTIVATIONS = 2**30  # elements computed, in all, when parts are tried on a few zeros
_AT_ONCE = 2**26  # elements of one result
_OPERATIONS = 4_000  # beyond 20 for each of the file's weights, of which no more count than
_TENSORS = 5_000

_PRODUCTS = {torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm, torch.ops.aten.baddbmm}


class Allowance(TorchDispatchMode):
    """Within it tensors may be made as far as the weights in a file account for them.

    A result that may be large is measured on the `meta` device before it is computed, so that
    nothing beyond the limits is allocated: a few bytes of description can ask for any size and any
    number of layers.

    Args:
        elements: of all weights in the file.
        tensors: how many weights there are.

    Example:
        >>> with Allowance(100, 1):
        ...     torch.zeros(200_000, 200_000)
        Traceback (most recent call last):
        ...
        vaezoo...CheckpointError: describes a model larger than its 100 weights
    """

    def __init__(self, elements: int, tensors: int) -> None:
        super().__init__()
        self.elements = elements
        self.made = 4 * elements + _BUFFERS
        self.computed = 16 * elements + _ACTIVATIONS
        self.at_once = 16 * elements + _AT_ONCE
        self.operations = 20 * min(tensors, _TENSORS) + _OPERATIONS

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: torch would import all of its compiler, to switch it off in here."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self.operations -= 1
        if func.is_view or func._schema.is_mutable:
            self._pay(func, args, kwargs, [])
            return func(*args, **kwargs)
        if _largest(func, args, kwargs) > self.at_once:
            self._pay(func, args, kwargs, _on_meta(func, args, kwargs))
            return func(*args, **kwargs)
        results = func(*args, **kwargs)
        self._pay(func, args, kwargs, _sizes(results))
        return results

    def _pay(self, func: Any, args: Any, kwargs: dict[str, Any], sizes: list[int]) -> None:
        """Take results of these sizes off what is left."""
        self.computed -= sum(sizes)
        if not tensors_in((args, kwargs)) or "::new_" in func.name():
            self.made -= sum(sizes)
        too_large = max(sizes, default=0) > self.at_once
        if too_large or min(self.made, self.computed, self.operations) < 0:
            raise CheckpointError(f"describes a model larger than its {self.elements:,} weights")


def _largest(func: Any, args: Any, kwargs: dict[str, Any]) -> float:
    """The most elements that one result can have, be they repeated, padded or counted up to."""
    tensors = tensors_in((args, kwargs))
    # exact for the most frequent kinds, which on `meta` would import torch's compiler
    if torch.Tag.pointwise in func.tags:
        sides = itertools.zip_longest(*(t.shape[::-1] for t in tensors), fillvalue=1)
        return math.prod(map(max, sides))
    if func.overloadpacket in _PRODUCTS:
        a, b = tensors[-2:]
        return a.shape[:-1].numel() * b.shape[-1]
    numbers = [abs(a) for a in pytree.tree_leaves((args, kwargs)) if isinstance(a, int | float)]
    if tensors:
        numbers = [a for a in numbers if isinstance(a, int)]
    outer = math.prod(1.0 + t.numel() for t in tensors)
    return outer * math.prod(1 + max(a, 1 / a) for a in numbers if a)


def _on_meta(func: Any, args: Any, kwargs: dict[str, Any]) -> list[int]:
    """Sizes of the results; none where these depend on values, and so are no larger than those."""
    args, kwargs = pytree.tree_map_only(Tensor, _as_meta, (args, kwargs))
    if any(argument.name == "device" for argument in func._schema.arguments):
        kwargs = {**kwargs, "device": torch.device("meta")}
    try:
        return _sizes(func(*args, **kwargs))
    except (RuntimeError, NotImplementedError):
        return []


def _as_meta(t: Tensor) -> Tensor:
    return torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="meta")


def _sizes(tree: Any) -> list[int]:
    return [t.numel() for t in tensors_in(tree)]
