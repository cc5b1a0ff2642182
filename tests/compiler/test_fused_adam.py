"""Adam's update behind a compiled step, by torch's operator or in the graph, against algorithm 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from own_pair import D, OwnPair, Z, trained
from torch import Tensor, nn
from torch.fx import GraphModule

from vaezoo.compiler import whole_step
from vaezoo.compiler.fused_adam import ADAM

RATES = (0.01, 0.8, 0.9, 1e-3)
LAID_OUT: dict[str, Callable[[Tensor], Tensor]] = {
    "in rows": lambda t: t,
    "in columns": lambda t: t.transpose(0, 1).contiguous().transpose(0, 1),
    "channels last": lambda t: t.contiguous(memory_format=torch.channels_last),
    "every other": lambda t: torch.stack([t, t], -1)[..., 0],
}
SHAPES = [(2, 3, 4, 5), (7, 1, 1, 33)]


def by_hand(p: Tensor, g: Tensor, m: Tensor, v: Tensor, t: int) -> tuple[Tensor, Tensor, Tensor]:
    """Algorithm 1 of Kingma, Ba (2015), line by line."""
    lr, beta1, beta2, eps = RATES
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    return p - lr * (m / (1 - beta1**t)) / ((v / (1 - beta2**t)).sqrt() + eps), m, v


def tensors(dtype: torch.dtype) -> list[list[Tensor]]:
    """Weights, gradients and both moments, of two shapes, in rows."""
    generator = torch.Generator().manual_seed(0)
    each = [[torch.randn(s, generator=generator, dtype=dtype) for s in SHAPES] for _ in range(4)]
    return [*each[:3], [t.square() for t in each[3]]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gradients", LAID_OUT)
@pytest.mark.parametrize("weights", LAID_OUT)
def test_it_is_algorithm_1(weights: str, gradients: str, dtype: torch.dtype) -> None:
    """However weights and gradients lie in memory; steps of other parameters are not counted."""
    p, g, m, v = tensors(dtype)
    expected = [by_hand(*map(Tensor.double, each), 5) for each in zip(p, g, m, v, strict=True)]
    p, m, v = ([LAID_OUT[weights](t.clone()) for t in each] for each in (p, m, v))
    strides = [t.stride() for t in p]
    g = [LAID_OUT[gradients](t) for t in g]
    steps = torch.tensor([1.0, 4.0, 4.0])
    rates = torch.tensor(RATES, dtype=torch.float64)
    ADAM(p, g, m, v, rates, steps, torch.tensor([2, 1]), torch.tensor(True))
    assert steps.tolist() == [1.0, 5.0, 5.0]
    assert [t.stride() for t in p] == strides
    tolerance = 10 * torch.finfo(dtype).eps
    for found, exact in zip(zip(p, m, v, strict=True), expected, strict=True):
        for a, b in zip(found, exact, strict=True):
            torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=tolerance)


class Turned(OwnPair):
    """Whose decoder has the encoder's weight, turned round: one memory, which is updated twice."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder.weight = nn.Parameter(self.encoder.weight.data.t())


class Cut(OwnPair):
    """Whose decoder's weight is some columns of a wider matrix, which keeps the others."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = torch.ones(D, 2 * Z, dtype=torch.float64)
        self.wide[:, :Z] = self.decoder.weight.data
        self.decoder.weight = nn.Parameter(self.wide[:, :Z])


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("make", [Turned, Cut])
def test_weights_that_share_memory_or_have_gaps(make: Callable[[], OwnPair], backend: str) -> None:
    """As an Adam that is not fused: torch's fused one takes weights with gaps for dense ones."""
    eager, compiled = (trained(make, backend=b) for b in (None, backend))
    assert compiled[0] == pytest.approx(eager[0], rel=1e-12)
    assert compiled[2] == "ecccccc"
    for step in (eager[1], compiled[1]):
        if make is Cut:
            assert (step.bound.model.wide[:, Z:] == 1).all()


def test_a_gradient_that_is_one_number_expanded_is_left_alone() -> None:
    p, _, m, v = tensors(torch.float64)
    g = [torch.full((), 0.5, dtype=torch.float64).expand(s) for s in SHAPES]
    expected = [by_hand(*each, 1)[0] for each in zip(p, g, m, v, strict=True)]
    steps, rates = torch.zeros(2), torch.tensor(RATES, dtype=torch.float64)
    ADAM(p, g, m, v, rates, steps, torch.tensor([0, 1]), torch.tensor(True))
    for found, exact in zip(p, expected, strict=True):
        torch.testing.assert_close(found, exact, rtol=1e-14, atol=1e-14)
    assert all((t == 0.5).all() for t in g)


def test_nothing_changes_where_something_is_not_finite() -> None:
    p, g, m, v = tensors(torch.float32)
    before = [t.clone() for t in (*p, *m, *v)]
    steps, rates = torch.tensor([4.0, 4.0]), torch.tensor(RATES, dtype=torch.float64)
    ADAM(p, g, m, v, rates, steps, torch.tensor([0, 1]), torch.tensor(False))
    assert all(map(torch.equal, (*p, *m, *v), before))
    assert steps.tolist() == [4.0, 4.0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_in_the_graph_it_is_adam_too(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, here without one."""
    eager, _, _ = trained(OwnPair, dtype=dtype)
    sizes = list[int]()

    def backend(graph: GraphModule, inputs: Any) -> GraphModule:
        sizes.append(len(graph.graph.nodes))
        return graph

    by_operator = trained(OwnPair, backend=backend, dtype=dtype)
    monkeypatch.setattr(whole_step, "_update", whole_step._update_in_graph)
    in_graph = trained(OwnPair, backend=backend, dtype=dtype)
    tolerance = 100 * torch.finfo(dtype).eps
    for losses, _, ways in (by_operator, in_graph):
        assert losses == pytest.approx(eager, rel=tolerance)
        assert ways == "ecccccc"
    assert sizes[1] > 1.5 * sizes[0]  # all that Inductor would have to compile
