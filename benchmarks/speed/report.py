"""The tables, from the JSON alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from benchmarks import markdown
from benchmarks.peers.building import REFERENCE
from benchmarks.peers.handwritten import BY_HAND
from benchmarks.peers.tasks import TASKS
from benchmarks.speed.growth import PEERS
from benchmarks.speed.targets import (
    BF16,
    COMPILED,
    MISSING,
    paired,
    ratio,
    runs_of,
    seconds_of,
    step,
    targets,
)

__all__ = ["overview", "summary", "table"]

STOCK = ("Trace_ELBO", "RenyiELBO", "TraceEnum_ELBO")  # each task has one of them
Record = dict[str, Any]


def overview(record: Record) -> str:
    """Medians of the ratios of a step by task, at batches of 100, as the README has them."""
    columns = {"stock Pyro": STOCK, "NumPyro": ("NumPyro",), "vaezoo, eager": ("vaezoo, eager",)}
    columns |= {"compiled": (COMPILED,), "compiled, bf16": (BF16,)}
    rows = []
    for task in TASKS:
        ratios = [
            next((r for n in names if (r := step(record, task, n))), None)
            for names in columns.values()
        ]
        rows.append((task, "1", *(f"{r.median:.2f}" if r else MISSING for r in ratios)))
    return markdown.table(("time of a step", "by hand, in torch", *columns), rows)


def summary(record: Record) -> str:
    """Machine and targets."""
    return f"{_machine(record)}\n\n{_targets(record)}"


def table(record: Record) -> str:
    """The results as Markdown."""
    parts = [summary(record), _steps(record), _floor(record)]
    parts += [_epoch(record), _cold(record), _evaluation(record)]
    if "growth" in record:
        parts.append(_growth(record["growth"]))
    return "\n\n".join(parts) + "\n"


def _machine(record: Record) -> str:
    about = [(name, section["about"]) for name, section in record.items() if "about" in section]
    if not about:
        return f"Machine: {MISSING}."
    last = about[-1][1]
    loads = ", ".join(f"{name} {each['load']:.1f}" for name, each in about)
    quick = " Quick run: not to be quoted." if any(each["quick"] for _, each in about) else ""
    return (
        f"{last['cpu']}, {last['cores']} cores, {last['threads']} threads, {last['capability']}; "
        f"torch {last['torch']}, Pyro {last['pyro']}, Python {last['python']}. "
        f"Load before each part: {loads}.{quick}"
    )


def _targets(record: Record) -> str:
    rows = [(t.what, t.against, t.bound, *t.found()) for t in targets(record)]
    return markdown.table(("target", "against", "at most", "measured", ""), rows)


def _steps(record: Record) -> str:
    parts = []
    for name, setting in record.get("steps", {}).items():
        if name == "about":
            continue
        times: dict[str, list[float]] = setting["seconds"]
        rows: list[Sequence[object]] = []
        for peer, each in times.items():
            spread = ratio(each, times[REFERENCE])
            seconds = f"{1e3 * median(each):.2f}"
            rows.append((peer, spread, seconds, f"{setting['build'][peer]:.1f}"))
        if name.endswith("cpu") and "NumPyro" not in times:
            rows.append(("NumPyro", MISSING, "", ""))
        task, size, device = name.split(", ")
        turns = f"{setting['rounds']} × {setting['steps']} steps"
        title = f"{task}, batch {int(size):,}, {device}; {turns}"
        header = (title, "ratio (quartiles)", "ms a step", "first steps, s")
        parts.append(markdown.table(header, rows))
    return "\n\n".join(parts)


def _floor(record: Record) -> str:
    if "floor" not in record:
        return f"Arithmetic floor: {MISSING}."
    rates, rows = record["floor"]["rates"], []
    for name, counted in record["floor"]["operations"].items():
        times = record.get("steps", {}).get(f"{name}, cpu", {}).get("seconds", {})
        cells: list[object] = [name, *(f"{counted[k] / 1e9:.3f}" for k in ("by hand", "vaezoo"))]
        for peer, precision in ((COMPILED, "float32"), (BF16, "bf16")):
            least = counted["vaezoo"] / rates[precision]
            share = f"{least / median(times[peer]):.0%}" if peer in times else MISSING
            cells += [f"{1e3 * least:.2f}", share]
        rows.append(cells)
    shares = [f"{name}, ms" for name in rates]
    header = ["arithmetic floor", "GFLOP by hand", "vaezoo"]
    header += [shares[0], "share of compiled", shares[1], "share of compiled"]
    measured = ", ".join(f"{name} {rate / 1e9:,.0f} GFLOP/s" for name, rate in rates.items())
    profiles = _breakdown(record["floor"]["profiles"])
    return f"{markdown.table(header, rows)}\n\nMeasured rates: {measured}.\n\n{profiles}"


def _breakdown(profiles: dict[str, dict[str, float]]) -> str:
    """Milliseconds; the three are timed one after another, on a noisy machine."""
    header = ("where a compiled step goes", "a step, ms", "its graph alone", "its products")
    parts = ("step", "graph", "products")
    rows = [(name, *(f"{each[k]:.2f}" for k in parts)) for name, each in profiles.items()]
    return markdown.table(header, rows)


def _epoch(record: Record) -> str:
    def cells(runs: list[Record]) -> Sequence[object]:
        steady = median(seconds_of("epoch", r) for r in runs)
        extra = median(r["epochs"][0] - seconds_of("epoch", r) for r in runs)
        return f"{steady:.2f}", f"{extra:.1f}", len(runs)

    images = record.get("epoch", {}).get("images", 60_000)
    header = (f"epoch of {images:,} images", "ratio", "s", "first epoch, s more", "runs")
    return _by_peer(record, "epoch", header, cells)


def _cold(record: Record) -> str:
    def cells(runs: list[Record]) -> Sequence[object]:
        seconds = median(seconds_of("cold", r) for r in runs)
        training = median(r["training"] for r in runs)
        return f"{seconds:.1f}", f"{training:.1f}", f"{runs[0]['steps']:,}"

    nelbo = record.get("cold", {}).get("nelbo", 102)
    header = (f"cold start to NELBO ≤ {nelbo:g}", "ratio", "s", "without imports, s", "steps")
    return _by_peer(record, "cold", header, cells, "compiled, again", "by default", "NumPyro")


def _evaluation(record: Record) -> str:
    def cells(runs: list[Record]) -> Sequence[object]:
        rate = median(r["images"] / r["seconds"] for r in runs)
        memory = max(r["mib"] for r in runs)
        return f"{rate:.1f}", f"{memory:,.0f}", f"{median(r['first'] for r in runs):.1f}"

    k = record.get("evaluation", {}).get("k", 5000)
    columns = ("ratio", "images a second", "peak memory, MiB", "first, s")
    return _by_peer(record, "evaluation", (f"evaluation, k = {k:,}", *columns), cells)


def _by_peer(
    record: Record,
    section: str,
    header: tuple[str, ...],
    cells: Callable[[list[Record]], Sequence[object]],
    *more: str,
) -> str:
    """A line for each peer: its ratio to the loop by hand, and what `cells` makes of its runs."""
    rows: list[Sequence[object]] = []
    for peer in (BY_HAND, "eager", "compiled", *more):
        runs, ours = runs_of(record, section, peer), peer not in (BY_HAND, "NumPyro")
        title = f"vaezoo, {peer}" if ours else peer.replace(BY_HAND, "by hand")
        missing = (MISSING, *[""] * (len(header) - 2))
        measured = (*paired(record, section, peer), *cells(runs)) if runs else missing
        rows.append((title, *measured))
    return markdown.table(header, rows)


def _growth(record: Record) -> str:
    """Ratios of seconds and of memory at every size."""
    rows = []
    for axis, curves in record["curves"].items():
        points = [{p["value"]: p for p in curves[peer]} for peer in PEERS]
        for value in sorted({*points[0], *points[1]}):
            hand, ours = (p.get(value, {"ended": True}) for p in points)
            ended = hand.get("ended") or ours.get("ended")
            ratios = [f"{ours[k] / hand[k]:.2f}" for k in ("seconds", "mib") if not ended]
            rows.append((axis, f"{value:,}", _point(hand), _point(ours), ", ".join(ratios)))
    title = f"growth of a step, {record['gib']} GiB a process"
    return markdown.table((title, "size", *PEERS.values(), "ratios: time, memory"), rows)


def _point(point: Record) -> str:
    if point.get("ended"):
        return "no memory"
    return f"{1e3 * point['seconds']:,.1f} ms, {point['mib']:,.0f} MiB"
