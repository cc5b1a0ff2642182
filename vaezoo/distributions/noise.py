"""The noise that a draw was made of, kept with it, so that the draw's density is exact.

log q(z|x) at a draw z = μ + L ε needs ε. Computed back from z as L⁻¹ (z - μ) it is wrong where L is
ill-conditioned or |μ| much larger than L: the difference has lost its digits, and what is left of
them is divided by L. In float32 such densities can be off by any number of nats. The Normals of
this room therefore keep their last draw and its noise, and compute the density of that draw from

    w = ε + L⁻¹ [ (z - z̄) - (μ - μ̄) - (L - L̄) ε ]

where a bar is the same number without its gradient: w is ε to the last digit, with the gradients of
L⁻¹ (z - μ) by z, μ and L. For other values the density is computed from those, as ever.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import normal

__all__ = ["LOG_2_PI", "Draw", "gradient_only", "standard_noise", "version"]

LOG_2_PI = math.log(2 * math.pi)


class Draw(NamedTuple):
    """A draw of a distribution, how often it had been written to by then, and its noise."""

    value: Tensor
    version: int
    noise: tuple[Tensor, ...]

    @classmethod
    def of(cls, value: Tensor, *noise: Tensor) -> Draw:
        """A draw that was just made of this noise."""
        return cls(value, version(value), noise)

    def is_at(self, value: Tensor) -> bool:
        """Whether a value is the draw, or a view of the same numbers in the same places."""
        if value is not self.value:
            places = value.shape, value.stride(), value.storage_offset()
            own = self.value.shape, self.value.stride(), self.value.storage_offset()
            if value._base is not self.value or places != own:
                return False
        return version(self.value) == self.version


def version(t: Tensor) -> int:
    """How often a tensor has been written to."""
    return 0 if t.is_inference() else t._version


def standard_noise(shape: Sequence[int], like: Tensor) -> Tensor:
    """N(0, 1) of a shape, in the dtype and on the device of another tensor."""
    # torch's own, looked up at each call: benchmarks put another in its place
    noise: Tensor = normal._standard_normal(torch.Size(shape), like.dtype, like.device)  # type: ignore[attr-defined]
    return noise


def gradient_only(t: Tensor) -> Tensor:
    """0, with the gradient of t: t - t̄."""
    return t - t.detach()
