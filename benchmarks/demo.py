"""The demo over several seeds, which are draws of the labels too: `python -m benchmarks.demo`.

It runs what `make demo` runs, once for each of the seeds 0 to 4, and writes the accuracies on the
2,000 built-in test digits, their mean with its standard error over seeds, and the seconds of each
to `results/demo.json`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.command import without_arguments

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/demo.json"
COMMAND = ("examples/ssvae_mnist.py", "--data", "digits", "--steps", "7500")
SEEDS = range(5)


def once(seed: int) -> dict[str, Any]:
    """Accuracy in per cent, and seconds, of one seed."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        options = ["--seed", str(seed), "--output", folder]
        subprocess.run([sys.executable, *COMMAND, *options], cwd=ROOT, check=True)
        metrics = json.loads((Path(folder) / "metrics.json").read_text())
    found = metrics["metrics"]["accuracy"]
    return {
        "seed": seed,
        "accuracy": 100 * found["mean"],
        "stderr": 100 * found["stderr"],
        "seconds": round(time.perf_counter() - started),
    }


def main() -> None:
    """All seeds, one after the other."""
    without_arguments(__doc__)
    each = [once(seed) for seed in SEEDS]
    values = torch.tensor([found["accuracy"] for found in each], dtype=torch.float64)
    record = {
        "command": " ".join(COMMAND),
        "threads": torch.get_num_threads(),
        "each": each,
        "mean": values.mean().item(),
        "stderr over seeds": values.std().item() / len(each) ** 0.5,
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    print(RESULTS, record["mean"])


if __name__ == "__main__":
    main()
