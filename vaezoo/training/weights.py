"""A model's weights and buffers: copies, the way back into it, and what is trained besides."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["besides", "copied", "held", "put_back"]


def besides(model: nn.Module, tensors: Iterable[Tensor]) -> dict[str, Tensor]:
    """Those tensors that are not the model's own, under names for errors and files.

    Example:
        >>> linear = nn.Linear(1, 1, bias=False)
        >>> list(besides(linear, [linear.weight, torch.zeros(2)]))
        ['parameter 0 (2,) of a program']
    """
    own = {id(t) for t in (*model.parameters(), *model.buffers())}
    others = (t for t in tensors if id(t) not in own)
    return {f"parameter {i} {tuple(t.shape)} of a program": t for i, t in enumerate(others)}


def copied(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Copies of all that a model's `state_dict` holds, and of the buffers that it leaves out.

    Example:
        >>> norm = nn.BatchNorm1d(1)
        >>> before = copied(norm)
        >>> _ = norm(torch.tensor([[1.0], [3.0]]))
        >>> put_back(norm, before)
        >>> norm.running_mean.tolist(), norm.num_batches_tracked.item()
        ([0.0], 0)
    """
    return {kind: _copies(values) for kind, values in held(model).items()}


def held(model: nn.Module) -> dict[str, dict[str, Any]]:
    """All that a model's `state_dict` holds, and the buffers that it leaves out: no copies."""
    state = model.state_dict()
    buffers = {n: b for n, b in model.named_buffers() if n not in state}
    return {"state": state, "buffers": buffers}


def put_back(model: nn.Module, copies: dict[str, dict[str, Any]]) -> None:
    """Write copies into the tensors of the model that they are of."""
    model.load_state_dict(copies["state"])
    buffers = dict(model.named_buffers())
    with torch.no_grad():
        for name, value in copies["buffers"].items():
            buffers[name].copy_(value)


def _copies(values: dict[str, Any]) -> dict[str, Any]:
    return {n: v.detach().clone() if isinstance(v, Tensor) else v for n, v in values.items()}
