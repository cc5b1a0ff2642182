"""Figures of the results: bounds against k, rate against distortion, accuracy against labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.quality.results import Found, found
from benchmarks.quality.tables import LABELS, SUMMARY
from vaezoo import plots
from vaezoo.evaluation import Estimate
from vaezoo.plots.colours import GREY, LINES, MARKERS
from vaezoo.plots.figures import axes_or_new, figure_of

__all__ = ["write"]

KS = (1, 10, 100, 1000)
PUBLISHED = {  # test error in %, arXiv:1406.5298, table 1
    "M2, published": {100: 11.97, 600: 4.94, 1000: 3.60, 3000: 3.92},
    "M1+M2, published": {100: 3.33, 600: 2.59, 1000: 2.40, 3000: 2.18},
}


def write(folder: Path) -> None:
    """Draw what was measured."""
    there = {name: title for name, title in SUMMARY.items() if found(name, "nelbo")}
    bounds = {t: {k: _estimate(n, f"niwae-{k}") for k in KS} for n, t in there.items()}
    rates = {t: (_estimate(n, "kl"), _estimate(n, "rec", -1)) for n, t in there.items()}
    if there:
        plots.bound_against_k(bounds).savefig(folder / "quality_bounds.png", dpi=100)
        figure = plots.rate_distortion(rates)
        figure.set_size_inches(7.5, 4)  # the legend, beside it, has long names
        figure.savefig(folder / "quality_rates.png", dpi=100)
    if measured := errors():
        against_labels(measured).savefig(folder / "quality_labels.png", dpi=100)


def errors() -> dict[str, dict[int, Estimate]]:
    """Test errors in %, by kind of member and number of labels, of what was measured."""
    each: dict[str, dict[int, Estimate]] = {}
    for name, (labels, title) in LABELS.items():
        if found(name, "accuracy"):
            accuracy = _estimate(name, "accuracy")
            error = Estimate(100 - 100 * accuracy.mean, 100 * accuracy.stderr, accuracy.n)
            each.setdefault(title, {})[int(labels)] = error
    return each


def against_labels(measured: dict[str, dict[int, Estimate]]) -> Figure:
    """Test error against the number of labels, ours beside published."""
    with axes_or_new(None, (6.5, 6.8)) as axes:
        for i, (title, points) in enumerate(measured.items()):
            look: dict[str, Any] = {"color": LINES[i % len(LINES)], "marker": MARKERS[i % 10]}
            means, stderrs = [p.mean for p in points.values()], [p.stderr for p in points.values()]
            axes.errorbar(list(points), means, stderrs, capsize=3, label=title, **look)
        for title, line in zip(PUBLISHED, (":", "--"), strict=True):
            numbers = PUBLISHED[title]
            axes.plot(list(numbers), list(numbers.values()), line, color=GREY, label=title)
        every = [*PUBLISHED["M2, published"]]
        axes.set(xscale="log", yscale="log", xlabel="labels", ylabel="test error, %")
        axes.set_xticks(every, [f"{n:,}" for n in every])
        axes.set_yticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
        axes.minorticks_off()
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    return figure_of(axes)


def _estimate(name: str, measure: str, sign: int = 1) -> Estimate:
    """The mean over seeds, with the larger of the two standard errors."""
    each = found(name, measure)
    assert isinstance(each, Found)
    return Estimate(sign * each.mean, max(each.stderr, each.over_seeds or 0), len(each.each))
