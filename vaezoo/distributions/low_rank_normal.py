"""The Normal of a covariance W Wᵀ + D, of low rank but for its diagonal; exact at its own draws.

Its density goes by an orthonormal basis Q of columns, [D^-½ W; I] = Q R:

    (z - μ)ᵀ Σ⁻¹ (z - μ) = |n - Q Qᵀ n|²,  n = [D^-½ (z - μ); 0],  log |Σ| = log |D| + 2 log |R|

Modified Gram-Schmidt finds Q and R without the squares in I + Wᵀ D⁻¹ W, whose Cholesky factor does
not exist in float32 once the columns of W are long and nearly parallel.

References:
    Björck. Solving Linear Least Squares Problems by Gram-Schmidt Orthogonalization. 1967. BIT 7.
"""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from vaezoo.distributions.full_precision import times
from vaezoo.distributions.noise import LOG_2_PI, Draw, gradient_only, standard_noise

__all__ = ["LowRankNormal"]


class LowRankNormal(dist.LowRankMultivariateNormal):
    """N(μ, W Wᵀ + D) with a few columns W, `cov_factor`, and a diagonal D, `cov_diag`."""

    _drawn: Draw | None = None

    def __init__(
        self,
        loc: Tensor,
        cov_factor: Tensor,
        cov_diag: Tensor,
        *,
        validate_args: bool | None = None,
    ) -> None:
        # not torch's, which takes a Cholesky factor that may not exist
        batch = torch.broadcast_shapes(loc.shape[:-1], cov_factor.shape[:-2], cov_diag.shape[:-1])
        self.loc = loc.expand(*batch, -1)
        self.cov_factor = cov_factor.expand(*batch, -1, -1)
        self.cov_diag = cov_diag.expand(*batch, -1)
        self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag = cov_factor, cov_diag
        self._basis, self._capacitance_tril = _gram_schmidt(cov_factor, cov_diag)
        torch.distributions.Distribution.__init__(
            self, batch, self.loc.shape[-1:], validate_args=validate_args
        )

    def expand(self, batch_shape: Any, _instance: Any = None) -> LowRankNormal:
        """The same distribution over a larger batch; its matrices are not repeated."""
        new = self._get_checked_instance(LowRankNormal, _instance)
        new._basis = self._basis
        expanded: LowRankNormal = super().expand(batch_shape, new)
        return expanded

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw μ + W ε₁ + D^½ ε₂."""
        shape = self._extended_shape(torch.Size(sample_shape))
        inner = standard_noise((*shape[:-1], self.cov_factor.shape[-1]), self.loc)
        outer = standard_noise(shape, self.loc)
        spread = times(self._unbroadcasted_cov_factor, inner)
        value: Tensor = self.loc + spread + self._unbroadcasted_cov_diag.sqrt() * outer
        by = self.loc, self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag
        self._drawn = Draw.of(value, inner, outer, by=by)
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        """log N(value; μ, W Wᵀ + D)."""
        if self._validate_args:
            self._validate_sample(value)
        rest = torch.cat(self._standardised(value), -1)
        for column in self._basis:
            rest = rest - (rest * column).sum(-1, keepdim=True) * column
        half_log_det = self._capacitance_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        half_log_det = half_log_det + 0.5 * self._unbroadcasted_cov_diag.log().sum(-1)
        constant = 0.5 * self.event_shape[0] * LOG_2_PI
        return -0.5 * rest.square().sum(-1) - half_log_det - constant

    def _standardised(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """n in two parts, up to a sum of the columns of [D^-½ W; I], which drops out."""
        root = self._unbroadcasted_cov_diag.sqrt()
        if self._drawn is None or not self._drawn.is_at(value):
            outer = (value - self.loc) / root
            return outer, outer.new_zeros(()).expand(*outer.shape[:-1], self.cov_factor.shape[-1])
        inner, outer = self._drawn.noise
        if self._drawn.needs_its_gradient(value):
            factor = gradient_only(self._unbroadcasted_cov_factor)
            change = gradient_only(value) - gradient_only(self.loc) - times(factor, inner)
            outer = outer + (change - gradient_only(root) * outer) / root
        return outer, -inner


def _gram_schmidt(cov_factor: Tensor, cov_diag: Tensor) -> tuple[list[Tensor], Tensor]:
    """Q of [D^-½ W; I] = Q R, column by column (*batch, d + rank), and Rᵀ (*batch, rank, rank)."""
    scaled = cov_factor / cov_diag.sqrt().unsqueeze(-1)
    batch, rank = scaled.shape[:-2], scaled.shape[-1]
    unit = torch.eye(rank, dtype=scaled.dtype, device=scaled.device)
    basis: list[Tensor] = []
    rows = []
    for j in range(rank):
        column = torch.cat([scaled[..., j], unit[j].expand(*batch, rank)], -1)
        row = []
        for q in basis:
            along = (q * column).sum(-1, keepdim=True)
            column = column - along * q
            row.append(along)
        length = column.square().sum(-1, keepdim=True).sqrt()
        basis.append(column / length)
        zeros = [torch.zeros_like(length)] * (rank - j - 1)
        rows.append(torch.cat([*row, length, *zeros], -1))
    return basis, torch.stack(rows, -2)
