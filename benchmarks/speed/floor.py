"""The arithmetic floor of a step: its operations, and the rate of this machine."""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.peers.batches import in_memory, shaped
from benchmarks.peers.tasks import TASKS, by_hand, member
from benchmarks.speed import breakdown
from vaezoo import Bound

__all__ = ["measure"]


def measure(arguments: argparse.Namespace, record: dict[str, Any]) -> dict[str, Any]:
    """Operations of a step by hand and of vaezoo's, the machine's rate, and profiles of steps."""
    size = 256 if arguments.quick else 2048
    kinds = {"float32": torch.float32, "bf16": torch.bfloat16}
    rates = {name: _rate(dtype, size) for name, dtype in kinds.items()}
    operations = {
        f"{task}, {size}": _operations(task, size)
        for task, size in itertools.product(arguments.tasks, arguments.batches)
    }
    profiles = {
        f"{task}, {size}, {precision}": breakdown.measure(task, size, precision)
        for task, size in itertools.product(arguments.tasks, arguments.batches[:1])
        for precision, peer in (("float32", "vaezoo, compiled"), ("bf16", "vaezoo, compiled bf16"))
        if peer in (arguments.peers or [peer])
    }
    return {"rates": rates, "operations": operations, "profiles": profiles}


def _rate(dtype: torch.dtype, n: int) -> float:
    """Operations a second of the best of torch's routines."""
    a, b = torch.randn(2, n, n).to(dtype).unbind()
    linear = torch.ops.mkldnn._linear_pointwise.default
    routines = [lambda: torch.mm(a, b), lambda: linear(a, b, None, "none", [], "")]
    return max(2 * n**3 / _median_time(each) for each in routines)


def _median_time(function: Callable[[], Any]) -> float:
    times = []
    for _ in range(12):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return median(times[2:])


def _operations(task: str, size: int) -> dict[str, int]:
    bound = Bound(member(task), TASKS[task].objective())
    counted = {}
    with FlopCounterMode(display=False) as counter:
        by_hand(task)(*in_memory(task, size)[0]).backward()
    counted["by hand"] = counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        bound(*shaped(task, size)[0])["loss"].backward()
    counted["vaezoo"] = counter.get_total_flops()
    return counted
