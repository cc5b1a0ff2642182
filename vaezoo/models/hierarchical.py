"""The hierarchical VAE: two layers of latents.

    p(z2)    = N(0, I)
    p(z1|z2) = N(μ_θ(z2), diag σ²_θ(z2))
    p(x|z1)  = Bernoulli(f_θ(z1))
    q(z1, z2|x) = q(z1|x) q(z2|z1)                each N(μ_φ(·), diag σ²_φ(·))

    ELBO(x) = E_q[ log p(x|z1) + log p(z1|z2) - log q(z1|x) - KL(q(z2|z1) ‖ p(z2)) ]

The guide climbs from x to z2, the model descends from z2 to x. The KL of z2 has a closed form, at
the z1 that was drawn. That of z1 has none: p(z1|z2) depends on z2, which is drawn later, from a
q(z2|z1) that depends on z1. Taken in closed form at a z2 that belongs to one z1, it would average
over z1 and hold z2 still. `vaezoo.programs.run` sees this by the order of the sites, and takes
log q - log p of the sample.

    L_m(x) = E_q[ log 1/m Σ_i p(x|z1_i) p(z1_i|z2_i) p(z2_i) / q(z1_i|x) q(z2_i|z1_i) ]

is trained with `objectives.IWELBO(m)`; the default objective is the ELBO.

References:
    Burda, Grosse, Salakhutdinov. Importance Weighted Autoencoders. 2016. arXiv:1509.00519,
    section 5 (the architecture with two stochastic layers).
    Sønderby et al. Ladder Variational Autoencoders. 2016. arXiv:1602.02282 (the same pair, as the
    baseline of a guide that descends).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import pyro
from torch import Tensor, nn

from vaezoo import arguments
from vaezoo.components import Component
from vaezoo.likelihoods import Bernoulli, Likelihood
from vaezoo.models.base import LatentVariableModel
from vaezoo.models.parts import Part
from vaezoo.networks import MLP
from vaezoo.posteriors import DiagonalNormal, Posterior
from vaezoo.priors import Prior, StandardNormal

__all__ = ["HierarchicalVAE"]


class HierarchicalVAE(LatentVariableModel):
    """A VAE with two stochastic layers; `z1` is the one beside the image, `z2` the one above.

    `encode` gives E_q[z1|x]; that is the z of `sample`, which takes z2 too.

    Args:
        x_shape: shape of one image.
        z1_dim, z2_dim: sizes of the latents.
        hidden: widths of the layers between x and z1; the decoder mirrors them. tanh, as in the
            paper.
        upper_hidden: widths of those between z1 and z2, likewise.
        prior, conditional_prior, likelihood, posterior, upper_posterior: your own p(z2), p(z1|z2),
            p(x|z1), q(z1|x) and q(z2|z1) in place of the default ones.

    Example:
        >>> print(*HierarchicalVAE().equations(), sep=chr(10))
        p(z2) = StandardNormal(50)
        p(z1|z2) = DiagonalNormal(100)
        p(x|z1) = Bernoulli(1×28×28)
        q(z1|x) = DiagonalNormal(100)
        q(z2|z1) = DiagonalNormal(50)
    """

    parts: ClassVar[Mapping[str, Part]] = {
        "prior": Part(Prior, "z2"),
        "conditional_prior": Part(Component, "z1", ("z2",)),
        "likelihood": Part(Likelihood, "x", ("z1",)),
        "posterior": Part(Posterior, "z1", ("x",)),
        "upper_posterior": Part(Posterior, "z2", ("z1",)),
    }
    code = "z1"

    conditional_prior: Component
    upper_posterior: Posterior

    def __init__(
        self,
        x_shape: Sequence[int] = (1, 28, 28),
        z1_dim: int = 100,
        z2_dim: int = 50,
        *,
        hidden: Sequence[int] = (200, 200),
        upper_hidden: Sequence[int] = (100, 100),
        prior: Prior | None = None,
        conditional_prior: Component | None = None,
        likelihood: Likelihood | None = None,
        posterior: Posterior | None = None,
        upper_posterior: Posterior | None = None,
    ) -> None:
        names = ("x_shape", "z1_dim")
        x_shape, z1_dim = arguments.shape_first(type(self).__name__, names, x_shape, z1_dim)
        z2_dim, hidden = arguments.size("z2_dim", z2_dim), arguments.shape("hidden", hidden)
        upper_hidden = arguments.shape("upper_hidden", upper_hidden)
        down, upper_down = hidden[::-1], upper_hidden[::-1]
        super().__init__(
            x_shape,
            {"z1": z1_dim, "z2": z2_dim},
            prior=prior or StandardNormal(z2_dim),
            conditional_prior=conditional_prior or _normal((z2_dim,), z1_dim, upper_down),
            likelihood=likelihood or _bernoulli(z1_dim, x_shape, down),
            posterior=posterior
            or _normal(x_shape, z1_dim, hidden, log1p=getattr(likelihood, "counts", False)),
            upper_posterior=upper_posterior or _normal((z1_dim,), z2_dim, upper_hidden),
        )
        self.hidden, self.upper_hidden = hidden, upper_hidden

    def model(self, x: Tensor) -> Tensor:
        """z2 ~ p(z2), z1 ~ p(z1|z2), x ~ p(x|z1), for images x (N, *x_shape)."""
        with self.images(x):
            z2 = pyro.sample("z2", self.prior())
            z1 = pyro.sample("z1", self.conditional_prior(z2))
            return pyro.sample("x", self.likelihood(z1), obs=x)

    def guide(self, x: Tensor) -> Tensor:
        """z1 ~ q(z1|x), z2 ~ q(z2|z1)."""
        with self.images(x):
            z1 = pyro.sample("z1", self.posterior(x))
            return pyro.sample("z2", self.upper_posterior(z1))


def _normal(
    in_shape: tuple[int, ...], z_dim: int, hidden: tuple[int, ...], *, log1p: bool = False
) -> DiagonalNormal:
    network = MLP(in_shape, hidden, (2, z_dim), activation=nn.Tanh)
    return DiagonalNormal(in_shape, z_dim, hidden=hidden, network=network, log1p=log1p)


def _bernoulli(z_dim: int, x_shape: tuple[int, ...], hidden: tuple[int, ...]) -> Bernoulli:
    network = MLP((z_dim,), hidden, x_shape, activation=nn.Tanh)
    return Bernoulli(z_dim, x_shape, hidden=hidden, network=network)
