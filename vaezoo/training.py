"""Training: a loop that returns plain history.

`fit` is the loop that most people write around a `Bound`; where it does not fit, write your own
(see `vaezoo.bound`).
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import infer
from torch import Tensor, nn
from tqdm.auto import tqdm

from vaezoo.bound import Bound, default_objective
from vaezoo.cpu import tuned
from vaezoo.data import Images
from vaezoo.data.passes import one_pass, passes
from vaezoo.data.semi_supervised import SemiSupervisedBatches
from vaezoo.history import History, Mean, Recorder
from vaezoo.models import LatentVariableModel
from vaezoo.steps import Step
from vaezoo.tracing import leaves

__all__ = ["NonFiniteLoss", "fit"]


class NonFiniteLoss(ArithmeticError):
    """The loss or its gradient became NaN or infinite; the model is as it was before that step.

    Attributes:
        step: the step, counted from 1.
        terms: name and value of every reported term at that step.
        history: what `fit` had recorded until then.
    """

    def __init__(self, step: int, terms: dict[str, float], history: History) -> None:
        self.step, self.terms, self.history = step, terms, history
        broken = [n for n, v in terms.items() if not abs(v) < float("inf")] or ["the gradient"]
        super().__init__(
            f"step {step}: {', '.join(broken)} not finite "
            f"({', '.join(f'{n}={v:.4g}' for n, v in terms.items())}); the weights from before "
            "this step are kept: lower the learning rate, or look at the batch"
        )


def fit(
    model: nn.Module,
    data: Images | Iterable[Any],
    objective: infer.elbo.ELBO | None = None,
    *,
    steps: int | None = None,
    epochs: int | None = None,
    batch_size: int = 100,
    lr: float = 1e-3,
    optimizer: torch.optim.Optimizer | None = None,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
    max_grad_norm: float | None = None,
    validation: Images | Iterable[Any] | None = None,
    log_every: int = 100,
    progress: bool = True,
    compile: bool = False,  # noqa: A002
    precision: str = "float32",
) -> History:
    """Train a model in place.

    Args:
        model: a member of the zoo, or any module that `Bound` takes.
        data: `data.Images`, or any iterable of batches that can be passed over more than once (a
            DataLoader, a list of tensors or of tuples of tensors).
        objective: the member's own by default.
        steps: gradient steps; or give `epochs`, passes over the data (by default 10).
        batch_size: images per batch, where `data` or `validation` is `Images`.
        lr: learning rate of Adam, where no optimizer is given.
        optimizer: over `model.parameters()`; made after the last swap of a part.
        scheduler: of that optimizer, advanced once a step.
        max_grad_norm: scale gradients down to this norm, over all parameters, where it is larger.
        validation: evaluated at every record, without gradients.
        log_every: steps between two records; each is a mean over the steps since the last.
        progress: show a progress bar.
        compile: compile the steps (see `Step.compile`). Off by default: it pays where steps save
            more than compiling takes, which is tens of seconds the first time and a few once the
            graph is on disk. Many particles, labels that are summed out and bf16 gain the most.
        precision: "bf16" runs the networks in bfloat16 (see `Bound`).

    Returns:
        Lists of equal length: step, seconds, loss, bound (unless the objective is a `RenyiELBO`
        with α ≠ 0), rec, kl (these two with vaezoo's objectives only), and
        validation_loss, … where there are validation data. Nats per image.

    Raises:
        NonFiniteLoss: a loss or its gradient is NaN or infinite; weights, buffers and history are
            kept.
        ValueError: the data hold no batch, the optimizer does not know all parameters, or
            max_grad_norm is not positive.
    """
    objective = default_objective(model, data) if objective is None else objective
    bound = Bound(model, objective, precision=precision)
    batches, total = passes(data, batch_size, steps, epochs)
    first = next(batches)
    parameters = _trainable(bound, first)
    optimizer = optimizer or torch.optim.Adam(parameters.values(), lr=lr, fused=True)
    _check_optimizer(optimizer, parameters)
    step = Step(bound, optimizer, max_grad_norm=max_grad_norm)
    if validation is not None:
        _try_validation(bound, validation, batch_size)
    schedules: list[Any] = [s for s in (scheduler, bound.objective) if hasattr(s, "step")]
    check, once = dist.is_validation_enabled(), isinstance(data, Images | SemiSupervisedBatches)
    with _training(model), tqdm(total=total, disable=not progress, unit="step") as bar:
        validate = None if validation is None else lambda: _validate(bound, validation, batch_size)
        recorder = Recorder(bar, log_every=log_every, validate=validate)
        if compile:
            step.compile(announce=bar.set_postfix_str)
        for batch in itertools.chain([first], batches):
            terms = _taken(step, batch, check=check, first=recorder.step == 0)
            check = check and not once  # Images are pixels, and binarised in one way throughout
            if step.broken:
                found = {name: value.item() for name, value in terms.items()}
                raise NonFiniteLoss(recorder.step + 1, found, dict(recorder.history))
            for schedule in schedules:
                schedule.step()
            recorder.add(terms)
        recorder.record()
    return dict(recorder.history)


def _taken(step: Step, batch: Any, *, check: bool, first: bool) -> dict[str, Tensor]:
    arguments = step.bound.arguments(batch)
    if check:
        step.bound.check(arguments)
    # Pyro's own checks, of programs rather than data, are made once
    with pyro.validation_enabled(check and first):
        return step(*arguments)


def _trainable(bound: Bound, batch: Any) -> dict[str, Tensor]:
    """Everything to train, by name: the module's parameters, and what else the loss depends on.

    A program of one's own may use `pyro.param`, a network from outside the model, or a guide that
    makes its parameters when it is first called. Such a bound is run once, and the leaves of its
    loss are trained too.
    """
    written = isinstance(bound.model, LatentVariableModel)
    if not written or {"model", "guide"} & vars(bound.model).keys():
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            found = leaves(bound(*bound.arguments(batch))["loss"])
    else:
        found = []
    named = {n: p for n, p in bound.model.named_parameters() if p.requires_grad}
    known = {id(p) for p in named.values()}
    others = (p for p in found if id(p) not in known)
    return named | {f"parameter {i} {tuple(p.shape)} of a program": p for i, p in enumerate(others)}


def _check_optimizer(optimizer: torch.optim.Optimizer, parameters: dict[str, Tensor]) -> None:
    known = {id(p) for group in optimizer.param_groups for p in group["params"]}
    missing = [name for name, p in parameters.items() if id(p) not in known]
    if missing:
        raise ValueError(
            f"the optimizer does not train {', '.join(missing)}: it was made before a part was "
            "swapped, or for another model; make it again from model.parameters()"
        )


@contextlib.contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    """Training mode, on a tuned CPU."""
    mode = model.training
    model.train()
    try:
        with tuned():
            yield
    finally:
        model.train(mode)


@torch.no_grad()
def _try_validation(bound: Bound, validation: Images | Iterable[Any], batch_size: int) -> None:
    """One batch of the validation data, before the first step rather than after many."""
    batches = one_pass(validation, batch_size)
    batch = next(iter(batches), None)
    once = not isinstance(validation, Images) and iter(batches) is batches
    if batch is None or once:
        raise ValueError("validation data must hold a batch, and must not be a generator")
    training = bound.model.training
    bound.model.eval()
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            bound(*bound.arguments(batch))
    except ValueError as error:
        raise ValueError(f"validation data: {error}") from error
    finally:
        bound.model.train(training)


@torch.no_grad()
def _validate(
    bound: Bound, validation: Images | Iterable[Any], batch_size: int
) -> dict[str, float]:
    mean = Mean()
    bound.model.eval()
    for batch in one_pass(validation, batch_size):
        arguments = bound.arguments(batch)
        mean.add(bound(*arguments), weight=len(arguments[0]))
    bound.model.train()
    return mean.take()
