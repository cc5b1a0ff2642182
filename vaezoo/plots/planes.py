"""The plane in which codes of several dimensions are seen, and what its two axes are called."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaezoo import arguments

__all__ = ["Plane", "plane_of", "plane_or_line", "units_of"]


class Plane(NamedTuple):
    """Codes z are seen at (z - centre) @ directions.

    Attributes:
        centre: shape (z_dim,), in float64 as all of it.
        directions: shape (z_dim, 2), columns of length 1.
        labels: what the two axes are.
    """

    centre: Tensor
    directions: Tensor
    labels: tuple[str, str]

    def see(self, z: Tensor) -> Tensor:
        """Where codes (N, z_dim) lie in it, shape (N, 2)."""
        return (z.double() - self.centre) @ self.directions


def plane_of(z: Tensor, dims: Any = None) -> Plane:
    """The plane of two dimensions, or of the first two principal components of codes.

    Args:
        z: codes (N, z_dim), at least two dimensions.
        dims: the numbers of two units, from 0; by default both where there are two, else
            principal components.

    Raises:
        TypeError, ValueError: dims are no two different units.

    Example:
        >>> plane_of(torch.randn(9, 5), dims=(3, 0)).labels
        ('z, unit 3', 'z, unit 0')
    """
    size = z.shape[1]
    if dims is None and size == 2:
        return _of_units(size, (0, 1), ("z₁", "z₂"))
    if dims is None:
        return _of_components(z)
    units = units_of(size, dims)
    return _of_units(size, units, (f"z, unit {units[0]}", f"z, unit {units[1]}"))


def plane_or_line(z: Tensor, dims: Any = None) -> Plane | None:
    """The plane of codes (N, z_dim); None for codes of one dimension, which have none.

    Raises:
        TypeError, ValueError: dims are no two different units.

    Example:
        >>> plane_or_line(torch.randn(9, 1)) is None
        True
    """
    if z.shape[1] > 1:
        return plane_of(z, dims)
    if dims is not None:
        raise ValueError(f"codes have one unit, which is shown: leave dims out, got {dims!r}")
    return None


def units_of(size: int, dims: Any) -> tuple[int, int]:
    """Two different units of a code, by their numbers.

    Raises:
        TypeError, ValueError: they are no such numbers.

    Example:
        >>> units_of(5, [3, 0])
        (3, 0)
    """
    pair = tuple(dims) if hasattr(dims, "__iter__") else (dims,)
    units = [arguments.size("dims", d, least=0) for d in pair]
    if len(units) != 2 or units[0] == units[1] or max(units) >= size:
        raise ValueError(
            f"dims must be two different units of 0..{size - 1}, such as (0, 1), got {dims!r}"
        )
    return units[0], units[1]


def _of_units(size: int, units: tuple[int, int], labels: tuple[str, str]) -> Plane:
    directions = torch.eye(size, dtype=torch.double, device="cpu")[:, list(units)]
    return Plane(torch.zeros(size, dtype=torch.double, device="cpu"), directions, labels)


def _of_components(z: Tensor) -> Plane:
    centre = z.double().mean(0)
    _, spread, directions = torch.linalg.svd(z.double() - centre, full_matrices=False)
    # a posterior that has collapsed onto the prior has no variance to share
    share = spread.square() / spread.square().sum().clamp_min(1e-30)
    first, second = (f"principal component {k + 1} ({share[k]:.0%} of variance)" for k in (0, 1))
    return Plane(centre, directions[:2].T, (first, second))
