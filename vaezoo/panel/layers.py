"""A layer of torch as the code that makes it."""

from __future__ import annotations

import ast
import inspect
import re
from typing import Any

from torch import nn

from vaezoo.scopes import own_generator

__all__ = ["layer_source", "same"]

TABLES = (
    *("training", "_parameters", "_buffers", "_modules"),
    *("_flat_weights", "_flat_weight_refs", "_compiled_call_impl"),
)
MISSING = object()


def layer_source(layer: nn.Module) -> str:
    """The call that makes a layer like this one.

    Most show themselves as they are written; some leave arguments out, which are read from them.

    Raises:
        ValueError: no such call is known: something was changed in it by hand, such as by hooks.

    Example:
        >>> layer_source(nn.AvgPool2d(3, 1, count_include_pad=False))
        'nn.AvgPool2d(kernel_size=3, stride=1, padding=0, count_include_pad=False)'
    """
    # convolutions show padding=same, without quotes
    code = re.sub(r"=(?!inf|nan)([a-z]+)(?=[,)])", r'="\1"', f"nn.{layer!r}")
    try:
        call: Any = ast.parse(code, mode="eval").body
        values = [ast.literal_eval(each) for each in call.args]
        named = {each.arg: ast.literal_eval(each.value) for each in call.keywords}
        more = _not_shown(layer, _made(layer, values, named))
        if not _alike(_made(layer, values, named | more), layer):
            raise ValueError(f"something in {layer!r} was changed")
    except Exception as error:  # of a syntax or of a constructor
        raise ValueError(f"no call is known that makes {layer!r}") from error
    extra = ", ".join(f"{name}={value!r}" for name, value in more.items())
    between = ", " if extra and (values or named) else ""
    return f"{code[:-1]}{between}{extra})"


def _made(layer: nn.Module, values: list[Any], named: dict[str, Any]) -> nn.Module:
    with own_generator():
        return type(layer)(*values, **named)


def _not_shown(layer: nn.Module, again: nn.Module) -> dict[str, Any]:
    """Arguments whose values another one, made as this one shows itself, does not have."""
    names = inspect.signature(type(layer)).parameters
    kept = {n: vars(layer)[n] for n in names if n in vars(layer)}
    return {n: v for n, v in kept.items() if not same(v, vars(again).get(n, MISSING))}


def _alike(a: nn.Module, b: nn.Module) -> bool:
    first, second = map(_traits, (a, b))
    return first.keys() == second.keys() and all(same(first[n], second[n]) for n in first)


def _traits(layer: nn.Module) -> dict[str, Any]:
    """Everything that a layer keeps, weights by their shapes."""
    tensors = {n: t if t is None else tuple(t.shape) for n, t in layer._parameters.items()}
    kept = {n: v for n, v in vars(layer).items() if n not in TABLES}
    inside = {"weights": tensors, "buffers": [*layer._buffers], "modules": [*layer._modules]}
    return kept | inside | {"shown": repr(layer)}


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal and of one type.

    Example:
        >>> same(1, 1), same(1, True)
        (True, False)
    """
    return type(a) is type(b) and bool(a == b)
