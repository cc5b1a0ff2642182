"""Files that are whole or not there, whoever else writes to the same path."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["beside", "unfinished", "write_whole"]

_BEGIN, _END = ".vaezoo-", ".partial"


def write_whole(path: Path, content: Iterable[Any]) -> Path:
    """Write a file beside its place, force it to disk and move it there; returns the path.

    A reader finds the old or the new one whole. The mode of an older file is kept, a new one
    follows the umask. A symbolic link is replaced, and what it led to is left.

    Args:
        path: in a folder that is there.
        content: bytes, or other buffers of them, one behind the other.

    Raises:
        OSError: the file cannot be written; nothing is left of it then, and an older one is as it
            was.

    Example:
        >>> import tempfile
        >>> path = write_whole(Path(tempfile.mkdtemp()) / "a.txt", [b"whole ", b"or not"])
        >>> path.read_text(), list(unfinished(path.parent))
        ('whole or not', [])
    """
    if path.exists() and not path.is_file():
        number = errno.EISDIR if path.is_dir() else errno.EINVAL
        raise OSError(number, "cannot save to what is no file", str(path))
    try:
        return _put_in_place(path, content)
    except OSError as error:
        kept = "; the file that was there is as it was" if path.exists() else ""
        what = f"cannot save to {path} ({error.strerror}){kept}: free some room, or save elsewhere"
        raise OSError(error.errno, what) from error


def _put_in_place(path: Path, content: Iterable[Any]) -> Path:
    partial = beside(path)
    file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _mode(path))
    try:
        with open(file, "wb") as stream:
            for piece in content:
                stream.write(piece)
            stream.flush()
            os.fsync(stream.fileno())
        if path.is_file() and not path.is_symlink():
            partial.chmod(stat.S_IMODE(path.stat().st_mode))
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    return path


def beside(path: Path) -> Path:
    """Where a file is written until it is whole: a name of its own, in which nobody can put a link.

    Example:
        >>> beside(Path("a.txt")) == beside(Path("a.txt"))
        False
    """
    return path.with_name(f"{_BEGIN}{secrets.token_hex(8)}{_END}")


def unfinished(folder: Path) -> Iterator[Path]:
    """Files in a folder that a process which writes there has begun, or had when it was killed."""
    yield from folder.glob(f"{_BEGIN}*{_END}")


def _mode(path: Path) -> int:
    """The mode of the unfinished file: its owner's alone, where an older one may be private."""
    return 0o600 if path.is_file() and not path.is_symlink() else 0o666


def _sync_folder(folder: Path) -> None:
    """Force a folder's entries to disk, on systems where folders can be opened."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
