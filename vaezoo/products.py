"""Which routine multiplies two matrices in a compiled graph on a CPU, and what adds the bias.

Inductor computes b + x W by copying b into every row of the output, which the product then adds to:
one more write of the output. The activation after the layer reads the output anyway, and can add b
on the way.

Products go to MKL, which some processors do not run at their full rate: where it has no AVX-512
kernels for one that oneDNN has them for, oneDNN is much the faster (`onednn_leads`). Of the
products of the five tasks of benchmarks/speed.py, at batches of 100 and of 1,000, by trial:

                 oneDNN leads (AMD EPYC, Zen 5)         otherwise (AMD EPYC, Zen 4)
    x Wᵀ, g W    oneDNN, from 2^21 multiplications on   oneDNN, from 2^24, or 2^21 if few columns
    gᵀ x         so too; of many images as (xᵀ g)ᵀ if   MKL; of few columns as (xᵀ g)ᵀ, and by
                 there are fewer columns than rows      oneDNN from 2^21

A gradient that was turned round is in another order than its weights are, which slows their update:
1,000 images pay for that, and 100 do not. The rest stays as it is. oneDNN has bfloat16's products
already.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch._inductor import lowering

__all__ = ["choose_routines", "onednn_leads", "part_biases"]

FEW = 16  # columns
MANY, MOST = 2**21, 2**24  # multiplications
IMAGES = 1000
LEAD = 1.4  # 2.1 on the Zen 5

aten = torch.ops.aten
LINEAR = torch.ops.mkldnn._linear_pointwise.default
PLAIN: tuple[Any, ...] = (None, "none", [], "")
_library = torch.library.Library("vaezoo", "DEF")
_library.define("product(Tensor x, Tensor w) -> Tensor")


@torch.library.impl(_library, "product", "CPU")
def _product(x: Tensor, w: Tensor) -> Tensor:
    found: Tensor = LINEAR(x, w.T, *PLAIN)
    return found


@torch.library.impl(_library, "product", "Meta")
def _shape_of_product(x: Tensor, w: Tensor) -> Tensor:
    return x.new_empty(len(x), w.shape[1])


@lowering.register_lowering(torch.ops.vaezoo.product.default, type_promotion_kind=None)
def _called_directly(x: Any, w: Any) -> Any:
    """Without Python between Inductor's program and oneDNN, which takes 6 µs a product."""
    call = lowering.fallback_handler(LINEAR, add_to_fallback_set=False)
    return call(x, lowering.permute(w, [1, 0]), *PLAIN)


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


@functools.cache
def onednn_leads() -> bool:
    """Whether oneDNN multiplies much faster than MKL on this processor: tried once, for 10 ms."""
    if not torch.backends.mkldnn.is_available():
        return False
    kind: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
    x, w = torch.ones(256, 512, **kind), torch.ones(512, 512, **kind)
    with torch.autocast("cpu", enabled=False):
        return _shortest(lambda: torch.mm(x, w)) > LEAD * _shortest(lambda: _product(x, w))


def _shortest(function: Callable[[], Any]) -> float:
    times = []
    for _ in range(12):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def choose_routines(graph: fx.Graph, *, leads: bool) -> None:
    """Turn products round, or give them to oneDNN, where that wins.

    Args:
        graph: whose nodes have their values' shapes.
        leads: whether oneDNN leads on the processor.
    """
    for node in graph.find_nodes(op="call_function", target=aten.mm.default):
        if node.meta["val"].device.type == "cpu":
            _choose(graph, node, leads)


def _choose(graph: fx.Graph, node: Any, leads: bool) -> None:
    x, w = (side.meta["val"] for side in node.args)
    (rows, images), columns = x.shape, w.shape[1]
    by_onednn = _is_for_onednn(x, w, leads)
    pays = leads and by_onednn and images >= IMAGES and columns < rows
    gradient = node.args[0].target is aten.permute.default and not x.is_contiguous()  # gᵀ
    if gradient and (pays or columns <= FEW < rows):
        node = _turned(graph, node, *node.args)
    if by_onednn:
        node.target = torch.ops.vaezoo.product.default


def _is_for_onednn(x: Tensor, w: Tensor, leads: bool) -> bool:
    """Whether it is the faster for x (m, k) times w (k, n), or for the same turned round."""
    if x.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
        return False
    multiplications, few = x.numel() * w.shape[1], w.shape[1] <= FEW
    if leads or few:
        return multiplications >= MANY
    return x.is_contiguous() and multiplications >= MOST


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
