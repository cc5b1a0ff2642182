"""Compiled steps against eager ones, by Inductor, for every member and objective.

    python -m benchmarks.agreement steps      # loss and gradients under the same noise
    python -m benchmarks.agreement curves     # 2,000 steps, beside another seed
    python -m benchmarks.agreement table      # benchmarks/results/agreement.md, from the JSON

steps: 28×28 noise, 20 images, networks of 32. In float32 the largest difference of a term, relative
to it or to 1 nat; of the gradient, its norm relative to the gradient's; and of a parameter's, its
largest element relative to the gradient's of that parameter. Beside the last two what rounding
alone does to the eager step: how far it is from the same step in float64, with the same noise. The
last column compares compiled and eager steps, by parameter, in float64. Weights of importance
samples are exponentials of hundreds of nats, and gradients of a classifier are small differences of
large bounds: both lose digits in float32 either way.
curves: the built-in digits, members of the reference recipe's sizes, batches of 100, Adam at 1e-3.
The mean bound of the last 500 steps, eager from seeds 0 and 1, compiled from seed 0.
"""

from __future__ import annotations

import argparse
import itertools
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.distributions import normal

from benchmarks import markdown
from vaezoo import ELBO, IWELBO, Bound, Renyi, SemiSupervised, data, fit, models

RESULTS = Path(__file__).parent / "results"
LABELS = ("SSVAE", "M1M2", "ADGM")
MEMBERS = ("VAE", "GMVAE", "IWAE", "FSVAE", "HierarchicalVAE", *LABELS)
OBJECTIVES: dict[str, Callable[[], Any]] = {
    "ELBO": ELBO,
    "ELBO, β, free bits": lambda: ELBO(2.0, free_bits=0.5, particles=2),
    "IWELBO": lambda: IWELBO(4),
    "IWELBO, stl": lambda: IWELBO(4, estimator="stl"),
    "IWELBO, dreg": lambda: IWELBO(4, estimator="dreg"),
    "Renyi": lambda: Renyi(0.5, particles=4),
    "SemiSupervised": SemiSupervised,
}
CURVES = ("VAE", "GMVAE", "IWAE", "SSVAE", "FSVAE")
STEPS, LAST = 2000, 500
COLUMNS = ("term", "gradient", "gradient, rounding", "parameter", "parameter, rounding", "double")
Step = tuple[list[Tensor], list[Tensor]]  # terms and gradients


def main() -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.agreement",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=["steps", "curves", "table"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    file = RESULTS / "agreement.json"
    record = json.loads(file.read_text()) if file.exists() else {}
    if arguments.action != "table":
        record["torch"] = torch.__version__
        for part in {"steps": steps, "curves": curves}[arguments.action]():
            record[arguments.action] = part
            file.write_text(json.dumps(record, indent=1) + "\n")
    (RESULTS / "agreement.md").write_text(table(record))


def steps() -> Iterator[dict[str, Any]]:
    """The largest differences by member and objective, as far as they are known."""
    differences: dict[str, Any] = {}
    for name, objective in itertools.product(MEMBERS, OBJECTIVES):
        if not _makes_sense(name, objective):
            continue
        with mock.patch.object(normal, "_standard_normal", _noise):
            single, double = (_pair(name, objective, t) for t in (torch.float32, torch.float64))
        each = _differences(*single) | {"double": _differences(*double)["parameter"]}
        rounding = _differences(double[0], single[0])
        each |= {f"{k}, rounding": rounding[k] for k in ("gradient", "parameter")}
        differences[f"{name}, {objective}"] = each
        print(name, objective, each, flush=True)
        yield differences


def _noise(shape: Any, dtype: torch.dtype, device: Any) -> Tensor:
    """Drawn in float32 for float64 too: the generator would give it other numbers."""
    return torch.randn(shape, device=device, dtype=torch.float32).to(dtype)


def _pair(name: str, objective: str, dtype: torch.dtype) -> tuple[Step, Step]:
    """An eager step and a compiled one."""
    torch.manual_seed(0)
    bound = Bound(_small(name).to(dtype), OBJECTIVES[objective]())
    batch = [t.to(dtype) if t.is_floating_point() else t for t in _batch(name, objective)]
    eager = _step(bound, *batch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a bound that cannot be compiled
        bound.compile()
        _step(bound, *batch)
        return eager, _step(bound, *batch)


def _makes_sense(name: str, objective: str) -> bool:
    """Labels that come second have no importance weights; SemiSupervised needs labels."""
    if objective == "SemiSupervised":
        return name in LABELS
    return objective.startswith("ELBO") or name not in ("M1M2", "ADGM")


def _small(name: str) -> Any:
    sizes: dict[str, Any] = {"hidden": (32,)}
    if name in ("HierarchicalVAE", "M1M2"):
        sizes |= {"z1_dim": 8, "z2_dim": 5, "upper_hidden": (16,)}
    if name == "FSVAE":
        sizes |= {"x_shape": (1, 28, 28)}
    return getattr(models, name)(**sizes)


def _batch(name: str, objective: str, n: int = 20) -> tuple[Tensor, ...]:
    x, y = torch.bernoulli(torch.full((n, 1, 28, 28), 0.2)), torch.arange(n) % 10
    if objective == "SemiSupervised":
        return x, x.flip(0), y
    return (x, y) if name == "FSVAE" else (x,)


def _step(bound: Bound, *batch: Tensor) -> Step:
    torch.manual_seed(1)
    bound.zero_grad()
    terms = bound(*batch)
    terms["loss"].backward()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in bound.parameters()]
    return [t.detach() for t in terms.values()], [g.clone() for g in gradients]


def _differences(a: Step, b: Step) -> dict[str, float]:
    terms = [((s - t).abs() / s.abs().clamp(min=1)).item() for s, t in zip(a[0], b[0], strict=True)]
    gradients = [
        ((g - h).abs().max() / g.abs().max().clamp(min=1e-6)).item()
        for g, h in zip(a[1], b[1], strict=True)
    ]
    whole = [torch.cat([g.flatten() for g in gradients]) for gradients in (a[1], b[1])]
    norm = ((whole[0] - whole[1]).norm() / whole[0].norm()).item()
    return {"term": max(terms), "gradient": norm, "parameter": max(gradients)}


def curves() -> Iterator[dict[str, Any]]:
    """Mean bounds at the end of training by member, as far as they are known."""
    ends: dict[str, Any] = {}
    for name in CURVES:
        runs = {"eager": (0, False), "eager, seed 1": (1, False), "compiled": (0, True)}
        ends[name] = {run: _end(name, *how) for run, how in runs.items()}
        print(name, ends[name], flush=True)
        yield ends


def _end(name: str, seed: int, compiling: bool) -> float:
    model: nn.Module
    torch.manual_seed(0)  # the same weights for all three, as the seed is to be that of the noise
    model, digits = getattr(models, name)(), data.digits("train")
    batches: Any = digits
    if name == "FSVAE":
        batches = data.colour_digits("train", n=12_000)
    if name == "SSVAE":
        batches = data.semi_supervised(digits, digits.labelled(100))
    torch.manual_seed(seed)
    history = fit(model, batches, steps=STEPS, log_every=LAST, compile=compiling, progress=False)
    return history["bound"][-1]


def table(record: dict[str, Any]) -> str:
    """Both parts as Markdown."""
    return f"{_steps_table(record.get('steps', {}))}\n\n{_curves_table(record.get('curves', {}))}\n"


def _steps_table(differences: dict[str, Any]) -> str:
    rows = []
    for name in MEMBERS:
        cases = [v for k, v in differences.items() if k.startswith(name + ",")]
        worst = [f"{max(c[k] for c in cases):.1e}" if cases else "" for k in COLUMNS]
        rows.append((name, len(cases) or "not measured", *worst))
    titles = ("largest difference of a term", "of the gradient", "(rounding)")
    more = ("of a parameter's", "(rounding)", "in float64")
    return markdown.table(("member", "objectives", *titles, *more), rows)


def _curves_table(ends: dict[str, Any]) -> str:
    runs = ("eager", "eager, seed 1", "compiled")
    rows = [
        (name, *(f"{ends[name][run]:.2f}" if name in ends else "not measured" for run in runs))
        for name in CURVES
    ]
    return markdown.table((f"{STEPS:,} steps, mean bound of the last {LAST}", *runs), rows)


if __name__ == "__main__":
    main()
