"""Exact Bernoulli draws of pixels: 1 with probability pixel / 255.

A uniform u in {0, …, 254} is below a pixel with that probability, and fits in a byte. From torch's
global generator on a CPU, eight bytes come from each random number, and those that are 255 are
drawn again: a quarter of the time of a number for each pixel.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Generator, Tensor

__all__ = ["bernoulli"]


def bernoulli(pixels: Tensor, generator: Generator | None, *, dtype: torch.dtype) -> Tensor:
    """0 or 1 for each pixel, of another dtype.

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
    """Uniform bytes from 0 to 254."""
    n = math.prod(shape)
    words = torch.empty(-(-n // 8), dtype=torch.int64, device="cpu").random_(-(2**63), None)
    u = words.view(torch.uint8)[:n]
    found = u.numpy()
    again = np.flatnonzero(found == 255)
    found[again] = torch.randint(255, again.shape, dtype=torch.uint8, device="cpu").numpy()
    return u.view(shape)
