"""Pictures resident in memory as bytes, scaled and binarised one batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, overload

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset

from vaezoo.data.binarising import bernoulli, check_binarisation, scaled
from vaezoo.data.counts import as_count, as_seed
from vaezoo.data.image_pass import ImagePass
from vaezoo.data.indices import as_number, as_rows
from vaezoo.data.labels import integer_labels
from vaezoo.data.pixels import as_pixels, check_pixels

__all__ = ["Images"]


class Images(Dataset[tuple[Tensor, ...]]):
    """N pictures of one shape, with or without labels.

    They are a torch `Dataset` too: one example (x, y) for each index, or (x,) without labels, for
    a `DataLoader`, `random_split` and their kin. `batches` is faster.

    Args:
        pixels: uint8, shape (N, C, H, W), a tensor or a NumPy array, which is not copied; one that
            is mapped from a file stays there.
        labels: classes from 0, shape (N,), integers in a tensor, an array or a list; -1 where an
            image has no label; or None.
        binarisation: ``dynamic``, ``static``, ``threshold`` or ``none``; see
            `vaezoo.data.binarising`.
        name: what `repr` calls the set.
        seed: of the draw that ``static`` fixes; PyTorch's global generator is left alone.

    Raises:
        TypeError: pixels are not uint8.
        ValueError: a wrong shape, no image, labels that are no classes (a column, one-hot rows,
            floats, negative) or an unknown binarisation.

    Example:
        >>> pixels = torch.tensor([0, 127, 128, 255], dtype=torch.uint8).reshape(2, 1, 1, 2)
        >>> images = Images(pixels, torch.tensor([3, 5]), binarisation="threshold")
        >>> images
        Images(images, 2 × 1×1×2, threshold)
        >>> x, y = images.tensors()
        >>> x.flatten().tolist(), y.tolist()
        ([0.0, 0.0, 1.0, 1.0], [3, 5])
    """

    def __init__(
        self,
        pixels: Tensor | np.ndarray,
        labels: Tensor | np.ndarray | Sequence[int] | None = None,
        *,
        binarisation: str,
        name: str = "images",
        seed: int = 0,
    ) -> None:
        check_binarisation(binarisation)
        self.pixels = as_pixels(pixels)
        self.labels = None if labels is None else _classes(labels, self.pixels)
        if binarisation == "static":
            generator = Generator().manual_seed(as_seed(seed))
            self.pixels = bernoulli(self.pixels, generator, dtype=torch.uint8).mul_(255)
        self.binarisation = binarisation
        self.name = name

    def __len__(self) -> int:
        return len(self.pixels)

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.x_shape))
        unlabelled = ", unlabelled" if self.labels is None else ""
        size = f"{len(self)} × {shape}"
        return f"{type(self).__name__}({self.name}, {size}, {self.binarisation}{unlabelled})"

    @property
    def x_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one picture."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    @overload
    def __getitem__(self, index: int) -> tuple[Tensor, ...]: ...

    @overload
    def __getitem__(self, index: slice | Tensor | np.ndarray | Sequence[int]) -> Images: ...

    def __getitem__(self, index: Any) -> tuple[Tensor, ...] | Images:
        """One example, or the same kind of images, fewer.

        Args:
            index: a number, for x (C, H, W), binarised as in `batches`, and y int64 (); or a slice,
                indices (n,) or a mask (N,), in a tensor, an array or a list, for `Images`.

        Raises:
            IndexError: there is no such image.
            TypeError: the index is none of these.
            ValueError: no image would be left, or a mask is not as long as the images.

        Example:
            >>> images = Images(torch.zeros(9, 1, 2, 2, dtype=torch.uint8), binarisation="none")
            >>> len(images[:4]), len(images[[0, -1]]), len(images[torch.arange(9) > 6])
            (4, 2, 2)
            >>> images[3]
            (tensor([[[0., 0.],
                     [0., 0.]]]),)
        """
        if (number := as_number(index)) is not None:
            return self.__getitems__([number])[0]
        rows = index if isinstance(index, slice) else as_rows(index, len(self))
        chosen = self._map(lambda tensor: tensor[rows])
        check_pixels(chosen.pixels)
        return chosen

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, ...]]:
        """The examples of these numbers, in one go, as a `DataLoader` asks for them."""
        rows = as_rows(indices, len(self)).to(self.pixels.device) % len(self)
        return list(zip(*self._tensors(rows, None), strict=True))

    def to(self, device: str | torch.device) -> Images:
        """The same images, kept on another device; batches come out there.

        Example:
            >>> images = Images(torch.zeros(9, 1, 2, 2, dtype=torch.uint8), binarisation="none")
            >>> images.to("meta").pixels.device.type
            'meta'
        """
        return self._map(lambda tensor: tensor.to(device))

    def batches(
        self,
        batch_size: int = 100,
        *,
        shuffle: bool = True,
        drop_last: bool = False,
        generator: Generator | None = None,
    ) -> ImagePass:
        """One pass over the images: ``(x, y)`` for each batch, ``(x,)`` without labels.

        It can say where it is (`ImagePass.state_dict`), and a later one goes on from there.

        x has shape (batch, C, H, W), in [0, 1] and of torch's default dtype; y is int64 (batch,).
        The order and the binarisation follow `torch.manual_seed`, or `generator` if there is one.

        Raises:
            ValueError: batch_size is below 1, or drop_last would drop everything.

        Example:
            >>> images = Images(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), binarisation="none")
            >>> [len(x) for (x,) in images.batches(2)]
            [2, 2, 1]
        """
        batch_size = as_count("batch_size", batch_size)
        if drop_last and batch_size > len(self):
            raise ValueError(
                f"drop_last=True leaves no batch: {len(self)} images are fewer than "
                f"batch_size={batch_size}; make batch_size smaller"
            )
        return ImagePass(
            *(len(self), self._tensors, batch_size),
            device=self.pixels.device,
            shuffle=shuffle,
            drop_last=drop_last,
            generator=generator,
        )

    def tensors(self, *, seed: int = 0) -> tuple[Tensor, ...]:
        """All images at once, ``(x, y)`` or ``(x,)``, binarised once: the evaluation protocol.

        The draw depends on `seed` alone, and PyTorch's global generator is left alone. Static
        images keep the draw they have.

        Example:
            >>> pixels = torch.full((1, 1, 2, 3), 128, dtype=torch.uint8)
            >>> (x,) = Images(pixels, binarisation="dynamic").tensors(seed=1)
            >>> (again,) = Images(pixels, binarisation="dynamic").tensors(seed=1)
            >>> x.unique().tolist(), x.equal(again)
            ([0.0, 1.0], True)
        """
        return self._tensors(slice(None), Generator().manual_seed(as_seed(seed)))

    def labelled(self, n: int, *, seed: int = 0) -> Images:
        """A random subset of n images in all, equally many of every class, none without a label.

        Raises:
            ValueError: there are no labels, n does not divide by the classes, or a class is short.

        Example:
            >>> y = torch.arange(10) % 2
            >>> images = Images(torch.zeros(10, 1, 2, 2, dtype=torch.uint8), y, binarisation="none")
            >>> images.labelled(4).labels.bincount().tolist()
            [2, 2]
        """
        labels = torch.tensor([-1]) if self.labels is None else self.labels.cpu()
        classes, sizes = labels[labels >= 0].unique(return_counts=True)
        if len(classes) == 0:
            raise ValueError(f"{self} has no labels to choose by; give Images(pixels, labels, …)")
        each, rest = divmod(as_count("n", n, least=0), len(classes))
        if rest or each < 1:
            raise ValueError(
                f"n must be a positive multiple of the {len(classes)} classes, got {n}"
            )
        if each > sizes.min():
            short = classes[sizes.argmin()].item()
            raise ValueError(
                f"n={n} asks for {each} images of each class, but class {short} has {sizes.min()}; "
                f"ask for at most n={sizes.min() * len(classes)}"
            )
        generator = Generator().manual_seed(as_seed(seed))
        order = torch.randperm(len(self), generator=generator, device="cpu")
        chosen = [order[labels[order] == y][:each] for y in classes]
        return self[torch.cat(chosen).sort().values]

    def grey_levels(self, index: slice | Tensor, generator: Generator | None) -> Tensor:
        """The pixels of some images, uint8 (n, C, H, W); a subclass may draw how it changes them.

        They are chosen by a slice or by indices (n,) from 0; None draws from torch's generator.

        Example:
            >>> images = Images(torch.ones(9, 1, 2, 2, dtype=torch.uint8), binarisation="none")
            >>> images.grey_levels(slice(1), None).flatten().tolist()
            [1, 1, 1, 1]
        """
        if isinstance(index, Tensor):  # several times as fast as by brackets
            return self.pixels.index_select(0, index)
        return self.pixels[index]

    def _map(self, function: Callable[[Tensor], Tensor]) -> Images:
        images = copy(self)
        images.pixels = function(self.pixels)
        images.labels = None if self.labels is None else function(self.labels)
        return images

    def _tensors(self, index: slice | Tensor, generator: Generator | None) -> tuple[Tensor, ...]:
        x = scaled(self.grey_levels(index, generator), self.binarisation, generator)
        return (x,) if self.labels is None else (x, self.labels[index])


def _classes(labels: Any, pixels: Tensor) -> Tensor:
    classes = integer_labels(labels, len(pixels))
    if classes.device.type != "meta" and (low := int(classes.min())) < -1:
        raise ValueError(f"labels must be classes from 0, or -1 for no label, got {low}")
    return classes.to(pixels.device)
