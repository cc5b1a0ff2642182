"""Where a compiled step of vaezoo's spends its time: products, other kernels, the rest."""

from __future__ import annotations

import itertools
import time
from statistics import median
from typing import Any

import pyro
import torch
from torch.profiler import profile

from benchmarks.peers.batches import shaped
from benchmarks.peers.tasks import TASKS, member
from vaezoo import Bound, Step
from vaezoo.cpu import tuned

__all__ = ["measure"]

PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "mkldnn::_linear_pointwise")
STEPS = 50


def measure(task: str, size: int, precision: str) -> dict[str, float]:
    """Milliseconds of a step: all of it, in products, and in the graph.

    The graph is timed by calling it alone; products by torch's profiler, as shares of a step.
    """
    bound = Bound(member(task), TASKS[task].objective(), precision=precision)
    optimizer = torch.optim.Adam(bound.parameters(), lr=1e-3, fused=True)
    step, batches = Step(bound, optimizer).compile(), shaped(task, size)
    with tuned(), pyro.validation_enabled(False):
        for batch in batches:
            step(*batch)
        whole = median(_timed(step, batch) for batch in _repeated(batches))
        alone = _graph(step, batches)
        with profile() as profiled:
            for batch in _repeated(batches):
                step(*batch)
    events = profiled.key_averages()
    products = sum(e.self_cpu_time_total for e in events if e.key in PRODUCTS) / STEPS / 1e3
    return {"step": whole, "graph": alone, "products": products}


def _graph(step: Any, batches: list[Any]) -> float:
    """Calls of the compiled graph, weights going on being trained."""
    (one,) = step.compiled.steps
    given = [(*one.traced.inputs(batch), *one.for_update()) for batch in batches]
    with torch.no_grad():
        return median(_timed(one.call, each) for each in _repeated(given))


def _repeated(batches: list[Any]) -> Any:
    return itertools.islice(itertools.cycle(batches), STEPS)


def _timed(function: Any, arguments: Any) -> float:
    started = time.perf_counter()
    function(*arguments)
    return 1e3 * (time.perf_counter() - started)
