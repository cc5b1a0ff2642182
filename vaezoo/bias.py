"""A pass over Inductor's graphs: a layer's bias is added by the kernel after its product.

On a CPU Inductor computes b + x W by copying b into every row of the output, which the product then
adds to: one more write of the output. The activation after the layer reads the output anyway, and
can add b on the way.
"""

from __future__ import annotations

import torch
from torch import fx
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files

__all__ = ["AddedLater"]


class AddedLater(CustomGraphPass):
    """Put mm and add in the place of each addmm on a CPU."""

    def __call__(self, graph: fx.Graph) -> None:
        """Rewrite the graph in place."""
        aten = torch.ops.aten
        for node in graph.find_nodes(op="call_function", target=aten.addmm.default):
            if node.meta["val"].device.type != "cpu" or node.kwargs:
                continue
            bias, *factors = node.args
            with graph.inserting_before(node):
                product = graph.call_function(aten.mm.default, tuple(factors))
                total = graph.call_function(aten.add.Tensor, (product, bias))
            product.meta["val"] = total.meta["val"] = node.meta["val"]
            node.replace_all_uses_with(total)
            graph.erase_node(node)

    def uuid(self) -> bytes | None:
        """What Inductor's cache on disk knows this pass by."""
        return get_hash_for_files((__file__,))
