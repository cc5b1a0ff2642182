"""Batches as they come from loaders, lists and arrays, made tensors or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["as_tensor", "as_tensors", "check_dense", "check_unmasked", "columns_of", "from_array"]

EXPECTED = "a batch is a tensor or array x, or a tuple such as (x, y)"


def as_tensors(batch: Any, like: Tensor | None, wanted: int | None = None) -> list[Tensor]:
    """The first `wanted` tensors of a batch (all by default), where `like` is.

    Floats of NumPy and of lists take the dtype of `like`; tensors keep their own.

    Args:
        batch: a tensor, an array or nested lists of images; or a tuple or list of several of
            them, (x, y).
        like: a parameter of the model; None moves and casts nothing.

    Raises:
        ValueError: the batch is something else, such as a dict, or a nested tensor.

    Example:
        >>> [t.tolist() for t in as_tensors(([[0.5]], [3]), torch.zeros(1))]
        [[[0.5]], [3]]
        >>> as_tensors({"image": torch.zeros(1), "label": torch.zeros(1)}, None)
        Traceback (most recent call last):
        ...
        ValueError: a batch is a tensor or array x, or a tuple such as (x, y), got a dict with \
keys image, label: make tuples of it, [(b["image"], b["label"]) for b in …]
    """
    tensors = [as_tensor(column, like) for column in columns_of(batch)[:wanted]]
    if tensors and tensors[0].is_nested:
        check_dense(tensors[0])
    return tensors


def as_tensor(value: Any, like: Tensor | None = None) -> Tensor:
    """One element of a batch as a tensor, where `like` is.

    Example:
        >>> as_tensor([[1.0]], torch.zeros(1, dtype=torch.float64)).dtype
        torch.float64
    """
    if isinstance(value, Tensor):
        return value if like is None else value.to(like.device, non_blocking=True)
    try:
        tensor = from_array(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{EXPECTED}, got a {type(value).__name__} in it ({error})") from error
    if like is None:
        return tensor
    dtype = like.dtype if tensor.is_floating_point() else tensor.dtype
    return tensor.to(like.device, dtype)


def from_array(value: Any) -> Tensor:
    """A tensor of an array, of what becomes one (a table of pandas), or of numbers in lists.

    It is on the CPU, whatever torch's default device is.

    Raises:
        TypeError, ValueError, RuntimeError: as torch has it; some numbers are masked.

    Example:
        >>> from_array([1, 2])
        tensor([1, 2])
    """
    check_unmasked(value)
    array = value.__array__() if hasattr(value, "__array__") else value
    if isinstance(array, np.ndarray):
        # torch warns of what may not be written, and knows no other byte order or negative strides
        native = array.dtype.newbyteorder("=")
        array = np.require(array, None if array.dtype == native else native, ["W"])
        array = array.copy() if min(array.strides, default=0) < 0 else array
    return torch.as_tensor(array, device="cpu")


def check_dense(x: Tensor) -> None:
    """Raise ValueError for a sparse or a nested tensor.

    Example:
        >>> check_dense(torch.eye(2).to_sparse())
        Traceback (most recent call last):
        ...
        ValueError: images must be dense, got a sparse tensor: x.to_dense()
    """
    if x.is_nested:
        raise ValueError("images must be dense, got a nested tensor: torch.stack(x.unbind())")
    if x.layout is not torch.strided:
        raise ValueError("images must be dense, got a sparse tensor: x.to_dense()")


def check_unmasked(value: Any) -> None:
    """Raise ValueError for a NumPy array of which some numbers are masked: torch would read them.

    Example:
        >>> check_unmasked(np.ma.masked_array([3, 5], mask=[False, True]))
        Traceback (most recent call last):
        ...
        ValueError: 1 of 2 numbers are masked: fill them, as labels with a.filled(-1)
    """
    if n := int(np.ma.count_masked(value)) if isinstance(value, np.ma.MaskedArray) else 0:
        raise ValueError(
            f"{n} of {np.size(value)} numbers are masked: fill them, as labels with a.filled(-1)"
        )


def columns_of(batch: Any) -> list[Any]:
    """What a batch holds, each of which is to be a tensor.

    Raises:
        ValueError: as `as_tensors`.

    Example:
        >>> columns_of([[0.5, 1.0], [0.0, 0.5]]), columns_of(("x", "y"))
        ([[[0.5, 1.0], [0.0, 0.5]]], ['x', 'y'])
    """
    if isinstance(batch, Tensor):
        return [batch]
    if isinstance(batch, list | tuple) and len(batch):
        return [batch] if _is_one(batch) else list(batch)
    if hasattr(batch, "__array__") and not isinstance(batch, Mapping):
        return [batch]
    raise ValueError(f"{EXPECTED}, got {_describe(batch)}")


def _is_one(batch: Any) -> bool:
    """Whether a list is the nested numbers of one tensor, rather than several tensors."""
    if not isinstance(batch[0], list | int | float):
        return False
    try:
        torch.as_tensor(batch)
    except (TypeError, ValueError, RuntimeError):
        return False
    return True


def _describe(batch: Any) -> str:
    if isinstance(batch, Mapping):
        keys = list(map(str, batch))
        columns = ", ".join(f'b["{key}"]' for key in keys)
        made = columns if len(keys) == 1 else f"({columns})"
        return f"a dict with keys {', '.join(keys)}: make tuples of it, [{made} for b in …]"
    empty = isinstance(batch, list | tuple)
    return f"an empty {type(batch).__name__}" if empty else f"a {type(batch).__name__}"
