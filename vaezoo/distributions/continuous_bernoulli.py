"""The continuous Bernoulli on [0, 1], exact for logits of any size.

References:
    Loaiza-Ganem, Cunningham. The continuous Bernoulli: fixing a pervasive error in variational
    autoencoders. 2019. arXiv:1907.06845.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

__all__ = ["ContinuousBernoulli"]

NEAR_ZERO = 0.25  # logits below it are expanded in a power series


class ContinuousBernoulli(TorchDistribution):
    """The continuous Bernoulli by its natural parameter.

    torch's own goes through p = sigmoid(logit), which in float32 is clamped from a logit of 15.9
    on: its normaliser stops growing there, and the density at a logit of 30 integrates to 0.53.
    Here log C is a function of the logit, with the even part of

        log((e^λ - 1) / λ) = λ/2 + log(sinh(λ/2) / (λ/2))

    as a power series where |λ| is small, so that value and gradient have no 0/0 in either branch.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {"logits": constraints.real}
    support = constraints.unit_interval

    def __init__(self, logits: Tensor, *, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ContinuousBernoulli:
        """The same distribution over a larger batch."""
        return ContinuousBernoulli(self.logits.expand(batch_shape), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """λ (x - ½) - log(sinh(λ/2) / (λ/2))."""
        if self._validate_args:
            self._validate_sample(value)
        return self.logits * (value - 0.5) - self._log_sinhc()

    def _split(self) -> tuple[Tensor, Tensor, Tensor]:
        """Whether |λ| is small; |λ|, made NEAR_ZERO there; λ², made 0 elsewhere."""
        size = self.logits.abs()
        small = size < NEAR_ZERO
        return small, size.clamp(min=NEAR_ZERO), torch.where(small, self.logits, 0).square()

    def _log_sinhc(self) -> Tensor:
        small, size, square = self._split()
        series = square / 24 * (1 - square / 120 * (1 - square / 63 * (1 - square * 3 / 160)))
        return torch.where(small, series, size / 2 + torch.log(-torch.expm1(-size) / size))

    @property
    def mean(self) -> Tensor:
        """E[x] = ½ + the derivative of log(sinh(λ/2) / (λ/2))."""
        small, size, square = self._split()
        series = self.logits / 12 * (1 - square / 60 * (1 - square / 42 * (1 - square / 40)))
        tail = (-size).exp()
        exact = self.logits.sign() * (0.5 + tail / (1 - tail) - 1 / size)
        return 0.5 + torch.where(small, series, exact)

    @property
    def variance(self) -> Tensor:
        """Var[x] = 1/λ² - 1 / (4 sinh²(λ/2))."""
        small, size, square = self._split()
        series = (1 - square / 20 * (1 - square * 5 / 126 * (1 - square * 7 / 200))) / 12
        tail = (-size).exp()
        return torch.where(small, series, size.pow(-2) - tail / (1 - tail).square())

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """By the inverse of the distribution function, from the side where x is likely."""
        size = self.logits.abs().clamp(min=torch.finfo(self.logits.dtype).eps)
        u = torch.rand(
            self._extended_shape(sample_shape), dtype=size.dtype, device=self.logits.device
        )
        x = (-torch.log1p(u * torch.expm1(-size)) / size).clamp(0, 1)
        return torch.where(self.logits > 0, 1 - x, x)
