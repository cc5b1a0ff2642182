"""A pass over Inductor's graphs: which routine multiplies two matrices, and what adds the bias.

On a CPU Inductor computes b + x W by copying b into every row of the output, which the product then
adds to: one more write of the output. The activation after the layer reads the output anyway, and
can add b on the way.

Products go to MKL, which on some processors is far from its best rate where a matrix has thousands
of rows, one for each particle or label. There x Wᵀ and g W go to oneDNN. Gradients of weights,
gᵀ x, stay with MKL, which is the better one at long sums, and so do small products.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, fx
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files

__all__ = ["Products"]

NARROW = 64  # columns below which oneDNN is the slower
SMALL = 2**24  # multiplications below which calling it costs what it gains

_library = torch.library.Library("vaezoo", "DEF")
_library.define("product(Tensor x, Tensor w) -> Tensor")


@torch.library.impl(_library, "product", "CPU")
def _product(x: Tensor, w: Tensor) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, w.T, None, "none", [], "")
    return found


@torch.library.impl(_library, "product", "Meta")
def _shape_of_product(x: Tensor, w: Tensor) -> Tensor:
    return x.new_empty(len(x), w.shape[1])


class Products(CustomGraphPass):
    """Put mm and add in the place of each addmm on a CPU, and oneDNN's product where it wins."""

    def __call__(self, graph: fx.Graph) -> None:
        """Rewrite the graph in place."""
        for node in graph.find_nodes(op="call_function", target=torch.ops.aten.addmm.default):
            if node.meta["val"].device.type == "cpu" and not node.kwargs:
                _part(graph, node)
        if not torch.backends.mkldnn.is_available():
            return
        for node in graph.find_nodes(op="call_function", target=torch.ops.aten.mm.default):
            if _wins(*(factor.meta["val"] for factor in node.args)):
                node.target = torch.ops.vaezoo.product.default

    def uuid(self) -> bytes | None:
        """What Inductor's cache on disk knows this pass by."""
        return get_hash_for_files((__file__,))


def _part(graph: fx.Graph, node: fx.Node) -> None:
    bias, *factors = node.args
    with graph.inserting_before(node):
        product = graph.call_function(torch.ops.aten.mm.default, tuple(factors))
        total = graph.call_function(torch.ops.aten.add.Tensor, (product, bias))
    product.meta["val"] = total.meta["val"] = node.meta["val"]
    node.replace_all_uses_with(total)
    graph.erase_node(node)


def _wins(x: Tensor, w: Tensor) -> bool:
    """Whether oneDNN is the faster for x (m, k) times w (k, n)."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or not x.is_contiguous():
        return False
    sizes = (*x.shape, w.shape[1])
    return min(sizes) >= NARROW and math.prod(sizes) >= SMALL
