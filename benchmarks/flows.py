"""Speed of one masked autoregressive flow: vaezoo's, Pyro's AffineAutoregressive, and zuko.

    python -m benchmarks.flows          # benchmarks/results/flows.json and .md, a minute

`priors.Flow` in 10 dimensions: four layers with masked networks of 128-128 ELU units, the order of
coordinates reversed from one to the next, in float32 on one thread. A step is the log-density of a
batch and its backward pass; validation is off. All have as many weights; how a log-scale is bounded
is each library's own. In each round they take turns in a new random order; times are medians, and
ratios medians of those within a round. It needs zuko (pip install zuko), which vaezoo does not.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import platform
import random
import time
from pathlib import Path
from statistics import median
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.transforms import AffineAutoregressive
from pyro.nn import AutoRegressiveNN
from torch import Tensor, nn

from benchmarks import markdown
from benchmarks.command import without_arguments
from vaezoo import priors

RESULTS = Path(__file__).parent / "results"
SIZE, LAYERS, HIDDEN = 10, 4, (128, 128)
BATCHES, ROUNDS, STEPS = (100, 1000), 41, 10
OURS = "vaezoo"


class Pyros(nn.Module):
    """The same as `priors.Flow`, of Pyro's own transforms."""

    def __init__(self) -> None:
        super().__init__()
        orders = [torch.arange(SIZE), torch.arange(SIZE).flip(0)]
        self.layers = nn.ModuleList(self._layer(orders[i % 2]) for i in range(LAYERS))
        self.base = dist.Normal(torch.zeros(SIZE), torch.ones(SIZE)).to_event(1)

    def _layer(self, order: Tensor) -> AffineAutoregressive:
        network = AutoRegressiveNN(SIZE, list(HIDDEN), permutation=order, nonlinearity=nn.ELU())
        return AffineAutoregressive(network)

    def forward(self) -> Any:
        """Return the distribution."""
        return dist.TransformedDistribution(self.base, [t.inv for t in self.layers])


def flows() -> dict[str, nn.Module]:
    """Modules that return the distribution when they are called, by library that is there."""
    modules = {OURS: priors.Flow(SIZE, layers=LAYERS, hidden=HIDDEN), "Pyro": Pyros()}
    if importlib.util.find_spec("zuko") is None:
        return modules
    import zuko

    shape: dict[str, Any] = {"transforms": LAYERS, "hidden_features": HIDDEN}
    return {**modules, "zuko": zuko.flows.MAF(SIZE, **shape, activation=nn.ELU)}


def main() -> None:
    """Measure, and write JSON and table."""
    without_arguments(__doc__)
    if importlib.util.find_spec("zuko") is None:
        raise SystemExit("zuko is missing, and the table has a column for it: pip install zuko")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random.seed(0)
    with pyro.validation_enabled(False):
        rows = [measure(flows(), batch) for batch in BATCHES]
    versions = {name: importlib.metadata.version(name) for name in ("torch", "pyro-ppl", "zuko")}
    record = {"rounds": ROUNDS, "steps": STEPS, "machine": platform.machine(), "versions": versions}
    (RESULTS / "flows.json").write_text(json.dumps({**record, "rows": rows}, indent=1) + "\n")
    (RESULTS / "flows.md").write_text(table(rows))


def measure(modules: dict[str, nn.Module], batch: int) -> dict[str, Any]:
    """Milliseconds of a step, and their ratio to ours, at one batch size."""
    z = torch.randn(batch, SIZE)
    times: dict[str, list[float]] = {name: [] for name in modules}
    for _ in range(ROUNDS + 1):
        for name in random.sample(sorted(modules), len(modules)):
            times[name].append(_seconds(modules[name], z))
    kept = {name: each[1:] for name, each in times.items()}  # the first round is a warm-up
    ratios = {n: [a / b for a, b in zip(t, kept[OURS], strict=True)] for n, t in kept.items()}
    return {
        "batch": batch,
        "milliseconds": {n: round(1000 * median(each), 3) for n, each in kept.items()},
        "ratio": {n: round(median(each), 3) for n, each in ratios.items()},
    }


def _seconds(module: nn.Module, z: Tensor) -> float:
    started = time.perf_counter()
    for _ in range(STEPS):
        # a tensor of its own each time, because transforms remember the last
        module().log_prob(z.view_as(z)).mean().backward()
    return (time.perf_counter() - started) / STEPS


def table(rows: list[dict[str, Any]]) -> str:
    """The results as Markdown."""
    names = list(rows[0]["milliseconds"])
    others = [n for n in names if n != OURS]
    lines = []
    for row in rows:
        times = [f"{row['milliseconds'][n]:.2f}" for n in names]
        lines.append((row["batch"], *times, *(f"{row['ratio'][n]:.2f}" for n in others)))
    heads = [f"{n}, ms" for n in names] + [f"{n} / {OURS}" for n in others]
    return markdown.table(("batch", *heads), lines) + "\n"


if __name__ == "__main__":
    main()
