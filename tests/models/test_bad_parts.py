"""Parts and programs that a member refuses, and what it cannot draw."""

from __future__ import annotations

import pytest
from torch import nn
from zoo import X_SHAPE, BadCall, member, refused

from vaezoo import (
    Bound,
    likelihoods,
    posteriors,
    priors,
)

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
