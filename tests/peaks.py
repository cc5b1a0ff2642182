"""The most memory that a block takes, beyond what its process holds before it; on Linux only."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@contextlib.contextmanager
def at_most(nbytes: float) -> Iterator[None]:
    """Fail if the block takes more memory at any moment; elsewhere than on Linux, do not look."""
    if not RESET.exists():
        yield
        return
    RESET.write_text("5")  # forget the most there has been
    before = _peak()
    yield
    assert _peak() - before < nbytes


def _peak() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
    assert found is not None
    return 1024 * int(found[1])
