"""Parts and programs that a member refuses, and what it cannot draw."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal
from zoo import X_SHAPE, BadCall, images, member, refused

from vaezoo import (
    Bound,
    likelihoods,
    networks,
    posteriors,
    priors,
)


class Plain(posteriors.DiagonalNormal):
    """Of torch's distributions, which Pyro's programs cannot draw from."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        return Independent(Normal(self._read(x, y)[..., 0, :], 1.0), 1)


class Parameters(likelihoods.Likelihood):
    def forward(self, z: Tensor, y: Tensor | None = None) -> Any:
        return self._decode(z, y)


CALLS: list[BadCall] = [
    (lambda: member("VAE").sample(3, y=1), ValueError, "VAE has no labels: leave y out"),
    (lambda: member("FSVAE").sample(3), ValueError, r"no p\(y\): say which classes"),
    (lambda: setattr(member("VAE"), "prior", priors.StandardNormal(4)), ValueError, r"does not fit VAE.*got \(\(\), \(4,\)\)"),
    (lambda: setattr(member("VAE"), "prior", nn.Linear(1, 1)), TypeError, "must be a Prior, got a Linear"),
    (lambda: setattr(member("VAE"), "likelihood", likelihoods.Bernoulli(3, (1, 5, 5))), ValueError, "does not fit VAE"),
    (lambda: setattr(member("VAE"), "posterior", posteriors.DiagonalNormal((1, 5, 5), 3)), ValueError, "does not fit VAE.*expected inputs"),
    (lambda: setattr(member("FSVAE"), "posterior", posteriors.DiagonalNormal(X_SHAPE, 3)), ValueError, "takes no labels"),
    (lambda: setattr(member("VAE"), "guide", 3), TypeError, "must be a Pyro program or a Posterior, got a int"),
    (lambda: setattr(member("VAE"), "guide", priors.StandardNormal(3)), TypeError, "got a StandardNormal"),
    (lambda: setattr(member("VAE"), "model", lambda: None), TypeError, r"a model for VAE takes \(x: .*got \(\)"),
    (lambda: member("SSVAE", classifier=posteriors.Classifier(X_SHAPE, 2)), ValueError, "expected 3 classes, got 2"),
    (lambda: member("SSVAE", classifier=posteriors.Classifier(X_SHAPE, 3, network=nn.Sequential(nn.Flatten(), nn.Linear(16, 4)))), ValueError, "expected 3 classes, got 4"),
    (lambda: member("SSVAE", likelihood=likelihoods.Bernoulli(3, X_SHAPE, classes=2)), ValueError, r"likelihood .*does not fit SSVAE.*labels must lie in 0\.\.1"),
    (lambda: member("FSVAE", posterior=posteriors.DiagonalNormal(X_SHAPE, 3, classes=2)), ValueError, r"posterior .*does not fit FSVAE.*labels must lie in 0\.\.1"),
    (lambda: member("VAE", likelihood=likelihoods.Categorical(3, X_SHAPE, levels=4, network=networks.MLP((3,), (5,), (*X_SHAPE, 6)))), ValueError, "expected logits of 4 levels, got 6"),
    (lambda: member("VAE", posterior=posteriors.LowRankNormal(X_SHAPE, 3, rank=1, network=networks.MLP(X_SHAPE, (5,), (5, 3)))), ValueError, "expected 3 vectors, got 5"),
    (lambda: member("VAE", posterior=Plain(X_SHAPE, 3)), TypeError, r"posterior Plain\(3\) is to return a distribution of pyro.distributions, got torch's Independent: take its class"),
    (lambda: member("VAE", likelihood=Parameters(3, X_SHAPE)), TypeError, r"likelihood Parameters.* is to return a distribution .*got a Tensor$"),
    (lambda: setattr(member("GMVAE").prior, "k", 9), ValueError, r"k is 5 for the weights that this MixtureOfGaussians has: .*k=9\)"),
    (lambda: setattr(likelihoods.DiscretizedLogistic(3, X_SHAPE), "scale", "pixel"), ValueError, "scale is shared for the weights"),
    (lambda: setattr(member("VAE").posterior.network, "hidden", (9,)), ValueError, r"hidden is \(8, 6\) for the weights that this MLP has"),
    (lambda: setattr(member("VAE").posterior.network, "activation", nn.Tanh), ValueError, r"activation is .*ELU.* for the weights that this MLP has"),
    (lambda: Bound(member("VAE"), "elbo"), TypeError, "or a pyro.infer ELBO, got a str"),
]  # fmt: skip


test_bad_parts = refused(CALLS)


def test_refused_part_leaves_the_model_as_it_was() -> None:
    vae = member("VAE")
    kept, story = vae.prior, repr(vae)
    with pytest.raises(ValueError, match="does not fit"):
        vae.prior = priors.StandardNormal(7)
    assert vae.prior is kept
    assert repr(vae) == story


def test_a_refused_part_keeps_its_dtype_and_its_digits() -> None:
    part = posteriors.DiagonalNormal(X_SHAPE, 4).double()
    part(images(dtype=torch.float64)).rsample().sum().backward()
    before = [(p, p.detach().clone(), p.grad.clone()) for p in part.parameters()]
    prior = priors.Flow(4).double()
    for role, bad in (("posterior", part), ("prior", prior)):
        with pytest.raises(ValueError, match="does not fit"):
            setattr(member("VAE"), role, bad)
    for parameter, value, grad in before:
        assert torch.equal(parameter, value)
        assert torch.equal(parameter.grad, grad)
    assert all(t.dtype == torch.float64 for t in prior.buffers() if t.is_floating_point())
    assert prior().log_prob(torch.zeros(4).double()).dtype == torch.float64
