"""What priors, posteriors and likelihoods share: a module whose forward returns a distribution.

A `Component` called inside a Pyro program announces its parameters to Pyro's parameter store, so
that `pyro.infer.SVI` trains them with no `pyro.module` call in the program. The store is global
and keyed by name, and the first parameter to take a name keeps it: a second model that registers
under the same name is silently not trained. Names here end in a number that belongs to one
parameter object and is never used again.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pyro
import torch
from pyro.poutine.runtime import am_i_wrapped
from torch import nn
from torch.utils.weak import WeakTensorKeyDictionary

__all__ = ["Component", "networks_in", "outside_param_store", "parameter_name"]

_tokens: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
_counter = itertools.count()
_announcing: ContextVar[bool] = ContextVar("announcing", default=True)


class Component(nn.Module):
    """An `nn.Module` whose `forward` returns a Pyro distribution.

    Subclass `priors.Prior`, `posteriors.Posterior` or `likelihoods.Likelihood` rather than this
    class. Keep every constructor argument as an attribute of the same name: checkpoints rebuild
    a part from them.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `forward`, with the parameters announced to Pyro inside a program."""
        if _announcing.get() and am_i_wrapped():
            for name, parameter in self.named_parameters():
                if parameter.requires_grad:
                    label = f"{type(self).__name__}.{name}"
                    pyro.param(parameter_name(label, parameter), parameter)
        return super().__call__(*args, **kwargs)


def parameter_name(label: str, parameter: nn.Parameter) -> str:
    """The name of one parameter object in Pyro's store: `label` and a number of its own.

    Example:
        >>> import torch
        >>> a, b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
        >>> parameter_name("loc", a) == parameter_name("loc", a)
        True
        >>> parameter_name("loc", a) == parameter_name("loc", b)
        False
    """
    if parameter not in _tokens:
        _tokens[parameter] = next(_counter)
    return f"{label}#{_tokens[parameter]}"


def outside_param_store() -> contextlib.AbstractContextManager[None]:
    """Within it components leave Pyro's parameter store alone, for loops with a torch optimiser."""
    return _set(_announcing, False)


@contextlib.contextmanager
def networks_in(model: nn.Module, dtype: torch.dtype | None) -> Iterator[None]:
    """Within it the networks of a model run under autocast to `dtype`; None changes nothing.

    A network is an outermost module that is no component and holds none: the `network` of a part,
    or the modules of a pair of your own. Its outputs come back in its parameters' dtype, so that
    distributions are made from, and densities computed in, that one. A flow's masked networks are
    left out: the map and its Jacobian have to belong to one another.

    Example:
        >>> from vaezoo.posteriors import DiagonalNormal
        >>> q = DiagonalNormal((1, 28, 28), 10)
        >>> with networks_in(nn.ModuleList([q]), torch.bfloat16):
        ...     loc = q(torch.rand(7, 1, 28, 28)).base_dist.loc
        >>> loc.dtype, torch.equal(loc, loc.bfloat16().float())
        (torch.float32, True)
    """
    networks = {} if dtype is None else {id(m): m for m in _networks(model)}
    try:
        for network in networks.values():
            network.__dict__["forward"] = _lowered(network, dtype)
        yield
    finally:
        for network in networks.values():
            network.__dict__.pop("forward", None)


def _networks(model: nn.Module) -> Iterator[nn.Module]:
    programs = [vars(model).get(name) for name in ("model", "guide")]
    for child in model.children():
        holds = any(isinstance(m, Component) for m in child.modules())
        called = type(child).forward is not nn.Module.forward
        if holds or not called or any(child is p for p in programs):
            yield from _networks(child)
        elif "forward" not in vars(child):
            yield child


def _lowered(network: nn.Module, dtype: torch.dtype | None) -> Callable[..., Any]:
    forward = network.forward
    like = next(network.parameters(), torch.empty(0))

    def run(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast(like.device.type, dtype):
            found = forward(*args, **kwargs)
        return found.to(like.dtype) if isinstance(found, torch.Tensor) else found

    return run


@contextlib.contextmanager
def _set(variable: ContextVar[bool], value: bool) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
