"""Noise of compiled graphs: every operator of torch that draws, by Inductor and eagerly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from own_pair import OwnPair, trained
from torch import Tensor, fx, nn
from torch.nn import functional as F

from vaezoo.compiler import inductor
from vaezoo.compiler.first_run import check_noise
from vaezoo.compiler.inductor import compile_graph
from vaezoo.compiler.tracing import flat_graph

aten = torch.ops.aten

# of probabilities: those that the operators in the table of torch's decompositions come from
DRAWS: dict[str, Callable[[Tensor], Any]] = {
    "bernoulli": torch.bernoulli,
    "bernoulli with one p": lambda p: torch.bernoulli(p, 0.3),
    "bernoulli_": lambda p: torch.empty_like(p).bernoulli_(0.3),
    "bernoulli_ with p": lambda p: torch.empty_like(p).bernoulli_(p),
    "dropout": lambda p: F.dropout(p, 0.4),
    "alpha_dropout": lambda p: F.alpha_dropout(p, 0.4, training=True),
    "feature_dropout": lambda p: F.dropout1d(p[None], 0.4)[0],
    "rrelu": lambda p: F.rrelu(p - 0.5, training=True),
    "rand_like": torch.rand_like,
    "rand": lambda p: torch.rand(p.shape, dtype=p.dtype),
    "randn_like": torch.randn_like,
    "randn": lambda p: torch.randn(p.shape, dtype=p.dtype),
    "randint_like": lambda p: torch.randint_like(p, 3),
    "randint": lambda p: torch.randint(1, 4, p.shape),
    "randperm": lambda p: torch.randperm(len(p)),
    "normal_": lambda p: torch.empty_like(p).normal_(),
    "normal": lambda p: torch.normal(p, 1.0),
    "uniform_": lambda p: torch.empty_like(p).uniform_(-1, 1),
    "exponential_": lambda p: torch.empty_like(p).exponential_(),
    "geometric_": lambda p: torch.empty_like(p).geometric_(0.3),
    "cauchy_": lambda p: torch.empty_like(p).cauchy_(),
    "log_normal_": lambda p: torch.empty_like(p).log_normal_(),
    "multinomial": lambda p: torch.multinomial(p, 3, replacement=True),
    "poisson": lambda p: torch.poisson(3 * p),
}
NOT_IN_BFLOAT16 = {"poisson", "multinomial"}


@pytest.fixture(autouse=True)
def in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the environment says so, Inductor refuses what it warns of elsewhere."""
    monkeypatch.setenv("CI", "true")


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_every_operator_draws_by_inductor_as_eagerly(dtype: torch.dtype, transposed: bool) -> None:
    """One graph of all of them, in order: what each draws, and where the generator is behind them."""
    left_out = NOT_IN_BFLOAT16 if dtype == torch.bfloat16 else set()
    draws = {name: draw for name, draw in DRAWS.items() if name not in left_out}
    p = torch.rand(5, 7, generator=torch.Generator().manual_seed(0)).to(dtype)
    inputs = [p.T.contiguous().T if transposed else p]
    graph = flat_graph(lambda t: [draw(t[0]) for draw in draws.values()], inputs)
    torch.manual_seed(1)
    expected, state = graph(*inputs), torch.get_rng_state()
    torch.manual_seed(1)
    found = compile_graph(graph, inputs)(*inputs)
    for name, a, b in zip(draws, expected, found, strict=True):
        assert torch.allclose(a, b, rtol=2 * torch.finfo(dtype).eps), name
    assert torch.equal(torch.get_rng_state(), state)


def test_no_decomposition_of_a_random_operator_is_new() -> None:
    """Those of torch's table whose noise is known to be the operator's own (see above)."""
    known = (
        "randint",
        "rrelu",
        "gru",
        "lstm",
        "rnn_",
        "scaled_dot_product",
        "dropout",
        "rand_like",
    )
    known += ("_scaled_dot_product", "randn_like", "bernoulli.p", "bernoulli.default")
    with torch._inductor.config.patch(fallback_random=True):
        random = [
            str(operator)
            for operator in inductor.decompositions()
            if torch.Tag.nondeterministic_seeded in getattr(operator, "tags", ())
        ]
    assert [name for name in random if not name.partition(".")[2].startswith(known)] == []


class Masked(OwnPair):
    def scale(self, h: Tensor) -> Tensor:
        return h + 0.1 * torch.bernoulli(torch.full_like(h, 0.5))


def test_a_model_with_coins_in_float64_is_trained_as_eagerly() -> None:
    eager, compiled = (trained(Masked, backend=b, steps=4) for b in (None, "inductor"))
    assert compiled[0] == pytest.approx(eager[0], rel=1e-12)
    assert compiled[2] == "eccc"


def test_a_compiler_that_draws_otherwise_is_refused() -> None:
    """Terms may be close to those of the graph all the same."""

    def backend(graph: Any, inputs: Any) -> Any:
        def call(*given: Tensor) -> Any:
            outputs = graph(*given)
            torch.rand(1)
            return outputs

        return call

    eager = trained(Masked)
    with pytest.warns(UserWarning, match="it draws other noise than the graph"):
        compiled = trained(Masked, backend=backend)
    assert compiled[0] == pytest.approx(eager[0], rel=1e-12)


class Wasteful(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        aten.rand_like.default(x)
        return aten.normal_.default(x) + aten.rand_like.default(x)


def test_draws_that_are_not_used_may_be_left_out() -> None:
    """By a compiler; what is drawn in place is used where its tensor is."""
    graph = fx.symbolic_trace(Wasteful()).graph
    states = torch.zeros(1), torch.ones(1)
    check_noise(graph, *states)
    graph.erase_node(next(n for n in graph.nodes if n.op == "call_function"))
    with pytest.raises(RuntimeError, match="draws other noise"):
        check_noise(graph, *states)
