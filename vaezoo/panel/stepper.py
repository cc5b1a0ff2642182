"""Training in pieces of a few hundredths of a second, between which a kernel answers.

It runs on the kernel's own event loop and never in a thread: Pyro's handlers are one list for the
whole process, and a program run beside a training step would come into it.
"""

from __future__ import annotations

import contextvars
import inspect
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from vaezoo.data.passes import Data
from vaezoo.models import LatentVariableModel
from vaezoo.training.errors import TrainingWarning
from vaezoo.training.stepping import steps
from vaezoo.training.training import Taken, Training

__all__ = ["Stepper"]

PIECE = 0.025  # seconds of work
EVERY = 10  # steps of which one record is the mean
ENDLESS = 10**9  # passes over the data
RECORDS = 1000  # kept: of more, every other one is forgotten
GIVEN = ("model", "data", "objective", "validation")  # by the panel itself
NO_END = "a panel trains until it is paused"
REFUSED = {
    "steps": NO_END,
    "epochs": NO_END,
    "average": f"the weights are averaged when training ends, and {NO_END}",
    "history": "a panel begins its curves itself",
    "log_every": f"a panel records every {EVERY} steps",
    "progress": "a panel shows curves",
}


class Stepper:
    """Steps of training for as long as they are asked for, of a model whose parts may change.

    Args:
        data, options: as in `training.steps`.
        advise: called with what a guard of training says.

    Raises:
        TypeError: an option is none of `training.steps`, or has no meaning without an end.

    Attributes:
        step: steps taken so far.
        records: their terms by name, each a mean over a few steps.
        marks: (step, what was swapped there).
    """

    def __init__(self, data: Data, advise: Callable[[str], object], **options: Any) -> None:
        _check(options)
        self.data, self.options, self.advise = data, options, advise
        self.step, self.records = 0, list[dict[str, float]]()
        self.marks: list[tuple[int, str]] = []
        self._training: Training | None = None
        self._steps: Iterator[Taken] | None = None
        self._trained: tuple[list[Any], list[Any]] = [], []
        self._context = contextvars.copy_context()

    def piece(self, model: LatentVariableModel, objective: Any) -> None:
        """Take steps for a moment, at least one.

        Raises:
            NonFiniteLoss, ValueError, TypeError: as `fit`; the next piece begins anew.
        """
        self.notice(model, objective)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", TrainingWarning)
            try:
                self._take_some(model, objective)
            except BaseException:
                self.close()
                raise
            finally:
                self._pass_on(said)

    def notice(self, model: LatentVariableModel, objective: Any) -> bool:
        """Whether there is something else to train; if so, the next piece begins anew.

        An optimizer does not know what was assigned to a part, or is to be trained from now on.
        """
        programs = [vars(model)[name] for name in model.replaced_programs]
        parameters = list(model.parameters())
        # kept, or a new object might have the id of one that is no more
        things = [model, objective, *model.modules(), *programs, *parameters]
        seen = [*map(id, things), *((p.requires_grad, p.dtype, p.device) for p in parameters)]
        anew = seen != self._trained[1]
        if anew:
            self.close()
            self._trained = things, seen
        return anew

    def rest(self) -> None:
        """Leave the model in the mode that it was in; the next piece goes on from here."""
        taken, self._steps = self._steps, None
        if taken is not None:  # in the context in which it was begun, as it resets variables
            self._context.run(taken.close)  # type: ignore[attr-defined]

    def close(self) -> None:
        """Rest, and let go of the data; the next piece makes a new optimizer."""
        self.rest()
        training, self._training = self._training, None
        if training is not None:
            training.close()

    def _take_some(self, model: LatentVariableModel, objective: Any) -> None:
        if self._training is None:
            self._training = self._context.run(
                steps, model, self.data, objective, epochs=ENDLESS, log_every=EVERY, **self.options
            )
        if self._steps is None:
            self._steps = self._context.run(iter, self._training)
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


def _check(options: dict[str, Any]) -> None:
    """Refuse at once what training could refuse, or leave without effect, only later."""
    taken = [n for n in inspect.signature(steps).parameters if n not in (*GIVEN, *REFUSED)]
    for name in options:
        if name in REFUSED:
            raise TypeError(f"a panel takes no {name}: {REFUSED[name]}; leave it out, or use fit")
        if name not in taken:
            raise TypeError(f"a panel takes the options {', '.join(taken)}, got {name!r}")
