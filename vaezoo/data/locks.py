"""Locks between processes: of what is open, and for a file that one of them is to write."""

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

__all__ = ["CAN_LOCK", "lock", "one_process", "unlock"]

CAN_LOCK = fcntl is not None

LONGEST = 3600.0  # seconds to wait for another process
_PAUSE = 0.05


def lock(number: int) -> bool | None:
    """Lock what is open under this number until `unlock`, on a system that can (`CAN_LOCK`).

    The lock goes with the process, however that ends, and with those that were forked meanwhile.

    Returns:
        Whether it was free; None where there are no locks in this folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryFile() as file:
        ...     lock(file.fileno()) in (True, None)
        True
    """
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


def unlock(number: int) -> None:
    """Unlock what is open under this number, and close it.

    Closed alone, it would stay locked while a process lives that was forked meanwhile, such as a
    worker of a loader: what it inherited is the same open file.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp()
        >>> first, second = (os.open(path, os.O_RDONLY) for _ in range(2))
        >>> lock(first), lock(second) in (False, None)
        (True, True)
        >>> unlock(first)
        >>> lock(second)
        True
        >>> unlock(second)
    """
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(number, fcntl.LOCK_UN)
    os.close(number)


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
    beside, until = file.with_name(f".vaezoo-{file.name}.lock"), time.monotonic() + LONGEST
    held = None
    while CAN_LOCK and held is None and time.monotonic() < until:
        held = _taken(beside)
        if held is None:
            time.sleep(_PAUSE)
    try:
        yield
    finally:
        if held is not None and held >= 0:
            with contextlib.suppress(PermissionError):  # it may be another user's, left behind
                beside.unlink(missing_ok=True)  # while it is held: those who wait take a new one
            unlock(held)


def _taken(beside: Path) -> int | None:
    """The open lock; None where another process has it, and -1 where there are no locks here."""
    try:
        number = os.open(beside, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        if not beside.exists():
            raise
        try:
            number = os.open(beside, os.O_RDONLY)  # another user's, which can be waited for
        except PermissionError:
            return -1
    free = lock(number)
    if free and _is_at(number, beside):
        return number
    os.close(number)
    return -1 if free is None else None


def _is_at(number: int, path: Path) -> bool:
    """Whether an open file is still the one of this path."""
    try:
        return os.path.samestat(os.fstat(number), os.stat(path))
    except FileNotFoundError:
        return False
