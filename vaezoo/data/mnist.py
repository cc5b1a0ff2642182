"""MNIST and Fashion-MNIST, from the files of the cache folder that `downloads` describes.

References:
    LeCun, Bottou, Bengio, Haffner. Gradient-Based Learning Applied to Document Recognition. 1998.
    Xiao, Rasul, Vollgraf. Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
    Algorithms. 2017. arXiv:1708.07747.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from vaezoo.data._torchvision import datasets
from vaezoo.data.binarising import check_binarisation
from vaezoo.data.downloads import data_root, fetched, intact
from vaezoo.data.idx import read_idx
from vaezoo.data.images import Images

__all__ = ["fashion_mnist", "mnist"]

# of the official files once they are unpacked, computed from the packed ones, whose own checksums
# torchvision knows
_UNPACKED = {
    "MNIST": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}


def mnist(
    split: str = "train",
    *,
    binarisation: str = "dynamic",
    root: str | Path | None = None,
    seed: int = 0,
    download: bool = True,
) -> Images:
    """Handwritten digits, 1×28×28: 60,000 for training or 10,000 for testing.

    Args:
        split: ``train`` or ``test``.
        binarisation: ``dynamic``, ``static``, ``threshold`` or ``none``; see
            `vaezoo.data.binarising`.
        root: the cache folder; see `vaezoo.data.downloads`.
        seed: of the draw that ``static`` fixes.
        download: False never uses the network.

    Raises:
        ValueError: the split or the binarisation is unknown.
        ConnectionError: the download failed.
        FileNotFoundError: the files are not there, and download is False.
        OSError: a file is damaged, or is not the official one, or the folder cannot be written to.

    Example:
        >>> mnist("test")  # doctest: +SKIP
        Images(mnist test, 10000 × 1×28×28, dynamic)
        >>> mnist("valid")
        Traceback (most recent call last):
        ValueError: split must be 'train' or 'test', got 'valid'
    """
    return _idx_images("MNIST", "mnist", split, binarisation, data_root(root), seed, download)


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

    Example:
        >>> fashion_mnist("test")  # doctest: +SKIP
        Images(fashion_mnist test, 10000 × 1×28×28, dynamic)
        >>> fashion_mnist("valid")
        Traceback (most recent call last):
        ValueError: split must be 'train' or 'test', got 'valid'
    """
    name = "fashion_mnist"
    return _idx_images("FashionMNIST", name, split, binarisation, data_root(root), seed, download)


def _idx_images(
    kind: str, name: str, split: str, binarisation: str, root: Path, seed: int, download: bool
) -> Images:
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    check_binarisation(binarisation)
    folder, stem = root / kind / "raw", "train" if split == "train" else "t10k"
    pixels, labels = (
        torch.from_numpy(_array(kind, folder / f"{stem}-{values}-ubyte", download))
        for values in ("images-idx3", "labels-idx1")
    )
    return Images(
        pixels.unsqueeze(1),
        labels.long(),
        binarisation=binarisation,
        name=f"{name} {split}",
        seed=seed,
    )


def _array(kind: str, file: Path, download: bool) -> np.ndarray:
    """The values of the unpacked file if there is one, else of the packed one, in memory."""
    if file.exists():
        if not intact(file, _UNPACKED[kind][file.name]):
            raise OSError(
                f"{kind} could not be loaded (a file is damaged, or is not the official one).\n"
                f"Delete the damaged {file} and call again.\n"
                "Images of your own: vaezoo.data.Images."
            )
        return read_idx(file)
    dataset = getattr(datasets(), kind)
    packed = file.with_name(file.name + ".gz")
    fetched(
        packed,
        name=kind,
        md5=dict(dataset.resources)[packed.name],
        addresses=[f"{mirror}{packed.name}" for mirror in dataset.mirrors],
        download=download,
        files=[name for name, _ in dataset.resources],
    )
    return read_idx(file)
