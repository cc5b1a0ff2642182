"""The 256 levels of a grey pixel, as the bins of a logistic distribution."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = ["GreyLevels"]

TOP = 255  # the brightest level
TOLERANCE = 1e-4  # of a level


class _GreyLevel(constraints.Constraint):
    """0, 1/255, …, 1, as near as float32 holds them."""

    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        level = value * TOP
        return ((level - level.round()).abs() <= TOLERANCE) & (value >= 0) & (value <= 1)


class GreyLevels(TorchDistribution):
    """P(k/255) for k in 0..255, by location and log-scale.

    With bin edges a < b the difference is a product, which never is a log of 0:

        σ(b) - σ(a) = σ(b) σ(-a) (1 - e^{a-b})
    """

    arg_constraints: ClassVar[dict[str, Any]] = {
        "loc": constraints.real,
        "log_scale": constraints.real,
    }
    support = _GreyLevel()
    has_enumerate_support = True

    def __init__(
        self, loc: Tensor, log_scale: Tensor, *, validate_args: bool | None = None
    ) -> None:
        self.loc, self.log_scale = torch.broadcast_tensors(loc, log_scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> GreyLevels:
        """The same distribution over a larger batch."""
        expanded = self.loc.expand(batch_shape), self.log_scale.expand(batch_shape)
        return GreyLevels(*expanded, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """log P(x) of grey levels x."""
        if self._validate_args:
            self._validate_sample(value)
        level = (value * TOP).round()
        precision = (-self.log_scale).exp()
        above = logsigmoid((((level + 0.5) / TOP) - self.loc) * precision)
        below = logsigmoid((self.loc - (level - 0.5) / TOP) * precision)
        width = torch.log(-torch.expm1(-precision / TOP))
        first, last = level <= 0, level >= TOP
        return (
            torch.where(last, 0, above)
            + torch.where(first, 0, below)
            + torch.where(first | last, 0, width)
        )

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw from the logistic distribution, and take the level nearest to it."""
        shape = self._extended_shape(sample_shape)
        u = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device)
        y = self.loc + self.log_scale.exp() * u.logit()
        return (y * TOP).round().clamp(0, TOP) / TOP

    @property
    def mean(self) -> Tensor:
        """E[x] = Σ_k P(x ≥ k/255) / 255, in a loop, because a table would be 255 images."""
        precision, total = (-self.log_scale).exp(), torch.zeros_like(self.loc)
        for k in range(1, TOP + 1):
            total = total + torch.sigmoid((self.loc - (k - 0.5) / TOP) * precision)
        return total / TOP

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All 256 levels along a new first dimension."""
        levels = torch.arange(TOP + 1, dtype=self.loc.dtype, device=self.loc.device) / TOP
        levels = levels.reshape(-1, *[1] * len(self.batch_shape))
        return levels.expand(-1, *self.batch_shape) if expand else levels
