"""Images that are moved about at random, so that a few of them are more."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional

from vaezoo.data.images import Images

__all__ = ["Moved"]


class Moved(Images):
    """Images that are turned, sheared, scaled and shifted at random, afresh for every batch.

    What moves is the grey levels, by bilinear interpolation, with black from outside; only then are
    they binarised. Each amount is uniform up to the one given, to either side, and 0 turns it off.
    A hundred labelled digits gain much by it, and what they teach stays what a digit is:

        data.semi_supervised(images, data.Moved(images.labelled(100)))

    Args:
        images: any that are not ``static``, whose draw would be blurred; moved ones are moved on.
        degrees: of the turn.
        shear: of a column for each row from the middle, in pixels a pixel.
        scale: share by which the picture becomes larger or smaller, below 1.
        shift: right or left, and up or down, in pixels.

    Raises:
        TypeError: these are no `Images`.
        ValueError: they are ``static``, or an amount is out of range.

    References:
        Simard, Steinkraus, Platt. Best Practices for Convolutional Neural Networks Applied to
        Visual Document Analysis. 2003, section 2.

    Example:
        >>> from vaezoo.data import digits
        >>> few = digits("test", binarisation="none").labelled(100)
        >>> moved = Moved(few, degrees=0, shear=0, scale=0)
        >>> moved
        Moved(digits test, 100 × 1×28×28, none)
        >>> (x, y), (x_moved, _) = few.tensors(), moved.tensors()
        >>> x.shape == x_moved.shape, x.equal(x_moved)
        (True, False)
    """

    def __init__(
        self,
        images: Images,
        *,
        degrees: float = 15.0,
        shear: float = 0.2,
        scale: float = 0.1,
        shift: float = 2.0,
    ) -> None:
        if not isinstance(images, Images):
            raise TypeError(f"Moved takes data.Images(pixels, …), got a {type(images).__name__}")
        if images.binarisation == "static":
            raise ValueError(
                "images to move must keep their grey levels, got static ones, drawn once: load "
                "them with binarisation='dynamic'"
            )
        super().__init__(
            images.pixels, images.labels, binarisation=images.binarisation, name=images.name
        )
        self.images = images
        self.degrees, self.shear = _amount("degrees", degrees), _amount("shear", shear)
        self.scale, self.shift = _amount("scale", scale, below=1.0), _amount("shift", shift)

    @property
    def factors(self) -> dict[str, Tensor]:
        """Those of images that have them, such as sprites: as they were before the move."""
        factors: dict[str, Tensor] = self.images.factors  # type: ignore[attr-defined]
        return factors

    def grey_levels(self, index: slice | Tensor, generator: Generator | None) -> Tensor:
        """The pixels of some images, moved, uint8 (n, C, H, W)."""
        pixels = self.images.grey_levels(index, generator)
        n, _, height, width = pixels.shape
        device = generator.device if generator else "cpu"
        to_either_side = torch.rand(5, n, generator=generator, device=device) * 2 - 1
        turn, shear, scale, right, down = to_either_side.to(pixels.device).unbind()
        turn, scale = turn * math.radians(self.degrees), 1 + scale * self.scale
        cos, sin = turn.cos() / scale, turn.sin() / scale
        # from where the colour of each place comes, in halves of the picture
        across = [cos, (shear * self.shear - sin) * height / width, right * self.shift * 2 / width]
        along = [sin * width / height, cos, down * self.shift * 2 / height]
        matrices = torch.stack([torch.stack(across, -1), torch.stack(along, -1)], 1)
        grid = functional.affine_grid(matrices, list(pixels.shape), align_corners=False)
        grey = functional.grid_sample(pixels.to(grid.dtype), grid, align_corners=False)
        return grey.round_().clamp_(0, 255).byte()

    def _map(self, function: Callable[[Tensor], Tensor]) -> Moved:
        moved = copy(self)
        moved.images = images = self.images._map(function)
        moved.pixels, moved.labels = images.pixels, images.labels
        return moved


def _amount(name: str, value: Any, *, below: float = math.inf) -> float:
    try:
        amount = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {value!r}") from None
    if not 0 <= amount < below:
        limit = "" if below == math.inf else f" and below {below:g}"
        raise ValueError(f"{name} must be a number of at least 0{limit}, got {value!r}")
    return amount
