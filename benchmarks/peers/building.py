"""Peers by their names."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.peers import batches, handwritten
from benchmarks.peers.handwritten import Batch, Peer
from benchmarks.peers.stock import stock_peer
from benchmarks.peers.tasks import TASKS, by_hand, member
from vaezoo import Bound, Step

__all__ = ["DATALOADER", "FUSED", "OURS", "REFERENCE", "TUNED", "build", "names"]

DATALOADER, REFERENCE = "by hand, DataLoader", "by hand, in memory"
FUSED, TUNED = "by hand, fused Adam", "by hand, fused Adam, CPU tuned"
OURS = {
    "vaezoo, eager": (False, "float32"),
    "vaezoo, compiled": (True, "float32"),
    "vaezoo, eager bf16": (False, "bf16"),
    "vaezoo, compiled bf16": (True, "bf16"),
}


def names(task: str, *, numpyro: bool) -> list[str]:
    """All peers of a task."""
    hand = [REFERENCE, DATALOADER, FUSED, TUNED, "by hand, torch.compile"]
    return [*hand, *TASKS[task].stock, *(["NumPyro"] if numpyro else []), *OURS]


def build(task: str, name: str, size: int, device: str = "cpu") -> Peer:
    """A peer by its name, in this process."""
    if name in OURS:
        return vaezoo_peer(task, size, device, *OURS[name])
    if name in TASKS[task].stock:
        return stock_peer(task, TASKS[task].stock[name](), batches.in_memory(task, size, device))
    loss: Any = by_hand(task, device)
    endless: Iterator[Batch] = itertools.cycle(batches.in_memory(task, size, device))
    if name == DATALOADER:
        loader = handwritten.loaded(*batches.pictures(task), size, binary=task != "FSVAE")
        endless = (tuple(t.to(device) for t in batches.arguments(task, *each)) for each in loader)
    call = torch.compile(loss) if name == "by hand, torch.compile" else loss
    return handwritten.train(call, loss.parameters(), endless, fused=name in (FUSED, TUNED))


def vaezoo_peer(task: str, size: int, device: str, compiled: bool, precision: str) -> Peer:
    """A loop around `Step`, as in its documentation, with the optimizer of `fit`."""
    bound = Bound(member(task, device), TASKS[task].objective(), precision=precision)
    step = Step(bound, torch.optim.Adam(bound.parameters(), lr=1e-3, fused=True))
    if compiled:
        step.compile()
    cycle = itertools.cycle(batches.shaped(task, size, device))

    def steps(n: int) -> float:
        for batch in itertools.islice(cycle, n):
            terms = step(*batch)
        return terms["loss"].item()

    return steps
