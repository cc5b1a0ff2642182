"""The pass that chooses routines for products, on graphs of its own: same numbers, fewer writes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from vaezoo.products import Products

aten = torch.ops.aten


def passed(function: Any, *tensors: Tensor) -> Any:
    """The graph of a function after the pass."""
    graph = make_fx(function)(*tensors)
    Products()(graph.graph)
    graph.graph.lint()
    graph.recompile()
    return graph


def targets(graph: Any) -> set[Any]:
    return {node.target for node in graph.graph.nodes if node.op == "call_function"}


@pytest.mark.parametrize(
    ("m", "k", "n", "chosen"),
    [
        (1000, 300, 128, True),
        (5000, 300, 784, True),
        (100, 784, 300, True),
        (100, 300, 300, False),  # small
        (50_000, 300, 20, False),  # narrow
    ],
)
def test_onednn_where_it_wins(m: int, k: int, n: int, chosen: bool) -> None:
    """x Wᵀ, and g W, whose result is as far from float64's as MKL's is: 1e-5 of its scale."""
    x, w = torch.randn(m, k), torch.randn(n, k)
    for function, a, b in ((lambda a, b: a @ b.T, x, w), (torch.mm, x, w.T.contiguous())):
        graph = passed(function, a, b)
        assert (torch.ops.vaezoo.product.default in targets(graph)) == chosen
        exact = function(a.double(), b.double())
        assert (graph(a, b) - exact).abs().max() < 1e-5 * exact.abs().max()


def test_what_stays_with_mkl() -> None:
    """Gradients of weights, and other types of numbers."""
    x, g = torch.randn(1000, 300), torch.randn(1000, 300)
    assert targets(passed(lambda g, x: g.T @ x, g, x)) >= {aten.mm.default}
    assert targets(passed(torch.mm, x.double(), x.T.double())) == {aten.mm.default}
    assert targets(passed(torch.mm, x.bfloat16(), x.T.bfloat16())) == {aten.mm.default}


def test_biases_are_added_after_the_product() -> None:
    b, x, w = torch.randn(5), torch.randn(7, 3), torch.randn(3, 5)
    graph = passed(torch.addmm, b, x, w)
    assert targets(graph) == {aten.mm.default, aten.add.Tensor}
    torch.testing.assert_close(graph(b, x, w), b + x @ w)
    scaled = passed(lambda *t: torch.addmm(*t, beta=2.0), b, x, w)
    assert targets(scaled) == {aten.addmm.default}
