"""The tables, from the JSON files alone."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from benchmarks import markdown
from vaezoo.evaluation import Estimate

__all__ = ["summary", "table"]

RESULTS = Path(__file__).parents[1] / "results"
DRAWS = (0, 1, 2)
LABELLED = {
    "ssvae": "SSVAE",
    "classifier": "its classifier alone",
    "moved": "SSVAE, convolutional classifier, labelled images moved",
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
MISSING = ("not measured", "")
BOUNDS = ("nelbo", "kl", "rec", "niwae-1", "niwae-10", "niwae-100", "niwae-1000")


SUMMARY = {
    "vae": "VAE",
    "gmvae": "GMVAE, k = 500",
    "iwae": "IWAE, m = 10",
    "vamp": "VAE with a VampPrior, k = 500",
}


def table() -> str:
    """All results as Markdown."""
    parts = [_bounds_table(title, tasks) for title, tasks in TABLES.items()]
    return "\n\n".join([*parts, _labels_table(), _scenes_table()]) + "\n"


def summary() -> str:
    """One line for each kind of member, as the README has them."""
    bound = "bound on -log p(x): NIWAE-1000, nats"
    rows = [(name, bound, _metrics(task)["niwae-1000"]) for task, name in SUMMARY.items()]
    for kind in ("ssvae", "moved"):
        rows.append((LABELLED[kind], "accuracy with 100 labels, %", _over_draws(_each_draw(kind))))
    drawn = _metrics("fsvae")["read as asked, styles from the prior"]
    rows.append(
        ("FSVAE, colour digits", "drawings read as the digit asked for, %", _percent(drawn))
    )
    return markdown.table(("member", "measured on held-out images", "mean ± standard error"), rows)


def _bounds_table(title: str, tasks: dict[str, str]) -> str:
    rows = []
    for task, name in tasks.items():
        metrics = _metrics(task)
        rows.append((name, *(metrics.get(n, MISSING[0]) for n in BOUNDS)))
    return markdown.table((title, "NELBO", "KL", "rec", "NIWAE-1", "-10", "-100", "-1000"), rows)


def _labels_table() -> str:
    rows: list[tuple[object, ...]] = []
    for kind, title in LABELLED.items():
        each = _each_draw(kind)
        cells = (_over_draws(each), ", ".join(f"{e:.2f}" for e in each)) if each else MISSING
        rows.append((title, *cells))
    header = ("100 labels, 10,000 test images", "accuracy, % (mean of 3 draws)", "each draw")
    return markdown.table(header, rows)


def _each_draw(kind: str) -> list[float]:
    """Accuracies in per cent, or nothing."""
    measured = [_metrics(f"{kind}-{draw}") for draw in DRAWS]
    return [100 * each["accuracy"].mean for each in measured] if all(measured) else []


def _over_draws(each: list[float]) -> Estimate:
    values = torch.tensor(each)
    return Estimate(values.mean().item(), values.std().item() / len(each) ** 0.5, len(each))


def _scenes_table() -> str:
    metrics = _metrics("fsvae")
    if not metrics:
        return "FSVAE on colour digits: not measured."
    rows = [(name, metrics[name]) for name in ("nelbo", "niwae-100")]
    read = [name for name in metrics if name.startswith("read ")]
    rows += [(f"{name}, %", _percent(metrics[name])) for name in read]
    return markdown.table(("FSVAE on colour digits, 2,000 test scenes", ""), rows)


def _percent(share: Estimate) -> Estimate:
    return Estimate(100 * share.mean, 100 * share.stderr, share.n)


def _metrics(task: str) -> dict[str, Estimate]:
    """What was measured, or nothing."""
    if not (RESULTS / f"{task}.json").exists():
        return {}
    results = json.loads((RESULTS / f"{task}.json").read_text())
    return {name: Estimate(**each) for name, each in results["metrics"].items()}
