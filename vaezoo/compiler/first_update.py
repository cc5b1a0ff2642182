"""An update of a compiled step that every number of every weight must show.

Adam's own first updates tell little: moments begin at 0, where what was left out stays. So once,
before its first run, a step runs with moments that outweigh its gradients and a rate as large as
the weights: then each number moves by about as much as any other, whatever the gradients are. It
has happened that a compiler left the last numbers of a loop out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

__all__ = ["fault_of_update"]

MEAN, SQUARE, BETA = 8.0, 64.0, 0.5  # of the largest gradient and its square; β1 and β2
# around what becomes of them, with room for gradients that are three times too large
MEANS, SQUARES, MOVES = (2.5, 5.5), (31.0, 37.0), (0.4, 1.0)


@torch.no_grad()
def fault_of_update(
    take: Callable[[], bool], update: list[Tensor], weights: list[Tensor], gradients: list[Tensor]
) -> str:
    """What the update of a step leaves out, in words; what it writes into stays changed.

    Args:
        take: the step, which returns whether loss and gradients were finite.
        update: what the update reads and writes: rates, numbers of steps, rows, and two moments of
            each weight (see `AdamUpdate.inputs`).
        weights: that it updates.
        gradients: what the graph says theirs are.

    Returns:
        "" where all numbers are updated, and where nothing can be said: a gradient is not finite.

    Example:
        >>> update = [torch.zeros(4), torch.zeros(1), torch.tensor([0]), *torch.zeros(2, 3)]
        >>> fault_of_update(lambda: True, update, [torch.ones(3)], [torch.ones(3)])
        'steps are not counted'
    """
    rates, steps, rows, *moments = update
    size, span = (max(_largest(tensors), 1.0) for tensors in (gradients, weights))
    largest = torch.finfo(moments[0].dtype).max
    if not (SQUARE * size**2 < largest / 2 and span < largest / 4) or _share_memory(weights):
        return ""  # nothing would be finite, or some are updated twice
    rates.copy_(torch.tensor([span, BETA, BETA, 0.0], dtype=rates.dtype, device="cpu"))
    _fill(moments, size)
    before, counts = [p.clone() for p in weights], steps[rows]
    if not take():
        return ""
    if not torch.equal(steps[rows], counts + 1):
        return "steps are not counted"
    turns = (1 - BETA ** (counts.double() + 1)).rsqrt().tolist()
    for p, old, moment, turn in zip(weights, before, _pairs(moments), turns, strict=True):
        wrong = _outside((old - p) / (span * turn), MOVES) | _outside(moment[0] / size, MEANS)
        if n := int((wrong | _outside(moment[1] / size**2, SQUARES)).sum()):
            return f"{n} of {p.numel()} numbers of a weight are not updated as by Adam"
    return ""


def _pairs(moments: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    return list(zip(moments[::2], moments[1::2], strict=True))


def _fill(moments: list[Tensor], size: float) -> None:
    for mean, square in _pairs(moments):
        mean.fill_(MEAN * size)
        square.fill_(SQUARE * size**2)


def _largest(tensors: Iterable[Tensor]) -> float:
    """The largest number; NaN where there is one."""
    each = [t.abs().max().item() for t in tensors if t.numel()]
    return math.nan if any(map(math.isnan, each)) else max(each, default=0.0)


def _share_memory(weights: list[Tensor]) -> bool:
    places = [p.untyped_storage().data_ptr() for p in weights if p.numel()]
    return len(set(places)) < len(places)


def _outside(values: Tensor, bounds: tuple[float, float]) -> Tensor:
    return ~((values > bounds[0]) & (values < bounds[1]))
