"""Small members, images and labels that the tests share; 1×4×4 images in three classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaezoo import models
from vaezoo.models import LatentVariableModel

X_SHAPE, Z_DIM, CLASSES = (1, 4, 4), 3, 3
SIZES: dict[str, Any] = {"x_shape": X_SHAPE, "z_dim": Z_DIM, "hidden": (8, 6)}


def member(name: str, **changes: Any) -> LatentVariableModel:
    """A small member by its class name."""
    extra: dict[str, Any] = {}
    if name in ("SSVAE", "FSVAE"):
        extra["classes"] = CLASSES
    if name == "GMVAE":
        extra["k"] = 5
    if name == "IWAE":
        extra["particles"] = 4
    return getattr(models, name)(**{**SIZES, **extra, **changes})


def images(n: int = 6, *, dtype: torch.dtype | None = None) -> Tensor:
    """Black-and-white noise (n, 1, 4, 4)."""
    return (torch.rand(n, *X_SHAPE) > 0.5).to(dtype or torch.get_default_dtype())


def fixed(n: int = 6) -> Tensor:
    """`images`, the same ones in every process: for what a module of tests makes when imported."""
    generator = torch.Generator().manual_seed(n)
    return (torch.rand(n, *X_SHAPE, generator=generator) > 0.5).to(torch.get_default_dtype())


def labels(n: int = 6) -> Tensor:
    """Labels 0, 1, 2, 0, … (n,)."""
    return torch.arange(n) % CLASSES


def batch_for(name: str, n: int = 6, *, dtype: torch.dtype | None = None) -> tuple[Tensor, ...]:
    """A batch of what a member's programs require."""
    x = images(n, dtype=dtype)
    return (x, labels(n)) if name == "FSVAE" else (x,)


MEMBERS = ("VAE", "GMVAE", "IWAE", "SSVAE", "FSVAE")
