"""The fully supervised variational auto-encoder: a conditional VAE.

    p(z)      = N(0, I)                        style
    p(x|y, z) = N(μ_θ(y, z), 1/10 I)           content y, style z
    q(z|x, y) = N(μ_φ(x, y), diag σ²_φ(x, y))

    ELBO(x|y) = E_{q(z|x,y)}[log p(x|y, z)] - KL(q(z|x, y) ‖ p(z))  ≤  log p(x|y)

y is always given: it is an argument of both programs and no random variable. Once trained, a grid
of classes against draws of z shows content and style apart.

References:
    Sohn, Lee, Yan. Learning Structured Output Representation using Deep Conditional Generative
    Models. 2015, equation 4 (here with a prior of z that does not depend on y).
    Kingma et al. 2014. arXiv:1406.5298, section 2 (the labelled term of M2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
from torch import Tensor

from vaezoo import arguments
from vaezoo.likelihoods import Likelihood, Normal
from vaezoo.models.base import LatentVariableModel
from vaezoo.networks import MLP
from vaezoo.posteriors import DiagonalNormal, Posterior
from vaezoo.priors import Prior, StandardNormal

__all__ = ["FSVAE"]


class FSVAE(LatentVariableModel):
    """The conditional VAE on colour images, with labels always given.

    Args:
        x_shape: shape of one image.
        z_dim: latent size.
        classes: number of classes of y.
        hidden: widths of the encoder's layers; the decoder mirrors them.
        prior, likelihood, posterior: your own parts in place of the default ones; likelihood and
            posterior take labels.

    Example:
        >>> import torch
        >>> FSVAE().sample(y=torch.arange(10)).shape
        torch.Size([10, 3, 32, 32])
    """

    def __init__(
        self,
        x_shape: Sequence[int] = (3, 32, 32),
        z_dim: int = 10,
        *,
        classes: int = 10,
        hidden: Sequence[int] = (500, 500),
        prior: Prior | None = None,
        likelihood: Likelihood | None = None,
        posterior: Posterior | None = None,
    ) -> None:
        names = ("x_shape", "z_dim")
        x_shape, z_dim = arguments.shape_first(type(self).__name__, names, x_shape, z_dim)
        hidden = arguments.shape("hidden", hidden)
        classes = arguments.size("classes", classes, least=2)
        encoder: dict[str, Any] = {"hidden": hidden, "log1p": getattr(likelihood, "counts", False)}
        super().__init__(
            x_shape,
            z_dim,
            classes=classes,
            prior=prior or StandardNormal(z_dim),
            likelihood=likelihood or _normal(z_dim, x_shape, hidden[::-1], classes),
            posterior=posterior or DiagonalNormal(x_shape, z_dim, classes=classes, **encoder),
        )
        self.hidden = hidden

    def model(self, x: Tensor, y: Tensor) -> Tensor:
        """z ~ p(z), x ~ p(x|y, z), for images (N, *x_shape) and labels (N,)."""
        with self.images(x, y):
            z = pyro.sample("z", self.prior())
            return pyro.sample("x", self.likelihood(z, y), obs=x)

    def guide(self, x: Tensor, y: Tensor) -> Tensor:
        """z ~ q(z|x, y)."""
        with self.images(x, y):
            return pyro.sample("z", self.posterior(x, y))


def _normal(z_dim: int, x_shape: Sequence[int], hidden: Sequence[int], classes: int) -> Normal:
    """The default likelihood, whose labels start large.

    Content has to switch hidden units. Labels initialised like a linear layer learn this too
    slowly: colours and slant then take all of z, and y is ignored.
    """
    network = MLP((z_dim,), hidden, x_shape, classes=classes, label_scale=10.0)
    return Normal(z_dim, x_shape, hidden=hidden, classes=classes, network=network)
