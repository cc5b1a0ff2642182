"""Coloured scenes in the spirit of SVHN, made from the digits that ship with the package.

Each scene is a digit with parts of its neighbours, moved, scaled and sheared a little, painted in
one random colour on another, under uneven light and mild noise:

    scene = background + a · (foreground − background) + texture · light + noise

with the ink a in [0, 1] and a smooth random field called light. The colours differ by at least 0.4
in luminance, so that every digit can be read, and the factors behind each scene are kept, so that
disentanglement can be measured.

References:
    Netzer, Wang, Coates, Bissacco, Wu, Ng. Reading Digits in Natural Images with Unsupervised
    Feature Learning. 2011 (the pictures that these imitate).
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional

from vaezoo.data.counts import as_count, as_seed
from vaezoo.data.digits import digits
from vaezoo.data.factored import Factored
from vaezoo.data.full_precision import full_precision
from vaezoo.data.images import Images

__all__ = ["ColourDigits", "colour_digits"]

BLOCK = 500  # scenes made at a time; both numbers of digits are multiples of it
CONTRAST = 0.4  # between ink and paper in luminance, at least
LUMINANCE = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float32, device="cpu")
PITCH = 20  # pixels of MNIST from the middle of a digit to the middle of its neighbour


class ColourDigits(Factored):
    """Colour scenes with the factors behind them, as `colour_digits` returns them.

    `factors` holds one tensor per factor, its first axis the scenes. Indexing keeps them aligned.

    ==============  ===========  =========================================================
    factor          shape        meaning
    ==============  ===========  =========================================================
    ``source``      int64 (N,)   index of the digit in `digits(split)`
    ``foreground``  (N, 3)       colour of the ink, in [0, 1]
    ``background``  (N, 3)       colour of the paper, in [0, 1]
    ``shift``       (N, 2)       pixels to the right and downwards
    ``scale``       (N,)         size of the digit, 1 as in MNIST
    ``shear``       (N,)         slant to the left, pixels per pixel
    ``texture``     (N,)         strength of the uneven light
    ``neighbours``  bool (N, 2)  whether there is a digit to the left, to the right
    ==============  ===========  =========================================================

    Example:
        >>> images = colour_digits("test", n=50)
        >>> images[images.labels == 7].factors["source"].tolist()
        [0, 17, 26, 34, 36, 41]
    """

    def __init__(self, pixels: Tensor, labels: Tensor, *, factors: dict[str, Tensor], name: str):
        super().__init__(pixels, labels, factors=factors, binarisation="none", name=name)


def colour_digits(split: str = "train", *, n: int | None = None, seed: int = 0) -> ColourDigits:
    """Coloured digit scenes 3×32×32 with labels 0 to 9, drawn afresh but the same for one seed.

    Args:
        split: ``train`` or ``test``: which digits they are made from, and which styles.
        n: how many scenes: by default one for each digit, 10,000 or 2,000. More scenes show the
            same digits again in other styles, and fewer are the first of the default ones.
        seed: of everything random; PyTorch's global generator is left alone.

    Raises:
        ValueError: the split is unknown, or n is below 1.

    Example:
        >>> images = colour_digits("test", n=50)
        >>> images
        ColourDigits(colour_digits test, 50 × 3×32×32, none)
        >>> images.labels[:8].tolist()
        [7, 2, 1, 0, 4, 1, 4, 9]
        >>> sorted(images[:3].factors)[:3], images[:3].factors["shift"].shape
        (['background', 'foreground', 'neighbours'], torch.Size([3, 2]))
    """
    sources = digits(split, binarisation="none")
    n = len(sources) if n is None else as_count("n", n)
    generator = Generator().manual_seed(2 * as_seed(seed) + (split == "test"))
    with torch.device("cpu"), full_precision(torch.device("cpu")):
        blocks = [_scenes(sources, start, generator) for start in range(0, n, BLOCK)]
    pixels = torch.cat([scenes for scenes, _ in blocks])[:n]
    factors = {name: torch.cat([block[name] for _, block in blocks])[:n] for name in blocks[0][1]}
    assert sources.labels is not None
    labels = sources.labels[factors["source"]]
    return ColourDigits(pixels, labels, factors=factors, name=f"colour_digits {split}")


def _scenes(sources: Images, start: int, generator: Generator) -> tuple[Tensor, dict[str, Tensor]]:
    factors = _factors(sources, start, generator)
    ink = _ink(sources, factors, generator)
    coarse = torch.randn(BLOCK, 1, 4, 4, generator=generator, dtype=torch.float32)
    light = functional.interpolate(coarse, size=32, mode="bicubic", align_corners=True)
    noise = torch.randn(BLOCK, 3, 32, 32, generator=generator, dtype=torch.float32)
    foreground, background = (
        factors[name][:, :, None, None] for name in ("foreground", "background")
    )
    scenes = torch.lerp(background, foreground, ink)
    scenes = scenes + factors["texture"][:, None, None, None] * light + 0.02 * noise
    return (255 * scenes.clamp(0, 1)).round().byte(), factors


def _factors(sources: Images, start: int, generator: Generator) -> dict[str, Tensor]:
    def uniform(low: float, high: float, *shape: int) -> Tensor:
        u = torch.rand(BLOCK, *shape, generator=generator, dtype=torch.float32)
        return low + (high - low) * u

    background = _muted(uniform(0, 1, 3))
    return {
        "source": (start + torch.arange(BLOCK)) % len(sources),
        "foreground": _contrasting(_muted(uniform(0, 1, 3)), background, uniform(CONTRAST, 0.5)),
        "background": background,
        "shift": uniform(-2, 2, 2),
        "scale": uniform(0.95, 1.25),
        "shear": uniform(-0.2, 0.2),
        "texture": uniform(0, 0.1),
        "neighbours": uniform(0, 1, 2) < 0.6,
    }


def _muted(colour: Tensor) -> Tensor:
    """Colours (n, 3), less bright than they come: three tenths towards their grey."""
    return torch.lerp(colour, colour.mean(-1, keepdim=True), 0.3)


def _contrasting(colour: Tensor, background: Tensor, contrast: Tensor) -> Tensor:
    """Colours (n, 3), mixed with black or white until they stand out from the background."""
    ours, theirs = (c @ LUMINANCE for c in (colour, background))
    extreme = (theirs < 0.5).to(colour.dtype)
    target = (theirs + contrast * (2 * extreme - 1)).clamp(0, 1)
    amount = torch.where((ours - theirs).abs() < contrast, (target - ours) / (extreme - ours), 0)
    return torch.lerp(colour, extreme.unsqueeze(-1), amount.unsqueeze(-1))


def _ink(sources: Images, factors: dict[str, Tensor], generator: Generator) -> Tensor:
    """How much of each pixel (n, 1, 32, 32) is ink: three digits in a row under one camera."""
    beside = torch.randint(len(sources), (2, BLOCK), generator=generator)
    strip = torch.zeros(BLOCK, 1, 28, 28 + 2 * PITCH, dtype=torch.float32)
    strip[..., PITCH : PITCH + 28] = sources.pixels[factors["source"]].float() / 255
    for side, left in enumerate((0, 2 * PITCH)):
        present = factors["neighbours"][:, side, None, None, None]
        neighbour = present * sources.pixels[beside[side]].float() / 255
        strip[..., left : left + 28] = strip[..., left : left + 28].maximum(neighbour)
    return functional.grid_sample(strip, _camera(factors), align_corners=False)


def _camera(factors: dict[str, Tensor]) -> Tensor:
    """Where in the strip each pixel of a scene looks: (n, 32, 32, 2) in grid_sample's units."""
    pixel = torch.arange(32, dtype=torch.float32) - 15.5
    x, y = (
        pixel.reshape(shape) - factors["shift"][:, axis, None, None]
        for axis, shape in enumerate(((1, 1, 32), (1, 32, 1)))
    )
    scale = factors["scale"][:, None, None]
    x, y = torch.broadcast_tensors((x + factors["shear"][:, None, None] * y) / scale, y / scale)
    return torch.stack((x / (14 + PITCH), y / 14), dim=-1)
