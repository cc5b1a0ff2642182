"""Memory of joined tensors is given away while a part of it, changed in place, is in use.

Inductor computes a and b where torch.cat puts them. h, the last use of a, takes its place, and so a
part of the joined memory; which is free after its own last use for t, while h is still to be read.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

N = 64


def function(x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    """Some of x, y and w; what is not returned is there for its place in memory."""
    a, b = x.sin(), y.sin()
    m = torch.cat([a, b]) @ w
    h = a + m[:N]
    t = torch.cat([h @ w, y]) @ w
    large = w.repeat(N, 1) @ w  # Inductor reuses memory where the peak lies elsewhere
    return h @ t[N:], t, m, large @ t[:N]


def main() -> str:
    """What is wrong; "" where nothing is."""
    torch.manual_seed(0)
    x, y, w = (torch.randn(N, N, dtype=torch.float64) / 8 for _ in range(3))
    expected = function(x, y, w)
    found = torch.compile(function)(x, y, w)
    error = max((a - b).abs().max().item() for a, b in zip(expected, found, strict=True))
    return f"joined memory is reused while in use: off by {error:.2g}" if error > 1e-9 else ""


if __name__ == "__main__":
    sys.exit(main() or 0)
