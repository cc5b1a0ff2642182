"""A step that raises: what it had changed is put back, and a batch of one image is named.

A batch norm has no variance of one image. A pass ends with such a batch where the number of images
is one more than a multiple of the batch size; of `Images` that is known before the first step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from vaezoo.bound import Bound, dtype_of
from vaezoo.data import Images
from vaezoo.data.passes import one_pass
from vaezoo.scopes import in_mode, one_thread, own_generator, unchecked
from vaezoo.training.step import Step
from vaezoo.training.untrained import Untrained

__all__ = ["check_last_batch", "put_back"]

OF_ONE = "Expected more than 1 value per channel"  # torch's words


def check_last_batch(
    bound: Bound, data: Any, batch_size: int, total: int | None, *, drop_last: bool
) -> None:
    """Refuse images whose last batch is one, on which a batch norm of the model cannot train.

    Args:
        bound: what is to be trained.
        data: of any kind; of others than `Images` nothing is said.
        batch_size: of `Images`.
        total: steps that will be taken.
        drop_last: leave out a last batch that is smaller.

    Raises:
        ValueError: they are such.

    Example:
        >>> from vaezoo.data import digits
        >>> from vaezoo.models import VAE
        >>> check_last_batch(Bound(VAE()), digits("test")[:21], 20, 2, drop_last=False)
    """
    if drop_last or not isinstance(data, Images) or len(data) % batch_size != 1 or len(data) == 1:
        return
    reached = total is not None and total > len(data) // batch_size
    if not reached or not any(isinstance(m, _BatchNorm) for m in bound.modules()):
        return
    (batch,) = one_pass(data[:1], 1, dtype=dtype_of(bound.model), seed=0)
    one = bound.arguments(batch)
    with _naming_one(one), Untrained(bound).kept(), contextlib.ExitStack() as stack:
        for block in (one_thread(), torch.enable_grad(), own_generator(), unchecked()):
            stack.enter_context(block)
        stack.enter_context(in_mode(bound.model, True))
        bound.eager(*one)


@contextlib.contextmanager
def put_back(step: Step, arguments: Sequence[Tensor]) -> Iterator[None]:
    """Within it a step that raises leaves buffers and frozen weights as they were."""
    try:
        with _naming_one(arguments):
            yield
    except Exception:
        step.put_back()
        raise


@contextlib.contextmanager
def _naming_one(arguments: Sequence[Tensor]) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if len(arguments[0]) != 1 or OF_ONE not in str(error):
            raise
        raise ValueError(
            "a batch is of one image, on which a batch norm of the model cannot train: drop the "
            "last batch, drop_last=True, or choose another batch_size"
        ) from error
