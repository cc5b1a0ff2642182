"""Networks: plain torch modules from one shape to another, with any leading dimensions.

A Pyro program adds dimensions on the left: one for particles, one for every label that is summed
out. The networks here map `(*leading, *in_shape)` to `(*leading, *out_shape)` whatever those are;
for a network of your own a part makes the leading dimensions one (see `vaezoo.leading`).

Labels enter the first layer by weights of their own, `W_x x + W_y[y]`, which is the same function
as a layer on the concatenation of x and one-hot y (Kingma et al. 2014, M2). Written as a sum it
broadcasts: when y runs over its Y classes the image goes through `W_x` once, not Y times.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vaezoo import arguments
from vaezoo.scopes import checks_data

__all__ = ["MLP", "Conv", "PairMLP", "positive", "signed_log1p"]

Shape = tuple[int, ...]


def positive(raw: Tensor) -> Tensor:
    """A scale (standard deviation) from any real: sqrt(softplus(raw) + 1e-8).

    The seed's networks put out variances softplus(h) + 1e-8; Pyro wants scales.

    Example:
        >>> [round(scale, 4) for scale in positive(torch.tensor([-100.0, 0.0])).tolist()]
        [0.0001, 0.8326]
    """
    return (nn.functional.softplus(raw) + 1e-8).sqrt()


def signed_log1p(x: Tensor) -> Tensor:
    """sign(x) log(1 + |x|): counts of any size brought near each other, 0 and signs kept.

    Example:
        >>> [round(value, 4) for value in signed_log1p(torch.tensor([-1.0, 0.0, 9999.0])).tolist()]
        [-0.6931, 0.0, 9.2103]
    """
    return x.sign() * x.abs().log1p()


class _Network(nn.Module):
    """first(x) + label[y], then the rest; subclasses build `first` and `rest`."""

    broadcasts = True
    first: nn.Module
    rest: nn.Module

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        classes: int,
        label_scale: float,
    ) -> None:
        super().__init__()
        self.in_shape: Shape = arguments.shape("in_shape", in_shape)
        self.out_shape: Shape = arguments.shape("out_shape", out_shape)
        self.classes = arguments.size("classes", classes, least=0)
        self.label_scale = arguments.number("label_scale", label_scale)

    def _make_label(self, width: int) -> None:
        """W_y, drawn as the columns of a linear layer on (x, one-hot y) are, times label_scale."""
        self.label: nn.Parameter | None = None
        if self.classes:
            bound = self.label_scale / math.sqrt(math.prod(self.in_shape) + self.classes)
            self.label = nn.Parameter(torch.empty(self.classes, width).uniform_(-bound, bound))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Map x, shape (*leading, *in_shape), and labels y, shape (*leading), by broadcasting.

        Raises:
            ValueError: x does not end in `in_shape`, or labels are missing, unexpected, not
                integers, or out of range.
        """
        events = len(self.in_shape)
        if x.shape[max(x.dim() - events, 0) :] != self.in_shape:
            raise ValueError(f"expected inputs (..., {_csv(self.in_shape)}), got {tuple(x.shape)}")
        h = _over_leading(self.first, x, events)
        inner = h.dim() - (x.dim() - events)
        if self.label is not None:
            h = h + self._label_term(y)[(..., *[None] * (inner - 1))]
        elif y is not None:
            raise ValueError("this network takes no labels; build it with classes=…")
        return _over_leading(self.rest, h, inner)

    def _label_term(self, y: Tensor | None) -> Tensor:
        assert self.label is not None
        if y is None:
            raise ValueError(f"this network needs labels in 0..{self.classes - 1}, got none")
        if y.is_floating_point() or y.dtype == torch.bool:
            raise ValueError(f"labels must be integer classes (torch.long), got {y.dtype}")
        y = y.long()  # bytes would be taken for a mask
        if checks_data() and ((y < 0) | (y >= self.classes)).any():
            low, high = int(y.min()), int(y.max())
            raise ValueError(f"labels must lie in 0..{self.classes - 1}, got {low}..{high}")
        return self.label[y]


class MLP(_Network):
    """A multi-layer perceptron from `in_shape` to `out_shape`.

    Args:
        in_shape: shape of one input, flattened on the way in.
        hidden: widths of the hidden layers; at least one.
        out_shape: shape of one output.
        classes: number of classes of y, 0 for a network without labels.
        label_scale: how much wider labels' weights start than those of a linear layer.
        activation: class of the non-linearity; ELU as in the seed's networks.

    Example:
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


class PairMLP(MLP):
    """An MLP on a pair (x, v) of an image and a vector, and on labels where there are classes.

    The function is that of an `MLP` on their concatenation; its first layer is written as the sum
    W_x x + W_v v + W_y[y] and broadcasts, so that an image goes through W_x once, whatever number
    of v and y there are for it. It is a `network` for any posterior or classifier, which are then
    called on the pair.

    Args:
        x_shape: shape of x, flattened on the way in.
        v_dim: size of v.
        hidden: widths of the hidden layers; at least one.
        out_shape: shape of one output.
        classes: number of classes of y, 0 for a network without labels.
        activation: class of the non-linearity.

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
            raise ValueError("this network takes no labels; build it with classes=…")
        linear: Any = list(self.first.children())[-1]
        if type(linear).forward is not nn.Linear.forward or linear._forward_pre_hooks:
            # its weight is known inside of its call only, as under the older weight_norm
            return super().forward(_joined(image.flatten(-events), v), y)
        w_x, w_v = linear.weight.split([self.in_shape[0] - self.v_dim, self.v_dim], 1)
        h = nn.functional.linear(image.flatten(-events), w_x, linear.bias)
        h = h + nn.functional.linear(v, w_v)
        if self.classes:
            h = h + self._label_term(y)
        out: Tensor = self.rest(h)
        return out


class Conv(_Network):
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


def _over_leading(module: nn.Module, x: Tensor, events: int) -> Tensor:
    """Apply `module` to x with all but its last `events` dimensions flattened to one."""
    leading = x.shape[: x.dim() - events]
    out: Tensor = module(x.reshape(-1, *x.shape[len(leading) :]))
    return out.reshape(*leading, *out.shape[1:])


def _joined(x: Tensor, v: Tensor) -> Tensor:
    leading = torch.broadcast_shapes(x.shape[:-1], v.shape[:-1])
    return torch.cat([t.expand(*leading, t.shape[-1]) for t in (x, v)], -1)


def _csv(shape: Shape) -> str:
    return ", ".join(map(str, shape))
