"""A pair of one's own on vectors of six numbers, trained eagerly and compiled from one seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from vaezoo import Bound, Step

N, D, Z = 8, 6, 3


class OwnPair(nn.Module):
    """Its decoder's means are what `scale` makes of them."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(D, Z), nn.Linear(Z, D)

    def scale(self, h: Tensor) -> Tensor:
        return h

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            like = self.encoder.weight
            z = pyro.sample("z", dist.Normal(like.new_zeros(Z), like.new_ones(Z)).to_event(1))
            means = self.scale(self.decoder(z))
            pyro.sample("x", dist.Normal(means, like.new_ones(())).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.encoder(x), 1.0).to_event(1))


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=1e-2)


def trained(
    make: Callable[[], nn.Module],
    between: Callable[[Step, int], Any] = lambda step, i: None,
    *,
    objective: Callable[[], Any] = lambda: None,
    optimizer: Callable[[Any], torch.optim.Optimizer] = adam,
    backend: Any = None,
    dtype: torch.dtype = torch.float64,
    steps: int = 7,
) -> tuple[list[float], Step, str]:
    """Losses of some steps, the step, and which of them ran compiled ("c") or eagerly ("e").

    Args:
        make: the pair.
        between: called after each step, with its number.
        objective: makes one, or the default.
        optimizer: of the parameters.
        backend: to compile with, if that is to be.
        dtype: of weights and data.
        steps: how many.
    """
    torch.manual_seed(0)
    pair = make().to(dtype)
    step = Step(Bound(pair, objective()), optimizer([*pair.parameters()]))
    if backend is not None:
        step.compile(backend)
    data = torch.rand(steps, N, D, generator=torch.Generator().manual_seed(1)).to(dtype)
    losses, ways = [], ""
    for i in range(steps):
        losses.append(step(data[i])["loss"].item())
        ways += "c" if step.cache is not None and step.cache.served else "e"
        between(step, i)
    return losses, step, ways
