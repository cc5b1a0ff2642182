"""Whether the closed form of a KL is that of two distributions, by what they are made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import MaskedDistribution
from torch import Tensor
from torch.distributions import (
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    TransformedDistribution,
    kl,
    kl_divergence,
)

from vaezoo.distributions.normals import has_own_density

__all__ = ["closed_form", "may_have_closed_form"]

ARITHMETIC = (Normal, MultivariateNormal, LowRankMultivariateNormal)  # whose KL is never infinite


def closed_form(q: Any, p: Any) -> Tensor:
    """KL(q ‖ p) by torch.

    Where it may be infinite, torch writes that into places of one of the two, which has to be as
    wide as the other.

    Raises:
        NotImplementedError: there is none.

    Example:
        >>> one, two = dist.Uniform(0.0, 1.0), dist.Uniform(0.5, torch.ones(3, 2))
        >>> closed_form(one, two).shape
        torch.Size([3, 2])
    """
    if q.batch_shape != p.batch_shape and not isinstance([*_levels(q)][-1], ARITHMETIC):
        shape = torch.broadcast_shapes(q.batch_shape, p.batch_shape)
        q, p = (each.expand(shape) for each in (q, p))
    return kl_divergence(q, p)


def may_have_closed_form(q: Any, p: Any) -> bool:
    """Whether what torch has for the kinds of q and p, if it has it, is KL(q ‖ p).

    A class that is made from one of torch's and has another density would be taken for that.

    Example:
        >>> normal = dist.Normal(0.0, 1.0)
        >>> may_have_closed_form(normal, normal), may_have_closed_form(normal, normal.mask(True))
        (True, False)
    """
    # Pyro's KL of a Delta leaves out its log_density, where autoguides put their Jacobian
    if any(isinstance(each, dist.Delta) for each in _levels(q)):
        return False
    every = [*_levels(q), *_levels(p)]
    return not any(isinstance(d, MaskedDistribution) or _is_another(d) or _folds(d) for d in every)


def _levels(distribution: Any) -> Iterator[Any]:
    """A distribution, what it is made from, and so on."""
    yield distribution
    while hasattr(distribution, "base_dist"):
        distribution = distribution.base_dist
        yield distribution


def _folds(distribution: Any) -> bool:
    """Whether several values of what it is made from become one: torch's KL is that of those.

    Unless somebody has registered one for its class, as torch has for HalfNormal.
    """
    if all(each.bijective for each in getattr(distribution, "transforms", ())):
        return False
    kinds = type(distribution).__mro__
    return not _has_kl(kinds[: kinds.index(TransformedDistribution)])


def _is_another(distribution: Any) -> bool:
    """Whether its class has a density of its own, and nobody has registered a KL for it."""
    if not has_own_density(distribution):
        return False
    kinds = type(distribution).__mro__
    where = next(i for i, kind in enumerate(kinds) if "log_prob" in vars(kind))
    return not _has_kl(kinds[: 1 + where])


def _has_kl(kinds: Sequence[type]) -> bool:
    """Whether somebody has registered a KL from or to one of these classes."""
    return any(kind in pair for kind in kinds for pair in kl._KL_REGISTRY)
