"""Functions of each number on its way into a network, or out of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["positive", "signed_log1p"]


def positive(raw: Tensor) -> Tensor:
    """A scale (standard deviation) from any real: sqrt(softplus(raw) + 1e-8).

    The reference networks put out variances, softplus(raw) + 1e-8; Pyro wants scales.

    Example:
        >>> [round(scale, 4) for scale in positive(torch.tensor([-100.0, 0.0])).tolist()]
        [0.0001, 0.8326]
    """
    return (nn.functional.softplus(raw) + 1e-8).sqrt()


def signed_log1p(x: Tensor) -> Tensor:
    """sign(x) log(1 + |x|): counts of any size brought near each other, 0 and signs kept.

    Example:
        >>> [round(value, 4) for value in signed_log1p(torch.tensor([-1.0, 0.0, 9999.0])).tolist()]
        [-0.6931, 0.0, 9.2103]
    """
    # not by sign and absolute value, whose derivatives at 0 are 0
    return torch.where(x < 0, -(-x.clamp(max=0)).log1p(), x.clamp(min=0).log1p())
