"""Computing in the dtype of the parameters, whatever autocast is on around it."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor

__all__ = ["full_precision", "times"]


def full_precision(like: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Within it there is no autocast on the device of a tensor."""
    device = like.device.type
    if torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return contextlib.nullcontext()


def times(matrix: Tensor, vector: Tensor) -> Tensor:
    """Products (*batch, n) of matrices (*batch, n, m) and vectors (*batch, m)."""
    with full_precision(matrix):
        return (matrix @ vector.unsqueeze(-1)).squeeze(-1)
