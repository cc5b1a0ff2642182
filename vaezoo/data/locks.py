"""A lock between processes, for a file that one of them is to write."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on this system: then each process writes by itself
    fcntl = None  # type: ignore[assignment]

__all__ = ["one_process"]

LONGEST = 3600.0  # seconds to wait for another process
_PAUSE = 0.05


@contextlib.contextmanager
def one_process(file: Path) -> Iterator[None]:
    """Within it no other process is in such a block for the same file.

    It is no more than a courtesy: whoever writes under a name of their own and then renames is safe
    without, and so where there are no locks, or another process holds one for an hour, nobody is
    kept out. The lock goes with the process that holds it, however that ends.

    Args:
        file: the one to be written; `.vaezoo-NAME.lock` stands beside it meanwhile.

    Raises:
        OSError: the folder cannot be written to.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "a.bin"
        >>> with one_process(file):
        ...     [path.name for path in file.parent.iterdir()]
        ['.vaezoo-a.bin.lock']
        >>> list(file.parent.iterdir())
        []
    """
    lock, until = file.with_name(f".vaezoo-{file.name}.lock"), time.monotonic() + LONGEST
    held = None
    while fcntl is not None and held is None and time.monotonic() < until:
        held = _taken(lock)
        if held is None:
            time.sleep(_PAUSE)
    try:
        yield
    finally:
        if held is not None and held >= 0:
            lock.unlink(missing_ok=True)  # while it is held: those who wait take a new one
            os.close(held)


def _taken(lock: Path) -> int | None:
    """The open lock; None where another process has it, and -1 where there are no locks here."""
    number = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        same = os.path.samestat(os.fstat(number), os.stat(lock))
    except (BlockingIOError, FileNotFoundError):
        same = False
    except OSError:  # a file system without locks
        os.close(number)
        return -1
    if same:
        return number
    os.close(number)
    return None
