"""Files fetched once and kept in a cache folder, each checked against its checksums.

The folder is `root` if given, else the environment variable ``VAEZOO_DATA``, else the user's cache
folder. Its layout is torchvision's, so an existing one can be shared: ``MNIST/raw/*.gz``,
``FashionMNIST/raw/*.gz``, ``train_32x32.mat``. Addresses and MD5 checksums are torchvision's too.

Of several processes that need a file, one fetches it and the others wait for it. What a cut left is
gone on with, where the server can do that; a file takes its place once it is whole.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from http.client import HTTPException, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import IO

from platformdirs import user_cache_dir

from vaezoo.data.files import beside
from vaezoo.data.locks import one_process
from vaezoo.data.patience import open_within

__all__ = ["data_root", "fetched", "intact"]

TIMEOUT = 30.0  # seconds without an answer, and after which the rate below is asked for
_SLOWEST = 1000  # bytes a second, on average
_LARGEST = 2**31  # bytes of one file; the largest of SVHN has 1.3e9
_CHUNK = 2**16
_TIMES = 5  # that a transfer is gone on with after a cut
_NOT_THERE = "its files are not there, and download is False"
_NOT_WRITABLE = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOTDIR,
    errno.EEXIST
}  # fmt: skip


def data_root(root: str | Path | None = None) -> Path:
    """The cache folder: root, else ``$VAEZOO_DATA``, else the user's cache folder.

    Example:
        >>> data_root("pictures").name
        'pictures'
    """
    chosen = root or os.environ.get("VAEZOO_DATA") or user_cache_dir("vaezoo", appauthor=False)
    return Path(chosen).expanduser()


def fetched(
    file: Path,
    *,
    name: str,
    md5: str,
    addresses: list[str],
    download: bool,
    files: Iterable[str],
    sha256: str | None = None,
) -> Path:
    """The file, once it is there and intact.

    Args:
        file: where it belongs.
        name: of the dataset, for messages.
        md5: its checksum.
        addresses: where it may be had, tried in turn.
        download: False never uses the network.
        files: names of all that the dataset needs, for messages.
        sha256: its other checksum, where it is known.

    Raises:
        ConnectionError: it is not there or damaged, and no address sent it.
        FileNotFoundError: it is not there, and download is False.
        OSError: it is damaged, and download is False; or its folder cannot be written to. What was
            there before is there still.
    """
    checksums = (md5,) if sha256 is None else (md5, sha256)
    if intact(file, *checksums):
        return file
    if download:
        with _writable(file.parent), one_process(file):
            return _fetch(file, name, checksums, addresses, files)
    if file.exists():
        raise OSError(_advice(name, file.parent, "a file is damaged", files, *_repair(file)))
    raise FileNotFoundError(_advice(name, file.parent, _NOT_THERE, files))


def _fetch(
    file: Path, name: str, checksums: tuple[str, ...], addresses: list[str], files: Iterable[str]
) -> Path:
    """Fetch the file, unless another process has done so meanwhile."""
    if intact(file, *checksums):
        return file
    failures = []
    for address in addresses:
        try:
            return _download(address, file, checksums)
        except (OSError, ValueError, HTTPException) as error:
            if isinstance(error, OSError) and error.errno in _NOT_WRITABLE:
                raise
            failures.append(f"tried {address}: {error}")
    raise ConnectionError(_advice(name, file.parent, "; ".join(failures), files, *_repair(file)))


def _repair(file: Path) -> list[str]:
    return [f"Delete the damaged {file} and call again."] if file.exists() else []


def intact(file: Path, *checksums: str) -> bool:
    """Whether the file is there and has these checksums: MD5 of 32 letters, or SHA-256 of 64.

    Example:
        >>> intact(Path("no such file"), "d41d8cd98f00b204e9800998ecf8427e")
        False
    """
    return file.is_file() and not _other_checksum(file, checksums)


def _other_checksum(file: Path, checksums: Iterable[str]) -> str:
    """The first checksum of the file that is another than it should be, or nothing."""
    for checksum in checksums:
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, _sha256 if len(checksum) == 64 else _md5)
        if found.hexdigest() != checksum:
            return f"{found.hexdigest()}, not {checksum}"
    return ""


def _md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)


def _sha256() -> hashlib._Hash:
    return hashlib.sha256()


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Within it a folder is there; an error on writing to it says what to do."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        raise OSError(
            error.errno,
            f"cannot write to {folder} ({error.strerror}); give another folder by root=… or the "
            "environment variable VAEZOO_DATA",
        ) from error


def _download(address: str, file: Path, checksums: tuple[str, ...]) -> Path:
    """Write the file, under a name of its own until it is whole and has its checksums."""
    partial = beside(file)
    try:
        with partial.open("xb") as stream:
            _receive(address, stream)
        if other := _other_checksum(partial, checksums):
            raise ConnectionError(f"what came has the checksum {other}")
        return partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def _receive(address: str, stream: IO[bytes]) -> None:
    """Write what an address sends; after a cut go on from there, as long as more comes."""
    for left in reversed(range(_TIMES)):
        before = stream.tell()
        try:
            with open_within(address, TIMEOUT, start=before) as answer:
                if answer.status != 206:  # all of it: this server does not go on
                    stream.seek(0)
                    stream.truncate()
                _copy(answer, stream)
                return
        except (OSError, HTTPException) as error:
            written = isinstance(error, OSError) and error.errno in _NOT_WRITABLE
            if written or isinstance(error, _Refused) or not left or stream.tell() <= before:
                raise


class _Refused(ConnectionError):
    """What came is of a kind that more of it would not mend."""


def _copy(answer: HTTPResponse, stream: IO[bytes]) -> None:
    """Copy what comes, unless it stalls, trickles or never ends."""
    start, length, announced = time.monotonic(), 0, answer.length
    while chunk := answer.read1(_CHUNK):
        stream.write(chunk)
        length += len(chunk)
        seconds = time.monotonic() - start
        if seconds > TIMEOUT and length < _SLOWEST * (seconds - TIMEOUT):
            raise _Refused(f"only {length:,} bytes came in {seconds:.0f} seconds")
        if stream.tell() > _LARGEST:
            raise _Refused(f"more than {_LARGEST:,} bytes came")
    if announced is not None and length < announced:
        raise IncompleteRead(b"", announced - length)


def _advice(name: str, folder: Path, cause: str, files: Iterable[str], *repair: str) -> str:
    return "\n".join(
        [
            f"{name} could not be loaded ({cause}).",
            *repair,
            f"By hand: put {', '.join(files)} into {folder}.",
            "Without a network: vaezoo.data.digits() and colour_digits() ship with the package.",
        ]
    )
