"""Blocks that put back what they change: modes of modules, and random generators."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

__all__ = ["in_mode", "own_generator"]


@contextlib.contextmanager
def in_mode(module: nn.Module, training: bool) -> Iterator[None]:
    """Within it a module is in training or evaluation mode; each submodule's own comes back.

    What is frozen stays in evaluation mode: a submodule whose parameters all have
    `requires_grad=False`, and, in a module that is in training mode itself, one that was put in
    evaluation mode by hand.

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


def _freeze(module: nn.Module) -> None:
    for child in module.children():
        flags = [p.requires_grad for p in child.parameters()]
        if flags and not any(flags):
            child.eval()
        else:
            _freeze(child)


@contextlib.contextmanager
def own_generator(seed: int | None = None) -> Iterator[None]:
    """Within it random numbers are drawn apart: the generators of all devices come back after it.

    Args:
        seed: where they start; where they stand by default.

    Example:
        >>> before = torch.get_rng_state()
        >>> with own_generator(0):
        ...     _ = torch.rand(3)
        >>> bool((torch.get_rng_state() == before).all())
        True
    """
    # manual_seed seeds every device, so every device's generator is kept
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        if seed is not None:
            torch.manual_seed(seed)
        yield
