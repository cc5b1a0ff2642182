"""Training in pieces of a few hundredths of a second, between which a kernel answers.

It runs on the kernel's own event loop and never in a thread: Pyro's handlers are one list for the
whole process, and a program run beside a training step would come into it.
"""

from __future__ import annotations

import contextvars
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from vaezoo.data.passes import Data
from vaezoo.models import LatentVariableModel
from vaezoo.training.errors import TrainingWarning
from vaezoo.training.stepping import steps
from vaezoo.training.training import Taken

__all__ = ["Stepper"]

PIECE = 0.025  # seconds of work
EVERY = 10  # steps of which one record is the mean
ENDLESS = 10**9  # passes over the data
RECORDS = 1000  # kept: of more, every other one is forgotten


class Stepper:
    """Steps of training for as long as they are asked for, of a model whose parts may change.

    Args:
        data, options: as in `training.steps`.
        advise: called with what a guard of training says.

    Attributes:
        step: steps taken so far.
        records: their terms by name, each a mean over a few steps.
        marks: (step, what was swapped there).
    """

    def __init__(self, data: Data, advise: Callable[[str], object], **options: Any) -> None:
        self.data, self.options, self.advise = data, options, advise
        self.step, self.records = 0, list[dict[str, float]]()
        self.marks: list[tuple[int, str]] = []
        self._steps: Iterator[Taken] | None = None
        self._context = contextvars.copy_context()

    def piece(self, model: LatentVariableModel, objective: Any) -> None:
        """Take steps for a moment, at least one.

        Raises:
            NonFiniteLoss, ValueError, TypeError: as `fit`; the next piece begins anew.
        """
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", TrainingWarning)
            try:
                self._take_some(model, objective)
            except BaseException:
                self.close()
                raise
            finally:
                self._pass_on(said)

    def close(self) -> None:
        """Leave the model in the mode that it was in; the next piece makes a new optimizer."""
        taken, self._steps = self._steps, None
        if taken is not None:  # in the context in which it was begun, as it resets variables
            self._context.run(taken.close)  # type: ignore[attr-defined]

    def _take_some(self, model: LatentVariableModel, objective: Any) -> None:
        if self._steps is None:
            training = self._context.run(
                steps, model, self.data, objective, epochs=ENDLESS, log_every=EVERY, **self.options
            )
            self._steps = self._context.run(iter, training)
        end = time.perf_counter() + PIECE
        while time.perf_counter() < end:
            self._note(self._context.run(next, self._steps))

    def _note(self, taken: Taken) -> None:
        self.step += 1
        if taken.record:
            self.records.append(taken.record | {"step": self.step})
        if len(self.records) > RECORDS:
            del self.records[:-1:2]

    def _pass_on(self, said: list[warnings.WarningMessage]) -> None:
        for each in said:
            if issubclass(each.category, TrainingWarning):
                self.advise(str(each.message))
            else:
                warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
