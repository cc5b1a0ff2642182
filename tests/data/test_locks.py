"""A lock ends with its block, whatever processes were forked within it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from vaezoo.data import locks
from vaezoo.training import locking

pytestmark = pytest.mark.skipif(not locks.CAN_LOCK, reason="no locks on this system")


@pytest.fixture
def inherited(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Second numbers of what is locked, as a forked process has them."""
    numbers, lock = list[int](), locks.lock

    def locked(number: int) -> bool | None:
        numbers.append(os.dup(number))
        return lock(number)

    for module in (locks, locking):
        monkeypatch.setattr(module, "lock", locked)
    yield numbers
    for number in numbers:
        os.close(number)


@pytest.mark.parametrize("block", [locking.locked, locks.one_process])
def test_a_block_that_is_left_is_free(
    block: Callable[[Path], AbstractContextManager[Any]],
    inherited: list[int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(locking, "PATIENCE", 0.1)
    # the lock of a file that may not be removed stays where it is
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(PermissionError))
    monkeypatch.setattr(locks, "LONGEST", 0.2)
    for _ in range(2):
        with block(tmp_path):
            pass
    beside = tmp_path.with_name(f".vaezoo-{tmp_path.name}.lock")
    number = os.open(tmp_path if block is locking.locked else beside, os.O_RDONLY)
    assert locks.lock(number) in (True, None)
    assert len(inherited) == 3
    os.close(number)
