"""Images side by side, each pixel a whole number of dots."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib import figure
from matplotlib.axes import Axes
from torch import Tensor

from vaezoo.data.batches import from_array
from vaezoo.data.counts import as_count
from vaezoo.plots.figures import DPI, Figure, axes_or_new, figure_of, styled

__all__ = ["check_images", "describe", "image_grid"]

Ticks = tuple[list[float], list[str]]
PAD = 0.08  # inches around an image grid and its labels
LARGEST = 1400  # dots; a grid that would be wider or higher is scaled down


def image_grid(
    images: Tensor | np.ndarray,
    *,
    rows: int | None = None,
    columns: int | None = None,
    title: str | None = None,
    row_labels: Sequence[object] | None = None,
    column_labels: Sequence[object] | None = None,
    xlabel: str = "",
    ylabel: str = "",
    ax: Axes | None = None,
) -> figure.Figure:
    """Images side by side, row by row from the top left.

    Args:
        images: (N, C, H, W) floats in [0, 1], clipped to it, in a tensor or an array; C is 1 for
            grey or 3 for colour.
        rows, columns: of the grid. By default it is full, and as square as a full one can be;
            where that would be more than four times as wide as high, about square. Cells left over
            are blank.
        title: above the grid.
        row_labels, column_labels: one for each row, at its left; one for each column, on top.
        xlabel, ylabel: what columns and rows are, below and at the left.
        ax: axes to draw on, of a figure of yours; there pixels need not be whole dots.

    Raises:
        TypeError: images are no tensor or array of floats, or ax is no axes.
        ValueError: images have another shape, hold NaNs or do not fit in the grid, or labels are
            not as many as rows or columns.

    Example:
        >>> figure = image_grid(torch.rand(7, 1, 28, 28), columns=4)
        >>> figure.axes[0].images[0].get_array().shape           # 2 x 4 images, a pixel apart
        (57, 115)
    """
    images = _as_tensor(images)
    rows, columns = _layout(len(images), rows, columns)
    mosaic = _mosaic(images.detach().float().cpu().clamp(0, 1), rows, columns)
    ticks = (
        _ticks("column_labels", column_labels, columns, mosaic.shape[1]),
        _ticks("row_labels", row_labels, rows, mosaic.shape[0]),
    )
    texts = {"title": title or "", "xlabel": xlabel, "ylabel": ylabel}
    if ax is None:
        return _whole(_dots(max(images.shape[2:]), max(rows, columns)), mosaic, ticks, texts)
    with axes_or_new(ax, (1, 1)) as axes:
        _draw(axes, mosaic, ticks, texts)
    return figure_of(axes)


def _as_tensor(images: Tensor | np.ndarray) -> Tensor:
    pictures = from_array(images) if isinstance(images, np.ndarray) else images
    check_images(pictures)
    return pictures


def _whole(dots: int, mosaic: Tensor, ticks: tuple[Ticks, Ticks], texts: dict[str, str]) -> Figure:
    """A figure of its own, so many dots for a pixel."""
    scale = min(dots, LARGEST / max(mosaic.shape[:2])) / DPI
    with styled():
        whole = Figure((scale * mosaic.shape[1], scale * mosaic.shape[0]), DPI)
        _draw(whole.add_axes((0, 0, 1, 1)), mosaic, ticks, texts)
        return _make_room(whole)


def _draw(axes: Axes, mosaic: Tensor, ticks: tuple[Ticks, Ticks], texts: dict[str, str]) -> None:
    axes.imshow(mosaic.squeeze(-1).numpy(), origin="upper", cmap="gray", vmin=0, vmax=1)
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    axes.set_xticks(*ticks[0])
    axes.set_yticks(*ticks[1])
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)  # some styles draw one, which would cross the images
    axes.set(**texts)


def _layout(n: int, rows: int | None, columns: int | None) -> tuple[int, int]:
    rows, columns = (
        None if k is None else as_count(name, k, least=0)
        for name, k in (("rows", rows), ("columns", columns))
    )
    if columns is None:
        columns = _columns(n) if rows is None else math.ceil(n / max(rows, 1))
    if rows is None:
        rows = math.ceil(n / max(columns, 1))
    if min(rows, columns) < 1 or rows * columns < n:
        raise ValueError(
            f"{n} images do not fit in {rows} rows and {columns} columns: make them more, leave "
            "one out, or show fewer images"
        )
    return rows, columns


def _columns(n: int) -> int:
    """How many columns leave no cell blank, unless they are far more than the rows."""
    rows = next(rows for rows in range(math.isqrt(n), 0, -1) if n % rows == 0)
    full = n // rows
    return full if full <= max(4 * rows, 10) else math.ceil(math.sqrt(n))


def _dots(side: int, images: int) -> int:
    """Dots for each pixel of an image, its side in pixels; few images in a row are larger."""
    cell = min(max(560 / images, 56), 160)
    return max(1, round(cell / side))


def _mosaic(images: Tensor, rows: int, columns: int) -> Tensor:
    """White paper (height, width, C) with the images on it, a little apart."""
    n, channels, height, width = images.shape
    gap = max(1, max(height, width) // 24)
    cells = torch.ones(rows * columns, height + gap, width + gap, channels, device="cpu")
    cells[:n, :height, :width] = images.permute(0, 2, 3, 1)
    cells = cells.reshape(rows, columns, *cells.shape[1:]).transpose(1, 2)
    return cells.flatten(2, 3).flatten(0, 1)[:-gap, :-gap]


def _ticks(name: str, labels: Sequence[object] | None, n: int, extent: int) -> Ticks:
    """Where the middles of n rows or columns lie, and what they are called."""
    if labels is None:
        return [], []
    if len(labels) != n:
        raise ValueError(f"{name} must be {n}, one for each, got {len(labels)}")
    # imshow puts the middle of the first pixel at 0
    return [(k + 0.5) * extent / n - 0.5 for k in range(n)], [str(label) for label in labels]


def _make_room(whole: Figure) -> Figure:
    """Make the figure as large as its axes and their labels need; the axes keep their size.

    A layout engine would fit the axes to the figure instead, and blur the images.
    """
    axes, outer = whole.axes[0], whole.get_tightbbox()
    inner = axes.get_window_extent().transformed(whole.dpi_scale_trans.inverted())
    width, height = outer.width + 2 * PAD, outer.height + 2 * PAD
    left, bottom = inner.x0 - outer.x0 + PAD, inner.y0 - outer.y0 + PAD
    whole.set_size_inches(width, height)
    axes.set_position((left / width, bottom / height, inner.width / width, inner.height / height))
    return whole


def check_images(images: Tensor) -> None:
    """Refuse what is no batch of pictures.

    Raises:
        TypeError, ValueError: as `image_grid`.
    """
    if not isinstance(images, Tensor) or not images.is_floating_point():
        raise TypeError(
            f"images must be a floating-point tensor in [0, 1], got {describe(images)}. Bytes "
            "become one by x / 255, data.Images by images.tensors()[0]"
        )
    if images.dim() != 4 or images.shape[1] not in (1, 3) or images.numel() == 0:
        raise ValueError(
            "images must have the shape (N, C, H, W), C being 1 (grey) or 3 (colour) and N at "
            f"least 1, got {describe(images)}. Grey (N, H, W) become so by x.unsqueeze(1)"
        )
    if images.isnan().any():
        raise ValueError("images hold NaNs: did training diverge? x.nan_to_num() shows the rest")


def describe(value: object) -> str:
    """A value in words: of a tensor its dtype, shape and range.

    Example:
        >>> describe(torch.zeros(2, 3))
        'torch.float32 of shape (2, 3) from 0.0 to 0.0'
    """
    if not isinstance(value, Tensor):
        return type(value).__name__
    span = f" from {value.min()} to {value.max()}" if value.numel() else ""
    return f"{value.dtype} of shape {tuple(value.shape)}{span}"
