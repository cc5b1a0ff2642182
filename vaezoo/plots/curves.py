"""What training recorded, as curves against steps."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import figure
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from vaezoo.plots.colours import BLUE, ORANGE
from vaezoo.plots.figures import figure_of, panels_or_new

__all__ = ["training_curves"]

LATE = 0.2  # share of the records that is the start: a network that knows nothing is far off
MEANINGS = {
    "bound": "bound on log p(x), nats per image",
    "rec": "E[log p(x|z)], nats per image",
    "kl": "KL(q ‖ p), nats per image",
    "log_qy": "log q(y|x), nats per labelled image",
}


def training_curves(
    history: Mapping[str, Sequence[float]], *, ax: Axes | None = None
) -> figure.Figure:
    """What `training.fit` recorded against steps: a panel each for bound, rec, kl and log_qy.

    Validation is dashed, in the same panel. Where the start of a curve spans much more than the
    rest, the rest is shown again in an inset of its own scale.

    Args:
        history: lists, arrays or columns of a table of equal length, `step` and `bound` at least;
            nats per image. rec is E_q[log p(x|z)], bound = rec - kl, and log_qy is over labelled
            images.
        ax: axes of a figure of yours, made by `subplots`, in whose place the panels are drawn.

    Raises:
        TypeError: history is no mapping.
        ValueError: it is empty, has no steps or bound, or its lists hold no numbers or differ in
            length.

    Example:
        >>> history = {"step": [1, 2], "bound": [-9.0, -8.0], "validation_bound": [-9.5, -8.2]}
        >>> training_curves(history).axes[0].lines[1].get_ydata().tolist()
        [-9.5, -8.2]
    """
    history = _lists(history)
    names = [name for name in MEANINGS if name in history]
    with panels_or_new(ax, (0.6 + 3.6 * len(names), 3.4), (1, len(names))) as panels:
        for axes, name in zip(panels[0], names, strict=True):
            _panel(axes, history, name)
        lines, labels = panels[0, 0].get_legend_handles_labels()
        if len(lines) > 1 and ax is None:
            figure_of(panels[0, 0]).legend(lines, labels, loc="outside upper right", ncols=2)
        elif len(lines) > 1:
            panels[0, -1].legend(lines, labels)
    return figure_of(panels[0, 0])


def _lists(history: Any) -> dict[str, list[float]]:
    """What is drawn of a history, in plain lists."""
    expected = (
        "history must hold step and bound, in lists of equal length with one record at least, as "
        "training.fit returns it"
    )
    if not hasattr(history, "keys"):
        raise TypeError(f"{expected}, got a {type(history).__name__}")
    drawn = {"step", *MEANINGS, *(f"validation_{name}" for name in MEANINGS)}
    lists = {name: _numbers(name, history[name]) for name in history if name in drawn}
    lengths = {len(values) for values in lists.values()}
    if not lists.keys() >= {"step", "bound"} or len(lengths) > 1 or 0 in lengths:
        sizes = (f"{len(history[name])} of {name}" for name in history)
        raise ValueError(f"{expected}, got {', '.join(sizes) or 'nothing'}")
    return lists


def _numbers(name: str, values: Any) -> list[float]:
    values = values.detach().double().cpu() if isinstance(values, Tensor) else values
    try:
        row = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"history[{name!r}] must be a list of numbers, got {values!r}") from error
    if row.ndim != 1:
        raise ValueError(f"history[{name!r}] must be a list of numbers, got {values!r}")
    numbers: list[float] = row.tolist()
    return numbers


def _panel(axes: Axes, history: Mapping[str, Sequence[float]], name: str) -> None:
    """Draw a quantity of training, and beside it that of validation if there is one."""
    keys = {"training": name, "validation": f"validation_{name}"}
    shown = {label: history[key] for label, key in keys.items() if key in history}
    _draw(axes, history["step"], shown)
    axes.set(title=name, xlabel="step", ylabel=MEANINGS[name])
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    values, late = _finite(shown.values(), 0), _finite(shown.values(), LATE)
    low, high = min(values), max(values)
    axes.set_ylim(_with_margin(low, high))
    span = max(late) - min(late)
    above = sum(late) / len(late) > (low + high) / 2
    if high - low > 3 * span > 0:
        first = math.ceil(LATE * len(history["step"]))
        # where the curve, which soon ends up on one side, leaves room
        inset = axes.inset_axes((0.42, 0.1 if above else 0.42, 0.56, 0.48))
        rest = {label: values[first:] for label, values in shown.items()}
        _draw(inset, history["step"][first:], rest)
        inset.set_ylim(_with_margin(min(late), max(late)))
        inset.tick_params(labelsize=8)
        inset.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        inset.yaxis.set_major_locator(MaxNLocator(4))


def _draw(axes: Axes, steps: Sequence[float], shown: Mapping[str, Sequence[float]]) -> None:
    # a few records are marked: one alone would make no line
    marker = "." if len(steps) <= 20 else ""
    for (label, values), style, colour in zip(
        shown.items(), ("-", "--"), (BLUE, ORANGE), strict=False
    ):
        axes.plot(steps, values, style, marker=marker, label=label, color=colour)


def _finite(curves: Collection[Sequence[float]], start: float) -> list[float]:
    """The finite values of all curves after a share of their records; 0 where there are none."""
    parts = [curve[math.ceil(start * len(curve)) :] for curve in curves]
    finite = [value for part in parts for value in part if math.isfinite(value)]
    return finite or [0.0]


def _with_margin(low: float, high: float) -> tuple[float, float]:
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin
