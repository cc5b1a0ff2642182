"""Which distributions are Normals, so that their moments say all of them.

A class that is made from one of torch's and has a density of its own is none, and neither is what
a transform makes of one, such as a LogNormal.
"""

from __future__ import annotations

from typing import Any, TypeGuard, TypeVar

from torch.distributions import (
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
)

__all__ = ["diagonal_of", "has_own_density", "is_a", "is_full"]

T = TypeVar("T")
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
    normal: Normal | None = distribution if is_a(distribution, Normal) else None
    return normal


def is_full(distribution: Any) -> TypeGuard[MultivariateNormal | LowRankMultivariateNormal]:
    """Whether it is a Normal of vectors with a covariance.

    Example:
        >>> import torch
        >>> is_full(MultivariateNormal(torch.zeros(2), torch.eye(2)))
        True
    """
    full, low_rank = MultivariateNormal, LowRankMultivariateNormal
    return is_a(distribution, full) or is_a(distribution, low_rank)


def is_a(distribution: Any, kind: type[T]) -> TypeGuard[T]:
    """Whether it is of a kind of torch's distributions, with a density of a library's.

    Example:
        >>> from torch.distributions import LogNormal
        >>> is_a(Normal(0.0, 1.0), Normal), is_a(LogNormal(0.0, 1.0), Normal)
        (True, False)
    """
    return isinstance(distribution, kind) and not has_own_density(distribution)


def has_own_density(distribution: Any) -> bool:
    """Whether its class has a log_prob that is none of a library's, whatever it is made from."""
    return not type(distribution).log_prob.__module__.startswith(LIBRARIES)
