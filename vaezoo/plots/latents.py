"""Latent codes as points in a plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from torch import Tensor

from vaezoo.data.batches import as_tensor
from vaezoo.data.labels import integer_labels
from vaezoo.models.base import LatentVariableModel
from vaezoo.plots.drawing import batch_of, drawn_from, like
from vaezoo.plots.figures import DPI, Figure
from vaezoo.plots.grids import describe

__all__ = ["latent_scatter"]

COLOURS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)


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
    x = as_tensor(x, like(model))
    y = _classes(x, y)
    with drawn_from(model, seed):
        z, y = model.encode(*batch_of(model, x, y, len(x))).cpu(), y.cpu()
        order = torch.randperm(len(z), device="cpu")  # or the last class would hide the others
        points, labels = _plane(z, y)
    figure = Figure((6.2, 5), DPI, layout="constrained")
    axes = figure.add_subplot(xlabel=labels[0], ylabel=labels[1])
    axes.set_title(f"posterior means of {len(z):,} images")
    _scatter(axes, points[order], y[order])
    if z.shape[1] == 1:
        axes.set_yticks(sorted(set(y.tolist())))
    else:
        axes.set_aspect("equal", adjustable="datalim")
    return figure


def _scatter(axes: Axes, points: Tensor, y: Tensor) -> None:
    """Draw points (N, 2) in the colours of their classes (N,), with a legend beside them."""
    size = min(max(20_000 / len(points), 6), 40)
    across, up = points.T.tolist()
    colours = [COLOURS[k] for k in y.tolist()]
    axes.scatter(across, up, s=size, c=colours, alpha=0.8, linewidths=0)
    classes = sorted(set(y.tolist()))
    handles = [Line2D([], [], ls="", marker="o", color=COLOURS[k], label=f"{k}") for k in classes]
    axes.legend(handles=handles, title="class", loc="center left", bbox_to_anchor=(1, 0.5))


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


def _classes(x: Tensor, y: Any) -> Tensor:
    """Labels (N,) as integers, each of a class that has a colour."""
    if len(x) < 2:
        raise ValueError(f"a scatter needs at least two images, got {len(x)}")
    labels = integer_labels(y, len(x))
    if labels.min() < 0 or labels.max() >= len(COLOURS):
        raise ValueError(
            f"y must be {len(x)} classes from 0 to {len(COLOURS) - 1}, as many as there are "
            f"colours, got {describe(labels)}. x[(y >= 0) & (y < {len(COLOURS)})] picks such images"
        )
    return labels
