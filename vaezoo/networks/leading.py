"""Networks from one shape to another, run under any leading dimensions.

A Pyro program adds dimensions on the left, for particles and for labels that are summed out. A
torch module takes one, the batch. So all of them are made one on the way in, and restored on the
way out. vaezoo's own networks are left to broadcast by themselves, so that an image is not copied
for every label; another network can say that it does so too by an attribute `broadcasts = True`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["over_leading"]

Shape = tuple[int, ...]


def over_leading(
    network: Any, x: Tensor | tuple[Tensor, Tensor], y: Tensor | None, shape: Shape
) -> Tensor:
    """The network's outputs (*leading, …) for inputs (*leading, *shape) and labels (*leading).

    Args:
        network: a module of one batch dimension, or one that broadcasts.
        x: inputs, or a pair of them and of vectors (*leading, v_dim), which is handed on as a pair
            (or both in one tensor, flat, as a `VampPrior` has its pseudo-inputs).
        y: labels, or None.
        shape: shape of one input.

    Raises:
        ValueError: inputs do not end in `shape`, or there is not one output for each input.

    Example:
        >>> decoder = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
        >>> over_leading(decoder, torch.zeros(5, 7, 3), None, (3,)).shape
        torch.Size([5, 7, 4])
    """
    like = x if isinstance(x, Tensor) else x[0]
    out = _over_leading(network, x, y, shape)
    # an autocast around a network or in it is for that one: densities are computed in the dtype of
    # the model, as a sum over pixels in bfloat16 is nats off
    return out.to(torch.promote_types(out.dtype, like.dtype))


def _over_leading(
    network: Any, x: Tensor | tuple[Tensor, Tensor], y: Tensor | None, shape: Shape
) -> Tensor:
    if getattr(network, "broadcasts", False):
        out: Tensor = network(x) if y is None else network(x, y)
        return out
    pair = (x,) if isinstance(x, Tensor) else x
    events = [_event(pair[0], shape, alone=len(pair) == 1), *(t.shape[-1:] for t in pair[1:])]
    given, events = ([*pair], [*events]) if y is None else ([*pair, y], [*events, torch.Size()])
    leads = [t.shape[: t.dim() - len(e)] for t, e in zip(given, events, strict=True)]
    leading = torch.broadcast_shapes(*leads)
    rows = [t.expand(*leading, *e).reshape(-1, *e) for t, e in zip(given, events, strict=True)]
    inputs = rows[0] if len(pair) == 1 else tuple(rows[: len(pair)])
    out = network(inputs) if y is None else network(inputs, rows[-1])
    if not isinstance(out, Tensor) or out.shape[:1] != rows[0].shape[:1]:
        got = tuple(out.shape) if isinstance(out, Tensor) else f"a {type(out).__name__}"
        raise ValueError(
            f"a network has to put out one tensor with a row for each of its {len(rows[0])} inputs "
            f"{tuple(rows[0].shape)}, got {got}"
        )
    return out.reshape(*leading, *out.shape[1:])


def _event(x: Tensor, shape: Shape, *, alone: bool) -> torch.Size:
    """Shape of one input; of an image and a vector in one tensor, that of them both."""
    if x.dim() >= len(shape) and x.shape[x.dim() - len(shape) :] == shape:
        return torch.Size(shape)
    if alone and x.dim() and x.shape[-1] > math.prod(shape):
        return x.shape[-1:]
    raise ValueError(f"expected inputs (..., {', '.join(map(str, shape))}), got {tuple(x.shape)}")
