"""How seconds and memory of a training step grow: with particles, batch and latent size.

Every point is a process of its own that may take so much memory and no more. A curve ends where
that is not enough, or where a step takes more than `SECONDS`. Compiled steps are those of a process
that finds the graph on disk, as under `fit`, where another process compiles.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from benchmarks.peers import handwritten
from benchmarks.peers.handwritten import BY_HAND
from benchmarks.speed import memory

__all__ = ["AXES", "GIB", "PEERS", "POINTS", "measure", "sweep"]

GIB, SECONDS, STEPS = 6, 20.0, 3
AXES = {"particles": "IWAE", "batch": "VAE", "latent size": "VAE"}
START = {"particles": 50, "batch": 100, "latent size": 10}
FACTOR, POINTS = 4, 8
PEERS = {BY_HAND: "by hand", "compiled": "vaezoo, compiled"}
Curve = list[dict[str, Any]]


def sweep(run: Callable[..., Any], *, points: int = POINTS) -> dict[str, Any]:
    """All curves; `run(axis=…, value=…, peer=…)` measures a point in a process of its own."""
    curves = {
        axis: {peer: _curve(run, axis, start, peer, points) for peer in PEERS}
        for axis, start in START.items()
    }
    return {"gib": GIB, "curves": curves}


def _curve(run: Callable[..., Any], axis: str, start: int, peer: str, points: int) -> Curve:
    curve: Curve = []
    for i in range(points):
        value = start * FACTOR**i
        asked = {"what": "growth", "axis": axis, "value": value, "peer": peer, "gib": GIB}
        if peer != BY_HAND:
            run(**asked)  # compiles
        point = run(**asked)
        curve.append({"value": value, **point})
        if point.get("ended") or point["seconds"] > SECONDS:
            break
    return curve


def measure(asked: dict[str, Any]) -> dict[str, Any]:
    """Seconds of a step, the median of three, and MiB at the peak above what imports take."""
    size = {axis: START[axis] for axis in AXES} | {asked["axis"]: asked["value"]}
    if asked["axis"] != "particles":
        size["particles"] = 1
    build = _by_hand if asked["peer"] == BY_HAND else _compiled
    before = memory.now()
    resource.setrlimit(resource.RLIMIT_DATA, (asked["gib"] * 2**30,) * 2)
    try:
        step = build(AXES[asked["axis"]], size)
        step(), step()  # the second compiles
        memory.begin_peak()
        times = []
        for _ in range(STEPS):
            started = time.perf_counter()
            step()
            times.append(time.perf_counter() - started)
    except (MemoryError, RuntimeError, UserWarning) as error:  # tracing may be what needs too much
        if "alloc" not in str(error) and not isinstance(error, MemoryError):
            raise
        return {"ended": True}
    return {"seconds": median(times), "mib": memory.peak() - before}


def _images(size: dict[str, int]) -> torch.Tensor:
    return torch.bernoulli(torch.full((size["batch"], 784), 0.13))


def _by_hand(task: str, size: dict[str, int]) -> Callable[[], Any]:
    if task == "IWAE":
        net: Any = handwritten.IWAE(size["particles"])
    else:
        net = handwritten.VAE(z_dim=size["latent size"])
    x = _images(size)
    steps = handwritten.train(net, net.parameters(), iter(lambda: (x,), None))
    return lambda: steps(1)


def _compiled(task: str, size: dict[str, int]) -> Callable[[], Any]:
    import warnings

    from vaezoo import IWELBO, Bound, Step, models

    warnings.simplefilter("error")  # a step that cannot be compiled is no point of this curve
    objective = IWELBO(size["particles"]) if task == "IWAE" else None
    bound = Bound(models.VAE(z_dim=size["latent size"]), objective)
    step = Step(bound, torch.optim.Adam(bound.parameters(), fused=True)).compile()
    x = _images(size).reshape(-1, 1, 28, 28)
    return lambda: step(x)
