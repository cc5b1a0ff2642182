"""The operator `vaezoo::adam_`: torch's fused Adam, behind a compiled step on a CPU.

Inductor would make kernels of the update of each weight, which are no faster than torch's, and take
as long to compile as all that comes before them.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["ADAM"]

_library = torch.library.Library("vaezoo", "FRAGMENT")
_library.define(
    "adam_(Tensor(a!)[] weights, Tensor[] gradients, Tensor(b!)[] means, Tensor(c!)[] squares, "
    "Tensor rates, Tensor(d!) steps, Tensor rows, Tensor finite) -> ()"
)
ADAM = torch.ops.vaezoo.adam_.default


@torch.library.impl(_library, "adam_", "CPU")
def _update(
    weights: list[Tensor],
    gradients: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    rates: Tensor,
    steps: Tensor,
    rows: Tensor,
    finite: Tensor,
) -> None:
    """In place; nothing changes where loss and gradients are not finite."""
    if not finite:
        return
    steps.index_add_(0, rows, steps.new_ones(len(rows)))
    written = [weights, means, squares]
    # it goes through memory from one end to the other, whatever the strides
    p, m, v, g = ([t.contiguous() for t in each] for each in (*written, gradients))
    _by_torch(p, g, m, v, rates.tolist(), [*steps[rows].float().unbind()])
    for tensors, values in zip(written, (p, m, v), strict=True):
        for t, value in zip(tensors, values, strict=True):
            if value is not t:
                t.copy_(value)


@torch.library.impl(_library, "adam_", "Meta")
def _nothing(*args: object) -> None:
    return None


def _by_torch(
    weights: list[Tensor],
    gradients: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    rates: list[float],
    counts: list[Tensor],
) -> None:
    lr, beta1, beta2, eps = rates
    torch._fused_adam_(
        weights,
        gradients,
        means,
        squares,
        [],
        counts,
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        weight_decay=0.0,
        eps=eps,
        amsgrad=False,
        maximize=False,
    )
