"""log(1 + e) for e in (0, 1], which Bernoulli pixels take: a polynomial in a compiled graph.

A Bernoulli likelihood needs log(1 + exp(-|l|)) of every pixel of every particle. A vector library's
log1p, right for all numbers, takes twice as long as the exponential; where its argument is known to
lie in (0, 1], ten multiplications and additions are as accurate in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

__all__ = ["COEFFICIENTS", "shorten_logarithms"]

aten = torch.ops.aten

# of log1p(e) / e on [0, 1], highest power first: Chebyshev's interpolation, off by 5e-9 at most
COEFFICIENTS = (
    -0.00317605701843196,
    0.019542527261014103,
    -0.05637361283010733,
    0.10543623795419527,
    -0.15269667074363288,
    0.19663274257204805,
    -0.24951616262872076,
    0.3332971049891775,
    -0.49999892648063277,
    0.999999994656292,
)


def shorten_logarithms(graph: fx.Graph) -> None:
    """Put a polynomial in the place of each log1p(exp(-|l|)) in float32."""
    for node in graph.find_nodes(op="call_function", target=aten.log1p.default):
        if node.meta["val"].dtype == torch.float32 and _is_tail(node.args[0]):
            _expand(graph, node.args[0], node)


def _is_tail(e: Any) -> bool:
    """Whether it is exp(-|l|)."""
    for target in (aten.exp.default, aten.neg.default, aten.abs.default):
        if e.target is not target:
            return False
        (e,) = e.args
    return True


def _expand(graph: fx.Graph, e: Any, node: fx.Node) -> None:
    """Horner's scheme in the place of a node."""
    with graph.inserting_before(node):
        steps = [graph.call_function(aten.mul.Tensor, (e, COEFFICIENTS[0]))]
        for c in COEFFICIENTS[1:]:
            steps.append(graph.call_function(aten.add.Tensor, (steps[-1], c)))
            steps.append(graph.call_function(aten.mul.Tensor, (steps[-1], e)))
    for step in steps:
        step.meta["val"] = node.meta["val"]
    node.replace_all_uses_with(steps[-1])
    graph.erase_node(node)
