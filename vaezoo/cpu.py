"""Process-wide settings that make training and evaluation on a CPU faster, within a block.

`fit` and `evaluate` run inside such a block, and a loop of your own may.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
from collections.abc import Iterator

import torch

__all__ = ["give_back", "tuned"]

# of glibc's mallopt, which takes an int
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
KEPT = {MMAP_THRESHOLD: 2**30, TRIM_THRESHOLD: 2**31 - 1}
USUAL = {MMAP_THRESHOLD: 2**25, TRIM_THRESHOLD: 2**26}  # where glibc's own adjustment ends

_blocks, _counting, _here = 0, threading.Lock(), threading.local()


@contextlib.contextmanager
def tuned() -> Iterator[None]:
    """Take denormal numbers for 0, and keep the memory that a step frees for the next one.

    A CPU is many times slower on numbers below 1e-38. They abound once a decoder is sure of its
    pixels, whose gradients are that small.

    The `malloc` of glibc gives blocks of megabytes back to the system at once: every step would
    get its memory anew, page by page and filled with zeros. At the end of the block what is free
    is given back; `malloc` then keeps up to 64 MiB, as it does by itself once blocks of 32 MiB have
    been freed. With another library memory is left alone.

    Example:
        >>> tiny = torch.full((1,), 1e-40)
        >>> with tuned():
        ...     (tiny * 1).item()
        0.0
    """
    global _blocks
    # denormals are a setting of this thread, malloc's limits of the process; blocks may end in
    # another order than they began in, as those of two trainings that take turns
    here = vars(_here)  # of this thread: a loop that is dropped may end in another
    if not here.setdefault("blocks", 0):
        tiny = torch.full((1,), 1e-40, dtype=torch.float32, device="cpu")
        here["flushed"] = bool(tiny.mul(1) == 0)
    here["blocks"] += 1
    torch.set_flush_denormal(True)
    with _counting:
        _blocks += 1
        _limit_malloc(KEPT)
    try:
        yield
    finally:
        here["blocks"] -= 1
        if not here["blocks"] and here is vars(_here):
            torch.set_flush_denormal(here["flushed"])
        with _counting:
            _blocks -= 1
            if not _blocks:
                _limit_malloc(USUAL)
                give_back()


def give_back() -> None:
    """Give free memory back to the system, as after work that is done once."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _limit_malloc(limits: dict[int, int]) -> None:
    libc = _glibc()
    if libc is not None:
        for name, value in limits.items():
            libc.mallopt(name, value)


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "malloc_trim") else None
