"""MIG and DCI of β-VAEs on images whose factors are known.

    python -m benchmarks.disentanglement    # benchmarks/results/disentanglement.json, and its table

`VAE` on `data.sprites`, and `FSVAE`, which is told the digit, on `data.colour_digits`: 10 units,
two hidden layers of 256, β = 1 and 4, 4,000 and 2,000 steps of 100 images by a one-cycle rate to
2e-3, three seeds of weights and of training on the same 10,000 images. Untrained networks beside
them say what chance gives. Scores are those of 10,000 images of the test split, with all their
factors but `source`. Nothing was tuned.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import torch

from benchmarks.command import without_arguments
from benchmarks.markdown import table as markdown
from vaezoo import data, evaluation, fit, models, objectives
from vaezoo.data.factored import Factored
from vaezoo.training import one_cycle

RESULTS = Path(__file__).parent / "results"
SEEDS, BETAS, N = (0, 1, 2), (None, 1.0, 4.0), 10_000
STEPS = {"sprites": 4000, "colour digits": 2000}
SCORES = ("mig", "disentanglement", "completeness", "informativeness")
MEMBERS = {"sprites": models.VAE, "colour digits": models.FSVAE}
Model = models.VAE | models.FSVAE


def images(name: str, split: str) -> Factored:
    """N images of one kind."""
    return data.sprites(split, n=N) if name == "sprites" else data.colour_digits(split, n=N)


def trained(name: str, train: Factored, beta: float | None, seed: int) -> Model:
    """A member for images of a kind, trained by β, or as it starts where β is None."""
    steps = STEPS[name]
    torch.manual_seed(seed)
    model = MEMBERS[name](train.x_shape, 10, hidden=(256, 256))
    if beta is not None:
        told: dict[str, Any] = {"lr": one_cycle(2e-3, steps), "compile": True, "progress": False}
        fit(model, train, objectives.ELBO(beta), steps=steps, **told)
    return model


def scores(model: Model, test: Factored) -> dict[str, Any]:
    """The four, and what the unit that tells most of each factor tells of it."""
    known = {k: v for k, v in test.factors.items() if k != "source"}
    found = evaluation.disentanglement(model, test, known, progress=False)
    each = dict(zip(found.factors, found.information.amax(0).tolist(), strict=True))
    four = {k: float(getattr(found, k)) for k in SCORES[1:]}
    return {"mig": found.mig.mean, "mig_stderr": found.mig.stderr, **four, "best_unit": each}


def rounded(value: Any) -> Any:
    """The same with four decimals."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def table(rows: list[dict[str, Any]]) -> str:
    """The results as Markdown: the mean over seeds, and the lowest and the highest."""
    lines = []
    for name in MEMBERS:
        for beta in BETAS:
            same = [r for r in rows if (r["images"], r["beta"]) == (name, beta)]
            cells = [_cell([r[score] for r in same]) for score in SCORES]
            lines.append((name, "untrained" if beta is None else f"{beta:g}", *cells))
    return markdown(("images", "β", "MIG", *SCORES[1:]), lines)


def _cell(values: list[float]) -> str:
    return f"{statistics.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Train, measure, write JSON and print the table."""
    without_arguments(__doc__)
    rows: list[dict[str, Any]] = []
    for name in MEMBERS:
        train, test = (images(name, split) for split in ("train", "test"))
        for beta in BETAS:
            for seed in SEEDS:
                found = rounded(scores(trained(name, train, beta, seed), test))
                rows.append({"images": name, "beta": beta, "seed": seed, **found})
                print(rows[-1], flush=True)
    record = {"steps": STEPS, "n": N, "torch": torch.__version__, "rows": rows}
    (RESULTS / "disentanglement.json").write_text(json.dumps(record, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
