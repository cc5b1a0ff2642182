"""One visit to every image of a data set, and what is found there."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from vaezoo.bound import arguments, dtype_of
from vaezoo.chunks import Draws
from vaezoo.compiler.libraries import users_level
from vaezoo.components import outside_param_store
from vaezoo.cpu import tuned
from vaezoo.data.bars import bar
from vaezoo.data.batches import check_dense, columns_of
from vaezoo.data.counts import as_seed
from vaezoo.data.passes import Data, length_of, one_pass
from vaezoo.estimates import Estimate, Values
from vaezoo.programs.pair import Member, required_arguments
from vaezoo.programs.refusing import check_evaluable
from vaezoo.scopes import OwnGenerator, in_mode, one_thread, validation
from vaezoo.training.loaders import of_loaders
from vaezoo.training.opened import in_turn
from vaezoo.training.together import together

__all__ = [
    "batches_of",
    "check_model",
    "evaluating",
    "labelled",
    "outside_inference",
    "visit",
    "warn_of_factor",
]

_SHARES = (
    "each process has images of its own, whose order is not that of the values that they are held "
    "against: give all processes the whole data, or call it in one, with processes.alone()"
)

Found = Iterable[tuple[str, Tensor]]


def visit(
    model: nn.Module,
    data: Data,
    look: Callable[[list[Tensor]], Found],
    *,
    seed: int,
    batch_size: int,
    progress: bool,
    labels: bool = False,
    in_order: bool = False,
) -> dict[str, Estimate]:
    """What `look` finds of each image of a data set, as means with standard errors.

    Args:
        model: a pair; it is in evaluation mode, without gradients.
        data: `Images`, binarised once by `seed`, or an iterable of batches, read once as it goes.
        look: given the tensors of a batch, the names of quantities and their values (n,), of all
            of its images, or of some of them after the others.
        seed: of the pixels, and of all that `look` draws.
        batch_size: images at a time, where data are `Images`.
        progress: show a progress bar.
        labels: give `look` images and labels, rather than what the programs take.
        in_order: values are to be held against others, in the order of the data, which shares of
            several processes are not in: they come rank by rank for each batch.

    Raises:
        ValueError: they are such shares.
    """
    with outside_inference(), together() as here, tuned():
        batches = batches_of(model, data, seed=seed, batch_size=batch_size, labels=labels)
        noise, values = OwnGenerator(here.seed(as_seed(seed))), Values()
        total, shown = length_of(data, batch_size), progress and here.world.rank == 0
        with bar(total, "batch", shown=shown) as counted:
            for batch in here.parts(batches, list, seed, values):
                if in_order and here.has_share:
                    raise ValueError(_SHARES)
                with evaluating(model, noise):
                    values.see(*batch[: 1 + labels])
                    for name, each in look(batch):
                        values.add(name, each)
                counted.update()
        return here.values(values).estimates()


def check_model(model: Any) -> None:
    """Refuse what cannot be evaluated, and warn of weights whose dtype is too coarse for sums.

    Raises:
        TypeError, ValueError: as `check_evaluable`.
    """
    check_evaluable(model)
    dtype = dtype_of(model)
    if dtype is not None and dtype.itemsize < torch.float32.itemsize:
        warnings.warn(
            f"weights are {dtype}, in which sums over pixels are nats off: evaluate "
            "copy.deepcopy(model).float(), and train with precision='bf16'",
            stacklevel=users_level(),
        )


def batches_of(
    model: Any, data: Data, *, seed: int, batch_size: int, labels: bool = False
) -> Iterator[list[Tensor]]:
    """The batches of a data set as the programs take them, or as (x, y), one after the other.

    Raises:
        TypeError, ValueError: the model is no pair, or data are no iterable of batches for it.
    """
    check_model(model)
    takes = required_arguments(model.model)
    seed = as_seed(seed)
    batches = one_pass(data, batch_size, dtype=dtype_of(model), seed=seed)
    in_order = in_turn(batches, of_loaders(seed))
    given = (labelled(model, b) if labels else arguments(model, b, takes) for b in in_order)
    return map(_dense, given)


def _dense(batch: list[Tensor]) -> list[Tensor]:
    check_dense(batch[0])
    return batch


def labelled(model: Any, batch: Any) -> list[Tensor]:
    """Images and labels of a batch, whatever the programs take of it.

    Raises:
        ValueError: there are no labels, or a member's programs refuse the images.
    """
    columns = columns_of(batch)
    if len(columns) < 2:
        raise ValueError(
            f"{type(model).__name__} is held against labels, in batches (x, y), and a batch holds "
            "images alone: let the loader yield labels too"
        )
    x, y = arguments(model, tuple(columns[:2]))
    if isinstance(model, Member):
        model.check(x)
    return [x, y]


def warn_of_factor(draws: Draws) -> None:
    """Say once where weights are not those of log p(x)."""
    if draws.factor:
        warnings.warn(
            f"the guide's factor {draws.factor!r} makes its density one that does not sum to 1: "
            "niwae-k and log_px are no bounds and no estimates of log p(x); leave it out, or take "
            "evaluation.annealed",
            stacklevel=users_level(),
        )
    draws.factor = ""


@contextlib.contextmanager
def evaluating(model: nn.Module, noise: OwnGenerator) -> Iterator[None]:
    """No gradients, evaluation mode, a generator of our own, no other thread, Pyro's checks."""
    with (
        one_thread(),
        torch.no_grad(),
        in_mode(model, False),
        outside_param_store(),
        noise.drawn(),
        validation(),
    ):
        yield


def outside_inference() -> contextlib.AbstractContextManager[Any]:
    """Where a caller is in `torch.inference_mode`, gradients can be taken within it all the same.

    Example:
        >>> with torch.inference_mode(), outside_inference():
        ...     torch.zeros(1).is_inference()
        False
    """
    within = torch.is_inference_mode_enabled()
    # elsewhere it would end a no_grad
    return torch.inference_mode(False) if within else contextlib.nullcontext()
