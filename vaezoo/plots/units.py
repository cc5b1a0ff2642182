"""What each unit of the code says of an image, in nats."""

from __future__ import annotations

from typing import Any

from matplotlib import figure
from matplotlib.axes import Axes
from torch import Tensor

from vaezoo import arguments
from vaezoo.data.batches import as_tensor
from vaezoo.plots.colours import BLUE, GREY, ORANGE
from vaezoo.plots.figures import axes_or_new, figure_of

__all__ = ["kl_per_unit", "units_to_show"]

ACTIVE = 0.01  # nats, below which a unit says nothing


def kl_per_unit(kl: Any, *, ax: Axes | None = None) -> figure.Figure:
    """KL(q ‖ p) of each unit of the code as a bar, the largest first.

    Args:
        kl: nats for each unit (z_dim,), a mean over images.
        ax: axes to draw on, of a figure of yours.

    Raises:
        ValueError: kl is no row of finite numbers of at least 0.

    Example:
        >>> kl_per_unit([0.1, 2.0, 0.0, 1.0]).axes[0].get_title()
        '3 of 4 units above 0.01 nats, 3.10 in all'
    """
    row = _row(kl)
    order = row.argsort(descending=True, stable=True).tolist()
    active = row >= ACTIVE
    width = min(max(4.6, 0.34 * len(row) + 1.2), 12)
    with axes_or_new(ax, (width, 3.4)) as axes:
        colours = [BLUE if active[k] else GREY for k in order]
        axes.bar(range(len(row)), row[order].tolist(), color=colours, width=0.75)
        axes.axhline(ACTIVE, color=ORANGE, lw=1.2, ls="--")
        every = 1 + (len(row) - 1) // 40
        places = list(range(0, len(row), every))
        axes.set_xticks(places, [str(order[i]) for i in places])
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        said = (
            f"{int(active.sum())} of {len(row)} units above {ACTIVE} nats, {row.sum():.2f} in all"
        )
        axes.set(xlabel="unit of z", ylabel="KL(q ‖ p), nats", title=said)
    return figure_of(axes)


def units_to_show(size: int, kl: Any, units: Any) -> list[tuple[int, float | None]]:
    """The numbers of units, with their nats where these are known.

    They are those named, or those that say something, the most telling first, or all.

    Raises:
        TypeError, ValueError: there are no such units, none is active, or kl has not one number
            for each.

    Example:
        >>> units_to_show(3, kl=[0.5, 0.0, 2.0], units=None)
        [(2, 2.0), (0, 0.5)]
    """
    row = None if kl is None else _row(kl)
    if row is not None and len(row) != size:
        raise ValueError(f"kl must have a number for each of {size} units, got {len(row)}")
    if units is not None:
        named = units if hasattr(units, "__iter__") else [units]
        numbers = [arguments.size("units", k, least=0) for k in named]
        if not numbers or max(numbers) >= size:
            raise ValueError(f"units must be some of 0..{size - 1}, got {list(named)!r}")
    elif row is not None:
        numbers = [
            k for k in row.argsort(descending=True, stable=True).tolist() if row[k] >= ACTIVE
        ]
        if not numbers:
            raise ValueError(f"no unit has {ACTIVE} nats: name some, units=(0, 1)")
    else:
        numbers = list(range(size))
    return [(k, None if row is None else row[k].item()) for k in numbers]


def _row(kl: Any) -> Tensor:
    row = as_tensor(kl).detach().double().cpu()
    if row.dim() != 1 or not len(row) or not row.isfinite().all() or row.min() < -1e-6:
        raise ValueError(
            f"kl must be nats of at least 0 for each unit (z_dim,), got {kl!r}: a mean over images "
            "of kl_divergence(q.base_dist, p.base_dist), for one"
        )
    return row
