"""Street View House Numbers: colour crops 3×32×32 of one digit, with parts of its neighbours.

The data are for non-commercial use only.

References:
    Netzer, Wang, Coates, Bissacco, Wu, Ng. Reading Digits in Natural Images with Unsupervised
    Feature Learning. 2011.
"""

from __future__ import annotations

from pathlib import Path

import torch

from vaezoo.data._torchvision import datasets
from vaezoo.data.binarising import check_binarisation
from vaezoo.data.downloads import data_root, fetched
from vaezoo.data.images import Images
from vaezoo.data.mat import read_svhn

__all__ = ["svhn"]


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
