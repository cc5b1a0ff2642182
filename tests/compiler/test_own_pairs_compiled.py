"""Pairs of the user's own, compiled: what they read, draw, change or look at is seen, or runs eagerly."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from compiling import Pair, assert_close, compiled, step, traced
from pyro.infer import autoguide
from torch import Tensor, nn
from zoo import (
    images,
    member,
)

from vaezoo import ELBO, Bound, Step, fit


def test_a_pair_of_ones_own() -> None:
    """Parameters of a closure and of Pyro's store have gradients; tracing leaves no statistics."""
    outside, x = nn.Linear(16, 2), images()
    pair = Pair(outside)
    bound = Bound(pair, ELBO())
    eager = step(bound, x)
    store = pyro.get_param_store()
    expected = [outside.weight.grad, store._params["scale"].grad]
    outside.zero_grad(), store._params["scale"].grad.zero_()
    bound.compile("eager")
    for _ in range(2):
        bound(x)
    assert_close(eager, step(bound, x), 1e-6)
    torch.testing.assert_close([outside.weight.grad, store._params["scale"].grad], expected)
    assert pair.norm.num_batches_tracked == 4, "once a call, and none for tracing"
    mean = torch.zeros(16)
    for _ in range(4):
        mean = 0.9 * mean + 0.1 * x.flatten(1).mean(0)
    torch.testing.assert_close(pair.norm.running_mean, mean)
    pyro.clear_param_store()
    pyro.param("scale", torch.tensor(2.0), constraint=dist.constraints.positive)
    assert_close(step(Bound(pair, ELBO()), x), step(bound, x), 1e-6)


class Changing(nn.Module):
    """A pair that does at each call what a graph does not repeat."""

    def __init__(self, does: Callable[[Changing], float]) -> None:
        super().__init__()
        self.loc, self.does, self.n = nn.Parameter(torch.zeros(16)), does, 0
        self.register_buffer("heat", torch.tensor(1.0))
        self.register_buffer("count", torch.tensor(0.0))

    def model(self, x: Tensor) -> None:
        self.count += 1
        scale = self.does(self)
        with pyro.plate("images", len(x)):
            pyro.sample("x", dist.Normal(self.loc, scale).to_event(1), obs=x.flatten(1))

    def guide(self, x: Tensor) -> None:
        pass


def counts(pair: Changing) -> float:
    pair.n += 1
    return pair.n


def counts_and_looks(pair: Changing) -> float:
    return counts(pair) * float(pair.heat)


@pytest.mark.parametrize("does", [lambda pair: float(pair.heat), counts, counts_and_looks])
def test_what_a_graph_would_not_repeat_runs_eagerly(does: Callable[[Changing], float]) -> None:
    """A look at a buffer's value, and a number that the program sets: one warning, same losses."""
    found, x = [], images(dtype=torch.float64)
    for compiling in (False, True):
        bound = Bound(Changing(does).double())
        if compiling:
            bound.compile("eager")
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            for i in range(4):
                bound.model.heat.fill_(1.0 / (i + 1))
                found.append(bound(x)["loss"].item())
        assert len([w for w in seen if "the bound runs eagerly" in str(w.message)]) == compiling
        assert bound.model.count == 4
    assert found[:4] == found[4:]


def test_hooks_of_parameters_run_once() -> None:
    """Those from before tracing are no part of the graph."""
    found, x = [], images(dtype=torch.float64)
    for backend in (None, "eager"):
        bound = Bound(member("VAE").double())
        torch.manual_seed(0)
        with torch.no_grad():
            for p in bound.parameters():
                p.normal_(0, 0.1)
                p.register_hook(lambda g: g / 2)
        if backend:
            compiled(bound, x, backend=backend)
        found.append(step(bound, x))
    assert_close(*found, 1e-12)


class Draws(nn.Module):
    """Twelve latents, each of its own size, of which the first that is drawn is the last that is used."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.linspace(-1, 1, 12, dtype=torch.float64))

    def guide(self, x: Tensor) -> list[Tensor]:
        with pyro.plate("images", len(x)):
            spread = torch.ones(len(x), 1, dtype=x.dtype)
            wide = [spread.expand(-1, i + 1) for i in range(12)]
            return [
                pyro.sample(f"z{i}", dist.Normal(self.loc[i], wide[i]).to_event(1))
                for i in range(12)
            ]

    def model(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            wide = [torch.ones(len(x), i + 1, dtype=x.dtype) for i in range(12)]
            z = [pyro.sample(f"z{i}", dist.Normal(0.0, wide[i]).to_event(1)) for i in range(12)]
            loc = x.new_zeros(len(x), 1)
            for latent in reversed(z):
                loc = torch.tanh(loc + latent.sum(-1, keepdim=True))
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x.flatten(1))


def test_draws_keep_their_order() -> None:
    """Inductor sorts them by the names of their memory, and torch 2.9 by where they are used."""
    bound, x = Bound(Draws(), ELBO()), images(dtype=torch.float64)
    eager = step(bound, x)
    assert_close(eager, step(compiled(bound, x, backend="inductor"), x), 1e-12)


class Multiple(Changing):
    def model(self, x: Tensor) -> None:
        loc = torch.add(x.flatten(1) @ self.loc.outer(self.loc), self.loc, alpha=3.0)
        with pyro.plate("images", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x.flatten(1))


def test_a_multiple_is_added() -> None:
    """Inductor in torch 2.13 forgets α of x W + α b."""
    bound, x = Bound(Multiple(counts).double()), images(dtype=torch.float64)
    bound.model.loc.data.add_(0.3)
    eager = step(bound, x)
    assert_close(eager, step(compiled(bound, x, backend="inductor"), x), 1e-12)


def test_a_pair_trains_in_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Step.compile, "__defaults__", ("eager",))
    outside = nn.Linear(16, 2)
    before = outside.weight.clone()
    history = fit(Pair(outside), [images()], steps=4, compile=True, progress=False)
    assert history.compiled == "compiled"
    assert not torch.equal(outside.weight, before)


def test_autoguide() -> None:
    class Auto(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vae = member("VAE")
            self.guide = autoguide.AutoNormal(self.model)

        def model(self, x: Tensor) -> Tensor:
            return self.vae.model(x)

    bound, x = Bound(Auto(), ELBO()), images()
    bound(x)  # an autoguide makes its parameters when it is first called
    eager = step(bound, x)
    assert_close(eager, step(compiled(bound, x), x), 1e-6)


def test_a_program_that_looks_at_values_warns_once_and_runs_eagerly() -> None:
    pair, x = Pair(nn.Linear(16, 2), looks=True), images()
    bound = Bound(pair, ELBO()).compile("eager")
    bound(x)
    with pytest.warns(UserWarning, match="the bound runs eagerly: .*value out of a tracing"):
        bound(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n in (6, 6, 3, 3):
            assert_close(step(Bound(pair, ELBO()), images(n) * 0), step(bound, images(n) * 0), 1e-6)
    pair.looks = False
    bound(x), bound(x)
    assert traced(bound) == 1
