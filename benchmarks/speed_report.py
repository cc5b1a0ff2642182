"""Table and figure of `speed.py`, from its JSON alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median, quantiles
from typing import Any, NamedTuple

import speed_growth
import speed_profile
from matplotlib.figure import Figure

REFERENCE, COMPILED, BF16 = "by hand, in memory", "vaezoo, compiled", "vaezoo, compiled bf16"
MISSING = "not measured"
Record = dict[str, Any]


class Ratio(NamedTuple):
    """Median and quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


class Target(NamedTuple):
    """A line of the issue's table: a ratio that has to be at most `bound`."""

    what: str
    against: str
    bound: float
    measured: Ratio | None


def ratio(values: Sequence[float], reference: Sequence[float]) -> Ratio:
    """Of two series in turns: the median and quartiles of the ratios of rounds."""
    found = [a / b for a, b in zip(values, reference, strict=True)]
    low, _, high = quantiles(found, n=4, method="inclusive") if len(found) > 1 else found * 3
    return Ratio(median(found), low, high)


def summary(record: Record) -> str:
    """Machine and targets, as the README has them."""
    return f"{_machine(record)}\n\n{_targets(record)}"


def table(record: Record) -> str:
    """The results as Markdown."""
    parts = [summary(record), _steps(record), _floor(record)]
    parts += [_epoch(record), _cold(record), _evaluation(record)]
    if "growth" in record:
        parts.append(speed_growth.table(record["growth"]))
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
        f"torch {last['torch']}, Pyro {last['pyro']}, Python {last['python']}; GPU: "
        f"{last['gpu'] or MISSING}. Load before each part: {loads}.{quick}"
    )


def _rows(header: str, rows: Sequence[Sequence[object]]) -> str:
    rule = "|" + "---|" * (header.count("|") - 1)
    return "\n".join([header, rule, *("| " + " | ".join(map(str, r)) + " |" for r in rows)])


def _targets(record: Record) -> str:
    rows = []
    for target in targets(record):
        found = target.measured
        verdict = MISSING if found is None else "met" if found.median <= target.bound else "not met"
        rows.append((target.what, target.against, target.bound, found or MISSING, verdict))
    return _rows("| target, batch 100 | against | at most | measured | |", rows)


def targets(record: Record) -> Iterator[Target]:
    """The issue's table, with what was measured."""
    hand, jitted = "hand-written, data in memory", "NumPyro's jitted epoch"
    yield Target("VAE step", hand, 0.65, _step(record, "VAE", COMPILED))
    yield Target("VAE step", jitted, 1.0, _step(record, "VAE", COMPILED, "NumPyro"))
    yield Target("VAE step, bf16", jitted, 0.7, _step(record, "VAE", BF16, "NumPyro"))
    for task, style, single, half in (
        ("IWAE-50", "hand-written, tiled", 0.7, 0.4),
        ("SSVAE", "hand-written, ten copies", 0.6, 0.4),
    ):
        yield Target(f"{task} step", style, single, _step(record, task, COMPILED))
        yield Target(f"{task} step, bf16", style, half, _step(record, task, BF16))
    seed, tiled = "seed-style with DataLoader", "seed-style, tiled"
    yield Target("epoch on MNIST, data included", seed, 0.35, _paired(record, "epoch"))
    nelbo = record.get("cold", {}).get("nelbo", 102)
    cold = f"seconds to NELBO ≤ {nelbo:g}, cold start"
    yield Target(cold, seed, 0.5, _paired(record, "cold"))
    k = record.get("evaluation", {}).get("k", 5000)
    measured = _paired(record, "evaluation")
    yield Target(f"evaluation, k = {k:,}", tiled, 0.5, measured)


def _step(
    record: Record, task: str, name: str, reference: str = REFERENCE, size: int = 100
) -> Ratio | None:
    times = record.get("steps", {}).get(f"{task}, {size}, cpu", {}).get("seconds", {})
    if name not in times or reference not in times:
        return None
    return ratio(times[name], times[reference])


def _runs(record: Record, section: str, peer: str) -> list[Record]:
    return [r for r in record.get(section, {}).get("runs", []) if r["peer"] == peer]


def _seconds(section: str, run: Record) -> float:
    """Of one run; of an epoch, the median of those after the first."""
    if section == "epoch":
        return median(run["epochs"][1:])
    if section == "cold" and not run["reached"]:
        return float("inf")
    return float(run["seconds"])


def _paired(record: Record, section: str, peer: str = "compiled") -> Ratio | None:
    mine, seed = ([_seconds(section, r) for r in _runs(record, section, p)] for p in (peer, "seed"))
    return ratio(mine, seed) if mine else None


def _steps(record: Record) -> str:
    parts = []
    for name, found in record.get("steps", {}).items():
        if name == "about":
            continue
        times: dict[str, list[float]] = found["seconds"]
        rows: list[Sequence[object]] = []
        for peer, each in times.items():
            spread = ratio(each, times[REFERENCE])
            seconds = f"{1e3 * median(each):.2f}"
            rows.append((peer, spread, seconds, f"{found['build'][peer]:.1f}"))
        if name.endswith("cpu") and "NumPyro" not in times:
            rows.append(("NumPyro", MISSING, "", ""))
        task, size, device = name.split(", ")
        title = f"{task}, batch {int(size):,}, {device}; {found['rounds']} × {found['steps']} steps"
        parts.append(_rows(f"| {title} | ratio (quartiles) | ms a step | first steps, s |", rows))
    if not any("cuda" in name for name in record.get("steps", {})):
        parts.append(f"Steps on a GPU: {MISSING}.")
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
    header = (
        "| arithmetic floor | GFLOP by hand | vaezoo | float32, ms | share of compiled | "
        "bf16, ms | share of compiled |"
    )
    measured = ", ".join(f"{name} {rate / 1e9:,.0f} GFLOP/s" for name, rate in rates.items())
    profiles = speed_profile.table(record["floor"]["profiles"])
    return f"{_rows(header, rows)}\n\nMeasured rates: {measured}.\n\n{profiles}"


def _epoch(record: Record) -> str:
    rows: list[Sequence[object]] = []
    for peer in ("seed", "eager", "compiled"):
        runs = _runs(record, "epoch", peer)
        if runs:
            steady = median(_seconds("epoch", r) for r in runs)
            extra = median(r["epochs"][0] - _seconds("epoch", r) for r in runs)
            cells: Sequence[object] = (
                _paired(record, "epoch", peer),
                f"{steady:.2f}",
                f"{extra:.1f}",
                len(runs),
            )
        else:
            cells = (MISSING, "", "", "")
        rows.append((_title(peer), *cells))
    images = record.get("epoch", {}).get("images", 60_000)
    header = f"| epoch of {images:,} images | ratio | s | first epoch, s more | runs |"
    return _rows(header, rows)


def _cold(record: Record) -> str:
    rows: list[Sequence[object]] = []
    for peer in ("seed", "eager", "compiled", "compiled, again"):
        runs = _runs(record, "cold", peer)
        if runs:
            seconds = median(_seconds("cold", r) for r in runs)
            steps = [f"{r['steps']:,}" for r in runs]
            training = median(r["training"] for r in runs)
            cells: Sequence[object] = (
                _paired(record, "cold", peer),
                f"{seconds:.1f}",
                f"{training:.1f}",
                *steps[:1],
            )
        else:
            cells = (MISSING, "", "", "")
        rows.append((_title(peer), *cells))
    nelbo = record.get("cold", {}).get("nelbo", 102)
    header = f"| cold start to NELBO ≤ {nelbo:g} | ratio | s | without imports, s | steps |"
    return _rows(header, rows)


def _evaluation(record: Record) -> str:
    rows: list[Sequence[object]] = []
    for peer in ("seed", "eager", "compiled"):
        runs = _runs(record, "evaluation", peer)
        if runs:
            rate = median(r["images"] / r["seconds"] for r in runs)
            memory = max(r["mib"] for r in runs)
            cells: Sequence[object] = (
                _paired(record, "evaluation", peer),
                f"{rate:.1f}",
                f"{memory:,.0f}",
                f"{median(r['first'] for r in runs):.1f}",
            )
        else:
            cells = (MISSING, "", "", "")
        rows.append((_title(peer), *cells))
    k = record.get("evaluation", {}).get("k", 5000)
    header = f"| evaluation, k = {k:,} | ratio | images a second | peak memory, MiB | first, s |"
    return _rows(header, rows)


def _title(peer: str) -> str:
    return "by hand" if peer == "seed" else f"vaezoo, {peer}"


def figure(record: Record) -> Figure:
    """Bars of the ratios of every peer, a panel for each task and batch size."""
    found = [(n, f) for n, f in record.get("steps", {}).items() if n != "about"]
    columns = min(2, max(1, len(found)))
    rows = -(-len(found) // columns) or 1
    result = Figure((5.5 * columns, 3.4 * rows), layout="constrained")
    for i, (name, setting) in enumerate(found):
        times = setting["seconds"]
        bars = {p: ratio(t, times[REFERENCE]) for p, t in times.items() if p != REFERENCE}
        axes = result.add_subplot(rows, columns, i + 1)
        spread = [
            [r.median - r.low for r in bars.values()],
            [r.high - r.median for r in bars.values()],
        ]
        colours = ["tab:orange" if p.startswith("vaezoo") else "0.65" for p in bars]
        axes.barh([*bars], [r.median for r in bars.values()], xerr=spread, color=colours)
        for y, each in enumerate(bars.values()):
            axes.text(each.high, y, f" {each.median:.2f}", va="center", fontsize=8)
        axes.axvline(1, color="k", linewidth=0.8)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set_title("{}, batch {}, {}".format(*name.split(", ")), fontsize=10)
        axes.tick_params(labelsize=8)
    result.supxlabel(f"time of a step / {REFERENCE}", fontsize=9)
    return result
