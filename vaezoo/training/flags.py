"""What of a model is frozen, and what is in which mode: things that change on the way, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

__all__ = ["Modes", "flags_of", "modes_of", "restore_flags", "set_modes"]

Modes = dict[str, bool]


def modes_of(model: nn.Module) -> Modes:
    """Which of its modules are in training mode, by name.

    Example:
        >>> modes_of(nn.Sequential(nn.Linear(1, 1), nn.Dropout().eval()))
        {'': True, '0': True, '1': False}
    """
    return {name: module.training for name, module in model.named_modules()}


def set_modes(model: nn.Module, modes: Mapping[str, bool]) -> None:
    """Put modules in the modes that are given; those that are not stay as they are."""
    for name, module in model.named_modules():
        module.training = modes.get(name, module.training)


def flags_of(model: nn.Module, modes: Modes) -> dict[str, dict[str, bool]]:
    """Modes, and which parameters take gradients, in values that a file can hold.

    Args:
        modes: those of training, in place of those of a model that somebody evaluates just now.
    """
    trained = {name: p.requires_grad for name, p in model.named_parameters()}
    return {"modes": modes_of(model) if model.training else modes, "trained": trained}


def restore_flags(model: nn.Module, flags: Mapping[str, Any] | None) -> Modes:
    """Freeze and thaw parameters as they were; returns the modes, for when training begins.

    Example:
        >>> linear = nn.Linear(1, 1)
        >>> flags = flags_of(linear.requires_grad_(False), {})
        >>> _ = restore_flags(linear.requires_grad_(True), flags)
        >>> linear.weight.requires_grad
        False
    """
    if flags is None:  # of a checkpoint that is older than they are
        return {}
    for name, p in model.named_parameters():
        p.requires_grad_(flags["trained"].get(name, p.requires_grad))
    return dict(flags["modes"])
