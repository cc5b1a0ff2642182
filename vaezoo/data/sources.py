"""What a loader, and data sets made of others, take their images from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import ChainDataset, ConcatDataset, DataLoader, Subset

__all__ = ["sources"]


def sources(data: Any) -> Iterator[Any]:
    """The data sets behind loaders, subsets and concatenations; data itself where it is none.

    Example:
        >>> from torch.utils.data import random_split
        >>> a, b = random_split([1, 2, 3], [1, 2])
        >>> [*sources(DataLoader(ConcatDataset([a, b, "cd"])))]
        [[1, 2, 3], [1, 2, 3], 'cd']
    """
    if isinstance(data, ConcatDataset | ChainDataset):
        for each in data.datasets:
            yield from sources(each)
    elif isinstance(data, DataLoader | Subset):
        yield from sources(data.dataset)
    else:
        # a loader of another library
        yield getattr(data, "dataset", data)
