"""What the functions of this package return: a matplotlib Figure that a notebook can show."""

from __future__ import annotations

import io

from matplotlib import figure

__all__ = ["Figure"]


class Figure(figure.Figure):
    """A `matplotlib.figure.Figure` that shows itself where a cell ends in it.

    `%matplotlib inline` teaches IPython to draw figures; this one can be drawn without it. After
    that line IPython draws it as it does any other, once.

    Example:
        >>> figure = Figure((1, 1))
        >>> figure._repr_png_()[1:4]
        b'PNG'
    """

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        self.savefig(picture, format="png", dpi="figure")
        return picture.getvalue()
