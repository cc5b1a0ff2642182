"""`annealed` and `sandwiched`: closed forms of a linear-Gaussian model, and any part."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from linear import D, Linear
from pyro import poutine
from torch import Tensor, nn
from zoo import (
    EACH_PART,
    MEMBERS,
    BadCall,
    batch_for,
    images,
    member,
    refused,
    widen,
    with_parts,
)

from vaezoo.estimates import Estimate
from vaezoo.evaluation import annealed, sandwiched
from vaezoo.evaluation.hmc import evaluated, transition

QUIET: dict[str, Any] = {"progress": False, "max_decodes": 100_000}


def values(estimate: Estimate) -> Tensor:
    assert estimate.values is not None
    return estimate.values


def test_moves_keep_what_they_should() -> None:
    """20,000 draws of a Normal after a coarse move: mean and variance within 4 standard errors."""
    torch.manual_seed(0)

    def both(h: Tensor) -> tuple[Tensor, Tensor]:
        return -0.5 * h.square().sum(-1), -0.1 * h.square().sum(-1)

    scale = (0.5 * 1.0 + 0.5 * 0.2) ** -0.5
    h = torch.randn(20_000, 1, 1, **D) * scale
    size = torch.full((1,), 2.4, **D)
    moved, acceptance = transition(both, evaluated(both, h), 0.5, size, 3)
    assert acceptance.mean() < 0.9
    found = moved.h.flatten() / scale
    assert abs(found.mean()) * math.sqrt(len(found)) < 4
    assert abs(found.square().mean() - 1) / math.sqrt(2 / len(found)) < 4
    assert (moved.h != h).double().mean() == pytest.approx(acceptance.mean().item(), abs=0.02)


@pytest.mark.parametrize("start", ["prior", "guide"])
def test_weights_are_unbiased(start: str) -> None:
    """Few temperatures, 4,000 chains of 5 images: mean of w / p(x) is 1, |z| < 4; so is p(x) / w's."""
    torch.manual_seed(0)
    linear = Linear((1.0, 0.5), widen=1.3, turn=0.3)
    x = linear.draw(5)
    found = annealed(linear.vae, [x], chains=4000, temperatures=4, steps=2, start=start, **QUIET)
    z = (values(found["log_px"]) - linear.log_px(x)).expm1() / values(found["mc_error"])
    assert z.abs().max() < 4
    assert found["mc_error"].mean < 0.1
    assert 0.3 < found["acceptance"].mean < 1


def test_errors_are_those_of_the_closed_form() -> None:
    """200 images: 90 to 99 % of the 95 % intervals hold log p(x)."""
    torch.manual_seed(0)
    linear = Linear((1.0, 0.5))
    x = linear.draw(200)
    found = annealed(linear.vae, [x], chains=50, temperatures=20, steps=3, **QUIET)
    z = (values(found["log_px"]) - linear.log_px(x)) / values(found["mc_error"])
    assert 0.9 <= (z.abs() < 1.96).double().mean() <= 0.99


def test_the_truth_lies_between() -> None:
    """200 simulated images: E log p(x) is above "lower" and below "upper", |z| < 4, the gap small."""
    torch.manual_seed(0)
    linear = Linear((1.0, 0.5))
    batch = torch.zeros(200, 1, 4, 4, **D)
    found = sandwiched(linear.vae, [batch], chains=10, temperatures=10, steps=3, **QUIET)
    truth = linear.mean_log_px()
    assert found["lower"].mean < truth + 4 * found["lower"].stderr
    assert found["upper"].mean > truth - 4 * found["upper"].stderr
    assert 0 < found["gap"].mean < 0.2
    assert found["gap"].mean > 4 * found["gap"].stderr
    both = values(found["upper"]) - values(found["lower"])
    assert torch.equal(both, values(found["gap"]))
    near = sandwiched(linear.vae, [batch], chains=10, temperatures=40, steps=3, **QUIET)
    assert near["gap"].mean < 0.5 * found["gap"].mean


@pytest.mark.parametrize("name", MEMBERS)
def test_any_member_will_do(name: str) -> None:
    """Labels summed out, latents above one another: log of the mean of p(x|h) over draws of p(h).

    20,000 of them for each of 3 images: |z| < 4.
    """
    torch.manual_seed(0)
    model, batch = member(name).double(), batch_for(name, 3, dtype=torch.float64)
    widen(model.likelihood, 0.15)
    found = annealed(model, [batch], chains=50, temperatures=8, steps=2, **QUIET)
    with torch.no_grad(), pyro.plate("particles", 20_000, dim=-2):
        x = poutine.trace(model.model).get_trace(*batch).nodes["x"]
        p = x["fn"].log_prob(x["value"]).exp()
    error = (values(found["mc_error"]).square() + p.var(0) / p.mean(0).square() / 20_000).sqrt()
    assert ((values(found["log_px"]) - p.mean(0).log()) / error).abs().max() < 4
    bounds = sandwiched(model, [batch], chains=10, temperatures=5, steps=2, start="guide", **QUIET)
    assert bounds["gap"].mean < 1


@pytest.mark.parametrize("parts", EACH_PART)
def test_any_parts_will_do(parts: tuple[str, str, str]) -> None:
    torch.manual_seed(0)
    model, few = with_parts("VAE", *parts), {"chains": 2, "temperatures": 3, "steps": 1}
    for start in ("prior", "guide"):
        options: dict[str, Any] = {**few, "start": start, "progress": False, "max_decodes": 6}
        found = annealed(model, (images(3) for _ in range(2)), **options)
        found |= sandwiched(model, [images(3)], **options)
        assert all(values(each).isfinite().all() for each in found.values())
        assert found["log_px"].n == 6


class Bounded(nn.Module):
    """A pair whose latent lies between 0 and 1."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.ones(()))

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Beta(self.rate, 1.0))
            pyro.sample(
                "x", dist.Bernoulli(z[:, None].expand(-1, 16)).to_event(1), obs=x.flatten(1)
            )

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Beta(self.rate, 1.0))


BAD_CALLS: list[BadCall] = [
    (lambda: annealed(member("VAE"), [images()], chains=1, **QUIET), ValueError, "chains must be at least 2, got 1"),
    (lambda: annealed(member("VAE"), [images()], steps=0, **QUIET), ValueError, "steps must be at least 1, got 0"),
    (lambda: annealed(member("VAE"), [images()], start="q", **QUIET), ValueError, "start must be one of .'prior', 'guide'., got 'q'"),
    (lambda: annealed(Bounded(), [images()], **QUIET), ValueError, "'z' is bound to Interval"),
    (lambda: sandwiched(Bounded(), [images()], **QUIET), ValueError, "observes its images by no site"),
]  # fmt: skip


test_bad_calls = refused(BAD_CALLS)
