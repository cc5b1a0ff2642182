"""Computing in the dtype of the numbers, whatever autocast is on around it: data are the same."""

from __future__ import annotations

import contextlib
from typing import Any

import torch

__all__ = ["full_precision"]


def full_precision(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Within it there is no autocast on a device.

    Example:
        >>> x = torch.ones(2, 2)
        >>> with torch.autocast("cpu", torch.bfloat16), full_precision(x.device):
        ...     (x @ x).dtype
        torch.float32
    """
    return torch.autocast(device.type, enabled=False)
