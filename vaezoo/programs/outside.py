"""What is trained with a model and is not its own, such as by `pyro.param`: noted by training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from weakref import WeakKeyDictionary

from torch import Tensor, nn

__all__ = ["besides", "noted", "outside", "trained"]

_trained: WeakKeyDictionary[nn.Module, dict[str, Tensor]] = WeakKeyDictionary()


def besides(model: nn.Module, tensors: Iterable[Tensor]) -> dict[str, Tensor]:
    """Those tensors that are not the model's own, under names for errors and files.

    Example:
        >>> import torch
        >>> linear = nn.Linear(1, 1, bias=False)
        >>> list(besides(linear, [linear.weight, torch.zeros(2)]))
        ['parameter 0 (2,) of a program']
    """
    own = {id(t) for t in (*model.parameters(), *model.buffers())}
    others = (t for t in tensors if id(t) not in own)
    return {f"parameter {i} {tuple(t.shape)} of a program": t for i, t in enumerate(others)}


def trained(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Note what the training of a model trains, so that its copies, and warnings, are of all of it.

    Example:
        >>> import torch
        >>> linear, other = nn.Linear(1, 1), torch.zeros(2)
        >>> trained(linear, {"weight": linear.weight, "other": other})
        >>> [len(t) for t in noted(linear).values()]
        [2]
    """
    _trained[model] = besides(model, tensors.values())


def outside(model: nn.Module, tensors: Iterable[Tensor]) -> dict[str, Tensor]:
    """The same as `besides`, in the order in which training has noted them, whatever theirs is.

    Example:
        >>> import torch
        >>> linear, one, other = nn.Linear(1, 1), torch.zeros(1), torch.zeros(2)
        >>> trained(linear, {"one": one, "other": other})
        >>> [len(t) for t in outside(linear, [other, one]).values()]
        [1, 2]
    """
    others = {id(t): t for t in besides(model, tensors).values()}
    known = [t for t in noted(model).values() if others.pop(id(t), None) is not None]
    return besides(model, [*known, *others.values()])


def noted(model: nn.Module) -> dict[str, Tensor]:
    """What the last training of a model trained besides the model's own."""
    return _trained.get(model, {})
