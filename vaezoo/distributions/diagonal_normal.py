"""The Normal of independent numbers, exact at its own draws."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from vaezoo.distributions.noise import LOG_2_PI, Draw, gradient_only, standard_noise

__all__ = ["DiagonalNormal"]


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
        noise = standard_noise(self._extended_shape(torch.Size(sample_shape)), self.loc)
        value: Tensor = self.loc + noise * self.scale
        self._drawn = Draw.of(value, noise, by=(self.loc, self.scale))
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        """log N(value; μ, σ²)."""
        if self._drawn is None or not self._drawn.is_at(value):
            return super().log_prob(value)
        (noise,) = self._drawn.noise
        if self._drawn.needs_its_gradient(value):
            change = gradient_only(value) - gradient_only(self.loc)
            noise = noise + (change - gradient_only(self.scale) * noise) / self.scale
        return -0.5 * (noise.square() + LOG_2_PI) - self.scale.log()
