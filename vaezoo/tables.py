"""Tables of results: text for consoles, and HTML that suits light and dark pages of notebooks."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["Differences", "Estimates", "equations", "table"]

# the page sets colours, borders and font; a cell never breaks in mid-word
_CELL = "padding: 0.15em 0.6em; white-space"
_TEXT = f"text-align: left; {_CELL}: nowrap"
_NUMBER = f"text-align: right; font-variant-numeric: tabular-nums; {_CELL}: nowrap"
_CODE = f"text-align: left; vertical-align: top; font-family: monospace; {_CELL}: pre"
# of what is no number of nats
_UNITS = {
    **dict.fromkeys(("accuracy", "judge", "consistency"), "share of images"),
    "acceptance": "share of moves",
    **dict.fromkeys(("k_hat", "frechet", "floor"), "no unit"),
    "ess": "draws",
}
_CAPTION = f"caption-side: top; color: inherit; {_TEXT}"


class Estimates(dict[str, Any]):
    """A `dict` from names to `Estimate`, such as `evaluate` returns, that is shown as a table.

    Example:
        >>> from vaezoo.evaluation import Estimate
        >>> Estimates(nelbo=Estimate(97.5512, 0.2401, 50), accuracy=Estimate(0.915, 0.0123, 50))
        nats per image, mean ± standard error over 50 images
        nelbo                        97.55 ± 0.24
        accuracy (share of images)  0.915 ± 0.012
    """

    _mean = "mean"

    def __repr__(self) -> str:
        if not self:
            return f"{type(self).__name__}()"
        rows = self._rows()
        left, right = (max(len(cell) for cell in column) for column in zip(*rows, strict=True))
        lines = [f"{name:{left}}  {value:>{right}}" for name, value in rows]
        return "\n".join([self._caption(), *lines])

    def _repr_html_(self) -> str:
        return table(self._caption(), ["", f"{self._mean} ± standard error"], self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        units = {name: f"{name} ({_UNITS[name]})" for name in self if name in _UNITS}
        return [(units.get(name, name), str(value)) for name, value in self.items()]

    def _caption(self) -> str:
        counts = {getattr(value, "n", None) for value in self.values()}
        over = f" over {n:,} images" if len(counts) == 1 and (n := counts.pop()) else ""
        return f"nats per image, {self._mean} ± standard error{over}"


class Differences(Estimates):
    """A table of paired differences, as `compare` returns them.

    Example:
        >>> from vaezoo.evaluation import Estimate
        >>> Differences(nelbo=Estimate(-0.5512, 0.1201, 50))
        nats per image, mean difference ± standard error over 50 images
        nelbo  -0.55 ± 0.12
    """

    _mean = "mean difference"


def table(
    caption: str, header: Sequence[str], rows: Iterable[Sequence[object]], *, texts: int = 1
) -> str:
    """A table as HTML, its text escaped.

    Args:
        caption: a line above it.
        header: names of the columns.
        rows: a cell for each column.
        texts: columns of text, at the left; the others are numbers.

    Example:
        >>> print(table("nats per image", ["", "mean"], [["rec < 0", 1.5]]))
        <table style="color: inherit"><caption style="...">nats per image</caption>
        <thead><tr><th style="text-align: left; ..."></th><th style="...">mean</th></tr></thead>
        <tbody>
        <tr><td style="text-align: left; ...">rec &lt; 0</td><td style="...">1.5</td></tr>
        </tbody></table>
    """
    styles = [_TEXT if column < texts else _NUMBER for column in range(len(header))]
    body = "\n".join(_row("td", row, styles) for row in rows)
    head = _row("th", header, styles)
    return _within(caption, f"<thead>{head}</thead>\n<tbody>\n{body}\n</tbody>")


def equations(caption: str, lines: Iterable[str]) -> str:
    """Equations as an HTML table, a row each, aligned at their first sign of equality.

    Example:
        >>> "p(z)</td>" in equations("VAE", ["p(z) = N(0, I)"])
        True
    """
    pairs = [line.partition(" = ")[::2] for line in lines]
    cells = [[left, f"= {right}" if right else ""] for left, right in pairs]
    body = "\n".join(_row("td", row, [_CODE, _CODE]) for row in cells)
    return _within(caption, f"<tbody>\n{body}\n</tbody>")


def _within(caption: str, inside: str) -> str:
    title = f'<caption style="{_CAPTION}">{html.escape(caption)}</caption>'
    return f'<table style="color: inherit">{title}\n{inside}</table>'


def _row(tag: str, cells: Sequence[object], styles: Sequence[str]) -> str:
    inside = "".join(
        f'<{tag} style="{style}">{html.escape(str(cell))}</{tag}>'
        for cell, style in zip(cells, styles, strict=True)
    )
    return f"<tr>{inside}</tr>"
