"""Street View House Numbers: colour crops 3×32×32 of one digit, with parts of its neighbours.

The data are for non-commercial use only. In each file `X` is uint8 32×32×3×N in Fortran's order
and `y` has N labels, with 10 for the digit 0.

References:
    Netzer, Wang, Coates, Bissacco, Wu, Ng. Reading Digits in Natural Images with Unsupervised
    Feature Learning. 2011.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import IO

import numpy as np
import torch

from vaezoo.data._torchvision import datasets
from vaezoo.data.binarising import check_binarisation
from vaezoo.data.downloads import data_root, fetched
from vaezoo.data.images import Images
from vaezoo.data.mat import DEFLATE, NUMBERS, UINT8, Variable, variables

__all__ = ["read_svhn", "svhn"]

_IMAGE = (32, 32, 3)


def svhn(
    split: str = "train",
    *,
    binarisation: str = "none",
    root: str | Path | None = None,
    file: str | Path | None = None,
    seed: int = 0,
    download: bool = True,
) -> Images:
    """House numbers, 3×32×32: 73,257 for training, 26,032 for testing, 531,131 extra.

    Args:
        split: ``train``, ``test`` or ``extra``; ignored if a file is given.
        binarisation: ``none`` for colour; see `vaezoo.data.binarising`.
        root: the cache folder, as for `mnist`.
        file: a .mat file in the official layout, read as it is, instead of the cache.
        seed: of the draw that ``static`` fixes.
        download: False never uses the network.

    Raises:
        ValueError: the split or the binarisation is unknown, or the file is no SVHN or damaged.
        ConnectionError: the download failed.
        FileNotFoundError: the file is not there (and download is False).
        OSError: a file in the cache is damaged, or one cannot be read or written.

    Example:
        >>> svhn("test")  # doctest: +SKIP
        Images(svhn test, 26032 × 3×32×32, none)
        >>> svhn("valid")
        Traceback (most recent call last):
        ValueError: split must be 'train', 'test' or 'extra', got 'valid'
    """
    if split not in ("train", "test", "extra"):
        raise ValueError(f"split must be 'train', 'test' or 'extra', got {split!r}")
    check_binarisation(binarisation)
    name = split if file is None else Path(file).stem
    path = _fetch(split, data_root(root), download) if file is None else Path(file).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; file must be a .mat file of SVHN")
    pixels, labels = read_svhn(path)
    return Images(
        torch.from_numpy(pixels),
        torch.from_numpy(labels),
        binarisation=binarisation,
        name=f"svhn {name}",
        seed=seed,
    )


def _fetch(split: str, root: Path, download: bool) -> Path:
    address, name, md5 = datasets().SVHN.split_list[split]
    return fetched(
        root / name, name="SVHN", md5=md5, addresses=[address], download=download, files=[name]
    )


def read_svhn(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 (N, 3, 32, 32) and labels int64 (N,), in which 10 has become 0.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such file, or it is damaged.
    """
    with file.open("rb") as stream:
        size = file.stat().st_size
        try:
            return _images(stream, size)
        except Exception as error:  # zlib's, struct's, NumPy's, and those of this module
            raise ValueError(
                f"{file} is not a .mat file with X and y as SVHN has them, or it is damaged "
                f"({error}); delete it and download it again"
            ) from error


def _images(stream: IO[bytes], size: int) -> tuple[np.ndarray, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for variable in variables(stream, size):
        if variable.name == "X" and "X" not in arrays:
            arrays["X"] = _pixels(variable)
        elif variable.name == "y" and "y" not in arrays:
            arrays["y"] = _labels(variable, most=size * DEFLATE // math.prod(_IMAGE))
    if missing := {"X", "y"} - arrays.keys():
        raise ValueError(f"it holds no {' and no '.join(sorted(missing))}")
    if len(arrays["X"]) != len(arrays["y"]):
        raise ValueError(f"X has {len(arrays['X'])} images and y {len(arrays['y'])} labels")
    return arrays["X"], arrays["y"]


def _pixels(x: Variable) -> np.ndarray:
    """X as (N, 3, 32, 32), turned in place, because half a million images are many."""
    if (x.kind, x.type) != (UINT8, 2) or x.shape[:3] != _IMAGE or len(x.shape) not in (3, 4):
        kind = "uint8" if x.kind == UINT8 else f"class {x.kind}"
        raise ValueError(f"X must be uint8 of shape (32, 32, 3, N), got {kind} {x.shape}")
    pixels = x.values().reshape(-1, *_IMAGE[::-1])
    for start in range(0, len(pixels), 1000):
        block = pixels[start : start + 1000]
        block[:] = block.swapaxes(2, 3).copy()
    return pixels


def _labels(y: Variable, most: int) -> np.ndarray:
    n = math.prod(y.shape)
    if y.kind not in NUMBERS or len(y.shape) != 2 or n not in y.shape or n > most:
        raise ValueError(f"y must be numbers of shape (N, 1), got class {y.kind} {y.shape}")
    values = y.values()
    labels = values.astype(np.int64)
    if (labels != values).any() or labels.min() < 0 or labels.max() > 10:
        raise ValueError("the labels in y must be whole numbers from 1 to 10, 10 for the digit 0")
    return labels % 10
