"""Training steps on batches that lie in memory: every peer of a task, in turns."""

from __future__ import annotations

import argparse
import gc
import importlib.util
import itertools
import os
import random
import time
import warnings
from typing import Any

import pyro
import torch

from benchmarks.peers.building import REFERENCE, names
from benchmarks.peers.elsewhere import placed
from benchmarks.peers.handwritten import Peer

__all__ = ["interleaved", "measure", "setting"]

BURST, BUDGET = 1.5, 90.0  # seconds of a turn of the reference, and of all turns of a setting


def measure(arguments: argparse.Namespace, record: dict[str, Any]) -> dict[str, Any]:
    """Every setting asked for; the others stay as they were."""
    rows = {k: v for k, v in record.items() if k != "about"}
    for task, size in itertools.product(arguments.tasks, arguments.batches):
        others = [n for n in _others(task) if n in (arguments.peers or [n])]
        if arguments.quick and not arguments.peers:
            others = [n for n in others if "compile" not in n or n == "vaezoo, compiled"]
        with pyro.validation_enabled(False), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            rows[f"{task}, {size}, cpu"] = setting(arguments, task, size, "cpu", others)
        pyro.clear_param_store()
        torch._dynamo.reset()
        gc.collect()
    return rows


def _others(task: str) -> list[str]:
    with_numpyro = importlib.util.find_spec("numpyro") is not None
    return [n for n in names(task, numpyro=with_numpyro) if n != REFERENCE]


def setting(
    arguments: argparse.Namespace, task: str, size: int, device: str, others: list[str]
) -> dict[str, Any]:
    """Seconds a step of every peer in every round, and those of its first steps."""
    built, build = dict[str, Peer](), {}
    for name in [REFERENCE, *others]:
        built[name] = placed(task, name, size, device, arguments.threads)
        started = time.perf_counter()
        built[name](2)  # the second step of vaezoo compiles
        build[name] = time.perf_counter() - started
    burst = BURST / 15 if arguments.quick else BURST
    n = max(1, round(burst / _turn(built[REFERENCE], 1)))
    print(f"{task}, {size}, {device}: built in {sum(build.values()):.0f} s", flush=True)
    once = 1.25 * sum(_turn(peer, n) * n for peer in built.values())
    budget = BUDGET / (5 if arguments.quick else 1)
    rounds = arguments.rounds or max(3, min(21, round(budget / once)))
    times = interleaved(built, n, rounds)
    about = {"threads": arguments.threads, "load": os.getloadavg()[0]}
    return {**about, "steps": n, "rounds": rounds, "build": build, "seconds": times}


def interleaved(built: dict[str, Peer], n: int, rounds: int) -> dict[str, list[float]]:
    """Seconds a step of every peer in every round."""
    times: dict[str, list[float]] = {name: [] for name in built}
    for i in range(rounds):
        order = list(built)
        random.Random(i).shuffle(order)
        for name in order:
            times[name].append(_turn(built[name], n))
    return times


def _turn(peer: Peer, n: int) -> float:
    """Seconds a step of n steps, after some untimed: caches hold what the turn before has left."""
    peer(-(-n // 4))
    started = time.perf_counter()
    peer(n)
    return (time.perf_counter() - started) / n
