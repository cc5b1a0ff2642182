"""Which routine multiplies two matrices, and whether their product is made transposed.

Products go to MKL. On a processor for which oneDNN has AVX-512 kernels and MKL has none, oneDNN is
much the faster (`onednn_leads`). Of the products of the five tasks of benchmarks/speed, at batches
of 100 and of 1,000, by trial:

                 oneDNN leads (AMD EPYC, Zen 5)         otherwise (AMD EPYC, Zen 4)
    x Wᵀ, g W    oneDNN, from 2^21 multiplications on   oneDNN, from 2^24, or 2^21 if few columns
    gᵀ x         the same; many images as (xᵀ g)ᵀ if    MKL; of few columns as (xᵀ g)ᵀ, and by
                 there are fewer columns than rows      oneDNN from 2^21

A weight with gaps is copied for oneDNN. A gradient that was made transposed is in another order
than its weights are, and copied for their update: worth it for 1,000 images, not for 100. The rest
stays as it is. oneDNN has bfloat16's products already.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch._inductor import lowering

from vaezoo.compiler import onednn

__all__ = ["choose_routines"]

FEW = 16  # columns
MANY, MOST = 2**21, 2**24  # multiplications
IMAGES = 1000
aten = torch.ops.aten


def choose_routines(graph: fx.Graph) -> None:
    """Make products transposed, or give them to oneDNN, where that wins."""
    leads = onednn.onednn_leads()
    for node in graph.find_nodes(op="call_function", target=aten.mm.default):
        _choose(graph, node, leads)


def _choose(graph: fx.Graph, node: Any, leads: bool) -> None:
    x, w = (side.meta["val"] for side in node.args)
    (rows, images), columns = x.shape, w.shape[1]
    by_onednn = _is_for_onednn(x, w, leads)
    pays = leads and by_onednn and images >= IMAGES and columns < rows
    gradient = node.args[0].target is aten.permute.default and not x.is_contiguous()  # gᵀ
    if gradient and (pays or columns <= FEW < rows):
        node = _transposed(graph, node, *node.args)
    if by_onednn:
        node.target = torch.ops.vaezoo.product.default
        _close_up(graph, node, *node.args)


def _is_for_onednn(x: Tensor, w: Tensor, leads: bool) -> bool:
    """Whether oneDNN is the faster for x (m, k) times w (k, n), or for the same transposed."""
    if x.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
        return False
    multiplications, few = x.numel() * w.shape[1], w.shape[1] <= FEW
    if leads or few:
        return multiplications >= MANY
    return x.is_contiguous() and multiplications >= MOST


def _close_up(graph: fx.Graph, node: fx.Node, x: Any, w: Any) -> None:
    """Copy a weight with gaps, such as some columns of a wider one.

    oneDNN falls back to loops that take a thousand times as long.
    """
    val = w.meta["val"]
    if val.is_contiguous() or val.T.is_contiguous():
        return
    with graph.inserting_before(node):
        rows: dict[str, Any] = {"memory_format": torch.contiguous_format}
        copy = graph.call_function(aten.clone.default, (w,), rows)
    copy.meta["val"] = val.contiguous()
    node.args = x, copy


def _transposed(graph: fx.Graph, node: fx.Node, x: Any, w: Any) -> fx.Node:
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


@lowering.register_lowering(torch.ops.vaezoo.product.default, type_promotion_kind=None)
def _called_directly(x: Any, w: Any) -> Any:
    """Call oneDNN from Inductor's program without Python in between, which takes 6 µs a product."""
    call = lowering.fallback_handler(onednn.LINEAR, add_to_fallback_set=False)
    return call(x, lowering.permute(w, [1, 0]), *onednn.UNFUSED)
