"""Which component of a mixture a code belongs to, p(i | z) = w_i p_i(z) / Σ_j w_j p_j(z)."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.distributions import MixtureSameFamily

from vaezoo.distributions.overlaps import NUMBERS, in_rows

__all__ = ["as_mixture", "responsibilities"]


def responsibilities(prior: MixtureSameFamily, z: Tensor) -> Tensor:
    """p(component | z) for codes z (*leading, z_dim), shape (*leading, k).

    Codes are taken some at a time, lest the k · z_dim numbers for each of them fill memory.

    Raises:
        TypeError: the distribution is no mixture.

    Example:
        >>> import torch
        >>> from vaezoo.priors import MixtureOfGaussians
        >>> r = responsibilities(MixtureOfGaussians(2, k=5)(), torch.zeros(7, 2))
        >>> r.shape, torch.allclose(r.sum(-1), torch.ones(7))
        (torch.Size([7, 5]), True)
    """
    prior = as_mixture(prior)
    if z.dim() < 2:
        return _responsibilities(prior, z)
    k = prior.mixture_distribution.logits.numel()
    size, codes = max(1, NUMBERS // (k * z.shape[-1])), z.flatten(0, -2)
    each = in_rows((_responsibilities(prior, part) for part in codes.split(size)), len(codes))
    return each.unflatten(0, z.shape[:-1])


def _responsibilities(prior: MixtureSameFamily, z: Tensor) -> Tensor:
    each = prior.component_distribution.log_prob(z.unsqueeze(-2))
    return (each + prior.mixture_distribution.logits).softmax(-1)


def as_mixture(prior: Any) -> MixtureSameFamily:
    """The distribution itself, refused unless it is a mixture.

    Raises:
        TypeError: it is none.
    """
    if isinstance(prior, MixtureSameFamily):
        return prior
    raise TypeError(
        "expected a mixture prior, such as MixtureOfGaussians or VampPrior, got a "
        f"{type(prior).__name__}: assign one, model.prior = priors.MixtureOfGaussians(z_dim, k=…)"
    )
