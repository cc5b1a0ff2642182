"""Bare distributions as priors: of torch, of Pyro, or what a module returns.

    vae.prior = dist.Laplace(torch.zeros(10), torch.ones(10)).to_event(1)
    vae.prior = zuko.flows.NSF(features=10)

A distribution is taken apart: its tensors become buffers of the prior, so that they follow device
and dtype, and its `nn.Parameter`s become parameters, so that they are trained. At each call it is
put together again from them. A module, such as a flow, is kept whole, and called for the
distribution each time.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import weakref
from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions.transforms import _InverseTransform as Inverse

from vaezoo.autograd import leaves
from vaezoo.distributions import as_pyro, pyro_class
from vaezoo.priors.base import Prior
from vaezoo.programs.writes import memory
from vaezoo.scopes import own_generator

__all__ = ["as_given", "as_prior"]

_NO_ARGUMENTS = {  # what is a tensor is known by its shape
    *("_validate_args", "_batch_shape", "_event_shape"),
    *("_inv", "_cached_x_y", "_cache_size"),
}

WRITE = (
    "write a Prior whose forward returns it: class MyPrior(priors.Prior): def forward(self): "
    "return dist.Normal(self.loc, self.log_scale.exp()).to_event(1)"
)


def as_prior(value: Any) -> Prior | None:
    """A Prior of a distribution, or of a module whose `forward()` is to return one; else None.

    Raises:
        ValueError: the distribution holds numbers that were computed from parameters.

    Example:
        >>> prior = as_prior(dist.Normal(torch.zeros(3), torch.ones(3)).to_event(1))
        >>> prior.double()().log_prob(torch.zeros(3).double())
        tensor(-2.7568, dtype=torch.float64)
    """
    if isinstance(value, torch.distributions.Distribution):
        return _Distribution(value)
    return _Module(value) if isinstance(value, nn.Module) else None


def as_given(value: Any) -> Any:
    """The module that `as_prior` has made a prior of; anything else as it is.

    Raises:
        ValueError: it is the prior of a distribution, of which only the tensors are kept.
    """
    if isinstance(value, _Distribution):
        raise ValueError(f"no code says how this {value.name} was made: {WRITE}")
    return value.module if isinstance(value, _Module) else value


class _Module(Prior):
    """The prior of a module that returns a distribution."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self) -> dist.TorchDistribution:
        """Return what the module returns, as Pyro has it."""
        return as_pyro(self.module())

    def __repr__(self) -> str:
        return type(self.module).__name__


class _Distribution(Prior):
    """The prior of one distribution, which is put together from this module's tensors each time."""

    def __init__(self, distribution: torch.distributions.Distribution) -> None:
        super().__init__()
        self.name, self.distribution = type(_innermost(distribution)).__name__, ""
        self._plan = _taken_apart(distribution, self, [])
        self.distribution = _in_words(self._plan)  # what a checkpoint is known by
        held = {memory(p) for p in self.parameters()}
        with own_generator():
            draw = distribution.sample().clone()  # a copy, as some know the densities of draws only
        try:
            with torch.enable_grad():
                loose = any(memory(t) not in held for t in leaves(distribution.log_prob(draw)))
        except (KeyError, NotImplementedError) as error:
            raise ValueError(
                f"{self.name} cannot be a prior, which has a density at any code, but at its own "
                f"draws only: {error}"
            ) from error
        if loose:
            raise ValueError(
                f"{self.name} depends on parameters that it does not hold: assign the module that "
                f"returned it, or {WRITE}"
            )

    def forward(self) -> dist.TorchDistribution:
        """Return the distribution."""
        return as_pyro(_put_together(self._plan, self))

    def __repr__(self) -> str:
        return self.name

    def extra_repr(self) -> str:
        """The numbers that it does not learn: with others it is another prior."""
        return ", ".join(f"{name}={_briefly(t)}" for name, t in self.named_buffers(recurse=False))


class _Place(NamedTuple):
    """Where a tensor of a distribution is kept: a buffer or parameter, and how it is a view.

    A copy of that one may lie otherwise in memory: `strides` are those that the view was made on,
    and the offset of the view is from where that one begins.
    """

    name: str
    strides: tuple[int, ...]
    shape: torch.Size
    stride: tuple[int, ...]
    offset: int

    def view(self, held: Tensor) -> Tensor:
        """The tensor, of the buffer or parameter as it is now."""
        if held.stride() != self.strides:
            held = held.new_empty_strided(held.shape, self.strides).copy_(held)
        return held.as_strided(self.shape, self.stride, held.storage_offset() + self.offset)


def _taken_apart(value: Any, owner: nn.Module, path: list[str]) -> Any:
    """A copy with a `_Place` for each tensor, which the owner then holds by its path."""
    if isinstance(value, Tensor):
        return _keep(value, owner, "_".join(path))
    if isinstance(value, nn.Module):
        owner.add_module(_free("_".join(path), value, owner), value)
    elif isinstance(value, torch.distributions.Distribution | torch.distributions.Transform):
        twin = copy.copy(value)
        for name, each in vars(value).items():
            # a transform and its inverse may know one another: it is made anew where asked for
            back = name == "_inv" and not isinstance(value, Inverse)
            forget = back or name == "_cached_x_y" or isinstance(each, weakref.ref)
            empty = (None, None) if name == "_cached_x_y" else None
            kept = empty if forget else _taken_apart(each, owner, [*path, name.strip("_")])
            twin.__dict__[name] = kept
        return twin
    elif type(value) in (list, tuple):
        return type(value)(
            _taken_apart(each, owner, [*path, str(i)]) for i, each in enumerate(value)
        )
    return value


def _keep(t: Tensor, owner: nn.Module, name: str) -> _Place:
    """Make a tensor the owner's: a constant as a buffer, else the parameter that it is or views."""
    if not t.requires_grad:
        kept = t.detach().clone()
        owner.register_buffer(name := _free(name, kept, owner), kept)
        return _Place(name, kept.stride(), t.shape, kept.stride(), 0)
    leaf = _viewed(t)
    if leaf is None:
        raise ValueError(f"{name} is computed from parameters, and would not follow them: {WRITE}")
    parameter = leaf if isinstance(leaf, nn.Parameter) else nn.Parameter(leaf.detach())
    owner.register_parameter(name := _free(name, parameter, owner), parameter)
    offset = int(t.storage_offset()) - int(leaf.storage_offset())
    return _Place(name, leaf.stride(), t.shape, t.stride(), offset)


def _free(name: str, value: Any, owner: nn.Module) -> str:
    """The name, numbered where the owner has something else by it: `_a` is named as `a` is."""
    numbered = (f"{name}_{n}" for n in itertools.count(1))
    names = itertools.chain([name], numbered)
    return next(n for n in names if getattr(owner, n, value) is value)


def _viewed(t: Tensor) -> Tensor | None:
    """The leaf that a tensor is a view of, as `broadcast_all` makes them; itself, if it is one."""
    function, leaf = t.grad_fn, t if t.is_leaf else None
    while leaf is None and function is not None and len(function.next_functions) == 1:
        function = function.next_functions[0][0]
        leaf = getattr(function, "variable", None)
    if leaf is None or leaf.untyped_storage().data_ptr() != t.untyped_storage().data_ptr():
        return None
    return leaf


def _put_together(plan: Any, owner: nn.Module) -> Any:
    """What `_taken_apart` took, from the tensors that the owner has now, in Pyro's classes."""
    if isinstance(plan, _Place):
        return plan.view(getattr(owner, plan.name))
    if isinstance(plan, nn.Module):
        return plan
    if isinstance(plan, torch.distributions.Distribution | torch.distributions.Transform):
        kind = pyro_class(type(plan))
        twin: Any = object.__new__(kind)
        twin.__dict__.update({n: _put_together(v, owner) for n, v in vars(plan).items()})
        return twin
    if type(plan) in (list, tuple):
        return type(plan)(_put_together(each, owner) for each in plan)
    return plan


def _in_words(plan: Any) -> str:
    """The classes of a distribution and what they hold besides tensors."""
    if isinstance(plan, torch.distributions.Distribution | torch.distributions.Transform):
        held = {n.strip("_"): v for n, v in vars(plan).items() if n not in _NO_ARGUMENTS}
        said = {n: _in_words(v) for n, v in held.items() if not isinstance(v, _Place)}
        return f"{type(plan).__name__}({', '.join(f'{n}={s}' for n, s in sorted(said.items()))})"
    if type(plan) in (list, tuple):
        return f"[{', '.join(map(_in_words, plan))}]"
    plain = isinstance(plan, bool | int | float | str | torch.Size | None)
    return repr(plan) if plain else type(plan).__name__


def _innermost(d: Any) -> Any:
    return _innermost(d.base_dist) if isinstance(d, torch.distributions.Independent) else d


def _briefly(t: Tensor) -> str:
    """All numbers of a tensor, or what no other one is likely to have."""
    if t.numel() <= 4:
        return str(t.tolist())
    numbers = t.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
    return f"{t.numel()} numbers ({hashlib.sha256(numbers).hexdigest()[:8]})"
