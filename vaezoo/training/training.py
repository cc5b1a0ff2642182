"""Training that waits to be asked for the next step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaezoo.bound import Bound
from vaezoo.data.bars import bar
from vaezoo.programs.observed import Observed
from vaezoo.scopes import checks_data, in_mode, one_thread, own_generator, unchecked, validation
from vaezoo.training.alone import Alone, EndOfShares
from vaezoo.training.averaging import Averages
from vaezoo.training.flags import Modes, modes_of, set_modes
from vaezoo.training.guards import Guard
from vaezoo.training.history import History
from vaezoo.training.interrupts import StopButton
from vaezoo.training.opened import Opened
from vaezoo.training.preparing import training_mode
from vaezoo.training.raising import put_back
from vaezoo.training.rates import Rates
from vaezoo.training.recorder import Recorder
from vaezoo.training.state import load_state_of, state_of
from vaezoo.training.step import Step
from vaezoo.training.timed_step import TimedStep
from vaezoo.training.untrained import Untrained

__all__ = ["Taken", "Training"]


class Taken(NamedTuple):
    """What one step did.

    Attributes:
        step: its number, from 1, the steps of earlier training included.
        terms: scalars of this step by name, in nats per image, on the model's device.
        record: the means over the steps since the last record, where one was written.
    """

    step: int
    terms: dict[str, Tensor]
    record: dict[str, float] | None


class Training:
    """Training that waits for you to ask for the next step: what `steps` returns.

    Args:
        step: takes the steps.
        batches: all of them, of which none has been taken.
        rates: changed after each step and at each record.
        recorder: writes the history.
        guard: looks at each record.
        here: the processes that train together, if there are several.
        settings: what it was started with, by name.
        known: whether one batch says what all hold, so that only the first one is checked.
        total: how many batches there are, where that is known.
        progress: show a progress bar.

    Attributes:
        button: pressed, it ends training after the step that is being taken.
        averages: of the weights, which the model has at the end, if there are to be some.
        modes: those of the model's modules in the loop, or that it is to go on with.
        observed: what programs of one's own, or of a member's part of one's own, observe.
        ended: whether training is over; then a loop over it takes no step.
        before_end: called after the last step, and before those since the last record are recorded.
    """

    def __init__(
        self,
        step: Step,
        batches: Opened,
        rates: Rates,
        recorder: Recorder,
        guard: Guard,
        here: Alone,
        *,
        settings: dict[str, Any],
        known: bool,
        total: int | None,
        progress: bool,
    ) -> None:
        self.step, self.rates, self.recorder = step, rates, recorder
        self.button, self.ended, self._stopping = StopButton(), False, False
        self.settings, self.before_end, self.here = settings, lambda: None, here
        self.averages: Averages | None = None
        self.modes: Modes = {}
        self.observed = Observed([])
        self._batches, self._known, self._guard = batches, known, guard
        self._total, self._progress = total, progress
        if isinstance(step, TimedStep):
            step.taken, step.announce = recorder.step, recorder.say
            step.last = None if total is None else recorder.step + total

    @property
    def bound(self) -> Bound:
        """The objective that is trained."""
        return self.step.bound

    @property
    def history(self) -> History:
        """The records so far."""
        return self.recorder.history

    def stop(self) -> None:
        """End training after the step that is being taken, or before the next one."""
        self._stopping = True

    def close(self) -> None:
        """Let go of the data, compiled steps and all processes, a loader's or a compiler's."""
        self.ended, self.before_end = True, lambda: None
        if (cache := self.step.cache) is not None:
            for step in cache.steps:
                step.close()
            state, cache.steps = cache.state_dict(), []
            cache.load_state_dict(state)  # which kinds of batches there were is still known
        self._batches.close()

    def compile(self) -> None:
        """Compile the steps from now on, and say so on the progress bar."""
        self.step.compile(announce=self.recorder.say)

    def state_dict(self) -> dict[str, Any]:
        """All that the steps to come depend on, in tensors, numbers, texts, lists and dictionaries.

        The tensors are those in use, and change with the next step. To be asked for between two
        steps, such as in the body of a loop over them.

        Raises:
            TypeError: the data cannot say where they are.
        """
        return {"stopping": self._stopping, "batches": self._batches.state_dict()} | state_of(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another training was; if it cannot, all is as before.

        Raises:
            ResumeError: that was started with other arguments; the message says which.
            RuntimeError: this one is over, and has let go of its data.
        """
        if self.ended:
            raise RuntimeError("this training is over: begin another, steps(…), to go on there")
        load_state_of(self, self._batches, state)
        self._stopping = state["stopping"]

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Within it the model has the averages, where there are some: what it will be judged by."""
        in_place = None if self.averages is None or self.ended else self.averages.in_place()
        return contextlib.nullcontext() if in_place is None else in_place

    def __iter__(self) -> Iterator[Taken]:
        """Take steps until the data end, or `stop`; a later loop goes on where one broke off.

        Raises:
            NonFiniteLoss, ValueError, TypeError: as `fit`.
        """
        if self.ended:
            return
        shown = bar(self._total, "step", shown=self._progress, initial=self.recorder.steps)
        self.recorder.bar = shown
        with one_thread():  # in its turn another thread may have the checks off
            check = checks_data()
        with training_mode(self.bound.model), shown, self.recorder.kept():
            set_modes(self.bound.model, self.modes)
            with contextlib.suppress(EndOfShares):
                until = self.here.until(self._batches, self.button)
                for i, batch in enumerate(() if self._stopping else until):
                    taken = self._take(batch, check=check, first=i == 0)
                    with self._kept_training():
                        yield taken
                    if self._stopping:
                        break
            self.ended = True
            self.before_end()
            self._record(self.recorder.record("stopped: " if self.button.pressed else ""))
            if self.averages is not None:
                self.averages.give()
            self.close()

    @contextlib.contextmanager
    def _kept_training(self) -> Iterator[None]:
        """Undo the `model.eval()` of somebody who has a look; parts may be put in any mode."""
        model = self.bound.model
        with one_thread():
            self.modes = modes_of(model)
        try:
            yield
        except BaseException:  # the loop is left, for now or for good
            self.modes = {}
            raise
        with one_thread():
            if not model.training:
                set_modes(model, self.modes)

    def _take(self, batch: Any, *, check: bool, first: bool) -> Taken:
        with one_thread():
            terms = self._updated(batch, check=check and (first or not self._known), first=first)
            if self.step.broken:
                raise self._guard.error(self.recorder.step + 1, terms, self.history, batch)
            self.history.compiled = self.step.ways
            record = self._moved_on(terms)
            self._guard.look(record, self.history, batch)
        return Taken(self.recorder.step, terms, record)

    def _moved_on(self, terms: dict[str, Tensor]) -> dict[str, float] | None:
        """The record of a step, if there is one, behind which averages, rates and schedules are."""
        if self.averages is not None:
            self.averages.update()
        objective: Any = self.bound.objective
        try:
            self.rates.step()
            if hasattr(objective, "step"):
                objective.step()
        except Exception:  # of a function of the user's: the step was taken
            self.recorder.add(terms)
            raise
        return self._record(self.recorder.add(terms))

    def _updated(self, batch: Any, *, check: bool, first: bool) -> dict[str, Tensor]:
        """The terms of a batch, with which the weights are updated."""
        arguments = self.bound.arguments(batch)
        if check:
            self.bound.check(arguments)
            if not first and self.observed.doubts(arguments):
                self._look_through(arguments)
        # Pyro's own checks, of programs rather than data, are made once
        checks = validation() if check and first else unchecked()
        with checks, put_back(self.step, arguments):
            return self.step(*arguments)

    def _look_through(self, arguments: list[Tensor]) -> None:
        """Run the programs with Pyro's checks, which say what is wrong with a batch."""
        bound = self.bound
        with (
            Untrained(bound).kept(),
            torch.no_grad(),
            in_mode(bound.model, False),
            own_generator(),
            validation(),
        ):
            bound.eager(*arguments)

    def _record(self, record: dict[str, float] | None) -> dict[str, float] | None:
        self.rates.record(record)
        return record
