"""Digits as the directions of their strokes: alike for digits that lean or are thicker.

Grey digits are sheared upright by their moments, and their gradients counted by direction.
Dalal, Triggs. Histograms of Oriented Gradients for Human Detection. 2005.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from vaezoo.data.full_precision import full_precision

__all__ = ["strokes", "upright"]

DIRECTIONS, POOL, STRIDE = 12, 5, 3  # bins of the full turn; pixels


def strokes(x: Tensor) -> Tensor:
    """Square roots of normalised histograms of directions: distances are √2 times Hellinger's.

        data.spread_labels(images, images.labelled(100), features=data.strokes)

    Each histogram is of 12 directions, of 5×5 pixels, three apart; it counts by how steep grey is.

    Args:
        x: grey digits, or other signs, floats (n, 1, H, W), at least 0.

    Returns:
        (n, 12·⌈H/3⌉·⌈W/3⌉), of norm 1 where a picture is not blank.

    Raises:
        ValueError: x has another shape, or is not floating.

    Example:
        >>> from vaezoo.data import digits
        >>> x, _ = digits("test", binarisation="none")[:5].tensors()
        >>> strokes(x).shape, strokes(x).norm(dim=1).round().tolist()
        (torch.Size([5, 1200]), [1.0, 1.0, 1.0, 1.0, 1.0])
    """
    if x.dim() != 4 or x.shape[1] != 1 or not x.is_floating_point():
        raise ValueError(
            f"strokes are of floating grey images (n, 1, H, W), got {tuple(x.shape)} {x.dtype}: "
            "make one channel of several, x.mean(1, keepdim=True)"
        )
    with full_precision(x.device):
        return _histograms(upright(x))


def _histograms(digits: Tensor) -> Tensor:
    """Those of upright digits."""
    across = digits.new_tensor([-1.0, 0.0, 1.0])
    dx = functional.conv2d(digits, across.view(1, 1, 1, 3), padding=(0, 1))
    dy = functional.conv2d(digits, across.view(1, 1, 3, 1), padding=(1, 0))
    bins = torch.arange(DIRECTIONS, device=digits.device, dtype=digits.dtype).view(1, -1, 1, 1)
    places = torch.atan2(dy, dx) * DIRECTIONS / (2 * math.pi)
    # each direction counts for the two bins beside it
    apart = ((places - bins + DIRECTIONS / 2) % DIRECTIONS - DIRECTIONS / 2).abs()
    counts = (1 - apart).clamp_min(0) * torch.hypot(dx, dy)
    pooled = functional.avg_pool2d(counts, POOL, STRIDE, POOL // 2)
    return functional.normalize(pooled.flatten(1).sqrt())


def upright(x: Tensor) -> Tensor:
    """Grey pictures (n, 1, H, W), their mass in the middle and sheared to lean neither way.

    A row is moved by the slope of the mass's column upon its row.
    """
    height, width = x.shape[2:]
    rows, columns = (
        torch.arange(n, device=x.device, dtype=x.dtype) - (n - 1) / 2 for n in (height, width)
    )
    rows, columns = rows.view(1, 1, -1, 1), columns.view(1, 1, 1, -1)
    mass = x / x.sum((2, 3), keepdim=True).clamp_min(1e-6)

    def mean(of: Tensor) -> Tensor:
        return (mass * of).sum((2, 3), keepdim=True)

    row, column = mean(rows), mean(columns)
    slope = mean((rows - row) * (columns - column)) / mean((rows - row) ** 2).clamp_min(1e-6)
    theta = x.new_zeros(len(x), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1
    theta[:, 0, 1] = slope.flatten() * (height - 1) / (width - 1)
    theta[:, 0, 2] = 2 * column.flatten() / (width - 1)
    theta[:, 1, 2] = 2 * row.flatten() / (height - 1)
    with full_precision(x.device):
        grid = functional.affine_grid(theta, list(x.shape), align_corners=True)
        return functional.grid_sample(x, grid, align_corners=True)
