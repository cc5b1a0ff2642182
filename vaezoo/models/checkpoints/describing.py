"""A model in words that JSON has, and where two such descriptions differ."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor, nn

from vaezoo import likelihoods, models, networks, posteriors, priors

__all__ = ["HOMES", "describe", "difference", "name_today", "unstorable"]

HOMES = {home.__name__: home for home in (models, priors, posteriors, likelihoods, networks)}
_MOVED = {  # classes by their names in files of version 0.1
    "vaezoo.posteriors.MLP": "vaezoo.networks.MLP",
    "vaezoo.bare._Distribution": "vaezoo.priors.bare._Distribution",
    "vaezoo.bare._Module": "vaezoo.priors.bare._Module",
}


def describe(value: Any) -> Any:
    """A part as {class, arguments}, recursively; other values as JSON has them.

    What JSON has no word for is {object: its text}, and a tensor {tensor: its shape}.

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
    return {"object": _text(value)}


def _describe_part(part: nn.Module) -> dict[str, Any]:
    arguments = {}
    for name, parameter in inspect.signature(type(part).__init__).parameters.items():
        many = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if not many and hasattr(part, name):
            arguments[name] = describe(getattr(part, name))
    description: dict[str, Any] = {"class": _class_name(type(part)), "arguments": arguments}
    return description | {n: "a program" for n in ("model", "guide") if n in vars(part)}


def name_today(name: str) -> str:
    """The name of a class that a file may have by an older one."""
    return _MOVED.get(name, name)


def _class_name(kind: type) -> str:
    for name, home in HOMES.items():
        if getattr(home, kind.__name__, None) is kind:
            return f"{name}.{kind.__name__}"
    return f"{kind.__module__}.{kind.__qualname__}"


def _text(value: Any) -> str:
    """Its repr without addresses, which differ from one process to the next."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))[:1000]


def unstorable(description: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Arguments of vaezoo's own parts that `load` could not give them: where, and what they are."""
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


def difference(saved: Any, found: Any) -> str | None:
    """The first place at which two descriptions differ, in words; None where they agree.

    Example:
        >>> difference(describe(priors.StandardNormal(3)), describe(priors.StandardNormal(2)))
        'model.z_dim is 3 in the file and 2 in the model given'
    """
    saved, found = _completed(_as_before(saved)), _completed(_as_before(found))
    return None if saved == found else _place(saved, found, "model")


def _place(saved: Any, found: Any, where: str) -> str:
    if isinstance(saved, dict) and isinstance(found, dict):
        for key in [*saved, *(k for k in found if k not in saved)]:
            if saved.get(key) != found.get(key):
                place = where if key == "arguments" else f"{where}.{key}"
                return _place(saved.get(key), found.get(key), place)
    return f"{where} is {saved} in the file and {found} in the model given"


def _as_before(description: Any) -> Any:
    """What JSON has no word for, as older files have it: {class: its repr}, less its address."""
    if isinstance(description, list):
        return [_as_before(v) for v in description]
    if not isinstance(description, dict):
        return description
    if "partial" in description:
        values = [f"<class '{description['partial']}'>", *map(repr, description["arguments"])]
        values += [f"{k}={v!r}" for k, v in description["keywords"].items()]
        return {"class": f"functools.partial({', '.join(values)})", "arguments": {}}
    if "object" in description or "tensor" in description:
        return {"class": description.get("object", "a tensor"), "arguments": {}}
    if "class" in description and not description["arguments"]:
        text = re.sub(r" at 0x[0-9a-fA-F]+", "", description["class"])
        tensor = text.startswith(("Parameter containing:", "tensor("))
        return description | {"class": "a tensor" if tensor else text}
    return {key: _as_before(value) for key, value in description.items()}


def _completed(description: Any) -> Any:
    """With the defaults of arguments that a file does not name, as it is older than they are."""
    if isinstance(description, list):
        return [_completed(v) for v in description]
    if not isinstance(description, dict):
        return description
    found = {key: _completed(value) for key, value in description.items()}
    if "class" in found:
        found["class"] = name_today(str(found["class"]))
    home, _, leaf = str(found.get("class")).rpartition(".")
    kind = getattr(HOMES.get(home), leaf, None)
    if isinstance(kind, type) and isinstance(found.get("arguments"), dict):
        parameters = inspect.signature(kind.__init__).parameters.values()  # type: ignore[misc]
        defaults = {p.name: describe(p.default) for p in parameters if p.default is not p.empty}
        found["arguments"] = defaults | found["arguments"]
    return found
