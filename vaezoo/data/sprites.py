"""White shapes on black, moved, turned and scaled: images of five factors that are independent.

The design is that of dSprites: a square, an ellipse and a heart, in 6 sizes, on a grid of places,
turned all the way round; here with 20 orientations and 16 × 16 places, drawn by these formulae.
With u to the right and v upwards from the sprite's centre, turned with it, in units of its radius,
size / 4 pixels times the scale, a pixel is white where its middle has

    square    max(|u|, |v|) ≤ 1/√2
    ellipse   u² + (2v)² ≤ 1
    heart     a place in a square of side s that stands on a corner, or in one of two discs of
              diameter s around the middles of its upper sides

Each just fits into a circle of radius 1, and the centre is that of mass: the heart's lies s CENTRE
from both lower sides of its square.

References:
    Matthey, Higgins, Hassabis, Lerchner. dSprites: Disentanglement testing Sprites dataset. 2017.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from vaezoo.data.counts import as_count, as_seed
from vaezoo.data.factored import Factored

__all__ = ["Sprites", "sprites"]

VALUES = {"shape": 3, "scale": 6, "orientation": 20, "x": 16, "y": 16}
BLOCK = 1000  # images drawn at a time
# the mean of ½ over the square, and of ½ and 1 + 2/3π over the half discs beyond it
CENTRE = (7 / 12 + 3 * math.pi / 16) / (1 + math.pi / 4)
SIDE = 1 / (math.sqrt(2) * CENTRE)  # s, by which the lowest corner, the farthest, is at radius 1


class Sprites(Factored):
    """Binary images with the factors behind them, as `sprites` returns them.

    `factors` holds one tensor (N,) per factor. Each takes its values equally often, whatever the
    others are.

    ===============  =======  =====================================================================
    factor           type     values
    ===============  =======  =====================================================================
    ``shape``        int64    0 a square, 1 an ellipse, 2 a heart; the labels too
    ``scale``        float32  0.5, 0.6, … 1
    ``orientation``  float32  0, π/10, … 19π/10, counter-clockwise
    ``x``            float32  column of the centre, in pixels from the middle of the first: 16
    ``y``            float32  row of the centre, downwards, likewise
    ===============  =======  =====================================================================

    A square looks the same every 5th orientation and an ellipse every 10th, as in dSprites: images
    tell log 20 - log 2 of the log 20 nats of orientation, 77 %, and no code can tell more.

    Example:
        >>> images = sprites("test", n=500)
        >>> hearts = images[images.labels == 2]
        >>> hearts.factors["shape"].unique().tolist(), hearts.factors["scale"].shape
        ([2], torch.Size([154]))
    """


def sprites(
    split: str = "train", *, n: int | None = None, seed: int = 0, size: int = 32
) -> Sprites:
    """Binary images 1×size×size of a square, an ellipse or a heart, the same for one seed.

    Args:
        split: ``train`` or ``test``: two draws of the 92,160 combinations of factors. Each draws
            with replacement, so that a test image may be among those of training too.
        n: how many, 10,000 or 2,000 by default. Fewer are the first of more.
        seed: of the factors; PyTorch's global generator is left alone.
        size: height and width in pixels, 64 in dSprites.

    Raises:
        ValueError: the split is unknown, n is below 1, or the size below 16, where the sprites
            would be cut off.

    Example:
        >>> images = sprites(n=1000)
        >>> images
        Sprites(sprites train, 1000 × 1×32×32, threshold)
        >>> {name: len(factor.unique()) for name, factor in images.factors.items()}
        {'shape': 3, 'scale': 6, 'orientation': 20, 'x': 16, 'y': 16}
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    n = (10_000 if split == "train" else 2_000) if n is None else as_count("n", n)
    size = as_count("size", size, least=16)
    generator = Generator().manual_seed(2 * as_seed(seed) + (split == "test"))
    with torch.device("cpu"):
        counts = torch.tensor(list(VALUES.values()))
        u = torch.rand(n, len(VALUES), generator=generator, dtype=torch.float64)
        indices = (u * counts).long()
        pixels = torch.cat([_drawn(rows, size) for rows in indices.split(BLOCK)])
        values = _values(indices, size)
    factors = {k: v if k == "shape" else v.float() for k, v in values.items()}
    name = f"sprites {split}"
    return Sprites(pixels, values["shape"], factors=factors, binarisation="threshold", name=name)


def _values(indices: Tensor, size: int) -> dict[str, Tensor]:
    """The factors (n,) by name, of their numbers (n, 5) from 0."""
    shape, scale, orientation, x, y = indices.unbind(1)
    # a quarter of a pixel off the grid, so that squares of all sizes differ in width at 32 pixels
    first = (size - 1) / 2 - 1 / 4 - 7.5 * size / 32
    return {
        "shape": shape,
        "scale": (5 + scale.double()) / 10,
        "orientation": orientation.double() * (math.pi / 10),
        "x": first + x.double() * (size / 32),
        "y": first + y.double() * (size / 32),
    }


def _drawn(indices: Tensor, size: int) -> Tensor:
    """Their images, uint8 (n, 1, size, size)."""
    values = _values(indices, size)
    x, y, scale, angle = (values[k][:, None, None] for k in ("x", "y", "scale", "orientation"))
    pixel = torch.arange(size, dtype=torch.float64)
    right, up = pixel - x, y - pixel[:, None]
    c, s = (function(angle) / (scale * size / 4) for function in (torch.cos, torch.sin))
    u, v = (c * right + s * up).abs(), c * up - s * right
    white = torch.empty(u.shape, dtype=torch.bool)
    for number, inside in enumerate((_square, _ellipse, _heart)):
        rows = values["shape"] == number
        white[rows] = inside(u[rows], v[rows])
    return 255 * white.byte().unsqueeze(1)


def _square(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(u, v.abs()) <= math.sqrt(1 / 2)


def _ellipse(u: Tensor, v: Tensor) -> Tensor:
    return u.square() + 4 * v.square() <= 1


def _heart(u: Tensor, v: Tensor) -> Tensor:
    """Of the two halves, which mirror each other, the right one."""
    # along the two lower sides of the square, from its lowest corner
    far, near = (CENTRE + (v + w) / (math.sqrt(2) * SIDE) for w in (u, -u))
    square = (near >= 0) & (far <= 1)
    return square | ((near - 1 / 2).square() + (far - 1).square() <= 1 / 4)
