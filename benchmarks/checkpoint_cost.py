"""What checkpoints cost a training of the VAE: one every 100 steps, against none.

    python -m benchmarks.checkpoint_cost

`waited` is the share of a training's time in which it waits for its checkpoints; `cpu` what the
process computes more, the thread that writes them included; `wall` the ratio of whole times, of
alternated runs, which on a busy machine says little.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from vaezoo import data, fit, models
from vaezoo.training import Checkpoints

RESULTS = Path(__file__).parent / "results"


class Timed(Checkpoints):
    """Checkpoints that know how long training has waited for them."""

    waited = 0.0

    def write(self, *arguments: Any) -> None:
        """Write one."""
        started = time.perf_counter()
        super().write(*arguments)
        self.waited += time.perf_counter() - started


def run(images: data.Images, steps: int, checkpoint: Timed | None) -> tuple[float, float]:
    """Seconds and seconds of the processor that a training takes."""
    torch.manual_seed(0)
    vae = models.VAE()
    started, cpu = time.perf_counter(), time.process_time()
    fit(vae, images, steps=steps, progress=False, checkpoint=checkpoint)
    return time.perf_counter() - started, time.process_time() - cpu


def main() -> None:
    """Write what was measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    images = data.digits()
    run(images, 20, None)
    rows = []
    for _ in range(options.pairs):
        plain = run(images, options.steps, None)
        kept = Timed(tempfile.mkdtemp(), every=100)
        with_them = run(images, options.steps, kept)
        waited = kept.waited / (with_them[0] - kept.waited)
        rows.append((waited, with_them[1] / plain[1] - 1, with_them[0] / plain[0] - 1))
    columns = zip(*rows, strict=True)
    medians = dict(zip(("waited", "cpu", "wall"), map(statistics.median, columns), strict=True))
    found = {
        **{name: round(value, 4) for name, value in medians.items()},
        "bytes": kept.files()[-1].stat().st_size,
        "steps": options.steps,
        "every": 100,
        "pairs": options.pairs,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    (RESULTS / "checkpoint_cost.json").write_text(json.dumps(found, indent=1) + "\n")
    print(found)


if __name__ == "__main__":
    main()
