"""Quality by the seed's recipe: train, evaluate on the whole test set, write JSON and a table.

    python benchmarks/quality.py train vae            # weights and history in benchmarks/runs/
    python benchmarks/quality.py evaluate vae         # benchmarks/results/vae.json
    python benchmarks/quality.py table                # benchmarks/results/quality.md
    make quality                                      # all of it, several hours on two cores

Tasks: vae, gmvae, iwae (m = 10); ssvae-0, -1, -2 (draws of the 100 labels) and classifier-0, -1, -2
(the SSVAE's classifier alone, on the same labels); moved-0, -1, -2 (an SSVAE with a convolutional
classifier, the labelled images moved about at random, see `Moved`); fsvae on colour digits, svhn
for the FSVAE on real crops. The VAE with another prior: weights (a mixture with learned weights),
vamp (500 pseudo-inputs that start as training images), flow; with another posterior: full, lowrank,
iaf.

Adam at 1e-3, constant (fsvae, moved: one cycle, see PEAKS), batches of 100, seed 0. MNIST is
binarised afresh for every batch in training, and once, by seed 0, for the test. Set VAEZOO_DATA to
a folder with MNIST/raw.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyro
import torch
from torch import Tensor, nn

import vaezoo
from vaezoo import (
    bound,
    data,
    evaluation,
    likelihoods,
    models,
    networks,
    objectives,
    plots,
    posteriors,
    priors,
    training,
)
from vaezoo.data.downloads import data_root
from vaezoo.evaluation import Estimate
from vaezoo.models import checkpoints

HERE = Path(__file__).parent
RUNS, RESULTS = HERE / "runs", HERE / "results"
STEPS = {
    "vae": 20_000,
    "gmvae": 20_000,
    "iwae": 20_000,
    "ssvae": 30_000,
    "classifier": 2_000,
    "moved": 30_000,
    "fsvae": 30_000,
    "svhn": 1_500,
    **dict.fromkeys(("weights", "vamp", "flow"), 20_000),  # priors
    **dict.fromkeys(("full", "lowrank", "iaf"), 20_000),  # posteriors
}
DRAWS = (0, 1, 2)
LABELLED = {
    "ssvae": "SSVAE",
    "classifier": "its classifier alone",
    "moved": "SSVAE, convolutional classifier, labelled images moved",
}
PEAKS = {"fsvae": 1.5e-3, "moved": 2e-3}  # of one cycle of the learning rate
CLIP = 300.0  # of the FSVAE's gradients: its bound spikes without
READER_EPOCHS = 3


def main() -> None:
    """Parse the command line and do one thing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["train", "evaluate", "table"])
    parser.add_argument("task", nargs="?", help="one of the tasks above")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--progress", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.action == "table":
        (RESULTS / "quality.md").write_text(table())
    elif arguments.task is None or _kind(arguments.task) not in STEPS:
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
    steps = STEPS[_kind(task)]
    optimizer = scheduler = None
    if _kind(task) in PEAKS:
        peak = PEAKS[_kind(task)]
        optimizer = torch.optim.Adam(model.parameters(), lr=peak, fused=True)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, peak, total_steps=steps, pct_start=0.1
        )
    history = training.fit(
        model,
        batches,
        objective,
        steps=steps,
        optimizer=optimizer,
        scheduler=scheduler,
        max_grad_norm=CLIP if task == "fsvae" else None,
        log_every=1000,
        progress=progress,
        compile=_kind(task) == "moved",
    )
    path = checkpoints.save(model, RUNS / f"{task}.safetensors")
    seconds = time.perf_counter() - started
    record = {"seconds": seconds, "threads": torch.get_num_threads(), "history": history}
    path.with_suffix(".json").write_text(json.dumps(record, indent=1))


def setup(task: str) -> tuple[models.LatentVariableModel, Any, objectives.Objective]:
    """Model, training data and objective of a task."""
    kind = _kind(task)
    model = _member(kind)
    if kind == "fsvae":
        return model, data.colour_digits("train", n=60_000), bound.default_objective(model)
    if kind == "svhn":
        return model, _svhn(), bound.default_objective(model)
    images = data.mnist("train", binarisation="dynamic")
    if isinstance(model.prior, priors.VampPrior):
        model.prior.start_from(images[:500].tensors()[0])
    if kind == "moved":
        moved = Moved(images, data.mnist("train", binarisation="none"), int(task.split("-")[1]))
        return model, moved, objectives.SemiSupervised(alpha=10.0)
    if kind not in ("ssvae", "classifier"):
        return model, images, bound.default_objective(model)
    labelled = images.labelled(100, seed=int(task.split("-")[1]))
    batches = data.semi_supervised(images, labelled, batch_size=100)
    objective = objectives.SemiSupervised(
        alpha=100.0,
        generative_weight=float(kind == "ssvae"),
        labelled_fraction=batches.labelled_fraction,
    )
    return model, batches, objective


class Moved:
    """Semi-supervised batches whose labelled images are turned, sheared, scaled and shifted.

    Up to 15 degrees, 0.2, 10 % and 2 pixels, afresh for every batch; then binarised.
    """

    def __init__(self, images: data.Images, grey: data.Images, draw: int) -> None:
        labelled = grey.labelled(100, seed=draw)
        self.batches = data.semi_supervised(
            images, labelled, batch_size=100, labelled_batch_size=50
        )

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for x, x_labelled, y in self.batches:
            yield x, torch.bernoulli(_moved(x_labelled).clamp(0, 1)), y


def _moved(x: Tensor) -> Tensor:
    angle, size, shear, right, down = (torch.rand(5, len(x)) * 2 - 1).unbind()
    angle, size = angle * math.radians(15), 1 + 0.1 * size
    cos, sin = angle.cos() / size, angle.sin() / size
    across = torch.stack([cos, 0.2 * shear - sin, right / 7], -1)
    up = torch.stack([sin, cos, down / 7], -1)
    grid = nn.functional.affine_grid(torch.stack([across, up], 1), list(x.shape), False)
    return nn.functional.grid_sample(x, grid, align_corners=False)


def write_results(task: str, *, progress: bool) -> None:
    """Evaluate one task; write its JSON, and the FSVAE's pictures."""
    model = checkpoints.load(RUNS / f"{task}.safetensors", _member(_kind(task)))
    record = json.loads((RUNS / f"{task}.json").read_text())
    RESULTS.mkdir(exist_ok=True)
    started = time.perf_counter()
    metrics = METRICS[_kind(task)](model, progress)
    results = {
        "task": task,
        "steps": int(record["history"]["step"][-1]),
        "batch_size": 100,
        "seed": 0,
        "train_seconds": round(record["seconds"], 1),
        "evaluate_seconds": round(time.perf_counter() - started, 1),
        "threads": record["threads"],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, shared with other work",
        "versions": {
            "vaezoo": vaezoo.__version__,
            "torch": torch.__version__,
            "pyro": pyro.__version__,
        },
        "metrics": {name: each._asdict() for name, each in metrics.items()},
        "history": {k: [round(v, 3) for v in vs] for k, vs in record["history"].items()},
    }
    (RESULTS / f"{task}.json").write_text(json.dumps(results, indent=1) + "\n")


def bounds(model: models.LatentVariableModel, progress: bool) -> dict[str, Estimate]:
    """NELBO, KL, rec and NIWAE on all 10,000 test images."""
    return evaluation.evaluate(model, data.mnist("test"), progress=progress)


def labels(model: models.LatentVariableModel, progress: bool) -> dict[str, Estimate]:
    """Bounds with few particles (ten labels are decoded for each), and accuracy."""
    return evaluation.evaluate(model, data.mnist("test"), particles=(1, 10), progress=progress)


def accuracy(model: models.SSVAE, progress: bool) -> dict[str, Estimate]:
    """Accuracy on all 10,000 test images."""
    return {"accuracy": evaluation.accuracy(model, data.mnist("test"))}


def scenes(model: models.FSVAE, progress: bool) -> dict[str, Estimate]:
    """How well a classifier that has only seen real scenes reads the digits asked for."""
    torch.manual_seed(0)
    reader = _reader(data.colour_digits("train", n=60_000))
    x, y = data.colour_digits("test").tensors()
    asked = torch.arange(10).repeat_interleave(200)
    styles = {
        "styles of real scenes": model.encode(x, y),
        "styles from the prior": model.prior().sample((len(asked),)),
    }
    plots.style_by_content(model).savefig(RESULTS / "fsvae.png", dpi=100)
    found = evaluation.evaluate(
        model, data.colour_digits("test"), particles=(1, 10, 100), progress=progress
    )
    found["read on real scenes"] = _share(_read(reader, x) == y)
    for name, z in styles.items():
        drawn = model.sample(y=asked, z=z).clamp(0, 1)
        found[f"read as asked, {name}"] = _share(_read(reader, drawn) == asked)
    return found


def crops(model: models.FSVAE, progress: bool) -> dict[str, Estimate]:
    """The bound on the training crops themselves (there is no held-out part), and the grid."""
    plots.style_by_content(model).savefig(RESULTS / "fsvae_svhn.png", dpi=100)
    return evaluation.evaluate(model, _svhn(), particles=(1, 10), progress=progress)


METRICS: dict[str, Any] = {
    "vae": bounds,
    "gmvae": bounds,
    "iwae": bounds,
    **dict.fromkeys(("weights", "vamp", "flow", "full", "lowrank", "iaf"), bounds),
    "ssvae": labels,
    "classifier": accuracy,
    "fsvae": scenes,
    "moved": labels,
    "svhn": crops,
}


TABLES: dict[str, dict[str, str]] = {
    "MNIST, 10,000 test images": {
        "vae": "VAE",
        "gmvae": "GMVAE, k = 500",
        "iwae": "IWAE, m = 10",
    },
    "the VAE with another prior; posterior": {
        "vae": "N(0, I); diagonal Normal",
        "gmvae": "mixture of 500 Gaussians; diagonal Normal",
        "weights": "the same, weights learned; diagonal Normal",
        "vamp": "VampPrior, k = 500; diagonal Normal",
        "flow": "autoregressive flow; diagonal Normal",
        "lowrank": "N(0, I); low-rank Normal, rank 2",
        "full": "N(0, I); full Normal",
        "iaf": "N(0, I); inverse autoregressive flow",
    },
}
BOUNDS = ("nelbo", "kl", "rec", "niwae-1", "niwae-10", "niwae-100", "niwae-1000")


def table() -> str:
    """The results as Markdown, from the JSON files."""
    parts = [_bounds_table(title, tasks) for title, tasks in TABLES.items()]
    return "\n\n".join([*parts, _labels_table(), _scenes_table()]) + "\n"


def _bounds_table(title: str, tasks: dict[str, str]) -> str:
    lines = [
        f"| {title} | NELBO | KL | rec | NIWAE-1 | -10 | -100 | -1000 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for task, name in tasks.items():
        metrics = _metrics(task)
        cells = (str(metrics[n]) if n in metrics else "not measured" for n in BOUNDS)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _labels_table() -> str:
    lines = ["| 100 labels, 10,000 test images | accuracy, % (mean of 3 draws) | each draw |"]
    lines += ["|---|---|---|"]
    for kind, title in LABELLED.items():
        found = [_metrics(f"{kind}-{d}") for d in DRAWS]
        if not all(found):
            lines.append(f"| {title} | not measured | |")
            continue
        each = torch.tensor([100 * metrics["accuracy"].mean for metrics in found])
        mean = Estimate(each.mean().item(), each.std().item() / len(DRAWS) ** 0.5, len(DRAWS))
        lines.append(f"| {title} | {mean} | {', '.join(f'{e:.2f}' for e in each)} |")
    return "\n".join(lines)


def _scenes_table() -> str:
    metrics = _metrics("fsvae")
    if not metrics:
        return "FSVAE on colour digits: not measured."
    lines = ["| FSVAE on colour digits, 2,000 test scenes | |", "|---|---|"]
    read = [name for name in metrics if name.startswith("read ")]
    for name in ("nelbo", "niwae-100", *read):
        scale = 100 if name in read else 1
        value = Estimate(scale * metrics[name].mean, scale * metrics[name].stderr, metrics[name].n)
        lines.append(f"| {name}{', %' if scale == 100 else ''} | {value} |")
    return "\n".join(lines)


def _metrics(task: str) -> dict[str, Estimate]:
    """What was measured, or nothing."""
    if not (RESULTS / f"{task}.json").exists():
        return {}
    results = json.loads((RESULTS / f"{task}.json").read_text())
    return {name: Estimate(**each) for name, each in results["metrics"].items()}


def _member(kind: str) -> models.LatentVariableModel:
    """The model of a task, with nothing built but its own parts, so that seeds stay put."""
    x = (1, 28, 28)
    members: dict[str, Callable[[], models.LatentVariableModel]] = {
        "vae": models.VAE,
        "gmvae": models.GMVAE,
        "iwae": models.IWAE,
        "fsvae": models.FSVAE,
        "svhn": models.FSVAE,
        "moved": _convolutional,
        "weights": lambda: models.VAE(prior=priors.MixtureOfGaussians(10, learn_weights=True)),
        "vamp": lambda: models.VAE(prior=priors.VampPrior(x, 10)),
        "flow": lambda: models.VAE(prior=priors.Flow(10)),
        "full": lambda: models.VAE(posterior=posteriors.FullNormal(x, 10)),
        "lowrank": lambda: models.VAE(posterior=posteriors.LowRankNormal(x, 10)),
        "iaf": lambda: models.VAE(posterior=posteriors.Flow(x, 10)),
    }
    return members.get(kind, models.SSVAE)()


def _convolutional() -> models.SSVAE:
    """An SSVAE with a convolutional q(y|x), a small code, and labels' weights started wider."""
    x, z_dim, hidden = (1, 28, 28), 12, (128, 128)
    down = networks.Conv(x, (16, 32), (128,), activation=nn.ReLU)
    head = nn.Sequential(down, nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10))
    up = networks.MLP((z_dim,), hidden, x, classes=10, label_scale=3.0)
    return models.SSVAE(
        z_dim=z_dim,
        hidden=hidden,
        classifier=posteriors.Classifier(x, 10, network=head),
        likelihood=likelihoods.Bernoulli(z_dim, x, network=up, classes=10),
    )


def _svhn() -> data.Images:
    found = sorted(data_root().glob("svhn/*.mat"))
    if not found:
        raise FileNotFoundError(f"no svhn/*.mat under {data_root()}: set VAEZOO_DATA")
    return data.svhn(file=found[0])


def _reader(scenes: data.Images) -> nn.Module:
    """A small convolutional classifier, trained on real scenes only."""
    layers = [nn.Conv2d(3, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU()]
    head = [nn.MaxPool2d(2), nn.Flatten(), nn.LazyLinear(128), nn.ReLU(), nn.Linear(128, 10)]
    reader = nn.Sequential(*layers, *head)
    reader(torch.zeros(1, *scenes.x_shape))
    optimizer = torch.optim.Adam(reader.parameters(), lr=2e-3)
    total = READER_EPOCHS * len(scenes) // 100
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=total)
    for _ in range(READER_EPOCHS):
        for x, y in scenes.batches(100):
            optimizer.zero_grad()
            nn.functional.cross_entropy(reader(x), y).backward()
            optimizer.step()
            scheduler.step()
    return reader


@torch.no_grad()
def _read(reader: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([reader(part).argmax(-1) for part in x.split(500)])


def _share(correct: Tensor) -> Estimate:
    n = len(correct)
    return Estimate(correct.double().mean().item(), correct.double().std().item() / n**0.5, n)


def _kind(task: str) -> str:
    return task.split("-")[0]


if __name__ == "__main__":
    main()
