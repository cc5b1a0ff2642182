"""How tight a bound is, and what it is made of: against k, and rate against distortion."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib import figure
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from vaezoo import arguments
from vaezoo.data.counts import as_count
from vaezoo.plots.colours import GREY, LINES, MARKERS
from vaezoo.plots.figures import axes_or_new, figure_of

__all__ = ["bound_against_k", "rate_distortion"]

Points = Mapping[Any, Any]

LETTER = 0.085  # inches, of a tick's name
LINES_AT_MOST = 9  # of equal ELBO
INSIDE = 8  # names of curves that find room among them
BESIDE: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1, 1)}


def bound_against_k(
    bounds: Points | Mapping[str, Points], *, ax: Axes | None = None
) -> figure.Figure:
    """An importance-weighted bound against its number of draws k, on a logarithmic axis.

    Args:
        bounds: {k: bound}, such as {1: 97.1, 10: 95.8}, or several such by name, {"VAE": {…}}. A
            bound is a number in nats per image, or an `Estimate` of `evaluate`, whose standard
            error becomes a bar.
        ax: axes to draw on, of a figure of yours.

    Raises:
        TypeError, ValueError: there are no such numbers, or a k below 1.

    Example:
        >>> line = bound_against_k({1: 97.1, 10: 95.8}).axes[0].lines[0]
        >>> line.get_xdata().tolist(), line.get_ydata().tolist()
        ([1.0, 10.0], [97.1, 95.8])
    """
    curves = _curves(bounds)
    beside = ax is None and len(curves) > INSIDE  # axes of a figure of yours have no more room
    with axes_or_new(ax, _with_key((5, 3.6), curves) if beside else (5, 3.6)) as axes:
        for i, (name, points) in enumerate(curves.items()):
            look: dict[str, Any] = {"color": LINES[i % len(LINES)], "marker": MARKERS[i % 10]}
            ks = np.array(sorted(points))
            means, errors = np.array([points[k] for k in ks.tolist()]).T
            # or the bars of two curves would hide one another; no curve is 10 % from its k
            apart = ks * 1.025 ** (i * min(1, 4 / len(curves)))
            axes.errorbar(apart, means, errors, capsize=3, label=name, **look)
        axes.set_xscale("log")
        _name_ks(axes, sorted({k for points in curves.values() for k in points}))
        axes.set(xlabel="k, draws per image", ylabel="bound on -log p(x), nats per image")
        if len(curves) > 1 or "" not in curves:
            axes.legend(**BESIDE if beside else {})
    return figure_of(axes)


def _with_key(size: tuple[float, float], names: Iterable[str]) -> tuple[float, float]:
    """A figure's size, with room for a key beside the axes, a line a name."""
    lines = [str(name) for name in names]
    beside = round(LETTER * max(map(len, lines)), 1)
    return size[0] + max(beside, 0.6), max(size[1], 0.6 + 0.24 * len(lines))


def _name_ks(axes: Axes, every: list[int]) -> None:
    """Ticks at all k, with the names of those that have room, powers of ten first."""
    decades = max(math.log10(every[-1] / every[0]), 1e-9)
    inch = decades / (figure_of(axes).get_size_inches()[0] * axes.get_position().width)
    named: dict[int, float] = {}  # and how far from its tick a name goes, in decades
    for k in sorted(every, key=lambda k: (math.log10(k) % 1 != 0, k)):
        half = inch * LETTER * (len(f"{k:,}") + 1) / 2
        if all(abs(math.log10(k / other)) >= half + far for other, far in named.items()):
            named[k] = half
    axes.set_xticks(every, [f"{k:,}" if k in named else "" for k in every])
    axes.minorticks_off()


def rate_distortion(points: Mapping[str, Any], *, ax: Axes | None = None) -> figure.Figure:
    """Models in the plane of rate and distortion, with lines of equal ELBO.

    (Alemi, Poole, Fischer, Dillon, Saurous, Murphy. Fixing a Broken ELBO. 2018. arXiv:1711.00464,
    section 2.)

    Args:
        points: {name: (rate, distortion)}: KL(q ‖ p) and -E_q[log p(x|z)], as "kl" and minus "rec"
            of `evaluate`, in nats per image; each a number or an `Estimate`.
        ax: axes to draw on, of a figure of yours.

    Raises:
        TypeError, ValueError: there are no such pairs of numbers.

    Example:
        >>> figure = rate_distortion({"β = 1": (25.0, 74.0), "β = 4": (12.0, 95.0)})
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['β = 1', 'β = 4']
    """
    if not isinstance(points, Mapping) or not points:
        raise TypeError(f"points must be {{name: (rate, distortion)}}, got {points!r}")
    pairs = {name: _pair(name, pair) for name, pair in points.items()}
    with axes_or_new(ax, _with_key((4.4, 4), pairs)) as axes:
        for i, (name, ((rate, rate_error), (distortion, error))) in enumerate(pairs.items()):
            look: dict[str, Any] = {"color": LINES[i % len(LINES)], "marker": MARKERS[i % 10]}
            look |= {"ls": "", "ms": 9, "capsize": 3, "label": name}
            axes.errorbar(rate, distortion, error, rate_error, **look)
        axes.margins(0.25)
        _equal_elbos(axes, [r[0] + d[0] for r, d in pairs.values()])
        axes.set(xlabel="rate KL(q ‖ p), nats", ylabel="distortion -E[log p(x|z)], nats")
        axes.legend(**BESIDE)
    return figure_of(axes)


def _equal_elbos(axes: Axes, totals: list[float]) -> None:
    """Lines along which rate and distortion add up to the same, within the limits there are."""
    axes.autoscale_view()
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    axes.set(xlim=(left, right), ylim=(low, high))
    least, most = min(left + low, *totals), max(right + high, *totals)
    ticks = MaxNLocator(LINES_AT_MOST, steps=[1, 2, 5, 10]).tick_values(least, most)
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    for total in (t for t in ticks if left + low < t < right + high):
        ends = [left, right]
        axes.plot(ends, [total - r for r in ends], color=GREY, lw=0.8, ls=":", zorder=0)
        # named where it leaves the panel, at the top or at the left
        x, y = (left, total - left) if total - left <= high else (total - high, high)
        at: dict[str, Any] = {"xytext": (4, -4), "textcoords": "offset points", "va": "top"}
        paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        axes.annotate(f"{total:.{digits}f}", (x, y), color=GREY, fontsize=9, bbox=paper, **at)
    axes.set_title("dotted: equal -ELBO", fontsize=10)


def _curves(bounds: Any) -> dict[str, dict[int, tuple[float, float]]]:
    if not isinstance(bounds, Mapping) or not bounds:
        raise TypeError(f"bounds must be {{k: bound}}, or such by name, got {bounds!r}")
    several = all(isinstance(points, Mapping) for points in bounds.values())
    curves = bounds if several else {"": bounds}
    if empty := [name for name, points in curves.items() if not points]:
        raise ValueError(f"{empty[0]!r} must have a bound at one k at least, got {{}}")
    return {
        str(name): {
            as_count("k", k): _mean_and_error(f"the bound at k = {k}", v) for k, v in points.items()
        }
        for name, points in curves.items()
    }


def _pair(name: str, pair: Any) -> tuple[tuple[float, float], tuple[float, float]]:
    if isinstance(pair, str) or not hasattr(pair, "__len__") or len(pair) != 2:
        raise ValueError(f"{name!r} must have a pair (rate, distortion), got {pair!r}")
    rate, distortion = pair
    return _mean_and_error(f"the rate of {name!r}", rate), _mean_and_error(
        f"the distortion of {name!r}", distortion
    )


def _mean_and_error(name: str, value: Any) -> tuple[float, float]:
    """A number without error, or mean and standard error of an `Estimate`."""
    if hasattr(value, "mean") and hasattr(value, "stderr"):
        return float(value.mean), float(value.stderr)
    return float(arguments.number(name, value)), 0.0
