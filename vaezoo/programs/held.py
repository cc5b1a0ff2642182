"""A distribution with its parameters held: densities whose gradient is the one through the value.

Estimators such as "sticking the landing" need log q(z|x) with no gradient but the one through z.
The distribution that the guide drew z from is copied with its tensors detached; no network runs
again, so that dropout, batch norm and the like are seen once. Where a parameter depends on a latent
drawn before, as in q(z2|z1), its gradient is passed on to that latent and to nothing else.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Transform, transforms

__all__ = ["hold"]

Latent = tuple[Tensor, Tensor]
_OF_TRANSFORMS = "_inv", "_cached_x_y"
_INVERSE = transforms._InverseTransform


def hold(part: Any, earlier: Sequence[Latent] = ()) -> Any:
    """A distribution of the same numbers, its parameters held.

    Args:
        part: a distribution, or what one is made of; anything else is returned as it is.
        earlier: latents that it may depend on, in the order they were drawn: each the value that
            the parameters were computed from, and the tensor that its gradient is to go to.

    Example:
        >>> loc, z = torch.zeros(2, requires_grad=True), torch.ones(2, requires_grad=True)
        >>> hold(torch.distributions.Normal(loc, 1.0)).log_prob(z).sum().backward()
        >>> loc.grad, z.grad
        (None, tensor([-1., -1.]))
    """
    if isinstance(part, Tensor):
        return _hold_tensor(part, earlier)
    if type(part) in (list, tuple):  # no NamedTuple, such as the last draw of a distribution
        return type(part)(hold(each, earlier) for each in part)
    if isinstance(part, functools.partial):
        arguments = {name: hold(each, earlier) for name, each in part.keywords.items()}
        return functools.partial(
            hold(part.func, earlier), *(hold(each, earlier) for each in part.args), **arguments
        )
    if isinstance(part, Distribution | Transform | nn.Module):
        return _hold_object(part, earlier)
    return part


def _hold_object(part: Any, earlier: Sequence[Latent]) -> Any:
    twin = copy.copy(part)
    apart = _OF_TRANSFORMS if isinstance(part, Transform) else ()
    held = {name: hold(each, earlier) for name, each in vars(part).items() if name not in apart}
    twin.__dict__.update(held)
    if isinstance(part, nn.Module):
        for name in ("_parameters", "_buffers", "_modules"):
            held = {key: hold(each, earlier) for key, each in getattr(part, name).items()}
            twin.__dict__[name] = held
    if isinstance(part, Transform):
        twin._cached_x_y = None, None  # they belong to the values that were drawn
        # of a transform its inverse, which knows what was copied; of an inverse what it is of
        twin._inv = hold(part._inv, earlier) if isinstance(part, _INVERSE) else None
    return twin


def _hold_tensor(tensor: Tensor, earlier: Sequence[Latent]) -> Tensor:
    values = [latent for latent in earlier if latent[0].requires_grad]
    if not tensor.requires_grad:
        return tensor
    if tensor.grad_fn is None or not values:
        return tensor.detach()
    sources, targets = zip(*values, strict=True)
    held: Tensor = _ToLatents.apply(tensor, sources, *targets)
    return held


class _ToLatents(torch.autograd.Function):
    """A tensor whose gradient reaches the latents that it was computed from, and no parameter.

    The tensor is an argument, though it gets no gradient, lest what it was computed from be freed.
    """

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, sources: tuple[Tensor, ...], *_: Tensor) -> Tensor:
        ctx.tensor, ctx.sources = tensor, sources
        return tensor.detach().clone()

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        ends, weights = [ctx.tensor], [outer]
        gradients: list[Tensor | None] = []
        # from the last drawn on, and without what passes through those drawn later
        for source in reversed(ctx.sources):
            (each,) = torch.autograd.grad(
                ends,
                [source],
                weights,
                retain_graph=True,
                create_graph=torch.is_grad_enabled(),
                allow_unused=True,
            )
            gradients.append(each)
            if each is not None:
                ends.append(source)
                weights.append(-each)
        return None, None, *reversed(gradients)
