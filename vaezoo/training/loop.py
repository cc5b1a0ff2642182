"""The training loop, `fit`: the one that most people write around a `Bound`.

It is a loop over `steps`; where it is not what you need, write one of your own, over `steps` or
around a `Step` (see `vaezoo.bound`).
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from pyro import infer
from torch import nn

from vaezoo.compiler.beside import ended
from vaezoo.data.passes import Data
from vaezoo.training.alone import Alone
from vaezoo.training.callbacks import Callback, Callbacks
from vaezoo.training.checkpointing import Checkpoints
from vaezoo.training.history import History
from vaezoo.training.interrupts import stop_button
from vaezoo.training.preparing import look_at_schedules
from vaezoo.training.rates import Rate
from vaezoo.training.settings import check_same
from vaezoo.training.stepping import begin
from vaezoo.training.together import together
from vaezoo.training.training import Training

__all__ = ["fit"]


def fit(
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
    progress: bool = True,
    compile: bool | None = None,  # noqa: A002
    precision: str = "float32",
    average: float | None = None,
    callback: Callback | Sequence[Callback] | None = None,
    checkpoint: str | os.PathLike[str] | Checkpoints | None = None,
    every: int | None = None,
) -> History:
    """Train a model in place.

    It is in training mode meanwhile, and afterwards in the mode it was in. What is frozen stays in
    evaluation mode: parts of which no parameter takes gradients (M1 in `M1M2.from_m1`), with their
    buffers, and, in a model in training mode, what was put in evaluation mode by hand (a batch
    norm).

    The stop button (Ctrl-C, SIGINT) is acted on between steps: the history until then is returned,
    its attribute `stopped` true. Pressed twice, it interrupts at once. Threads take turns, step by
    step, because Pyro's handlers belong to the whole process.

    Args:
        model: a member of the zoo, or any module that `Bound` takes.
        data: `data.Images`, or any iterable of batches that can be passed over more than once (a
            DataLoader, a list of tensors or of tuples of tensors; arrays and lists do for
            tensors).
        objective: the member's own by default.
        steps: gradient steps; or give `epochs`, passes over the data (by default 10).
        batch_size: images per batch, where `data` or `validation` is `Images`.
        drop_last: leave out a last batch of `Images` that is smaller: a batch norm cannot train
            on a single image.
        lr: learning rate of Adam, 1e-3 by default; a number, or a function of the step, from 0,
            such as `vaezoo.training.one_cycle`.
        optimizer: one over `model.parameters()`, made after the last swap of a part; or a class of
            `torch.optim`, or a `functools.partial` of one, which is given `lr`; or a function of
            the parameters that returns one.
        scheduler: of that optimizer, or a function of the optimizer that returns one. It is
            advanced once a step; `ReduceLROnPlateau` at every record, by the validation loss, or
            by the loss where there are no validation data.
        max_grad_norm: scale gradients down to this norm, over all parameters, where it is larger.
        validation: data on which each record has terms too, always with the same noise; they do
            not change training.
        history: what earlier training returned, to go on from; it is not changed. Where a folder
            of checkpoints holds a run, it is that with which the run began.
        log_every: steps between two records; each is a mean over the steps since the last.
        progress: show a progress bar.
        compile: compile the steps (see `Step.compile`), or do not. By default they run eagerly
            until it is known how long they take. Where it saves more time than it costs, another
            process compiles them, seconds to tens of seconds beside the training, with memory of
            its own. A program that cannot be compiled goes on eagerly. The choice is by the
            clock, so that two runs under one seed draw the same noise and may yet differ by
            rounding, from the first compiled step on; under True and False they do not. A resumed
            run keeps to its choice. Several processes, and models on a GPU, run eagerly by default.
        precision: "bf16" runs the networks in bfloat16 (see `Bound`).
        average: the model ends with exponential averages of its weights, of this decay, such as
            0.999 (see `vaezoo.training.averaging`): less noise, at the price of a pass over the
            weights. Validation and callbacks see the averages; training goes on without.
        callback: a function that is called with each record, a dict of numbers by name; where it
            returns True, training ends. Or several of them in a list. `EarlyStopping`, `KeepBest`
            and `Log` of `vaezoo.training` are such.
        checkpoint: a folder in which the run keeps where it is, so that the same call again goes on
            there, also after a kill, and ends as it would have ended without. SIGTERM and the stop
            button write a checkpoint and end training after the step. The data must be able to say
            where they are: `Images`, semi-supervised batches, lists and tuples can, others where
            they have `state_dict` and `load_state_dict`. `steps` and `epochs` may be others at the
            next call; another model, objective, optimizer or data are refused, and so is another
            number of processes. Or a `vaezoo.training.Checkpoints`.
        every: steps between two checkpoints in a folder, 1,000 by default; the last two and the
            best one are kept. `Checkpoints` have their own.

    Returns:
        Lists of equal length by name, in nats per image: step, seconds, loss; bound (unless the
        objective is a `RenyiELBO` with α ≠ 0); rec = E_q[log p(x|z)] and kl, with bound = rec - kl
        (of vaezoo's objectives only); beta where that is a schedule; log_qy of the labelled images
        where the objective is `SemiSupervised`, and consistency where it has one; and
        validation_loss, … where there are validation data.

    Raises:
        NonFiniteLoss: a loss or its gradient is NaN or infinite; weights, buffers and history are
            kept.
        ValueError: the data hold no batch, the optimizer does not know all parameters, or
            max_grad_norm is not positive; or `every` is another than that of `Checkpoints`.
        TypeError: the model, data, optimizer or scheduler are something else; or data or a
            scheduler cannot be resumed, where there are to be checkpoints.
        ResumeError: the checkpoint is of a run with other arguments, or damaged (a ValueError).

    An error on the way carries the history until then, in its attribute `history`.
    """
    signals = () if checkpoint is None else (signal.SIGTERM,)
    opened = functools.partial(_opened, checkpoint, every)
    # a process that waits for others to come is not to wait for them where it is told to end
    with (
        ended(),
        together() as here,
        stop_button(*signals) as stop,
        here.noise(),
        opened(here) as kept,
    ):
        callbacks = Callbacks(callback)
        training = begin(
            *(here, model, data, objective),
            steps=steps,
            epochs=epochs,
            batch_size=batch_size,
            drop_last=drop_last,
            lr=lr,
            optimizer=optimizer,
            scheduler=scheduler,
            max_grad_norm=max_grad_norm,
            validation=validation,
            history=history,
            log_every=log_every,
            progress=progress,
            compile=compile,
            precision=precision,
            average=average,
        )
        training.button = stop
        with training.recorder.kept(), contextlib.closing(training):
            _follow(training, callbacks, kept)
        training.history.stopped, training.history.world = here.any(stop.pressed), here.world
    return training.history


@contextlib.contextmanager
def _opened(
    given: str | os.PathLike[str] | Checkpoints | None, every: int | None, here: Alone
) -> Iterator[Checkpoints | None]:
    """Within it the folder of checkpoints, if there are to be some, is this run's alone."""
    if not isinstance(given, str | os.PathLike | Checkpoints | None):
        raise TypeError(f"checkpoint must be a folder or Checkpoints(folder, …), got {given!r}")
    if isinstance(given, Checkpoints) and every not in (None, given.every):
        raise ValueError(
            f"give every to the Checkpoints, Checkpoints(folder, every={every}), got {every} "
            f"beside theirs, which is {given.every}"
        )
    if every is None:
        every = given.every if isinstance(given, Checkpoints) else 1000
    check_same(here.gather({"checkpoint": given is not None, "every": every}))
    if given is None:
        yield None
        return
    checkpoints = given if isinstance(given, Checkpoints) else Checkpoints(given, every)
    with checkpoints.opened() if here.world.rank == 0 else contextlib.nullcontext():
        yield checkpoints


def _follow(training: Training, callbacks: Callbacks, checkpoints: Checkpoints | None) -> None:
    """Take all steps, with callbacks at each record, also at the last one, and checkpoints."""
    if not training.history:
        callbacks.begin_anew()
    if checkpoints is not None:
        checkpoints.resume(training, callbacks)
        training.button.keeps = True
        training.before_end = functools.partial(_write_last, training, callbacks, checkpoints)
    look_at_schedules(training.bound.objective, training.recorder.step)
    told = None
    for taken in training:
        if taken.record is not None:
            told = taken.record
            with training.averaged():
                stops = callbacks(told)
            if training.here.any(stops):
                training.stop()
        if checkpoints is not None and training.recorder.steps % checkpoints.every == 0:
            checkpoints.write(training, callbacks)
    if training.recorder.last is not told and training.recorder.last is not None:
        callbacks(training.recorder.last)
    if checkpoints is not None:
        checkpoints.finish()
        training.here.any(False)  # who waits there hears of a failure while it has the history


def _write_last(training: Training, callbacks: Callbacks, checkpoints: Checkpoints) -> None:
    """A checkpoint at the end, unless a batch was lost, behind which nobody can go on."""
    if not training.here.any(training.button.lost):
        checkpoints.write(training, callbacks)
