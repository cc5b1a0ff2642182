"""Epochs, cold starts, evaluation and growth: each run in a process of its own, peers in turn."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.peers.handwritten import BY_HAND, has_mnist
from benchmarks.speed.growth import POINTS, sweep
from vaezoo.data.downloads import data_root

COLD = (BY_HAND, "eager", "by default", "compiled", "compiled, again")  # finds the graph on disk

__all__ = ["cold", "epoch", "evaluation", "growth"]

ROOT = Path(__file__).parents[2]


def _run(arguments: argparse.Namespace, cache: str | None = None, **asked: Any) -> Any:
    """What a process of its own has found."""
    about = {"threads": arguments.threads, "data": str(data_root()), "started": time.time()}
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}
    if cache:
        environment["TORCHINDUCTOR_CACHE_DIR"] = cache
    module = "peers.numpyro_alone" if asked["peer"] == "NumPyro" else "speed.fresh"
    command = [sys.executable, "-m", f"benchmarks.{module}", json.dumps(about | asked)]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{asked}: {done.stderr[-2000:]}")
    print(asked["what"], asked["peer"], done.stdout.strip(), flush=True)
    return json.loads(done.stdout.splitlines()[-1])


def epoch(arguments: argparse.Namespace, record: dict[str, Any]) -> dict[str, Any]:
    """Seconds of epochs, by peer."""
    images = 3000 if arguments.quick else 60_000
    result: dict[str, Any] = {"images": images, "runs": []}
    if not has_mnist(data_root()):
        return result
    for _ in range(1 if arguments.quick else arguments.rounds or 2):
        for peer, epochs in ((BY_HAND, 2), ("compiled", 4), ("eager", 3)):
            run = _run(arguments, what="epoch", peer=peer, images=images, epochs=epochs)
            result["runs"].append({"peer": peer, **run})
    return result


def cold(arguments: argparse.Namespace, record: dict[str, Any]) -> dict[str, Any]:
    """Seconds to the threshold, by peer."""
    asked: dict[str, Any] = {"nelbo": 102.0, "every": 500, "most": 40_000}
    if arguments.quick:
        asked |= {"nelbo": 200.0, "every": 100}
    result: dict[str, Any] = {**asked, "runs": []}
    if not has_mnist(data_root()):
        return result
    jitted = ("NumPyro",) if importlib.util.find_spec("numpyro") else ()
    for seed in range(arguments.rounds or 1):
        with tempfile.TemporaryDirectory() as cache:
            for peer in COLD + jitted:
                kind = peer.partition(",")[0]
                own = f"{cache}/{kind.replace(' ', '-')}"
                run = _run(arguments, own, what="cold", peer=kind, seed=seed, **asked)
                result["runs"].append({"peer": peer, "seed": seed, **run})
    return result


def evaluation(arguments: argparse.Namespace, record: dict[str, Any]) -> dict[str, Any]:
    """Seconds and memory of NIWAE-k, by peer."""
    asked: dict[str, Any] = {"images": 1000, "k": 5000, "tiled": 20}
    if arguments.quick:
        asked |= {"images": 20, "k": 1000}
    result: dict[str, Any] = {**asked, "runs": []}
    if not has_mnist(data_root()):
        return result
    for _ in range(1 if arguments.quick else arguments.rounds or 2):
        for peer in (BY_HAND, "eager", "compiled"):
            with tempfile.TemporaryDirectory() as cache:
                run = _run(arguments, cache, what="evaluation", peer=peer, **asked)
            result["runs"].append({"peer": peer, **run})
    return result


def growth(arguments: argparse.Namespace, record: dict[str, Any]) -> dict[str, Any]:
    """Curves of seconds and memory, by what grows and by peer."""
    points = 2 if arguments.quick else POINTS
    return sweep(partial(_run, arguments), points=points)
