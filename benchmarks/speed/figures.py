"""The figures, from the JSON alone."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.peers.building import REFERENCE
from benchmarks.speed.growth import AXES, PEERS
from benchmarks.speed.targets import ratio

__all__ = ["growth", "steps"]


def steps(record: dict[str, Any]) -> Figure:
    """Bars of the ratios of every peer, a panel for each task and batch size."""
    settings = [(n, f) for n, f in record.get("steps", {}).items() if n != "about"]
    columns = min(2, max(1, len(settings)))
    rows = -(-len(settings) // columns) or 1
    result = Figure((5.5 * columns, 3.4 * rows), layout="constrained")
    for i, (name, setting) in enumerate(settings):
        axes = result.add_subplot(rows, columns, i + 1)
        _bars(axes, setting["seconds"])
        axes.set_title("{}, batch {}, {}".format(*name.split(", ")), fontsize=10)
    result.supxlabel(f"time of a step / {REFERENCE}", fontsize=9)
    return result


def _bars(axes: Axes, times: dict[str, list[float]]) -> None:
    bars = {p: ratio(t, times[REFERENCE]) for p, t in times.items() if p != REFERENCE}
    spread = [[r.median - r.low for r in bars.values()], [r.high - r.median for r in bars.values()]]
    colours = ["tab:orange" if p.startswith("vaezoo") else "0.65" for p in bars]
    axes.barh([*bars], [r.median for r in bars.values()], xerr=spread, color=colours)
    for y, each in enumerate(bars.values()):
        axes.text(each.high, y, f" {each.median:.2f}", va="center", fontsize=8)
    axes.axvline(1, color="k", linewidth=0.8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.tick_params(labelsize=8)


def growth(record: dict[str, Any]) -> Figure:
    """Seconds above, memory below, one column for each axis."""
    result = Figure((10, 5.6), layout="constrained")
    axes = result.subplots(2, len(AXES), sharex="col", sharey="row")
    for column, (axis, curves) in enumerate(record["curves"].items()):
        for row, (key, label) in enumerate((("seconds", "seconds a step"), ("mib", "MiB"))):
            ax = axes[row][column]
            for peer, colour in zip(PEERS, ("0.5", "tab:orange"), strict=True):
                points = [p for p in curves[peer] if not p.get("ended")]
                values = [p["value"] for p in points]
                ax.loglog(values, [p[key] for p in points], "o-", color=colour, label=PEERS[peer])
            if column == 0:
                ax.set_ylabel(label)
        axes[0][column].set_title(f"{AXES[axis]}, {axis}")
        axes[1][column].set_xlabel(axis)
    most = 1024 * record["gib"]
    for ax in axes[1]:
        ax.axhline(most, color="k", linewidth=0.8)
        text, place = f" {record['gib']} GiB, all a process may have", (ax.get_xlim()[0], most)
        ax.annotate(text, place, (0, -4), textcoords="offset points", va="top")
    axes[0][0].legend()
    return result
