"""What was done to a model's parts by hand, which no constructor would do again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vaezoo.models.checkpoints.building import build
from vaezoo.models.checkpoints.describing import class_named, describe
from vaezoo.scopes import own_generator

__all__ = ["ByHand", "by_hand"]

ENOUGH = 2**60  # weights: a description of a model at hand needs no allowance


class ByHand(NamedTuple):
    """What was done.

    Attributes:
        layers: the places where constructors make something else, and what is there.
        written: the first buffer that no file holds, and that is not as a constructor makes it.
    """

    layers: dict[str, str]
    written: str


def by_hand(model: nn.Module) -> ByHand:
    """What differs between a model's parts and those that their descriptions make.

    Example:
        >>> from vaezoo.models import GMVAE
        >>> model = GMVAE(k=3, hidden=(8,))
        >>> model.posterior.network.rest[0] = nn.Tanh()
        >>> model.prior.logits[0] = 1.0
        >>> by_hand(model)
        ByHand(layers={'posterior.network.rest.0': 'Tanh()'}, written='prior.logits')
    """
    layers, written = dict[str, str](), list[str]()
    for place, part, made in _made_anew(model):
        now, then = (_layers(m, place) for m in (part, made))
        names = [n for n in {**now, **then} if now.get(n) != then.get(n)]
        # what has changed inside a layer that is another one is no news
        layers |= {n: now.get(n, "nothing") for n in names if n.rpartition(".")[0] not in names}
        written += [f"{place}{name}" for name in _written(part, made)]
    return ByHand(layers, next(iter(written), ""))


def _written(part: nn.Module, made: nn.Module) -> Iterator[str]:
    kept, then = part.state_dict(keep_vars=True), dict(made.named_buffers())
    for name, buffer in part.named_buffers():
        if name not in kept and name in then and not _same(buffer, then[name]):
            yield name


def _made_anew(model: nn.Module, place: str = "") -> list[tuple[str, nn.Module, nn.Module]]:
    """The largest parts of a model that can be made from their descriptions, and those made so."""
    description = describe(model)
    if class_named(str(description.get("class"))) is not None:
        try:
            with own_generator():
                return [(place, model, build(description, elements=ENOUGH, tensors=ENOUGH))]
        except Exception:  # something in it is from elsewhere
            pass
    inside = model.named_children()
    return [each for name, child in inside for each in _made_anew(child, f"{place}{name}.")]


def _layers(module: nn.Module, place: str) -> dict[str, str]:
    """The modules inside one that torch knows the words for, or at least their classes."""
    return {
        f"{place}{name}": repr(m) if not [*m.children()] else type(m).__name__
        for name, m in module.named_modules(remove_duplicate=False)
        if name
    }


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether they are the same, but for the rounding of a dtype that a model was converted to."""
    a, b = a.detach().cpu(), b.cpu()
    if not a.is_floating_point() or a.shape != b.shape:
        return torch.equal(a, b)
    eps = max(torch.finfo(a.dtype).eps, torch.finfo(b.dtype).eps)
    return torch.allclose(a.double(), b.double(), rtol=8 * eps, atol=0)
