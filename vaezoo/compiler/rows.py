"""The operator `vaezoo::add_rows`, by which compiled steps add rows one after another.

Inductor adds the gradients of `table[y]` to their rows by as many threads as there are, in the
order in which these come: the last bits of a gradient would not come again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["SUMS"]

aten = torch.ops.aten
_library = torch.library.Library("vaezoo", "FRAGMENT")
_library.define("add_rows(Tensor to, Tensor index, Tensor rows) -> Tensor")
Indices = Sequence[Tensor | None]


@torch.library.impl(_library, "add_rows", "CPU")
def _added(to: Tensor, index: Tensor, rows: Tensor) -> Tensor:
    return to.index_add(0, index, rows)


@torch.library.impl(_library, "add_rows", "Meta")
def _shape(to: Tensor, index: Tensor, rows: Tensor) -> Tensor:
    return to.new_empty(to.shape)


def _put(to: Tensor, indices: Indices, values: Tensor, accumulate: bool = False) -> Any:
    """What `index_put` adds, by numbers of neighbouring dimensions; else Inductor's own way."""
    given = [i for i, index in enumerate(indices) if index is not None]
    numbers = [index for index in indices if index is not None]
    apart = given != [*range(given[0], given[0] + len(given))]
    masks = any(index.dtype in (torch.bool, torch.uint8) for index in numbers)
    if not accumulate or to.device.type != "cpu" or apart or masks:
        return NotImplemented
    first, last = given[0], given[-1] + 1
    sizes, before, behind = to.shape[first:last], to.shape[:first], to.shape[last:]
    index = _as_one(torch.broadcast_tensors(*numbers), sizes)
    values = values.broadcast_to((*before, *index.shape, *behind))
    rows = values.movedim([*range(first)], [*range(index.dim(), index.dim() + first)])
    table = to.movedim([*range(first)], [*range(len(given), last)])
    width = math.prod(before) * math.prod(behind)
    flat = (table.reshape(math.prod(sizes), width), index.reshape(-1))
    added = torch.ops.vaezoo.add_rows(*flat, rows.reshape(index.numel(), width))
    return added.view(table.shape).movedim([*range(len(given), last)], [*range(first)])


def _as_one(indices: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    """The place of each entry in dimensions that have become one; none, if it is in none."""
    at = torch.zeros_like(indices[0], dtype=torch.long)
    for index, size in zip(indices, sizes, strict=True):
        at = at * size + torch.where(index < 0, index + size, index)
    within = [(-size <= i) & (i < size) for i, size in zip(indices, sizes, strict=True)]
    return torch.where(torch.stack(within).all(0), at, -1)


def _put_where(to: Tensor, mask: Tensor, indices: Indices, values: Tensor) -> Any:
    """The same where a mask is; elsewhere an index may be anything."""
    within = [
        None if index is None else index.clamp(-size, size - 1)
        for index, size in zip(indices, to.shape, strict=False)
    ]
    return _put(to, within, torch.where(mask, values, 0), True)


def _of_embedding(
    grad: Tensor, index: Tensor, rows: int, padding: int, by_frequency: bool
) -> Tensor:
    """The gradient of an embedding's table."""
    if by_frequency or grad.device.type != "cpu":
        from torch._decomp.decompositions import embedding_dense_backward

        theirs: Tensor = embedding_dense_backward(grad, index, rows, padding, by_frequency)
        return theirs
    behind = grad.shape[index.dim() :]
    if padding >= 0:
        grad = torch.where((index == padding).reshape(*index.shape, *[1] * len(behind)), 0, grad)
    added: Tensor = _put(grad.new_zeros((rows, *behind)), (index,), grad, True)
    return added


# operators by which others add rows, too
SUMS: dict[Any, Callable[..., Any]] = {
    aten.index_put.default: _put,
    aten._unsafe_masked_index_put_accumulate.default: _put_where,
    aten.embedding_dense_backward.default: _of_embedding,
}
