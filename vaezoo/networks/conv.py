"""The convolutional network, down from images or up to them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from torch import nn

from vaezoo import arguments
from vaezoo.networks.base import Network

__all__ = ["Conv"]


class Conv(Network):
    """A convolutional network: downwards from an image, or upwards to one.

    Every layer halves (or doubles) height and width by a 4×4 convolution of stride 2; a linear
    layer joins the last feature map to the side that is not an image. `hidden` names the channels
    in the order in which data meet them.

    Args:
        in_shape: (C, H, W) to go down from an image; any other shape to go up to one.
        hidden: channels of the convolutions; H and W must be divisible by 2**len(hidden).
        out_shape: (C, H, W) when going up.
        classes: number of classes of y, 0 for a network without labels.
        label_scale: how much wider labels' weights start than those of a linear layer.
        activation: class of the non-linearity.

    Example:
        >>> import torch
        >>> Conv((1, 28, 28), (32, 64), (2, 10))(torch.zeros(7, 1, 28, 28)).shape
        torch.Size([7, 2, 10])
        >>> Conv((10,), (64, 32), (1, 28, 28), classes=10)(
        ...     torch.zeros(5, 7, 10), torch.arange(10)[:, None, None]
        ... ).shape
        torch.Size([10, 5, 7, 1, 28, 28])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        hidden: Sequence[int],
        out_shape: Sequence[int],
        *,
        classes: int = 0,
        label_scale: float = 1.0,
        activation: Callable[[], nn.Module] = nn.ELU,
    ) -> None:
        super().__init__(in_shape, out_shape, classes, label_scale)
        self.hidden = arguments.shape("hidden", hidden)
        self.activation = arguments.activation(activation)
        down = len(self.in_shape) == 3
        image = self.in_shape if down else self.out_shape
        side = 2 ** len(self.hidden)
        if len(image) != 3 or image[1] % side or image[2] % side:
            raise ValueError(
                f"Conv with {len(self.hidden)} layers needs an image (C, H, W) with H and W "
                f"divisible by {side} on one side, got {self.in_shape} to {self.out_shape}"
            )
        self.first, self.rest = self._down() if down else self._up()

    def _down(self) -> tuple[nn.Module, nn.Module]:
        channels, last = (self.in_shape[0], *self.hidden), self.hidden[-1]
        convs = [nn.Conv2d(a, b, 4, 2, 1) for a, b in zip(channels, self.hidden, strict=False)]
        height, width = (s // 2 ** len(self.hidden) for s in self.in_shape[1:])
        rest: list[nn.Module] = [self.activation()]
        for conv in convs[1:]:
            rest += [conv, self.activation()]
        out = nn.Linear(last * height * width, math.prod(self.out_shape))
        rest += [nn.Flatten(), out, nn.Unflatten(-1, self.out_shape)]
        self._make_label(self.hidden[0])
        return convs[0], nn.Sequential(*rest)

    def _up(self) -> tuple[nn.Module, nn.Module]:
        channels = (*self.hidden, self.out_shape[0])
        height, width = (s // 2 ** len(self.hidden) for s in self.out_shape[1:])
        size = self.hidden[0] * height * width
        rest: list[nn.Module] = [nn.Unflatten(-1, (self.hidden[0], height, width))]
        for a, b in itertools.pairwise(channels):
            rest += [self.activation(), nn.ConvTranspose2d(a, b, 4, 2, 1)]
        self._make_label(size)
        first = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(self.in_shape), size))
        return first, nn.Sequential(*rest)
