"""Chains and scores looked at again: where they begin, what they take, and types of weights."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from zoo import X_SHAPE, BadCall, fixed, member, refused, widen

from vaezoo import evaluate, likelihoods
from vaezoo.estimates import Estimate
from vaezoo.evaluation import annealed, gaps, sandwiched
from vaezoo.evaluation.hmc import evaluated

QUIET: dict[str, Any] = {"progress": False}
SHORT: dict[str, Any] = {"chains": 2, "temperatures": 3, **QUIET}
D: dict[str, Any] = {"dtype": torch.float64}


def values(estimate: Estimate) -> Tensor:
    assert estimate.values is not None
    return estimate.values


class Bounded(nn.Module):
    """x ~ N(z, 1), z ~ N(0, 1), and q(z|x) within bounds, though p(z) has none."""

    def __init__(self, q: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.q = q

    def model(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            pyro.sample("z", self.q(x).to_event(1))


def bounded(q: Callable[[Tensor], Any]) -> dict[str, Estimate]:
    return annealed(Bounded(q), [torch.zeros(6, 2)], start="guide", **SHORT)


def simplex() -> Any:
    model = member("VAE")
    model.prior = dist.Dirichlet(torch.ones(3))
    return model


def simulated(second: Tensor) -> dict[str, Estimate]:
    return sandwiched(member("VAE"), [fixed(6), second], **SHORT)


AS_PRIOR = r"'z' is bound to .*: anneal from start='prior'"
BAD_CALLS: dict[str, BadCall] = {
    "uniform": (lambda: bounded(lambda x: dist.Uniform(x - 1, x + 1)), ValueError, AS_PRIOR),
    "log-normal": (lambda: bounded(lambda x: dist.LogNormal(x, 1.0)), ValueError, AS_PRIOR),
    "simulated, NaN": (lambda: simulated(fixed(6) * math.nan), ValueError, "images hold NaN or infinite values"),
    "simulated, no image": (lambda: simulated(fixed(6)[:0]), ValueError, r"got \(0, 1, 4, 4\)"),
    "simulated, grey": (lambda: simulated(fixed(6) / 2), ValueError, "pixels that are 0 or 1"),
    "score": (lambda: simplex().score(fixed(6)), ValueError, "within the support"),
}  # fmt: skip


test_bad_calls = refused(BAD_CALLS)


@pytest.mark.parametrize("flat", [0, 1])
def test_a_density_that_is_the_same_everywhere_pulls_nowhere(flat: int) -> None:
    """One without a graph, and one of a parameter that is not h; the other's gradient is -2 h."""
    parameter, h = torch.zeros(2, 3, requires_grad=True, **D), torch.ones(2, 3, 1, **D)
    for same in (parameter, parameter.detach()):
        both = [-h.square().sum(-1)] * 2
        state = evaluated(lambda z, same=same: _placed(same, z, flat), h)
        both[flat] = same.detach()
        assert torch.equal(state.log_start, both[0])
        assert torch.equal(state.log_end, both[1])
        assert torch.equal(state.gradients[flat], torch.zeros_like(h))
        assert torch.equal(state.gradients[1 - flat], -2 * h)


def _placed(same: Tensor, z: Tensor, flat: int) -> tuple[Tensor, Tensor]:
    other = -z.square().sum(-1)
    return (other, same) if flat else (same, other)


def test_gaps_under_autocast() -> None:
    """As without, to the rounding of bfloat16: the tail of its weights, and what refining gains."""
    torch.manual_seed(0)
    model, found = widen(member("VAE"), 0.5), []
    for lowered in (False, True):
        with (
            torch.autocast("cpu", torch.bfloat16, enabled=lowered),
            warnings.catch_warnings(record=True) as seen,
        ):
            warnings.simplefilter("always")
            found.append(gaps(model, [fixed(8)], steps=150, particles=100, **QUIET))
        assert any("too few weights to trust" in str(each.message) for each in seen)
    for name, tolerance in {"k_hat": 0.02, "bound": 0.05, "refined": 0.02}.items():
        assert found[1][name].mean == pytest.approx(found[0][name].mean, abs=tolerance), name


SCORED: dict[str, Callable[[], Any]] = {
    "50 classes": lambda: member("SSVAE", classes=50),
    "256 levels": lambda: member(
        "VAE", likelihood=likelihoods.Categorical(3, X_SHAPE, levels=256, hidden=(4,))
    ),
    "both": lambda: member(
        "SSVAE", likelihood=likelihoods.Categorical(3, X_SHAPE, levels=256, hidden=(4,), classes=3)
    ),
}


@pytest.mark.parametrize("kind", SCORED)
def test_scores_of_images_that_are_decoded_often(kind: str) -> None:
    """Minus the NELBO draw for draw, of 130 images, and no more than 2,000 decoded at a time."""
    torch.manual_seed(0)
    model, x, sizes = SCORED[kind](), fixed(130), []
    expected = evaluate(model, [*x.split(100)], particles=1, seed=5, **QUIET)["nelbo"]
    model.likelihood.network.register_forward_hook(
        lambda module, given, out: sizes.append(out.numel() // 16)
    )
    assert torch.equal(model.score(x, seed=5).double(), -values(expected))
    assert max(sizes) <= 2000
