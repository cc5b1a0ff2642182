"""The multi-layer perceptron."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from torch import nn

from vaezoo import arguments
from vaezoo.networks.base import Network

__all__ = ["MLP"]


class MLP(Network):
    """A multi-layer perceptron from `in_shape` to `out_shape`.

    Args:
        in_shape: shape of one input, flattened on the way in.
        hidden: widths of the hidden layers; at least one.
        out_shape: shape of one output.
        classes: number of classes of y, 0 for a network without labels.
        label_scale: how much wider labels' weights start than those of a linear layer.
        activation: class of the non-linearity; ELU as in the reference networks.

    Example:
        >>> import torch
        >>> net = MLP((1, 28, 28), (300, 300), (2, 10), classes=10)
        >>> images, every_label = torch.zeros(7, 1, 28, 28), torch.arange(10)[:, None]
        >>> net(images, every_label).shape
        torch.Size([10, 7, 2, 10])
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
        widths = [*self.hidden, math.prod(self.out_shape)]
        self.first = nn.Sequential(
            nn.Flatten(), nn.Linear(math.prod(self.in_shape), self.hidden[0])
        )
        self._make_label(self.hidden[0])
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(widths):
            layers += [activation(), nn.Linear(a, b)]
        self.rest = nn.Sequential(*layers, nn.Unflatten(-1, self.out_shape))
