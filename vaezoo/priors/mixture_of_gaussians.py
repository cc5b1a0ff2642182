"""A mixture of Gaussians with learned means and variances as prior."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from vaezoo import arguments
from vaezoo.data.batches import as_tensor
from vaezoo.distributions import NormalMixture
from vaezoo.networks import positive
from vaezoo.priors.base import Prior
from vaezoo.priors.k_means import k_means

__all__ = ["MixtureOfGaussians"]


class MixtureOfGaussians(Prior):
    """Σ_i w_i N(μ_i, diag σ_i²), means and variances learned.

    Means and raw variances start as N(0, I) / sqrt(k · z_dim), and σ² = softplus(raw) + 1e-8, as
    in the reference GMVAE. Its KL from a Normal has no closed form: objectives estimate it with the
    posterior's sample.

    Args:
        z_dim: latent size.
        k: number of components.
        learn_weights: learn the weights w; they are 1/k, fixed, otherwise.

    Example:
        >>> prior = MixtureOfGaussians(10, k=500)
        >>> prior().log_prob(torch.zeros(7, 10)).shape
        torch.Size([7])
    """

    logits: Tensor

    def __init__(self, z_dim: int, *, k: int = 500, learn_weights: bool = False) -> None:
        super().__init__()
        self.z_dim, self.k = arguments.size("z_dim", z_dim), arguments.size("k", k)
        self.learn_weights = learn_weights
        self.loc = nn.Parameter(torch.randn(k, z_dim) / math.sqrt(k * z_dim))
        self.raw_scale = nn.Parameter(torch.randn(k, z_dim) / math.sqrt(k * z_dim))
        if learn_weights:
            self.logits = nn.Parameter(torch.zeros(k))
        else:
            self.register_buffer("logits", torch.zeros(k), persistent=False)

    def start_from(self, codes: Tensor, *, seed: int = 0) -> MixtureOfGaussians:
        """Set the components to k clusters of codes (N, z_dim), draws of q(z|x).

        The means of q(z|x), as `encode` gives them, spread less, by what q does: a unit that says
        little of x would have a prior that its draws do not fit.

        Components that start at the origin, as by default, end in few places: of ten, nine stay
        together. The clusters are k-means'; a component gets the mean and the variances of
        its cluster, these as if one more code lay at the average over clusters, and, where weights
        are learned, the cluster's share.

            vae.prior = priors.MixtureOfGaussians(10, k=10).start_from(vae.posterior(x).sample())

        Raises:
            ValueError: codes have another shape, are not finite, or fewer than k of them differ.

        Example:
            >>> prior = MixtureOfGaussians(1, k=2, learn_weights=True)
            >>> codes = torch.tensor([[-2.0], [2.0], [2.5], [1.5]])
            >>> mixture = prior.start_from(codes)()
            >>> sorted(mixture.component_distribution.mean.flatten().tolist())
            [-2.0, 2.0]
        """
        codes = as_tensor(codes)  # NumPy's too
        if codes.dim() != 2 or codes.shape[1] != self.z_dim:
            raise ValueError(f"codes must be (N, {self.z_dim}), got {tuple(codes.shape)}")
        if not codes.isfinite().all():
            raise ValueError("codes must be finite, got NaN or infinity among them")
        with torch.no_grad():
            codes = codes.detach().to(self.loc)
            clusters = k_means(codes, self.k, seed=seed)
            sizes = clusters.bincount(minlength=self.k).unsqueeze(1).to(codes)
            self.loc.copy_(_sums(codes, clusters, self.k) / sizes)
            scatter = _sums((codes - self.loc[clusters]).square(), clusters, self.k)
            average = scatter.sum(0) / len(codes) + 1e-4 * codes.var(0, correction=0)
            variance = (scatter + average) / (sizes + 1)
            variance = variance.clamp(min=1e-6)
            self.raw_scale.copy_(variance + (-torch.expm1(-variance)).log())
            if self.learn_weights:
                self.logits.copy_((sizes.flatten() / len(codes)).log())
        return self

    def forward(self) -> dist.TorchDistribution:
        """Return the mixture, a `MixtureSameFamily`."""
        components = dist.Normal(self.loc, positive(self.raw_scale)).to_event(1)
        return NormalMixture(dist.Categorical(logits=self.logits), components)

    def __repr__(self) -> str:
        return f"MixtureOfGaussians({self.z_dim}, k={self.k})"


def _sums(values: Tensor, clusters: Tensor, k: int) -> Tensor:
    return values.new_zeros(k, values.shape[1]).index_add_(0, clusters, values)
