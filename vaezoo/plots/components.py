"""The components of a mixture prior: which images they answer for, and what they draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib import figure
from matplotlib.axes import Axes
from torch import Tensor

from vaezoo.data.counts import as_count
from vaezoo.diagnostics import component_samples
from vaezoo.distributions.responsibilities import as_mixture
from vaezoo.models.base import LatentVariableModel
from vaezoo.models.parts import lone_prior
from vaezoo.plots.classes import probability_rows
from vaezoo.plots.drawing import drawn_from, labels_in_turn
from vaezoo.plots.figures import axes_or_new, figure_of
from vaezoo.plots.grids import image_grid
from vaezoo.plots.latents import classes_of
from vaezoo.programs.refusing import check_member

__all__ = ["components", "responsibilities"]

NAMED = 50  # classes that have room for their names


def responsibilities(
    r: Any, y: Tensor | Sequence[int] | None = None, *, most: int = 40, ax: Axes | None = None
) -> figure.Figure:
    """Which components answer for which images: a column for a component, the most used first.

    A row is the mean over the images of a class, or an image where there are no labels.

    Args:
        r: p(component | image), rows (N, k) that sum to 1, as `model.cluster(x)` returns them.
        y: labels (N,), classes 0 to 99.
        most: components to show at most.
        ax: axes to draw on, of a figure of yours.

    Raises:
        ValueError: r are no such rows, or y no such labels.

    Example:
        >>> r = torch.tensor([[0.9, 0.1], [0.3, 0.7], [0.1, 0.9]])
        >>> figure = responsibilities(r, [0, 1, 1])
        >>> figure.axes[0].images[0].get_array().round(2).tolist()
        [[0.1, 0.9], [0.8, 0.2]]
    """
    r = _rows(r)
    order = r.mean(0).argsort(descending=True, stable=True)[: as_count("most", most)]
    shown, names = (r, []) if y is None else _by_class(r, classes_of(y, len(r)))
    width = min(max(4, 0.3 * len(order) + 1.8), 12)
    height = min(max(2.4, 0.3 * len(shown) + 1.2), 10 if names else 5)
    with axes_or_new(ax, (width, height)) as axes:
        picture = axes.imshow(
            shown[:, order].numpy(), origin="upper", cmap="Blues", vmin=0, aspect="auto"
        )
        figure_of(axes).colorbar(picture, ax=axes, label="responsibility", pad=0.02)
        axes.set_xticks(range(len(order)), [str(k) for k in order.tolist()])
        rows = range(0, len(names), 1 + len(names) // NAMED)
        axes.set_yticks(rows, [names[i] for i in rows])
        axes.tick_params(length=0)
        axes.tick_params(axis="x", labelrotation=90 if len(order) > 15 else 0)
        axes.grid(visible=False)
        axes.set(xlabel="component, the most used first")
        axes.set_ylabel("class" if names else f"{len(r):,} images")
    return figure_of(axes)


def _by_class(r: Tensor, labels: Tensor) -> tuple[Tensor, list[str]]:
    """The mean of the rows of each class, and what these are called."""
    classes = labels.unique().tolist()
    return torch.stack([r[labels == k].mean(0) for k in classes]), [str(k) for k in classes]


def components(
    model: LatentVariableModel,
    r: Any = None,
    *,
    y: int | None = None,
    rows: int = 10,
    n: int = 10,
    seed: int = 0,
    ax: Axes | None = None,
) -> figure.Figure:
    """What components of a mixture prior draw: a row for each, with the share of images it has.

    Args:
        model: a member whose prior is a mixture.
        r: p(component | image) (N, k), as `model.cluster(x)` returns them: the components that
            answer for most of the images are shown; by default those of the largest weights.
        y: the class to draw, for a member that is given labels; by default one that infers them
            draws them, and FSVAE runs through them.
        rows: components to show at most.
        n: images of each.
        seed: of the draws; PyTorch's global generator is left alone.
        ax: axes to draw on, of a figure of yours.

    Raises:
        TypeError: the prior is no mixture.
        ValueError: r are no such rows.

    Example:
        >>> from vaezoo import models
        >>> figure = components(models.GMVAE(k=5), torch.eye(5)[[3, 3, 1]], rows=2)
        >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
        ['3: 67 %', '1: 33 %']
    """
    check_member(model, "plots.components")
    with drawn_from(model, seed):
        weights: Tensor = _weights(model)
        share = weights if r is None else _rows(r).mean(0)
        if len(share) != len(weights):
            raise ValueError(f"the prior has {len(weights)} components, and r {len(share)} columns")
        shown = share.argsort(descending=True, stable=True)[: as_count("rows", rows)].tolist()
        n = as_count("n", n)
        images = component_samples(model, shown, n, y=_labels(model, y, len(shown), n))
    names = [f"{k}: {100 * share[k]:.0f} %" for k in shown]
    return image_grid(images, rows=len(shown), row_labels=names, ylabel="component", ax=ax)


def _weights(model: LatentVariableModel) -> Tensor:
    prior: Any = as_mixture(lone_prior(model))
    weights: Tensor = prior.mixture_distribution.probs
    return weights.cpu()


def _labels(model: LatentVariableModel, y: int | None, rows: int, n: int) -> Tensor | None:
    """A label for each image, where there are any."""
    if y is not None:
        return torch.full((rows * n,), y, device="cpu")
    each = labels_in_turn(model, n)
    return None if each is None else each.repeat(rows)


def _rows(r: Any) -> Tensor:
    return probability_rows("r", "(N, k)", r, "take model.cluster(x)")
