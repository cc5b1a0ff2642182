"""Whether classes are told right, and whether the probabilities given for them can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib import figure
from matplotlib.axes import Axes
from torch import Tensor

from vaezoo.data.batches import as_tensor
from vaezoo.data.counts import as_count
from vaezoo.data.labels import as_labels, integer_labels
from vaezoo.plots.colours import BLUE, GREY
from vaezoo.plots.figures import axes_or_new, figure_of
from vaezoo.plots.grids import describe

__all__ = ["confusion", "probability_rows", "reliability"]

LONGEST = 4  # letters of a name that has room above a cell
MANY = 20  # classes whose counts are written into the cells
LARGEST = 1000  # classes


def confusion(
    labels: Tensor | Sequence[int],
    predicted: Tensor | Sequence[int],
    *,
    names: Sequence[object] | None = None,
    ax: Axes | None = None,
) -> figure.Figure:
    """How many images of each class are taken for which: a row for a label, a column for a guess.

    Cells are coloured by their share of the row.

    Args:
        labels: the classes of images (N,), from 0.
        predicted: what they are taken for (N,), such as `ssvae.classify(x).argmax(-1)`.
        names: of the classes, in place of their numbers.
        ax: axes to draw on, of a figure of yours.

    Raises:
        ValueError: these are no classes, not as many, or there are more of them than names.

    Example:
        >>> figure = confusion([0, 0, 1, 1], [0, 1, 1, 1])
        >>> figure.axes[0].get_title()
        '75.0 % of 4 right'
    """
    n = len(labels)
    true, guess = (
        _classes(name, y, n) for name, y in (("labels", labels), ("predicted", predicted))
    )
    size = int(torch.cat([true, guess]).max()) + 1 if names is None else len(names)
    as_labels(torch.cat([true, guess]), 2 * n, size)
    counts = torch.bincount(true * size + guess, minlength=size**2).reshape(size, size)
    side = min(max(3.4, 0.44 * size + 1.2), 9)
    with axes_or_new(ax, (side + 0.5, side)) as axes:
        _cells(axes, counts)
        every = range(0, size, 1 + size // 30)
        texts = [str(k if names is None else names[k]) for k in every]
        longest = max(map(len, texts))
        axes.set_xticks(every, texts, rotation=90 if longest > LONGEST else 0)
        axes.set_yticks(every, texts)
        right = 100 * counts.diagonal().sum() / n
        axes.set(xlabel="taken for", ylabel="label", title=f"{right:.1f} % of {n:,} right")
    return figure_of(axes)


def _cells(axes: Axes, counts: Tensor) -> None:
    """Draw a square of counts, coloured by their shares of their rows."""
    shares = counts / counts.sum(1, keepdim=True).clamp_min(1)
    axes.imshow(shares.numpy(), origin="upper", cmap="Blues", vmin=0, vmax=1)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for i, j in counts.nonzero().tolist() if len(counts) <= MANY else []:
        ink = "white" if shares[i, j] > 0.6 else "black"
        axes.text(j, i, f"{counts[i, j]}", ha="center", va="center", color=ink, fontsize=9)


def reliability(
    labels: Tensor | Sequence[int],
    probabilities: Any,
    *,
    bins: int = 10,
    ax: Axes | None = None,
) -> figure.Figure:
    """How often the most probable class is right, where its probability is said to be such.

    Points on the diagonal are as often right as they say; bars are one standard error of a share.
    Grey columns are the share of images in each bin. (Guo, Pleiss, Sun, Weinberger. On Calibration
    of Modern Neural Networks. 2017. arXiv:1706.04599, section 2.)

    Args:
        labels: the classes of images (N,), from 0.
        probabilities: those of the classes (N, classes), such as `ssvae.classify(x)`.
        bins: how many, of equal width, from 0 to 1.
        ax: axes to draw on, of a figure of yours.

    Raises:
        ValueError: these are no classes and probabilities, or not as many.

    Example:
        >>> p = torch.tensor([[0.95, 0.05], [0.93, 0.07], [0.2, 0.8]])
        >>> reliability([0, 1, 1], p).axes[0].containers[1].lines[0].get_ydata().tolist()
        [1.0, 0.5]
    """
    cure = "logits become such by .softmax(-1)"
    p = probability_rows("probabilities", "(N, classes)", probabilities, cure)
    bins = as_count("bins", bins)
    y = as_labels(labels, len(p), p.shape[1]).cpu()
    n, said, share, error = _binned(y, p, bins)
    with axes_or_new(ax, (4.6, 4.2)) as axes:
        columns: dict[str, Any] = {"align": "edge", "color": "#d9d9d9", "label": "images"}
        axes.bar((torch.arange(bins) / bins).tolist(), (n / len(p)).tolist(), 1 / bins, **columns)
        axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--", label="as often as said")
        look: dict[str, Any] = {"color": BLUE, "marker": "o", "capsize": 3, "label": "right"}
        axes.errorbar(said.tolist(), share.tolist(), error.tolist(), **look)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="probability of the most probable class")
        axes.set_ylabel("share of images")
        axes.set_aspect("equal")
        axes.legend(loc="upper left", reverse=True)
    return figure_of(axes)


def _binned(y: Tensor, p: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images in each bin; where there are any, what is said, how often that is right, its error."""
    sure, guess = p.max(1)
    where = (sure * bins).ceil().long().clamp(1, bins) - 1  # as `evaluation.calibration` has them
    n = where.bincount(minlength=bins)
    used = n > 0
    share = where.bincount((guess == y).double(), bins)[used] / n[used]
    said = where.bincount(sure, bins)[used] / n[used]
    return n, said, share, (share * (1 - share) / n[used]).sqrt()


def probability_rows(name: str, shape: str, p: Any, cure: str) -> Tensor:
    """Rows of probabilities, in float64 on the CPU.

    Args:
        name, shape: what an error calls them.
        p: in a tensor, an array or lists.
        cure: how to make them, for an error.

    Raises:
        ValueError: they are no rows, or one of them does not sum to 1 as exactly as its dtype can.

    Example:
        >>> probability_rows("p", "(N, 2)", [[0.25, 0.75]], "divide by the sum").tolist()
        [[0.25, 0.75]]
    """
    given = as_tensor(p).detach().cpu()
    rows, eps = given.double(), torch.finfo(given.dtype).eps if given.is_floating_point() else 0
    if rows.dim() == 2 and rows.numel():
        near = (rows.sum(1) - 1).abs() < max(1e-3, eps)  # not that of a NaN
        if near.all() and rows.min() >= 0:
            return rows
    raise ValueError(f"{name} must be rows {shape} that sum to 1, got {describe(rows)}: {cure}")


def _classes(name: str, y: Any, n: int) -> Tensor:
    if n == 0:
        raise ValueError(f"{name} must be classes (N,), got none")
    classes = integer_labels(y, n).cpu()
    if classes.min() < 0 or classes.max() >= LARGEST:
        raise ValueError(f"{name} must be classes 0 to {LARGEST - 1}, got {describe(classes)}")
    return classes
