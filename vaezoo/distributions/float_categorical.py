"""The categorical distribution of numbers 0, 1, …, as floats."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from vaezoo.distributions.full_precision import full_precision

__all__ = ["FloatCategorical"]


class FloatCategorical(dist.Categorical):
    """A Categorical whose outcomes are floats, so that they have a mean and fit a float batch."""

    @property
    def mean(self) -> Tensor:
        """Σ_k k P(k)."""
        with full_precision(self.logits):
            return self.probs @ self._levels

    @property
    def variance(self) -> Tensor:
        """Σ_k (k - mean)² P(k)."""
        return (self.probs * (self._levels - self.mean.unsqueeze(-1)).square()).sum(-1)

    @property
    def _levels(self) -> Tensor:
        return torch.arange(self._num_events, dtype=self.logits.dtype, device=self.logits.device)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw levels, in the dtype of the logits."""
        return super().sample(torch.Size(sample_shape)).to(self.logits.dtype)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All levels along a new first dimension."""
        return super().enumerate_support(expand=expand).to(self.logits.dtype)
