"""The most memory that a block takes, beyond what its process holds before it."""

from __future__ import annotations

import contextlib
import re
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@contextlib.contextmanager
def at_most(nbytes: float) -> Iterator[None]:
    """Fail if the process takes more memory at any moment; elsewhere than on Linux, do not look."""
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


class Tensors(TorchDispatchMode):
    """The most bytes that tensors made within it hold at any moment: the same in every process.

    What a process holds depends on what it has imported, and on what was freed and is kept for
    later. What is taken within an operation, and given back, is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.most, self._now = 0, 0
        self._held: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in self._held:
                self._note(tensor.untyped_storage())
        return made

    def _note(self, storage: Any) -> None:
        self._held[storage._cdata] = storage.nbytes()
        self._now += storage.nbytes()
        self.most = max(self.most, self._now)
        weakref.finalize(storage, self._forget, storage._cdata)

    def _forget(self, address: int) -> None:
        self._now -= self._held.pop(address)
