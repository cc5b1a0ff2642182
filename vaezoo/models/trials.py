"""Trying a part: what it is run on, and how it is left."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from vaezoo.components import Component
from vaezoo.models.parts import Given, flat
from vaezoo.scopes import in_mode, one_thread, own_generator

if TYPE_CHECKING:
    from vaezoo.models.base import LatentVariableModel

__all__ = ["leads", "made_up", "moved", "without_marks"]

Leads = dict[str, tuple[int, ...]]


def leads(model: LatentVariableModel, given: tuple[Given, ...]) -> list[Leads]:
    """Leading dimensions of each variable, in each trial."""
    names = list(flat(given))
    two_of_each: Leads = dict.fromkeys(names, (2,))
    taken = {s for name in names for s in model._event(name)}
    # sizes that no dimension of an input has, so that none is taken for another
    particles, images = itertools.islice((n for n in itertools.count(2) if n not in taken), 2)
    many: Leads = {name: (images,) if name == "x" else (particles, images) for name in names}
    if "y" in names:  # every label, where the member sums over them
        many["y"] = (2, 1, 1) if hasattr(model, "classify") else (images,)
    return [two_of_each] if names in ([], ["x"]) else [two_of_each, many]


def made_up(model: LatentVariableModel, variable: Given, leading: Leads, like: Tensor) -> Any:
    """Values of a variable, or a tuple of them: labels of the last class, other numbers ½ and ¼.

    A network may divide by the sum, the norm or the spread of its inputs, or take their logarithms.
    """
    if isinstance(variable, tuple):
        return tuple(made_up(model, v, leading, like) for v in variable)
    shape = (*leading[variable], *model._event(variable))
    if variable == "y":
        return like.new_full(shape, model.classes - 1, dtype=torch.long)
    alternating = 0.5 - torch.arange(math.prod(shape), device=like.device).remainder(2) / 4
    return alternating.to(like.dtype).reshape(shape)


@contextlib.contextmanager
def moved(part: nn.Module, like: Tensor) -> Iterator[None]:
    """Give a part the device and dtype of a tensor; it gets back what it had where this fails.

    Complex weights, as of a layer of Fourier coefficients, get the complex dtype of as many digits.
    """
    parameters = [(p, p.data, p.grad) for p in part.parameters() if not is_lazy(p)]
    gradients = [(grad, grad.data) for *_, grad in parameters if grad is not None]
    buffers = [(m, dict(m._buffers)) for m in part.modules()]
    part._apply(lambda t: t.to(like.device, _dtype_of(t, like)))
    try:
        yield
    except Exception:
        for parameter, data, _ in parameters:
            parameter.grad, parameter.data = None, data
        for gradient, data in gradients:
            gradient.data = data
        for parameter, _, grad in parameters:
            parameter.grad = grad
        for module, own in buffers:
            module._buffers.update(own)
        raise


def _dtype_of(t: Tensor, like: Tensor) -> torch.dtype:
    """The dtype of the second tensor, as far as the first one is of such numbers."""
    if t.is_complex():
        return like.dtype.to_complex()
    return like.dtype if t.is_floating_point() else t.dtype


@contextlib.contextmanager
def without_marks(part: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients, a generator apart: a trial run leaves no mark on a part.

    Nor on what it calls and does not own.
    """
    lazy = any(is_lazy(p) for p in part.parameters())  # its weights are drawn now, once for all
    apart = contextlib.nullcontext() if lazy else own_generator()
    called = part.follows() if isinstance(part, Component) else ()
    with one_thread(), torch.no_grad(), apart, contextlib.ExitStack() as stack:
        for module in (part, *called):
            stack.enter_context(in_mode(module, training=False))
            stack.enter_context(_same_buffers(module))
        yield


@contextlib.contextmanager
def _same_buffers(part: nn.Module) -> Iterator[None]:
    """Within it buffers may be written into or replaced: a part gets back those that it had.

    One of another shape is kept: it is a cache that has grown, and the part may know by how much.
    """
    held = [
        (module, name, buffer, buffer.clone(), buffer._version)
        for module in part.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and not is_lazy(buffer) and not buffer.is_inference()
    ]
    try:
        yield
    finally:
        for module, name, buffer, before, version in held:
            if buffer._version != version:
                buffer.copy_(before)
            now = module._buffers.get(name)
            if now is not None and now.shape == buffer.shape:
                module._buffers[name] = buffer
