"""Pictures resident in memory as bytes, scaled and binarised one batch at a time.

A grey pixel is not an outcome of a Bernoulli, so every set of images says how it becomes one:

============  =============================================  ==========================
binarisation  x                                              drawn
============  =============================================  ==========================
``dynamic``   Bernoulli(pixel / 255)                         afresh for every batch
``static``    Bernoulli(pixel / 255)                         once, when the set is made
``threshold`` 1 where pixel >= 128, else 0                   never
``none``      pixel / 255, grey                              never
============  =============================================  ==========================

The choice moves a test likelihood of MNIST by about two nats, so results are comparable only
within one row.

References:
    On the quantitative analysis of deep belief networks (Salakhutdinov and Murray, 2008)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy

import torch
from torch import Generator, Tensor

from vaezoo.data.bernoulli import bernoulli

BINARISATIONS = ("dynamic", "static", "threshold", "none")


class Images:
    """N pictures of one shape, with or without labels.

    Arguments:
        pixels: uint8, shape (N, C, H, W).
        labels: int64 classes from 0, shape (N,), or None.
        binarisation: ``dynamic``, ``static``, ``threshold`` or ``none``; see this module.
        name: what `repr` calls the set.
        seed: of the draw that ``static`` fixes; PyTorch's global generator is left alone.

    Raises:
        TypeError: pixels are not uint8, or labels not int64.
        ValueError: a wrong shape, no image, a negative label or an unknown binarisation.

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
        pixels: Tensor,
        labels: Tensor | None = None,
        *,
        binarisation: str,
        name: str = "images",
        seed: int = 0,
    ) -> None:
        _check_pixels(pixels)
        _check_labels(labels, len(pixels))
        check_binarisation(binarisation)
        if binarisation == "static":
            pixels = 255 * bernoulli(pixels, Generator().manual_seed(seed), dtype=torch.uint8)
        self.pixels = pixels
        self.labels = labels
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

    def __getitem__(self, index: slice | Tensor) -> Images:
        """The same kind of images, fewer: a slice, an index tensor (n,) or a mask (N,).

        >>> images = Images(torch.zeros(9, 1, 2, 2, dtype=torch.uint8), binarisation="none")
        >>> len(images[:4]), len(images[torch.tensor([0, 0])]), len(images[torch.arange(9) > 6])
        (4, 2, 2)
        """
        if not isinstance(index, slice | Tensor) or (isinstance(index, Tensor) and index.ndim != 1):
            raise TypeError(
                "index images with a slice, a one-dimensional tensor of indices or a mask "
                f"(one picture: images[3:4]); got {index!r}"
            )
        chosen = self._map(lambda tensor: tensor[index])
        _check_pixels(chosen.pixels)
        return chosen

    def to(self, device: str | torch.device) -> Images:
        """The same images, kept on another device; batches come out there.

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
    ) -> Iterator[tuple[Tensor, ...]]:
        """One pass over the images: ``(x, y)`` for each batch, ``(x,)`` without labels.

        x has shape (batch, C, H, W), in [0, 1] and of torch's default dtype; y is int64 (batch,).
        The order and the binarisation follow `torch.manual_seed`, or `generator` if there is one.

        Raises:
            ValueError: batch_size is below 1, or drop_last would drop everything.

        >>> images = Images(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), binarisation="none")
        >>> [len(x) for (x,) in images.batches(2)]
        [2, 2, 1]
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1; got {batch_size}")
        if drop_last and batch_size > len(self):
            raise ValueError(
                f"drop_last=True leaves no batch: {len(self)} images are fewer than "
                f"batch_size={batch_size}; make batch_size smaller"
            )
        return self._batches(batch_size, shuffle, drop_last, generator)

    def _batches(
        self, batch_size: int, shuffle: bool, drop_last: bool, generator: Generator | None
    ) -> Iterator[tuple[Tensor, ...]]:
        order = torch.arange(len(self), device=self.pixels.device)
        if shuffle:
            device = generator.device if generator else "cpu"
            order = torch.randperm(len(self), generator=generator, device=device).to(order.device)
        stop = len(self) - len(self) % batch_size if drop_last else len(self)
        for start in range(0, stop, batch_size):
            yield self._tensors(order[start : min(start + batch_size, stop)], generator)

    def tensors(self, *, seed: int = 0) -> tuple[Tensor, ...]:
        """All images at once, ``(x, y)`` or ``(x,)``, binarised once: the evaluation protocol.

        The draw depends on `seed` alone, and PyTorch's global generator is left alone. Static
        images keep the draw they have.

        >>> pixels = torch.full((1, 1, 2, 3), 128, dtype=torch.uint8)
        >>> (x,) = Images(pixels, binarisation="dynamic").tensors(seed=1)
        >>> (again,) = Images(pixels, binarisation="dynamic").tensors(seed=1)
        >>> x.unique().tolist(), x.equal(again)
        ([0.0, 1.0], True)
        """
        return self._tensors(slice(None), Generator().manual_seed(seed))

    def labelled(self, n: int, *, seed: int = 0) -> Images:
        """A random subset of n images in all, equally many of every class.

        Raises:
            ValueError: there are no labels, n does not divide by the classes, or a class is short.

        >>> y = torch.arange(10) % 2
        >>> images = Images(torch.zeros(10, 1, 2, 2, dtype=torch.uint8), y, binarisation="none")
        >>> images.labelled(4).labels.bincount().tolist()
        [2, 2]
        """
        if self.labels is None:
            raise ValueError(f"{self} has no labels to choose by; give Images(pixels, labels, …)")
        labels = self.labels.cpu()
        classes, sizes = labels.unique(return_counts=True)
        each, rest = divmod(n, len(classes))
        if rest or each < 1:
            raise ValueError(
                f"n must be a positive multiple of the {len(classes)} classes; got {n}"
            )
        if each > sizes.min():
            short = classes[sizes.argmin()].item()
            raise ValueError(
                f"n={n} asks for {each} images of each class, but class {short} has {sizes.min()}; "
                f"ask for at most n={sizes.min() * len(classes)}"
            )
        order = torch.randperm(len(self), generator=Generator().manual_seed(seed), device="cpu")
        chosen = [order[labels[order] == y][:each] for y in classes]
        return self[torch.cat(chosen).sort().values]

    def _map(self, function: Callable[[Tensor], Tensor]) -> Images:
        images = copy(self)
        images.pixels = function(self.pixels)
        images.labels = None if self.labels is None else function(self.labels)
        return images

    def _tensors(self, index: slice | Tensor, generator: Generator | None) -> tuple[Tensor, ...]:
        if isinstance(index, Tensor):  # several times as fast as by brackets
            pixels = self.pixels.index_select(0, index)
        else:
            pixels = self.pixels[index]
        dtype = torch.get_default_dtype()
        if self.binarisation == "dynamic":
            x = bernoulli(pixels, generator, dtype=dtype)
        elif self.binarisation == "threshold":
            x = (pixels >= 128).to(dtype)
        else:
            x = pixels.to(dtype) / 255
        return (x,) if self.labels is None else (x, self.labels[index])


def check_binarisation(binarisation: str) -> None:
    """Raise ValueError for an unknown name, before a loader spends time on a download."""
    if binarisation not in BINARISATIONS:
        raise ValueError(
            f"binarisation must be one of {', '.join(BINARISATIONS)}; got {binarisation!r}"
        )


def _check_pixels(pixels: Tensor) -> None:
    if not isinstance(pixels, Tensor) or pixels.dtype != torch.uint8:
        raise TypeError(
            f"pixels must be a uint8 tensor with values 0 to 255; got {_describe(pixels)}. "
            "Floats in [0, 1] become one by (255 * x).round().byte()"
        )
    if pixels.ndim != 4:
        raise ValueError(
            f"pixels must have the shape (N, C, H, W); got {tuple(pixels.shape)}. "
            "Grey pictures (N, H, W) become so by pixels.unsqueeze(1)"
        )
    if pixels.numel() == 0:
        raise ValueError(f"at least one image is needed; got the shape {tuple(pixels.shape)}")


def _check_labels(labels: Tensor | None, n: int) -> None:
    if labels is None:
        return
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        raise TypeError(
            f"labels must be an int64 tensor; got {_describe(labels)}. torch.as_tensor(y).long()"
        )
    if labels.shape != (n,):
        raise ValueError(f"labels must have the shape ({n},); got {tuple(labels.shape)}")
    if labels.min() < 0:
        raise ValueError(f"labels must be classes from 0; the smallest is {labels.min()}")


def _describe(value: object) -> str:
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
