"""Images that are moved about at random, so that a few of them are more."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy

from torch import Generator, Tensor

from vaezoo.data.images import Images
from vaezoo.data.moves import Moves, wide_dtype

__all__ = ["Moved"]


class Moved(Images):
    """Images that are turned, sheared, scaled, shifted and bent at random, afresh for every batch.

    What moves is the grey levels, by bilinear interpolation, with black from outside; only then are
    they binarised. Each amount is uniform up to the one given, to either side, and 0 turns it off.
    Under a seed, `tensors` and batches of all images agree; smaller batches draw other moves.

    A hundred labelled digits gain much by it, and what they teach stays what a digit is:

        data.semi_supervised(images, data.Moved(images.labelled(100)))

    Args:
        images: any that are not ``static``, whose draw would be blurred; moved ones are moved on.
        degrees, shear, scale, shift: the largest amounts, as `Moves` takes them.
        elastic, smoothness: how much images are bent, as `Moves` takes them.

    Raises:
        TypeError: these are no `Images`.
        ValueError: they are ``static``, or an amount is out of range.

    Example:
        >>> from vaezoo.data import digits
        >>> few = digits("test", binarisation="none").labelled(100)
        >>> moved = Moved(few, degrees=0, shear=0, scale=0)
        >>> moved
        Moved(digits test, 100 × 1×28×28, none)
        >>> (x, y), (x_moved, _) = few.tensors(), moved.tensors()
        >>> x.shape == x_moved.shape, x.equal(x_moved)
        (True, False)
    """

    def __init__(
        self,
        images: Images,
        *,
        degrees: float = 15.0,
        shear: float = 0.2,
        scale: float = 0.1,
        shift: float = 2.0,
        elastic: float = 0.0,
        smoothness: float = 4.0,
    ) -> None:
        _check_grey(images)
        self.images = copy(images)  # whose pixels may be replaced
        super().__init__(
            images.pixels, images.labels, binarisation=images.binarisation, name=images.name
        )
        amounts = {"degrees": degrees, "shear": shear, "scale": scale, "shift": shift}
        self.moves = Moves(**amounts, elastic=elastic, smoothness=smoothness)

    @property
    def pixels(self) -> Tensor:
        """The grey levels before the moves, uint8 (N, C, H, W)."""
        return self.images.pixels

    @pixels.setter
    def pixels(self, pixels: Tensor) -> None:
        self.images.pixels = pixels

    @property
    def factors(self) -> dict[str, Tensor]:
        """Those of images that have them, such as sprites: as they were before the move."""
        factors: dict[str, Tensor] = self.images.factors  # type: ignore[attr-defined]
        return factors

    def grey_levels(self, index: slice | Tensor, generator: Generator | None) -> Tensor:
        """The pixels of some images, moved, uint8 (n, C, H, W)."""
        pixels = self.images.grey_levels(index, generator)
        grey = self.moves(pixels.to(wide_dtype()), generator)
        return grey.round_().clamp_(0, 255).byte()

    def _map(self, function: Callable[[Tensor], Tensor]) -> Moved:
        moved = copy(self)
        moved.images = self.images._map(function)
        moved.labels = None if self.labels is None else function(self.labels)
        return moved


def _check_grey(images: Images) -> None:
    if not isinstance(images, Images):
        raise TypeError(f"Moved takes data.Images(pixels, …), got a {type(images).__name__}")
    if images.binarisation == "static":
        raise ValueError(
            "images to move must keep their grey levels, got static ones, drawn once: load "
            "them with binarisation='dynamic'"
        )
