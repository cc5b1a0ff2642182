"""Densities at draws, looked at again: given labels, masks, and latents of the guide alone."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor, nn
from zoo import BadCall, refused

from vaezoo.estimates import Estimate
from vaezoo.evaluation import annealed, rate

QUIET: dict[str, Any] = {"progress": False}
SHORT: dict[str, Any] = {"chains": 2, "temperatures": 3, **QUIET}
D: dict[str, Any] = {"dtype": torch.float64}
RANDOM = torch.Generator().manual_seed(71)
X, Y = torch.randn(60, 2, generator=RANDOM, **D), torch.arange(60) % 10
ALL, HALF = torch.ones(60, dtype=torch.bool), torch.arange(60) < 30


def values(estimate: Estimate) -> Tensor:
    assert estimate.values is not None
    return estimate.values


class Given(nn.Module):
    """z ~ N(0, 1) in two dimensions, x ~ N(z, 1); labels are observed where it is said.

    Args:
        labels: the programs that observe y, of ten classes: p(y) is uniform, and q(y|x) is not.
    """

    def __init__(self, *labels: str) -> None:
        super().__init__()
        self.labels = labels

    def observed(self, program: str, y: Tensor, logits: Tensor) -> None:
        if program in self.labels:
            pyro.sample(
                "y", dist.Categorical(logits=logits), obs=y, infer={"enumerate": "parallel"}
            )

    def model(self, x: Tensor, y: Tensor) -> None:
        with pyro.plate("images", len(x)):
            self.observed("model", y, torch.zeros(10, **D))
            z = pyro.sample("z", dist.Normal(torch.zeros(2, **D), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor, y: Tensor) -> None:
        """The posterior N(x / 2, 1 / 2)."""
        with pyro.plate("images", len(x)):
            self.observed("guide", y, x[:, :1] * torch.arange(10.0, **D))
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5).to_event(1))


def exact(x: Tensor) -> Tensor:
    """log p(x, y) of `Given`."""
    return dist.Normal(torch.zeros((), **D), 2**0.5).log_prob(x).sum(1) - math.log(10)


@pytest.mark.parametrize("labels", [("model",), ("model", "guide")])
def test_a_given_label_is_no_part_of_the_rate(labels: tuple[str, ...]) -> None:
    """All but the distortion as without it, which is log 10 more; rate and it are the NELBO."""
    found, plain = (rate(Given(*each), [(X, Y)], **QUIET) for each in (labels, ()))
    assert list(found) == list(plain)
    for name, each in found.items():
        more = math.log(10) if name == "distortion" else 0
        assert (values(each) - values(plain[name]) - more).abs().max() < 1e-12, name
    # q is the posterior: the NELBO is -log p(x, y), and the noise that of log p(x|z)
    off = found["rate"].mean + found["distortion"].mean + exact(X).mean().item()
    assert abs(off) < 4 * found["distortion"].stderr


@pytest.mark.parametrize("labels", [("model",), ("model", "guide")])
def test_chains_begin_at_latents_alone(labels: tuple[str, ...]) -> None:
    """From the posterior itself every weight is p(x) p(y), in closed form to 1e-10."""
    found = annealed(Given(*labels), [(X[:5], Y[:5])], start="guide", **SHORT)["log_px"]
    assert (values(found) - exact(X[:5])).abs().max() < 1e-10


class Odd(nn.Module):
    """A mask on z in one of the programs or both, or a factor there."""

    def __init__(self, mask: str = "", factor: str = "") -> None:
        super().__init__()
        self.mask, self.factor = mask, factor

    def program(self, name: str, x: Tensor, kept: Tensor, loc: Tensor, scale: float) -> Tensor:
        kept = kept if name in self.mask else torch.ones_like(kept)
        with poutine.mask(mask=kept):
            z: Tensor = pyro.sample("z", dist.Normal(loc, scale).to_event(1))
        if name in self.factor:
            pyro.factor("bonus", torch.full((len(x),), 7.0, **D), has_rsample=True)
        return z

    def model(self, x: Tensor, kept: Tensor) -> None:
        with pyro.plate("images", len(x)):
            z = self.program("model", x, kept, torch.zeros(2, **D), 1.0)
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor, kept: Tensor) -> None:
        with pyro.plate("images", len(x)):
            self.program("guide", x, kept, x / 2, 0.1)


def rated(kept: Tensor, **odd: str) -> dict[str, Estimate]:
    return rate(Odd(**odd), [(X, kept)], **QUIET)


def test_what_leaves_draws_as_they_are() -> None:
    """A mask that keeps all, and a factor of the model's, which raises log p(x|z) by 7."""
    plain = rated(ALL)
    assert rated(ALL, mask="model guide") == plain
    found = rated(ALL, factor="model")
    assert found["distortion"].mean == pytest.approx(plain["distortion"].mean - 7, abs=1e-12)
    assert [e for n, e in found.items() if n != "distortion"] == [
        e for n, e in plain.items() if n != "distortion"
    ]


class Auxiliary(nn.Module):
    """q(z|x) = ∫ q(a|x) q(z|a), with a of one number or of two."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def model(self, x: Tensor) -> None:
        Given().model(x, Y)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            drawn = dist.Normal(x[:, : self.size], 1.0).to_event(1)
            a = pyro.sample("a", drawn, infer={"is_auxiliary": True})
            pyro.sample("z", dist.Normal(a + torch.zeros_like(x), 0.1).to_event(1))


@pytest.mark.parametrize("size", [1, 2])
def test_a_latent_of_the_guide_alone_has_no_marginals(size: int) -> None:
    found = rate(Auxiliary(size), [X], **QUIET)
    assert list(found) == ["rate", "distortion", "mutual_information", "marginal_kl"]
    total = values(found["mutual_information"]) + values(found["marginal_kl"])
    assert (total - values(found["rate"])).abs().max() < 1e-9


class Bare(nn.Module):
    """No latents: x ~ N(m, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.m = nn.Parameter(torch.zeros(2, **D))

    def model(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            pyro.sample("x", dist.Normal(self.m, 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        pass


NOT_DRAWN = "which draws of latents do not follow"
BAD_CALLS: dict[str, BadCall] = {
    "mask of the guide": (lambda: rated(HALF, mask="guide"), ValueError, f"the guide has a mask on the latent 'z', {NOT_DRAWN}"),
    "mask of the model": (lambda: rated(HALF, mask="model"), ValueError, f"the model has a mask on the latent 'z', {NOT_DRAWN}"),
    "masks": (lambda: rated(HALF, mask="model guide"), ValueError, f"the guide has a mask on the latent 'z', {NOT_DRAWN}"),
    "factor": (lambda: rated(ALL, factor="guide"), ValueError, f"the guide has a factor 'bonus', {NOT_DRAWN}"),
    "no latents": (lambda: rate(Bare(), [X], **QUIET), ValueError, "a rate is that of latents, and this pair has none"),
}  # fmt: skip


test_bad_calls = refused(BAD_CALLS)
