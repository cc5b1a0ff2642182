"""Speed: a training step, an epoch, a cold start and an evaluation, against peers on the same work.

    python benchmarks/speed.py                  # all of it, benchmarks/results/speed.{json,md,png}
    python benchmarks/speed.py --quick          # some minutes, into benchmarks/runs/quick
    python benchmarks/speed.py steps --tasks VAE --batches 100   # a part, merged into the JSON
    python benchmarks/speed.py table            # table and figure again, from the JSON

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
                NELBO of 102 on 1,000 held-out images, looked at every 500 steps. Inductor's cache
                is empty, or (again) as the run before has left it.
    evaluation  NIWAE of 5,000 importance samples for 1,000 images, after 20 untimed: images a
                second of the call of `evaluate`, which finds its graph on disk, and memory at the
                peak of both above that before, in processes of their own. By hand images are tiled,
                20 at a time. What the first 20 took, compilation included, is listed apart.
    growth      seconds and memory of a step as particles, batch and latent size grow by factors of
                four, up to where a process may take no more memory (benchmarks/speed_growth.py).
    floor       floating-point operations of the matrix products of a step, over the machine's rate
                for products of 2,048 × 2,048 matrices, the better of MKL and oneDNN: what no
                implementation can go below.

The same for all peers: network, weights at the start, batches of images (binarised; for the SSVAE
100 of them once more with labels), Adam at 1e-3, threads. By hand it is torch's default Adam, as in
the seed, or the fused one where named; vaezoo uses the fused one, and runs inside
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
import gc
import importlib.util
import itertools
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import peers
import pyro
import speed_growth
import speed_profile
import speed_report
import torch
from torch.utils.flop_counter import FlopCounterMode

from vaezoo import Bound
from vaezoo.data.downloads import data_root

HERE = Path(__file__).parent
QUICK = ["VAE", "IWAE-50", "SSVAE"]
SECTIONS = ("steps", "epoch", "cold", "evaluation", "growth", "floor")
BURST, BUDGET = 1.5, 90.0  # seconds of a turn of the reference, and of all turns of a setting


def main() -> None:
    """Parse the command line, measure, and write JSON, table and figure."""
    arguments = _arguments()
    out: Path = arguments.out or (HERE / ("runs/quick" if arguments.quick else "results"))
    out.mkdir(parents=True, exist_ok=True)
    _set_threads(arguments.threads)
    record = _read(out / "speed.json")
    for section in arguments.sections or SECTIONS:
        if section == "table":
            continue
        started, load = time.time(), os.getloadavg()[0]
        found = MEASURES[section](arguments, record.get(section, {}))
        taken = round(time.time() - started, 1)
        about = {"seconds": taken, "load": load} | machine(arguments)
        record = {**_read(out / "speed.json"), section: {**found, "about": about}}
        (out / "speed.json").write_text(json.dumps(record, indent=1) + "\n")
        print(f"{section}: {taken} s", flush=True)
    (out / "speed.md").write_text(speed_report.table(record))
    speed_report.figure(record).savefig(out / "speed.png", dpi=100)
    if "growth" in record:
        speed_growth.figure(record["growth"]).savefig(out / "speed_growth.png", dpi=100)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, "table", []])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--tasks", nargs="*", choices=[*peers.TASKS])
    parser.add_argument("--batches", nargs="*", type=int)
    parser.add_argument("--peers", nargs="*", help="beside the reference")
    parser.add_argument("--rounds", type=int, help="turns of every peer")
    parser.add_argument("--out", type=Path)
    found = parser.parse_args()
    found.tasks = found.tasks or (QUICK if found.quick else [*peers.TASKS])
    found.batches = found.batches or ([100] if found.quick else [100, 1000])
    return found


def _set_threads(n: int) -> None:
    torch.set_num_threads(n)
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if n < len(cores):  # JAX has no number of threads to set
        os.sched_setaffinity(0, cores[:n])


def machine(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the numbers depend on besides the code."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": arguments.threads,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pyro": pyro.__version__,
        "quick": arguments.quick,
    }


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return found


def steps(arguments: argparse.Namespace, record: dict[str, Any]) -> dict[str, Any]:
    """Every setting asked for; the others stay as they were."""
    rows = {k: v for k, v in record.items() if k != "about"}
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device, task, size in itertools.product(devices, arguments.tasks, arguments.batches):
        names = [n for n in _names(task, device) if n in (arguments.peers or [n])]
        if arguments.quick and not arguments.peers:
            names = [n for n in names if "compile" not in n or n == "vaezoo, compiled"]
        with pyro.validation_enabled(False), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            rows[f"{task}, {size}, {device}"] = setting(arguments, task, size, device, names)
        pyro.clear_param_store()
        torch._dynamo.reset()
        gc.collect()
    return rows


def _names(task: str, device: str) -> list[str]:
    with_numpyro = device == "cpu" and importlib.util.find_spec("numpyro") is not None
    found = peers.names(task, numpyro=with_numpyro)
    return [n for n in found if n != peers.REFERENCE]


def setting(
    arguments: argparse.Namespace, task: str, size: int, device: str, names: list[str]
) -> dict[str, Any]:
    """Seconds a step of every peer in every round, and those of its first steps."""
    built, build = dict[str, peers.Peer](), {}
    for name in [peers.REFERENCE, *names]:
        built[name] = peers.placed(task, name, size, device, arguments.threads)
        started = time.perf_counter()
        built[name](2)  # the second step of vaezoo compiles
        build[name] = time.perf_counter() - started
    n = max(1, round(BURST / _turn(built[peers.REFERENCE], 1)))
    print(f"{task}, {size}, {device}: built in {sum(build.values()):.0f} s", flush=True)
    once = 1.25 * sum(_turn(peer, n) * n for peer in built.values())
    budget = BUDGET / (5 if arguments.quick else 1)
    rounds = arguments.rounds or max(3, min(21, round(budget / once)))
    times = interleaved(built, n, rounds)
    about = {"threads": arguments.threads, "load": os.getloadavg()[0]}
    return {**about, "steps": n, "rounds": rounds, "build": build, "seconds": times}


def interleaved(built: dict[str, peers.Peer], n: int, rounds: int) -> dict[str, list[float]]:
    """Seconds a step of every peer in every round."""
    times: dict[str, list[float]] = {name: [] for name in built}
    for i in range(rounds):
        order = list(built)
        random.Random(i).shuffle(order)
        for name in order:
            times[name].append(_turn(built[name], n))
    return times


def _turn(peer: peers.Peer, n: int) -> float:
    """Seconds a step of n steps, after some untimed: caches hold what the turn before has left."""
    peer(-(-n // 4))
    started = time.perf_counter()
    peer(n)
    return (time.perf_counter() - started) / n


def fresh(arguments: argparse.Namespace, cache: str | None = None, **asked: Any) -> Any:
    """What a process of its own has found."""
    about = {"threads": arguments.threads, "data": str(data_root()), "started": time.time()}
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}
    if cache:
        environment["TORCHINDUCTOR_CACHE_DIR"] = cache
    command = [sys.executable, str(HERE / "speed_fresh.py"), json.dumps(about | asked)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{asked}: {done.stderr[-2000:]}")
    print(asked["what"], asked["peer"], done.stdout.strip(), flush=True)
    return json.loads(done.stdout.splitlines()[-1])


def epoch(arguments: argparse.Namespace, record: dict[str, Any]) -> dict[str, Any]:
    """Seconds of epochs, by peer."""
    images = 3000 if arguments.quick else 60_000
    found: dict[str, Any] = {"images": images, "runs": []}
    if not _has_mnist():
        return found
    for _ in range(1 if arguments.quick else arguments.rounds or 2):
        for peer, epochs in (("seed", 2), ("compiled", 4), ("eager", 3)):
            run = fresh(arguments, what="epoch", peer=peer, images=images, epochs=epochs)
            found["runs"].append({"peer": peer, **run})
    return found


def cold(arguments: argparse.Namespace, record: dict[str, Any]) -> dict[str, Any]:
    """Seconds to the threshold, by peer."""
    asked: dict[str, Any] = {"nelbo": 102.0, "every": 500, "most": 40_000}
    if arguments.quick:
        asked |= {"nelbo": 200.0, "every": 100}
    found: dict[str, Any] = {**asked, "runs": []}
    if not _has_mnist():
        return found
    for seed in range(arguments.rounds or 1):
        with tempfile.TemporaryDirectory() as cache:
            for peer in ("seed", "eager", "compiled", "compiled, again"):
                kind = peer.partition(",")[0]
                run = fresh(arguments, cache, what="cold", peer=kind, seed=seed, **asked)
                found["runs"].append({"peer": peer, "seed": seed, **run})
    return found


def evaluation(arguments: argparse.Namespace, record: dict[str, Any]) -> dict[str, Any]:
    """Seconds and memory of NIWAE-k, by peer."""
    asked: dict[str, Any] = {"images": 1000, "k": 5000, "tiled": 20}
    if arguments.quick:
        asked |= {"images": 20, "k": 1000}
    found: dict[str, Any] = {**asked, "runs": []}
    if not _has_mnist():
        return found
    for _ in range(1 if arguments.quick else arguments.rounds or 2):
        for peer in ("seed", "eager", "compiled"):
            with tempfile.TemporaryDirectory() as cache:
                run = fresh(arguments, cache, what="evaluation", peer=peer, **asked)
            found["runs"].append({"peer": peer, **run})
    return found


def growth(arguments: argparse.Namespace, record: dict[str, Any]) -> dict[str, Any]:
    """Curves of seconds and memory, by what grows and by peer."""
    points = 2 if arguments.quick else speed_growth.POINTS
    return speed_growth.sweep(partial(fresh, arguments), points=points)


def _has_mnist() -> bool:
    return (data_root() / "MNIST" / "raw").exists()


def floor(arguments: argparse.Namespace, record: dict[str, Any]) -> dict[str, Any]:
    """Operations of a step by hand and of vaezoo's, the machine's rate, and profiles of steps."""
    rates = {n: _rate(t) for n, t in (("float32", torch.float32), ("bf16", torch.bfloat16))}
    operations = {
        f"{task}, {size}": _operations(task, size)
        for task, size in itertools.product(arguments.tasks, arguments.batches)
    }
    profiles = {
        f"{task}, {size}, {precision}": speed_profile.measure(task, size, precision)
        for task, size in itertools.product(arguments.tasks, arguments.batches[:1])
        for precision, peer in (("float32", "vaezoo, compiled"), ("bf16", "vaezoo, compiled bf16"))
        if peer in (arguments.peers or [peer])
    }
    return {"rates": rates, "operations": operations, "profiles": profiles}


def _rate(dtype: torch.dtype, n: int = 2048) -> float:
    """Operations a second of the best of torch's routines."""
    a, b = torch.randn(2, n, n).to(dtype).unbind()
    linear = torch.ops.mkldnn._linear_pointwise.default
    routines = [lambda: torch.mm(a, b), lambda: linear(a, b, None, "none", [], "")]
    return max(2 * n**3 / _median_time(each) for each in routines)


def _median_time(function: Callable[[], Any]) -> float:
    times = []
    for _ in range(12):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return median(times[2:])


def _operations(task: str, size: int) -> dict[str, int]:
    batch, shape = peers.in_memory(task, size, number=1)[0], peers.TASKS[task].x_shape
    images = [t if t.dtype == torch.long else t.reshape(-1, *shape) for t in batch]
    bound = Bound(peers.member(task), peers.TASKS[task].objective())
    found = {}
    with FlopCounterMode(display=False) as counter:
        peers.by_hand(task)(*batch).backward()
    found["by hand"] = counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        bound(*images)["loss"].backward()
    found["vaezoo"] = counter.get_total_flops()
    return found


MEASURES = dict(zip(SECTIONS, (steps, epoch, cold, evaluation, growth, floor), strict=True))


if __name__ == "__main__":
    main()
