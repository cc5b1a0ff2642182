"""Training as something to iterate over: `steps`, of which `fit` is the loop.

`passes` yields a batch, `Bound.arguments` makes tensors of it on the model's device, `Bound.check`
refuses what the model does not take, a `Step` updates the weights, a `Recorder` notes its terms.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from pyro import infer
from torch import Tensor, nn
from tqdm.auto import tqdm

from vaezoo.bound import Bound, check_pair, default_objective, dtype_of
from vaezoo.data.counts import as_count
from vaezoo.data.passes import Data, passes
from vaezoo.scopes import checks_data, one_thread, unchecked
from vaezoo.training.guards import Guard
from vaezoo.training.history import History
from vaezoo.training.interrupts import StopButton
from vaezoo.training.opened import Opened
from vaezoo.training.optimizers import make_optimizer
from vaezoo.training.preparing import is_known, trainable, training_mode
from vaezoo.training.rates import Rate, Rates
from vaezoo.training.recorder import Recorder
from vaezoo.training.settings import settings_of
from vaezoo.training.state import load_state_of, state_of
from vaezoo.training.step import Step
from vaezoo.training.validation import Validation

__all__ = ["Taken", "Training", "steps"]


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


def _nothing() -> None:
    pass


class Training:
    """Training that waits for you to ask for the next step: what `steps` returns.

    Args:
        step: takes the steps.
        batches: all of them, of which none has been taken.
        rates: changed after each step and at each record.
        recorder: writes the history.
        guard: looks at each record.
        settings: what it was started with, by name.
        known: whether one batch says what all hold, so that only the first one is checked.
        total: how many batches there are, where that is known.
        progress: show a progress bar.

    Attributes:
        button: pressed, it ends training after the step that is being taken.
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
        *,
        settings: dict[str, Any],
        known: bool,
        total: int | None,
        progress: bool,
    ) -> None:
        self.step, self.rates, self.recorder = step, rates, recorder
        self.button, self.ended, self._stopping = StopButton(), False, False
        self.settings, self.before_end = settings, _nothing
        self._batches, self._known, self._guard = batches, known, guard
        self._total, self._progress = total, progress

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

    def compile(self) -> None:
        """Compile the steps from now on, and say so on the progress bar."""
        self.step.compile(announce=lambda text: self.recorder.bar.set_postfix_str(text))

    def state_dict(self) -> dict[str, Any]:
        """All that the steps to come depend on, in tensors, numbers, texts, lists and dictionaries.

        The tensors are those in use, and change with the next step. To be asked for between two
        steps, such as in the body of a loop over them.

        Raises:
            TypeError: the data cannot say where they are.
        """
        return {"stopping": self._stopping, "batches": self._batches.state_dict()} | state_of(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another training was.

        Raises:
            ResumeError: that was started with other arguments; the message says which.
        """
        load_state_of(self, state)
        self._batches.load_state_dict(state["batches"])
        self._stopping = state["stopping"]

    def __iter__(self) -> Iterator[Taken]:
        """Take steps until the data end, or `stop`; a later loop goes on where one broke off.

        Raises:
            NonFiniteLoss, ValueError, TypeError: as `fit`.
        """
        if self.ended:
            return
        bar = tqdm(total=self._total, initial=self.recorder.steps, **self._shown())
        self.recorder.bar = bar
        check = checks_data()
        with training_mode(self.bound.model), bar, self.recorder.kept():
            batches = () if self._stopping else self.button.until(self._batches)
            for i, batch in enumerate(batches):
                yield self._take(batch, check=check, first=i == 0)
                if self._stopping:
                    break
            self.ended = True
            self.before_end()
            self._record(self.recorder.record("stopped: " if self.button.pressed else ""))

    def _shown(self) -> dict[str, Any]:
        return {"disable": not self._progress, "unit": "step"}

    def _take(self, batch: Any, *, check: bool, first: bool) -> Taken:
        with one_thread():
            terms = self._updated(batch, check=check and (first or not self._known), first=first)
            if self.step.broken:
                raise self._guard.error(self.recorder.step + 1, terms, self.history, batch)
            self.rates.step()
            objective: Any = self.bound.objective
            if hasattr(objective, "step"):
                objective.step()
            record = self._record(self.recorder.add(terms))
            self._guard.look(record, self.history, batch)
        return Taken(self.recorder.step, terms, record)

    def _updated(self, batch: Any, *, check: bool, first: bool) -> dict[str, Tensor]:
        """The terms of a batch, with which the weights are updated."""
        arguments = self.bound.arguments(batch)
        if check:
            self.bound.check(arguments)
        # Pyro's own checks, of programs rather than data, are made once
        with contextlib.nullcontext() if check and first else unchecked():
            return self.step(*arguments)

    def _record(self, record: dict[str, float] | None) -> dict[str, float] | None:
        self.rates.record(record)
        return record


def steps(
    model: nn.Module,
    data: Data,
    objective: infer.elbo.ELBO | None = None,
    *,
    steps: float | None = None,
    epochs: float | None = None,
    batch_size: int = 100,
    drop_last: bool = False,
    lr: Rate | None = None,
    optimizer: torch.optim.Optimizer | Callable[..., torch.optim.Optimizer] | None = None,
    scheduler: Any = None,
    max_grad_norm: float | None = None,
    validation: Data | None = None,
    history: Mapping[str, Sequence[float]] | None = None,
    log_every: int = 100,
    progress: bool = False,
    compile: bool = False,  # noqa: A002
    precision: str = "float32",
) -> Training:
    """The steps of a training, to be taken in a loop of yours.

    `fit` is such a loop. Write your own to look at each step, to change something on the way, or to
    pause: a loop that breaks off leaves the model in the mode it was in, and the next loop over the
    same training goes on behind it. In a notebook,

        training = steps(vae, digits, epochs=20)
        for taken in training:                    # one cell
            if taken.record:
                print(taken.record["bound"])
            if taken.step == 5000:
                break
        plots.samples(vae)                        # another, while training waits
        training.step.optimizer.param_groups[0]["lr"] = 1e-4
        for taken in training:                    # and on, at another rate
            if taken.step == 9000:
                training.stop()                   # for good

    The steps since the last record are recorded when training ends, and not where it waits. Within
    a loop the model is in training mode, and denormal numbers count as 0 (`cpu.tuned`). Ctrl-C
    interrupts as in any loop, also in the middle of a step; `fit` waits for the step's end.

    Args:
        model, data, objective: as in `fit`, and so are the others.
        progress: show a progress bar; here it is off by default.

    Returns:
        What takes a step each time that it is asked for the next, and yields what that did: its
        number, its terms and, where there is one, the record. Its attributes `history`, `bound`
        and `step` (with `step.optimizer`) are there at any time.

    Raises:
        ValueError, TypeError: as in `fit`.

    Example:
        >>> from vaezoo.models import VAE
        >>> training = steps(VAE(), [torch.zeros(7, 1, 28, 28)], steps=5, log_every=2)
        >>> for taken in training:
        ...     if taken.record:
        ...         break
        >>> taken.step, training.history["step"]
        (2, [2])
        >>> [taken.step for taken in training], training.history["step"]
        ([3, 4, 5], [2, 4, 5])
    """
    check_pair(model)
    bound = Bound(model, objective or default_objective(model, data), precision=precision)
    recorded, log_every = History.continuing(history), as_count("log_every", log_every)
    batches, total = passes(
        data, batch_size, steps, epochs, drop_last=drop_last, dtype=dtype_of(model)
    )
    known, opened = is_known(bound, data), Opened(batches)
    optimizer = make_optimizer(optimizer, lr, trainable(bound, opened.first))
    rates = Rates(scheduler, optimizer, lr)
    step = Step(bound, optimizer, max_grad_norm=max_grad_norm)
    validate = None if validation is None else Validation(bound, validation, batch_size)
    recorder = Recorder(log_every=log_every, validate=validate, history=recorded)
    settings = settings_of(
        *(model, bound.objective, optimizer, rates.scheduler),
        data=data,
        batch_size=batch_size,
        drop_last=drop_last,
        max_grad_norm=max_grad_norm,
        validation=validation,
        log_every=log_every,
        compile=compile,
        precision=precision,
        dtype=str(torch.get_default_dtype()),
    )
    training = Training(
        *(step, opened, rates, recorder, Guard(step, data, recorded)),
        settings=settings,
        known=known,
        total=total,
        progress=progress,
    )
    if compile:
        training.compile()
    return training
