"""Biases added by the activation that reads a layer's output.

Inductor computes b + x W by copying b into every row of the output, which the product then adds to:
one more write of the output. The activation after the layer reads the output anyway, and can add b
on the way.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

__all__ = ["part_biases"]

aten = torch.ops.aten


def part_biases(graph: fx.Graph) -> None:
    """Put mm and add in the place of each addmm."""
    for node in graph.find_nodes(op="call_function", target=aten.addmm.default):
        if not node.kwargs:
            _part(graph, node, *node.args)


def _part(graph: fx.Graph, node: fx.Node, bias: Any, x: Any, w: Any) -> None:
    with graph.inserting_before(node):
        product = graph.call_function(aten.mm.default, (x, w))
        total = graph.call_function(aten.add.Tensor, (product, bias))
    product.meta["val"] = total.meta["val"] = node.meta["val"]
    node.replace_all_uses_with(total)
    graph.erase_node(node)
