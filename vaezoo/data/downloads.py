"""MNIST and Fashion-MNIST, fetched once by torchvision and kept in a cache folder.

The folder is `root` if given, else the environment variable ``VAEZOO_DATA``, else the user's cache
folder. Its layout is torchvision's, so an existing one can be shared: ``MNIST/raw/*.gz``,
``FashionMNIST/raw/*.gz``, ``train_32x32.mat``.

References:
    Gradient-based learning applied to document recognition (LeCun, Bottou, Bengio and Haffner,
    1998); Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms (Xiao,
    Rasul and Vollgraf, 2017)
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from platformdirs import user_cache_dir

from vaezoo.data._torchvision import datasets
from vaezoo.data.idx import read_idx
from vaezoo.data.images import Images, check_binarisation

_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.ENOTDIR, errno.EEXIST}


def mnist(
    split: str = "train",
    *,
    binarisation: str = "dynamic",
    root: str | Path | None = None,
    seed: int = 0,
    download: bool = True,
) -> Images:
    """Handwritten digits, 1×28×28: 60,000 for training or 10,000 for testing.

    Arguments:
        split: ``train`` or ``test``.
        binarisation: ``dynamic``, ``static``, ``threshold`` or ``none``; see `Images`.
        root: the cache folder; see this module.
        seed: of the draw that ``static`` fixes.
        download: False never uses the network.

    Raises:
        ValueError: the split or the binarisation is unknown.
        ConnectionError: the download failed.
        FileNotFoundError: the files are not there, and download is False.
        OSError: a file is damaged, or the folder cannot be written to.

    >>> mnist("test")  # doctest: +SKIP
    Images(mnist test, 10000 × 1×28×28, dynamic)
    >>> mnist("valid")
    Traceback (most recent call last):
    ValueError: split must be 'train' or 'test'; got 'valid'
    """
    return _idx_images("MNIST", split, binarisation, data_root(root), seed, download)


def fashion_mnist(
    split: str = "train",
    *,
    binarisation: str = "dynamic",
    root: str | Path | None = None,
    seed: int = 0,
    download: bool = True,
) -> Images:
    """Articles of clothing, 1×28×28: 60,000 for training or 10,000 for testing.

    Arguments and errors are those of `mnist`. The grey levels carry much of the picture here, so
    consider ``binarisation="none"`` with a likelihood for grey pixels.

    >>> fashion_mnist("test")  # doctest: +SKIP
    Images(fashion_mnist test, 10000 × 1×28×28, dynamic)
    >>> fashion_mnist("valid")
    Traceback (most recent call last):
    ValueError: split must be 'train' or 'test'; got 'valid'
    """
    return _idx_images("FashionMNIST", split, binarisation, data_root(root), seed, download)


def data_root(root: str | Path | None = None) -> Path:
    """The cache folder: root, else ``$VAEZOO_DATA``, else the user's cache folder.

    >>> data_root("pictures").name
    'pictures'
    """
    chosen = root or os.environ.get("VAEZOO_DATA") or user_cache_dir("vaezoo", appauthor=False)
    return Path(chosen).expanduser()


def fetch(
    dataset: Callable[[bool], Any],
    *,
    name: str,
    folder: Path,
    md5: dict[str, str],
    addresses: list[str],
    download: bool,
) -> Any:
    """`dataset(download)`, with every failure explained.

    Arguments:
        dataset: makes the torchvision dataset.
        name: of the dataset, for messages.
        folder: where its files belong.
        md5: the checksum of each of its files, by file name.
        addresses: where torchvision looks for them.
        download: False never uses the network; complete packed files are unpacked all the same.
    """
    try:
        return dataset(download or all(_intact(folder / file, md5[file]) for file in md5))
    except Exception as error:  # torchvision raises a dozen kinds, from zlib's to urllib's
        if isinstance(error, OSError) and error.errno in _NOT_WRITABLE:
            raise OSError(
                error.errno,
                f"cannot write to {folder} ({error.strerror}); give another folder by root=… or "
                "the environment variable VAEZOO_DATA",
            ) from error
        damaged = _damaged(folder, md5)
        if any(file not in md5 for file in damaged) or (damaged and not download):
            kind, cause = OSError, "a file is damaged"
        elif download:
            kind, cause = ConnectionError, f"tried {', '.join(addresses)}: {error}"
        else:
            kind, cause = FileNotFoundError, "its files are not there, and download is False"
        raise kind(_advice(name, folder, cause.strip(), damaged, list(md5))) from error


def _advice(name: str, folder: Path, cause: str, damaged: list[str], files: list[str]) -> str:
    repair = [f"Delete the damaged {folder / file} and call again." for file in damaged]
    return "\n".join(
        [
            f"{name} could not be loaded ({cause}).",
            *repair,
            f"By hand: put {', '.join(files)} into {folder}.",
            "Without a network: vaezoo.data.digits() and colour_digits() ship with the package.",
        ]
    )


def _damaged(folder: Path, md5: dict[str, str]) -> list[str]:
    present = [file for file in md5 if (folder / file).exists()]
    damaged = [file for file in present if not _intact(folder / file, md5[file])]
    for unpacked in (file.removesuffix(".gz") for file in md5 if file.endswith(".gz")):
        try:
            if (folder / unpacked).exists():
                read_idx(folder / unpacked)
        except ValueError:
            damaged.append(unpacked)
    return damaged


def _intact(file: Path, md5: str) -> bool:
    return datasets().utils.check_integrity(file, md5)


def _idx_images(
    kind: str, split: str, binarisation: str, root: Path, seed: int, download: bool
) -> Images:
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test'; got {split!r}")
    check_binarisation(binarisation)
    dataset = getattr(datasets(), kind)
    found = fetch(
        lambda download: dataset(root, train=split == "train", download=download),
        name=kind,
        folder=root / kind / "raw",
        md5=dict(dataset.resources),
        addresses=dataset.mirrors,
        download=download,
    )
    name = {"MNIST": "mnist", "FashionMNIST": "fashion_mnist"}[kind]
    return Images(
        found.data.unsqueeze(1),
        found.targets.long(),
        binarisation=binarisation,
        name=f"{name} {split}",
        seed=seed,
    )
