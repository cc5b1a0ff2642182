"""A matplotlib Figure that a notebook can show, which all functions of this package return."""

from __future__ import annotations

import io

from matplotlib import figure

__all__ = ["DPI", "Figure"]

DPI = 100  # dots per inch, at which an image pixel is a whole number of dots


class Figure(figure.Figure):
    """A `matplotlib.figure.Figure` that shows itself where a notebook's cell ends in it.

    It needs no `%matplotlib inline`; after that line too it is drawn once, as any other figure is.

    Example:
        >>> figure = Figure((1, 1))
        >>> figure._repr_png_()[1:4]
        b'PNG'
    """

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        self.savefig(picture, format="png", dpi="figure")
        return picture.getvalue()
