"""Where the seconds of a compilation go: `python -m benchmarks.compiling [--rounds 5]`.

A step with Adam behind it, batches of 100, of VAE and SSVAE with the reference networks, each in a
process of its own, as it is found by

    cold    the first process of a machine: no graph is kept
    header  a process where so many are, others, that torch's C++ header has been compiled
    warm    one after the first, which finds the graph on disk

Seconds of the second step less those of a later one, and what of them went into: `tracing` of the
step, its trial on another batch and the update behind it, `loading` of what is on disk, `imports`
of Inductor, `Inductor` from the graph to C++, and waiting for the `C++ compiler`, its header among
it. `torch, Pyro, vaezoo` come before, in every process that uses them. Medians over rounds, and the
range of the middle half, go into `results/compiling.json`, a table beside it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
TASKS, STATES = ("VAE", "SSVAE"), ("cold", "header", "warm")
OURS = ("tracing", "loading", "imports", "Inductor", "C++ compiler")
PARTS = ("all", *OURS, "torch, Pyro, vaezoo")
# what is timed of this process, and where its caller finds it; Inductor's come with Inductor
TIMED = (
    ("tracing", "cache", "tried"),
    ("tracing", "orders", "whole_step"),
    ("loading", "kept", "load"),
)
LATE = (("Inductor", "inductor", "compile_graph"), ("C++ compiler", "one_file", "_together"))


def main() -> None:
    """Measure, or be one of the processes that are."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--task", choices=TASKS, help="compile it here, and print the seconds")
    arguments = parser.parse_args()
    if arguments.task:
        print(json.dumps(compiled(arguments.task, arguments.threads)))
    else:
        write(measured(arguments.rounds, arguments.threads), arguments)


def measured(rounds: int, threads: int) -> dict[str, list[dict[str, float]]]:
    """What each process found, by task and state, in turns."""
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for _ in range(rounds):
        for task in TASKS:
            with tempfile.TemporaryDirectory() as folder:
                for state in ("before", *STATES):
                    graphs = Path(folder) / ("cold" if state == "warm" else state)
                    if state in ("before", "header"):
                        with_others(graphs)
                    where = {"folder": Path(folder), "graphs": graphs}
                    each = in_process("compiling", "--task", task, threads=threads, **where)
                    if state == "before":  # it compiles the header
                        continue
                    found[f"{task}, {state}"].append(each)
                    print(task, state, each, flush=True)
    return found


def with_others(graphs: Path) -> None:
    """Have as many graphs in a folder, of nothing, as the header is compiled for."""
    from vaezoo.compiler.inductor import GRAPHS  # slow to import

    (graphs / "vaezoo").mkdir(parents=True, exist_ok=True)
    for i in range(GRAPHS):
        (graphs / "vaezoo" / f"{i}.json").write_text("{}")


def in_process(
    module: str, *asked: str, threads: int, folder: Path, graphs: Path
) -> dict[str, Any]:
    """What a module of benchmarks prints as JSON, in a process of its own.

    Args:
        module: its name.
        asked: what it is asked.
        threads: how many it may use.
        folder: for temporary files, and with them torch's compiled header.
        graphs: where compiled graphs are kept.
    """
    environment = os.environ | {"TMPDIR": str(folder), "TORCHINDUCTOR_CACHE_DIR": str(graphs)}
    environment["OMP_NUM_THREADS"] = str(threads)
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *asked, "--threads", str(threads)],
        env=environment,
        cwd=RESULTS.parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compiled(task: str, threads: int) -> dict[str, float]:
    """Seconds of a compilation in this process, by part."""
    started = time.perf_counter()
    import torch

    from benchmarks.peers import batches, tasks
    from vaezoo import Bound
    from vaezoo.training.step import Step

    torch.set_num_threads(threads)
    seconds = {"torch, Pyro, vaezoo": time.perf_counter() - started}
    bound = Bound(tasks.member(task), tasks.TASKS[task].objective())
    optimizer = torch.optim.Adam(bound.parameters(), lr=1e-3, fused=True)
    step, batch = Step(bound, optimizer).compile(), batches.shaped(task, 100)[0]
    step(*batch)
    seconds |= _parts(lambda: step(*batch))
    assert step.compiled is not None
    assert any(each.call is not None for each in step.compiled.steps)
    seconds["all"] -= _seconds(lambda: step(*batch))
    return {part: round(seconds[part], 3) for part in PARTS}


def _parts(second_step: Callable[[], object]) -> dict[str, float]:
    from vaezoo.compiler import orders

    spent: dict[str, float] = defaultdict(float)

    def time_all(functions: tuple[tuple[str, str, str], ...]) -> None:
        for part, module, name in functions:
            _time(spent, part, importlib.import_module(f"vaezoo.compiler.{module}"), name)

    time_all(TIMED)
    compile_: Any = orders.Order.compile

    def compiled(*args: Any) -> Any:
        spent["imports"] += _seconds(_import_inductor)
        time_all(LATE)
        return compile_(*args)

    orders.Order.compile = compiled  # type: ignore[method-assign, assignment]
    whole = _seconds(second_step)
    spent["Inductor"] -= spent["C++ compiler"]
    return {"all": whole, **{part: spent[part] for part in OURS}}


def _import_inductor() -> None:
    for name in ("torch._inductor.compile_fx", "vaezoo.compiler.inductor"):
        importlib.import_module(name)


def _time(spent: dict[str, float], part: str, module: Any, name: str) -> None:
    function = getattr(module, name)

    def timed(*args: Any, **options: Any) -> Any:
        started = time.perf_counter()
        result = function(*args, **options)
        spent[part] += time.perf_counter() - started
        return result

    setattr(module, name, timed)


def _seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def write(found: dict[str, list[dict[str, float]]], arguments: argparse.Namespace) -> None:
    """JSON and table."""
    from benchmarks import markdown
    from benchmarks.speed import machine

    arguments.quick = False
    record = {"about": machine.describe(arguments), "rounds": arguments.rounds, "seconds": found}
    (RESULTS / "compiling.json").write_text(json.dumps(record, indent=1) + "\n")
    rows = [(kind, *(_cell(each, part) for part in PARTS)) for kind, each in found.items()]
    table = markdown.table(("seconds", *PARTS), rows)
    (RESULTS / "compiling.md").write_text(table + "\n")
    print(table)


def _cell(each: list[dict[str, float]], part: str) -> str:
    values = [run[part] for run in each]
    if len(values) < 2:
        return f"{values[0]:.2f}"
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main()
