"""A member while a figure is made of it, and the batches that it then takes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from vaezoo.data.labels import as_labels
from vaezoo.models.base import LatentVariableModel
from vaezoo.models.batches import tensor_like
from vaezoo.programs.pair import required_arguments
from vaezoo.scopes import in_mode, one_thread, own_generator

__all__ = ["batch_of", "drawn_from", "labels_in_turn", "needs_labels"]


@contextlib.contextmanager
def drawn_from(model: LatentVariableModel, seed: int | None = None) -> Iterator[None]:
    """Within it a member is in evaluation mode, and no gradients are kept.

    Args:
        model: a member of the zoo.
        seed: of random numbers drawn apart from the global generators; None draws from these.
    """
    apart = contextlib.nullcontext() if seed is None else own_generator(seed)
    with one_thread(), torch.no_grad(), in_mode(model, False), apart:
        yield


def batch_of(model: LatentVariableModel, x: Tensor, y: Any, n: int) -> list[Tensor]:
    """The first n images, and labels if there are any and the member takes them, on its device."""
    if y is None and needs_labels(model):
        raise ValueError(f"{type(model).__name__} is given labels: pass y, shape ({len(x)},)")
    labels = [as_labels(y, len(x), model.classes)] if y is not None and model.classes else []
    return [tensor[:n].to(tensor_like(model).device) for tensor in (x, *labels)]


def needs_labels(model: LatentVariableModel) -> bool:
    """Whether a member cannot do without labels, since it does not infer them."""
    return model.classes > 0 and required_arguments(model.model) > 1


def labels_in_turn(model: LatentVariableModel, n: int) -> Tensor | None:
    """Labels 0, 1, … of n images, for a member that cannot do without them."""
    return torch.arange(n, device="cpu") % model.classes if needs_labels(model) else None
