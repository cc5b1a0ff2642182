"""Speed: a training step, an epoch, a cold start and an evaluation, against peers on the same work.

    python -m benchmarks.speed              # all of it, benchmarks/results/speed.{json,md,png}
    python -m benchmarks.speed --quick      # some minutes, into benchmarks/runs/quick
    python -m benchmarks.speed steps --tasks VAE --batches 100   # a part, merged into the JSON
    python -m benchmarks.speed table            # table and figure again, from the JSON

Sections, each of which replaces its own part of the JSON:

    steps       n steps on batches that lie in memory, for every task, batch size and peer. All
                peers of a setting are built, and run once, before the first is timed; then they
                take turns, in a new random order each time, each after a quarter of its steps
                untimed. A ratio is that of one turn to the turn of the reference, the loop by hand
                in memory, in the same round; given are medians and quartiles of the rounds. What
                the first two steps took, compilation included, is listed apart.
    epoch       an epoch of MNIST, data included, batches of 100: `vaezoo.fit` against the loop by
                hand with a DataLoader, processes in turn. The median of the epochs after the
                first; what the first took more is listed as compilation.
    cold        seconds from the start of a process, imports, data and compilation included, to a
                NELBO of 102 on 1,000 held-out images, looked at every 500 steps of
                `vaezoo.training.steps`. Inductor's cache is empty, or (again) as the run before
                has left it; by default another process compiles. NumPyro's program is one without
                torch (`benchmarks.peers.numpyro_alone`).
    evaluation  NIWAE of 5,000 importance samples for 1,000 images, after 20 untimed: images a
                second of the call of `evaluate`, which finds its graph on disk, and memory at the
                peak of both above that before, in processes of their own. By hand images are tiled,
                20 at a time. What the first 20 took, compilation included, is listed apart.
    growth      seconds and memory of a step as particles, batch and latent size grow by factors of
                four, up to where a process may take no more memory (`growth`).
    floor       floating-point operations of the matrix products of a step, over the machine's rate
                for products of 2,048 × 2,048 matrices, the better of MKL and oneDNN: what no
                implementation can go below.

The same for all peers: network, weights at the start, batches of images (binarised; for the SSVAE
100 of them once more with labels), Adam at 1e-3, threads. By hand it is torch's default Adam, as in
the reference recipe, or the fused one where named; vaezoo uses the fused one, and runs inside
`vaezoo.cpu.tuned` (denormal numbers are 0, freed memory is kept), as under `fit`, and as the peer
by hand does that says so. Validation is off, also in stock Pyro. Trace_ELBO draws the KL, where the
others of VAE and FSVAE know it. By hand under torch.compile, the loss is compiled and the optimizer
is not; vaezoo's compiled step holds the update. NumPyro runs all n steps in one jitted scan (pip
install numpyro). It, and what is tuned, run in processes of their own that wait between turns.
MNIST is read from VAEZOO_DATA; the steps use the built-in digits without it, and epoch, cold and
evaluation are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers.tasks import TASKS
from benchmarks.speed import figures, floor, machine, processes, report, steps

FOLDER = Path(__file__).parents[1]
QUICK = ["VAE", "IWAE-50", "SSVAE"]
SECTIONS: dict[str, Callable[[argparse.Namespace, dict[str, Any]], dict[str, Any]]] = {
    "steps": steps.measure,
    "epoch": processes.epoch,
    "cold": processes.cold,
    "evaluation": processes.evaluation,
    "growth": processes.growth,
    "floor": floor.measure,
}


def main() -> None:
    """Parse the command line, measure, and write JSON, table and figures."""
    arguments = _arguments()
    out: Path = arguments.out or FOLDER / ("runs/quick" if arguments.quick else "results")
    out.mkdir(parents=True, exist_ok=True)
    machine.set_threads(arguments.threads)
    for section in arguments.sections or SECTIONS:
        if section != "table":
            _measure(section, arguments, out / "speed.json")
    record = _read(out / "speed.json")
    (out / "speed.md").write_text(report.table(record))
    figures.steps(record).savefig(out / "speed.png", dpi=100)
    if "growth" in record:
        figures.growth(record["growth"]).savefig(out / "speed_growth.png", dpi=100)


def _measure(section: str, arguments: argparse.Namespace, file: Path) -> None:
    """Measure one section, and put it in the place of what the file has of it."""
    started, load = time.time(), os.getloadavg()[0]
    measured = SECTIONS[section](arguments, _read(file).get(section, {}))
    taken = round(time.time() - started, 1)
    about = {"seconds": taken, "load": load} | machine.describe(arguments)
    record = {**_read(file), section: {**measured, "about": about}}
    file.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{section}: {taken} s", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, "table", []])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--tasks", nargs="*", choices=[*TASKS])
    parser.add_argument("--batches", nargs="*", type=int)
    parser.add_argument("--peers", nargs="*", help="beside the reference")
    parser.add_argument("--rounds", type=int, help="turns of every peer")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    arguments.tasks = arguments.tasks or (QUICK if arguments.quick else [*TASKS])
    arguments.batches = arguments.batches or ([100] if arguments.quick else [100, 1000])
    return arguments


def _read(file: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return record


if __name__ == "__main__":
    main()
