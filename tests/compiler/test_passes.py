"""What is rewritten in graphs for Inductor, on graphs of its own: same numbers, less work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch._inductor.custom_graph_pass import get_hash_for_files
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.graph import CodeGen
from torch.profiler import profile

from vaezoo.compiler import onednn, passes
from vaezoo.compiler.inductor import Rewrites, compile_graph
from vaezoo.compiler.onednn import onednn_leads
from vaezoo.compiler.passes import PASSES
from vaezoo.compiler.passes.log1p import COEFFICIENTS

aten = torch.ops.aten
PRODUCT = torch.ops.vaezoo.product.default
EPS = 2**-24  # half a unit in the last place, in float32


def passed(function: Any, *tensors: Tensor, leads: bool = False) -> Any:
    """The graph of a function after the passes."""
    graph = make_fx(function, tracing_mode="fake")(*tensors)
    with mock.patch("vaezoo.compiler.onednn.onednn_leads", return_value=leads):
        Rewrites()(graph.graph)
    graph.graph.lint()
    graph.recompile()
    return graph


def targets(graph: Any) -> set[Any]:
    return {node.target for node in graph.graph.nodes if node.op == "call_function"}


@pytest.mark.parametrize(
    ("m", "k", "n", "chosen"),  # where oneDNN does not lead, and where it does
    [
        (1000, 300, 128, (True, True)),
        (5000, 300, 784, (True, True)),
        (100, 784, 300, (True, True)),
        (100, 300, 128, (False, True)),  # small
        (100, 300, 20, (False, False)),  # smaller
        (1000, 128, 20, (False, True)),
        (1000, 300, 10, (True, True)),  # few columns
        (100, 300, 10, (False, False)),
    ],
)
@pytest.mark.parametrize("leads", [False, True])
def test_onednn_where_it_wins(
    m: int, k: int, n: int, chosen: tuple[bool, bool], leads: bool
) -> None:
    """x Wᵀ, and g W, whose result is as far from float64's as MKL's is: 1e-5 of its scale."""
    x, w = torch.randn(m, k), torch.randn(n, k)
    for function, a, b in ((lambda a, b: a @ b.T, x, w), (torch.mm, x, w.T.contiguous())):
        graph = passed(function, a, b, leads=leads)
        assert (PRODUCT in targets(graph)) == chosen[leads]
        exact = function(a.double(), b.double())
        assert (graph(a, b) - exact).abs().max() < 1e-5 * exact.abs().max()


@pytest.mark.parametrize(
    ("images", "columns", "leads", "turned", "chosen"),
    [
        (5000, 10, False, True, True),
        (100, 10, False, True, False),
        (1000, 200, False, False, False),
        (1000, 20, False, False, False),
        (5000, 10, True, True, True),
        (100, 10, True, True, False),
        (1000, 200, True, True, True),
        (100, 200, True, False, True),
        (1000, 400, True, False, True),  # more columns than rows
    ],
)
def test_gradients_of_weights(
    images: int, columns: int, leads: bool, turned: bool, chosen: bool
) -> None:
    g, x = torch.randn(images, 300), torch.randn(images, columns)
    graph = passed(lambda g, x: g.T @ x, g, x, leads=leads)
    assert (PRODUCT in targets(graph)) == chosen
    assert (
        len(graph.graph.find_nodes(op="call_function", target=aten.permute.default))
        == 1 + 3 * turned
    )
    exact = g.double().T @ x.double()
    assert graph(g, x).shape == exact.shape
    assert (graph(g, x) - exact).abs().max() < 1e-5 * exact.abs().max()


def test_a_compiled_program_calls_onednn_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """x Wᵀ, g W and gᵀ x by oneDNN, to 1e-5 of their scale."""
    tensors = [torch.randn(1000, 300), torch.randn(1000, 200), torch.randn(300, 200)]

    def function(g: Tensor, x: Tensor, w: Tensor) -> list[Tensor]:
        return [x @ w.T, g @ w, g.T @ x]

    monkeypatch.setattr("vaezoo.compiler.onednn.onednn_leads", lambda: True)
    graph = make_fx(function, tracing_mode="fake")(*tensors)
    graph.graph.set_codegen(CodeGen())  # flat arguments, as `compile_graph` takes them
    graph.recompile()
    call = compile_graph(graph, tensors)
    call(*tensors)
    with profile() as seen:
        found = call(*tensors)
    counts = {event.key: event.count for event in seen.key_averages()}
    assert counts["mkldnn::_linear_pointwise"] == 3
    assert "vaezoo::product" not in counts
    for one, exact in zip(found, function(*(t.double() for t in tensors)), strict=True):
        assert (one - exact).abs().max() < 1e-5 * exact.abs().max()


def test_weights_with_gaps_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some columns of a weight, or one row many times: by oneDNN they would take a thousand times."""
    x, g, wide = torch.randn(1000, 100), torch.randn(1000, 300), torch.randn(300, 500)
    tensors = [x, g, wide, torch.randn(1, 300)]

    def function(x: Tensor, g: Tensor, wide: Tensor, row: Tensor) -> list[Tensor]:
        part, rows = wide[:, 50:150], row.expand(100, 300)
        return [x @ part.T, g @ part, x @ rows, g.T @ row.expand(1000, 300)]

    monkeypatch.setattr("vaezoo.compiler.onednn.onednn_leads", lambda: True)
    graph = passed(function, *tensors, leads=True)
    products = graph.graph.find_nodes(op="call_function", target=PRODUCT)
    weights = [node.args[1].meta["val"] for node in products]
    assert len(products) == 4
    assert all(w.is_contiguous() or w.T.is_contiguous() for w in weights)
    plain = make_fx(function, tracing_mode="fake")(*tensors)
    plain.graph.set_codegen(CodeGen())
    plain.recompile()
    call = compile_graph(plain, tensors)
    for found in (graph(*tensors), call(*tensors)):
        for one, exact in zip(found, function(*(t.double() for t in tensors)), strict=True):
            assert (one - exact).abs().max() < 1e-5 * exact.abs().max()
    with profile() as seen:
        call(*tensors)
    seconds = {event.key: event.self_cpu_time_total / 1e6 for event in seen.key_averages()}
    assert 0 < seconds["mkldnn::_linear_pointwise"] < 1  # it was 12


def test_trying_onednn_draws_no_random_number_and_takes_float32() -> None:
    """Also where float64 is the default, in which oneDNN has no product."""
    before, default = torch.get_rng_state(), torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        onednn_leads.__wrapped__()
    finally:
        torch.set_default_dtype(default)
    assert torch.equal(torch.get_rng_state(), before)


def test_other_numbers_stay_where_they_are() -> None:
    x = torch.randn(1000, 300)
    for dtype in (torch.float64, torch.bfloat16):
        graph = passed(torch.mm, x.to(dtype), x.T.to(dtype), leads=True)
        assert targets(graph) == {aten.mm.default}


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


def other_matrix(a: Tensor, b: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    return a @ w, b @ w.bfloat16().double()


def not_turned(a: Tensor, b: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    return a @ w.T, b @ w.permute(0, 1)


def spread(a: Tensor, b: Tensor, w: Tensor) -> tuple[Tensor]:
    return (a.T @ b + a[:, :1].T @ a,)


def same_order(a: Tensor, b: Tensor, w: Tensor) -> tuple[Tensor]:
    return (w.permute(0, 1) @ w + a.T @ b,)


@pytest.mark.parametrize("function", [other_matrix, not_turned, spread, same_order])
def test_products_that_only_look_alike_stay(function: Any) -> None:
    a, b, w = torch.randn(7, 8).double(), torch.randn(7, 8).double(), torch.randn(8, 8).double()
    graph = passed(function, a, b, w)
    assert products(graph) == 2
    for found, wanted in zip(graph(a, b, w), function(a, b, w), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_parts_of_tensors_are_not_turned() -> None:
    """A product in another layout would give `randn_like` its numbers in another order."""
    x, w = torch.randn(100, 40), torch.randn(20, 10)
    graph = passed(lambda x, w: x[:, :20] @ w, x, w)
    assert graph(x, w).is_contiguous()


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


def test_every_file_of_the_passes_is_in_the_key_of_inductors_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or a change of one would be served stale graphs from disk; oneDNN's lead is in it too."""
    hashed: list[str] = []
    monkeypatch.setattr(
        "vaezoo.compiler.inductor.get_hash_for_files",
        lambda files, extra: hashed.extend(map(Path, files)) or extra.encode(),
    )
    keys = set()
    for leads in (False, True):
        monkeypatch.setattr("vaezoo.compiler.onednn.onednn_leads", lambda leads=leads: leads)
        keys.add(Rewrites().uuid())
    assert len(keys) == 2
    modules = {n: m for n, m in sys.modules.items() if n.startswith("vaezoo.compiler.passes")}
    assert len(modules) == 1 + len(PASSES["cpu"])
    for module in (*modules.values(), sys.modules[Rewrites.__module__], onednn):
        assert Path(str(module.__file__)) in hashed
    written = {str(path): path.read_bytes() for path in hashed}
    assert all(written.values())


def test_a_changed_file_is_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in Path(str(passes.__file__)).parent.glob("*.py"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(passes, "__file__", str(tmp_path / "__init__.py"))
    before = Rewrites().uuid()
    for path in tmp_path.glob("*.py"):
        text = path.read_text()
        path.write_text(text + "# changed\n")
        get_hash_for_files.cache_clear()
        assert Rewrites().uuid() != before
        path.write_text(text)
        get_hash_for_files.cache_clear()
        assert Rewrites().uuid() == before


def test_a_graph_of_several_devices_is_left_as_it_is() -> None:
    """Single numbers aside, which torch keeps on the CPU; the passes are those of one device."""

    def function(x: Tensor, w: Tensor) -> Tensor:
        return (-(x @ w).abs()).exp().log1p()

    x, w = torch.randn(7, 3), torch.randn(3, 5)
    graph = make_fx(function, tracing_mode="fake")(x, w)
    for node in graph.graph.find_nodes(op="call_function", target=aten.abs.default):
        node.meta["val"] = node.meta["val"].to("meta")
    Rewrites()(graph.graph)
    assert aten.log1p.default in targets(graph)
    assert aten.log1p.default not in targets(passed(function, x, w))


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
