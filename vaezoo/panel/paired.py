"""Two models on the same images with the same noise, a few images at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaezoo.estimates import Estimate, compare
from vaezoo.evaluation import evaluate
from vaezoo.models import LatentVariableModel
from vaezoo.models.batches import tensor_like
from vaezoo.programs.pair import required_arguments

__all__ = ["Paired", "in_pairs"]

Then = Callable[[], contextlib.AbstractContextManager[LatentVariableModel]]

AT_A_TIME = 10  # images, so that a kernel can answer in between


class Paired(NamedTuple):
    """NIWAE-k of two models in nats, lower is better, on the images done so far."""

    before: Estimate
    after: Estimate
    difference: Estimate
    k: int

    def __str__(self) -> str:
        return (
            f"NIWAE-{self.k} on {self.difference.n} images: {self.before} before, {self.after} "
            f"after, a difference of {self.difference} nats, paired (below 0 is better)"
        )


def in_pairs(before: Then, after: Then, x: Tensor, y: Tensor | None, k: int) -> Iterator[Paired]:
    """Compare two members on images (n, *x_shape), and yield what is known after each few of them.

    Args:
        before, after: what gives a member within a `with`; labels go to one that needs them.
        x, y: images, and their labels if there are any.
        k: draws per image.

    Example:
        >>> from vaezoo.models import VAE
        >>> vae = VAE(z_dim=2, hidden=(8,))
        >>> then = lambda: contextlib.nullcontext(vae)
        >>> *_, last = in_pairs(then, then, torch.zeros(15, 1, 28, 28), None, 3)
        >>> last.difference
        Estimate(mean=0.0, stderr=0.0, n=15)
    """
    name = f"niwae-{k}"
    columns: tuple[list[Tensor], ...] = ([], [], [])
    thens = before, after
    # the last few are never a single image, of which there is no standard error
    starts = range(0, max(len(x) - 1, 1), AT_A_TIME)
    for seed, start in enumerate(starts):
        end = len(x) if start == starts[-1] else start + AT_A_TIME
        labels = None if y is None else y[start:end]
        found = [_found(then, x[start:end], labels, k, seed) for then in thens]
        for column, each in zip(columns, (*found, compare(found[1], found[0])), strict=True):
            column.append(torch.as_tensor(each[name].values))
        first, second, difference = map(_estimate, columns)
        yield Paired(first, second, difference, k)


def _found(then: Then, x: Tensor, y: Tensor | None, k: int, seed: int) -> Any:
    with then() as model:
        return evaluate(model, [_batch(model, x, y)], particles=k, seed=seed, progress=False)


def _batch(model: LatentVariableModel, x: Tensor, y: Tensor | None) -> tuple[Tensor, ...]:
    x = x.to(tensor_like(model))
    return (x,) if y is None or required_arguments(model.model) < 2 else (x, y)


def _estimate(columns: list[Tensor]) -> Estimate:
    values = torch.cat(columns)
    return Estimate(values.mean().item(), values.std().item() / len(values) ** 0.5, len(values))
