"""Densities at a distribution's own draws: gradients by the draw too, and draws that have changed."""

from __future__ import annotations

import copy
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from test_normals import KINDS, Parameters, dense, ill
from torch import Tensor, nn
from zoo import images, member

from vaezoo import IWELBO, posteriors
from vaezoo.distributions import DiagonalNormal, FullNormal, LowRankNormal
from vaezoo.distributions.noise import parameters_alone
from vaezoo.programs.run import run

D = 4


@pytest.fixture
def parameters() -> Parameters:
    torch.manual_seed(0)
    shapes = [(3, D), (3, D, D), (3, D)]
    return tuple(torch.randn(*s, dtype=torch.float64).requires_grad_() for s in shapes)


def gradients(value: Tensor, by: tuple[Tensor, ...]) -> list[Tensor]:
    found = torch.autograd.grad(value, by, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for g, t in zip(found, by, strict=True)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_by_a_draw(kind: str, parameters: Parameters) -> None:
    """∇_z of log q(z) + |z|² and ∇_φ of it, against dense matrices, to 1e-10."""
    q = KINDS[kind](*parameters)
    z = q.rsample((5,))
    found, expected = (
        gradients((density + z.square().sum(-1)).sum(), (z, *parameters))
        for density in (q.log_prob(z), dense(kind, z, *parameters))
    )
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(found, expected, strict=True))
    assert (found[0] - 2 * z).abs().max() > 0.1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("leaf", [False, True])
def test_a_draw_without_a_graph(kind: str, leaf: bool, parameters: Parameters) -> None:
    """What score functions and Langevin steps take: gradients by parameters and by the draw."""
    q = KINDS[kind](*parameters)
    with torch.no_grad():
        z = q.rsample()
    z.requires_grad_(leaf)
    by = (*parameters, z) if leaf else parameters
    found = gradients(q.log_prob(z).sum(), by)
    expected = gradients(dense(kind, z, *parameters).sum(), by)
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(found, expected, strict=True))
    assert max(g.abs().max() for g in found) > 0.1


@pytest.mark.parametrize("posterior", ["DiagonalNormal", "FullNormal", "LowRankNormal"])
def test_weights_have_their_gradient_by_the_latent(posterior: str) -> None:
    """∇_z of log p(x, z) - log q(z|x), as DReG written by hand takes it, to 1e-10."""
    part = getattr(posteriors, posterior)((1, 4, 4), 3, hidden=(8,))
    vae, x = member("VAE", posterior=part).double(), images(6).double()
    terms = run(vae.model, vae.guide, x)
    z = terms.value("z")
    found = torch.autograd.grad(terms.log_w.sum(), z)[0].reshape(6, 3)
    with torch.no_grad():
        leaf = z.reshape(6, 3).clone().requires_grad_()
    q: Any = vae.posterior(x)
    normal = dist.MultivariateNormal(q.mean, _covariance(q))
    by_hand = vae.prior().log_prob(leaf) + vae.likelihood(leaf).log_prob(x) - normal.log_prob(leaf)
    assert torch.allclose(found, torch.autograd.grad(by_hand.sum(), leaf)[0], atol=1e-10)


def _covariance(q: Any) -> Tensor:
    return q.variance.diag_embed() if hasattr(q, "base_dist") else q.covariance_matrix


def three() -> dict[str, tuple[Any, Tensor]]:
    loc = torch.zeros(2, dtype=torch.float64)
    factor = torch.tensor([[1.0, 0.0], [0.5, 2.0]], dtype=torch.float64)
    return {
        "diagonal": (DiagonalNormal(loc, loc + 2).to_event(1), loc),
        "full": (FullNormal(loc, scale_tril=factor), loc),
        "low rank": (LowRankNormal(loc, factor[:, :1], loc + 1), loc),
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inference", [False, True])
def test_a_draw_that_was_written_into(kind: str, inference: bool) -> None:
    with torch.inference_mode(inference):
        q, _ = three()[kind]
        z = q.rsample()
        before = q.log_prob(z)
        assert torch.allclose(before, q.log_prob(z.clone()), atol=1e-12)
        z += 10
        assert torch.equal(q.log_prob(z), q.log_prob(z.clone()))
        assert (q.log_prob(z) - before).abs() > 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inference", [False, True])
def test_a_mean_that_was_written_into(kind: str, inference: bool) -> None:
    with torch.inference_mode(inference), torch.no_grad():
        q, loc = three()[kind]
        z = q.rsample()
        before = q.log_prob(z)
        loc += 5
        assert torch.equal(q.log_prob(z), q.log_prob(z.clone()))
        assert (q.log_prob(z) - before).abs() > 1


def test_a_flow_whose_draw_was_written_into_in_inference_mode() -> None:
    part, x = posteriors.Flow((1, 4, 4), 3, hidden=(8,)).double().eval(), images(2).double()
    with torch.inference_mode():
        q = part(x)
        z = q.rsample()
        assert torch.allclose(q.log_prob(z), part(x).log_prob(z), atol=1e-10)
        z += 1
        assert torch.allclose(q.log_prob(z), part(x).log_prob(z), atol=1e-10)


def test_a_parameter_that_an_optimizer_has_moved() -> None:
    loc = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    q = DiagonalNormal(loc, torch.ones(2, dtype=torch.float64)).to_event(1)
    z = q.rsample()
    with torch.no_grad():
        loc.add_(5)
    assert torch.equal(q.log_prob(z), q.log_prob(z.clone()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_that_is_made_in_inference_mode(kind: str) -> None:
    q, _ = three()[kind]
    z = q.rsample()
    with torch.inference_mode():
        twin, value = copy.deepcopy((q, z))
        assert torch.allclose(twin.log_prob(value), q.log_prob(z), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_an_objective_needs_no_gradient_by_the_draw(kind: str) -> None:
    """∇_μ of log q(z) + tanh(z / 1000) in float32, where L is ill-conditioned, by hand; to 1e-5."""
    q = ill(kind, torch.float32)
    loc = (q.base_dist if kind == "diagonal" else q).loc.requires_grad_()
    with parameters_alone():
        z = q.rsample()
        (q.log_prob(z) + (z / 1e3).tanh().sum(-1)).sum().backward()
    assert torch.allclose(loc.grad, (1 - (z / 1e3).tanh().square()) / 1e3, rtol=1e-5)


class OfOnesOwn(IWELBO):
    """A bound whose gradient by the latent somebody asks for."""

    def bound(self, terms: Any) -> Tensor:
        if torch.is_grad_enabled():
            z = terms.value("z")
            self.seen = torch.autograd.grad(terms.log_w.sum(), z, retain_graph=True)[0]
        return super().bound(terms)


def test_an_objective_of_ones_own_has_it() -> None:
    vae, x, objective = member("VAE").double(), images(6).double(), OfOnesOwn(4)
    torch.manual_seed(0)
    objective.estimate(vae.model, vae.guide, x)
    seen = objective.seen
    torch.manual_seed(0)
    z = run(vae.model, vae.guide, x, particles=4).value("z").detach().requires_grad_()
    by_hand = vae.prior().log_prob(z) + vae.likelihood(z).log_prob(x) - vae.posterior(x).log_prob(z)
    assert torch.allclose(seen, torch.autograd.grad(by_hand.sum(), z)[0], atol=1e-10)
