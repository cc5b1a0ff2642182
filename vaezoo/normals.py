"""Normal distributions that know the noise their draws were made of.

log q(z|x) at a draw z = μ + L ε needs ε. Computed back from z as L⁻¹ (z - μ) it is wrong where L is
ill-conditioned or |μ| much larger than L: the difference has lost its digits, and what is left of
them is divided by L. In float32 such densities can be off by any number of nats. The draw and its
noise are therefore kept, and the density of that draw is computed from

    w = ε + L⁻¹ [ (z - z̄) - (μ - μ̄) - (L - L̄) ε ]

where a bar is the same number without its gradient: w is ε to the last digit, with the gradients of
L⁻¹ (z - μ) by z, μ and L. For other values the density is computed from those, as ever.

A covariance W Wᵀ + D of low rank goes by an orthonormal basis Q of columns, [D^-½ W; I] = Q R:

    (z - μ)ᵀ Σ⁻¹ (z - μ) = |n - Q Qᵀ n|²,  n = [D^-½ (z - μ); 0],  log |Σ| = log |D| + 2 log |R|

Modified Gram-Schmidt finds Q and R without the squares in I + Wᵀ D⁻¹ W, whose Cholesky factor does
not exist in float32 once the columns of W are long and nearly parallel.

References:
    Björck. Solving Linear Least Squares Problems by Gram-Schmidt Orthogonalization. 1967. BIT 7.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import kl, normal

__all__ = ["DiagonalNormal", "FullNormal", "LowRankNormal", "full_precision"]

LOG_2_PI = math.log(2 * math.pi)


class Draw(NamedTuple):
    """The last draw of a distribution, how often it had been written to, and its noise."""

    value: Tensor
    version: int
    noise: tuple[Tensor, ...]

    def is_at(self, value: Tensor) -> bool:
        """Whether a value is the draw, or a view of the same numbers in the same places."""
        if value is not self.value:
            places = value.shape, value.stride(), value.storage_offset()
            own = self.value.shape, self.value.stride(), self.value.storage_offset()
            if value._base is not self.value or places != own:
                return False
        return _version(self.value) == self.version


class DiagonalNormal(dist.Normal):
    """N(μ, σ²) for each number by itself; `to_event(1)` makes it that of a vector.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> q = DiagonalNormal(torch.tensor(1e6), torch.tensor(1e-4))
        >>> z = q.rsample()
        >>> round(q.log_prob(z).item(), 4), round(q.log_prob(z.clone()).item(), 4)
        (7.1041, 8.2914)
    """

    _drawn: Draw | None = None

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw μ + σ ε."""
        noise = _noise(self._extended_shape(torch.Size(sample_shape)), self.loc)
        value: Tensor = self.loc + noise * self.scale
        self._drawn = _draw(value, noise)
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        """log N(value; μ, σ²)."""
        if self._drawn is None or not self._drawn.is_at(value):
            return super().log_prob(value)
        (noise,) = self._drawn.noise
        if value is not self._drawn.value:
            change = _moved(value) - _moved(self.loc) - _moved(self.scale) * noise
            noise = noise + change / self.scale
        return -0.5 * (noise.square() + LOG_2_PI) - self.scale.log()


class FullNormal(dist.MultivariateNormal):
    """N(μ, L Lᵀ) by its Cholesky factor, `scale_tril`."""

    _drawn: Draw | None = None

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw μ + L ε."""
        noise = _noise(self._extended_shape(torch.Size(sample_shape)), self.loc)
        value: Tensor = self.loc + _times(self._unbroadcasted_scale_tril, noise)
        self._drawn = _draw(value, noise)
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        """log N(value; μ, L Lᵀ)."""
        with full_precision(value):
            if self._drawn is None or not self._drawn.is_at(value):
                return super().log_prob(value)
            (noise,), factor = self._drawn.noise, self._unbroadcasted_scale_tril
            if value is not self._drawn.value:
                change = _moved(value) - _moved(self.loc) - _times(_moved(factor), noise)
                noise = noise + _solve(factor, change)
            half_log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
            constant = 0.5 * self.event_shape[0] * LOG_2_PI
            return -0.5 * noise.square().sum(-1) - half_log_det - constant


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
        inner = _noise((*shape[:-1], self.cov_factor.shape[-1]), self.loc)
        outer = _noise(shape, self.loc)
        spread = _times(self._unbroadcasted_cov_factor, inner)
        value: Tensor = self.loc + spread + self._unbroadcasted_cov_diag.sqrt() * outer
        self._drawn = _draw(value, inner, outer)
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
        if value is not self._drawn.value:
            factor = self._unbroadcasted_cov_factor
            change = _moved(value) - _moved(self.loc) - _times(_moved(factor), inner)
            outer = outer + (change - _moved(root) * outer) / root
        return outer, -inner


def full_precision(like: Tensor) -> contextlib.AbstractContextManager[Any]:
    """No autocast within it: densities and draws are computed in the dtype of their parameters."""
    device = like.device.type
    if torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return contextlib.nullcontext()


def _draw(value: Tensor, *noise: Tensor) -> Draw:
    return Draw(value, _version(value), noise)


def _version(t: Tensor) -> int:
    return 0 if t.is_inference() else t._version


def _noise(shape: Sequence[int], like: Tensor) -> Tensor:
    """N(0, 1) of a shape, in the dtype and on the device of another tensor."""
    # torch's own, looked up at each call: benchmarks put another in its place
    found: Tensor = normal._standard_normal(torch.Size(shape), like.dtype, like.device)  # type: ignore[attr-defined]
    return found


def _moved(t: Tensor) -> Tensor:
    """0, with the gradient of t."""
    return t - t.detach()


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    with full_precision(matrix):
        return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def _solve(factor: Tensor, vector: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(factor, vector.unsqueeze(-1), upper=False).squeeze(-1)


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


def _kl_to_diagonal(q: dist.TorchDistribution, p: dist.Independent) -> Tensor:
    """KL from a Normal q of any covariance to a diagonal one: -H(q) - E_q[log p]."""
    if not isinstance(p.base_dist, dist.Normal) or p.reinterpreted_batch_ndims != 1:
        raise NotImplementedError
    loc, scale = p.base_dist.loc, p.base_dist.scale
    cross = (q.variance + (q.mean - loc).square()) / scale.square() + 2 * scale.log()
    return 0.5 * (cross.sum(-1) + q.event_shape[0] * LOG_2_PI) - q.entropy()


# of types of our own, so that the KL is not registered for all of torch
for _kind in (FullNormal, LowRankNormal):
    kl.register_kl(_kind, dist.Independent)(_kl_to_diagonal)
