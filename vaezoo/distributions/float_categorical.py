"""The categorical distribution of numbers 0, 1, …, as floats."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

__all__ = ["FloatCategorical"]


class FloatCategorical(dist.Categorical):
    """A Categorical whose outcomes are floats, so that they have a mean and fit a float batch."""

    @property
    def mean(self) -> Tensor:
        """Σ_k k P(k)."""
        count = self._num_events
        levels = torch.arange(count, dtype=self.logits.dtype, device=self.logits.device)
        return self.probs @ levels

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw levels, in the dtype of the logits."""
        return super().sample(torch.Size(sample_shape)).to(self.logits.dtype)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All levels along a new first dimension."""
        return super().enumerate_support(expand=expand).to(self.logits.dtype)
