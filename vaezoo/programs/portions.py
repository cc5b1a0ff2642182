"""What it takes to decode the images of a batch, and portions of it that take so much."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from vaezoo.programs.run import run

__all__ = ["decoded", "portions"]


def decoded(pair: Any, batch: list[Tensor]) -> tuple[int, int]:
    """Combinations of labels that are summed out, and outputs for each pixel.

    An image is decoded for each of the former; a categorical likelihood has as many of the latter
    as there are levels.

    Args:
        pair: a model and its guide.
        batch: what both take, of a few images.

    Example:
        >>> import torch
        >>> from vaezoo.models import SSVAE
        >>> decoded(SSVAE(), [torch.zeros(2, 1, 28, 28)])
        (10, 1)
    """
    terms = run(pair.model, pair.guide, *batch)
    observed = [terms.distribution(name, of="model") for name in terms.observed]
    numbers = [math.prod(fn.batch_shape + fn.event_shape) for fn in observed]  # 0 of a factor
    outputs = [_largest(fn) / n for fn, n in zip(observed, numbers, strict=True) if n]
    return terms.log_qy.shape[0], max(1, round(max(outputs, default=1)))


def _largest(distribution: Any) -> int:
    """The numbers in the largest tensor that a distribution holds."""
    values = [v for v in vars(distribution).values() if v is not distribution]
    sizes = [v.numel() for v in values if isinstance(v, Tensor)]
    return max([*sizes, *(_largest(v) for v in values if isinstance(v, Distribution))], default=0)


def portions(batch: list[Tensor], size: int) -> Iterator[list[Tensor]]:
    """Some images of a batch after the others.

    Example:
        >>> import torch
        >>> [x.tolist() for (x,) in portions([torch.arange(5)], 2)]
        [[0, 1], [2, 3], [4]]
    """
    return map(list, zip(*(t.split(size) for t in batch), strict=True))
