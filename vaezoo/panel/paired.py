"""Two models on the same images with the same noise, a few images at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from vaezoo.estimates import Estimate, compare
from vaezoo.evaluation import evaluate
from vaezoo.models import LatentVariableModel
from vaezoo.models.batches import tensor_like
from vaezoo.programs.pair import required_arguments

__all__ = ["Paired", "in_pairs"]

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


def in_pairs(
    before: LatentVariableModel, after: LatentVariableModel, x: Tensor, y: Tensor | None, k: int
) -> Iterator[Paired]:
    """Compare two members on images (n, *x_shape), and yield what is known after each few of them.

    Args:
        before, after: members that take such images; labels go to those that cannot do without.
        x, y: images, and their labels if there are any.
        k: draws per image.

    Example:
        >>> from vaezoo.models import VAE
        >>> vae = VAE(z_dim=2, hidden=(8,))
        >>> *_, last = in_pairs(vae, vae, torch.zeros(15, 1, 28, 28), None, 3)
        >>> last.difference
        Estimate(mean=0.0, stderr=0.0, n=15)
    """
    name = f"niwae-{k}"
    columns: tuple[list[Tensor], ...] = ([], [], [])
    # the last few are never a single image, of which there is no standard error
    starts = range(0, max(len(x) - 1, 1), AT_A_TIME)
    for seed, start in enumerate(starts):
        end = len(x) if start == starts[-1] else start + AT_A_TIME
        labels = None if y is None else y[start:end]
        found = [
            evaluate(
                model, [_batch(model, x[start:end], labels)], particles=k, seed=seed, progress=False
            )
            for model in (before, after)
        ]
        for column, each in zip(columns, (*found, compare(found[1], found[0])), strict=True):
            column.append(torch.as_tensor(each[name].values))
        first, second, difference = map(_estimate, columns)
        yield Paired(first, second, difference, k)


def _batch(model: LatentVariableModel, x: Tensor, y: Tensor | None) -> tuple[Tensor, ...]:
    x = x.to(tensor_like(model))
    return (x,) if y is None or required_arguments(model.model) < 2 else (x, y)


def _estimate(columns: list[Tensor]) -> Estimate:
    values = torch.cat(columns)
    return Estimate(values.mean().item(), values.std().item() / len(values) ** 0.5, len(values))
