"""Settings of the process: made inside a block, undone after it."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from vaezoo.cpu import tuned

GLIBC = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim")
STEPS, MEGABYTES = 20, 40
PAGE = resource.getpagesize()


def faults() -> int:
    """Pages that the system hands out while blocks are taken and freed."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(STEPS):
        torch.ones(MEGABYTES * 2**18).sum()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident() -> int:
    """Pages of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1])


def denormals() -> bool:
    return torch.full((1,), 1e-40).mul(1).item() != 0


@contextlib.contextmanager
def flushed() -> Iterator[None]:
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def test_blocks_may_end_in_any_order() -> None:
    """As two trainings do that take turns."""
    first, second = tuned(), tuned()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not denormals()
    second.__exit__(None, None, None)
    assert denormals()


def test_denormals_are_0_inside() -> None:
    assert denormals()
    with tuned():
        with tuned():
            assert not denormals()
        assert not denormals()
    assert denormals()
    with flushed():
        with tuned():
            pass
        assert not denormals()


@pytest.mark.skipif(not GLIBC, reason="memory is left alone without glibc")
def test_memory_is_kept_inside() -> None:
    """Blocks of 40 MiB, which glibc may take from the system each time, are taken once.

    At the end of the block they are given back.
    """
    pages = MEGABYTES * 2**20 // PAGE
    with tuned():
        with tuned():
            torch.ones(MEGABYTES * 2**18).sum()
            assert faults() < STEPS * pages / 4
        assert faults() < STEPS * pages / 4  # the inner block has changed nothing
        kept = resident()
    assert kept - resident() > pages / 2


def test_errors_pass_through() -> None:
    with pytest.raises(KeyError), tuned():
        raise KeyError
    assert denormals()
