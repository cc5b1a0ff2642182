"""Turns, shears, scales, shifts and bends of images, drawn at random for each."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional

from vaezoo.data.counts import is_bool
from vaezoo.data.full_precision import full_precision

__all__ = ["Moves", "wide_dtype"]


class Moves:
    """Each image turned, sheared, scaled, shifted and bent at random, by bilinear interpolation.

    Black comes in from outside. Each amount but that of bending is uniform up to the one given, to
    either side, and 0 turns it off.

    Args:
        degrees: of the turn.
        shear: of a column for each row from the middle, in pixels a pixel.
        scale: share by which the picture becomes larger or smaller, below 1.
        shift: right or left, and up or down, in pixels.
        elastic: root mean square of how far each place is pulled, both across and along, in
            pixels. The pull is Gaussian, and near places are pulled alike: at a distance d, it
            correlates by exp(-d²/4s²).
        smoothness: that s, in pixels.

    Raises:
        TypeError: an amount is no number.
        ValueError: an amount is out of range.

    References:
        Simard, Steinkraus, Platt. Best Practices for Convolutional Neural Networks Applied to
        Visual Document Analysis. 2003, section 2: white noise, smoothed by a Gaussian of width s.

    Example:
        >>> move = Moves(degrees=0, shear=0, scale=0, shift=1)
        >>> x = torch.rand(3, 1, 28, 28)
        >>> move(x).shape, move(x).equal(x)
        (torch.Size([3, 1, 28, 28]), False)
    """

    # of the class: what an instance has is what a run is known by
    elastic = 0.0
    smoothness = 4.0

    def __init__(
        self,
        *,
        degrees: float = 15.0,
        shear: float = 0.2,
        scale: float = 0.1,
        shift: float = 2.0,
        elastic: float = 0.0,
        smoothness: float = 4.0,
    ) -> None:
        self.degrees, self.shear = _amount("degrees", degrees), _amount("shear", shear)
        self.scale, self.shift = _amount("scale", scale, below=1.0), _amount("shift", shift)
        elastic, smoothness = _amount("elastic", elastic), _amount("smoothness", smoothness)
        if smoothness == 0:
            raise ValueError(f"smoothness must be a number above 0, got {smoothness}")
        if elastic:
            self.elastic, self.smoothness = elastic, smoothness

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Images (n, C, H, W) of any floating type, moved; computed in float32 at least.

        Raises:
            ValueError: x has not four dimensions, or is not floating.
        """
        if x.dim() != 4 or not x.is_floating_point():
            raise ValueError(
                f"expected floating images (n, C, H, W), got {tuple(x.shape)} {x.dtype}"
            )
        # places in half precision would be off by pixels
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        with full_precision(x.device):
            matrices = self._matrices(x, generator).to(wide.dtype)
            grid = functional.affine_grid(matrices, list(x.shape), align_corners=False)
            if self.elastic:
                grid = grid + self._pulls(x, generator).to(wide.dtype)
            return functional.grid_sample(wide, grid, align_corners=False).to(x.dtype)

    def _matrices(self, x: Tensor, generator: Generator | None) -> Tensor:
        """From where the colour of each place comes, in halves of the picture, (n, 2, 3)."""
        n, _, height, width = x.shape
        draws = _drawn(torch.rand, (5, n), x.device, generator) * 2 - 1
        turn, shear, scale, right, down = draws.unbind()
        turn, scale = turn * math.radians(self.degrees), 1 + scale * self.scale
        cos, sin = turn.cos() / scale, turn.sin() / scale
        across = [cos, (shear * self.shear - sin) * height / width, right * self.shift * 2 / width]
        along = [sin * width / height, cos, down * self.shift * 2 / height]
        return torch.stack([torch.stack(across, -1), torch.stack(along, -1)], 1)

    def _pulls(self, x: Tensor, generator: Generator | None) -> Tensor:
        """How much further off the colour of each place comes from, (n, H, W, 2), as there."""
        n, _, height, width = x.shape
        down, right = (_bumps(length, self.smoothness, x.device) for length in (height, width))
        shape = (2, n, down.shape[1], right.shape[1])
        pulls = self.elastic * (down @ _drawn(torch.randn, shape, x.device, generator) @ right.T)
        return torch.stack([pulls[0] * 2 / width, pulls[1] * 2 / height], -1)

    def __repr__(self) -> str:
        amounts = (f"{name}={value:g}" for name, value in vars(self).items())
        return f"Moves({', '.join(amounts)})"


def wide_dtype() -> torch.dtype:
    """The default dtype, or float32 where that is narrower."""
    return torch.promote_types(torch.get_default_dtype(), torch.float32)


def _drawn(
    draw: Callable[..., Tensor],
    shape: tuple[int, ...],
    device: torch.device,
    generator: Generator | None,
) -> Tensor:
    """Noise, drawn where the generator is."""
    where = generator.device if generator else device
    return draw(shape, generator=generator, device=where, dtype=wide_dtype()).to(device)


def _bumps(length: int, width: float, device: torch.device) -> Tensor:
    """Gaussian bumps a width apart, (length, bumps), whose squares sum to 1 at each place."""
    dtype = wide_dtype()
    if width < 0.2:  # neighbours are apart by 5 widths and more: each place is on its own
        return torch.eye(length, device=device, dtype=dtype)
    places = torch.arange(length, device=device, dtype=dtype) / width
    middles = torch.arange(-3, math.ceil((length - 1) / width) + 4, device=device)
    return functional.normalize((-0.5 * (places[:, None] - middles).square()).exp(), dim=-1)


def _amount(name: str, value: float, *, below: float = math.inf) -> float:
    wrong = f"{name} must be a number of at least 0"
    if is_bool(value) or isinstance(value, str):
        raise TypeError(f"{wrong}, got {value!r}")
    try:
        amount = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{wrong}, got {value!r}") from None
    if not 0 <= amount < below:
        limit = "" if below == math.inf else f" and below {below:g}"
        raise ValueError(f"{wrong}{limit}, got {value}")
    return amount
