"""A whole step as one graph: loss and gradients as they were traced, and Adam's update behind them.

    (batch, schedules, weights, buffers, rates, steps, rows, moments)  ->  (loss, bound, …, finite)

Weights, moments and numbers of steps are written in place: one kernel updates them all, and no
Python stands between it and the gradients.

References:
    Kingma, Ba. Adam: A Method for Stochastic Optimization. 2015. arXiv:1412.6980, algorithm 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node

from vaezoo.compiler.adam import Trained
from vaezoo.compiler.tracing import flat_graph

__all__ = ["whole_step"]

aten = torch.ops.aten

SMALL = 2.0**-40  # so small that sums of finite numbers are finite


def whole_step(graph: GraphModule, trained: Trained, inputs: list[Tensor]) -> GraphModule:
    """The graph of a step with the update behind it.

    Its last output is whether loss and gradients were finite. Where they were not, it changes
    nothing. The step is copied, and the update of one parameter for each of them: to trace them
    again would take longer than to trace the step.

    Args:
        graph: of the step.
        trained: what is updated.
        inputs: like the step's, with those of the update behind them.
    """
    whole, n = Graph(), len(inputs) - 3 - 2 * len(trained.rows)
    given = [whole.placeholder(f"input_{i}") for i in range(len(inputs))]
    written = [given[i] for i in trained.written]
    before = [whole.call_function(aten.clone.default, (node,)) for node in written]
    outputs = _copied(graph, whole, given[:n])
    terms, gradients = outputs[: trained.terms], [outputs[i] for i in trained.gradients]
    ends = [*given[n : n + 3], terms[0], *gradients]
    finite, *sizes = _copied(_counting(inputs, trained, ends), whole, ends)
    for node, value in zip(written, before, strict=True):
        kept = whole.call_function(aten.where.self, (finite, node, value))
        whole.call_function(aten.copy_.default, (node, kept))
    update, moments = _updating(inputs[trained.weights[0]]), given[n + 3 :]
    for i, size in enumerate(sizes):
        weight, gradient = given[trained.weights[i]], outputs[trained.gradients[i]]
        _copied(update, whole, [weight, gradient, *moments[2 * i : 2 * i + 2], size, finite])
    whole.output([*terms, finite])
    return GraphModule(nn.Module(), whole)


def _copied(part: GraphModule, whole: Graph, arguments: list[Node]) -> list[Node]:
    """The outputs of a graph that is copied into another, with these arguments."""
    places = part.graph.find_nodes(op="placeholder")
    outputs: Any = whole.graph_copy(part.graph, dict(zip(places, arguments, strict=True)))
    return list(outputs)


def _counting(inputs: list[Tensor], trained: Trained, ends: list[Node]) -> GraphModule:
    """The graph of `_counted`, of the numbers of the update, the loss and all gradients."""
    like, n = inputs[trained.weights[0]], len(inputs) - 2 * len(trained.rows)
    # of which only the numbers of dimensions are seen
    examples = [node.meta["val"] for node in ends[3:]]
    small = [torch.zeros([1] * e.dim(), dtype=e.dtype, device=e.device) for e in examples]
    return flat_graph(
        lambda t: _counted(t[0], t[1], t[2], t[3:], like.dtype), [*inputs[n - 3 : n], *small]
    )


def _updating(like: Tensor) -> GraphModule:
    """The graph of `_adam`, which is the same for every shape."""
    finite = like.new_ones((), dtype=torch.bool)
    inputs = [*[like.new_zeros(1)] * 4, like.new_zeros(6, dtype=_exact(like.dtype)), finite]
    return flat_graph(lambda t: _adam(t[0], t[1], t[2], t[3], t[4], t[5]), inputs)


def _counted(
    rates: Tensor, steps: Tensor, rows: Tensor, ends: list[Tensor], dtype: torch.dtype
) -> list[Tensor]:
    """Whether loss and gradients are finite, and the sizes of each parameter; steps are counted."""
    finite, sizes = _are_finite(ends), _sizes(rates, steps[rows], dtype)
    steps.copy_(steps.index_add(0, rows, finite.to(steps).expand(len(rows))))
    return [finite, *sizes]


def _are_finite(ends: list[Tensor]) -> Tensor:
    """Whether all are: by sums, which are not finite where a number is not."""
    small = [SMALL * (t.float() if t.dtype == torch.float16 else t) for t in ends]
    sums = [t.sum(0).sum() if t.dim() > 1 else t.sum() for t in small]
    return torch.isfinite(torch.stack(sums).sum())


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
