"""The importance-weighted auto-encoder.

    p(z)   = N(0, I)
    p(x|z) = Bernoulli(f_θ(z))
    q(z|x) = N(μ_φ(x), diag σ²_φ(x))

    L_m(x) = E_{z_1…z_m ~ q}[ log 1/m Σ_i p(x, z_i) / q(z_i|x) ]

The pair is the VAE's; what differs is the objective. L_1 is the ELBO, L_m grows with m, and tends
to log p(x). The mean of the weights is taken in the log domain.

References:
    Burda, Grosse, Salakhutdinov. Importance Weighted Autoencoders. 2016. arXiv:1509.00519,
    equation 8 and theorem 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vaezoo import arguments
from vaezoo.likelihoods import Likelihood
from vaezoo.models.vae import VAE
from vaezoo.objectives import IWELBO, Objective
from vaezoo.posteriors import Posterior
from vaezoo.priors import Prior

__all__ = ["IWAE"]


class IWAE(VAE):
    """The VAE's pair, trained with the importance-weighted bound.

    Args:
        x_shape: shape of one image.
        z_dim: latent size.
        particles: m, samples per image in the default objective, `objectives.IWELBO(m)`.
        hidden: widths of the encoder's layers; the decoder mirrors them.
        prior, likelihood, posterior: your own parts in place of the default ones.

    Example:
        >>> IWAE(particles=50).particles
        50
    """

    def __init__(
        self,
        x_shape: Sequence[int] = (1, 28, 28),
        z_dim: int = 10,
        *,
        particles: int = 10,
        hidden: Sequence[int] = (300, 300),
        prior: Prior | None = None,
        likelihood: Likelihood | None = None,
        posterior: Posterior | None = None,
    ) -> None:
        particles = arguments.size("particles", particles)
        super().__init__(
            x_shape,
            z_dim,
            hidden=hidden,
            prior=prior,
            likelihood=likelihood,
            posterior=posterior,
        )
        self.particles = particles

    def _checked(self, name: str, value: Any) -> Any:
        if name == "particles":
            return arguments.size("particles", value)
        return super()._checked(name, value)

    def objective(self, data: Any = None) -> Objective:
        """The importance-weighted bound of m particles."""
        return IWELBO(self.particles)

    def _settings(self) -> list[str]:
        return [f"m = {self.particles} importance samples"]
