"""How classes look: a colour and a marker each, so that neither has to be told apart alone.

The ten colours were found by maximising their least distance in CIELAB, as it is and as readers
with protanopia, deuteranopia and tritanopia see it; tests/plots/test_looks.py holds them to it.

References:
    Machado, Oliveira, Fernandes. A Physiologically-based Model for Simulation of Color Vision
    Deficiency. 2009. IEEE Transactions on Visualization and Computer Graphics 15(6).
"""

from __future__ import annotations

from typing import Any

from matplotlib.markers import MarkerStyle

__all__ = ["BLUE", "COLOURS", "GREY", "LINES", "LOOKS", "MARKERS", "ORANGE", "look", "marker_path"]

COLOURS = (
    *("#1a37d3", "#fca708", "#1c7808", "#9f109e", "#1c8bff"),
    *("#3c4c2a", "#f26385", "#6b395e", "#b3c1e2", "#c6b565"),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
LOOKS = len(MARKERS) * 10  # classes that can look different
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#4d4d4d"
LINES = (BLUE, ORANGE, "#009e73", "#cc79a7", "#56b4e9", "#e69f00", GREY)


def look(k: int) -> tuple[str, str]:
    """Colour and marker of class k; those of a hundred classes differ.

    Example:
        >>> look(3)[1], look(13)[0] == look(3)[0], look(13)[1] == look(3)[1]
        ('D', True, False)
    """
    return COLOURS[k % len(COLOURS)], MARKERS[(k + k // len(COLOURS)) % len(MARKERS)]


def marker_path(marker: str) -> Any:
    """The outline of a marker, as collections of points take it."""
    style = MarkerStyle(marker)
    return style.get_path().transformed(style.get_transform())
