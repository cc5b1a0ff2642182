"""The training loop, `fit`: the one that most people write around a `Bound`.

`passes` yields a batch, `Bound.arguments` makes tensors of it on the model's device, `Bound.check`
refuses what the model does not take, a `Step` updates the weights, a `Recorder` notes its terms.
Where `fit` is not what you need, write a loop of your own (see `vaezoo.bound`).
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from pyro import infer
from torch import Tensor, nn
from tqdm.auto import tqdm

from vaezoo.autograd import leaves
from vaezoo.bound import Bound, check_pair, default_objective, dtype_of
from vaezoo.cpu import tuned
from vaezoo.data import Images
from vaezoo.data.counts import as_count
from vaezoo.data.labels import check_classes
from vaezoo.data.passes import Data, passes
from vaezoo.data.semi_supervised import SemiSupervisedBatches
from vaezoo.objectives import SemiSupervised
from vaezoo.programs.pair import Member, required_arguments
from vaezoo.scopes import checks_data, in_mode, in_turn, one_thread, own_generator, unchecked
from vaezoo.training.alone import EndOfShares
from vaezoo.training.errors import NonFiniteLoss
from vaezoo.training.history import History
from vaezoo.training.interrupts import stop_button
from vaezoo.training.optimizers import make_optimizer
from vaezoo.training.rates import Rate, Rates
from vaezoo.training.recorder import Recorder
from vaezoo.training.step import Step
from vaezoo.training.together import together
from vaezoo.training.validation import Validation

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
    compile: bool = False,  # noqa: A002
    precision: str = "float32",
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
        lr: learning rate of Adam, 1e-3 by default; a number, or a function of the step, from 0.
        optimizer: one over `model.parameters()`, made after the last swap of a part; or a class of
            `torch.optim`, which is given `lr`, or a function of the parameters that returns one.
        scheduler: of that optimizer, or a function of the optimizer that returns one. It is
            advanced once a step; `ReduceLROnPlateau` at every record, by the validation loss, or
            by the loss where there are no validation data.
        max_grad_norm: scale gradients down to this norm, over all parameters, where it is larger.
        validation: data on which each record has terms too, always with the same noise; they do
            not change training.
        history: what earlier training returned, to go on from; it is not changed.
        log_every: steps between two records; each is a mean over the steps since the last.
        progress: show a progress bar.
        compile: compile the steps (see `Step.compile`). Off by default: it pays where steps save
            more than compiling takes, which is tens of seconds the first time and a few once the
            graph is on disk. Many particles, labels that are summed out and bf16 gain the most.
        precision: "bf16" runs the networks in bfloat16 (see `Bound`).

    Returns:
        Lists of equal length by name, in nats per image: step, seconds, loss; bound (unless the
        objective is a `RenyiELBO` with α ≠ 0); rec = E_q[log p(x|z)] and kl, with bound = rec - kl
        (of vaezoo's objectives only); log_qy of the labelled images where the objective is
        `SemiSupervised`; and validation_loss, … where there are validation data.

    Raises:
        NonFiniteLoss: a loss or its gradient is NaN or infinite; weights, buffers and history are
            kept.
        ValueError: the data hold no batch, the optimizer does not know all parameters, or
            max_grad_norm is not positive.
        TypeError: the model, data, optimizer or scheduler are something else.

    An error on the way carries the history until then, in its attribute `history`.
    """
    with stop_button() as stop, together() as here, here.noise():
        check_pair(model)
        bound = Bound(model, objective or default_objective(model, data), precision=precision)
        recorded, log_every = History.continuing(history), as_count("log_every", log_every)
        data = here.share(data, next(model.parameters(), None))
        batches, total = passes(
            data, batch_size, steps, epochs, drop_last=drop_last, dtype=dtype_of(model)
        )
        known = _is_known(bound, data)
        first = next(batches := in_turn(batches))
        optimizer = make_optimizer(optimizer, lr, _trainable(bound, first))
        rates = Rates(scheduler, optimizer, lr)
        step = here.step(bound, optimizer, max_grad_norm)
        validate = None if validation is None else Validation(bound, validation, batch_size, here)
        bar = tqdm(total=total, disable=not progress or here.world.rank > 0, unit="step")
        recorder = Recorder(bar, log_every=log_every, validate=validate, history=recorded)
        with _training(model), bar, recorder.kept():
            if compile:
                step.compile(announce=bar.set_postfix_str)
            with contextlib.suppress(EndOfShares):
                batches = here.until(itertools.chain([first], batches), stop)
                _train(step, batches, recorder, rates, known)
            rates.record(recorder.record("stopped: " if stop.pressed else ""))
    recorded.stopped, recorded.world = stop.pressed, here.world
    return recorded


def _is_known(bound: Bound, data: Data) -> bool:
    """Whether data are pixels, of which one batch says all; their labels are checked here."""
    if not isinstance(data, Images | SemiSupervisedBatches):
        return False
    images = data.labelled if isinstance(data, SemiSupervisedBatches) else data
    model: Any = bound.model
    semi_supervised = isinstance(bound.objective, SemiSupervised)
    if images.labels is not None and (semi_supervised or required_arguments(model.model) > 1):
        check_classes(images.labels, getattr(model, "classes", 0) or 2**62)
    return True


def _train(
    step: Step, batches: Iterable[Any], recorder: Recorder, rates: Rates, known: bool
) -> None:
    """Take a step with each batch; of known data only the first one is checked."""
    check, objective = checks_data(), step.bound.objective
    for batch in batches:
        with one_thread():
            first = recorder.steps == 0
            terms = _take(step, batch, check=check and (first or not known), first=first)
            if step.broken:
                numbers = {name: value.item() for name, value in terms.items()}
                raise NonFiniteLoss(recorder.step + 1, numbers, recorder.history)
            rates.step()
            if hasattr(objective, "step"):
                objective.step()
            rates.record(recorder.add(terms))


def _take(step: Step, batch: Any, *, check: bool, first: bool) -> dict[str, Tensor]:
    arguments = step.bound.arguments(batch)
    if check:
        step.bound.check(arguments)
    # Pyro's own checks, of programs rather than data, are made once
    with contextlib.nullcontext() if check and first else unchecked():
        return step(*arguments)


def _trainable(bound: Bound, batch: Any) -> dict[str, Tensor]:
    """Everything to train, by name: the module's parameters, and what else the loss depends on.

    A program of one's own may use `pyro.param`, a network from outside the model, or a guide that
    makes its parameters when it is first called. Such a bound is run once, and the leaves of its
    loss are trained too.
    """
    loss_leaves: list[Tensor] = []
    if not isinstance(bound.model, Member) or bound.model.replaced_programs:
        with one_thread(), in_mode(bound.model, False), own_generator():
            loss_leaves = leaves(bound(*bound.arguments(batch))["loss"])
    named = {n: p for n, p in bound.model.named_parameters() if p.requires_grad}
    known = {id(p) for p in named.values()}
    others = (p for p in loss_leaves if id(p) not in known)
    return named | {f"parameter {i} {tuple(p.shape)} of a program": p for i, p in enumerate(others)}


@contextlib.contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    """Within it a model is in training mode, and the CPU is tuned."""
    with contextlib.ExitStack() as stack:
        with one_thread():
            stack.enter_context(in_mode(model, True))
        stack.enter_context(tuned())
        try:
            yield
        finally:
            with one_thread():  # or another thread's evaluation would find its mode changed
                stack.close()
