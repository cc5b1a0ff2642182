"""What training recorded, as curves against steps."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from matplotlib.axes import Axes

from vaezoo.plots.figures import DPI, Figure

__all__ = ["training_curves"]

MEANINGS = {
    "bound": "bound on log p(x), nats per image",
    "rec": "E[log p(x|z)], nats per image",
    "kl": "KL(q ‖ p), nats per image",
    "log_qy": "log q(y|x), nats per labelled image",
}


def training_curves(history: Mapping[str, Sequence[float]]) -> Figure:
    """What `training.fit` recorded against steps: a panel each for bound, rec, kl and log_qy.

    Validation is dashed. Where the start of a curve spans much more than the rest, the panel is
    scaled to the rest and the start runs out of it.

    Args:
        history: lists of equal length, `step` and `bound` at least; nats per image. rec is
            E_q[log p(x|z)], bound = rec - kl, and log_qy is over labelled images.

    Raises:
        ValueError: the history is empty, has no steps or bound, or its lists differ in length.

    Example:
        >>> history = {"step": [1, 2], "bound": [-9.0, -8.0], "validation_bound": [-9.5, -8.2]}
        >>> training_curves(history).axes[0].lines[1].get_ydata().tolist()
        [-9.5, -8.2]
    """
    if not history.get("step") or "bound" not in history:
        raise ValueError(
            "history must hold step and bound, one record at least, as training.fit returns it, "
            f"got {', '.join(f'{len(v)} of {k}' for k, v in history.items()) or 'nothing'}"
        )
    names = [name for name in MEANINGS if name in history]
    figure = Figure((1.2 + 3.2 * len(names), 3.2), DPI, layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        _curves(axes, history, name)
    return figure


def _curves(axes: Axes, history: Mapping[str, Sequence[float]], name: str) -> None:
    """Draw a quantity of training, and beside it that of validation if there is one."""
    curves = {"training": name, "validation": f"validation_{name}"}
    shown = {label: history[key] for label, key in curves.items() if key in history}
    # a few records are marked: one alone would make no line
    marker = "." if len(history["step"]) <= 20 else ""
    for (label, values), style in zip(shown.items(), ("-", "--"), strict=False):
        axes.plot(history["step"], values, style, marker=marker, label=label)
    axes.set(title=name, xlabel="step", ylabel=MEANINGS[name], ylim=_limits(shown.values()))
    axes.grid(alpha=0.3)
    if len(shown) > 1:
        axes.legend()


def _limits(curves: Collection[Sequence[float]]) -> tuple[float, float]:
    """Limits for all values or, if those span over three times as much, for all but the start.

    The start is a fifth of the records: a network that knows nothing yet is hundreds of nats off,
    which would flatten all that follows.
    """
    finite = [[value for value in curve if math.isfinite(value)] for curve in curves]
    values = [value for curve in finite for value in curve] or [0.0]
    late = [value for curve in finite for value in curve[max(1, len(curve) // 5) :]] or values
    low, high = min(values), max(values)
    if high - low > 3 * (max(late) - min(late)) > 0:
        low, high = min(late), max(late)
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin
