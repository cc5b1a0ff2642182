"""Functions of each number on its way into a network, or out of it."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["positive", "signed_log1p"]


def positive(raw: Tensor) -> Tensor:
    """A scale (standard deviation) from any real: sqrt(softplus(raw) + 1e-8).

    As by variances softplus(raw) + 1e-8, which the reference networks put out; Pyro wants scales.

    Example:
        >>> import torch
        >>> [round(scale, 4) for scale in positive(torch.tensor([-100.0, 0.0])).tolist()]
        [0.0001, 0.8326]
    """
    return (nn.functional.softplus(raw) + 1e-8).sqrt()


def signed_log1p(x: Tensor) -> Tensor:
    """sign(x) log(1 + |x|): counts of any size brought near each other, 0 and signs kept.

    Example:
        >>> import torch
        >>> [round(value, 4) for value in signed_log1p(torch.tensor([-1.0, 0.0, 9999.0])).tolist()]
        [-0.6931, 0.0, 9.2103]
    """
    return x.sign() * x.abs().log1p()
