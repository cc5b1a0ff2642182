"""What `fit(compile=None)` chooses, beside both ways: `python -m benchmarks.choosing [--rounds 3]`.

Seconds of `fit` at batches of 100, run by run in a process of its own, for a number of steps:
eager (`compile=False`), compiled (`True`), and as it finds best itself (`None`), where no graph is
on disk ("cold") and where a run before has left it there ("warm"). Runs of more than 10,000 steps
are made in the first round alone. What is measured takes the place of the same runs in the JSON;
the table has the medians, and that of None over the better of both.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.compiling import RESULTS, in_process

RUNS = {
    "VAE": (100, 1_000, 10_000, 30_000),
    "GMVAE": (1_000,),
    "IWAE-50": (100, 1_000),
    "SSVAE": (100, 1_000),
    "FSVAE": (1_000,),
}
ONCE = 10_000  # runs of more steps are made once
WAYS: dict[str, bool | None] = {"eager": False, "compiled": True, "chosen": None}
Found = dict[str, list[dict[str, Any]]]


def main() -> None:
    """Measure, or be one of the runs that are."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--tasks", nargs="*", choices=[*RUNS], default=[*RUNS])
    parser.add_argument("--least", type=int, default=0, help="steps of the shortest runs")
    parser.add_argument("--most", type=int, default=30_000, help="steps of the longest runs")
    parser.add_argument("--run", nargs=3, help="a task, its steps and a way, here")
    arguments = parser.parse_args()
    if arguments.run:
        task, steps, way = arguments.run
        print(json.dumps(trained(task, int(steps), WAYS[way], arguments.threads)))
        return
    found: Found = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for n, task in itertools.product(range(arguments.rounds), arguments.tasks):
            most = min(arguments.most, ONCE) if n else arguments.most
            for steps in (each for each in RUNS[task] if arguments.least <= each <= most):
                _measure(found, task, steps, Path(folder), f"{n}-{task}", arguments.threads)
    write(found, arguments)


def _measure(found: Found, task: str, steps: int, folder: Path, name: str, threads: int) -> None:
    """All ways of a run, graphs of one not found by another; then those that find them.

    Names of folders have no spaces, at which Inductor's call of the C++ compiler fails.
    """
    turns = [(way, "cold", f"{name}-{steps}-{way}") for way in WAYS]
    turns += [(way, "warm", f"{name}-{steps}-compiled") for way in ("compiled", "chosen")]
    for way, state, graphs in turns:
        each = _run(task, steps, way, folder, graphs, threads)
        found[f"{task}, {steps}, {way}, {state}"].append(each)
        print(task, steps, way, state, each, flush=True)


def _run(
    task: str, steps: int, way: str, folder: Path, graphs: str, threads: int
) -> dict[str, Any]:
    asked = ("--run", task, str(steps), way)
    return in_process("choosing", *asked, threads=threads, folder=folder, graphs=folder / graphs)


def trained(task: str, steps: int, compile: bool | None, threads: int) -> dict[str, Any]:  # noqa: A002
    """Seconds of a training, and what was compiled of it."""
    import torch

    from benchmarks.peers import batches, tasks
    from vaezoo import fit

    torch.set_num_threads(threads)
    model, loaded = tasks.member(task), batches.shaped(task, 100)
    objective = tasks.TASKS[task].objective()
    started = time.perf_counter()
    history = fit(model, loaded, objective, steps=steps, compile=compile, progress=False)
    if compile and history.compiled != "compiled":
        raise RuntimeError(f"{task} was not compiled")
    return {"seconds": round(time.perf_counter() - started, 2), "steps": history.compiled}


def write(found: Found, arguments: argparse.Namespace) -> None:
    """JSON and table."""
    from benchmarks.speed import machine

    arguments.quick = False
    file = RESULTS / "choosing.json"
    before = json.loads(file.read_text())["runs"] if file.exists() else {}
    kinds = [f"{task}, {steps}, " for task, each in RUNS.items() for steps in each]
    order = [kind for start in kinds for kind in (before | found) if kind.startswith(start)]
    runs = {kind: found.get(kind) or before[kind] for kind in order}
    record = {"about": machine.describe(arguments), "runs": runs}
    file.write_text(json.dumps(record, indent=1) + "\n")
    (RESULTS / "choosing.md").write_text(table(record) + "\n")
    print(table(record))


def table(record: dict[str, Any]) -> str:
    """Medians of the rounds, and that of None over the better of both."""
    from benchmarks import markdown

    runs = record["runs"]
    middle = {kind: statistics.median(e["seconds"] for e in each) for kind, each in runs.items()}
    rows = []
    for kind in middle:
        task, steps, way, state = kind.split(", ")
        if way == "chosen":
            eager = middle[f"{task}, {steps}, eager, cold"]
            compiled = middle[f"{task}, {steps}, compiled, {state}"]
            ratio = f"{middle[kind] / min(eager, compiled):.2f}"
            seconds = [f"{each:.1f}" for each in (eager, compiled, middle[kind])]
            n, chosen = len(runs[kind]), runs[kind][0]["steps"]
            rows.append((task, steps, state, n, *seconds, ratio, chosen))
    seconds_of = ("eager, s", "compiled, s", "chosen, s")
    titles = ("task", "steps", "graphs", "n", *seconds_of, "chosen over better", "what was chosen")
    return markdown.table(titles, rows)


if __name__ == "__main__":
    main()
