"""Figures of the results: bounds against k, and rate against distortion."""

from __future__ import annotations

from pathlib import Path

from benchmarks.quality.results import Found, found
from benchmarks.quality.tables import SUMMARY
from vaezoo import plots
from vaezoo.evaluation import Estimate

__all__ = ["write"]

KS = (1, 10, 100, 1000)


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


def _estimate(name: str, measure: str, sign: int = 1) -> Estimate:
    """The mean over seeds, with the larger of the two standard errors."""
    each = found(name, measure)
    assert isinstance(each, Found)
    return Estimate(sign * each.mean, max(each.stderr, each.over_seeds or 0), len(each.each))
