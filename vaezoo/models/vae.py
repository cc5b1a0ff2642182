"""The variational auto-encoder.

    p(z)   = N(0, I)
    p(x|z) = Bernoulli(f_θ(z))
    q(z|x) = N(μ_φ(x), diag σ²_φ(x))

    ELBO_β(x) = E_q[log p(x|z)] - β KL(q(z|x) ‖ p(z))

At β = 1 this is a lower bound on log p(x); the KL has a closed form, and one sample of z estimates
the rest. β > 1 presses the posterior towards the prior (β-VAE) and is no bound; what vaezoo
reports is always the bound at β = 1.

References:
    Kingma, Welling. Auto-Encoding Variational Bayes. 2014. arXiv:1312.6114, equations 3 and 10.
    Higgins et al. β-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework.
    2017, equation 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
from torch import Tensor

from vaezoo import arguments
from vaezoo.likelihoods import Bernoulli, Likelihood
from vaezoo.models.base import LatentVariableModel
from vaezoo.objectives import Objective
from vaezoo.objectives.usual import usual_objective
from vaezoo.posteriors import DiagonalNormal, Posterior
from vaezoo.priors import Prior, StandardNormal

__all__ = ["VAE"]


class VAE(LatentVariableModel):
    """The VAE, and the β-VAE by `beta`.

    Args:
        x_shape: shape of one image.
        z_dim: latent size.
        hidden: widths of the encoder's layers; the decoder mirrors them.
        beta: weight of the KL in the default objective, `objectives.ELBO(beta)`.
        prior, likelihood, posterior: your own parts in place of the default ones.

    Example:
        >>> VAE()
        p(z) = StandardNormal(10)   p(x|z) = Bernoulli(1×28×28)   q(z|x) = DiagonalNormal(10)
    """

    def __init__(
        self,
        x_shape: Sequence[int] = (1, 28, 28),
        z_dim: int = 10,
        *,
        hidden: Sequence[int] = (300, 300),
        beta: float = 1.0,
        prior: Prior | None = None,
        likelihood: Likelihood | None = None,
        posterior: Posterior | None = None,
    ) -> None:
        names = ("x_shape", "z_dim")
        x_shape, z_dim = arguments.shape_first(type(self).__name__, names, x_shape, z_dim)
        hidden, beta = arguments.shape("hidden", hidden), _weight(beta)
        log1p = getattr(likelihood, "counts", False)
        super().__init__(
            x_shape,
            z_dim,
            prior=prior or StandardNormal(z_dim),
            likelihood=likelihood or Bernoulli(z_dim, x_shape, hidden=hidden[::-1]),
            posterior=posterior or DiagonalNormal(x_shape, z_dim, hidden=hidden, log1p=log1p),
        )
        self.hidden, self.beta = hidden, beta

    def _checked(self, name: str, value: Any) -> Any:
        return _weight(value) if name == "beta" else super()._checked(name, value)

    def _settings(self) -> list[str]:
        return [] if self.beta == 1 else [f"β = {self.beta}"]

    def objective(self, data: Any = None) -> Objective:
        """The ELBO, its KL weighted by β."""
        return usual_objective(self, data, beta=self.beta)

    def model(self, x: Tensor) -> Tensor:
        """z ~ p(z), x ~ p(x|z), for images x (N, *x_shape)."""
        with self.images(x):
            z = pyro.sample("z", self.prior())
            return pyro.sample("x", self.likelihood(z), obs=x)

    def guide(self, x: Tensor) -> Tensor:
        """z ~ q(z|x)."""
        with self.images(x):
            return pyro.sample("z", self.posterior(x))


def _weight(beta: Any) -> Any:
    """A number of at least 0, or a schedule as it is."""
    schedule = hasattr(beta, "step") and not isinstance(beta, type)
    return beta if schedule else arguments.number("beta", beta, least=0)
