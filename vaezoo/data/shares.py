"""The rows of each batch that are one process's, where several share a data set out.

Every process draws the same order of the images, and reads only its own rows of a batch: pictures
are binarised by the generator of their own process.
"""

from __future__ import annotations

from torch import Generator, Tensor

from vaezoo.data.image_pass import ImagePass
from vaezoo.data.images import Images
from vaezoo.data.semi_supervised import SemiSupervisedBatches

__all__ = ["ImagesShare", "Rows", "SemiSupervisedShare"]


class Rows:
    """Which rows of a batch are a process's, all of about the same number.

    Args:
        rank: of the process, from 0.
        size: how many processes there are.

    Attributes:
        own: how many rows of the last batch were the process's.
        all: how many rows that batch had.

    Example:
        >>> rows = Rows(1, 2)
        >>> [9, 8, 7, 6, 5][rows.of(5)], rows.own, rows.all
        ([7, 6, 5], 3, 5)
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self.own = self.all = 0

    def of(self, n: int) -> slice:
        """The rows of a batch of n; the first one, which does not count, where it has none."""
        start, stop = n * self.rank // self.size, n * (self.rank + 1) // self.size
        self.own, self.all = stop - start, n
        return slice(start, stop) if self.own else slice(0, 1)


class ImagesShare(Images):
    """Images of which `batches` yields a process's rows of every batch.

    Args:
        images: the whole set, the same in all processes.
        rank, size: of the process, and how many there are.
        seed: of the order, the same in all processes.

    Attributes:
        rows: of the last batch, and `orders`, the generator that draws the order: in lists, as
            semi-supervised shares have two of each.

    Example:
        >>> from vaezoo.data import digits
        >>> shares = [ImagesShare(digits("test"), rank, 2, seed=0) for rank in (0, 1)]
        >>> [[len(x) for x, _ in share.batches(801)] for share in shares]
        [[400, 400, 199], [401, 401, 199]]
    """

    def __init__(self, images: Images, rank: int, size: int, seed: int) -> None:
        vars(self).update(vars(images))
        self.pixels = images.pixels  # of moved images a property
        self.images = images
        self.order, self.rows = Generator().manual_seed(seed), [Rows(rank, size)]
        self.orders = [self.order]

    def batches(
        self,
        batch_size: int = 100,
        *,
        shuffle: bool = True,
        drop_last: bool = False,
        generator: Generator | None = None,
    ) -> ImagePass:
        """One pass, in an order that all processes share; of each batch the process's rows."""
        own = self.order if generator is None else generator
        return super().batches(batch_size, shuffle=shuffle, drop_last=drop_last, generator=own)

    def _tensors(self, index: slice | Tensor, generator: Generator | None) -> tuple[Tensor, ...]:
        if generator is not self.order or not isinstance(index, Tensor):
            return self.images._tensors(index, generator)
        return self.images._tensors(index[self.rows[0].of(len(index))], None)

    def __repr__(self) -> str:
        return repr(self.images)


class SemiSupervisedShare(SemiSupervisedBatches):
    """A process's rows of semi-supervised batches, of the unlabelled and of the labelled images.

    The labelled fraction is that of the whole data.

    Args:
        batches: the whole data, the same in all processes.
        rank, size: of the process, and how many there are.
        seed: of the order, the same in all processes.

    Raises:
        ValueError: there are fewer labelled images in a batch than processes.

    Example:
        >>> from vaezoo.data import digits, semi_supervised
        >>> batches = semi_supervised(digits("test"), digits("test").labelled(20), batch_size=1500)
        >>> share = SemiSupervisedShare(batches, 0, 2, seed=0)
        >>> [(len(x), len(y)) for x, _, y in share]
        [(750, 10), (250, 10)]
        >>> share.labelled_fraction == batches.labelled_fraction
        True
    """

    def __init__(self, batches: SemiSupervisedBatches, rank: int, size: int, seed: int) -> None:
        if batches.labelled_batch_size < size:
            raise ValueError(
                f"labelled_batch_size must be at least the {size} processes that share a batch, "
                f"got {batches.labelled_batch_size}"
            )
        unlabelled = ImagesShare(batches.unlabelled, rank, size, seed)
        labelled = ImagesShare(batches.labelled, rank, size, seed + 1)
        self.rows = [*unlabelled.rows, *labelled.rows]
        self.orders = [unlabelled.order, labelled.order]
        super().__init__(
            unlabelled,
            labelled,
            batch_size=batches.batch_size,
            labelled_batch_size=batches.labelled_batch_size,
        )

    def size_of(self, batch: tuple[Tensor, ...]) -> int:
        """How many unlabelled images the batch has in all processes."""
        return self.rows[0].all
