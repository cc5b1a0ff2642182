"""Blocks that put back what they change.

    in_mode                        a module in training or in evaluation mode
    own_generator, OwnGenerator    random numbers drawn apart from the global generators
    Generators                     the states of these
    unchecked, checks_data         programs and data without checks
    validation                     these of Pyro and torch alone
    one_thread                     one thread at a time

All that runs a program is in `one_thread`: Pyro's handlers and switches are the whole process's.
"""

from __future__ import annotations

import contextlib
import operator
import os
import random
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np
import pyro
import torch
from pyro.distributions import is_validation_enabled
from torch import nn
from torch.distributions import Distribution

__all__ = [
    "Generators",
    "OwnGenerator",
    "checks_data",
    "in_mode",
    "one_thread",
    "own_generator",
    "unchecked",
    "validation",
]

_unchecked: ContextVar[bool] = ContextVar("unchecked", default=False)
_lock = threading.RLock()


@contextlib.contextmanager
def in_mode(module: nn.Module, training: bool) -> Iterator[None]:
    """Within it a module is in training or evaluation mode; each submodule's own mode comes back.

    In training, what is frozen stays in evaluation mode: a submodule whose parameters all have
    `requires_grad=False`, and, where the module was in training mode before, a submodule that was
    put in evaluation mode by hand. Before and behind it an outer autocast forgets old weights.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2).eval())
        >>> with in_mode(net, training=False):
        ...     net[0].training
        False
        >>> net[0].training, net[1].training
        (True, False)
        >>> with in_mode(net, training=True):
        ...     net[1].training
        False
    """
    modes = [(m, m.training) for m in module.modules()]
    torch.clear_autocast_cache()
    try:
        if not training:
            module.eval()
        elif not module.training:
            module.train()
        if training:
            _freeze(module)
        yield
    finally:
        for m, mode in modes:
            m.training = mode
        torch.clear_autocast_cache()


def _freeze(module: nn.Module) -> None:
    """Put submodules in evaluation mode that have parameters, none of which takes gradients."""
    for child in module.children():
        flags = [p.requires_grad for p in child.parameters()]
        if flags and not any(flags):
            child.eval()
        else:
            _freeze(child)


@contextlib.contextmanager
def own_generator(seed: int | None = None) -> Iterator[None]:
    """Within it random numbers are drawn apart: the global generators come back as they were.

    They are torch's on all devices, NumPy's and Python's.

    Args:
        seed: where they start; by default they go on from where they are.

    Example:
        >>> before = torch.get_rng_state()
        >>> with own_generator(0):
        ...     _ = torch.rand(3)
        >>> bool((torch.get_rng_state() == before).all())
        True
    """
    before = Generators()
    try:
        if seed is not None:
            seed = operator.index(seed)
            _seed_torch(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
        yield
    finally:
        before.restore()


def _seed_torch(seed: int) -> None:
    """As `torch.manual_seed`, but for 0.1 ms and more of notes for each GPU that is not there."""
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


class OwnGenerator:
    """Random numbers drawn apart in several blocks, each of which goes on where the last one ended.

    Example:
        >>> own, numbers = OwnGenerator(0), []
        >>> for _ in range(2):
        ...     with own.drawn():
        ...         numbers.append(torch.rand(1))
        ...     _ = torch.rand(1)
        >>> with own_generator(0):
        ...     torch.equal(torch.cat(numbers), torch.cat([torch.rand(1), torch.rand(1)]))
        True
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.left: Generators | None = None

    @contextlib.contextmanager
    def drawn(self) -> Iterator[None]:
        """Within it random numbers go on where the last block ended."""
        with own_generator(self.seed if self.left is None else None):
            if self.left is not None:
                self.left.restore()
            yield
            self.left = Generators()


class Generators:
    """The states of all global generators at the time that this is made.

    Example:
        >>> then = Generators()
        >>> first = random.random()
        >>> then.restore()
        >>> first == random.random()
        True
    """

    def __init__(self) -> None:
        # manual_seed seeds every device, so every device's generator is kept
        self.cuda = range(torch.cuda.device_count())
        self.devices = [torch.get_rng_state(), *map(torch.cuda.get_rng_state, self.cuda)]
        self.numpy: Any = np.random.get_state()  # noqa: NPY002
        self.python = random.getstate()

    def restore(self) -> None:
        """Set the generators to these states."""
        torch.set_rng_state(self.devices[0])
        for device, state in zip(self.cuda, self.devices[1:], strict=True):
            torch.cuda.set_rng_state(state, device)
        np.random.set_state(self.numpy)  # noqa: NPY002
        random.setstate(self.python)


def checks_data() -> bool:
    """Whether programs are to check their data: not within `unchecked`.

    It follows Pyro's validation, except that `python -O`, which turns that off, leaves it on.

    Example:
        >>> with unchecked():
        ...     checks_data()
        False
        >>> checks_data()
        True
    """
    return is_validation_enabled() or not (__debug__ or _unchecked.get())


@contextlib.contextmanager
def validation(enabled: bool | None = None) -> Iterator[None]:
    """Within it Pyro's checks and torch's are made, or not; by default as Pyro's switch says.

    Behind it each is as it was: Pyro's own block sets torch's too, which `torch.compile` turns off.

    Example:
        >>> Distribution.set_default_validate_args(False)
        >>> with validation():
        ...     pass
        >>> Distribution._validate_args
        False
        >>> Distribution.set_default_validate_args(True)
    """
    before = Distribution._validate_args
    try:
        with pyro.validation_enabled(is_validation_enabled() if enabled is None else enabled):
            yield
    finally:
        Distribution.set_default_validate_args(before)


@contextlib.contextmanager
def unchecked() -> Iterator[None]:
    """Within it neither Pyro's checks of programs nor vaezoo's of data are made."""
    token = _unchecked.set(True)
    try:
        with validation(False):
            yield
    finally:
        _unchecked.reset(token)


def one_thread() -> contextlib.AbstractContextManager[object]:
    """Within it no other thread is in such a block; this one may enter another inside.

    Example:
        >>> with one_thread(), one_thread():
        ...     pass
    """
    return _lock


def _renew() -> None:
    """A new lock for a forked process, in which the thread that held the old one is missing."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
