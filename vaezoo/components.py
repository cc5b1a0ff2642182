"""What priors, posteriors and likelihoods share: a module whose forward returns a distribution.

A `Component` called inside a Pyro program announces its parameters to Pyro's parameter store, so
that `pyro.infer.SVI` trains them with no `pyro.module` call in the program. The store is global
and keyed by name, and the first parameter to take a name keeps it: a second model that registers
under the same name is silently not trained. Names here end in a number that belongs to one
parameter object and is never used again by this process.

A tensor that the store holds under such a name, because it was loaded from a file or set, is copied
into the parameter, as `pyro.module` does; what components announced leaves the store with them.
"""

from __future__ import annotations

import contextlib
import itertools
import weakref
from collections import defaultdict
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pyro
import torch
from pyro.distributions import constraints
from pyro.poutine.runtime import am_i_wrapped
from torch import nn
from torch.utils.weak import WeakTensorKeyDictionary

__all__ = ["Component", "announce", "check_size", "outside_param_store", "parameter_name"]

# arguments by which weights and layers are made: set later they would change nothing but the file,
# which is loaded into a part made anew
SIZES = frozenset(
    {
        *("z_dim", "x_shape", "in_shape", "out_shape", "v_dim", "hidden", "classes", "levels"),
        *("k", "learn_weights", "layers", "flow_hidden", "context", "rank"),
        *("scale", "learn_variance", "activation", "label_scale"),
    }
)

_names: WeakTensorKeyDictionary = WeakTensorKeyDictionary()  # of each parameter, by label
_owners: dict[str, weakref.ref[nn.Parameter]] = {}
_counters: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)
_announced: weakref.WeakKeyDictionary[nn.Module, set[str]] = weakref.WeakKeyDictionary()
_dropped: list[set[str]] = []  # names announced by components that are gone
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
            announce(self)
        return super().__call__(*args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        check_size(self, name, value)
        super().__setattr__(name, value)

    def follows(self) -> tuple[nn.Module, ...]:
        """What this component calls and does not own, as a `VampPrior` does its posterior."""
        return ()


def check_size(module: nn.Module, name: str, value: Any) -> None:
    """Raise ValueError where an argument by which vaezoo's own made weights is to become another.

    Example:
        >>> from vaezoo.priors import MixtureOfGaussians
        >>> MixtureOfGaussians(10, k=5).k = 50
        Traceback (most recent call last):
        ...
        ValueError: k is 5 for the weights that this MixtureOfGaussians has: make a new one, ...
    """
    own = vars(module)
    if name in SIZES and name in own and own[name] != value and repr(own[name]) != repr(value):
        kind = type(module)
        if kind.__module__.startswith("vaezoo."):
            raise ValueError(
                f"{name} is {own[name]} for the weights that this {kind.__name__} has: make a new "
                f"one, {kind.__name__}(…, {name}={value!r})"
            )


def announce(component: Component) -> None:
    """Tell Pyro of a component's parameters, which the store then holds by names of their own.

    Raises:
        ValueError: the store was loaded with a tensor of another shape under such a name.
    """
    _forget_dropped()
    if component not in _announced:
        names: set[str] = set()
        _announced[component] = names
        weakref.finalize(component, _dropped.append, names).atexit = False
    for name, parameter in component.named_parameters():
        if parameter.requires_grad:
            unique = parameter_name(f"{type(component).__name__}.{name}", parameter)
            _announced[component].add(unique)
            _place(unique, parameter)
            pyro.param(unique, parameter)


def _place(name: str, parameter: nn.Parameter) -> None:
    """Put a parameter itself into the store: `pyro.param` would copy one that is not contiguous."""
    store = pyro.get_param_store()
    held = store._params.get(name)
    if held is parameter:
        return
    if held is not None:
        if held.shape != parameter.shape:
            raise ValueError(
                f"Pyro's parameter store was loaded with {name!r} of shape {tuple(held.shape)}, "
                f"and the model's has {tuple(parameter.shape)}: build the model that was saved, or "
                "call pyro.clear_param_store() first"
            )
        with torch.no_grad():
            parameter.copy_(held)
        store._param_to_name.pop(held, None)
    store._params[name], store._param_to_name[parameter] = parameter, name
    store._constraints[name] = constraints.real


def _forget_dropped() -> None:
    """Take out of the store what components announced that are gone by now.

    It waits for the next announcement, since they may go while somebody iterates over the store.
    """
    store = pyro.get_param_store()
    while _dropped:
        for name in _dropped.pop():
            if name in store and store._params[name] is _owners[name]():
                del store[name]


def parameter_name(label: str, parameter: nn.Parameter) -> str:
    """The name of one parameter object in Pyro's store: `label` and a number of its own.

    A name that was loaded into the store, and belongs to no living parameter, goes to the first new
    one with its label.

    Example:
        >>> import torch
        >>> a, b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
        >>> parameter_name("loc", a) == parameter_name("loc", a)
        True
        >>> parameter_name("loc", a) == parameter_name("loc", b)
        False
    """
    names = _names.setdefault(parameter, {})
    if label not in names:
        names[label] = name = _new_name(label)
        _owners[name] = weakref.ref(parameter)
    return names[label]


def _new_name(label: str) -> str:
    prefix = f"{label}#"
    loaded = [n for n in pyro.get_param_store() if n.startswith(prefix) and _is_free(n)]
    if loaded:
        return min(loaded, key=lambda name: (len(name), name))
    while (name := f"{prefix}{next(_counters[label])}") in _owners:
        pass
    return name


def _is_free(name: str) -> bool:
    return name not in _owners or _owners[name]() is None


def outside_param_store() -> contextlib.AbstractContextManager[None]:
    """Within it components leave Pyro's parameter store alone, for loops with a torch optimizer."""
    return _switched(_announcing, False)


@contextlib.contextmanager
def _switched(variable: ContextVar[bool], value: bool) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
