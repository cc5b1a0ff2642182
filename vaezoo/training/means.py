"""Weighted means of terms that are scalars on some device."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Mean", "joined"]

KEPT = 1000  # values of a term, before they are added up


class Mean:
    """Weighted means of named scalars, which stay on an accelerator until they are asked for.

    Example:
        >>> import torch
        >>> mean = Mean()
        >>> mean.add({"loss": torch.tensor(1.0)}, weight=3)
        >>> mean.add({"loss": torch.tensor(5.0)})
        >>> mean.take()
        {'loss': 2.0}
    """

    def __init__(self) -> None:
        self.values: defaultdict[str, list[Any]] = defaultdict(list)
        self.weights: defaultdict[str, list[int]] = defaultdict(list)
        self.sums: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def add(self, terms: dict[str, Tensor], *, weight: int = 1) -> None:
        """Take in the terms of one batch."""
        for name, value in terms.items():
            # on a CPU a kept tensor would split the memory that the batches free around it
            on_cpu = value.device.type == "cpu"
            self.values[name].append(value.item() if on_cpu else value.detach())
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

    def state_dict(self) -> dict[str, Any]:
        """What has been taken in, to the last digit."""
        return {
            "values": {name: _numbers(v) for name, v in self.values.items() if v},
            "weights": {name: list(w) for name, w in self.weights.items() if w},
            "sums": {name: list(s) for name, s in self.sums.items()},
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on from there, with values that come on this device."""
        self.values.clear()
        self.weights.clear()
        self.sums.clear()
        self.sums.update(state["sums"])
        self.weights.update(state["weights"])
        for name, weights in state["weights"].items():
            values = state["values"][name]
            on_cpu = device.type == "cpu"
            self.values[name] = values.tolist() if on_cpu else list(values.to(device).unbind())
            assert len(self.values[name]) == len(weights)
        for name in state["sums"]:
            self.values.setdefault(name, [])

    def _sum(self, name: str) -> None:
        """Add up the values kept of a term, since one for each step would take memory."""
        if not self.values[name]:
            return
        weights = torch.tensor(self.weights.pop(name), dtype=torch.float64, device="cpu")
        values = _numbers(self.values[name])
        self.sums[name][0] += (values @ weights).item()
        self.sums[name][1] += weights.sum().item()
        self.values[name].clear()


def joined(totals: Iterable[dict[str, tuple[float, float]]]) -> dict[str, float]:
    """The means of several `totals`, each term over those that have it.

    Example:
        >>> joined([{"loss": (2.0, 1.0)}, {"loss": (4.0, 3.0)}, {}])
        {'loss': 1.5}
    """
    each = list(totals)
    names = dict.fromkeys(name for total in each for name in total)
    sums = {name: [total.get(name, (0.0, 0.0)) for total in each] for name in names}
    return {name: sum(s for s, _ in v) / sum(w for _, w in v) for name, v in sums.items()}


def _numbers(values: list[Any]) -> Tensor:
    """Values of one term, as tensors on one accelerator or as floats."""
    if isinstance(values[0], Tensor):
        return torch.stack(values).cpu().double()
    return torch.tensor(values, dtype=torch.float64, device="cpu")
