"""The likelihood of real numbers, as means with Normal noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from vaezoo import arguments
from vaezoo.likelihoods.base import Likelihood

__all__ = ["Normal"]


class Normal(Likelihood):
    """Independent Normal pixels around the network's output; the variance does not depend on z.

    With the reference variance of 1/10 the density of a pixel can exceed 1, so log p(x|z) may be
    positive: its constant is -D/2 log(2π/10), +713.79 nats for 3×32×32 images.

    Args:
        variance: of each pixel; where it starts, if it is learned. It may be set anew.
        learn_variance: False; "shared" or True, one number for all pixels; "pixel", one for each.

    Example:
        >>> likelihood = Normal(10, (3, 32, 32))
        >>> x = likelihood(torch.zeros(1, 10)).mean
        >>> round(likelihood(torch.zeros(1, 10)).log_prob(x).item(), 2)
        713.79
        >>> Normal(10, (3, 32, 32), learn_variance="pixel").log_scale.shape
        torch.Size([3, 32, 32])
    """

    scale: Tensor

    def __init__(
        self,
        z_dim: int,
        x_shape: Sequence[int],
        *,
        hidden: Sequence[int] = (300, 300),
        classes: int = 0,
        network: nn.Module | None = None,
        variance: float = 0.1,
        learn_variance: bool | str = False,
    ) -> None:
        super().__init__(z_dim, x_shape, hidden=hidden, classes=classes, network=network)
        variance = _positive(variance)
        start = _log_scale(variance)
        which = "learn_variance must be False, 'shared' or 'pixel'"
        if learn_variance not in (False, True, "shared", "pixel"):
            raise ValueError(f"{which}, got {learn_variance!r}")
        self._variance = variance
        # True, as in checkpoints from before there was "pixel"
        self.learn_variance = True if learn_variance == "shared" else learn_variance
        shape = self.x_shape if learn_variance == "pixel" else ()
        if learn_variance:
            self.log_scale = nn.Parameter(torch.full(shape, start))
        else:
            self.register_buffer("scale", torch.tensor(math.exp(start)), persistent=False)

    @property
    def variance(self) -> Any:
        """Of each pixel, that of the scale in use; where it started, if it is learned."""
        if self.learn_variance or self._exact_scale().equal(self.scale):
            return self._variance
        squares = self.scale.square()
        return self.scale.item() ** 2 if squares.numel() == 1 else squares

    @variance.setter
    def variance(self, value: float) -> None:
        self._variance = _positive(value)
        start = _log_scale(self._variance)
        with torch.no_grad():
            if self.learn_variance:
                self.log_scale.fill_(start)
            else:
                self.scale = self._exact_scale()

    def _exact_scale(self) -> Tensor:
        """The root of the variance that was given, as exact as the dtype is."""
        return self.scale.new_tensor(math.exp(_log_scale(self._variance)))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Normal:
        """After a change of dtype: the scale as exact as the new one is."""
        before = self._buffers.get("scale")
        super()._apply(fn, recurse)
        if before is not None and before.dtype != self.scale.dtype:
            exact = self._exact_scale()
            if exact.to(before).equal(before):  # it is not one of your own
                self.scale = exact
        return self

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Return p(x|z[, y])."""
        scale = self.log_scale.exp() if self.learn_variance else self.scale
        return dist.Normal(self._decode(z, y), scale).to_event(len(self.x_shape))

    def __repr__(self) -> str:
        learned = "learned per pixel" if self.learn_variance == "pixel" else "learned"
        value = self.variance
        fixed = "per pixel" if isinstance(value, Tensor) else f"{value:g}"
        return f"{super().__repr__()[:-1]}, variance={learned if self.learn_variance else fixed})"


def _log_scale(variance: float) -> float:
    return 0.5 * math.log(variance)


def _positive(variance: Any) -> float:
    value = variance if isinstance(variance, float) else arguments.number("variance", variance)
    if not 0 < value < math.inf:
        raise ValueError(f"variance must be a positive number, got {variance}")
    return arguments.number("variance", value)
