"""Trainings that are killed at random moments and begun again, against one that was not.

    python -m benchmarks.kills --kills 50
    python -m benchmarks.kills --kills 5 --compile

Each process is killed by SIGKILL, between steps, in one, or while a checkpoint is written. Weights,
optimizer, history, random numbers, log and best weights of every run must be bitwise those of the
unbroken run, and its folder must hold the same files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from vaezoo import ELBO, data, fit, models, objectives
from vaezoo.data.files import unfinished
from vaezoo.training import KeepBest, Log
from vaezoo.training.trees import packed, pieces

RESULTS = Path(__file__).parent / "results"
IN_A_ROW = 6  # kills of one run, at most


def train(folder: Path, steps: int, compiled: bool) -> dict[str, Any]:
    """One run, and the checksum of what it leaves behind, but for the seconds."""
    torch.manual_seed(0)
    images, test = data.digits()[:1050], data.digits("test")[:50]
    vae = models.VAE(z_dim=4, hidden=(128,))
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3, fused=True)
    best, log = KeepBest(vae), Log(folder / "log.jsonl")
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


def begin(folder: Path, steps: int, compiled: bool) -> int:
    """Start a run in a process of its own; what comes of it is written beside its folder."""
    folder.mkdir(exist_ok=True)
    if child := os.fork():
        return child
    code = 1
    try:
        found = train(folder, steps, compiled)
        (folder / "found.json").write_text(json.dumps(found))
        code = 0
    finally:
        os._exit(code)


def ends_within(child: int, seconds: float) -> bool:
    """Whether a process ends by itself; if it does not, it is killed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitpid(child, os.WNOHANG)[0]:
            return True
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def found_in(folder: Path) -> dict[str, Any]:
    """What a run has left behind; none where it failed."""
    path = folder / "found.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def measured(kills: int, steps: int, compiled: bool, seed: int) -> dict[str, Any]:
    """Kill runs until there were so many kills, let each end in the end, and compare them."""
    generator, folder = random.Random(seed), Path(tempfile.mkdtemp())
    started = time.monotonic()
    os.waitpid(begin(folder / "unbroken", steps, compiled), 0)
    seconds, expected = time.monotonic() - started, found_in(folder / "unbroken")
    killed = writing = runs = different = 0
    while killed < kills:
        runs += 1
        here = folder / str(runs)
        for _ in range(min(IN_A_ROW, kills - killed)):
            if ends_within(begin(here, steps, compiled), generator.uniform(0, seconds / 2)):
                break
            killed += 1
            writing += any(True for _ in unfinished(here / "checkpoints"))
        else:
            os.waitpid(begin(here, steps, compiled), 0)
        different += not expected or found_in(here) != expected
    return {
        "kills": killed,
        "while writing": writing,
        "runs": runs,
        "different": different,
        "steps": steps,
        "compiled": compiled,
        "files": expected.get("files"),
        "torch": torch.__version__,
    }


def main() -> None:
    """Write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = measured(options.kills, options.steps, options.compile, options.seed)
    name = "kills_compiled.json" if options.compile else "kills.json"
    path = options.output or RESULTS / name
    path.write_text(json.dumps(found, indent=1) + "\n")
    print(found)


if __name__ == "__main__":
    main()
