"""Labels as they come (lists, NumPy, integers of any size), made classes (N,) or refused.

A label that is misread gives a wrong number and no error: (N, 1) against (N,) broadcasts to N × N
comparisons, and -1 picks the last class. Whatever takes labels takes them through here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaezoo.data.batches import from_array

__all__ = ["Agreement", "as_labels", "check_classes", "integer_labels"]

_INTEGERS = (
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint16, torch.uint32, torch.uint64),
)


def as_labels(y: Any, n: int, classes: int, *, one_for_all: bool = False) -> Tensor:
    """Labels of n images as a tensor of dtype torch.long, shape (n,), each in 0..classes-1.

    Args:
        y: a tensor, an array or a list of n integers.
        n: how many images there are.
        classes: how many classes there are.
        one_for_all: take a single class for all images too.

    Raises:
        ValueError: y has another shape (a column, one-hot rows), is no integer, or lies outside the
            classes (numbered from 1, or -1 for "no label").

    Example:
        >>> as_labels([2, 0, 1], 3, classes=3)
        tensor([2, 0, 1])
        >>> as_labels(torch.tensor([[2], [0]]), 2, classes=3)
        Traceback (most recent call last):
        ...
        ValueError: expected integer classes y (2,), got (2, 1) of torch.int64: use y.squeeze(1)
    """
    labels = integer_labels(y, n, one_for_all=one_for_all)
    check_classes(labels, classes)
    return labels


def integer_labels(y: Any, n: int, *, one_for_all: bool = False) -> Tensor:
    """`as_labels` without a check of the values, for which an accelerator would have to wait.

    Example:
        >>> integer_labels([7], 1)
        tensor([7])
    """
    labels = y if isinstance(y, Tensor) else _tensor(y, n)
    single = one_for_all and labels.dim() == 0
    if labels.dtype not in _INTEGERS or not (single or labels.shape == (n,)):
        raise ValueError(
            f"expected integer classes y ({n},), got {tuple(labels.shape)} of {labels.dtype}: "
            f"{_remedy(labels, n)}"
        )
    if labels.dtype == torch.uint64 and (labels.view(torch.int64) < 0).any():
        raise ValueError(f"expected integer classes y ({n},), got one of 2^63 or more")
    return labels.long().expand(n) if single else labels.long()


def check_classes(labels: Tensor, classes: int) -> None:
    """Raise ValueError unless all labels lie in 0..classes-1.

    Example:
        >>> check_classes(torch.tensor([1, 3]), 3)
        Traceback (most recent call last):
        ...
        ValueError: labels must lie in 0..2, got 1..3: number the classes from 0, y - 1
    """
    if labels.numel() == 0:
        return
    low, high = int(labels.min()), int(labels.max())
    if low >= 0 and high < classes:
        return
    if low >= 1 and high == classes:
        remedy = "number the classes from 0, y - 1"
    elif low == -1 and high < classes:
        remedy = (
            "-1 is no class: leave such images out; a member that infers labels is trained on both "
            "kinds by data.semi_supervised(images)"
        )
    else:
        remedy = f"number the classes from 0, or build the model with classes={max(high, 0) + 1}"
    raise ValueError(f"labels must lie in 0..{classes - 1}, got {low}..{high}: {remedy}")


class Agreement:
    """Whether guesses are the labels, and whether labels are numbered as the guesses are.

    Labels 1, 2, 3 of a model of five classes lie in 0..4, and may be classes 0, 1, 2. They are
    taken for these where none of 20 labels or more is 0, not all are one class, and y - 1 is right
    more often than not, and at least twice as often as y.

    Example:
        >>> guesses = torch.arange(30) % 3
        >>> Agreement().of(guesses, guesses + 1, classes=5)
        Traceback (most recent call last):
        ...
        ValueError: of 30 labels none is 0, 0 agree with the model and 30 would as y - 1: use y - 1
    """

    def __init__(self) -> None:
        self.n = self.right = self.shifted = 0
        self.has_zero, self.seen = False, set[int]()

    def of(self, guesses: Tensor, y: Tensor, classes: int) -> Tensor:
        """Whether each guess (n,) is its label.

        Raises:
            ValueError: y is no such labels, or seems to be numbered from 1.
        """
        labels = as_labels(y, len(guesses), classes)
        right: Tensor = guesses == labels
        self.has_zero = self.has_zero or bool((labels == 0).any())
        if not self.has_zero:
            self._look(guesses, labels, right)
        return right

    def _look(self, guesses: Tensor, labels: Tensor, right: Tensor) -> None:
        self.n += len(labels)
        self.right += int(right.sum())
        self.shifted += int((guesses == labels - 1).sum())
        self.seen |= set(labels.unique().tolist())
        if len(self.seen) > 1 and self.n >= 20 and self.shifted > max(self.n / 2, 2 * self.right):
            raise ValueError(
                f"of {self.n} labels none is 0, {self.right} agree with the model and "
                f"{self.shifted} would as y - 1: use y - 1"
            )


def _tensor(y: Any, n: int) -> Tensor:
    try:
        return from_array(y)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"expected integer classes y ({n},), got a {type(y).__name__} that is no array of "
            f"numbers ({error})"
        ) from error


def _remedy(labels: Tensor, n: int) -> str:
    shape, dtype = tuple(labels.shape), labels.dtype
    if shape == () and dtype not in _INTEGERS:
        return "classes are integers, int(y)"
    if shape == (n,):
        if dtype.is_floating_point and labels.isnan().any():
            return (
                "images without a label go apart, data.semi_supervised(unlabelled, labelled); "
                "use y.long() for the rest"
            )
        return "use y.long(), if these are classes"
    if shape == (n, 1):
        return "use y.squeeze(1)"
    if shape == (1, n):
        return "use y.squeeze(0)"
    if len(shape) == 2 and shape[0] == n:
        return "one-hot rows become classes by y.argmax(-1)"
    if shape == () and n == 1:
        return "use y.reshape(1)"
    return f"one class for each of the {n} images"
