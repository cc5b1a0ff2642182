"""What is rewritten in graphs for Inductor, on graphs of its own: same numbers, less work."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from vaezoo.inductor import Rewrites
from vaezoo.logarithms import COEFFICIENTS

aten = torch.ops.aten
PRODUCT = torch.ops.vaezoo.product.default
EPS = 2**-24  # half a unit in the last place, in float32


def passed(function: Any, *tensors: Tensor) -> Any:
    """The graph of a function after the passes."""
    graph = make_fx(function, tracing_mode="fake")(*tensors)
    Rewrites()(graph.graph)
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
        (100, 300, 128, False),  # small
        (1000, 128, 20, False),
        (1000, 300, 10, True),  # few columns
        (100, 300, 10, False),
    ],
)
def test_onednn_where_it_wins(m: int, k: int, n: int, chosen: bool) -> None:
    """x Wᵀ, and g W, whose result is as far from float64's as MKL's is: 1e-5 of its scale."""
    x, w = torch.randn(m, k), torch.randn(n, k)
    for function, a, b in ((lambda a, b: a @ b.T, x, w), (torch.mm, x, w.T.contiguous())):
        graph = passed(function, a, b)
        assert (PRODUCT in targets(graph)) == chosen
        exact = function(a.double(), b.double())
        assert (graph(a, b) - exact).abs().max() < 1e-5 * exact.abs().max()


@pytest.mark.parametrize(
    ("rows", "columns", "turned", "chosen"),
    [
        (5000, 10, True, True),
        (100, 10, True, False),
        (1000, 300, False, False),
        (1000, 20, False, False),
    ],
)
def test_gradients_of_weights(rows: int, columns: int, turned: bool, chosen: bool) -> None:
    g, x = torch.randn(rows, 300), torch.randn(rows, columns)
    graph = passed(lambda g, x: g.T @ x, g, x)
    assert (PRODUCT in targets(graph)) == chosen
    assert (
        len(graph.graph.find_nodes(op="call_function", target=aten.permute.default))
        == 1 + 3 * turned
    )
    exact = g.double().T @ x.double()
    assert graph(g, x).shape == exact.shape
    assert (graph(g, x) - exact).abs().max() < 1e-5 * exact.abs().max()


def test_other_numbers_stay_where_they_are() -> None:
    x = torch.randn(1000, 300)
    assert targets(passed(torch.mm, x.double(), x.T.double())) == {aten.mm.default}
    assert targets(passed(torch.mm, x.bfloat16(), x.T.bfloat16())) == {aten.mm.default}


def test_biases_are_added_after_the_product() -> None:
    b, x, w = torch.randn(5), torch.randn(7, 3), torch.randn(3, 5)
    graph = passed(torch.addmm, b, x, w)
    assert targets(graph) == {aten.mm.default, aten.add.Tensor}
    torch.testing.assert_close(graph(b, x, w), b + x @ w)
    scaled = passed(lambda *t: torch.addmm(*t, beta=2.0), b, x, w)
    assert targets(scaled) == {aten.addmm.default}


def products(graph: Any) -> int:
    return sum(
        len(graph.graph.find_nodes(op="call_function", target=t))
        for t in (aten.mm.default, PRODUCT)
    )


@pytest.mark.parametrize(("rows", "left"), [((100, 1000), 2), ((300, 300), 4)])
def test_products_by_the_same_matrix_are_made_at_once(rows: tuple[int, int], left: int) -> None:
    x1, x2 = (torch.randn(n, 40).double() for n in rows)
    w, v = torch.randn(40, 30).double(), torch.randn(20, 30).double()

    def function(x1: Tensor, x2: Tensor, w: Tensor, v: Tensor) -> list[Tensor]:
        return [(x @ w).relu() @ v.T for x in (x1, x2)]

    graph = passed(function, x1, x2, w, v)
    assert products(graph) == left
    for found, wanted in zip(graph(x1, x2, w, v), function(x1, x2, w, v), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_gradients_are_summed_by_the_product(dtype: torch.dtype) -> None:
    """Also where each was rounded to bfloat16 before the sum: then once rather than twice."""
    tensors = [torch.randn(n, m).to(dtype) for n, m in ((100, 9), (700, 9), (100, 8), (700, 8))]

    def function(g1: Tensor, g2: Tensor, x1: Tensor, x2: Tensor) -> Tensor:
        parts = [g1.T @ x1, g2.T @ x2]
        if dtype is torch.bfloat16:  # as Inductor writes it
            parts = [torch.ops.prims.convert_element_type(p, torch.float32) for p in parts]
        return parts[0] + parts[1]

    graph = passed(function, *tensors)
    assert products(graph) == 1
    tolerance = 1e-12 if dtype is torch.float64 else 0.02
    found, wanted = graph(*tensors), function(*tensors)
    assert found.dtype == wanted.dtype
    assert (found - wanted).abs().max() < tolerance * wanted.abs().max()


def test_what_depends_on_the_other_is_not_merged() -> None:
    x, w = torch.randn(7, 7).double(), torch.randn(7, 7).double()
    graph = passed(lambda x, w: ((x @ w).relu() @ w, x.relu() @ w), x, w)
    assert products(graph) == 2  # the last with the first
    torch.testing.assert_close(graph(x, w)[0], (x @ w).relu() @ w)
    torch.testing.assert_close(graph(x, w)[1], x.relu() @ w)


def test_random_numbers_keep_their_order_and_writes_come_last() -> None:
    """The draw for x1 W would be moved behind that of x2's by a sort that knows of products alone."""
    x, w = torch.randn(5, 4).double(), torch.randn(4, 4).double()

    def function(x: Tensor, w: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        first = (x @ w + torch.rand(5, 4)) @ w
        second = ((x + torch.rand(5, 4)) @ w) @ w * kept
        kept.copy_(torch.rand(1))
        return first, second

    graph = passed(function, x, w, torch.ones(1).double())
    assert products(graph) < 4
    results = []
    for f in (graph, function):
        torch.manual_seed(3)
        kept = torch.full((1,), 2.0).double()
        results.append((*f(x, w, kept), kept))
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_the_polynomial_is_as_accurate_as_log1p() -> None:
    """Over 2^20 arguments and down to 1e-38, against float64: at most 3 times 2^-24, relatively.

    torch's own log1p of the same float32 arguments is tested beside it. In float64 what is left is
    the polynomial's own error.
    """
    e = torch.cat([torch.linspace(0, 1, 2**20)[1:], torch.logspace(-37, 0, 2**12)])
    graph = passed(lambda logits: (-logits.abs()).exp().log1p(), -e.log())
    assert aten.log1p.default not in targets(graph)

    def error(found: Tensor, e: Tensor) -> float:
        exact = e.double().log1p()
        return ((found - exact) / exact).abs().max().item()

    horner = horner_of(e)
    assert error(horner, e) < 3 * EPS
    assert error(e.log1p(), e) < 3 * EPS
    assert error(horner_of(e.double()), e) < 6e-9
    logits = torch.linspace(-90, 90, 2**16)
    exact = torch.nn.functional.softplus(-logits.abs().double(), threshold=100)
    assert ((graph(logits) - exact) / exact).abs().max() < 100 * EPS  # those of exp(-90) itself


def horner_of(e: Tensor) -> Tensor:
    total = torch.zeros_like(e)
    for c in COEFFICIENTS:
        total = total * e + c
    return total * e


def test_other_logarithms_stay() -> None:
    x = torch.rand(5)
    for function, given in (
        (torch.log1p, x),
        (lambda x: x.exp().log1p(), x),
        (lambda x: (-x.abs()).exp().log1p(), x.double()),
    ):
        assert aten.log1p.default in targets(passed(function, given))
