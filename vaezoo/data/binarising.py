"""How bytes become the x of a model.

A grey pixel is not an outcome of a Bernoulli, so every set of images says how it becomes one:

============  =============================================  ==========================
binarisation  x                                              drawn
============  =============================================  ==========================
``dynamic``   Bernoulli(pixel / 255)                         afresh for every batch
``static``    Bernoulli(pixel / 255)                         once, when the set is made
``threshold`` 1 where pixel >= 128, else 0                   never
``none``      pixel / 255, grey                              never
============  =============================================  ==========================

The choice moves a test likelihood of MNIST by about two nats, so results are comparable only
within one row.

References:
    Salakhutdinov, Murray. On the Quantitative Analysis of Deep Belief Networks. 2008.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Generator, Tensor

__all__ = ["bernoulli", "check_binarisation", "scaled"]

BINARISATIONS = ("dynamic", "static", "threshold", "none")


def check_binarisation(binarisation: str) -> None:
    """Raise ValueError for an unknown name, before a loader spends time on a download."""
    if binarisation not in BINARISATIONS:
        raise ValueError(
            f"binarisation must be one of {', '.join(BINARISATIONS)}, got {binarisation!r}"
        )


def scaled(pixels: Tensor, binarisation: str, generator: Generator | None) -> Tensor:
    """Pixels in [0, 1], of torch's default dtype; those of ``static`` have been drawn before.

    Example:
        >>> scaled(torch.tensor([0, 128, 255], dtype=torch.uint8), "threshold", None)
        tensor([0., 1., 1.])
    """
    dtype = torch.get_default_dtype()
    if binarisation == "dynamic":
        return bernoulli(pixels, generator, dtype=dtype)
    if binarisation == "threshold":
        return (pixels >= 128).to(dtype)
    return pixels.to(dtype).div_(255)


def bernoulli(pixels: Tensor, generator: Generator | None, *, dtype: torch.dtype) -> Tensor:
    """Exact draws: 1 with probability pixel / 255, else 0.

    A uniform u in {0, …, 254} is below a pixel with that probability, and fits in a byte.

    Args:
        pixels: uint8, any shape.
        generator: torch's global one by default.
        dtype: of the result, which has the shape of the pixels and their device.

    Example:
        >>> bernoulli(torch.tensor([0, 255], dtype=torch.uint8), None, dtype=torch.float32)
        tensor([0., 1.])
    """
    if generator is None and pixels.device.type == "cpu":
        u = _below_255(pixels.shape)
    else:
        device = generator.device if generator else pixels.device
        u = torch.randint(255, pixels.shape, dtype=torch.uint8, device=device, generator=generator)
    return torch.lt(u.to(pixels.device), pixels, out=pixels.new_empty(pixels.shape, dtype=dtype))


def _below_255(shape: torch.Size) -> Tensor:
    """Uniform bytes from 0 to 254, from torch's global generator on a CPU.

    Eight bytes come from each random number, and those that are 255 are drawn again: a quarter of
    the time of a number for each pixel.
    """
    n = math.prod(shape)
    words = torch.empty(-(-n // 8), dtype=torch.int64, device="cpu").random_(-(2**63), None)
    u = words.view(torch.uint8)[:n]
    values = u.numpy()
    again = np.flatnonzero(values == 255)
    values[again] = torch.randint(255, again.shape, dtype=torch.uint8, device="cpu").numpy()
    return u.view(shape)
