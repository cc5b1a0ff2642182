"""The recorder, which writes training's history while it runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from torch import Tensor
from tqdm.auto import tqdm

from vaezoo.training.history import History
from vaezoo.training.means import Mean

__all__ = ["Recorder"]


class Recorder:
    """History in the making, shown on a progress bar.

    Args:
        bar: advanced by one at each step.
        log_every: steps between two records.
        validate: called at each record, for its terms on validation data.
        history: to add to; a new one by default.

    Attributes:
        step: the steps so far, those of earlier training included.
        steps: the steps of this training so far.
        since: the means since the last record.
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
        """Note the terms of one step; returns the record if it is time for one."""
        self.step, self.steps = self.step + 1, self.steps + 1
        self.since.add(terms)
        self.bar.update()
        return self.record() if self.steps % self.log_every == 0 else None

    def record(self, note: str = "") -> dict[str, float] | None:
        """Write down the steps since the last record, if there were any."""
        if not self.since.values:
            return None
        seconds = time.perf_counter() - self.started
        record = {"step": self.step, "seconds": seconds, **self.since.take()}
        try:
            if self.validate is not None:
                terms = self.validate()
                record |= {f"validation_{name}": value for name, value in terms.items()}
        finally:
            self.history.append(record)
        shown = ("bound", "kl", "rec", "log_qy", "validation_bound")
        line = " ".join(f"{name}={record[name]:.2f}" for name in shown if name in record)
        self.bar.set_postfix_str(f"{note}{line} nats")
        return record

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Within it an error is given the history, as its attribute `history`."""
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
