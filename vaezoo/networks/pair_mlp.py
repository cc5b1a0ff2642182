"""The multi-layer perceptron of a pair: an image, or a code, and another code."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vaezoo import arguments
from vaezoo.networks.mlp import MLP

__all__ = ["PairMLP"]


class PairMLP(MLP):
    """An MLP on a pair (x, v) of an image and a vector, and on labels where there are classes.

    The function is that of an `MLP` on their concatenation; its first layer is written as the sum
    W_x x + W_v v + W_y[y] and broadcasts, so that an image goes through W_x once, whatever number
    of v and y there are for it. It is a `network` for any posterior or classifier, which are then
    called on the pair.

    Args:
        x_shape: shape of x, flattened on the way in.
        v_dim: size of v; the rest as in `MLP`, without `label_scale`.

    Example:
        >>> net = PairMLP((1, 28, 28), 5, (300,), (2, 10), classes=10)
        >>> x, v, every_label = torch.zeros(7, 1, 28, 28), torch.zeros(3, 7, 5), torch.arange(10)
        >>> net((x, v), every_label[:, None, None]).shape
        torch.Size([10, 3, 7, 2, 10])
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        v_dim: int,
        hidden: Sequence[int],
        out_shape: Sequence[int],
        *,
        classes: int = 0,
        activation: Callable[[], nn.Module] = nn.ELU,
    ) -> None:
        x_shape, v_dim = arguments.shape_first("PairMLP", ("x_shape", "v_dim"), x_shape, v_dim)
        width = math.prod(x_shape) + v_dim
        super().__init__((width,), hidden, out_shape, classes=classes, activation=activation)
        self.x_shape, self.v_dim = x_shape, v_dim

    def forward(self, x: Tensor | tuple[Tensor, Tensor], y: Tensor | None = None) -> Tensor:
        """Map (x, v) with labels y by broadcasting; or their concatenation, as an MLP does.

        Args:
            x: the pair, shapes (*leading, *x_shape) and (*leading, v_dim), or both in one tensor
                (*leading, prod(x_shape) + v_dim), as a `VampPrior` has its pseudo-inputs.
            y: labels (*leading), where there are classes.

        Raises:
            ValueError: an input has another shape, or labels are missing, unexpected, not
                integers, or out of range.
        """
        if isinstance(x, Tensor):
            return super().forward(x, y)
        image, v = x
        events = len(self.x_shape)
        if image.shape[-events:] != self.x_shape or v.shape[-1] != self.v_dim:
            raise ValueError(
                f"expected a pair (..., {', '.join(map(str, self.x_shape))}) and "
                f"(..., {self.v_dim}), got {tuple(image.shape)} and {tuple(v.shape)}"
            )
        if y is not None and not self.classes:
            raise ValueError("this network takes no labels, got some: build it with classes=…")
        linear = self._only_linear()
        if linear is None:
            return super().forward(_joined(image.flatten(-events), v), y)
        w_x, w_v = linear.weight.split([self.in_shape[0] - self.v_dim, self.v_dim], 1)
        h = nn.functional.linear(image.flatten(-events), w_x, linear.bias)
        h = h + nn.functional.linear(v, w_v)
        if self.classes:
            h = h + self._label_term(y)
        out: Tensor = self.rest(h)
        return out

    def _only_linear(self) -> Any:
        """The linear layer that is all of `first`; None where more happens in its call.

        As with a layer of one's own before it, or under the older weight_norm.
        """
        _, *layers = self.first.children()
        linear: Any = layers[-1]
        hooked = linear._forward_pre_hooks or linear._forward_hooks
        plain = len(layers) == 1 and type(linear).forward is nn.Linear.forward and not hooked
        return linear if plain else None


def _joined(x: Tensor, v: Tensor) -> Tensor:
    leading = torch.broadcast_shapes(x.shape[:-1], v.shape[:-1])
    return torch.cat([t.expand(*leading, t.shape[-1]) for t in (x, v)], -1)
