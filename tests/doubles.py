"""Members and images in float64, and the density of a Normal, for exact tests."""

from __future__ import annotations

import math
from typing import Any

import torch
import zoo
from torch import Tensor
from zoo import images, widen


def member(name: str, **parts: Any) -> Any:
    """A small member in float64, with weights wide enough for every term to matter."""
    return widen(zoo.member(name, **parts).double())


def doubles(n: int = 6) -> Tensor:
    return images(n, dtype=torch.float64)


def normal(v: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """log N(v; loc, diag scale²), written out."""
    each = -((v - loc) ** 2) / (2 * scale**2) - scale.log() - math.log(2 * math.pi) / 2
    return each.sum(-1)
