"""Training as something to iterate over: `steps`, of which `fit` is the loop.

`passes` yields a batch, `Bound.arguments` makes tensors of it on the model's device, `Bound.check`
refuses what the model does not take, a `Step` updates the weights, a `Recorder` notes its terms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from pyro import infer
from torch import nn

from vaezoo.bound import Bound, default_objective, dtype_of
from vaezoo.compiler.choice import can_choose
from vaezoo.data.counts import as_count
from vaezoo.data.passes import Data, passes
from vaezoo.programs.outside import trained
from vaezoo.programs.refusing import check_pair
from vaezoo.training.alone import Alone
from vaezoo.training.averaging import Averages
from vaezoo.training.by_name import names_of
from vaezoo.training.guards import Guard
from vaezoo.training.history import History
from vaezoo.training.opened import Opened
from vaezoo.training.optimizers import make_optimizer
from vaezoo.training.preparing import check_trainable, is_known, trainable
from vaezoo.training.processes import is_alone, world
from vaezoo.training.raising import check_last_batch
from vaezoo.training.rates import Rate, Rates
from vaezoo.training.recorder import Recorder
from vaezoo.training.settings import check_same, settings_of
from vaezoo.training.step import Step
from vaezoo.training.timed_step import TimedStep
from vaezoo.training.training import Training
from vaezoo.training.validation import Validation
from vaezoo.training.weights import every_trained

__all__ = ["begin", "steps"]


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
    compile: bool | None = None,  # noqa: A002
    precision: str = "float32",
    average: float | None = None,
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
        RuntimeError: there are several processes, in which only `fit` works.

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
    if not is_alone():
        raise RuntimeError(
            f"steps(…) is for one process, got {world().size}: use fit, with callback=…"
        )
    return begin(
        *(Alone(), model, data, objective),
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


def begin(
    here: Alone,
    model: nn.Module,
    data: Data,
    objective: infer.elbo.ELBO | None,
    *,
    steps: float | None,
    epochs: float | None,
    batch_size: int,
    drop_last: bool,
    lr: Rate | None,
    optimizer: torch.optim.Optimizer | Callable[..., torch.optim.Optimizer] | None,
    scheduler: Any,
    max_grad_norm: float | None,
    validation: Data | None,
    history: Mapping[str, Sequence[float]] | None,
    log_every: int,
    progress: bool,
    compile: bool | None,  # noqa: A002
    precision: str,
    average: float | None,
) -> Training:
    """Training of which no step is taken yet: what `fit` and `steps` have in common.

    Args:
        here: the processes that train together; the other arguments are those of `fit`.

    Example:
        >>> from vaezoo.models import VAE
        >>> training = steps(VAE(), [torch.zeros(7, 1, 28, 28)], steps=5)
        >>> training.recorder.steps
        0
    """
    check_pair(model)
    check_trainable(model)
    bound = Bound(model, objective or default_objective(model, data), precision=precision)
    recorded, log_every = History.continuing(history), as_count("log_every", log_every)
    data = here.share(data, bound)
    batches, total = passes(
        data, batch_size, steps, epochs, drop_last=drop_last, dtype=dtype_of(model)
    )
    known, opened = is_known(bound, data), Opened(batches, here)
    weights, observed = trainable(bound, opened.first)
    check_last_batch(bound, data, batch_size, total, drop_last=drop_last)
    trained(model, weights)
    optimizer = make_optimizer(optimizer, lr, weights)
    rates = Rates(scheduler, optimizer, lr)
    compiles = here.compiles(compile)
    if compiles is None and can_choose(model):
        step: Step = TimedStep(bound, optimizer, max_grad_norm=max_grad_norm)
    else:
        step = here.step(bound, optimizer, max_grad_norm)
    validate: Callable[[], dict[str, float]] | None = None
    if validation is not None:
        validate = Validation(bound, validation, batch_size, here)
    averages = None if average is None else Averages(every_trained(weights, optimizer), average)
    if averages is not None and validate is not None:
        validate = averages.seen_by(validate)
    recorder = Recorder(log_every=log_every, validate=validate, history=recorded)
    settings = settings_of(
        *(model, bound.objective, optimizer, rates.scheduler),
        data=data,
        batch_size=batch_size,
        drop_last=drop_last,
        max_grad_norm=max_grad_norm,
        validation=validation,
        log_every=log_every,
        compile=compiles,
        precision=precision,
        dtype=str(torch.get_default_dtype()),
    )
    if average is not None:  # which older checkpoints do not know
        settings["average"] = average
    if here.world.size > 1:
        settings["processes"] = here.world.size
    groups = {"groups": str([sorted(names) for names in names_of(optimizer, model)])}
    check_same(here.gather(settings | groups | {"data": None, "validation": validation is None}))
    training = Training(
        *(step, opened, rates, recorder, Guard(step, data, recorded), here),
        settings=settings,
        known=known,
        total=total,
        progress=progress and here.world.rank == 0,
    )
    training.averages, training.observed = averages, observed
    if compile:
        training.compile()
    return training
