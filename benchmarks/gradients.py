"""Signal and noise of the guide's gradients: iwae against stl and dreg, on a linear-Gaussian model.

    python -m benchmarks.gradients      # benchmarks/results/gradients.json, .md and .png

The model of Rainforth et al. 2018 (arXiv:1802.04537, section 4): z ~ N(0, I) and x ~ N(z, I) in 20
dimensions; q(z|x) = N(A x + b, 2/3 I), where A = I/2 and b = 0 are the best and each of their
entries is moved by N(0, 0.01²). One image x, drawn from the model by seed 0. For each number of
particles and each estimator, 1,000 independent gradients by b:

    signal to noise   mean over entries of |mean| / standard deviation
    variance ratio    variance of iwae's over that of the estimator, both summed over entries

stl is biased for more than one particle, so that its signal there is partly bias. A thousand draws
of nothing but noise have a signal to noise of 0.025.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from benchmarks import markdown
from benchmarks.command import without_arguments
from vaezoo import likelihoods, models
from vaezoo.components import outside_param_store
from vaezoo.objectives import IWELBO
from vaezoo.posteriors import Posterior

RESULTS = Path(__file__).parent / "results"
SIZE, DRAWS, PARTICLES, ESTIMATORS = 20, 1000, (1, 10, 100, 1000), ("iwae", "stl", "dreg")


class Linear(Posterior):
    """q(z|x) = N(A x + b, 2/3 I)."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.eye(SIZE) / 2 + 0.01 * torch.randn(SIZE, SIZE))
        self.b = nn.Parameter(0.01 * torch.randn(SIZE))

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Return q(z|x)."""
        scale = torch.full_like(self.b, math.sqrt(2 / 3))
        return dist.Normal(x @ self.a.T + self.b, scale).to_event(1)


def main() -> None:
    """Measure, and write JSON, table and figure."""
    without_arguments(__doc__)
    torch.manual_seed(0)
    likelihood = likelihoods.Normal(SIZE, (SIZE,), network=nn.Identity(), variance=1.0)
    vae = models.VAE((SIZE,), SIZE, likelihood=likelihood, posterior=Linear()).double()
    x = math.sqrt(2) * torch.randn(1, SIZE).double()
    rows: list[dict[str, Any]] = [
        {"particles": k, "estimator": e, **_measure(vae, x, IWELBO(k, estimator=e))}
        for k in PARTICLES
        for e in ESTIMATORS
    ]
    for row in rows:
        iwae = next(
            r for r in rows if (r["particles"], r["estimator"]) == (row["particles"], "iwae")
        )
        row["variance_ratio"] = iwae["variance"] / row["variance"]
    record = {"size": SIZE, "draws": DRAWS, "seed": 0, "torch": torch.__version__, "rows": rows}
    (RESULTS / "gradients.json").write_text(json.dumps(record, indent=1) + "\n")
    (RESULTS / "gradients.md").write_text(table(rows))
    _figure(rows).savefig(RESULTS / "gradients.png", dpi=100)


def _measure(vae: models.VAE, x: Tensor, objective: IWELBO) -> dict[str, float]:
    gradients, wanted = [], vae.get_parameter("posterior.b")
    with outside_param_store(), pyro.validation_enabled(False):
        for _ in range(DRAWS):
            loss = objective.differentiable_loss(vae.model, vae.guide, x)
            gradients.append(torch.autograd.grad(loss, [wanted])[0])
    each = torch.stack(gradients)
    ratio = (each.mean(0).abs() / each.std(0)).mean().item()
    return {"signal_to_noise": ratio, "variance": each.var(0).sum().item()}


def table(rows: list[dict[str, Any]]) -> str:
    """The results as Markdown."""
    lines = []
    for k in PARTICLES:
        by = {r["estimator"]: r for r in rows if r["particles"] == k}
        signals = [f"{by[e]['signal_to_noise']:.3f}" for e in ESTIMATORS]
        lines.append((k, *signals, *(f"{by[e]['variance_ratio']:.3g}" for e in ESTIMATORS[1:])))
    signals = [f"{e}, S/N" for e in ESTIMATORS]
    header = ("particles", *signals, "variance of iwae / stl", "/ dreg")
    return markdown.table(header, lines) + "\n"


def _figure(rows: list[dict[str, Any]]) -> Figure:
    figure = Figure((6, 4), layout="constrained")
    axes = figure.add_subplot()
    for estimator, marker in zip(ESTIMATORS, "osD", strict=True):
        points = [
            (r["particles"], r["signal_to_noise"]) for r in rows if r["estimator"] == estimator
        ]
        axes.loglog(*zip(*points, strict=True), marker=marker, label=estimator)
    noise = math.sqrt(2 / math.pi / DRAWS)
    axes.axhline(noise, color="0.5", linestyle=":", label=f"noise alone, {DRAWS:,} draws")
    axes.set_xlabel("particles K")
    axes.set_ylabel("signal to noise of ∂/∂b, mean of 20 entries")
    axes.set_title("Gradients of the guide, linear-Gaussian model")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    return figure


if __name__ == "__main__":
    main()
