"""The classifier q(y|x)."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
from torch import Tensor, nn

from vaezoo import arguments
from vaezoo.components import Component
from vaezoo.networks import MLP
from vaezoo.networks.leading import over_leading
from vaezoo.posteriors.base import shown

__all__ = ["Classifier"]


class Classifier(Component):
    """q(y|x), a Categorical over the classes.

    Args:
        x_shape: shape of one image.
        classes: number of classes.
        hidden: widths of the hidden layers of the default `MLP` (ReLU, as in the reference).
        network: your own module from images to (classes,) logits.
        log1p: show the network `networks.signed_log1p` of x: for counts, which are far from 1.

    Example:
        >>> import torch
        >>> Classifier((1, 28, 28), 10)(torch.zeros(7, 1, 28, 28)).probs.shape
        torch.Size([7, 10])
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        classes: int,
        *,
        hidden: Sequence[int] = (300, 300),
        network: nn.Module | None = None,
        log1p: bool = False,
    ) -> None:
        super().__init__()
        self.log1p = log1p
        names = ("x_shape", "classes")
        self.x_shape, self.classes = arguments.shape_first("Classifier", names, x_shape, classes)
        arguments.size("classes", self.classes, least=2)
        self.hidden = arguments.shape("hidden", hidden)
        self.network = (
            MLP(self.x_shape, self.hidden, (self.classes,), activation=nn.ReLU)
            if network is None
            else arguments.module("network", network)
        )

    def forward(self, x: Tensor) -> dist.TorchDistribution:
        """Return q(y|x) for images x, shape (*leading, *x_shape)."""
        logits = over_leading(self.network, shown(x, self.log1p), None, self.x_shape)
        return dist.Categorical(logits=logits)

    def __repr__(self) -> str:
        return f"Classifier({self.classes})"
