"""What training writes down: means of the reported terms, every so many steps."""

from __future__ import annotations

import contextlib
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor
from tqdm.auto import tqdm

__all__ = ["History", "Mean", "Recorder"]

KEPT = 1000  # values of a term, before they are added up


class History(dict[str, list[float]]):
    """Lists of equal length by name, one entry for each record: `pandas.DataFrame(history)`.

    Where a term was not reported it is NaN. Terms are nats per image, rec being E_q[log p(x|z)] as
    in `evaluate`, so that bound = rec - kl; log_qy is the mean log q(y|x) of labelled images.

    Attributes:
        stopped: whether the stop button was pressed, and training may have ended early.

    Example:
        >>> history = History({"step": [100], "loss": [9.0]})
        >>> history.append({"step": 200, "loss": 8.0, "validation_loss": 8.5})
        >>> history
        {'step': [100, 200], 'loss': [9.0, 8.0], 'validation_loss': [nan, 8.5]}
    """

    stopped: bool = False

    def append(self, record: Mapping[str, float]) -> None:
        """Add a record, its terms in the order they come."""
        n = len(next(iter(self.values()), []))
        for name in record:
            self.setdefault(name, [math.nan] * n)
        for name, values in self.items():
            values.append(record.get(name, math.nan))

    @classmethod
    def continuing(cls, before: Mapping[str, Sequence[float]] | None) -> History:
        """A copy to go on from.

        Raises:
            ValueError, TypeError: it is no history of training.

        Example:
            >>> History.continuing({"loss": [9.0]})
            Traceback (most recent call last):
            ...
            ValueError: history must hold step and seconds, and lists of equal length, as fit \
returns it, got 1 of loss
        """
        if not isinstance(before, Mapping | None):
            raise TypeError(f"history must be a dict of lists, got a {type(before).__name__}")
        lists = {name: list(values) for name, values in (before or {}).items()}
        lengths = {name: len(values) for name, values in lists.items()}
        known = not lists or {"step", "seconds"} <= lists.keys()
        if not known or len(set(lengths.values())) > 1:
            raise ValueError(
                "history must hold step and seconds, and lists of equal length, as fit returns "
                f"it, got {', '.join(f'{n} of {name}' for name, n in lengths.items())}"
            )
        return cls(lists)


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
        """Take the terms of one batch in."""
        for name, value in terms.items():
            self.values[name].append(value.detach())
            self.weights[name].append(weight)
            if len(self.values[name]) >= KEPT:
                self._sum(name)

    def take(self) -> dict[str, float]:
        """The means so far, each over the batches that had the term; the next begin anew."""
        for name in self.values:
            self._sum(name)
        means = {name: total / weight for name, (total, weight) in self.sums.items()}
        self.values.clear()
        self.sums.clear()
        return means

    def _sum(self, name: str) -> None:
        """Add up what is kept of a term: as many numbers as there are steps would take memory."""
        if not self.values[name]:
            return
        weights = torch.tensor(self.weights.pop(name), dtype=torch.float64, device="cpu")
        values = torch.stack(self.values[name]).cpu().double()
        self.sums[name][0] += (values @ weights).item()
        self.sums[name][1] += weights.sum().item()
        self.values[name].clear()


class Recorder:
    """History in the making, shown on a progress bar.

    Args:
        bar: one step of it is one step of training.
        log_every: steps between two records.
        validate: further terms of each record, if any.
        history: to add to.
    """

    def __init__(
        self,
        bar: tqdm[None],
        *,
        log_every: int,
        validate: Callable[[], dict[str, float]] | None,
        history: History | None = None,
    ) -> None:
        self.bar, self.log_every, self.validate = bar, log_every, validate
        self.history = history if history is not None else History()
        self.step = int(self.history["step"][-1]) if self.history else 0
        before = self.history["seconds"][-1] if self.history else 0.0
        self.since, self.steps, self.started = Mean(), 0, time.perf_counter() - before

    def add(self, terms: dict[str, Tensor]) -> dict[str, float] | None:
        """Note one step; returns the record if it is time for one."""
        self.step, self.steps = self.step + 1, self.steps + 1
        self.since.add(terms)
        self.bar.update()
        return self.record() if self.steps % self.log_every == 0 else None

    def record(self, note: str = "") -> dict[str, float] | None:
        """Write down the steps since the last record, if there were any."""
        if not self.since.values:
            return None
        found = {"step": self.step, "seconds": self._seconds(), **self.since.take()}
        try:
            if self.validate is not None:
                terms = self.validate()
                found |= {f"validation_{name}": value for name, value in terms.items()}
        finally:
            self.history.append(found)
        shown = ("bound", "kl", "rec", "log_qy", "validation_bound")
        line = " ".join(f"{name}={found[name]:.2f}" for name in shown if name in found)
        self.bar.set_postfix_str(f"{note}{line} nats")
        return found

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """An error on the way carries the history, in its attribute `history`."""
        try:
            yield
        except BaseException as error:
            self._keep(error)
            raise

    def _keep(self, error: BaseException) -> None:
        self.validate = None  # it may be what failed
        with contextlib.suppress(Exception):  # on a device that failed, means cannot be read
            self.record()
        with contextlib.suppress(AttributeError):
            error.history = self.history  # type: ignore[attr-defined]
            if self.history and not isinstance(error, GeneratorExit):
                error.add_note(
                    f"The history until step {self.step} is in this error's attribute history "
                    "(in a notebook: import sys; sys.last_value.history)."
                )

    def _seconds(self) -> float:
        return time.perf_counter() - self.started
