"""What training writes down: means of the reported terms, every so many steps."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

import torch
from torch import Tensor
from tqdm.auto import tqdm

__all__ = ["History", "Mean", "Recorder"]

History = dict[str, list[float]]


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
        self.weights: list[int] = []

    def add(self, terms: dict[str, Tensor], *, weight: int = 1) -> None:
        """Take the terms of one batch in; all batches have the same ones."""
        for name, value in terms.items():
            self.values[name].append(value.detach())
        self.weights.append(weight)

    def take(self) -> dict[str, float]:
        """The means so far; the next begin anew."""
        weights = torch.tensor(self.weights, dtype=torch.float64)
        weights /= weights.sum()
        means = {
            name: (torch.stack(each).cpu().double() @ weights).item()
            for name, each in self.values.items()
        }
        self.values.clear()
        self.weights.clear()
        return means


class Recorder:
    """History in the making, shown on a progress bar.

    Args:
        bar: one step of it is one step of training.
        log_every: steps between two records.
        validate: further terms of each record, if any.
    """

    def __init__(
        self,
        bar: tqdm[None],
        *,
        log_every: int,
        validate: Callable[[], dict[str, float]] | None,
    ) -> None:
        self.bar, self.log_every, self.validate = bar, log_every, validate
        self.history: defaultdict[str, list[float]] = defaultdict(list)
        self.since, self.step, self.started = Mean(), 0, time.perf_counter()

    def add(self, terms: dict[str, Tensor]) -> None:
        """Note one step."""
        self.step += 1
        self.since.add(terms)
        self.bar.update()
        if self.step % self.log_every == 0:
            self.record()

    def record(self) -> None:
        """Write down the steps since the last record, if there were any."""
        if not self.since.weights:
            return
        seconds = time.perf_counter() - self.started
        found = {"step": self.step, "seconds": seconds, **self.since.take()}
        if self.validate is not None:
            found |= {f"validation_{name}": value for name, value in self.validate().items()}
        for name, value in found.items():
            self.history[name].append(value)
        shown = ("bound", "kl", "rec", "log_qy", "validation_bound")
        line = " ".join(f"{name}={found[name]:.2f}" for name in shown if name in found)
        self.bar.set_postfix_str(f"{line} nats")
