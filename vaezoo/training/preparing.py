"""Before the first step: what there is to train, what is known of the data, and the mode."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from vaezoo.autograd import leaves
from vaezoo.bound import Bound
from vaezoo.compiler.libraries import users_level
from vaezoo.cpu import tuned
from vaezoo.data import Images
from vaezoo.data.labels import check_classes
from vaezoo.data.passes import Data
from vaezoo.data.semi_supervised import SemiSupervisedBatches
from vaezoo.objectives import SemiSupervised
from vaezoo.objectives.schedules import schedules_in
from vaezoo.programs.observed import Observed
from vaezoo.programs.outside import besides
from vaezoo.programs.pair import Member, is_closed, required_arguments
from vaezoo.scopes import in_mode, one_thread, own_generator, unchecked, validation
from vaezoo.training.errors import TrainingWarning

__all__ = ["check_trainable", "is_known", "look_at_schedules", "trainable", "training_mode"]


def check_trainable(model: nn.Module) -> None:
    """Refuse to train where no gradient can be had.

    Raises:
        RuntimeError: gradients are off around the call.
        ValueError: parameters are on the meta device.

    Example:
        >>> with torch.no_grad():
        ...     check_trainable(nn.Linear(1, 1))
        Traceback (most recent call last):
        ...
        RuntimeError: training needs gradients, which are off here: leave torch.no_grad() or \
torch.inference_mode() before
    """
    if torch.is_inference_mode_enabled() or not torch.is_grad_enabled():
        raise RuntimeError(
            "training needs gradients, which are off here: leave torch.no_grad() or "
            "torch.inference_mode() before"
        )
    if names := [n for n, p in model.named_parameters() if p.is_meta]:
        raise ValueError(
            f"the model's {names[0]} is on the meta device, which holds no numbers: "
            "model.to_empty(device='cpu'), and initialise or load its weights"
        )
    if names := [n for n, p in model.named_parameters() if not is_lazy(p) and p.is_inference()]:
        raise ValueError(
            f"the model's {names[0]} was made in torch.inference_mode(), and cannot be trained: "
            "make the model outside it, or a copy of it, copy.deepcopy(model)"
        )


def is_known(bound: Bound, data: Data) -> bool:
    """Whether data are pixels, of which one batch says all; their labels are checked here.

    Grey ones (``none``) may be black and white in one batch and not in the next.
    """
    if not isinstance(data, Images | SemiSupervisedBatches):
        return False
    images = data.labelled if isinstance(data, SemiSupervisedBatches) else data
    model: Any = bound.model
    semi_supervised = isinstance(bound.objective, SemiSupervised)
    if images.labels is not None and (semi_supervised or required_arguments(model.model) > 1):
        check_classes(images.labels, getattr(model, "classes", 0) or 2**62)
    every = [data] if isinstance(data, Images) else [data.unlabelled, data.labelled]
    return all(each.binarisation != "none" for each in every)


def look_at_schedules(objective: Any, step: int) -> None:
    """Warn where a run begins, behind so many steps, with schedules that others have moved on."""
    for owner, name in schedules_in(objective):
        schedule = getattr(owner, name)
        if step == 0 and schedule.taken:
            warnings.warn(
                f"{name}={schedule!r} stands at step {schedule.taken:,}, where another run left "
                f"it, so that this one begins with {float(schedule.value):g}: give a new one to "
                "begin at its start, or history= of that run",
                TrainingWarning,
                stacklevel=users_level(),
            )


def trainable(bound: Bound, batch: Any) -> tuple[dict[str, Tensor], Observed]:
    """Everything to train, by name: the module's parameters, and what else the loss depends on.

    A program or part of one's own may use `pyro.param`, a network from outside the model, or a
    guide that makes its parameters when it is first called. Such a bound is run once, and the
    leaves of its loss are trained too. What it observed of the batch is the other thing returned.
    """
    loss_leaves: list[Tensor] = []
    observed = Observed([])
    if not is_closed(bound.model):
        arguments = bound.arguments(batch)
        bound.check(arguments)
        with one_thread(), in_mode(bound.model, False), own_generator():
            loss_leaves, observed = _run_once(bound, arguments)
    named = {n: p for n, p in bound.model.named_parameters() if p.requires_grad}
    return named | besides(bound.model, loss_leaves), observed


def _run_once(bound: Bound, arguments: list[Tensor]) -> tuple[list[Tensor], Observed]:
    try:
        with validation(), Observed(arguments) as observed:
            return leaves(bound(*arguments)["loss"]), observed
    except ValueError:
        if not isinstance(bound.model, Member):
            raise
    # what a member cannot make of them the first step says, which looks at numbers first
    with unchecked():
        return leaves(bound(*arguments)["loss"]), Observed([])


@contextlib.contextmanager
def training_mode(model: nn.Module) -> Iterator[None]:
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
