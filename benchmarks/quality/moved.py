"""Labelled images that are moved about, so that a hundred of them are more."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vaezoo import data

__all__ = ["Moved"]


class Moved:
    """Semi-supervised batches whose labelled images are turned, sheared, scaled and shifted.

    Up to 15 degrees, 0.2, 10 % and 2 pixels, afresh for every batch; then binarised.
    """

    def __init__(self, images: data.Images, grey: data.Images, draw: int) -> None:
        labelled = grey.labelled(100, seed=draw)
        self.batches = data.semi_supervised(
            images, labelled, batch_size=100, labelled_batch_size=50
        )

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for x, x_labelled, y in self.batches:
            yield x, torch.bernoulli(_moved(x_labelled).clamp(0, 1)), y


def _moved(x: Tensor) -> Tensor:
    angle, size, shear, right, down = (torch.rand(5, len(x)) * 2 - 1).unbind()
    angle, size = angle * math.radians(15), 1 + 0.1 * size
    cos, sin = angle.cos() / size, angle.sin() / size
    across = torch.stack([cos, 0.2 * shear - sin, right / 7], -1)
    up = torch.stack([sin, cos, down / 7], -1)
    grid = nn.functional.affine_grid(torch.stack([across, up], 1), list(x.shape), False)
    return nn.functional.grid_sample(x, grid, align_corners=False)
