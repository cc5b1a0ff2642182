"""The 256 levels of a grey pixel, as the bins of a logistic distribution.

References:
    Kingma, Salimans, Jozefowicz, Chen, Sutskever, Welling. Improving Variational Inference with
    Inverse Autoregressive Flow. 2016. arXiv:1606.04934.
    Salimans, Karpathy, Chen, Kingma. PixelCNN++: Improving the PixelCNN with Discretized Logistic
    Mixture Likelihood and Other Modifications. 2017. arXiv:1701.05517, equation 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from vaezoo.likelihoods.base import Likelihood

__all__ = ["DiscretizedLogistic"]

TOP = 255  # the brightest level
TOLERANCE = 1e-4  # of a level
START = 0.1  # of s, before training


class DiscretizedLogistic(Likelihood):
    """Independent pixels k/255, k in 0..255, each with the logistic mass of its bin.

        P(x) = σ((x + ½/255 - μ) / s) - σ((x - ½/255 - μ) / s)

    with the first bin open to -∞ and the last to +∞ (Salimans et al. 2017, equation 2, with one
    component). The network puts out μ; log s is a parameter. A probability of levels: log p(x|z)
    divided by -D log 2 is bits per dimension.

    Args:
        scale: "shared", one s for all pixels; "pixel", one for each.

    Example:
        >>> p = DiscretizedLogistic(10, (1, 2, 2), hidden=(8,))(torch.zeros(1, 10)).base_dist
        >>> levels = torch.arange(256.0)[:, None, None, None, None] / 255
        >>> [round(total, 4) for total in p.log_prob(levels).exp().sum(0).flatten().tolist()]
        [1.0, 1.0, 1.0, 1.0]
    """

    def __init__(
        self,
        z_dim: int,
        x_shape: Sequence[int],
        *,
        hidden: Sequence[int] = (300, 300),
        classes: int = 0,
        network: nn.Module | None = None,
        scale: str = "shared",
    ) -> None:
        super().__init__(z_dim, x_shape, hidden=hidden, classes=classes, network=network)
        if scale not in ("shared", "pixel"):
            raise ValueError(f"scale must be 'shared' or 'pixel', got {scale!r}")
        self.scale = scale
        shape = self.x_shape if scale == "pixel" else ()
        self.log_scale = nn.Parameter(torch.full(shape, math.log(START)))

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Return p(x|z[, y])."""
        return _Levels(self._decode(z, y), self.log_scale).to_event(len(self.x_shape))

    def check(self, x: Tensor) -> None:
        """Raise ValueError if a pixel is none of 0, 1/255, …, 1."""
        between = ~_on_a_level(x)
        if between.any():
            raise ValueError(
                "a DiscretizedLogistic likelihood needs pixels that are multiples of 1/255 in "
                f"[0, 1], got {x[between][0].item():.6g}: load the data with binarisation='none', "
                "divide bytes by 255, or use likelihoods.ContinuousBernoulli or Normal"
            )

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, scale={self.scale})"


def _on_a_level(x: Tensor) -> Tensor:
    level = x * TOP
    return ((level - level.round()).abs() <= TOLERANCE) & (x >= 0) & (x <= 1)


class _GreyLevel(constraints.Constraint):
    """0, 1/255, …, 1, as near as float32 holds them."""

    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        return _on_a_level(value)


class _Levels(TorchDistribution):
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

    def expand(self, batch_shape: Any, _instance: Any = None) -> _Levels:
        """The same distribution over a larger batch."""
        expanded = self.loc.expand(batch_shape), self.log_scale.expand(batch_shape)
        return _Levels(*expanded, validate_args=False)

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
