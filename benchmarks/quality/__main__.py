"""Quality by the reference recipe: train, evaluate on the whole test set, write JSON and a table.

    python -m benchmarks.quality train vae        # weights and history in benchmarks/runs/
    python -m benchmarks.quality evaluate vae     # benchmarks/results/vae.json
    python -m benchmarks.quality table            # benchmarks/results/quality.md
    make quality                                  # all of it, several hours on two cores

Tasks: vae, gmvae, iwae (m = 10); ssvae-0, -1, -2 (draws of the 100 labels) and classifier-0, -1, -2
(the SSVAE's classifier alone, on the same labels); moved-0, -1, -2 (an SSVAE with a convolutional
classifier, and labelled images that are `data.Moved`); fsvae on colour digits, svhn for the FSVAE
on real crops. The VAE with another prior: weights (a mixture with learned weights),
vamp (500 pseudo-inputs that start as training images), flow; with another posterior: full, lowrank,
iaf. The recipe itself is in `recipe`. Set VAEZOO_DATA to a folder with MNIST/raw.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import pyro
import torch

import vaezoo
from benchmarks.quality import tables
from benchmarks.quality.metrics import METRICS
from benchmarks.quality.recipe import CLIP, PEAKS, STEPS, kind_of, member, setup
from vaezoo import models, training
from vaezoo.models import checkpoints

FOLDER = Path(__file__).parents[1]
RUNS, RESULTS = FOLDER / "runs", FOLDER / "results"


def main() -> None:
    """Parse the command line and do one thing."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=["train", "evaluate", "table"])
    parser.add_argument("task", nargs="?", help="one of the tasks above")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--progress", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.action == "table":
        (RESULTS / "quality.md").write_text(tables.table())
    elif arguments.task is None or kind_of(arguments.task) not in STEPS:
        parser.error(f"name a task: one of {', '.join(STEPS)}")
    elif arguments.action == "train":
        train(arguments.task, progress=arguments.progress)
    else:
        write_results(arguments.task, progress=arguments.progress)


def train(task: str, *, progress: bool) -> None:
    """Train one task from seed 0; keep weights and history."""
    torch.manual_seed(0)
    model, batches, objective = setup(task)
    started = time.perf_counter()
    optimizer, scheduler = _one_cycle(task, model)
    history = training.fit(
        model,
        batches,
        objective,
        steps=STEPS[kind_of(task)],
        optimizer=optimizer,
        scheduler=scheduler,
        max_grad_norm=CLIP if task == "fsvae" else None,
        log_every=1000,
        progress=progress,
        compile=kind_of(task) == "moved",
    )
    path = checkpoints.save(model, RUNS / f"{task}.safetensors")
    seconds = time.perf_counter() - started
    record = {"seconds": seconds, "threads": torch.get_num_threads(), "history": history}
    path.with_suffix(".json").write_text(json.dumps(record, indent=1))


def _one_cycle(task: str, model: models.LatentVariableModel) -> tuple[Any, Any]:
    """Optimizer and scheduler of a task with a peak; else none, and `fit` makes its own."""
    peak = PEAKS.get(kind_of(task))
    if peak is None:
        return None, None
    optimizer = torch.optim.Adam(model.parameters(), lr=peak, fused=True)
    total = STEPS[kind_of(task)]
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(
        optimizer, peak, total_steps=total, pct_start=0.1
    )


def write_results(task: str, *, progress: bool) -> None:
    """Evaluate one task; write its JSON, and the FSVAE's pictures."""
    model = checkpoints.load(RUNS / f"{task}.safetensors", member(kind_of(task)))
    record = json.loads((RUNS / f"{task}.json").read_text())
    RESULTS.mkdir(exist_ok=True)
    started = time.perf_counter()
    metrics = METRICS[kind_of(task)](model, progress)
    results = {
        "task": task,
        "steps": int(record["history"]["step"][-1]),
        "batch_size": 100,
        "seed": 0,
        "train_seconds": round(record["seconds"], 1),
        "evaluate_seconds": round(time.perf_counter() - started, 1),
        "threads": record["threads"],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, shared with other work",
        "versions": {m.__name__: m.__version__ for m in (vaezoo, torch, pyro)},
        "metrics": {name: each._asdict() for name, each in metrics.items()},
        "history": {k: [round(v, 3) for v in vs] for k, vs in record["history"].items()},
    }
    (RESULTS / f"{task}.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
