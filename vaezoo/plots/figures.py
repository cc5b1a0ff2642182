"""A matplotlib Figure that a notebook can show, in one style, and the axes to draw on."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import figure
from matplotlib.axes import Axes

from vaezoo.scopes import one_thread

__all__ = ["DPI", "Figure", "axes_or_new", "figure_of", "panels_or_new", "styled"]

DPI = 100  # dots per inch, at which an image pixel is a whole number of dots
# what is no look: of files, windows and keys, and so yours
_YOURS = (
    *("agg.", "animation.", "backend", "date.epoch", "docstring.", "figure.hooks"),
    *("figure.max_open_warning", "figure.raise_window", "interactive", "keymap.", "macosx."),
    *("pdf.", "pgf.", "ps.", "savefig.directory", "savefig.dpi", "savefig.format", "svg."),
    *("timezone", "tk.", "toolbar", "webagg."),
)
STYLE = {k: v for k, v in matplotlib.rcParamsDefault.items() if not k.startswith(_YOURS)}
STYLE |= matplotlib.rc_params_from_file(
    Path(__file__).with_name("vaezoo.mplstyle"), use_default_template=False
)


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Within it looks are matplotlib's defaults and `vaezoo.mplstyle`; your settings come back."""
    with one_thread(), matplotlib.rc_context(STYLE):
        yield


class Figure(figure.Figure):
    """A `matplotlib.figure.Figure` that shows itself where a notebook's cell ends in it.

    It needs no `%matplotlib inline`; after that line too it is drawn once, as any other figure is.

    Example:
        >>> figure = Figure((1, 1))
        >>> figure._repr_png_()[1:4]
        b'PNG'
    """

    def draw(self, renderer: Any) -> None:
        """Draw it in its style: matplotlib makes ticks, for one, as late as here."""
        with styled():
            super().draw(renderer)

    def savefig(self, *args: Any, **options: Any) -> None:
        """Write it to a file, as matplotlib does, in its style."""
        with styled():
            super().savefig(*args, **options)

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        self.savefig(picture, format="png", dpi="figure")
        return picture.getvalue()


@contextlib.contextmanager
def axes_or_new(ax: Any, size: tuple[float, float]) -> Iterator[Axes]:
    """The axes to draw on: those given, in whatever style is theirs, or new ones in ours.

    Args:
        ax: axes of a figure of yours, or None.
        size: of a new figure, in inches.

    Raises:
        TypeError: ax is something else.
    """
    if ax is None:
        with styled():
            yield Figure(size, DPI, layout="constrained").add_subplot()
    elif isinstance(ax, Axes):
        yield ax
    else:
        raise _no_axes(ax)


@contextlib.contextmanager
def panels_or_new(
    ax: Any, size: tuple[float, float], shape: tuple[int, int], heights: tuple[int, ...] = ()
) -> Iterator[Any]:
    """Several axes to draw on, an array of this shape: in the place of those given, or new ones.

    Args:
        ax: axes of a figure of yours, whose place is shared out and which show nothing, or None.
        size: of a new figure, in inches.
        shape: rows and columns.
        heights: of the rows, in proportion.

    Raises:
        TypeError: ax is something else.
        ValueError: ax has a place of its own making, which cannot be shared out.
    """
    ratios = heights or (1,) * shape[0]
    if ax is None:
        with styled():
            whole = Figure(size, DPI, layout="constrained")
            yield whole.subplots(*shape, squeeze=False, height_ratios=ratios)
    elif not isinstance(ax, Axes):
        raise _no_axes(ax)
    elif (place := ax.get_subplotspec()) is None:
        raise ValueError("ax must be made by subplots or add_subplot, got axes placed by hand")
    else:
        ax.set_axis_off()
        grid = place.subgridspec(*shape, height_ratios=ratios)
        panels = [ax.figure.add_subplot(grid[i]) for i in range(shape[0] * shape[1])]
        yield np.reshape(np.array(panels, dtype=object), shape)


def _no_axes(ax: Any) -> TypeError:
    return TypeError(
        f"ax must be one of matplotlib's Axes, got a {type(ax).__name__}: with several, "
        "figure.subplots(…) returns an array of them, of which ax= takes one"
    )


def figure_of(axes: Axes) -> figure.Figure:
    """The whole figure that some axes are of.

    Example:
        >>> whole = Figure()
        >>> figure_of(whole.subfigures(1, 2)[0].add_subplot()) is whole
        True
    """
    whole: Any = axes.figure
    while whole is not whole.figure:
        whole = whole.figure
    return whole
