"""Unlabelled and labelled batches side by side, as a semi-supervised objective takes them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, overload

from torch import Tensor

from vaezoo.data.counts import as_count
from vaezoo.data.image_pass import ImagePass
from vaezoo.data.images import Images
from vaezoo.data.semi_streamed import SemiSupervisedStream
from vaezoo.data.stream import Stream

__all__ = ["SemiSupervisedBatches", "semi_supervised"]


class SemiSupervisedBatches:
    """What `semi_supervised` returns, to iterate over as often as you like.

    Each iteration is one pass over the unlabelled images and yields ``(x, x_labelled, y_labelled)``
    with x of shape (n, C, H, W), x_labelled (m, C, H, W) and y_labelled int64 (m,).

    Example:
        >>> from vaezoo.data import digits
        >>> images = digits("test")
        >>> batches = semi_supervised(images, images.labelled(20), batch_size=1500)
        >>> [tuple(x.shape) for x, _, _ in batches]
        [(1500, 1, 28, 28), (500, 1, 28, 28)]
    """

    def __init__(
        self, unlabelled: Images, labelled: Images, *, batch_size: int, labelled_batch_size: int
    ) -> None:
        self.unlabelled = unlabelled
        self.labelled = labelled
        self.batch_size = batch_size
        self.labelled_batch_size = labelled_batch_size

    def __len__(self) -> int:
        """The number of batches in one pass."""
        return math.ceil(len(self.unlabelled) / self.batch_size)

    def __iter__(self) -> SemiSupervisedPass:
        return SemiSupervisedPass(self)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.unlabelled} in batches of {self.batch_size}, "
            f"{self.labelled} in batches of {self.labelled_batch_size})"
        )

    @property
    def labelled_fraction(self) -> float:
        """N_labelled / (N_labelled + N_unlabelled)."""
        return len(self.labelled) / (len(self.labelled) + len(self.unlabelled))

    def size_of(self, batch: tuple[Tensor, ...]) -> int:
        """How many unlabelled images a batch has."""
        return len(batch[0])


class SemiSupervisedPass(Iterator[tuple[Tensor, Tensor, Tensor]]):
    """One pass over the unlabelled images, which can say where it is and go on from there.

    Args:
        batches: what it is a pass over.
    """

    def __init__(self, batches: SemiSupervisedBatches) -> None:
        self._batches = batches
        self._unlabelled = batches.unlabelled.batches(batches.batch_size)
        self._labelled = self._labelled_pass()

    def __next__(self) -> tuple[Tensor, Tensor, Tensor]:
        x, *_ = next(self._unlabelled)
        pair = next(self._labelled, None)
        if pair is None:
            self._labelled = self._labelled_pass()
            pair = next(self._labelled)
        x_labelled, y_labelled = pair
        return x, x_labelled, y_labelled

    def state_dict(self) -> dict[str, Any]:
        """Where it is among the unlabelled images, and among the labelled ones."""
        states = self._unlabelled.state_dict(), self._labelled.state_dict()
        return dict(zip(("unlabelled", "labelled"), states, strict=True))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._unlabelled.load_state_dict(state["unlabelled"])
        self._labelled.load_state_dict(state["labelled"])

    def _labelled_pass(self) -> ImagePass:
        size = self._batches.labelled_batch_size
        return self._batches.labelled.batches(size, drop_last=True)


@overload
def semi_supervised(
    unlabelled: Images,
    labelled: Images | None = None,
    *,
    batch_size: int | None = None,
    labelled_batch_size: int | None = None,
) -> SemiSupervisedBatches: ...
@overload
def semi_supervised(
    unlabelled: Stream,
    labelled: Images,
    *,
    batch_size: int | None = None,
    labelled_batch_size: int | None = None,
) -> SemiSupervisedStream: ...
def semi_supervised(
    unlabelled: Images | Stream,
    labelled: Images | None = None,
    *,
    batch_size: int | None = None,
    labelled_batch_size: int | None = None,
) -> SemiSupervisedBatches | SemiSupervisedStream:
    """Batches of unlabelled images, each with labelled images beside it.

    One pass covers every unlabelled image once (labels it may have are ignored) and goes round the
    labelled images, reshuffled each time, as often as it takes.

    Args:
        unlabelled: the many images; or all of them, where -1 stands for "no label"; or a `Stream`.
        labelled: the few, with labels, of the same shape; by default those of the first set that
            have one, and the others are the unlabelled images.
        batch_size: unlabelled images at a time, 100 by default; a stream has its own.
        labelled_batch_size: labelled images at a time. None means all of them, but no more than
            batch_size.

    Raises:
        TypeError: a set is no `Images`, or a stream comes without labelled images.
        ValueError: labelled has no labels or one of -1, all or none of one set are labelled, the
            shapes differ, a size is out of range, or not that of the stream.

    Example:
        >>> from vaezoo.data import digits
        >>> images = digits("test")
        >>> batches = semi_supervised(images, images.labelled(100), batch_size=500)
        >>> [(len(x), len(x_labelled), len(y)) for x, x_labelled, y in batches]
        [(500, 100, 100), (500, 100, 100), (500, 100, 100), (500, 100, 100)]
        >>> len(batches), round(batches.labelled_fraction, 4)
        (4, 0.0476)
        >>> images.labels[30:] = -1
        >>> semi_supervised(images).labelled
        Images(digits test, 30 × 1×28×28, dynamic)
    """
    _check_kinds(unlabelled, labelled)
    if labelled is None:
        unlabelled, labelled = _split(unlabelled)
    _check_labelled(labelled)
    if unlabelled.x_shape != labelled.x_shape:
        raise ValueError(
            f"both sets must have one shape, got {unlabelled.x_shape} and {labelled.x_shape}"
        )
    batch_size = _batch_size(unlabelled, batch_size)
    size = _labelled_size(labelled_batch_size, batch_size, len(labelled))
    if isinstance(unlabelled, Stream):
        return SemiSupervisedStream(unlabelled, labelled, labelled_batch_size=size)
    return SemiSupervisedBatches(
        unlabelled, labelled, batch_size=batch_size, labelled_batch_size=size
    )


def _check_kinds(unlabelled: Any, labelled: Any) -> None:
    if not isinstance(unlabelled, Images | Stream) or not isinstance(labelled, Images | None):
        found = labelled if isinstance(unlabelled, Images | Stream) else unlabelled
        raise TypeError(
            "semi_supervised takes data.Images(pixels, labels), or a data.Stream of unlabelled "
            f"images, got a {type(found).__name__}"
        )


def _batch_size(unlabelled: Images | Stream, size: int | None) -> int:
    size = None if size is None else as_count("batch_size", size)
    if not isinstance(unlabelled, Stream):
        return size or 100
    if size not in (None, unlabelled.batch_size):
        raise ValueError(
            f"a stream has a batch_size of its own, {unlabelled.batch_size} here, got {size}: "
            f"data.Stream(…, batch_size={size})"
        )
    return unlabelled.batch_size


def _labelled_size(size: int | None, batch_size: int, n: int) -> int:
    """How many of the n labelled images come at a time."""
    if size is None:
        return min(batch_size, n)
    if not 1 <= (size := as_count("labelled_batch_size", size, least=0)) <= n:
        raise ValueError(
            f"labelled_batch_size must be between 1 and the {n} labelled images, got {size}"
        )
    return size


def _split(images: Images | Stream) -> tuple[Images, Images]:
    """The images without a label, and those with one."""
    if isinstance(images, Stream):
        raise TypeError(
            "the labelled images beside a stream come as data.Images, got none: "
            "semi_supervised(stream, labelled)"
        )
    labelled = None if images.labels is None else images.labels >= 0
    if labelled is None or labelled.all() or not labelled.any():
        have = "all" if labelled is not None and labelled.all() else "none"
        raise ValueError(
            f"of one set some images have labels and the others -1, and of {images} {have} have "
            "labels: give two sets, semi_supervised(unlabelled, labelled), such as "
            "semi_supervised(images, images.labelled(100))"
        )
    unlabelled = images[~labelled]
    unlabelled.labels = None
    return unlabelled, images[labelled]


def _check_labelled(images: Images) -> None:
    if images.labels is None:
        raise ValueError(f"labelled images need labels, and {images} has none")
    if n := int((images.labels < 0).sum()):
        raise ValueError(
            f"{n} of the {len(images)} labelled images have the label -1, which stands for none: "
            "give them as unlabelled, or leave them out, labelled[labelled.labels >= 0]; of one "
            "set, semi_supervised(images) does both"
        )
