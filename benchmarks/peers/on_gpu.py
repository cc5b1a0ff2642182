"""Peers on a GPU, each in a process of its own.

    python -m benchmarks.peers.on_gpu VAE "vaezoo, compiled" 100   # n, n, … in, a line each

Products of float32 numbers are made in TF32, as JAX makes them by default. The loops by hand that
are compiled, or recorded as a CUDA graph, have torch's fused Adam.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pyro
import torch
from torch import Tensor

from benchmarks.peers import batches, handwritten
from benchmarks.peers.building import OURS, REFERENCE, vaezoo_peer
from benchmarks.peers.elsewhere import serve
from benchmarks.peers.handwritten import Batch, Peer
from benchmarks.peers.tasks import by_hand, member
from vaezoo import evaluate

__all__ = ["EVALUATION", "NAMES", "peer"]

COMPILED, REDUCED = "by hand, torch.compile", "by hand, torch.compile, its CUDA graphs"
RECORDED, BOTH = "by hand, one CUDA graph", "by hand, torch.compile, one CUDA graph"
NAMES = (
    REFERENCE,
    COMPILED,
    REDUCED,
    RECORDED,
    BOTH,
    *(n for n in OURS if n != "vaezoo, eager bf16"),
)
EVALUATION = (REFERENCE, "vaezoo, eager")  # compiling would take seconds at each call
TILED = 20  # images at a time by hand


def peer(task: str, name: str, size: int) -> Peer:
    """A peer by its name; the size is of a batch, or of evaluation the number of particles."""
    if task == "evaluation":
        return _evaluation(name, size)
    if name in OURS:
        return vaezoo_peer(task, size, "cuda", *OURS[name])
    loss: Any = by_hand(task, "cuda")
    parameters, given = list(loss.parameters()), batches.in_memory(task, size, "cuda")
    endless = itertools.cycle(given)
    if name in (COMPILED, REDUCED, BOTH):
        loss = torch.compile(loss, mode="reduce-overhead" if name == REDUCED else None)
    if name in (RECORDED, BOTH):
        return _recorded(loss, parameters, endless)
    return handwritten.train(loss, parameters, endless, fused=name != REFERENCE)


def _recorded(loss: Callable[..., Tensor], parameters: Any, endless: Iterator[Batch]) -> Peer:
    """A whole step as one CUDA graph, as in torch's notes on CUDA graphs."""
    optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=True, capturable=True)
    given = [t.clone() for t in next(endless)]

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        value = loss(*given)
        value.backward()
        optimizer.step()
        return value

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        value = step()

    def steps(n: int) -> float:
        for batch in itertools.islice(endless, n):
            for place, t in zip(given, batch, strict=True):
                place.copy_(t)
            graph.replay()
        return value.item()

    return steps


def _evaluation(name: str, particles: int) -> Peer:
    """A function of n that evaluates NIWAE of n images, n a multiple of the images at a time."""
    x = torch.cat([x for (x,) in batches.in_memory("VAE", 1000, "cuda", number=1)])
    if name == REFERENCE:
        net = handwritten.IWAE().cuda()

        @torch.no_grad()
        def by_hand_of(n: int) -> float:
            parts = x[:n].split(TILED)
            return torch.cat([net.log_mean_weight(part, particles) for part in parts]).mean().item()

        return by_hand_of
    vae, images = member("VAE", "cuda"), x.reshape(-1, 1, 28, 28)
    options: dict[str, Any] = {"progress": False, "compile": False}

    def by_vaezoo(n: int) -> float:
        given = [(part,) for part in images[:n].split(100)]
        return evaluate(vae, given, particles=(particles,), **options)[f"niwae-{particles}"].mean

    return by_vaezoo


def main(task: str, name: str, size: str) -> None:
    """Build a peer and serve it."""
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("high")
    with pyro.validation_enabled(False):
        serve(peer(task, name, int(size)))


if __name__ == "__main__":
    main(*sys.argv[1:])
