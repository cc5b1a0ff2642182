"""A whole step as one graph: loss and gradients as they were traced, and Adam's update behind them.

    (batch, schedules, weights, buffers, rates, steps, rows, moments)  ->  (loss, bound, …, finite)

Weights, moments and numbers of steps are written in place: no Python of an optimizer stands between
them and the gradients.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node

from vaezoo.compiler import adam_in_graph
from vaezoo.compiler.adam import Trained
from vaezoo.compiler.fused_adam import ADAM

__all__ = ["whole_step"]

aten = torch.ops.aten

SMALL = 2.0**-40  # so small that sums of finite numbers are finite


class Ends(NamedTuple):
    """What an update is made of: nodes of a graph.

    Attributes:
        weights: that are updated.
        gradients: of these, in the same order, as are both moments.
        means: first moments.
        squares: second moments.
        rates: learning rate, β1, β2 and ε.
        steps: how many each parameter of the optimizer has made.
        rows: the numbers of the weights among these.
        finite: whether loss and gradients are.
    """

    weights: list[Node]
    gradients: list[Node]
    means: list[Node]
    squares: list[Node]
    rates: Node
    steps: Node
    rows: Node
    finite: Node


def whole_step(graph: GraphModule, trained: Trained, inputs: list[Tensor]) -> GraphModule:
    """The graph of a step with the update behind it.

    Its last output is whether loss and gradients were finite. Where they were not, it changes
    nothing. The step is copied: to trace it again would take long.

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
    finite = _are_finite(whole, [terms[0], *gradients])
    for node, value in zip(written, before, strict=True):
        kept = whole.call_function(aten.where.self, (finite, node, value))
        whole.call_function(aten.copy_.default, (node, kept))
    weights, (rates, steps, rows, *moments) = [given[i] for i in trained.weights], given[n:]
    ends = Ends(weights, gradients, moments[::2], moments[1::2], rates, steps, rows, finite)
    _update(whole, ends, inputs[trained.weights[0]], inputs[n + 1])
    whole.output([*terms, finite])
    return GraphModule(nn.Module(), whole)


def _copied(part: GraphModule, whole: Graph, arguments: list[Node]) -> list[Node]:
    """The outputs of a graph that is copied into another, with these arguments."""
    places = part.graph.find_nodes(op="placeholder")
    outputs: Any = whole.graph_copy(part.graph, dict(zip(places, arguments, strict=True)))
    return list(outputs)


def _update(whole: Graph, ends: Ends, like: Tensor, steps: Tensor) -> None:
    """By one operator on a CPU, and on a GPU by operations that Inductor compiles."""
    if like.is_cuda:
        _update_in_graph(whole, ends, like, steps)
    else:
        whole.call_function(ADAM, (*ends,))


def _update_in_graph(whole: Graph, ends: Ends, like: Tensor, steps: Tensor) -> None:
    """The graph of the update is that of one parameter, copied for each of them."""
    counting = adam_in_graph.counting(len(ends.weights), steps, like)
    sizes = _copied(counting, whole, [ends.rates, ends.steps, ends.rows, ends.finite])
    updating = adam_in_graph.updating(like)
    for each in zip(*ends[:4], sizes, strict=True):
        _copied(updating, whole, [*each, ends.finite])


def _are_finite(whole: Graph, ends: list[Node]) -> Node:
    """Whether all are: by sums, which are not finite where a number is not.

    Node by node, as to trace so little would take a tenth of a step's tracing.
    """
    call, sums = whole.call_function, []
    for end in ends:
        example = end.meta["val"]
        if example.dtype == torch.float16:
            end = call(aten._to_copy.default, (end,), {"dtype": torch.float32})
        small = call(aten.mul.Tensor, (end, SMALL))
        if example.dim() > 1:
            small = call(aten.sum.dim_IntList, (small, [0]))
        sums.append(call(aten.sum.default, (small,)))
    total = call(aten.sum.default, (call(aten.stack.default, (sums,)),))
    return call(aten.isfinite.default, (total,))
