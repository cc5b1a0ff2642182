"""Whether a model trains on the data, asked of the first batch before a swap is taken."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from vaezoo.bound import Bound
from vaezoo.data.passes import Data, one_pass
from vaezoo.models import LatentVariableModel
from vaezoo.scopes import in_mode, in_turn, own_generator
from vaezoo.training.untrained import Untrained

__all__ = ["fault_of", "first_batch"]

FEW = 2  # images, where the data are whatever makes batches of any size


def first_batch(data: Data, like: Tensor) -> Any:
    """The first batch of data, as they give it.

    Args:
        data: what is trained on, as in `fit`.
        like: a parameter of the model, whose dtype images take.

    Example:
        >>> first_batch([torch.zeros(5, 3), torch.ones(5, 3)], torch.zeros(1)).sum().item()
        0.0
    """
    for batch in in_turn(one_pass(data, FEW, dtype=like.dtype, seed=0), seed=0):
        return batch
    raise ValueError("the data hold no batch")


@torch.no_grad()
def fault_of(model: LatentVariableModel, objective: Any, batch: Any) -> Exception | None:
    """What the first step would raise, if anything; it is not taken.

    Args:
        model, objective: what would be trained.
        batch: of the data.

    Example:
        >>> from vaezoo import models, objectives
        >>> fault_of(models.VAE(), objectives.ELBO(), torch.zeros(2, 1, 28, 28)) is None
        True
    """
    try:
        bound = Bound(model, objective)
        tensors = bound.arguments(batch)
        bound.check(tensors)
        with in_mode(model, False), own_generator(), _left_alone(bound):
            bound.eager(*tensors)
    except Exception as fault:
        return fault
    return None


@contextlib.contextmanager
def _left_alone(bound: Bound) -> Iterator[None]:
    untrained = Untrained(bound)
    untrained.keep()
    try:
        yield
    finally:
        untrained.put_back()
