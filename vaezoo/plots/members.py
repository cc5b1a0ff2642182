"""What a member draws and reconstructs, as grids of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib import figure
from matplotlib.axes import Axes
from torch import Tensor

from vaezoo.data.batches import as_tensor
from vaezoo.data.counts import as_count
from vaezoo.data.labels import as_labels
from vaezoo.models.base import LatentVariableModel
from vaezoo.models.batches import tensor_like
from vaezoo.models.drawing import prior_codes
from vaezoo.models.parts import has_lone_prior, lone_prior
from vaezoo.plots.drawing import batch_of, drawn_from, labels_in_turn, needs_labels
from vaezoo.plots.grids import check_images, describe, image_grid
from vaezoo.programs.refusing import check_member

__all__ = ["reconstructions", "samples", "style_by_content"]


def samples(
    model: LatentVariableModel,
    n: int = 64,
    *,
    y: Tensor | Sequence[int] | int | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> figure.Figure:
    """E[x|z] at n draws of z from the prior.

    Args:
        model: a member of the zoo.
        n: how many images.
        y: labels (n,) or one class for all. By default a member that infers y draws it, and one
            that is given y runs through the classes, a column for each.
        title: above the grid.
        ax: axes to draw on, of a figure of yours.

    Raises:
        ValueError: n is below 1, y is not n labels, or the member has no labels.

    Example:
        >>> from vaezoo import models
        >>> figure = samples(models.FSVAE(), 20)
        >>> [text.get_text() for text in figure.axes[0].get_xticklabels()][:2]
        ['y = 0', 'y = 1']
    """
    check_member(model, "plots.samples")
    n = as_count("n", n)
    if y is not None and model.classes:
        y = _labels(y, n, model.classes)
    columns, labels = None, None
    if y is None and needs_labels(model):
        y, columns = labels_in_turn(model, n), min(n, model.classes)
        labels = [f"y = {k}" for k in range(columns)]
    with drawn_from(model):
        images = model.sample(n, y=y)
    return image_grid(images, columns=columns, title=title, column_labels=labels, ax=ax)


def reconstructions(
    model: LatentVariableModel,
    x: Tensor,
    y: Tensor | Sequence[int] | None = None,
    *,
    n: int = 10,
    ax: Axes | None = None,
) -> figure.Figure:
    """The first n images, and below each its reconstruction E[x|z] at z = E_q[z|x].

    Args:
        model: a member of the zoo.
        x: images (N, C, H, W), such as the member is trained on.
        y: labels (N,), for a member that is given them; others infer or ignore them.
        n: how many images, or N if that is fewer.
        ax: axes to draw on, of a figure of yours.

    Raises:
        TypeError: x is not a floating-point tensor.
        ValueError: x or y have another shape, y is missing, or n is below 1.

    Example:
        >>> from vaezoo import models
        >>> figure = reconstructions(models.VAE(), torch.ones(5, 1, 28, 28))
        >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
        ['data', 'E[x|z]']
    """
    check_member(model, "plots.reconstructions")
    n = as_count("n", n)
    x = x if isinstance(x, Tensor) else as_tensor(x, tensor_like(model))
    check_images(x)
    batch = batch_of(model, x, y, n)
    # a posterior without a known mean gives a draw: the same one every time
    with drawn_from(model, seed=0):
        both = torch.cat([batch[0], model.reconstruct(*batch)])
    return image_grid(both, rows=2, row_labels=("data", "E[x|z]"), ax=ax)


def style_by_content(
    model: LatentVariableModel,
    *,
    columns: int = 20,
    seed: int = 0,
    z: Any = None,
    ax: Axes | None = None,
) -> figure.Figure:
    """E[x|y, z] with a row for each class y and a column for each code z.

    Where content and style are apart, a row shows one class and a column one style.

    Args:
        model: a member of the zoo with labels.
        columns: how many codes are drawn from p(z); all rows share them.
        seed: of these codes; PyTorch's global generator is left alone.
        z: your own codes (columns, z_dim) in their place, in a tensor, an array or lists.
        ax: axes to draw on, of a figure of yours.

    Raises:
        ValueError: the member has no labels, columns is below 1, or z has another shape.

    Example:
        >>> from vaezoo import models
        >>> figure = style_by_content(models.FSVAE(), columns=5)
        >>> figure.axes[0].images[0].get_array().shape           # 10 x 5 images in colour
        (329, 164, 3)
    """
    check_member(model, "plots.style_by_content")
    if not model.classes:
        name = type(model).__name__
        raise ValueError(f"{name} has no labels to vary: use SSVAE or FSVAE, or plots.samples")
    columns = as_count("columns", columns)
    with drawn_from(model, seed):
        z = _drawn_codes(model, columns, seed) if z is None else _codes(model, z)
        if z.dim() != 2 or z.shape[1] != model.z_dim or not len(z):
            raise ValueError(f"z must be codes (columns, {model.z_dim}), got {describe(z)}")
        y = torch.arange(model.classes, device="cpu").repeat_interleave(len(z))
        images = model.sample(y=y, z=z.repeat(model.classes, 1))
    classes = range(model.classes)
    said: dict[str, Any] = {"xlabel": "style z", "ylabel": "content y"}
    return image_grid(images, rows=len(classes), row_labels=classes, ax=ax, **said)


def _drawn_codes(model: LatentVariableModel, n: int, seed: int) -> Tensor:
    """Codes of the prior; where that depends on the label, of all classes in turn."""
    if not has_lone_prior(model):
        return prior_codes(model, n, model.code, seed=seed)
    drawn: Tensor = lone_prior(model).sample((n,))
    return drawn


def _codes(model: LatentVariableModel, z: Any) -> Tensor:
    like = tensor_like(model)
    return z.to(like.device) if isinstance(z, Tensor) else as_tensor(z, like).to(like.dtype)


def _labels(y: Any, n: int, classes: int) -> Tensor:
    """Labels (n,) from n labels or a class for all."""
    single = isinstance(y, int | float) or getattr(y, "ndim", 1) == 0
    if not single and len(y) != n:
        raise ValueError(f"y must be a class or n={n} labels, got {len(y)} of them. Set n=len(y)")
    return as_labels(y, n, classes, one_for_all=True)
