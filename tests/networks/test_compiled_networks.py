"""Networks of `torch.jit` and `torch.compile` are networks like any other: lowered and refined whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from vaezoo import ELBO, Bound, fit
from vaezoo.evaluation import gaps
from vaezoo.evaluation.refining import Refined
from vaezoo.networks.precision import networks_lowered_to


def in_place(network: nn.Module) -> nn.Module:
    network.compile(backend="eager")
    return network


def own_forward(network: nn.Module) -> nn.Module:
    forward = network.forward
    network.forward = lambda x: forward(x)
    return network


WRAPS: dict[str, Callable[[nn.Module], Any]] = {
    "script": torch.jit.script,
    "trace": lambda n: torch.jit.trace(n, torch.zeros(3, 6)),
    "torch.compile": lambda n: torch.compile(n, backend="eager"),
    "compile()": in_place,
    "a forward of its own": own_forward,
}

DEPRECATED = pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated")


class TwoNetworks(nn.Module):
    """A pair whose guide has a plain network for the mean and another, wrapped, for the scale."""

    def __init__(self, wrap: Callable[[nn.Module], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.loc = nn.Linear(6, 2)
        self.scale = wrap(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2)))
        self.decoder = nn.Linear(2, 6)

    def model(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            q = dist.Normal(self.loc(x), self.scale(x).exp())
            pyro.sample("z", q.to_event(1))


def data() -> Tensor:
    return torch.randn(4, 6, generator=torch.Generator().manual_seed(1))


@DEPRECATED
@pytest.mark.parametrize("wrap", WRAPS)
def test_lowered_as_the_plain_one_and_put_back(wrap: str) -> None:
    """To the rounding of bfloat16, 8 bits: 2 % of terms of some nats."""
    x, found = data(), []
    for pair in (TwoNetworks(lambda n: n), TwoNetworks(WRAPS[wrap])):
        before = {n: vars(m).get("forward") for n, m in pair.named_modules()}
        pair.guide(x)
        torch.manual_seed(2)
        with torch.autocast("cpu", torch.bfloat16):
            outer = Bound(pair, ELBO())(x)["loss"]
        torch.manual_seed(2)
        found += [outer, Bound(pair, ELBO(), precision="bf16")(x)["loss"]]
        assert {n: vars(m).get("forward") for n, m in pair.named_modules()} == before
        with networks_lowered_to(pair, torch.bfloat16):
            lowered = pair.scale(x)
        assert torch.equal(lowered, lowered.bfloat16().float())
        assert lowered.dtype is torch.float32
        assert not torch.equal(pair.scale(x), lowered)
    torch.testing.assert_close(torch.stack(found), found[0].expand(4), rtol=0.02, atol=0.02)


@pytest.mark.filterwarnings("ignore:.*too few weights")
@DEPRECATED
@pytest.mark.parametrize("wrap", WRAPS)
def test_refined_whole_and_as_the_plain_one(wrap: str) -> None:
    """Both outputs of the guide have offsets, whatever ran compiled before; as plain, to rounding."""
    x, found = data(), []
    for pair in (TwoNetworks(lambda n: n), TwoNetworks(WRAPS[wrap])):
        pair.guide(x)
        assert len(Refined(pair, [x]).offsets) == 2
        refined = gaps(pair, [x], steps=20, particles=25, progress=False)["refined"].values
        assert refined is not None
        found.append(refined)
        fit(pair, [x], steps=2, progress=False, compile=False, precision="bf16")
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-4)


def test_networks_that_a_compiled_function_runs_are_refined() -> None:
    x, pair = data(), TwoNetworks(lambda n: n)
    heads = torch.compile(lambda x: (pair.loc(x), pair.scale(x)), backend="eager")

    def guide(x: Tensor) -> None:
        loc, scale = heads(x)
        with pyro.plate("images", len(x)):
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    pair.__dict__["guide"] = guide
    guide(x)
    assert len(Refined(pair, [x]).offsets) == 2
