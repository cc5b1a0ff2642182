"""What the networks of the zoo share: any leading dimensions, and labels.

They map `(*leading, *in_shape)` to `(*leading, *out_shape)`, whatever the leading dimensions are
that a Pyro program adds; how other networks meet these is said in `vaezoo.networks.leading`.

Labels enter the first layer by weights of their own, `W_x x + W_y[y]`, which is the same function
as a layer on the concatenation of x and one-hot y (Kingma et al. 2014, M2). Written as a sum it
broadcasts: when y runs over its Y classes the image goes through `W_x` once, not Y times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vaezoo import arguments
from vaezoo.components import check_size
from vaezoo.scopes import checks_data

__all__ = ["Network"]

Shape = tuple[int, ...]


class Network(nn.Module):
    """rest(first(x) + label[y]); subclasses build the three."""

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

    def __setattr__(self, name: str, value: Any) -> None:
        check_size(self, name, value)
        super().__setattr__(name, value)

    def _make_label(self, width: int) -> None:
        """W_y, `label_scale` times the label columns of a new linear layer on (x, one-hot y)."""
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
        h = _on_rows(self.first, x, events)
        inner = h.dim() - (x.dim() - events)
        if self.label is not None:
            h = h + self._label_term(y)[(..., *[None] * (inner - 1))]
        elif y is not None:
            raise ValueError("this network takes no labels, got some: build it with classes=…")
        return _on_rows(self.rest, h, inner)

    def _label_term(self, y: Tensor | None) -> Tensor:
        """W_y[y], shape (*leading, width)."""
        assert self.label is not None
        if y is None:
            raise ValueError(f"this network needs labels in 0..{self.classes - 1}, got none")
        if y.is_floating_point() or y.dtype == torch.bool:
            raise ValueError(f"labels must be integer classes (torch.long), got {y.dtype}")
        y = y.long()  # bytes would be taken for a mask
        if checks_data() and ((y < 0) | (y >= self.classes)).any():
            low, high = int(y.min()), int(y.max())
            raise ValueError(f"labels must lie in 0..{self.classes - 1}, got {low}..{high}")
        # the gradient of self.label[y] would be added up in another order in each run
        return functional.embedding(y, self.label)


def _on_rows(module: nn.Module, x: Tensor, events: int) -> Tensor:
    """Apply `module` to x with all dimensions but the last `events` made one, and restored."""
    leading = x.shape[: x.dim() - events]
    out: Tensor = module(x.reshape(-1, *x.shape[len(leading) :]))
    return out.reshape(*leading, *out.shape[1:])


def _csv(shape: Shape) -> str:
    return ", ".join(map(str, shape))
