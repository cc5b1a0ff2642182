"""Which distributions are Normals, so that their moments say all of them.

A class that is made from one of torch's and has a density of its own is none, and neither is what
a transform makes of one, such as a LogNormal.
"""

from __future__ import annotations

from typing import Any, TypeGuard

from torch.distributions import (
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
)

__all__ = ["diagonal_of", "is_full"]

LIBRARIES = ("torch.", "pyro.", "vaezoo.")


def diagonal_of(distribution: Any) -> Normal | None:
    """The Normal of each number, where these are independent Normals.

    Example:
        >>> import torch
        >>> diagonal_of(Independent(Normal(torch.zeros(2), 1.0), 1))
        Normal(loc: torch.Size([2]), scale: torch.Size([2]))
        >>> diagonal_of(torch.distributions.LogNormal(0.0, 1.0)) is None
        True
    """
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    normal: Normal | None = distribution if _has_own_density(distribution, Normal) else None
    return normal


def is_full(distribution: Any) -> TypeGuard[MultivariateNormal | LowRankMultivariateNormal]:
    """Whether it is a Normal of vectors with a covariance.

    Example:
        >>> import torch
        >>> is_full(MultivariateNormal(torch.zeros(2), torch.eye(2)))
        True
    """
    return _has_own_density(distribution, MultivariateNormal | LowRankMultivariateNormal)


def _has_own_density(distribution: Any, kind: Any) -> bool:
    if not isinstance(distribution, kind):
        return False
    return type(distribution).log_prob.__module__.startswith(LIBRARIES)
