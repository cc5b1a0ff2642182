"""Steps eager and compiled, side by side, for the tests of what is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from zoo import (
    batch_for,
    images,
    labels,
)

from vaezoo import ELBO, IWELBO, Bound, SemiSupervised
from vaezoo.objectives import Objective, Renyi, WarmUp

OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "elbo": ELBO,
    "beta": lambda: ELBO(beta=2.0, free_bits=0.5, particles=2),
    "iwae": lambda: IWELBO(4),
    "stl": lambda: IWELBO(4, estimator="stl"),
    "dreg": lambda: IWELBO(4, estimator="dreg"),
    "renyi": lambda: Renyi(0.5, particles=3),
    "semi": lambda: SemiSupervised(ELBO(beta=WarmUp(10, start=0.3)), alpha=2.0),
}


Result = tuple[dict[str, Tensor], list[Tensor | None]]


def batch_of(name: str, objective: Any, dtype: torch.dtype, n: int = 6) -> tuple[Tensor, ...]:
    if isinstance(objective, SemiSupervised):
        return images(n, dtype=dtype), images(4, dtype=dtype), labels(4)
    return batch_for(name, n, dtype=dtype)


def step(bound: Bound, *batch: Tensor, seed: int = 1) -> Result:
    """Terms, and the gradient of every parameter, from one seed."""
    torch.manual_seed(seed)
    bound.zero_grad()
    terms = bound(*batch)
    terms["loss"].backward()
    return {n: t.detach() for n, t in terms.items()}, [p.grad for p in bound.parameters()]


def assert_close(a: Result, b: Result, tolerance: float) -> None:
    """Terms, and gradients relative to the largest element of each parameter's."""
    assert a[0].keys() == b[0].keys()
    for name, value in a[0].items():
        assert b[0][name].item() == pytest.approx(value.item(), rel=tolerance, abs=tolerance), name
    for p, q in zip(a[1], b[1], strict=True):
        assert (p is None) == (q is None)
        if p is not None and q is not None:
            scale = p.abs().max().clamp(min=1e-6)
            assert ((p - q).abs().max() / scale).item() <= tolerance


def compiled(bound: Bound, *batch: Tensor, backend: Any = "eager") -> Bound:
    """After two calls, of which the second was traced."""
    bound.compile(backend)
    for _ in range(2):
        bound(*batch)
    assert traced(bound) == 1
    return bound


def traced(bound: Bound) -> int:
    """How many steps are in use; those that could not be traced are not counted."""
    assert bound.compiled is not None
    return sum(step.call is not None for step in bound.compiled.steps)


class Pair(nn.Module):
    """A pair of one's own, with a network inside, one outside and a pyro.param."""

    def __init__(self, outside: nn.Module, *, looks: bool = False) -> None:
        super().__init__()
        self.decoder = nn.Linear(2, 16)
        self.norm = nn.BatchNorm1d(16)
        self.call, self.looks = [outside], looks

    def model(self, x: Tensor) -> None:
        scale = pyro.param("scale", torch.tensor(0.7), constraint=dist.constraints.positive)
        with pyro.plate("images", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), scale).to_event(1))
            if self.looks and z.sum() > 0:
                z = -z
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x.flatten(1))

    def guide(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            h = self.call[0](self.norm(x.flatten(1)))
            pyro.sample("z", dist.Normal(h, 0.5).to_event(1))
