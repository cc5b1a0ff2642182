"""Latent codes as points in a plane, and behind them the prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from matplotlib import figure, patheffects
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation
from torch import Tensor

from vaezoo.data.batches import as_tensor
from vaezoo.data.labels import integer_labels
from vaezoo.models.base import LatentVariableModel
from vaezoo.models.batches import tensor_like
from vaezoo.plots.colours import BLUE, LOOKS, look, marker_path
from vaezoo.plots.densities import Density, draw_density, prior_density
from vaezoo.plots.drawing import batch_of, drawn_from
from vaezoo.plots.figures import axes_or_new, figure_of
from vaezoo.plots.grids import describe
from vaezoo.plots.planes import Plane, plane_or_line
from vaezoo.programs.refusing import check_member

__all__ = ["Seen", "classes_of", "draw_codes", "latent_scatter", "see", "several_images"]

MANY = 20  # classes that are named where they lie
ROWS = 16  # of a legend of classes
KEY_BELOW = 38  # points from the axes, past their ticks and label
WIDE = 4.5  # inches of a figure that has room for two entries of the key beside one another


def latent_scatter(
    model: LatentVariableModel,
    x: Tensor,
    y: Tensor | Sequence[int] | None = None,
    *,
    colour: Any = None,
    colour_label: str = "colour",
    dims: Sequence[int] | None = None,
    prior: bool = True,
    legend: bool = True,
    seed: int = 0,
    ax: Axes | None = None,
) -> figure.Figure:
    """Posterior means of images, one point each, and behind them the density of the prior.

    Two latent dimensions are shown as they are, more by the first two principal components of the
    means, and one against the class. Each class has a colour, a marker and its name where it lies.
    Contours hold half and 95 % of the prior as that plane shows it, exactly where it is a Normal or
    a mixture of Normals, of which up to 60 components are drawn as ellipses of two standard
    deviations; elsewhere they are estimated from draws.

    Args:
        model: a member of the zoo; the codes of one with labels are those of q(z|x, y).
        x: images (N, *x_shape), at least two.
        y: labels (N,), classes 0 to 99; None draws all points alike.
        colour: numbers (N,) to colour points by in place of classes, such as `model.score(x)`.
        colour_label: what these numbers are.
        dims: the numbers of the two units to show, from 0.
        prior: draw it.
        legend: say what colours, markers and contours are.
        seed: of the order of drawing, and of the codes where a posterior has no known mean;
            PyTorch's global generator is left alone.
        ax: axes to draw on, of a figure of yours.

    Raises:
        ValueError: x, y, colour or dims are no such images, labels, numbers or units.

    Example:
        >>> from vaezoo import models
        >>> x, y = torch.ones(6, 1, 28, 28), torch.tensor([0, 0, 1, 1, 2, 2])
        >>> figure = latent_scatter(models.VAE(z_dim=2), x, y)
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['0', '1', '2']
    """
    check_member(model, "plots.latent_scatter")
    x = several_images(model, x, "scatter")
    y = None if y is None else classes_of(y, len(x))
    numbers = None if colour is None else (colour_label, _numbers(colour, len(x)))
    keys = _columns(len(y.unique())) if legend and y is not None else 1
    size = (5.6 + 0.6 * keys, 5.0)
    with drawn_from(model, seed), axes_or_new(ax, size) as axes:
        z = model.encode(*batch_of(model, x, y, len(x))).cpu()
        order = torch.randperm(len(z), device="cpu")  # or the last class would hide the others
        density = prior_density(model) if prior and z.shape[1] > 1 else None
        seen = see(z, y, plane_or_line(z, dims), density)
        axes.set_title(f"posterior means of {len(z):,} images")
        draw_codes(axes, seen, y, order=order, numbers=numbers, legend=legend)
    return figure_of(axes)


def several_images(model: LatentVariableModel, x: Any, figure: str) -> Tensor:
    """Images as a tensor like the model's.

    Raises:
        ValueError: there are not two of them, as this figure needs.
    """
    x = as_tensor(x, tensor_like(model))
    if x.dim() < 2 or len(x) < 2:
        given = len(x) if x.dim() > 1 else describe(x)
        raise ValueError(f"a {figure} needs at least two images, got {given}")
    return x


class Seen(NamedTuple):
    """Codes in a plane.

    Attributes:
        points: shape (N, 2).
        labels: what the axes are.
        density: of the prior in that plane.
    """

    points: Tensor
    labels: tuple[str, str]
    density: Density | None


def see(z: Tensor, y: Tensor | None, plane: Plane | None, density: Density | None) -> Seen:
    """Codes (N, z_dim) and the prior in a plane; codes of one dimension against the class."""
    if plane is None:
        spread = 0.6 * torch.rand(len(z), device="cpu") - 0.3
        beside = spread if y is None else y + spread
        name = "spread out" if y is None else "class y, spread out"
        return Seen(torch.stack([z[:, 0], beside], dim=1), ("z", name), None)
    if density is not None:
        normals = density.normals.along(plane.directions, plane.centre)
        density = density._replace(normals=normals)
    return Seen(plane.see(z), plane.labels, density)


def draw_codes(
    axes: Axes,
    seen: Seen,
    y: Tensor | None,
    *,
    order: Tensor,
    numbers: tuple[str, Tensor] | None = None,
    legend: bool = True,
) -> None:
    """Draw codes and a prior; the global generator may be drawn from."""
    points, labels, density = seen
    axes.set(xlabel=labels[0], ylabel=labels[1])
    said = [] if density is None else draw_density(axes, density, points)
    handles: list[Line2D] = []
    if numbers is not None:
        _by_number(axes, points[order], numbers[0], numbers[1][order])
    else:
        handles = _by_class(axes, points[order], None if y is None else y[order])
    if legend:
        _legends(axes, said, handles)
    if labels[0] == "z":
        axes.set_yticks([] if y is None else sorted(set(y.tolist())))
    else:
        axes.set_aspect("equal", adjustable="datalim")


def _legends(axes: Axes, said: list[Any], classes: list[Line2D]) -> None:
    """What contours are, below; what classes look like, at the right."""
    # below the label of the axis, however high the axes are
    under = ScaledTranslation(0, -KEY_BELOW / 72, figure_of(axes).dpi_scale_trans)
    columns = 2 if figure_of(axes).get_size_inches()[0] > WIDE else 1
    below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "ncols": columns}
    below["bbox_transform"] = axes.transAxes + under
    aside: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "title": "class"}
    if said:
        key = axes.legend(handles=said, **below)
        if classes:  # a second legend would replace the first
            axes.add_artist(key)
            key.set_clip_on(False)  # or a layout takes it for hidden, and leaves no room for it
    if classes:
        axes.legend(handles=classes, ncols=_columns(len(classes)), **aside)


def _columns(classes: int) -> int:
    """Of a legend of classes."""
    return 1 + (classes - 1) // ROWS


def _by_class(axes: Axes, points: Tensor, y: Tensor | None) -> list[Line2D]:
    """Draw points in the looks of their classes, named where they lie; returns the legend's."""
    size = min(max(20_000 / len(points), 9), 40)
    options: dict[str, Any] = {"s": size, "linewidths": 0.25, "edgecolors": "white", "zorder": 2}
    across, up = points.T.tolist()
    if y is None:
        axes.scatter(across, up, c=BLUE, alpha=0.7, **options)
        return []
    looks = [look(k) for k in y.tolist()]
    options["s"] = [size * (1.8 if marker == "*" else 1) for _, marker in looks]  # stars are thin
    dots = axes.scatter(across, up, c=[colour for colour, _ in looks], **options)
    dots.set_paths([marker_path(marker) for _, marker in looks])
    classes = sorted(set(y.tolist()))
    if len(classes) <= MANY:
        places = torch.stack([points[y == k].median(0).values for k in classes])
        least = 0.06 * (points.amax(0) - points.amin(0)).max().item()
        for k, place in zip(classes, _apart(places, least), strict=True):
            _name(axes, str(k), place)
    return [
        Line2D([], [], ls="", marker=look(k)[1], color=look(k)[0], ms=7, label=f"{k}")
        for k in classes
    ]


def _apart(places: Tensor, least: float) -> Tensor:
    """Places (n, 2) moved away from one another, until hardly any two are closer than `least`."""
    for _ in range(100):
        away = places[:, None] - places
        distance = away.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        places = places + (0.25 * away / distance * (least - distance).clamp_min(0)).sum(1)
    return places


def _name(axes: Axes, text: str, place: Tensor) -> None:
    halo = [patheffects.withStroke(linewidth=3.5, foreground="white")]
    style: dict[str, Any] = {"ha": "center", "va": "center", "weight": "bold", "path_effects": halo}
    x, y = place.tolist()
    axes.text(x, y, text, fontsize=14, zorder=4, **style)


def _by_number(axes: Axes, points: Tensor, label: str, numbers: Tensor) -> None:
    across, up = points.T.tolist()
    size = min(max(20_000 / len(points), 9), 40)
    dots = axes.scatter(across, up, c=numbers.tolist(), s=size, cmap="viridis", zorder=2)
    figure_of(axes).colorbar(dots, ax=axes, label=label, pad=0.02)


def classes_of(y: Any, n: int) -> Tensor:
    """Labels (n,) as integers on the CPU, each of a class that has a look of its own.

    Raises:
        ValueError: they are none.
    """
    labels = integer_labels(y, n).cpu()
    if labels.min() < 0 or labels.max() >= LOOKS:
        raise ValueError(
            f"y must be {n} classes from 0 to {LOOKS - 1}, as many as there are looks, got "
            f"{describe(labels)}. x[(y >= 0) & (y < {LOOKS})] picks such images, and numbers that "
            "are no classes go into colour="
        )
    return labels


def _numbers(colour: Any, n: int) -> Tensor:
    numbers = as_tensor(colour).cpu().double()
    if numbers.shape != (n,) or not numbers.isfinite().all():
        raise ValueError(f"colour must be {n} finite numbers ({n},), got {describe(numbers)}")
    return numbers
