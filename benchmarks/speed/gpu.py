"""Steps and evaluation on a GPU: every peer of a task and size in a process of its own, in turns.

    python -m benchmarks.speed.gpu                        # results/speed_gpu.{json,md}
    python -m benchmarks.speed.gpu --tasks VAE --sizes 100
    python -m benchmarks.speed.gpu table                  # the table again, from the JSON

The peers of a task are built at the same time, and then, nothing else running, they take turns of
about a quarter of a second, in a new random order each time, each after a quarter of its steps
untimed. Given are medians and quartiles of the ratios to the loop by hand of the same round.
Batches lie on the GPU. Evaluation is of 500 images, with 5,000 particles each.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks import documents, markdown
from benchmarks.peers.building import REFERENCE
from benchmarks.peers.elsewhere import Elsewhere
from benchmarks.peers.handwritten import Peer
from benchmarks.peers.on_gpu import EVALUATION, NAMES
from benchmarks.speed.machine import describe
from benchmarks.speed.steps import interleaved
from benchmarks.speed.targets import MISSING, ratio

RESULTS = Path(__file__).parents[1] / "results"
DOCUMENT = Path(__file__).parents[2] / "docs/speed.md"
TASKS, SIZES = ("VAE", "SSVAE", "IWAE-50"), (100, 1000, 10_000)
NUMPYRO = "NumPyro"
BURST, ROUNDS, IMAGES, PARTICLES = 0.25, 5, 500, 5000
Key = tuple[int, str]


def main() -> None:
    """Measure and write, or write the table again."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.gpu", description=__doc__)
    parser.add_argument("action", nargs="?", choices=["measure", "table"], default="measure")
    parser.add_argument("--tasks", nargs="+", default=[*TASKS, "evaluation"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[*SIZES])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    file = options.out / "speed_gpu.json"
    record = json.loads(file.read_text()) if file.exists() else {}
    if options.action == "measure":
        # compilers of thirty peers at a time, and JAX would take most of the memory for itself
        os.environ |= {"TORCHINDUCTOR_COMPILE_THREADS": "2", "OMP_NUM_THREADS": "1"}
        os.environ |= {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        record["about"] = about()
        for task in options.tasks:
            record |= measured(task, [PARTICLES] if task == "evaluation" else options.sizes)
            file.write_text(json.dumps(record, indent=1) + "\n")
    (options.out / "speed_gpu.md").write_text(table(record))
    if options.out == RESULTS:
        documents.write(DOCUMENT, {"gpu": overview(record)})


def about() -> dict[str, Any]:
    """The machine, and versions."""
    versions = {}
    for name in ("jax", "numpyro"):
        try:
            versions[name] = __import__(name).__version__
        except ImportError:
            versions[name] = None
    found = describe(argparse.Namespace(threads=1, quick=False))
    return found | versions | {"cuda": torch.version.cuda, "machine": platform.machine()}


def measured(task: str, sizes: list[int]) -> dict[str, Any]:
    """Seconds of every peer at every size, in every round; why a peer is missing."""
    names = EVALUATION if task == "evaluation" else (*NAMES, NUMPYRO)
    keys = [(size, name) for size in sizes for name in names]
    first = IMAGES if task == "evaluation" else 4
    with ThreadPoolExecutor(len(keys)) as pool:
        made = list(pool.map(lambda key: _begun(task, key, first), keys))
    found = {}
    for size in sizes:
        each = {name: peer for (s, name), peer in zip(keys, made, strict=True) if s == size}
        built = {name: peer for name, (peer, _) in each.items() if callable(peer)}
        n = first if task == "evaluation" else _steps(built[REFERENCE])
        times = interleaved(built, n, ROUNDS)
        found[f"{task}, {size}"] = {
            "steps": n,
            "rounds": ROUNDS,
            "first": {name: seconds for name, (_, seconds) in each.items()},
            "missing": {name: peer for name, (peer, _) in each.items() if name not in built},
            "seconds": times,
        }
        print(task, size, {k: f"{1e3 * median(v):.3f} ms" for k, v in times.items()}, flush=True)
    return found


def _begun(task: str, key: Key, n: int) -> tuple[Peer | str, float]:
    """A peer that has taken its first steps, or why there is none, and the seconds they took."""
    size, name = key
    started = time.perf_counter()
    try:
        if name == NUMPYRO:
            peer = Elsewhere("benchmarks.peers.with_numpyro", task, str(size))
        else:
            peer = Elsewhere("benchmarks.peers.on_gpu", task, name, str(size))
        peer(n)
    except RuntimeError as error:
        return f"{type(error).__name__}: {error}", time.perf_counter() - started
    return peer, time.perf_counter() - started


def _steps(reference: Peer) -> int:
    """How many make a turn."""
    reference(5)
    started = time.perf_counter()
    reference(10)
    return max(2, round(10 * BURST / (time.perf_counter() - started)))


def overview(record: dict[str, Any]) -> str:
    """Medians of the ratios of a step, a column for each task and size that was measured."""
    pairs = itertools.product(TASKS, SIZES)
    measured = {f"{t}, {n:,}": found for t, n in pairs if (found := record.get(f"{t}, {n}"))}
    rows = []
    for name in (*NAMES, NUMPYRO):
        each = [m["seconds"] for m in measured.values()]
        rows.append((name, *(_median(s, name) for s in each)))
    return markdown.table(("time of a step", *measured), rows)


def _median(seconds: dict[str, list[float]], name: str) -> str:
    if name not in seconds:
        return MISSING
    return f"{ratio(seconds[name], seconds[REFERENCE]).median:.2f}"


def table(record: dict[str, Any]) -> str:
    """The results as Markdown."""
    machine = record["about"]
    parts = [
        f"{machine['gpu']}, {machine['cpu']}, {machine['cores']} cores; torch {machine['torch']}, "
        f"Pyro {machine['pyro']}, JAX {machine['jax']}, NumPyro {machine['numpyro']}. Products of "
        "float32 numbers in TF32, for every peer; medians, and quartiles of ratios."
    ]
    for setting, found in record.items():
        if setting != "about":
            parts.append(_setting(setting, found))
    return "\n\n".join(parts) + "\n"


def _setting(setting: str, found: dict[str, Any]) -> str:
    task, size = setting.split(", ")
    seconds = found["seconds"]
    rows: list[tuple[object, ...]] = []
    for name in found["first"]:
        if name not in seconds:
            rows.append((name, MISSING, ""))
            continue
        of_one = 1e3 * median(seconds[name])
        rows.append((name, str(ratio(seconds[name], seconds[REFERENCE])), f"{of_one:.3f}"))
    what = f"{task}, batch {int(size):,}" if task != "evaluation" else f"NIWAE-{int(size)}"
    unit = "ms a step" if task != "evaluation" else "ms an image"
    turns = f"{found['rounds']} × {found['steps']:,}"
    return markdown.table((f"{what}; {turns}", "ratio (quartiles)", unit), rows)


if __name__ == "__main__":
    main()
