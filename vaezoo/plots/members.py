"""What a member draws, reconstructs and makes of its codes."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from matplotlib.lines import Line2D
from torch import Tensor

from vaezoo.data.batches import as_tensor
from vaezoo.data.counts import as_count
from vaezoo.data.labels import as_labels, integer_labels
from vaezoo.models.base import LatentVariableModel
from vaezoo.plots.figures import Figure
from vaezoo.plots.grids import DPI, check_images, describe, image_grid, make_room
from vaezoo.scopes import in_mode, one_thread, own_generator

__all__ = ["latent_scatter", "reconstructions", "samples", "style_by_content"]
COLOURS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)


def samples(
    model: LatentVariableModel,
    n: int = 64,
    *,
    y: Tensor | Sequence[int] | int | None = None,
    title: str | None = None,
) -> Figure:
    """E[x|z] at n draws of z from the prior.

    Args:
        model: a member of the zoo.
        n: how many images.
        y: labels (n,) or one class for all. By default a member that infers y draws it, and one
            that is given y runs through the classes, a column for each.
        title: above the grid.

    Raises:
        ValueError: n is below 1, y is not n labels, or the member has no labels.

    Example:
        >>> from vaezoo import models
        >>> figure = samples(models.FSVAE(), 20)
        >>> [text.get_text() for text in figure.axes[0].get_xticklabels()][:2]
        ['y = 0', 'y = 1']
    """
    n = as_count("n", n)
    if y is not None and model.classes:
        y = _labels(y, n, model.classes)
    columns, labels = None, None
    if y is None and _needs_labels(model):
        y, columns = torch.arange(n) % model.classes, min(n, model.classes)
        labels = [f"y = {k}" for k in range(columns)]
    with _drawing(model):
        images = model.sample(n, y=y)
    return image_grid(images, columns=columns, title=title, column_labels=labels)


def reconstructions(
    model: LatentVariableModel,
    x: Tensor,
    y: Tensor | Sequence[int] | None = None,
    *,
    n: int = 10,
) -> Figure:
    """The first n images, and below each its reconstruction E[x|z] at z = E_q[z|x].

    Args:
        model: a member of the zoo.
        x: images (N, C, H, W), such as the member is trained on.
        y: labels (N,), for a member that is given them; others infer or ignore them.
        n: how many images, or N if that is fewer.

    Raises:
        TypeError: x is not a floating-point tensor.
        ValueError: x or y have another shape, y is missing, or n is below 1.

    Example:
        >>> from vaezoo import models
        >>> figure = reconstructions(models.VAE(), torch.ones(5, 1, 28, 28))
        >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
        ['data', 'E[x|z]']
    """
    n = as_count("n", n)
    x = x if isinstance(x, Tensor) else as_tensor(x, _like(model))
    check_images(x)
    batch = _batch(model, x, y, n)
    # a posterior without a known mean gives a draw: the same one every time
    with _drawing(model, seed=0):
        both = torch.cat([batch[0], model.reconstruct(*batch)])
    return image_grid(both, rows=2, row_labels=("data", "E[x|z]"))


def latent_scatter(
    model: LatentVariableModel, x: Tensor, y: Tensor | Sequence[int], *, seed: int = 0
) -> Figure:
    """Posterior means of images, one point each, coloured by class.

    Two latent dimensions are shown as they are, more by the first two principal components of the
    means, and one against the class.

    Args:
        model: a member of the zoo; the codes of one with labels are those of q(z|x, y).
        x: images (N, *x_shape), at least two.
        y: labels (N,), classes 0 to 9.
        seed: of the order of drawing, and of the codes where a posterior has no known mean;
            PyTorch's global generator is left alone.

    Raises:
        ValueError: x or y are not such images or labels.

    Example:
        >>> from vaezoo import models
        >>> x, y = torch.ones(6, 1, 28, 28), torch.tensor([0, 0, 1, 1, 2, 2])
        >>> figure = latent_scatter(models.VAE(z_dim=2), x, y)
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['0', '1', '2']
    """
    x = as_tensor(x, _like(model))
    y = _classes(x, y)
    with _drawing(model, seed):
        z, y = model.encode(*_batch(model, x, y, len(x))).cpu(), y.cpu()
        order = torch.randperm(len(z), device="cpu")  # or the last class would hide the others
        points, labels = _plane(z, y)
    figure = Figure((6.2, 5), DPI, layout="constrained")
    axes = figure.add_subplot(xlabel=labels[0], ylabel=labels[1])
    axes.set_title(f"posterior means of {len(z):,} images")
    size = min(max(20_000 / len(z), 6), 40)
    colours = [COLOURS[k] for k in y[order].tolist()]
    across, up = points[order].T.tolist()
    axes.scatter(across, up, s=size, c=colours, alpha=0.8, linewidths=0)
    classes = sorted(set(y.tolist()))
    if z.shape[1] == 1:
        axes.set_yticks(classes)
    else:
        axes.set_aspect("equal", adjustable="datalim")
    handles = [Line2D([], [], ls="", marker="o", color=COLOURS[k], label=f"{k}") for k in classes]
    axes.legend(handles=handles, title="class", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def style_by_content(
    model: LatentVariableModel, *, columns: int = 20, seed: int = 0, z: Tensor | None = None
) -> Figure:
    """E[x|y, z] with a row for each class y and a column for each code z.

    Where content and style are apart, a row shows one class and a column one style.

    Args:
        model: a member of the zoo with labels.
        columns: how many codes are drawn from p(z); all rows share them.
        seed: of these codes; PyTorch's global generator is left alone.
        z: your own codes (columns, z_dim) in their place.

    Raises:
        ValueError: the member has no labels, columns is below 1, or z has another shape.

    Example:
        >>> from vaezoo import models
        >>> figure = style_by_content(models.FSVAE(), columns=5)
        >>> figure.axes[0].images[0].get_array().shape           # 10 x 5 images in colour
        (329, 164, 3)
    """
    if not model.classes:
        name = type(model).__name__
        raise ValueError(f"{name} has no labels to vary: use SSVAE or FSVAE, or plots.samples")
    columns = as_count("columns", columns)
    with _drawing(model, seed):
        z = model.prior().sample((columns,)) if z is None else z.to(_device(model))
        if z.dim() != 2 or z.shape[1] != model.z_dim:
            raise ValueError(f"z must be codes (columns, {model.z_dim}), got {describe(z)}")
        y = torch.arange(model.classes).repeat_interleave(len(z))
        images = model.sample(y=y, z=z.repeat(model.classes, 1))
    figure = image_grid(images, rows=model.classes, row_labels=range(model.classes))
    figure.axes[0].set(xlabel="style z", ylabel="content y")
    return make_room(figure)


def _plane(z: Tensor, y: Tensor) -> tuple[Tensor, tuple[str, str]]:
    """Two coordinates (N, 2) of codes (N, z_dim), and what to call them."""
    if z.shape[1] == 1:
        beside = y + 0.6 * torch.rand(len(y), device="cpu") - 0.3
        return torch.stack([z[:, 0], beside], dim=1), ("z", "class y, spread out")
    if z.shape[1] == 2:
        return z, ("z₁", "z₂")
    centred = (z - z.mean(0)).double()
    _, spread, directions = torch.linalg.svd(centred, full_matrices=False)
    # a posterior that has collapsed onto the prior has no variance to share
    share = spread.square() / spread.square().sum().clamp_min(1e-30)
    first, second = (f"principal component {k + 1} ({share[k]:.0%} of variance)" for k in (0, 1))
    return centred @ directions[:2].T, (first, second)


def _batch(model: LatentVariableModel, x: Tensor, y: Any, n: int) -> list[Tensor]:
    """The first n images, and labels if the member takes them, on its device."""
    if y is None and _needs_labels(model):
        raise ValueError(f"{type(model).__name__} is given labels: pass y, shape ({len(x)},)")
    labels = [as_labels(y, len(x), model.classes)] if y is not None and model.classes else []
    given = [x, *labels]
    return [tensor[:n].to(_device(model)) for tensor in given]


def _needs_labels(model: LatentVariableModel) -> bool:
    parameters = inspect.signature(model.model).parameters.values()
    return model.classes > 0 and all(p.default is p.empty for p in parameters)


def _device(model: LatentVariableModel) -> torch.device:
    return _like(model).device


def _like(model: LatentVariableModel) -> Tensor:
    return next(model.parameters(), torch.empty(0))


@contextlib.contextmanager
def _drawing(model: LatentVariableModel, seed: int | None = None) -> Iterator[None]:
    """Evaluation mode, no gradients and, given a seed, random numbers of one's own."""
    apart = contextlib.nullcontext() if seed is None else own_generator(seed)
    with one_thread(), torch.no_grad(), in_mode(model, False), apart:
        yield


def _labels(y: Any, n: int, classes: int) -> Tensor:
    single = isinstance(y, int) or getattr(y, "ndim", 1) == 0
    if not single and len(y) != n:
        raise ValueError(f"y must be a class or n={n} labels, got {len(y)} of them. Set n=len(y)")
    return as_labels(y, n, classes, one_for_all=True)


def _classes(x: Tensor, y: Any) -> Tensor:
    if len(x) < 2:
        raise ValueError(f"a scatter needs at least two images, got {len(x)}")
    labels = integer_labels(y, len(x))
    if labels.min() < 0 or labels.max() >= len(COLOURS):
        raise ValueError(
            f"y must be {len(x)} classes from 0 to {len(COLOURS) - 1}, as many as there are "
            f"colours, got {describe(labels)}. x[(y >= 0) & (y < {len(COLOURS)})] picks such images"
        )
    return labels
