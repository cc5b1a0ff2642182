"""The noise that a draw was made of, kept with it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import normal

__all__ = ["Draw", "full_precision"]


class Draw(NamedTuple):
    """The last draw of a distribution, how often it had been written to, and its noise."""

    value: Tensor
    version: int
    noise: tuple[Tensor, ...]

    def is_at(self, value: Tensor) -> bool:
        """Whether a value is the draw, or a view of the same numbers in the same places."""
        if value is not self.value:
            places = value.shape, value.stride(), value.storage_offset()
            own = self.value.shape, self.value.stride(), self.value.storage_offset()
            if value._base is not self.value or places != own:
                return False
        return _version(self.value) == self.version


def full_precision(like: Tensor) -> contextlib.AbstractContextManager[Any]:
    """No autocast within it: densities and draws are computed in the dtype of their parameters."""
    device = like.device.type
    if torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return contextlib.nullcontext()


def draw(value: Tensor, *noise: Tensor) -> Draw:
    return Draw(value, _version(value), noise)


def _version(t: Tensor) -> int:
    return 0 if t.is_inference() else t._version


def standard_noise(shape: Sequence[int], like: Tensor) -> Tensor:
    """N(0, 1) of a shape, in the dtype and on the device of another tensor."""
    # torch's own, looked up at each call: benchmarks put another in its place
    found: Tensor = normal._standard_normal(torch.Size(shape), like.dtype, like.device)  # type: ignore[attr-defined]
    return found


def moved(t: Tensor) -> Tensor:
    """0, with the gradient of t."""
    return t - t.detach()


def times(matrix: Tensor, vector: Tensor) -> Tensor:
    with full_precision(matrix):
        return (matrix @ vector.unsqueeze(-1)).squeeze(-1)
