"""Running the networks of a model in another precision than the rest."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from vaezoo.components import Component

__all__ = ["networks_lowered_to", "networks_of"]


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
    networks = {} if dtype is None else {id(m): m for m in networks_of(model)}
    try:
        for network in networks.values():
            network.__dict__["forward"] = _lowered(network, dtype)
        yield
    finally:
        for network in networks.values():
            network.__dict__.pop("forward", None)


def networks_of(model: nn.Module) -> Iterator[nn.Module]:
    """The networks of a model: outermost modules that are no components and hold none.

    They are the `network` of each part, or the modules of a pair of your own.

    Example:
        >>> from vaezoo.models import VAE
        >>> len(list(networks_of(VAE())))
        2
    """
    programs = [getattr(model, name) for name in getattr(model, "replaced_programs", ())]
    for child in model.children():
        holds = any(isinstance(m, Component) for m in child.modules())
        called = type(child).forward is not nn.Module.forward
        if holds or not called or any(child is p for p in programs):
            yield from networks_of(child)
        elif "forward" not in vars(child):
            yield child


def _lowered(network: nn.Module, dtype: torch.dtype | None) -> Callable[..., Any]:
    forward = network.forward
    like = next((p for p in network.parameters() if p.is_floating_point()), torch.empty(0))

    def run(*args: Any, **kwargs: Any) -> Any:
        # what an outer autocast keeps of weights outlives the step that changes them
        with torch.autocast(like.device.type, dtype, cache_enabled=False):
            outputs = forward(*args, **kwargs)
        return tree_map_only(torch.Tensor, widened, outputs)

    def widened(output: torch.Tensor) -> torch.Tensor:
        # an integer or a mask is no result of autocast
        return output.to(like.dtype) if output.is_floating_point() else output

    return run
