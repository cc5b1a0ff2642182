"""Adam's update as operations of a graph, behind a compiled step on a GPU.

There its kernels are launched with all others of the step.

References:
    Kingma, Ba. Adam: A Method for Stochastic Optimization. 2015. arXiv:1412.6980, algorithm 1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import GraphModule

from vaezoo.compiler.tracing import flat_graph

__all__ = ["counting", "updating"]


def counting(rows: int, steps: Tensor, like: Tensor) -> GraphModule:
    """The graph that counts a step, and has the sizes of each parameter's update.

    Its arguments are the rates, numbers of steps, rows, and whether all is finite.

    Args:
        rows: how many parameters are updated.
        steps: the numbers of steps, or what is like them.
        like: one of the parameters.
    """
    rates = torch.zeros(4, dtype=torch.float64, device=like.device)
    places = torch.zeros(rows, dtype=torch.long, device=like.device)
    finite = torch.ones((), dtype=torch.bool, device=like.device)
    inputs = [rates, steps, places, finite]
    return flat_graph(lambda t: _counted(t[0], t[1], t[2], t[3], like.dtype), inputs)


def updating(like: Tensor) -> GraphModule:
    """The graph of the update of a parameter, which is the same for every shape.

    Its arguments are that, its gradient, moments and sizes, and whether all is finite.
    """
    finite = like.new_ones((), dtype=torch.bool)
    inputs = [*[like.new_zeros(1)] * 4, like.new_zeros(6, dtype=_exact(like.dtype)), finite]
    return flat_graph(lambda t: _adam(t[0], t[1], t[2], t[3], t[4], t[5]), inputs)


def _counted(
    rates: Tensor, steps: Tensor, rows: Tensor, finite: Tensor, dtype: torch.dtype
) -> list[Tensor]:
    """The sizes of each parameter; steps are counted, in place."""
    sizes = _sizes(rates, steps[rows], dtype)
    steps.copy_(steps.index_add(0, rows, finite.to(steps).expand(len(rows))))
    return [*sizes]


def _sizes(rates: Tensor, steps: Tensor, dtype: torch.dtype) -> Tensor:
    """For each parameter α / (1 - β1ᵗ), 1 / sqrt(1 - β2ᵗ), ε, 1 - β1, β2, 1 - β2, shape (n, 6)."""
    lr, beta1, beta2, eps = rates.unbind()
    t = steps.double() + 1
    each = [lr / (1 - beta1**t), (1 - beta2**t).rsqrt(), eps, 1 - beta1, beta2, 1 - beta2]
    return torch.stack([size.expand_as(t) for size in each], 1).to(_exact(dtype))


def _exact(dtype: torch.dtype) -> torch.dtype:
    """What an update is computed in: in float16 ε would be none, and a fused Adam takes float32."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def _adam(
    p: Tensor, grad: Tensor, m: Tensor, v: Tensor, size: Tensor, finite: Tensor
) -> list[Tensor]:
    """Algorithm 1, in place; nothing changes where the loss is not finite."""
    rate, correction, eps, one_minus_beta1, beta2, one_minus_beta2 = size.unbind()
    exact, g = _exact(p.dtype), grad.to(_exact(p.dtype))
    mean = m.to(exact) + one_minus_beta1 * (g - m.to(exact))
    square = beta2 * v.to(exact) + one_minus_beta2 * g * g
    new = p.to(exact) - rate * mean / (square.sqrt() * correction + eps)
    for old, value in ((p, new), (m, mean), (v, square)):
        old.copy_(torch.where(finite, value.to(old.dtype), old))
    return []
