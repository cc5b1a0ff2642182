"""Whether a model trains on the data, asked of the first batch before a swap is taken."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from vaezoo.bound import Bound
from vaezoo.data.batches import columns_of
from vaezoo.data.passes import Data, one_pass
from vaezoo.models import LatentVariableModel
from vaezoo.models.batches import tensor_like
from vaezoo.scopes import in_mode, own_generator
from vaezoo.training.opened import in_turn
from vaezoo.training.untrained import Untrained

__all__ = ["Trial"]

FEW = 2  # images
UNKNOWN = object()


class Trial:
    """The first images of data, taken when they are asked for, on which a step is tried.

    Data that would not be the same afterwards are left alone, and nothing is a fault there: an
    iterator, and a loader that keeps its place or its workers.

    Args:
        data: what is trained on, as in `fit`.

    Example:
        >>> from vaezoo import models, objectives
        >>> trial = Trial([torch.zeros(5, 1, 28, 28)])
        >>> trial.fault(models.VAE(), objectives.ELBO())
        >>> trial.fault(models.VAE(), objectives.SemiSupervised())
        ValueError('SemiSupervised needs batches (x, x_labelled, y_labelled), got 1 tensor: make \
them with data.semi_supervised(unlabelled, labelled)')
    """

    def __init__(self, data: Data) -> None:
        self.data = data
        self._batch: Any = UNKNOWN

    @torch.no_grad()
    def fault(self, model: LatentVariableModel, objective: Any) -> Exception | None:
        """What the first step would raise, if anything; it is not taken.

        Args:
            model, objective: what would be trained.
        """
        if self._batch is UNKNOWN:
            self._batch = _first(self.data, tensor_like(model))
        if self._batch is None:
            return None
        try:
            bound = Bound(model, objective)
            tensors = bound.arguments(self._batch)
            bound.check(tensors)
            with in_mode(model, False), own_generator(), Untrained(bound).kept():
                bound.eager(*tensors)
        except Exception as fault:
            return fault
        return None


def _first(data: Data, like: Tensor) -> tuple[Any, ...] | None:
    """The first rows of the first batch; None where that cannot be had without a trace."""
    keeps_place = hasattr(data, "__next__") or hasattr(data, "state_dict")
    if keeps_place or getattr(data, "persistent_workers", False):
        return None
    with contextlib.suppress(Exception):  # training says it
        batches = data[:1] if isinstance(data, list | tuple) else _pass(data, like)
        for batch in batches:
            return tuple(_some(column) for column in columns_of(batch))
    return None


def _pass(data: Data, like: Tensor) -> Iterator[Any]:
    return in_turn(one_pass(data, FEW, dtype=like.dtype, seed=0), seed=0)


def _some(column: Any) -> Any:
    return column[:FEW] if getattr(column, "ndim", 0) else column
