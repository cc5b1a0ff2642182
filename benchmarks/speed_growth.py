"""How seconds and memory of a training step grow: with particles, batch and latent size.

Every point is a process of its own that may take so much memory and no more. A curve ends where
that is not enough, or where a step takes more than `SECONDS`.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import handwritten
import torch
from matplotlib.figure import Figure

GIB, SECONDS, STEPS = 6, 20.0, 3
AXES = {"particles": "IWAE", "batch": "VAE", "latent size": "VAE"}
START = {"particles": 50, "batch": 100, "latent size": 10}
FACTOR, POINTS = 4, 8
PEERS = {"seed": "by hand", "compiled": "vaezoo, compiled"}
Curve = list[dict[str, Any]]


def sweep(run: Callable[..., Any], *, points: int = POINTS) -> dict[str, Any]:
    """All curves; `run(axis=…, value=…, peer=…)` measures a point in a process of its own."""
    found: dict[str, Any] = {"gib": GIB, "curves": {}}
    for axis, start in START.items():
        found["curves"][axis] = {peer: _curve(run, axis, start, peer, points) for peer in PEERS}
    return found


def _curve(run: Callable[..., Any], axis: str, start: int, peer: str, points: int) -> Curve:
    curve: Curve = []
    for i in range(points):
        value = start * FACTOR**i
        point = run(what="growth", axis=axis, value=value, peer=peer, gib=GIB)
        curve.append({"value": value, **point})
        if point.get("ended") or point["seconds"] > SECONDS:
            break
    return curve


def measure(asked: dict[str, Any]) -> dict[str, Any]:
    """Seconds of a step, the median of three, and MiB at the peak above what imports take."""
    from speed_fresh import _memory

    size = {axis: START[axis] for axis in AXES} | {asked["axis"]: asked["value"]}
    if asked["axis"] != "particles":
        size["particles"] = 1
    build = _by_hand if asked["peer"] == "seed" else _compiled
    before = _memory("VmRSS")
    resource.setrlimit(resource.RLIMIT_DATA, (asked["gib"] * 2**30,) * 2)
    try:
        step = build(AXES[asked["axis"]], size)
        step(), step()  # the second compiles
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the peak begins anew
        times = []
        for _ in range(STEPS):
            started = time.perf_counter()
            step()
            times.append(time.perf_counter() - started)
    except (MemoryError, RuntimeError, UserWarning) as error:  # tracing may be what needs too much
        if "alloc" not in str(error) and not isinstance(error, MemoryError):
            raise
        return {"ended": True}
    return {"seconds": median(times), "mib": _memory("VmHWM") - before}


def _images(size: dict[str, int]) -> torch.Tensor:
    return torch.bernoulli(torch.full((size["batch"], 784), 0.13))


def _by_hand(task: str, size: dict[str, int]) -> Callable[[], Any]:
    if task == "IWAE":
        net: Any = handwritten.IWAE(size["particles"])
    else:
        net = handwritten.VAE(z_dim=size["latent size"])
    x = _images(size)
    steps = handwritten.train(net, net.parameters(), iter(lambda: (x,), None))
    return lambda: steps(1)


def _compiled(task: str, size: dict[str, int]) -> Callable[[], Any]:
    import warnings

    from vaezoo import IWELBO, Bound, Step, models

    warnings.simplefilter("error")  # a step that cannot be compiled is no point of this curve
    objective = IWELBO(size["particles"]) if task == "IWAE" else None
    bound = Bound(models.VAE(z_dim=size["latent size"]), objective)
    step = Step(bound, torch.optim.Adam(bound.parameters(), fused=True)).compile()
    x = _images(size).reshape(-1, 1, 28, 28)
    return lambda: step(x)


def table(record: dict[str, Any]) -> str:
    """Ratios of seconds and of memory at every size, as Markdown."""
    title = f"growth of a step, {record['gib']} GiB a process"
    lines = [f"| {title} | size | by hand | vaezoo, compiled | ratios: time, memory |"]
    lines += ["|---|---|---|---|---|"]
    for axis, curves in record["curves"].items():
        points = [{p["value"]: p for p in curves[peer]} for peer in PEERS]
        for value in sorted({*points[0], *points[1]}):
            cells = [p.get(value, {"ended": True}) for p in points]
            shown = [_cell(cell) for cell in cells]
            ratios = [] if any(cell.get("ended") for cell in cells) else ["seconds", "mib"]
            found = ", ".join(f"{cells[1][k] / cells[0][k]:.2f}" for k in ratios)
            lines.append(f"| {axis} | {value:,} | {' | '.join(shown)} | {found} |")
    return "\n".join(lines)


def _cell(point: dict[str, Any]) -> str:
    if point.get("ended"):
        return "no memory"
    return f"{1e3 * point['seconds']:,.1f} ms, {point['mib']:,.0f} MiB"


def figure(record: dict[str, Any]) -> Figure:
    """Seconds above, memory below, one column for each axis."""
    result = Figure((10, 5.6), layout="constrained")
    axes = result.subplots(2, len(AXES), sharex="col", sharey="row")
    for column, (axis, curves) in enumerate(record["curves"].items()):
        for row, (key, label) in enumerate((("seconds", "seconds a step"), ("mib", "MiB"))):
            ax = axes[row][column]
            for peer, colour in zip(PEERS, ("0.5", "tab:orange"), strict=True):
                points = [p for p in curves[peer] if not p.get("ended")]
                values = [p["value"] for p in points]
                ax.loglog(values, [p[key] for p in points], "o-", color=colour, label=PEERS[peer])
            if column == 0:
                ax.set_ylabel(label)
        axes[0][column].set_title(f"{AXES[axis]}, {axis}")
        axes[1][column].set_xlabel(axis)
    most = 1024 * record["gib"]
    for ax in axes[1]:
        ax.axhline(most, color="k", linewidth=0.8)
        text, place = f" {record['gib']} GiB, all a process may have", (ax.get_xlim()[0], most)
        ax.annotate(text, place, (0, -4), textcoords="offset points", va="top")
    axes[0][0].legend()
    return result
