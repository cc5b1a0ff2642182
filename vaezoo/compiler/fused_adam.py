"""The operator `vaezoo::adam_`: torch's fused Adam, behind a compiled step on a CPU.

Inductor would make kernels of the update of each weight, which are no faster than torch's, and take
as long to compile as all that comes before them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["ADAM"]

_library = torch.library.Library("vaezoo", "FRAGMENT")
_library.define(
    "adam_(Tensor(a!)[] weights, Tensor[] gradients, Tensor(b!)[] means, Tensor(c!)[] squares, "
    "Tensor rates, Tensor(d!) steps, Tensor rows, Tensor finite) -> ()"
)
ADAM = torch.ops.vaezoo.adam_.default
Group = Sequence[Tensor]  # a weight, its gradient, both moments and its number of steps


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
    counts = steps[rows].float().unbind()
    sizes = rates.tolist()
    in_rows, others = list[Group](), list[Group]()
    for each in zip(weights, gradients, means, squares, counts, strict=True):
        (in_rows if all(t.is_contiguous() for t in each) else others).append(each)
    # torch's goes through memory from one end to the other, whatever the strides
    if in_rows:
        _by_torch(in_rows, sizes)
    for group in others:  # one after the other: some may be others, turned round
        _by_copies(group, sizes)


@torch.library.impl(_library, "adam_", "Meta")
def _nothing(*args: object) -> None:
    return None


def _by_copies(group: Group, sizes: list[float]) -> None:
    copies = [t.contiguous() for t in group]
    _by_torch([copies], sizes)
    for i in (0, 2, 3):  # all but the gradient, which may be one number, expanded
        if copies[i] is not group[i]:
            group[i].copy_(copies[i])


def _by_torch(groups: Sequence[Group], sizes: list[float]) -> None:
    weights, gradients, means, squares, counts = map(list, zip(*groups, strict=True))
    lr, beta1, beta2, eps = sizes
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
