"""The states of all global random generators, as tensors and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from vaezoo.scopes import Generators

__all__ = ["random_state", "restore_random_state"]


def random_state() -> dict[str, Any]:
    """The states of torch's generators on all devices, NumPy's and Python's.

    Example:
        >>> state = random_state()
        >>> first = torch.rand(1)
        >>> restore_random_state(state)
        >>> torch.equal(first, torch.rand(1))
        True
    """
    now = Generators()
    name, keys, *numpy = now.numpy
    version, numbers, gauss = now.python
    return {
        "torch": now.devices,
        "numpy": [name, torch.tensor(keys.astype(np.int64)), *numpy],
        "python": [version, torch.tensor(numbers), gauss],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Set the generators to these states.

    Raises:
        ValueError: they are those of a machine with more GPUs, or with fewer.
    """
    generators = Generators()
    if len(state["torch"]) != len(generators.devices):
        raise ValueError(
            f"expected the random states of {len(generators.devices) - 1} GPUs, got those of "
            f"{len(state['torch']) - 1}: go on where as many are visible"
        )
    name, keys, *numpy = state["numpy"]
    version, numbers, gauss = state["python"]
    generators.devices = state["torch"]
    generators.numpy = (name, keys.numpy().astype(np.uint32), *numpy)
    generators.python = (version, tuple(numbers.tolist()), gauss)
    generators.restore()
