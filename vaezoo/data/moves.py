"""Turns, shears, scales and shifts of images, drawn at random for each."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional

__all__ = ["Moves"]


class Moves:
    """Each image turned, sheared, scaled and shifted at random, by bilinear interpolation.

    Black comes in from outside. Each amount is uniform up to the one given, to either side, and 0
    turns it off.

    Args:
        degrees: of the turn.
        shear: of a column for each row from the middle, in pixels a pixel.
        scale: share by which the picture becomes larger or smaller, below 1.
        shift: right or left, and up or down, in pixels.

    Raises:
        TypeError: an amount is no number.
        ValueError: an amount is out of range.

    References:
        Simard, Steinkraus, Platt. Best Practices for Convolutional Neural Networks Applied to
        Visual Document Analysis. 2003, section 2.

    Example:
        >>> move = Moves(degrees=0, shear=0, scale=0, shift=1)
        >>> x = torch.rand(3, 1, 28, 28)
        >>> move(x).shape, move(x).equal(x)
        (torch.Size([3, 1, 28, 28]), False)
    """

    def __init__(
        self,
        *,
        degrees: float = 15.0,
        shear: float = 0.2,
        scale: float = 0.1,
        shift: float = 2.0,
    ) -> None:
        self.degrees, self.shear = _amount("degrees", degrees), _amount("shear", shear)
        self.scale, self.shift = _amount("scale", scale, below=1.0), _amount("shift", shift)

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Images (n, C, H, W) of any floating type, moved.

        Raises:
            ValueError: x has not four dimensions, or is not floating.
        """
        if x.dim() != 4 or not x.is_floating_point():
            raise ValueError(
                f"expected floating images (n, C, H, W), got {tuple(x.shape)} {x.dtype}"
            )
        matrices = self._matrices(x, generator)
        grid = functional.affine_grid(matrices.to(x.dtype), list(x.shape), align_corners=False)
        return functional.grid_sample(x, grid, align_corners=False)

    def _matrices(self, x: Tensor, generator: Generator | None) -> Tensor:
        """From where the colour of each place comes, in halves of the picture, (n, 2, 3)."""
        n, _, height, width = x.shape
        device = generator.device if generator else x.device
        draws = torch.rand(5, n, generator=generator, device=device) * 2 - 1
        turn, shear, scale, right, down = draws.to(x.device).unbind()
        turn, scale = turn * math.radians(self.degrees), 1 + scale * self.scale
        cos, sin = turn.cos() / scale, turn.sin() / scale
        across = [cos, (shear * self.shear - sin) * height / width, right * self.shift * 2 / width]
        along = [sin * width / height, cos, down * self.shift * 2 / height]
        return torch.stack([torch.stack(across, -1), torch.stack(along, -1)], 1)

    def __repr__(self) -> str:
        amounts = (f"{name}={value:g}" for name, value in vars(self).items())
        return f"Moves({', '.join(amounts)})"


def _amount(name: str, value: Any, *, below: float = math.inf) -> float:
    try:
        amount = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {value!r}") from None
    if not 0 <= amount < below:
        limit = "" if below == math.inf else f" and below {below:g}"
        raise ValueError(f"{name} must be a number of at least 0{limit}, got {value!r}")
    return amount
