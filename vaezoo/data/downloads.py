"""Files fetched once and kept in a cache folder, each checked against its published checksum.

The folder is `root` if given, else the environment variable ``VAEZOO_DATA``, else the user's cache
folder. Its layout is torchvision's, so an existing one can be shared: ``MNIST/raw/*.gz``,
``FashionMNIST/raw/*.gz``, ``train_32x32.mat``. Addresses and checksums are torchvision's too.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import time
from collections.abc import Iterable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO

from platformdirs import user_cache_dir

from vaezoo.data.patience import open_within

__all__ = ["data_root", "fetched", "intact"]

TIMEOUT = 30.0  # seconds without an answer, and after which the rate below is asked for
_SLOWEST = 1000  # bytes a second, on average
_LARGEST = 2**31  # bytes of one file; the largest of SVHN has 1.3e9
_CHUNK = 2**16
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.ENOTDIR, errno.EEXIST}


def data_root(root: str | Path | None = None) -> Path:
    """The cache folder: root, else ``$VAEZOO_DATA``, else the user's cache folder.

    Example:
        >>> data_root("pictures").name
        'pictures'
    """
    chosen = root or os.environ.get("VAEZOO_DATA") or user_cache_dir("vaezoo", appauthor=False)
    return Path(chosen).expanduser()


def fetched(
    file: Path, *, name: str, md5: str, addresses: list[str], download: bool, files: Iterable[str]
) -> Path:
    """The file, once it is there and intact.

    Args:
        file: where it belongs.
        name: of the dataset, for messages.
        md5: its checksum.
        addresses: where it may be had, tried in turn.
        download: False never uses the network.
        files: names of all that the dataset needs, for messages.

    Raises:
        ConnectionError: it is not there or damaged, and no address sent it.
        FileNotFoundError: it is not there, and download is False.
        OSError: it is damaged, and download is False; or its folder cannot be written to.
    """
    if intact(file, md5):
        return file
    repair = [f"Delete the damaged {file} and call again."] if file.exists() else []
    if download:
        failures = []
        for address in addresses:
            try:
                return _download(address, file, md5)
            except (OSError, ValueError, HTTPException) as error:
                if isinstance(error, OSError) and error.errno in _NOT_WRITABLE:
                    raise _not_writable(file.parent, error) from error
                failures.append(f"tried {address}: {error}")
        raise ConnectionError(_advice(name, file.parent, "; ".join(failures), files, *repair))
    if repair:
        raise OSError(_advice(name, file.parent, "a file is damaged", files, *repair))
    cause = "its files are not there, and download is False"
    raise FileNotFoundError(_advice(name, file.parent, cause, files))


def intact(file: Path, md5: str) -> bool:
    """Whether the file is there and has this checksum."""
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, _md5).hexdigest() == md5


def _md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)


def _not_writable(folder: Path, error: OSError) -> OSError:
    return OSError(
        error.errno,
        f"cannot write to {folder} ({error.strerror}); give another folder by root=… or the "
        "environment variable VAEZOO_DATA",
    )


def _download(address: str, file: Path, md5: str) -> Path:
    """Write the file, under a name of its own until it is whole and has its checksum."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".vaezoo-{secrets.token_hex(8)}.partial")
    try:
        with partial.open("xb") as stream, open_within(address, TIMEOUT) as answer:
            checksum = _copy(answer, stream)
        if checksum != md5:
            raise ConnectionError(f"what came has the checksum {checksum}, not {md5}")
        return partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def _copy(answer: HTTPResponse, stream: IO[bytes]) -> str:
    """Copy what comes, unless it stalls, trickles or never ends; returns its checksum."""
    start, length, digest = time.monotonic(), 0, _md5()
    while chunk := answer.read1(_CHUNK):
        stream.write(chunk)
        digest.update(chunk)
        length += len(chunk)
        seconds = time.monotonic() - start
        if seconds > TIMEOUT and length < _SLOWEST * (seconds - TIMEOUT):
            raise TimeoutError(f"only {length:,} bytes came in {seconds:.0f} seconds")
        if length > _LARGEST:
            raise ConnectionError(f"more than {_LARGEST:,} bytes came")
    return digest.hexdigest()


def _advice(name: str, folder: Path, cause: str, files: Iterable[str], *repair: str) -> str:
    return "\n".join(
        [
            f"{name} could not be loaded ({cause}).",
            *repair,
            f"By hand: put {', '.join(files)} into {folder}.",
            "Without a network: vaezoo.data.digits() and colour_digits() ship with the package.",
        ]
    )
