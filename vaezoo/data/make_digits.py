"""A script that makes ``digits.npz`` from the four official files of MNIST, packed (.gz) or not.

    python -m vaezoo.data.make_digits FOLDER

The result is the same to the byte on every run: an .npz (a zip of .npy arrays) whose members are
LZMA-compressed, which `numpy.load` reads and `numpy.savez` cannot write.
"""

from __future__ import annotations

import sys
from pathlib import Path
from zipfile import ZIP_LZMA, ZipFile, ZipInfo

import numpy as np

from vaezoo.data.idx import read_idx

__all__ = ["make_digits"]

SIZES = {"train": 10_000, "test": 2_000}
STEMS = {"train": "train", "test": "t10k"}


def make_digits(folder: Path, *, file: Path) -> None:
    """Write the first images and labels of both splits of MNIST in `folder` to `file`."""
    with ZipFile(file, "w", ZIP_LZMA) as archive:
        for split, n in SIZES.items():
            for member, idx in (("pixels", "images-idx3"), ("labels", "labels-idx1")):
                values = read_idx(folder / f"{STEMS[split]}-{idx}-ubyte")[:n]
                info = ZipInfo(f"{split}_{member}.npy", date_time=(1980, 1, 1, 0, 0, 0))
                info.compress_type = ZIP_LZMA
                with archive.open(info, "w") as stream:
                    np.lib.format.write_array(stream, values, allow_pickle=False)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m vaezoo.data.make_digits FOLDER")
    make_digits(Path(sys.argv[1]), file=Path(__file__).with_name("digits.npz"))
