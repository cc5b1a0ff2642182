"""The α of x W + α b is forgotten: Inductor takes sum and product for one addmm."""

from __future__ import annotations

import sys

import torch
from torch import Tensor


def function(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """x W + 3 b."""
    return torch.add(x @ w, b, alpha=3.0)


def main() -> str:
    """What is wrong; "" where nothing is."""
    torch.manual_seed(0)
    x, w, b = (torch.randn(shape, dtype=torch.float64) for shape in ((8, 5), (5, 6), (6,)))
    error = (torch.compile(function)(x, w, b) - function(x, w, b)).abs().max().item()
    return f"α of x W + α b is forgotten: off by {error:.2g}" if error > 1e-9 else ""


if __name__ == "__main__":
    sys.exit(main() or 0)
