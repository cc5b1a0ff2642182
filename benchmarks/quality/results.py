"""The results of a recipe: means over images, and over seeds from the JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import vaezoo
from vaezoo.evaluation import Estimate

__all__ = ["Found", "estimate", "found", "runs_of"]

RESULTS = Path(__file__).parents[1] / "results/quality"


def estimate(values: Tensor) -> Estimate:
    """The mean over images of a value of each, (n,), with its standard error."""
    n, values = len(values), values.double()
    return Estimate(values.mean().item(), values.std().item() / n**0.5, n)


class Found(NamedTuple):
    """A measure over seeds.

    Attributes:
        each: its value for each seed, in their order.
        stderr: over images, the mean of the seeds'.
        budget: the share of the recipe's steps.
    """

    each: tuple[float, ...]
    stderr: float
    budget: float = 1.0

    @property
    def mean(self) -> float:
        """Over seeds."""
        return sum(self.each) / len(self.each)

    @property
    def over_seeds(self) -> float | None:
        """The standard error over seeds; None of one seed."""
        n = len(self.each)
        return torch.tensor(self.each).std().item() / n**0.5 if n > 1 else None

    def scaled(self, by: float) -> Found:
        """In another unit."""
        return Found(tuple(by * each for each in self.each), by * self.stderr, self.budget)

    def __str__(self) -> str:
        spread = "" if self.over_seeds is None else f" ± {self.over_seeds:.2f}"
        reduced = "" if self.budget == 1 else f", reduced budget {self.budget:g}"
        return f"{self.mean:.2f} ± {self.stderr:.2f}{spread}{reduced}"


def found(name: str, measure: str) -> Found | None:
    """A measure by the largest budget that was spent; None where nothing was measured."""
    records = [each for each in _records(name) if measure in each["metrics"]]
    if not records:
        return None
    budget = max(each["budget"] for each in records)
    same = [each["metrics"][measure] for each in records if each["budget"] == budget]
    stderr = sum(each["stderr"] for each in same) / len(same)
    return Found(tuple(each["mean"] for each in same), stderr, budget)


def runs_of(name: str) -> str:
    """How many seeds were run with the largest budget, and by which version, if an older one."""
    records = _records(name)
    budget = max((each["budget"] for each in records), default=1.0)
    versions = [each["versions"]["vaezoo"] for each in records if each["budget"] == budget]
    older = sorted({*versions} - {vaezoo.__version__})
    return f"{len(versions)}{''.join(f', version {each}' for each in older)}"


def _records(name: str) -> list[dict[str, Any]]:
    files = RESULTS.glob(f"{name}-*.json") if RESULTS.exists() else ()
    records = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    mine = [each for each in records if each["name"] == name]
    return sorted(mine, key=lambda each: int(each["seed"]))
