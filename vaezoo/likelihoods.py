"""Likelihoods p(x|z) and p(x|z, y): how an image is drawn from a latent code."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from vaezoo.components import Component
from vaezoo.networks import MLP

__all__ = ["Bernoulli", "Likelihood", "Normal"]


class Likelihood(Component):
    """p(x|z[, y]): `forward(z[, y])` returns a distribution with event shape x_shape.

    Args:
        z_dim: latent size.
        x_shape: shape of one image.
        hidden: widths of the hidden layers of the default `MLP`.
        classes: number of classes of y; 0 for p(x|z).
        network: your own module from codes (and labels) to x_shape.
    """

    def __init__(
        self,
        z_dim: int,
        x_shape: Sequence[int],
        *,
        hidden: Sequence[int] = (300, 300),
        classes: int = 0,
        network: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.z_dim, self.x_shape = z_dim, tuple(x_shape)
        self.hidden, self.classes = tuple(hidden), classes
        self.network = network or MLP((z_dim,), hidden, x_shape, classes=classes)

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Return p(x|z[, y]) for codes z, shape (*leading, z_dim)."""
        raise NotImplementedError

    def _decode(self, z: Tensor, y: Tensor | None) -> Tensor:
        out: Tensor = self.network(z) if y is None else self.network(z, y)
        return out

    def check(self, x: Tensor) -> None:
        """Raise ValueError unless images x are outcomes of this likelihood; here, any reals."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'×'.join(map(str, self.x_shape))})"


class Bernoulli(Likelihood):
    """Independent Bernoulli pixels, parametrised by logits.

    Example:
        >>> p = Bernoulli(10, (1, 28, 28))(torch.zeros(7, 10))
        >>> p.batch_shape, p.event_shape
        (torch.Size([7]), torch.Size([1, 28, 28]))
        >>> Bernoulli(10, (1, 28, 28)).check(torch.full((1, 1, 28, 28), 0.5))
        Traceback (most recent call last):
        ...
        ValueError: a Bernoulli likelihood needs pixels that are 0 or 1, got 0.5: ...
    """

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Return p(x|z[, y])."""
        return dist.Bernoulli(logits=self._decode(z, y)).to_event(len(self.x_shape))

    def check(self, x: Tensor) -> None:
        """Raise ValueError if a pixel is neither 0 nor 1."""
        grey = (x != 0) & (x != 1)
        if grey.any():
            raise ValueError(
                f"a Bernoulli likelihood needs pixels that are 0 or 1, got {x[grey][0].item():.4g}:"
                " load the data with binarisation='dynamic', 'static' or 'threshold', or use "
                "likelihoods.Normal for grey images"
            )


class Normal(Likelihood):
    """Independent Normal pixels around the network's output, with one variance for all of them.

    With the seed's variance of 1/10 the density of a pixel can exceed 1, so log p(x|z) may be
    positive: its constant is -D/2 log(2π/10), +713.79 nats for 3×32×32 images.

    Args:
        variance: of each pixel; where it starts, if it is learned.
        learn_variance: learn that one number.

    Example:
        >>> likelihood = Normal(10, (3, 32, 32))
        >>> x = likelihood(torch.zeros(1, 10)).mean
        >>> round(likelihood(torch.zeros(1, 10)).log_prob(x).item(), 2)
        713.79
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
        learn_variance: bool = False,
    ) -> None:
        super().__init__(z_dim, x_shape, hidden=hidden, classes=classes, network=network)
        if not 0 < variance < math.inf:
            raise ValueError(f"variance must be a positive number, got {variance}")
        self.variance, self.learn_variance = variance, learn_variance
        log_scale = torch.tensor(0.5 * math.log(variance), dtype=torch.float64)
        if learn_variance:
            self.log_scale = nn.Parameter(log_scale.to(torch.get_default_dtype()))
        else:
            self.register_buffer(
                "scale", log_scale.exp().to(torch.get_default_dtype()), persistent=False
            )

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Return p(x|z[, y])."""
        scale = self.log_scale.exp() if self.learn_variance else self.scale
        return dist.Normal(self._decode(z, y), scale).to_event(len(self.x_shape))

    def __repr__(self) -> str:
        variance = "learned" if self.learn_variance else f"{self.variance:g}"
        return f"{super().__repr__()[:-1]}, variance={variance})"
