"""The digits that ship with the package: a part of MNIST that needs no network.

Source and licence of the data: ``digits.LICENSE.txt`` beside this file.

References:
    LeCun, Bottou, Bengio, Haffner. Gradient-Based Learning Applied to Document Recognition. 1998.
"""

from __future__ import annotations

import io
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import torch

from vaezoo.data.images import Images

__all__ = ["digits"]

FILE = Path(__file__).with_name("digits.npz")
_LARGEST = 10_000 * 28 * 28 + 1000  # bytes of one array in it


def digits(split: str = "train", *, binarisation: str = "dynamic", seed: int = 0) -> Images:
    """The first 10,000 training or the first 2,000 test images of MNIST, 1×28×28.

    Args:
        split: ``train`` or ``test``.
        binarisation: ``dynamic``, ``static``, ``threshold`` or ``none``; see
            `vaezoo.data.binarising`.
        seed: of the draw that ``static`` fixes.

    Raises:
        ValueError: the split or the binarisation is unknown.
        OSError: the package's file is damaged.

    Example:
        >>> images = digits("test")
        >>> images
        Images(digits test, 2000 × 1×28×28, dynamic)
        >>> images.labels[:8].tolist()
        [7, 2, 1, 0, 4, 1, 4, 9]
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    try:
        with ZipFile(FILE) as archive:
            pixels, labels = (_array(archive, f"{split}_{name}") for name in ("pixels", "labels"))
        if pixels.shape != (len(labels), 28, 28) or labels.max() > 9:
            raise ValueError(f"pixels {pixels.shape} and labels {labels.shape} do not fit")
    except Exception as error:  # zipfile's, lzma's, NumPy's
        raise OSError(f"{FILE} is damaged ({error}): install vaezoo again") from error
    return Images(
        torch.from_numpy(pixels).unsqueeze(1),
        torch.from_numpy(labels).long(),
        binarisation=binarisation,
        name=f"digits {split}",
        seed=seed,
    )


def _array(archive: ZipFile, name: str) -> np.ndarray:
    """An array of bytes from an .npz, unpacked no further than the largest there is."""
    with archive.open(f"{name}.npy") as member:
        content = bytearray(member.read(_LARGEST))
        if member.read(1):
            raise ValueError(f"{name} is too large")
    stream = io.BytesIO(content)
    np.lib.format.read_magic(stream)
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype != np.uint8:
        raise ValueError(f"{name} is {dtype}")
    return np.frombuffer(content, np.uint8, offset=stream.tell()).reshape(shape)
