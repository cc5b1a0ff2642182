"""Street View House Numbers: colour crops 3×32×32 of one digit, with parts of its neighbours.

The data are for non-commercial use only.

References:
    Reading digits in natural images with unsupervised feature learning (Netzer, Wang, Coates,
    Bissacco, Wu and Ng, 2011)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaezoo.data._torchvision import datasets
from vaezoo.data.downloads import data_root, fetch
from vaezoo.data.images import Images, check_binarisation


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

    Arguments:
        split: ``train``, ``test`` or ``extra``; ignored if a file is given.
        binarisation: ``none`` for colour; see `Images`.
        root: the cache folder, as for `mnist`.
        file: a .mat file in the official layout, read as it is, instead of the cache.
        seed: of the draw that ``static`` fixes.
        download: False never uses the network.

    Raises:
        ModuleNotFoundError: scipy, which reads .mat files, is not installed.
        ValueError: the split or the binarisation is unknown, or the file is no SVHN.
        ConnectionError: the download failed.
        FileNotFoundError: the file is not there (and download is False).
        OSError: a file is damaged, or the folder cannot be written to.

    >>> svhn("test")  # doctest: +SKIP
    Images(svhn test, 26032 × 3×32×32, none)
    >>> svhn("valid")
    Traceback (most recent call last):
    ValueError: split must be 'train', 'test' or 'extra'; got 'valid'
    """
    if split not in ("train", "test", "extra"):
        raise ValueError(f"split must be 'train', 'test' or 'extra'; got {split!r}")
    check_binarisation(binarisation)
    loadmat = _loadmat()
    if file is None:
        found = _fetch(split, data_root(root), download)
        pixels, labels, name = found.data, found.labels, split
    else:
        pixels, labels = _read(Path(file), loadmat)
        name = Path(file).stem
    return Images(
        torch.from_numpy(np.ascontiguousarray(pixels)),
        torch.from_numpy(labels),
        binarisation=binarisation,
        name=f"svhn {name}",
        seed=seed,
    )


def _loadmat() -> Any:
    try:
        from scipy.io import loadmat
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "svhn reads .mat files with scipy, which is not installed: pip install scipy"
        ) from error
    return loadmat


def _fetch(split: str, root: Path, download: bool) -> Any:
    dataset = datasets().SVHN
    address, name, md5 = dataset.split_list[split]
    return fetch(
        lambda download: dataset(root, split=split, download=download),
        name="SVHN",
        folder=root,
        md5={name: md5},
        addresses=[address],
        download=download,
    )


def _read(file: Path, loadmat: Any) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 (N, 3, 32, 32) and labels int64 (N,), in which 10 stood for the digit 0."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not there; file must be a .mat file of SVHN")
    try:
        content = loadmat(file)
        pixels, labels = content["X"], content["y"].astype(np.int64).reshape(-1)
    except Exception as error:  # scipy raises a dozen kinds, from its own to zlib's
        raise ValueError(
            f"{file} is not a .mat file with X and y, or it is damaged; delete it and download it "
            f"again ({error!r})"
        ) from error
    shape = (32, 32, 3, len(labels))
    if pixels.dtype != np.uint8 or pixels.shape != shape:
        raise ValueError(
            f"X in {file} must be uint8 of shape {shape}, as y has {len(labels)} labels; "
            f"got {pixels.dtype} {pixels.shape}"
        )
    return pixels.transpose(3, 2, 0, 1), labels % 10
