"""A folder for one process at a time, on systems that can lock one; a kill unlocks it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from vaezoo.data.locks import CAN_LOCK, lock, unlock
from vaezoo.training.errors import ResumeError

__all__ = ["locked"]

PATIENCE = 10.0  # seconds: the loading processes of a killed run may live on for a moment


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Within it no other process can lock the folder.

    Raises:
        ResumeError: another one has it.
    """
    if not CAN_LOCK:
        yield
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        _lock(number, folder)
        yield
    finally:
        unlock(number)


def _lock(number: int, folder: Path) -> None:
    end = time.monotonic() + PATIENCE
    while lock(number) is False:
        if time.monotonic() > end:
            raise ResumeError(
                f"another process is training into {folder}: give each run a folder of its own"
            )
        time.sleep(0.05)
