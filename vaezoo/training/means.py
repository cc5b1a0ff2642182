"""Weighted means of terms that are scalars on some device."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

__all__ = ["Mean"]

KEPT = 1000  # values of a term, before they are added up


class Mean:
    """Weighted means of named scalars, which stay on their device until they are asked for.

    Example:
        >>> import torch
        >>> mean = Mean()
        >>> mean.add({"loss": torch.tensor(1.0)}, weight=3)
        >>> mean.add({"loss": torch.tensor(5.0)})
        >>> mean.take()
        {'loss': 2.0}
    """

    def __init__(self) -> None:
        self.values: defaultdict[str, list[Tensor]] = defaultdict(list)
        self.weights: defaultdict[str, list[int]] = defaultdict(list)
        self.sums: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def add(self, terms: dict[str, Tensor], *, weight: int = 1) -> None:
        """Take in the terms of one batch."""
        for name, value in terms.items():
            self.values[name].append(value.detach())
            self.weights[name].append(weight)
            if len(self.values[name]) >= KEPT:
                self._sum(name)

    def take(self) -> dict[str, float]:
        """The means so far, each over the batches that had the term; the next begin anew."""
        return {name: total / weight for name, (total, weight) in self.totals().items()}

    def totals(self) -> dict[str, tuple[float, float]]:
        """Weighted sum and weight of each term so far; the next begin anew."""
        for name in self.values:
            self._sum(name)
        totals = {name: (total, weight) for name, (total, weight) in self.sums.items()}
        self.values.clear()
        self.sums.clear()
        return totals

    def _sum(self, name: str) -> None:
        """Add up the values kept of a term, since one for each step would take memory."""
        if not self.values[name]:
            return
        weights = torch.tensor(self.weights.pop(name), dtype=torch.float64, device="cpu")
        values = torch.stack(self.values[name]).cpu().double()
        self.sums[name][0] += (values @ weights).item()
        self.sums[name][1] += weights.sum().item()
        self.values[name].clear()
