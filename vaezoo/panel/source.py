"""The code that builds a model anew: constructors and their arguments, as one would write them.

Every part keeps its constructor's arguments as attributes of the same names; what the constructor
would do by itself is left out. Weights are no part of the code: `vaezoo.save` and `load` keep them.
"""

from __future__ import annotations

import ast
import copy
import functools
import inspect
import re
import types
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from vaezoo import likelihoods, models, networks, objectives, posteriors, priors
from vaezoo.models import LatentVariableModel
from vaezoo.models.checkpoints.describing import describe
from vaezoo.panel.layers import layer_source, same
from vaezoo.priors.bare import as_given
from vaezoo.scopes import own_generator

__all__ = ["argument_of", "source_of"]

ROOMS = (models, priors, posteriors, likelihoods, networks, objectives)
WIDTH = 88
MISSING = object()


def source_of(model: LatentVariableModel, objective: Any) -> str:
    """Code that leaves a model like this one, and its objective, in `model` and `objective`.

    Names of classes and functions from outside vaezoo stand in it as they are, and a comment says
    that they are to be defined or imported first.

    Raises:
        ValueError: something in it was not made by a constructor that keeps its arguments.

    Example:
        >>> vae = models.VAE(z_dim=2)
        >>> vae.prior = priors.MixtureOfGaussians(2, k=5)
        >>> print(source_of(vae, objectives.ELBO(beta=4.0)))
        from vaezoo import models, objectives, priors
        <BLANKLINE>
        model = models.VAE(z_dim=2, prior=priors.MixtureOfGaussians(z_dim=2, k=5))
        objective = objectives.ELBO(beta=4.0)
    """
    _check_untied(model)
    lines = [_assigned("model", model), *_settings(model), _assigned("objective", objective)]
    code = "\n".join(lines)
    used = sorted(room for room in map(_leaf, ROOMS) if _names(room, code))
    imports = [f"import {name}" for name in ("functools", "torch") if _names(name, code)]
    imports += ["from torch import nn"] if _names("nn", code) else []
    imports += [f"from vaezoo import {', '.join(used)}"]
    own = sorted({_name(kind) for kind in _kinds([*model.modules(), objective]) if _is_own(kind)})
    named = [f"# yours, to be defined or imported first: {n}" for n in own if _names(n, code)]
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


def _check_untied(model: nn.Module) -> None:
    """Two calls would make two layers of one that stands in two places."""
    places: dict[nn.Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        places.setdefault(parameter, []).append(name)
    if tied := next((names for names in places.values() if len(names) > 1), None):
        raise ValueError(
            f"no code says that {' and '.join(tied)} are the same weights: put what shares them "
            "into a class of yours"
        )


def _assigned(name: str, value: Any) -> str:
    return f"{name} = {_source(value, 0, len(name) + 3)}"


def _settings(model: LatentVariableModel) -> Iterator[str]:
    """What assignments have made of it: dtypes, weights that are not trained, programs."""
    parts = {f"model.{n}": getattr(model, n) for n in model.parts if hasattr(model, n)}
    for name, module in ({"model": model} if len(_dtypes(model)) == 1 else parts).items():
        yield from (f"{name}.to({d})" for d in _dtypes(module) - {torch.get_default_dtype()})
    for name, part in parts.items():
        frozen = [n for n, p in part.named_parameters() if not p.requires_grad]
        if frozen and len(frozen) == len([*part.parameters()]):
            yield f"{name}.requires_grad_(False)"
        else:
            yield from (f'{name}.get_parameter("{n}").requires_grad_(False)' for n in frozen)
    for name in model.replaced_programs:
        yield f"{_assigned(f'model.{name}', getattr(model, name))}  # yours"


def _dtypes(module: nn.Module) -> set[torch.dtype]:
    return {p.dtype for p in module.parameters() if p.is_floating_point()}


def _source(value: Any, indent: int, taken: int) -> str:
    """A value as code, on one line where that has room for it."""
    value = as_given(value)
    if isinstance(value, type | types.FunctionType):
        return _kind(value)
    if isinstance(value, functools.partial):
        given: list[tuple[str, Any]] = [("", value.func), *(("", v) for v in value.args)]
        return _called("functools.partial", [*given, *value.keywords.items()], indent, taken)
    if type(value) is nn.Sequential:
        return _called("nn.Sequential", [("", layer) for layer in value], indent, taken)
    if _is_torchs(type(value)):
        try:
            return layer_source(value)
        except ValueError as error:
            raise ValueError(_unwritten(value)) from error
    room = next((r for r in ROOMS if getattr(r, type(value).__name__, None) is type(value)), None)
    if room is None and not isinstance(value, nn.Module):
        return _plain(value)
    called = _kind(type(value)) if room is None else f"{_leaf(room)}.{type(value).__name__}"
    return _called(called, _arguments(value).items(), indent, taken)


def _kind(value: Any) -> str:
    """A class, or a function of one's own, by its name."""
    if _is_torchs(value):
        return f"nn.{_name(value)}"
    if not _is_own(value) or not _name(value).isidentifier():
        raise ValueError(_unwritten(value))
    return _name(value)


def _called(called: str, given: Iterable[tuple[str, Any]], indent: int, taken: int) -> str:
    """A call with these arguments, by position where they have no name."""
    named = [(f"{name}=" if name else "", value) for name, value in given]
    line = ", ".join(n + _source(v, 0, 0) for n, v in named)
    if indent + taken + len(called) + len(line) + 2 <= WIDTH and "\n" not in line:
        return f"{called}({line})"
    inner = indent + 4
    rows = [f"{' ' * inner}{n}{_source(v, inner, len(n) + 1)},\n" for n, v in named]
    return f"{called}(\n{''.join(rows)}{' ' * indent})"


def _plain(value: Any) -> str:
    try:
        ast.literal_eval(repr(value))
    except (SyntaxError, ValueError):
        if repr(value) not in ("inf", "-inf", "nan"):
            raise ValueError(_unwritten(value)) from None
        return f'float("{value}")'
    return repr(value)


def _unwritten(value: Any) -> str:
    called = getattr(value, "__name__", type(value).__name__)
    return (
        f"no code says how this {called} was made: put it into a class of yours, whose constructor "
        "makes it from numbers, texts or parts by name, and keeps these as attributes"
    )


def _arguments(thing: Any) -> dict[str, Any]:
    """The arguments without which a thing would come out otherwise."""
    parameters = inspect.signature(type(thing)).parameters.items()
    own = _is_own(next(kind for kind in type(thing).__mro__ if "__init__" in vars(kind)))
    given = {}
    for name, parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            if own:  # which it need not keep
                raise ValueError(_unwritten(thing))
            continue
        # the zoo's own keep what they would not make themselves just so
        kept = MISSING if own or parameter.default is parameter.empty else parameter.default
        value = argument_of(thing, name, kept)
        if parameter.default is parameter.empty or not same(value, parameter.default):
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
    return same(describe(getattr(made, name)), describe(getattr(thing, name)))


def _kinds(things: Iterable[Any]) -> Iterator[Any]:
    """The classes of things, and the classes and functions that they keep."""
    for thing in things:
        yield type(thing)
        for value in getattr(thing, "__dict__", {}).values():
            kind = value.func if isinstance(value, functools.partial) else value
            if isinstance(kind, type | types.FunctionType):
                yield kind


def _is_own(kind: Any) -> bool:
    return not kind.__module__.startswith(("vaezoo.", "torch.", "pyro."))


def _is_torchs(kind: Any) -> bool:
    return getattr(nn, _name(kind), None) is kind


def _names(name: str, code: str) -> bool:
    """Whether code has a name, but for one that follows a dot."""
    return re.search(rf"(?<![\w.\"]){re.escape(name)}\b", code) is not None


def _name(kind: Any) -> str:
    return str(kind.__name__)


def _leaf(room: Any) -> str:
    return str(room.__name__).rpartition(".")[2]
