"""Trainings that are killed at random moments and begun again, against one that was not.

    python -m benchmarks.kills --kills 50
    python -m benchmarks.kills --kills 10 --processes 2
    python -m benchmarks.kills --kills 5 --compile

Each process is killed by SIGKILL, between steps, in one, or while a checkpoint is written; of
several one, by turns, upon which the others are told to end, as torchrun does. Weights, optimizer,
history, random numbers, log and best weights of every run must be bitwise those of the unbroken
run, in each process, and its folder must hold the same files.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import math
import os
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from vaezoo import ELBO, data, fit, models, objectives
from vaezoo.data.files import unfinished
from vaezoo.training import KeepBest, Log
from vaezoo.training.trees import packed, pieces

RESULTS = Path(__file__).parent / "results"
IN_A_ROW = 6  # kills of one run, at most
PATIENCE = 30.0  # seconds for the others to end where one process was killed, as torchrun gives


def train(folder: Path, steps: int, compiled: bool, rank: int) -> dict[str, Any]:
    """One run, and the checksum of what it leaves behind in a process, but for the seconds."""
    torch.manual_seed(0)
    images, test = data.digits()[:1050], data.digits("test")[:50]
    vae = models.VAE(z_dim=4, hidden=(128,))
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3, fused=True)
    best, log = KeepBest(vae), Log(folder / f"log {rank}.jsonl")
    history = fit(
        *(vae, images, ELBO(objectives.WarmUp(steps))),
        steps=steps,
        optimizer=optimizer,
        validation=test,
        log_every=7,
        compile=compiled,
        progress=False,
        callback=[best, log],
        checkpoint=folder / "checkpoints",
        every=5,
    )
    records = [json.loads(line) for line in log.path.read_text().splitlines()]
    for record in (history, *records):
        record.pop("seconds")
    left = [dict(history), records, vae.state_dict(), optimizer.state_dict(), best.state_dict()]
    content = b"".join(map(bytes, pieces(*packed([*left, torch.rand(3)]))))
    files = sorted(path.name for path in (folder / "checkpoints").iterdir())
    return {"sha256": hashlib.sha256(content).hexdigest(), "files": files}


def begin(folder: Path, steps: int, compiled: bool, size: int) -> list[int]:
    """Start a run in processes of its own; what comes of it is written into its folder."""
    folder.mkdir(exist_ok=True)
    (folder / "store").unlink(missing_ok=True)
    return [os.fork() or _work(folder, steps, compiled, rank, size) for rank in range(size)]


def _work(folder: Path, steps: int, compiled: bool, rank: int, size: int) -> int:
    """What a process does, from which nothing returns."""
    code = 1
    try:
        if size > 1:
            store = f"file://{folder / 'store'}"
            dist.init_process_group("gloo", init_method=store, rank=rank, world_size=size)
        found = train(folder, steps, compiled, rank)
        (folder / f"found {rank}.json").write_text(json.dumps(found))
        code = 0
    finally:
        os._exit(code)


def end(children: list[int], seconds: float) -> list[int]:
    """Those of some processes that have not ended within so many seconds."""
    until, left = time.monotonic() + seconds, list(children)
    while left and time.monotonic() < until:
        left = [child for child in left if not os.waitpid(child, os.WNOHANG)[0]]
        time.sleep(0.001)
    return left


def kill(child: int) -> None:
    """End a process at once."""
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def is_killed(children: list[int], seconds: float, at: int) -> bool:
    """Whether a process was killed, as the run did not end before; then all are to end."""
    left = end(children, seconds)
    if len(left) < len(children):
        return bool(end(left, PATIENCE))  # a run that ends is let alone
    kill(left.pop(at % len(left)))
    for child in left:
        os.kill(child, signal.SIGTERM)
    for child in end(left, PATIENCE):
        kill(child)
        raise RuntimeError("a process waits for one that was killed")
    return True


def found_in(folder: Path, size: int) -> list[dict[str, Any]]:
    """What a run has left behind, by rank; none where it failed."""
    paths = [folder / f"found {rank}.json" for rank in range(size)]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def measured(kills: int, steps: int, compiled: bool, size: int, seed: int) -> dict[str, Any]:
    """Kill runs until there were so many kills, let each end in the end, and compare them."""
    generator, folder = random.Random(seed), Path(tempfile.mkdtemp())
    started = time.monotonic()
    end(begin(folder / "unbroken", steps, compiled, size), math.inf)
    seconds, expected = time.monotonic() - started, found_in(folder / "unbroken", size)
    killed = writing = runs = different = 0
    while killed < kills:
        runs += 1
        here = folder / str(runs)
        for _ in range(min(IN_A_ROW, kills - killed)):
            children = begin(here, steps, compiled, size)
            if not is_killed(children, generator.uniform(0, seconds / 2), killed):
                break
            killed += 1
            writing += any(True for _ in unfinished(here / "checkpoints"))
        else:
            end(begin(here, steps, compiled, size), math.inf)
        different += len(expected) < size or found_in(here, size) != expected
    return {
        "kills": killed,
        "while writing": writing,
        "runs": runs,
        "different": different,
        "steps": steps,
        "compiled": compiled,
        "processes": size,
        "files": expected[0]["files"] if expected else None,
        "torch": torch.__version__,
        "load": os.getloadavg()[0],
    }


def main() -> None:
    """Write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    importlib.import_module("torch._dynamo")  # by an optimizer, and so in every process anew
    found = measured(options.kills, options.steps, options.compile, options.processes, options.seed)
    several = f"_{options.processes}_processes" if options.processes > 1 else ""
    name = f"kills{'_compiled' if options.compile else ''}{several}.json"
    path = options.output or RESULTS / name
    path.write_text(json.dumps(found, indent=1) + "\n")
    print(found)


if __name__ == "__main__":
    main()
