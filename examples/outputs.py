"""What every example leaves in its folder: metrics.json, pictures, and a table for the screen."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyro
import torch
from matplotlib.figure import Figure

import vaezoo
from inputs import Splits
from vaezoo.data import Images
from vaezoo.evaluation import Estimate
from vaezoo.training.history import History


def write_metrics(
    args: argparse.Namespace,
    splits: Splits,
    history: History,
    found: Mapping[str, Estimate],
) -> None:
    """Write metrics.json: what was run, on what, and every number with its standard error."""
    record = {
        "arguments": vars(args),
        "data": {"train": _describe(splits.train), "test": _describe(splits.test)},
        "fallback": splits.fallback,
        "versions": {
            "vaezoo": vaezoo.__version__,
            "torch": torch.__version__,
            "pyro": pyro.__version__,
            "python": platform.python_version(),
        },
        "steps": int(history["step"][-1]),  # fewer than asked for where training was stopped
        "seconds": history["seconds"][-1],
        "compiled": history.compiled,
        "metrics": {name: estimate._asdict() for name, estimate in found.items()},
        "history": history,
    }
    text = json.dumps(record, indent=1, default=str, ensure_ascii=False)
    (args.output / "metrics.json").write_text(text + "\n", encoding="utf-8")


@contextlib.contextmanager
def said_by(*, first: bool) -> Iterator[None]:
    """Within it only the first of several processes prints."""
    with contextlib.nullcontext() if first else contextlib.redirect_stdout(io.StringIO()):
        yield


def save_pictures(folder: Path, **figures: Figure) -> None:
    """Write each figure as a PNG of its name."""
    for name, figure in figures.items():
        # twice the 100 dots per inch at which a pixel of an image is a whole number of dots
        figure.savefig(folder / f"{name}.png", dpi=200)


def table(found: Mapping[str, Estimate], *, bounded: str = "p(x)") -> str:
    """Every number with its standard error over test images, and what it says."""
    n = next(iter(found.values())).n
    lines = [f"{'nats per image':14}  {'mean ± s.e.':>18}  over {n:,} test images"]
    for name, estimate in found.items():
        if name == "accuracy":
            percent = Estimate(100 * estimate.mean, 100 * estimate.stderr, n)
            lines.append(f"{'accuracy, %':14}  {percent!s:>18}  images given their true label")
        else:
            lines.append(f"{name:14}  {estimate!s:>18}  {_meaning(name, bounded)}")
    return "\n".join(lines)


def _meaning(name: str, bounded: str) -> str:
    if name.startswith("niwae-"):
        k = name.removeprefix("niwae-")
        return f"a bound on -log {bounded} by {k} draw{'s' * (k != '1')} of the code"
    return {
        "nelbo": f"kl - rec, a bound on -log {bounded}",
        "rec": "log-likelihood of the pixels, given the code",
        "kl": "what the code costs",
    }[name]


def _describe(images: Images) -> dict[str, object]:
    return {
        "name": images.name,
        "size": len(images),
        "shape": images.x_shape,
        "binarisation": images.binarisation,
    }
