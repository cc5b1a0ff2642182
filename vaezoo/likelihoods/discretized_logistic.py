"""The likelihood of the 256 levels of a grey pixel, as the bins of a logistic distribution.

References:
    Kingma, Salimans, Jozefowicz, Chen, Sutskever, Welling. Improving Variational Inference with
    Inverse Autoregressive Flow. 2016. arXiv:1606.04934.
    Salimans, Karpathy, Chen, Kingma. PixelCNN++: Improving the PixelCNN with Discretized Logistic
    Mixture Likelihood and Other Modifications. 2017. arXiv:1701.05517, equation 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from vaezoo import distributions
from vaezoo.likelihoods.base import Likelihood

__all__ = ["DiscretizedLogistic"]

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
        levels = distributions.GreyLevels(self._decode(z, y), self.log_scale)
        return levels.to_event(len(self.x_shape))

    def check(self, x: Tensor) -> None:
        """Raise ValueError if a pixel is none of 0, 1/255, …, 1."""
        between = ~distributions.GreyLevels.support.check(x)
        if between.any():
            raise ValueError(
                "a DiscretizedLogistic likelihood needs pixels that are multiples of 1/255 in "
                f"[0, 1], got {x[between][0].item():.6g}: load the data with binarisation='none', "
                "divide bytes by 255, or use likelihoods.ContinuousBernoulli or Normal"
            )

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, scale={self.scale})"
