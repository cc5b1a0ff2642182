"""Descriptions: a model in the values that JSON has."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

from vaezoo import likelihoods, models, networks, posteriors, priors
from vaezoo.arguments import without_addresses

__all__ = ["class_named", "describe", "unstorable"]

HOMES = {home.__name__: home for home in (models, priors, posteriors, likelihoods, networks)}


def describe(value: Any) -> Any:
    """A part as {class, arguments}, recursively; other values as JSON has them.

    A tensor is {tensor: its shape}, a layer that gets its sizes when it first runs {lazy: its
    class}, and anything else that JSON lacks {object: its repr}.

    Example:
        >>> describe(priors.StandardNormal(np.int64(3)))
        {'class': 'vaezoo.priors.StandardNormal', 'arguments': {'z_dim': 3}}
        >>> describe(functools.partial(nn.LeakyReLU, 0.2))["arguments"]
        [0.2]
    """
    if isinstance(value, np.generic | np.ndarray) and value.ndim == 0:
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list | range):
        return [describe(v) for v in value]
    if isinstance(value, LazyModuleMixin):
        return {"lazy": type(value).__qualname__}
    if isinstance(value, nn.Module):
        return _describe_part(value)
    if isinstance(value, type):
        return {"type": f"{value.__module__}.{value.__qualname__}"}
    if isinstance(value, functools.partial) and isinstance(value.func, type):
        keywords = {name: describe(v) for name, v in value.keywords.items()}
        called = describe(value.func)["type"]
        return {"partial": called, "arguments": describe(value.args), "keywords": keywords}
    if isinstance(value, Tensor):
        return {"tensor": list(value.shape)}
    return {"object": without_addresses(repr(value))[:1000]}


def _describe_part(part: nn.Module) -> dict[str, Any]:
    arguments = {}
    for name, parameter in inspect.signature(type(part).__init__).parameters.items():
        many = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if not many and hasattr(part, name):
            arguments[name] = describe(getattr(part, name))
    description: dict[str, Any] = {"class": _class_name(type(part)), "arguments": arguments}
    return description | {n: "a program" for n in ("model", "guide") if n in vars(part)}


def _class_name(kind: type) -> str:
    """The name of a class in a description: by its room if it is vaezoo's, else by its module."""
    for name, home in HOMES.items():
        if getattr(home, kind.__name__, None) is kind:
            return f"{name}.{kind.__name__}"
    return f"{kind.__module__}.{kind.__qualname__}"


def class_named(name: str) -> Any:
    """What a description means by a name, in a known module only; None where it has none.

    Example:
        >>> class_named("vaezoo.networks.MLP"), class_named("os.system")
        (<class 'vaezoo.networks.mlp.MLP'>, None)
    """
    home, _, leaf = name.rpartition(".")
    return getattr(HOMES[home], leaf, None) if home in HOMES else None


def unstorable(description: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Arguments of vaezoo's own parts that `load` could not build: where, and what they are."""
    if isinstance(description, list):
        for entry in description:
            yield from unstorable(entry, where)
    if not isinstance(description, dict):
        return
    for word in ("object", "tensor"):
        if word in description:
            yield where, str(description[word]) if word == "object" else "a tensor"
    if description.get("class", "").rpartition(".")[0] in HOMES:
        for name, value in description["arguments"].items():
            yield from unstorable(value, f"{where}.{name}" if where else name)
    for value in (*description.get("keywords", {}).values(), *_positional(description)):
        yield from unstorable(value, where)


def _positional(description: dict[str, Any]) -> list[Any]:
    return description["arguments"] if "partial" in description else []
