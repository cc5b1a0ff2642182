"""Images of which it is known what they were made from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from torch import Tensor

from vaezoo.data.images import Images

__all__ = ["Factored"]


class Factored(Images):
    """Images with the factors behind them, as the functions that draw such images return them.

    Attributes:
        factors: one tensor per factor, its first axis the images. Indexing keeps them aligned.
    """

    def __init__(
        self,
        pixels: Tensor,
        labels: Tensor,
        *,
        factors: dict[str, Tensor],
        binarisation: str,
        name: str,
    ) -> None:
        super().__init__(pixels, labels, binarisation=binarisation, name=name)
        self.factors = factors

    def _map(self, function: Callable[[Tensor], Tensor]) -> Self:
        images = super()._map(function)
        assert isinstance(images, type(self))
        images.factors = {name: function(factor) for name, factor in self.factors.items()}
        return images
