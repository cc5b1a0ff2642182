"""The code that builds a model anew: constructors and their arguments, as one would write them.

Every part keeps its constructor's arguments as attributes of the same names; what the constructor
would do by itself is left out. Weights are no part of the code: `vaezoo.save` and `load` keep them.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from vaezoo import likelihoods, models, networks, objectives, posteriors, priors
from vaezoo.models import LatentVariableModel
from vaezoo.models.checkpoints.describing import describe
from vaezoo.scopes import own_generator

__all__ = ["argument_of", "source_of"]

ROOMS = (models, priors, posteriors, likelihoods, networks, objectives)
WIDTH = 88
MISSING = object()


def source_of(model: LatentVariableModel, objective: Any) -> str:
    """Code that leaves a model like this one, and its objective, in `model` and `objective`.

    Names of classes from outside vaezoo stand in it as they are, and a comment says that they are
    to be defined or imported first.

    Example:
        >>> vae = models.VAE(z_dim=2)
        >>> vae.prior = priors.MixtureOfGaussians(2, k=5)
        >>> print(source_of(vae, objectives.ELBO(beta=4.0)))
        from vaezoo import models, objectives, priors
        <BLANKLINE>
        model = models.VAE(z_dim=2, prior=priors.MixtureOfGaussians(z_dim=2, k=5))
        objective = objectives.ELBO(beta=4.0)
    """
    lines = [_assigned("model", model), *_settings(model), _assigned("objective", objective)]
    code = "\n".join(lines)
    used = sorted(room for room in map(_leaf, ROOMS) if f"{room}." in code)
    imports = ["import torch"] if "(torch." in code else []
    imports += ["from torch import nn"] if "=nn." in code else []
    imports += [f"from vaezoo import {', '.join(used)}"]
    own = sorted({_name(type(thing)) for thing in (*model.modules(), objective) if _is_own(thing)})
    named = [f"# yours, to be defined or imported first: {n}" for n in own if f"{n}(" in code]
    return "\n".join([*imports, *named, "", code])


def argument_of(thing: Any, name: str, default: Any = MISSING) -> Any:
    """The value that an argument of a constructor had; Pyro keeps `particles` by a longer name.

    Example:
        >>> argument_of(objectives.IWELBO(7), "particles")
        7
    """
    found = getattr(thing, name, getattr(thing, f"num_{name}", default))
    if found is MISSING:
        raise ValueError(f"a {type(thing).__name__} keeps no {name}: assign self.{name} = {name}")
    return found


def _assigned(name: str, value: Any) -> str:
    return f"{name} = {_source(value, 0, len(name) + 3)}"


def _settings(model: LatentVariableModel) -> Iterator[str]:
    """What assignments have made of it: a dtype, parts that are not trained, programs."""
    dtypes = {p.dtype for p in model.parameters() if p.is_floating_point()}
    if dtypes - {torch.get_default_dtype()}:
        yield f"model.to({dtypes.pop()})"
    for name in model.parts:
        flags = [p.requires_grad for p in getattr(model, name, nn.Identity()).parameters()]
        if flags and not any(flags):
            yield f"model.{name}.requires_grad_(False)"
    for name in model.replaced_programs:
        program = getattr(model, name)
        called = getattr(program, "__name__", type(program).__name__)
        yield f"model.{name} = {called}  # yours"


def _source(value: Any, indent: int, taken: int) -> str:
    """A value as code, on one line where that has room for it."""
    room = next((r for r in ROOMS if getattr(r, type(value).__name__, None) is type(value)), None)
    if isinstance(value, type):
        return f"nn.{value.__name__}" if hasattr(nn, value.__name__) else value.__name__
    if room is None and not isinstance(value, nn.Module):
        return repr(value)
    called = type(value).__name__ if room is None else f"{_leaf(room)}.{type(value).__name__}"
    given = _arguments(value).items()
    line = ", ".join(f"{n}={_source(v, 0, 0)}" for n, v in given)
    if indent + taken + len(called) + len(line) + 2 <= WIDTH and "\n" not in line:
        return f"{called}({line})"
    inner = indent + 4
    rows = [f"{' ' * inner}{n}={_source(v, inner, len(n) + 2)},\n" for n, v in given]
    return f"{called}(\n{''.join(rows)}{' ' * indent})"


def _arguments(thing: Any) -> dict[str, Any]:
    """The arguments without which a thing would come out otherwise."""
    parameters = inspect.signature(type(thing)).parameters.items()
    given = {}
    for name, parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        value = argument_of(thing, name, parameter.default)
        if value is parameter.empty:
            value = argument_of(thing, name)
        if parameter.default is parameter.empty or not _same(value, parameter.default):
            given[name] = value
    return _needed(thing, given) if isinstance(thing, nn.Module) else given


def _needed(thing: nn.Module, given: dict[str, Any]) -> dict[str, Any]:
    """Without the modules that the constructor makes itself just so."""
    for name in [n for n, v in given.items() if isinstance(v, nn.Module)]:
        fewer = {n: v for n, v in given.items() if n != name}
        if _made_just_so(thing, name, fewer):
            given = fewer
    return given


def _made_just_so(thing: nn.Module, name: str, arguments: dict[str, Any]) -> bool:
    try:
        with own_generator():
            made = type(thing)(**copy.deepcopy(arguments))
    except (TypeError, ValueError):  # it does not make one
        return False
    return _same(describe(getattr(made, name)), describe(getattr(thing, name)))


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


def _is_own(thing: Any) -> bool:
    return not type(thing).__module__.startswith(("vaezoo.", "torch.", "pyro."))


def _name(kind: type) -> str:
    return kind.__name__


def _leaf(room: Any) -> str:
    return str(room.__name__).rpartition(".")[2]
