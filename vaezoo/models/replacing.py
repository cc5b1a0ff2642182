"""Programs of one's own in place of those that a member writes."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from torch import nn

from vaezoo.models.naming import check_program, name_of
from vaezoo.posteriors import Posterior

if TYPE_CHECKING:
    from vaezoo.models.base import LatentVariableModel

__all__ = ["replace_program", "restore_program"]


def replace_program(model: LatentVariableModel, name: str, value: Any) -> None:
    """Put a program in place of a written one; a posterior in place of the guide is swapped in.

    Raises:
        TypeError: it is no program, or does not take what the written one takes.
        ValueError: it holds the model.
    """
    if name == "guide" and isinstance(value, Posterior):
        model.posterior = value
        restore_program(model, "guide")
        return
    check_program(name, value)
    if isinstance(value, nn.Module) and model in value.modules():
        raise ValueError(f"{name_of(value)} holds the model itself, which cannot hold it in turn")
    wanted = inspect.signature(getattr(type(model), name).__get__(model))
    try:
        inspect.signature(value).bind(*wanted.parameters)
    except TypeError as error:
        raise TypeError(
            f"a {name} for {type(model).__name__} takes {wanted}, got {inspect.signature(value)}"
        ) from error
    restore_program(model, name)
    # nn.Module would file a module under _modules, where the written method shadows it
    if isinstance(value, nn.Module):
        model._modules[f"{name}_program"] = value
    vars(model)[name] = value


def restore_program(model: LatentVariableModel, name: str) -> None:
    """Bring the written program back."""
    vars(model).pop(name, None)
    model._modules.pop(f"{name}_program", None)
