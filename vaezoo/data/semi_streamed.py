"""Labelled images in memory beside a stream of unlabelled ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from vaezoo.data.image_pass import ImagePass
from vaezoo.data.images import Images
from vaezoo.data.stream import Stream

__all__ = ["SemiSupervisedStream"]


class SemiSupervisedStream:
    """What `semi_supervised` returns for a stream, to iterate over as often as you like.

    Each iteration is one pass over the stream and yields ``(x, x_labelled, y_labelled)``, as
    `SemiSupervisedBatches` do. By `state_dict` it says where it is, for `fit` to go on from there.

    Args:
        unlabelled: the stream, whose labels are ignored.
        labelled: images with labels.
        labelled_batch_size: of them at a time.
    """

    def __init__(self, unlabelled: Stream, labelled: Images, *, labelled_batch_size: int) -> None:
        self.unlabelled, self.labelled = unlabelled, labelled
        self.labelled_batch_size = labelled_batch_size
        self._now: ImagePass | None = None
        self._next: dict[str, Any] | None = None

    def __len__(self) -> int:
        """The number of batches in one pass."""
        return len(self.unlabelled)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        labelled, at, self._next = self._pass(), self._next, None
        if at is not None:
            labelled.load_state_dict(at)
        self._now = labelled
        for x, *_ in self.unlabelled:
            if (pair := next(labelled, None)) is None:
                self._now = labelled = self._pass()
                pair = next(labelled)
            yield x, pair[0], pair[1]
        self._now = None

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.unlabelled}, "
            f"{self.labelled} in batches of {self.labelled_batch_size})"
        )

    @property
    def labelled_fraction(self) -> float:
        """N_labelled / (N_labelled + N_unlabelled)."""
        return len(self.labelled) / (len(self.labelled) + self.unlabelled.n)

    def state_dict(self) -> dict[str, Any]:
        """Where it is in the stream, and among the labelled images."""
        labelled = self._next if self._now is None else self._now.state_dict()
        return {"unlabelled": self.unlabelled.state_dict(), "labelled": labelled}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration go on from there.

        Raises:
            ValueError: it is the state of another stream.
        """
        self.unlabelled.load_state_dict(state["unlabelled"])
        self._now, self._next = None, state["labelled"]

    @contextlib.contextmanager
    def begun_anew(self) -> Iterator[None]:
        """Within it passes begin with the first one; afterwards it is where it was."""
        before, self._now, self._next = (self._now, self._next), None, None
        try:
            with self.unlabelled.begun_anew():
                yield
        finally:
            self._now, self._next = before

    def _pass(self) -> ImagePass:
        return self.labelled.batches(self.labelled_batch_size, drop_last=True)
