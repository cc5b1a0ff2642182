"""Which routine multiplies two matrices in a compiled graph on a CPU, and what adds the bias.

Inductor computes b + x W by copying b into every row of the output, which the product then adds to:
one more write of the output. The activation after the layer reads the output anyway, and can add b
on the way.

Products go to MKL, which on some processors is far from its best rate where a matrix has thousands
of rows, one for each particle or label, or few columns. By trial over all products of the five
tasks of benchmarks/speed.py, at batches of 100 and of 1,000 (AMD EPYC with AVX-512):

    x Wᵀ, g W    oneDNN, from 2^24 multiplications on, or 2^21 where few columns come out
    gᵀ x         of few columns as (xᵀ g)ᵀ, and by oneDNN from 2^21 on

The rest stays as it is. oneDNN has bfloat16's products already.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

__all__ = ["choose_routines", "part_biases"]

FEW = 16  # columns
SMALL = {False: 2**24, True: 2**21}  # multiplications that oneDNN pays for, by whether few come out

aten = torch.ops.aten
_library = torch.library.Library("vaezoo", "DEF")
_library.define("product(Tensor x, Tensor w) -> Tensor")


@torch.library.impl(_library, "product", "CPU")
def _product(x: Tensor, w: Tensor) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, w.T, None, "none", [], "")
    return found


@torch.library.impl(_library, "product", "Meta")
def _shape_of_product(x: Tensor, w: Tensor) -> Tensor:
    return x.new_empty(len(x), w.shape[1])


def part_biases(graph: fx.Graph) -> None:
    """Put mm and add in the place of each addmm on a CPU."""
    for node in graph.find_nodes(op="call_function", target=aten.addmm.default):
        if node.meta["val"].device.type == "cpu" and not node.kwargs:
            _part(graph, node, *node.args)


def _part(graph: fx.Graph, node: fx.Node, bias: Any, x: Any, w: Any) -> None:
    with graph.inserting_before(node):
        product = graph.call_function(aten.mm.default, (x, w))
        total = graph.call_function(aten.add.Tensor, (product, bias))
    product.meta["val"] = total.meta["val"] = node.meta["val"]
    node.replace_all_uses_with(total)
    graph.erase_node(node)


def choose_routines(graph: fx.Graph) -> None:
    """Turn products round, or give them to oneDNN, where that wins."""
    for node in graph.find_nodes(op="call_function", target=aten.mm.default):
        if node.meta["val"].device.type == "cpu":
            _choose(graph, node, *node.args)


def _choose(graph: fx.Graph, node: fx.Node, left: Any, right: Any) -> None:
    x, w = left.meta["val"], right.meta["val"]
    if not x.is_contiguous() and w.shape[1] <= FEW < len(x):
        node = _turned(graph, node, left, right)
    if _is_for_onednn(x, w):
        node.target = torch.ops.vaezoo.product.default


def _is_for_onednn(x: Tensor, w: Tensor) -> bool:
    """Whether it is the faster for x (m, k) times w (k, n), or for the same turned round."""
    if x.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
        return False
    few = w.shape[1] <= FEW
    return (x.is_contiguous() or few) and x.numel() * w.shape[1] >= SMALL[few]


def _turned(graph: fx.Graph, node: fx.Node, x: Any, w: Any) -> fx.Node:
    """Put (wᵀ xᵀ)ᵀ in the place of x w; returns the product in it."""
    with graph.inserting_before(node):
        sides = tuple(graph.call_function(aten.permute.default, (t, [1, 0])) for t in (w, x))
        product = graph.call_function(aten.mm.default, sides)
        result = graph.call_function(aten.permute.default, (product, [1, 0]))
    for side, t in zip(sides, (w, x), strict=True):
        side.meta["val"] = t.meta["val"].T
    product.meta["val"] = node.meta["val"].new_empty(node.meta["val"].shape[::-1])
    result.meta["val"] = product.meta["val"].T
    node.replace_all_uses_with(result)
    graph.erase_node(node)
    return product
