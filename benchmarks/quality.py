"""Quality on full MNIST by the seed's recipe: train, evaluate on all test images, write JSON.

    python benchmarks/quality.py train vae            # a checkpoint under benchmarks/runs/
    python benchmarks/quality.py evaluate vae         # benchmarks/results/vae.json
    python benchmarks/quality.py table                # benchmarks/results/quality.md

Tasks: vae, gmvae, iwae, ssvae-0, ssvae-1, ssvae-2 (draws of the 100 labels), classifier-0 to
classifier-2 (the SSVAE's classifier alone) and fsvae (colour digits). Adam at 1e-3, constant, batches
of 100, dynamic binarisation. Set VAEZOO_DATA to a folder that holds MNIST/raw.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

import vaezoo
from vaezoo import checkpoints, data, models, objectives, training

HERE = Path(__file__).parent
STEPS = {"vae": 20_000, "gmvae": 20_000, "iwae": 20_000, "fsvae": 20_000, "ssvae": 30_000}
STEPS["classifier"] = 5_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["train", "evaluate", "table"])
    parser.add_argument("task", nargs="?")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    {"train": train}[arguments.action](arguments.task)


def train(task: str) -> None:
    """Train one task from seed 0 and keep weights and history."""
    torch.manual_seed(0)
    model, batches, objective = setup(task)
    started = time.perf_counter()
    history = training.fit(
        model, batches, objective, steps=STEPS[task.split("-")[0]], log_every=1000, progress=False
    )
    path = checkpoints.save(model, HERE / "runs" / f"{task}.safetensors")
    seconds = time.perf_counter() - started
    record = {"seconds": seconds, "threads": torch.get_num_threads(), "history": history}
    path.with_suffix(".json").write_text(json.dumps(record, indent=1))


def setup(task: str) -> tuple[models.LatentVariableModel, object, objectives.Objective]:
    """Model, training data and objective of a task."""
    if task == "fsvae":
        model = models.FSVAE()
        return model, data.colour_digits("train", n=60_000), training.default_objective(model)
    images = data.mnist("train", binarisation="dynamic")
    kind, _, draw = task.partition("-")
    if kind in ("ssvae", "classifier"):
        labelled = images.labelled(100, seed=int(draw))
        batches = data.semi_supervised(images, labelled, batch_size=100)
        objective = objectives.SemiSupervised(
            alpha=100.0,
            generative_weight=float(kind == "ssvae"),
            labelled_fraction=batches.labelled_fraction,
        )
        return models.SSVAE(), batches, objective
    model = {"vae": models.VAE, "gmvae": models.GMVAE, "iwae": models.IWAE}[kind]()
    return model, images, training.default_objective(model)


if __name__ == "__main__":
    main()
