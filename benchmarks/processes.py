"""Two processes against one: images per second, the same numbers, and what 64 would cost.

    python -m benchmarks.processes speed      # one turn each; again for more; --eager for a part
    python -m benchmarks.processes equal      # 20 steps against one process, 500 steps of each rank
    python -m benchmarks.processes exchange   # all-reduce of gradients by their size
    python -m benchmarks.processes table      # benchmarks/results/processes.md, from the JSON

speed: `fit` on the built-in digits, members of the reference recipe's sizes; torchrun with two
processes of one thread each, one process with two threads, and the latter with its optimizer
behind the compiled step rather than inside (AdamW without decay is Adam, which is never inside): so
much, at most, would an all-reduce inside the graph save. Blocks of steps, warm-up left out.
equal: in float64, on the same batches of 7, of which the processes have 3 and 4 images; each cuts
its images' noise out of the draw for all 7, which a rate function seeds at each step. Compiled by
Inductor. The 500 steps are in float32, with noise of each rank's own.
exchange: gloo between two processes on this machine; a line through time and bytes gives the model
t(n) = 2 (n - 1) a + 2 (n - 1) / n bytes / B of a ring of n processes. `table` puts 64 into it, with
this B and with the B of networks of 10 and 100 Gbit/s.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributions import normal

from benchmarks import markdown
from benchmarks.speed import machine
from vaezoo import data, fit, models
from vaezoo.training import processes

JSON = Path(__file__).parent / "results" / "processes.json"
MEMBERS, BATCHES = ("VAE", "SSVAE"), (100, 1000)
BLOCK = {("VAE", 100): 40, ("VAE", 1000): 8, ("SSVAE", 100): 8, ("SSVAE", 1000): 2}
BLOCKS = 3
WAYS = {"one": (1, 2), "one, update behind": (1, 2), "two": (2, 1)}  # processes and threads
SMALL: dict[str, Any] = {"x_shape": (1, 8, 8), "z_dim": 3, "hidden": (16,)}
N, N_LABELLED = 7, 5
RATES = {"10 Gbit/s": 1.25e9, "100 Gbit/s": 12.5e9}


def main() -> None:
    """Parse the command line; measure here, or in processes that torchrun starts."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.processes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", choices=["speed", "equal", "exchange", "table"])
    parser.add_argument("--way", choices=WAYS, help="(of the processes that this starts)")
    parser.add_argument("--quick", action="store_true", help="only see that it runs")
    parser.add_argument("--eager", action="store_true", help="leave out what compiles for minutes")
    args = parser.parse_args()
    if args.task == "table":
        print(tables(json.loads(JSON.read_text())))
    elif args.way:
        work(args)
    else:
        ways = WAYS if args.task == "speed" else ["two"]
        for way in ways:
            keep(args.task, way, launched(args, way), args)


def work(args: argparse.Namespace) -> None:
    """In each process: measure, and print what rank 0 found."""
    torch.set_num_threads(WAYS[args.way][1])
    warnings.simplefilter("ignore")
    with processes.launched() as world:
        found = {"speed": speed, "equal": equal, "exchange": exchange}[args.task](args, world.rank)
        if world.rank == 0:
            print(json.dumps(found))


def launched(args: argparse.Namespace, way: str) -> Any:
    """What the processes found."""
    size, threads = WAYS[way]
    start = ["-m", "torch.distributed.run", f"--nproc-per-node={size}"] if size > 1 else []
    command = [sys.executable, *start, "-m", "benchmarks.processes", args.task, "--way", way]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    flags = [f"--{flag}" for flag in ("quick", "eager") if getattr(args, flag)]
    done = subprocess.run([*command, *flags], env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def keep(task: str, way: str, found: Any, args: argparse.Namespace) -> None:
    """Write what was found; turns of speed are added to those before."""
    known = json.loads(JSON.read_text()) if JSON.exists() else {}
    args.threads = WAYS[way][1]
    if task == "speed":
        known.setdefault("speed", []).append(found)
    else:
        known[task] = found
    known["machine"] = machine.describe(args) | {"load": os.getloadavg()}
    if args.quick:
        print(json.dumps(found))
    else:
        JSON.write_text(json.dumps(known, indent=1) + "\n")


def speed(args: argparse.Namespace, rank: int) -> dict[str, Any]:
    """Images per second of each block, by case."""
    found: dict[str, Any] = {"way": args.way, "load": os.getloadavg()[0], "images per second": {}}
    digits = data.digits("train")
    modes = (False,) if args.eager else (False, True)
    for name, batch, compiled in itertools.product(MEMBERS, BATCHES, modes):
        if args.way == "one, update behind" and not compiled:
            continue
        block = 2 if args.quick else BLOCK[name, batch]
        sets: Any = digits
        if name == "SSVAE":
            sets = data.semi_supervised(digits, digits.labelled(100), batch_size=batch)
        torch.manual_seed(0)
        behind = args.way == "one, update behind"
        optimizer: Any = _adam_behind if behind else None
        history = fit(
            getattr(models, name)(),
            sets,
            steps=block * (BLOCKS + 1),
            batch_size=batch,
            optimizer=optimizer,
            log_every=block,
            compile=compiled,
            progress=False,
        )
        seconds = torch.tensor(history["seconds"], dtype=torch.float64).diff()
        case = f"{name}, {batch}, {'compiled' if compiled else 'eager'}"
        found["images per second"][case] = (block * batch / seconds).round(decimals=1).tolist()
    return found


def _adam_behind(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0, fused=True)


def equal(args: argparse.Namespace, rank: int) -> dict[str, Any]:
    """The largest differences of weights: from one process, and between ranks."""
    steps = 3 if args.quick else 20
    found: dict[str, Any] = {"steps": steps}
    for name, compiled in itertools.product(("VAE", "GMVAE", "IWAE", "SSVAE"), (False, True)):
        ours = _steps(name, rank, 2, steps, compiled=compiled)
        with processes.alone():
            one = _steps(name, 0, 1, steps, compiled=compiled)
        case = f"{name}, {'compiled' if compiled else 'eager'}"
        found[case] = {
            "from one process": (ours - one).abs().max().item(),
            "moved": (one - _start(name)).abs().max().item(),
            "between ranks": _apart(ours),
        }
    long = 4 if args.quick else 500
    for compiled in (False, True):
        torch.manual_seed(rank)
        vae = models.VAE()
        fit(vae, data.digits("train"), steps=long, compile=compiled, progress=False)
        case = f"VAE, {'compiled' if compiled else 'eager'}, {long} steps of float32"
        found[case] = {"between ranks": _apart(_flat(vae))}
    return found


def _start(name: str) -> Tensor:
    torch.manual_seed(0)
    return _flat(_small(name))


def _small(name: str) -> nn.Module:
    labels = {"classes": 3} if name == "SSVAE" else {}
    model: nn.Module = getattr(models, name)(**SMALL, **labels).double()
    return model


def _steps(name: str, rank: int, size: int, steps: int, *, compiled: bool) -> Tensor:
    """The weights after steps on two batches, by turns."""
    torch.manual_seed(0)
    model, draw = _small(name), torch.Generator().manual_seed(7)

    def images(n: int) -> Tensor:
        return (torch.rand(n, *SMALL["x_shape"], generator=draw) > 0.5).double()

    batches: list[Any] = [images(N), images(N)]
    if name == "SSVAE":
        y = torch.arange(N_LABELLED) % 3
        batches = [(x, images(N_LABELLED), y) for x in batches]
    with _one_draw(rank, size):
        fit(model, batches, steps=steps, lr=_seeded, compile=compiled, progress=False)
    return _flat(model)


def _seeded(step: int) -> float:
    torch.manual_seed(step)
    return 1e-3


@contextmanager
def _one_draw(rank: int, size: int) -> Iterator[None]:
    """Within it the noise of a process's images is cut out of the draw for the whole batch."""
    starts = {n: n * rank // size for n in (N, N_LABELLED)}
    shares = {n * (rank + 1) // size - start: (n, start) for n, start in starts.items()}
    usual = normal._standard_normal  # type: ignore[attr-defined]

    def drawn(shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor:
        n, start = shares[shape[-2]]
        whole: Tensor = usual(torch.Size([*shape[:-2], n, shape[-1]]), dtype, device)
        return whole.narrow(-2, start, shape[-2])

    normal._standard_normal = drawn  # type: ignore[attr-defined,assignment]
    try:
        yield
    finally:
        normal._standard_normal = usual  # type: ignore[attr-defined]


def _flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def _apart(weights: Tensor) -> float:
    others = [torch.empty_like(weights) for _ in range(dist.get_world_size())]
    dist.all_gather(others, weights)
    return max((other - weights).abs().max().item() for other in others)


def exchange(args: argparse.Namespace, rank: int) -> dict[str, Any]:
    """Median seconds of an all-reduce of so many bytes."""
    found: dict[str, Any] = {"median seconds by bytes": {}, "parameters": {}}
    for name in MEMBERS:
        found["parameters"][name] = sum(p.numel() for p in getattr(models, name)().parameters())
    for numbers in (64, 10_000, 100_000, 500_000, 1_000_000, 4_000_000):
        t = torch.zeros(numbers)
        taken = []
        for _ in range(5 if args.quick else 60):
            began = time.perf_counter()
            dist.all_reduce(t)
            taken.append(time.perf_counter() - began)
        found["median seconds by bytes"][4 * numbers] = torch.tensor(taken).median().item()
    return found


def ring(found: dict[str, Any]) -> tuple[float, float]:
    """Seconds a of a message, and B in bytes per second, by least squares of relative errors."""
    points = [(float(n), t) for n, t in found["median seconds by bytes"].items()]
    n, t = torch.tensor(points, dtype=torch.float64).T
    columns = torch.stack([2 / t, n / t], 1)  # two processes: t = 2 a + n / B
    a, b = torch.linalg.lstsq(columns, torch.ones(len(t), 1, dtype=torch.float64)).solution.T[0]
    return a.item(), 1 / b.item()


def tables(known: dict[str, Any]) -> str:
    """The tables, also written beside the JSON."""
    made = {"speed": _speeds, "equal": _equalities, "exchange": _sixty_four}
    text = "\n\n".join(make(known) for task, make in made.items() if task in known) + "\n"
    JSON.with_suffix(".md").write_text(text)
    return text


def _speeds(known: dict[str, Any]) -> str:
    by_way: dict[str, dict[str, list[float]]] = {way: {} for way in WAYS}
    for run in known["speed"]:
        for case, each in run["images per second"].items():
            by_way[run["way"]].setdefault(case, []).extend(each)
    medians = {
        way: {case: torch.tensor(each).median().item() for case, each in cases.items()}
        for way, cases in by_way.items()
    }
    rows = []
    for case, one in medians["one"].items():
        behind, two = medians["one, update behind"].get(case), medians["two"][case]
        cells = f"{one:,.0f}", f"{behind:,.0f}" if behind else "", f"{two:,.0f}", f"{two / one:.2f}"
        rows.append((*case.split(", "), *cells))
    turns = sum(run["way"] == "two" for run in known["speed"])
    head = (
        f"Images per second, median of {BLOCKS * turns} blocks in {turns} turns, on a machine with "
        "other work (load of each turn in the JSON)."
    )
    columns = ("member", "batch", "steps", *WAYS, "two / one")
    return f"{head}\n\n{markdown.table(columns, rows)}"


def _equalities(known: dict[str, Any]) -> str:
    found = known["equal"]
    cases = {case: of for case, of in found.items() if isinstance(of, dict)}
    rows = [
        (case, *(f"{of[k]:.1e}" if k in of else "" for k in ("from one process", "moved")),
         f"{of['between ranks']:g}")
        for case, of in cases.items()
    ]  # fmt: skip
    head = f"Largest difference of a weight after {found['steps']} steps, float64 unless said."
    columns = ("case", "two processes from one", "moved since the start", "between ranks")
    return f"{head}\n\n{markdown.table(columns, rows)}"


def _sixty_four(known: dict[str, Any]) -> str:
    a, here = ring(known["exchange"])
    rows = []
    for name, n in known["exchange"]["parameters"].items():
        for network, rate in {"as measured": here, **RATES}.items():
            times = [2 * (k - 1) * a + 2 * (k - 1) / k * 4 * n / rate for k in (2, 8, 64)]
            rows.append((name, f"{n:,}", network, *(f"{1000 * t:.1f}" for t in times)))
    head = (
        f"Milliseconds of an all-reduce of float32 gradients by 2, 8 and 64 processes in a ring: "
        f"measured with 2 (a = {1e6 * a:.0f} µs, B = {here / 1e9:.2f} GB/s), the rest on paper."
    )
    columns = ("member", "parameters", "network", 2, 8, 64)
    return f"{head}\n\n{markdown.table(columns, rows)}"


if __name__ == "__main__":
    main()
