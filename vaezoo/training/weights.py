"""A model's weights and buffers: copies, the way back into it, and what is trained besides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vaezoo.programs.outside import noted

__all__ = [
    "copied",
    "every_trained",
    "held",
    "parameters_of",
    "put_back",
]


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """All that an optimizer has, group after group.

    Example:
        >>> one, other = torch.zeros(1), torch.zeros(2)
        >>> [len(p) for p in parameters_of(torch.optim.SGD([other, one], lr=0.1))]
        [2, 1]
    """
    return [p for group in optimizer.param_groups for p in group["params"]]


def every_trained(tensors: Mapping[str, Tensor], optimizer: Optimizer) -> list[Tensor]:
    """Those tensors, and what else an optimizer has, which may be frozen as yet.

    Example:
        >>> one, other = torch.zeros(1, requires_grad=True), torch.zeros(2)
        >>> len(every_trained({"one": one}, torch.optim.SGD([other, one], lr=0.1)))
        2
    """
    numbers = [p for p in parameters_of(optimizer) if p.is_floating_point() or p.is_complex()]
    return list({id(t): t for t in [*tensors.values(), *numbers]}.values())


def copied(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Copies of all that a model's `state_dict` holds, of the buffers that it leaves out, and of
    what was trained besides.

    Example:
        >>> norm = nn.BatchNorm1d(1)
        >>> before = copied(norm)
        >>> _ = norm(torch.tensor([[1.0], [3.0]]))
        >>> put_back(norm, before)
        >>> norm.running_mean.tolist(), norm.num_batches_tracked.item()
        ([0.0], 0)
    """
    everything = held(model) | {"others": noted(model)}
    return {kind: _copies(values) for kind, values in everything.items()}


def held(model: nn.Module) -> dict[str, dict[str, Any]]:
    """All that a model's `state_dict` holds, and the buffers that it leaves out: no copies."""
    state = model.state_dict()
    buffers = {n: b for n, b in model.named_buffers() if n not in state}
    return {"state": state, "buffers": buffers}


def put_back(model: nn.Module, copies: dict[str, dict[str, Any]]) -> None:
    """Write copies of `held` or of `copied` into the tensors that they are of.

    What was trained besides, and is no more since a program was replaced, is left out.

    Example:
        >>> from vaezoo.programs.outside import trained
        >>> linear, outside = nn.Linear(1, 1), torch.zeros(2)
        >>> trained(linear, {"outside": outside})
        >>> before = copied(linear)
        >>> outside += 1
        >>> put_back(linear, before)
        >>> outside
        tensor([0., 0.])
    """
    model.load_state_dict(copies["state"])
    buffers, others = dict(model.named_buffers()), noted(model)
    pairs = [(buffers[name], value) for name, value in copies["buffers"].items()]
    pairs += [(others[n], v) for n, v in copies.get("others", {}).items() if n in others]
    with torch.no_grad():
        for t, value in pairs:
            t.copy_(value)
    torch.clear_autocast_cache()  # which has weights from before, inside an outer autocast


def _copies(values: dict[str, Any]) -> dict[str, Any]:
    return {n: v.detach().clone() if isinstance(v, Tensor) else v for n, v in values.items()}
