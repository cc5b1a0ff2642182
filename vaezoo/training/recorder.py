"""The recorder, which writes training's history while it runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from vaezoo.training.history import History
from vaezoo.training.means import Mean

__all__ = ["Recorder"]


class Recorder:
    """History in the making, shown on a progress bar.

    Args:
        log_every: steps between two records.
        validate: called at each record, for its terms on validation data.
        history: to add to; a new one by default.

    Attributes:
        bar: advanced by one at each step; one that does not show at first.
        step: the steps so far, those of earlier training included.
        steps: the steps of this training so far.
        since: the means since the last record.
        last: the last record of this training.
    """

    def __init__(
        self,
        *,
        log_every: int,
        validate: Callable[[], dict[str, float]] | None,
        history: History | None = None,
    ) -> None:
        self.bar: tqdm[None] = tqdm(disable=True)
        self.log_every, self.validate = log_every, validate
        self.history = history if history is not None else History()
        self.last: dict[str, float] | None = None
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
            self.last = record
        shown = ("bound", "kl", "rec", "log_qy", "validation_bound")
        line = " ".join(f"{name}={record[name]:.2f}" for name in shown if name in record)
        how = self.history.compiled
        compiled = f", compiled {how}" if how.startswith("from") else ""
        self.bar.set_postfix_str(f"{note}{line} nats{compiled}")
        return record

    def say(self, text: str) -> None:
        """Show a few words on the bar."""
        self.bar.set_postfix_str(text)

    def state_dict(self) -> dict[str, Any]:
        """Steps, time, history, and the means since the last record."""
        return {
            "step": self.step,
            "steps": self.steps,
            "seconds": time.perf_counter() - self.started,
            "history": {name: _column(values) for name, values in self.history.items()},
            "since": self.since.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on from there; terms come on this device."""
        self.step, self.steps = state["step"], state["steps"]
        self.started = time.perf_counter() - state["seconds"]
        self.history.clear()
        self.history.update({name: t.tolist() for name, t in state["history"].items()})
        self.since.load_state_dict(state["since"], device)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Within it an error is given the history, as its attribute `history`."""
        try:
            yield
        except GeneratorExit:  # a loop over the steps broke off, and may go on
            raise
        except BaseException as error:
            if getattr(error, "history", None) is not self.history:
                self._keep(error)
            raise

    def _keep(self, error: BaseException) -> None:
        validate, self.validate = self.validate, None  # it may be what failed
        with contextlib.suppress(Exception):  # on a device that failed, means cannot be read
            self.record()
        self.validate = validate  # a loop over the steps may go on
        with contextlib.suppress(AttributeError):
            error.history = self.history  # type: ignore[attr-defined]
            if self.history:
                error.add_note(
                    f"The history until step {self.step} is in this error's attribute history "
                    "(in a notebook: import sys; sys.last_value.history)."
                )


def _column(values: list[float]) -> Tensor:
    """Many numbers as one tensor, whole ones as such."""
    whole = all(isinstance(v, int) for v in values)
    return torch.tensor(values, dtype=torch.int64 if whole else torch.float64, device="cpu")
