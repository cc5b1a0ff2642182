"""Pixels as they come (torch or NumPy), made one uint8 tensor (N, C, H, W) or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaezoo.data.batches import check_unmasked
from vaezoo.data.maps import private

__all__ = ["as_pixels", "check_pixels"]

_CHANNELS = (1, 3, 4)


def as_pixels(pixels: Any) -> Tensor:
    """Pixels as a uint8 tensor (N, C, H, W); a NumPy array keeps its memory, if it may be written.

    One that is mapped from a file stays there; unless it was mapped to be written, what is written
    into it does not reach the file.

    Raises:
        TypeError: they are no tensor or array, or not uint8.
        ValueError: they have another shape, channels come last, there are none, or some are masked.

    Example:
        >>> as_pixels(np.zeros((5, 1, 28, 28), np.uint8)).shape
        torch.Size([5, 1, 28, 28])
        >>> as_pixels(np.zeros((5, 28, 28, 3), np.uint8))
        Traceback (most recent call last):
        ...
        ValueError: pixels must have the shape (N, C, H, W), got (5, 28, 28, 3), where channels
        seem to come last: pixels.transpose(0, 3, 1, 2)
    """
    check_unmasked(pixels)
    if isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8:
        if isinstance(pixels, np.memmap) and not pixels.flags.writeable:
            pixels = private(pixels)  # a copy might not fit in memory
        # torch warns of arrays that may not be written, and knows no negative strides
        pixels = np.require(pixels, requirements=["C", "W"])
        check_pixels(tensor := torch.from_numpy(pixels), last="pixels.transpose(0, 3, 1, 2)")
        return tensor
    if not isinstance(pixels, Tensor) or pixels.dtype != torch.uint8:
        raise TypeError(
            "pixels must be a uint8 tensor or array with values 0 to 255, got "
            f"{_type_name(pixels)}. {_remedy(pixels)}"
        )
    check_pixels(pixels)
    return pixels


def check_pixels(pixels: Tensor, *, last: str = "pixels.permute(0, 3, 1, 2)") -> None:
    """Raise ValueError unless a tensor has the shape (N, C, H, W), with at least one image.

    Args:
        pixels: of any dtype.
        last: the line that mends pixels whose channels come last.
    """
    shape = tuple(pixels.shape)
    expected = f"pixels must have the shape (N, C, H, W), got {shape}"
    if len(shape) == 3:
        raise ValueError(
            f"{expected}. Grey pictures (N, H, W) become so by pixels.unsqueeze(1), in NumPy "
            "pixels[:, None]; one picture (C, H, W) by pixels[None]"
        )
    if len(shape) == 2:
        raise ValueError(f"{expected}. Rows (N, 784) become so by pixels.reshape(-1, 1, 28, 28)")
    if len(shape) != 4:
        raise ValueError(expected)
    if pixels.numel() == 0:
        raise ValueError(f"at least one image is needed, got the shape {shape}")
    if min(shape[1:3]) > max(_CHANNELS) and shape[3] in _CHANNELS:
        raise ValueError(f"{expected}, where channels seem to come last: {last}")


def _remedy(pixels: Any) -> str:
    if isinstance(pixels, np.ndarray):
        kind, byte = pixels.dtype.kind, 'astype("uint8")'
    elif isinstance(pixels, Tensor):
        kind = "f" if pixels.is_floating_point() else "b" if pixels.dtype == torch.bool else "i"
        byte = "byte()"
    else:
        return "A list of equal pictures becomes one by np.stack(pixels)"
    if kind == "f":
        return f"Floats in [0, 1] become one by (255 * x).round().{byte}"
    if kind == "b":
        return f"Black and white become one by 255 * x.{byte}"
    return f"Whole numbers from 0 to 255 become one by x.{byte}"


def _type_name(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    return str(value.dtype) if isinstance(value, Tensor) else f"a {type(value).__name__}"
