"""Layers: what lies within modules from elsewhere, which no description of a part says."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from vaezoo.models.base import LatentVariableModel
from vaezoo.models.checkpoints.describing import class_named, describe
from vaezoo.models.checkpoints.differences import difference

__all__ = ["another_layer", "layers", "torch_release"]

# arguments that say nothing of what a module computes when it is evaluated
_CHANGE_NOTHING = {"device", "dtype", "inplace", "training", "p", "dropout", "momentum"}
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_LONGEST = 100  # entries of a list, and letters of a text, that are an option and no data


def layers(model: nn.Module) -> dict[str, Any]:
    """The modules from elsewhere inside a model, and vaezoo's inside those, by their places.

    One from elsewhere is said by its class, and one of torch's by those arguments of its
    constructors that it keeps as attributes of the same names, if they are plain and tell what it
    computes when it is evaluated: what a class of yours keeps may change in training. One of
    vaezoo's is said as `describe` has it. A lazy one is None: nothing is known of it yet. Modes,
    frozen flags, devices and dtypes are not said, nor whether a module was compiled by `torch.jit`
    or a batch norm is one of several processes.

    Example:
        >>> layers(nn.Sequential(nn.LeakyReLU(0.2), nn.LazyLinear(3)))["0"]
        {'class': 'LeakyReLU', 'arguments': {'negative_slope': 0.2}}
    """
    root = {} if _is_own(model) else {"": _said(model)}
    return root | dict(_within(model, "", describe(model)))


def _within(module: nn.Module, place: str, description: Any) -> Iterator[tuple[str, Any]]:
    described = description.get("arguments", {})
    # what vaezoo's own parts are made of may be otherwise in another version: only what was given
    given = None if not _is_own(module) or _holds_parts(module) else described
    for name, child in module._modules.items():
        if child is None or (given is not None and name not in given):
            continue
        where, inside = f"{place}.{name}".removeprefix("."), described.get(name)
        if not _is_own(child):
            yield where, _said(child)
        elif not isinstance(inside, dict):
            inside = describe(child)
            yield where, inside
        yield from _within(child, where, inside if isinstance(inside, dict) else {})


def _is_own(module: nn.Module) -> bool:
    return type(module).__module__.startswith("vaezoo.")


def _holds_parts(module: nn.Module) -> bool:
    """Whether all that one of vaezoo's holds is parts, or came from outside."""
    bare = type(module).__module__ == "vaezoo.priors.bare"
    return bare or isinstance(module, LatentVariableModel)


def _said(module: nn.Module) -> dict[str, Any] | None:
    if isinstance(module, LazyModuleMixin):
        return None
    names = _arguments(type(module)) if type(module).__module__.startswith("torch.") else set[str]()
    values = {n: _plain(v) for n, v in vars(module).items() if n in names}
    kept = {n: v for n, v in values.items() if v is not None}
    return {"class": _name(module), "arguments": kept}


def _name(module: nn.Module) -> str:
    """The name of a class, and the same one for what computes the same."""
    if isinstance(module, torch.jit.ScriptModule):
        return str(module.original_name)
    return "BatchNorm" if type(module) in _BATCH_NORMS else type(module).__name__


def _arguments(kind: type) -> set[str]:
    """The names that the constructors of a class and of its bases take."""
    inits = [c.__dict__["__init__"] for c in kind.__mro__ if "__init__" in c.__dict__]
    names = set[str]()
    for init in inits:
        with contextlib.suppress(TypeError, ValueError):
            names |= inspect.signature(init).parameters.keys()
    return names - _CHANGE_NOTHING


def _plain(value: Any) -> Any:
    """A value as JSON has it if it is an option; None if it is none, or not set as yet."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, tuple | list):
        each = [_plain(v) for v in value]
        return each if len(each) <= _LONGEST and None not in each else None
    if isinstance(value, str):
        return value if len(value) <= _LONGEST else None
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if inspect.isroutine(value) or isinstance(value, type):
        return value.__name__
    return None


def torch_release() -> str:
    """The release of torch, within which its modules are made alike.

    Example:
        >>> torch_release().count(".")
        1
    """
    return ".".join(torch.__version__.split(".")[:2])


def another_layer(saved: dict[str, Any], given: dict[str, Any]) -> str | None:
    """The first place at which the layers of a file and of a model differ, in words; else None.

    Arguments are compared where both say them: a class may have more of them by now.

    Example:
        >>> relu, tanh = layers(nn.Sequential(nn.ReLU())), layers(nn.Sequential(nn.Tanh()))
        >>> another_layer(relu, tanh)
        '0.class is ReLU in the file and Tanh in the model given'
    """
    for place in [*saved, *(p for p in given if p not in saved)]:
        if not (place in saved and place in given):
            before, now = (_class(each, place) for each in (saved, given))
            return f"{place} is {before} in the file and {now} in the model given"
        if found := _difference(saved[place], given[place], place or "model"):
            return found
    return None


def _class(each: dict[str, Any], place: str) -> str:
    if place not in each:
        return "nothing"
    return "a lazy layer" if each[place] is None else str(each[place]["class"])


def _difference(saved: Any, given: Any, place: str) -> str | None:
    if saved is None or given is None:  # a lazy layer
        return None
    if class_named(str(saved["class"])) is None:
        saved, given = _common(saved, given), _common(given, saved)
    return difference(saved, given, place)


def _common(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    arguments = {n: v for n, v in one["arguments"].items() if n in other["arguments"]}
    return one | {"arguments": arguments}
