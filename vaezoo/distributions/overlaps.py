"""How much distributions overlap, each with each.

The overlap of two components is the Bhattacharyya coefficient, for Normals of any covariance

    ∫ √(p_i p_j) = exp(-⅛ δᵀ Σ⁻¹ δ) |Σ_i|^¼ |Σ_j|^¼ / |Σ|^½,    δ = μ_i - μ_j,  Σ = (Σ_i + Σ_j) / 2

References:
    Kailath. The Divergence and Bhattacharyya Distance Measures in Signal Selection. 1967. IEEE
    Transactions on Communication Technology 15(1).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    Normal,
)

from vaezoo.distributions.normals import diagonal_of, is_full

__all__ = ["NUMBERS", "in_rows", "overlaps_of"]

NUMBERS = 2**20  # at a time: 4 MiB in float32


def in_rows(parts: Iterable[Tensor], n: int) -> Tensor:
    """The parts one below the other, n rows in all, each written to its place as it comes.

    Small tensors kept to the end would lie between large ones, whose memory they would hold up.
    """
    rows, at = torch.empty(0), 0
    for part in parts:
        rows = part.new_empty(n, *part.shape[1:]) if at == 0 else rows
        rows[at : at + len(part)] = part
        at += len(part)
    return rows


def overlaps_of(components: Distribution) -> Tensor | None:
    """The overlap of each two of a batch of k, shape (k, k); None where it has no closed form.

    Example:
        >>> from torch.distributions import Independent
        >>> overlaps_of(Independent(Normal(torch.tensor([[0.0], [2.0]]), torch.ones(2, 1)), 1))
        tensor([[1.0000, 0.6065],
                [0.6065, 1.0000]])
    """
    if (diagonal := diagonal_of(components)) is not None:
        return _overlaps_of_diagonals(diagonal)
    if is_full(components):
        return _overlaps_of_normals(components.loc.double(), components.covariance_matrix.double())
    return None


def _overlaps_of_diagonals(normal: Normal) -> Tensor:
    loc, variance = normal.loc, normal.scale.square()
    size = max(1, NUMBERS // variance.numel())
    pairs = zip(loc.split(size), variance.split(size), strict=True)
    return in_rows((_to_diagonals(*each, loc, variance) for each in pairs), len(loc))


def _to_diagonals(mean: Tensor, spread: Tensor, loc: Tensor, variance: Tensor) -> Tensor:
    total = 0.5 * (spread[:, None] + variance)
    distance = (mean[:, None] - loc).square() / total / 8
    shape = 0.5 * total.log() - 0.25 * (spread.log()[:, None] + variance.log())
    return (-(distance + shape).sum(-1)).exp()


def _overlaps_of_normals(loc: Tensor, covariance: Tensor) -> Tensor:
    """The overlaps of Normals of means (k, d) and covariances (k, d, d)."""
    halves, rows = _half_logdet(torch.linalg.cholesky(covariance)), []
    # a row at a time, because k² covariances take gigabytes
    for mean, spread, half in zip(loc, covariance, halves, strict=True):
        total = torch.linalg.cholesky(0.5 * (spread + covariance))
        white = torch.linalg.solve_triangular(total, (mean - loc)[..., None], upper=False)
        shape = _half_logdet(total) - 0.5 * (half + halves)
        rows.append((-(white.square().sum((-2, -1)) / 8 + shape)).exp())
    return torch.stack(rows)


def _half_logdet(factor: Tensor) -> Tensor:
    """½ log |L Lᵀ| of Cholesky factors L (k, d, d)."""
    return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
