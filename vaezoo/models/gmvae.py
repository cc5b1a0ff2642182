"""The VAE with a mixture-of-Gaussians prior.

    p(z)   = 1/k Σ_i N(μ_i, diag σ_i²)          μ, σ learned
    p(x|z) = Bernoulli(f_θ(z))
    q(z|x) = N(μ_φ(x), diag σ²_φ(x))

    ELBO(x) = E_q[log p(x|z) + log p(z) - log q(z|x)]

The KL from a Normal to a mixture has no closed form, so log q - log p at the sample stands in its
place. The component is summed out inside p(z): no discrete variable is left to infer.

References:
    Dilokthanakul et al. Deep Unsupervised Clustering with Gaussian Mixture Variational
    Autoencoders. 2016. arXiv:1611.02648 (a mixture prior with a discrete code).
    Tomczak, Welling. VAE with a VampPrior. 2018. arXiv:1705.07120, section 4 (the mixture as a
    baseline).
"""

from __future__ import annotations

from collections.abc import Sequence

from vaezoo import arguments
from vaezoo.likelihoods import Likelihood
from vaezoo.models.vae import VAE
from vaezoo.posteriors import Posterior
from vaezoo.priors import MixtureOfGaussians, Prior

__all__ = ["GMVAE"]


class GMVAE(VAE):
    """A VAE whose prior is a learned mixture of k Gaussians.

    Args:
        k: number of components of the default prior; the rest as in `VAE`.

    Example:
        >>> GMVAE(k=50).prior
        MixtureOfGaussians(10, k=50)
    """

    def __init__(
        self,
        x_shape: Sequence[int] = (1, 28, 28),
        z_dim: int = 10,
        *,
        k: int = 500,
        hidden: Sequence[int] = (300, 300),
        beta: float = 1.0,
        prior: Prior | None = None,
        likelihood: Likelihood | None = None,
        posterior: Posterior | None = None,
    ) -> None:
        names = ("x_shape", "z_dim")
        x_shape, z_dim = arguments.shape_first(type(self).__name__, names, x_shape, z_dim)
        k = arguments.size("k", k)
        super().__init__(
            x_shape,
            z_dim,
            hidden=hidden,
            beta=beta,
            prior=prior or MixtureOfGaussians(z_dim, k=k),
            likelihood=likelihood,
            posterior=posterior,
        )
        self.k = k
