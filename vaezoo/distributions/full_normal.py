"""The Normal of any covariance, by its Cholesky factor, exact at its own draws."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from vaezoo.distributions.full_precision import full_precision, times
from vaezoo.distributions.noise import LOG_2_PI, Draw, gradient_only, standard_noise

__all__ = ["FullNormal"]


class FullNormal(dist.MultivariateNormal):
    """N(μ, L Lᵀ) by its Cholesky factor, `scale_tril`."""

    _drawn: Draw | None = None

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw μ + L ε."""
        noise = standard_noise(self._extended_shape(torch.Size(sample_shape)), self.loc)
        factor = self._unbroadcasted_scale_tril
        value: Tensor = self.loc + times(factor, noise)
        self._drawn = Draw.of(value, noise, by=(self.loc, factor))
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        """log N(value; μ, L Lᵀ)."""
        with full_precision(value):
            if self._drawn is None or not self._drawn.is_at(value):
                return super().log_prob(value)
            (noise,), factor = self._drawn.noise, self._unbroadcasted_scale_tril
            if self._drawn.needs_its_gradient(value):
                change = gradient_only(value) - gradient_only(self.loc)
                noise = noise + _solve(factor, change - times(gradient_only(factor), noise))
            half_log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
            constant = 0.5 * self.event_shape[0] * LOG_2_PI
            return -0.5 * noise.square().sum(-1) - half_log_det - constant


def _solve(factor: Tensor, vector: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(factor, vector.unsqueeze(-1), upper=False).squeeze(-1)
