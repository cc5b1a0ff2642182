"""Running the networks of a model in another precision than the rest."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from vaezoo.components import Component

__all__ = ["networks_changed", "networks_lowered_to", "networks_of"]

Forward = Callable[..., Any]


@contextlib.contextmanager
def networks_lowered_to(model: nn.Module, dtype: torch.dtype | None) -> Iterator[None]:
    """Within it the networks of a model run under autocast to `dtype`; None changes nothing.

    They are those of `networks_of`. Their outputs come back in their parameters' dtype, so that
    distributions are made from, and densities computed in, that one. A flow's masked networks are
    left out: the map and its Jacobian have to belong to one another.

    Example:
        >>> from vaezoo.posteriors import DiagonalNormal
        >>> q = DiagonalNormal((1, 28, 28), 10)
        >>> with networks_lowered_to(nn.ModuleList([q]), torch.bfloat16):
        ...     loc = q(torch.rand(7, 1, 28, 28)).base_dist.loc
        >>> loc.dtype, torch.equal(loc, loc.bfloat16().float())
        (torch.float32, True)
    """
    if dtype is None:
        yield
        return
    plain = [m for m in networks_of(model) if not isinstance(vars(m).get(_way(m)), _Lowered)]
    with networks_changed(plain, lambda m, forward: _Lowered(m, forward, dtype)):
        yield


@contextlib.contextmanager
def networks_changed(
    networks: Iterable[nn.Module], change: Callable[[nn.Module, Forward], Forward]
) -> Iterator[None]:
    """Within it networks run what `change` makes of each and of its forward.

    Those of `torch.jit` take no hooks, and those of `torch.compile` run none that come later.

    Example:
        >>> double = lambda network, forward: lambda x: 2 * forward(x)
        >>> with networks_changed([net := nn.Identity()], double):
        ...     print(net(torch.ones(1)))
        tensor([2.])
    """
    each = {id(m): m for m in networks}.values()
    before = [(m, _way(m), vars(m).get(_way(m))) for m in each]
    try:
        for network, way, _ in before:
            network.__dict__[way] = change(network, getattr(network, way))
        yield
    finally:
        for network, way, own in before:
            network.__dict__.pop(way, None)
            if own is not None:
                network.__dict__[way] = own


def networks_of(model: nn.Module) -> Iterator[nn.Module]:
    """The networks of a model: outermost modules that are no components and hold none.

    They are the `network` of each part, or the modules of a pair of your own. What `torch.compile`
    or `torch.jit` made of a module is a network as a whole.

    Example:
        >>> from vaezoo.models import VAE
        >>> len(list(networks_of(VAE())))
        2
    """
    programs = [getattr(model, name) for name in getattr(model, "replaced_programs", ())]
    for child in model.children():
        holds = any(isinstance(m, Component) for m in child.modules())
        if holds or not _is_called(child) or any(child is p for p in programs):
            yield from networks_of(child)
        else:
            yield child


def _is_called(module: nn.Module) -> bool:
    """Whether it has a `forward`, of its class or its own, as those of `torch.compile` have."""
    # a scripted class has one that only its instances can be asked for
    of_class = inspect.getattr_static(type(module), "forward", None)
    return of_class is not nn.Module.forward or "forward" in vars(module)


def _way(module: nn.Module) -> str:
    """What a call of a module runs: another than `forward` once its `compile()` was called."""
    return "forward" if module._compiled_call_impl is None else "_compiled_call_impl"


class _Lowered:
    """A network's forward under autocast, whose outputs come back in its parameters' dtype."""

    def __init__(self, network: nn.Module, forward: Forward, dtype: torch.dtype) -> None:
        floats = (p for p in network.parameters() if p.is_floating_point())
        self._like = next(floats, torch.empty(0))
        self._forward, self._dtype = forward, dtype

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # what an outer autocast keeps of weights outlives the step that changes them
        with torch.autocast(self._like.device.type, self._dtype, cache_enabled=False):
            outputs = self._forward(*args, **kwargs)
        return tree_map_only(torch.Tensor, self._widened, outputs)

    def _widened(self, output: torch.Tensor) -> torch.Tensor:
        # an integer or a mask is no result of autocast
        return output.to(self._like.dtype) if output.is_floating_point() else output
