"""One run of a recipe: trained by `fit`'s checkpoints, measured part by part, written as JSON.

A run that is stopped anywhere, by a kill too, goes on when it is asked for again, and gives the
numbers of an unbroken one. At most the steps since the last checkpoint, or one part of the test
images, are done again.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyro
import torch
from torch import Tensor

import vaezoo
from benchmarks.quality.recipe import Member, Recipe, described
from benchmarks.quality.results import estimate
from vaezoo import data, evaluation, training
from vaezoo.evaluation import Estimate
from vaezoo.training.history import History

__all__ = ["run", "trained"]

PART = 2_500  # images
CHECKPOINTS = 20


def run(
    recipe: Recipe,
    name: str,
    seed: int,
    budget: float,
    runs: Path,
    results: Path,
    *,
    device: str = "cpu",
) -> Path:
    """Train and measure, or go on with it.

    Args:
        recipe: what to do.
        name: of the recipe, and so of the files.
        seed: of weights, order, noise, and the draw of labels.
        budget: the share of the recipe's steps that are taken.
        runs, results: folders of what is under way, and of what is done.
        device: where it is trained and measured, "cpu" or "cuda".

    Returns:
        The JSON file.
    """
    title = f"{name}-{seed}" if budget == 1 else f"{name}-{seed}-budget-{budget:g}"
    folder, steps = runs / title, max(round(recipe.steps * budget), 1)
    torch.manual_seed(seed)
    model, batches, test = recipe.member().to(device), recipe.train(seed), recipe.test()
    batches = batches.to(device) if isinstance(batches, data.Images) else batches
    record = {"name": name, "seed": seed, "budget": budget, "steps": steps}
    record |= {"recipe": described(recipe, model, batches, test)}
    _check_same(folder / "recipe.json", record)
    history = trained(recipe, model, batches, steps, folder / "training")
    metrics, seconds = measured(recipe, model, test, folder)
    record |= {
        "data": {"train": digest(_images(batches)), "test": digest(test)},
        "metrics": {key: each._asdict() for key, each in metrics.items()},
        "history": {key: [round(v, 3) for v in history[key]] for key in ("step", "loss")},
        "train_seconds": round(history["seconds"][-1], 1),
        "evaluate_seconds": round(seconds, 1),
        "threads": torch.get_num_threads(),
        "machine": _machine(device),
        "versions": {m.__name__: m.__version__ for m in (vaezoo, torch, pyro)},
    }
    results.mkdir(parents=True, exist_ok=True)
    if recipe.draws is not None:
        recipe.draws(model).savefig(results / f"{title}.png", dpi=100)
    return _write(results / f"{title}.json", record)


def trained(recipe: Recipe, model: Member, batches: Any, steps: int, folder: Path) -> History:
    """Train the model in place, from the last checkpoint if there is one."""
    if recipe.start is not None and not list(folder.glob("step-*")):
        recipe.start(model, batches)
    decayed = functools.partial(torch.optim.AdamW, weight_decay=recipe.decay)
    history = training.fit(
        model,
        batches,
        recipe.objective,
        steps=steps,
        batch_size=recipe.batch_size,
        lr=training.one_cycle(recipe.rate, steps) if recipe.cycle else recipe.rate,
        optimizer=decayed if recipe.decay else recipe.optimizer,
        max_grad_norm=recipe.clip,
        precision=recipe.precision,
        compile=recipe.compile,
        average=recipe.average,
        checkpoint=folder,
        every=max(steps // CHECKPOINTS, 1),
        log_every=max(steps // CHECKPOINTS, 1),
    )
    if history.stopped:
        raise SystemExit(f"{folder.parent.name} was stopped: ask for it again, and it goes on")
    return history


def measured(
    recipe: Recipe, model: Member, test: data.Images, folder: Path
) -> tuple[dict[str, Estimate], float]:
    """All measures of the test images, and the seconds that they took."""
    batches = enumerate(_parts(test))
    parts = [_part(recipe, model, folder, i, part) for i, part in batches]
    seconds = sum(part.pop("seconds") for part in parts)
    of = {name: [torch.tensor(p[name], dtype=torch.float64) for p in parts] for name in parts[0]}
    metrics = {name: estimate(torch.cat(values)) for name, values in of.items()}
    if recipe.also is not None:
        started = time.perf_counter()
        metrics |= recipe.also(model)
        seconds += time.perf_counter() - started
    return metrics, seconds


def _part(
    recipe: Recipe, model: Member, folder: Path, index: int, part: list[tuple[Tensor, ...]]
) -> dict[str, Any]:
    """The values of each image of a part, from its file where it is done."""
    file = folder / f"part-{index}.json"
    if not file.exists():
        started = time.perf_counter()
        options: dict[str, Any] = {"seed": index, "compile": recipe.compile}
        found = evaluation.evaluate(model, part, particles=recipe.particles, **options)
        values = {name: each.values.tolist() for name, each in found.items()}  # type: ignore[union-attr]
        _write(file, values | {"seconds": time.perf_counter() - started})
    kept: dict[str, Any] = json.loads(file.read_text())
    return kept


def _parts(images: data.Images) -> Iterator[list[tuple[Tensor, ...]]]:
    """Batches of the images, binarised once by seed 0."""
    tensors = images.tensors(seed=0)
    for part in zip(*(t.split(PART) for t in tensors), strict=True):
        yield list(zip(*(t.split(100) for t in part), strict=True))


def _machine(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()}, {os.cpu_count()} cores, shared with other work"


def _check_same(file: Path, record: dict[str, Any]) -> None:
    """A run goes on by the recipe that it began with."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        _write(file, record)
    if json.loads(file.read_text(encoding="utf-8")) != record:
        raise SystemExit(
            f"{file.parent} was begun by another recipe: remove it, or go back to that"
        )


def digest(images: data.Images) -> str:
    """What tells one set of images from another: SHA-256 of its pixels and labels."""
    found = hashlib.sha256(images.pixels.cpu().numpy().tobytes())
    if images.labels is not None:
        found.update(images.labels.cpu().numpy().tobytes())
    return found.hexdigest()


def _images(batches: Any) -> data.Images:
    images: data.Images = getattr(batches, "unlabelled", batches)
    return images


def _write(path: Path, record: Mapping[str, Any]) -> Path:
    """As a whole or not at all."""
    text = json.dumps(record, indent=1, ensure_ascii=False)
    # a list in a line, not a number in a line
    text = re.sub(r"\[([^][{}\"]*)\]", lambda found: f"[{' '.join(found[1].split())}]", text)
    beside = path.with_suffix(".writing")
    beside.write_text(text + "\n", encoding="utf-8")
    return beside.replace(path)
