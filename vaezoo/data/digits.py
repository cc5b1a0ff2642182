"""The digits that ship with the package: a part of MNIST that needs no network.

References:
    Gradient-based learning applied to document recognition (LeCun, Bottou, Bengio and Haffner,
    1998). Source and licence of the data: ``digits.LICENSE.txt`` beside this file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from vaezoo.data.images import Images

FILE = Path(__file__).with_name("digits.npz")


def digits(split: str = "train", *, binarisation: str = "dynamic", seed: int = 0) -> Images:
    """The first 10,000 training or the first 2,000 test images of MNIST, 1×28×28.

    Arguments:
        split: ``train`` or ``test``.
        binarisation: ``dynamic``, ``static``, ``threshold`` or ``none``; see `Images`.
        seed: of the draw that ``static`` fixes.

    Raises:
        ValueError: the split or the binarisation is unknown.

    >>> images = digits("test")
    >>> images
    Images(digits test, 2000 × 1×28×28, dynamic)
    >>> images.labels[:8].tolist()
    [7, 2, 1, 0, 4, 1, 4, 9]
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test'; got {split!r}")
    with np.load(FILE, allow_pickle=False) as arrays:
        pixels = torch.from_numpy(arrays[f"{split}_pixels"])
        labels = torch.from_numpy(arrays[f"{split}_labels"]).long()
    return Images(
        pixels.unsqueeze(1), labels, binarisation=binarisation, name=f"digits {split}", seed=seed
    )
