"""Images as their codes are changed: along one unit, or from one image to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib import figure
from matplotlib.axes import Axes
from torch import Tensor

from vaezoo.data.batches import as_tensor
from vaezoo.data.counts import as_count
from vaezoo.models.base import LatentVariableModel
from vaezoo.models.batches import tensor_like
from vaezoo.plots.drawing import batch_of, drawn_from
from vaezoo.plots.grids import check_images, image_grid
from vaezoo.plots.units import units_to_show
from vaezoo.programs.refusing import check_member

__all__ = ["interpolations", "traversals"]

DEVIATIONS = range(-3, 4)  # those of `model.traverse`


def traversals(
    model: LatentVariableModel,
    x: Tensor,
    y: Tensor | Sequence[int] | None = None,
    *,
    kl: Any = None,
    units: Sequence[int] | None = None,
    rows: int = 10,
    values: Sequence[float] | None = None,
    ax: Axes | None = None,
) -> figure.Figure:
    """What each unit of the code changes: a row for a unit, a column for its value.

    The other units stay those of the first image. With `kl` the units that say something come
    first, and those of less than 0.01 nats are left out.

    Args:
        model: a member of the zoo.
        x: images (N, C, H, W), of which the first is taken.
        y: labels (N,), as in `model.encode`.
        kl: KL(q ‖ p) of each unit in nats (z_dim,).
        units: the units to show, in their order, in place of those that kl says.
        rows: how many units at most.
        values: those that a unit takes; by default as far as three standard deviations of the
            prior from its mean.
        ax: axes to draw on, of a figure of yours.

    Raises:
        ValueError: x, y, kl, units or values are no such images, labels or numbers.

    Example:
        >>> from vaezoo import models
        >>> kl = [0.1, 2.0, 0.0, 1.0]
        >>> figure = traversals(models.VAE(z_dim=4), torch.ones(1, 1, 28, 28), kl=kl)
        >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
        ['unit 1: 2.00 nats', 'unit 3: 1.00 nats', 'unit 0: 0.10 nats']
    """
    check_member(model, "plots.traversals")
    x = x if isinstance(x, Tensor) else as_tensor(x, tensor_like(model))
    check_images(x)
    shown = units_to_show(model.z_dim, kl, units)[: as_count("rows", rows)]
    batch = batch_of(model, x, y, 1)
    with drawn_from(model, seed=0):
        lines = [model.traverse(batch[0], k, *batch[1:], values=values) for k, _ in shown]
    names = [f"unit {k}" + ("" if nats is None else f": {nats:.2f} nats") for k, nats in shown]
    steps = [f"{d:+d}σ" if d else "mean" for d in DEVIATIONS]
    said: dict[str, Any] = {
        "row_labels": names,
        "column_labels": steps if values is None else [f"{v:g}" for v in values],
    }
    return image_grid(torch.cat(lines), rows=len(lines), ax=ax, **said)


def interpolations(
    model: LatentVariableModel,
    x1: Tensor,
    x2: Tensor,
    y1: Tensor | Sequence[int] | None = None,
    y2: Tensor | Sequence[int] | None = None,
    *,
    steps: int = 8,
    n: int = 8,
    ax: Axes | None = None,
) -> figure.Figure:
    """The way between the codes of two images: a row for each pair, the images at both ends.

    Args:
        model: a member of the zoo.
        x1, x2: images (N, C, H, W), as many of each.
        y1, y2: their labels (N,), as in `model.interpolate`.
        steps: images on the way, of which the first and the last are reconstructions.
        n: how many pairs, or N if that is fewer.
        ax: axes to draw on, of a figure of yours.

    Raises:
        ValueError: x1, x2, y1 or y2 are no such images or labels, or not as many.

    Example:
        >>> from vaezoo import models
        >>> x = torch.ones(4, 1, 28, 28)
        >>> figure = interpolations(models.VAE(), x[:2], x[2:], steps=3)
        >>> [text.get_text() for text in figure.axes[0].get_xticklabels()]
        ['x₁', '0', '0.5', '1', 'x₂']
    """
    check_member(model, "plots.interpolations")
    if (n1 := len(x1)) != (n2 := len(x2)):
        raise ValueError(f"x1 and x2 must be as many images, got {n1} and {n2}")
    (first, y1), (last, y2) = (_end(model, x, y, n) for x, y in ((x1, y1), (x2, y2)))
    with drawn_from(model, seed=0):
        way = model.interpolate(first, last, y1, y2, steps=steps)
    way = way.unflatten(0, (len(first), -1))
    images = torch.cat([first[:, None], way, last[:, None]], 1)
    shares = [f"{share:.2g}" for share in torch.linspace(0, 1, way.shape[1], device="cpu").tolist()]
    names = ["x₁", *shares, "x₂"]
    return image_grid(images.flatten(0, 1), rows=len(first), column_labels=names, ax=ax)


def _end(model: LatentVariableModel, x: Any, y: Any, n: int) -> tuple[Tensor, Tensor | None]:
    x = x if isinstance(x, Tensor) else as_tensor(x, tensor_like(model))
    check_images(x)
    images, *labels = batch_of(model, x, y, as_count("n", n))
    return images, labels[0] if labels else None
