"""What a step, a run and an evaluation may take at most, as ratios, and what was measured."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from statistics import median, quantiles
from typing import Any, NamedTuple

from benchmarks.peers.building import REFERENCE
from benchmarks.peers.handwritten import BY_HAND
from benchmarks.peers.tasks import TASKS
from benchmarks.speed.growth import PEERS

__all__ = [
    "BF16",
    "COMPILED",
    "MISSING",
    "Ratio",
    "Target",
    "paired",
    "ratio",
    "runs_of",
    "seconds_of",
    "step",
    "targets",
]

COMPILED, BF16 = "vaezoo, compiled", "vaezoo, compiled bf16"
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
    """Ratios that have to be at most `bound`, each."""

    what: str
    against: str
    bound: float
    measured: list[Ratio]

    def found(self) -> tuple[str, str]:
        """What was measured, and in how many cells that is enough."""
        if not self.measured:
            return MISSING, MISSING
        met = sum(each.median <= self.bound for each in self.measured)
        if len(self.measured) == 1:
            return str(self.measured[0]), ("not met", "met")[met]
        least, *_, most = sorted(each.median for each in self.measured)
        return f"{least:.2f} to {most:.2f}", f"met in {met} of {len(self.measured)}"


def ratio(values: Sequence[float], reference: Sequence[float]) -> Ratio:
    """Of two series in turns: the median and quartiles of the ratios of rounds."""
    each = [a / b for a, b in zip(values, reference, strict=True)]
    low, _, high = quantiles(each, n=4, method="inclusive") if len(each) > 1 else each * 3
    return Ratio(median(each), low, high)


def targets(record: Record) -> Iterator[Target]:
    """Every target, with what was measured."""
    cells, jitted = "a step, batches of 100 and 1,000", "NumPyro's jitted epoch"
    hand, tiled = "by hand, data in memory", "by hand, tiled"
    yield Target(f"{cells}, float32", jitted, 0.85, _cells(record, COMPILED, "NumPyro"))
    yield Target(f"{cells}, bf16", jitted, 0.65, _cells(record, BF16, "NumPyro"))
    yield Target(f"{cells}, float32", hand, 0.4, _cells(record, COMPILED, REFERENCE))
    what = "a step of VAE, IWAE-50, SSVAE, 100, float32"
    yield Target(what, "its arithmetic floor", 1.25, _above_floor(record))
    loader = "by hand, DataLoader"
    yield Target("epoch on MNIST, data included", loader, 0.35, paired(record, "epoch"))
    nelbo = record.get("cold", {}).get("nelbo", 102)
    cold = f"seconds to NELBO ≤ {nelbo:g}, cold start"
    yield Target(cold, loader, 0.3, paired(record, "cold", "by default"))
    program = paired(record, "cold", "by default", against="NumPyro")
    yield Target(cold, "NumPyro's program", 1.0, program)
    k = record.get("evaluation", {}).get("k", 5000)
    yield Target(f"evaluation, k = {k:,}", tiled, 0.15, paired(record, "evaluation"))
    yield Target("memory of a step, every size", hand, 1.0, _memory(record))


def _cells(record: Record, name: str, reference: str) -> list[Ratio]:
    """Of all tasks and sizes of batches."""
    settings = itertools.product(TASKS, (100, 1_000))
    found = (step(record, task, name, reference, size) for task, size in settings)
    return [each for each in found if each]


def _above_floor(record: Record) -> list[Ratio]:
    """Times of steps over what their arithmetic takes at the machine's rate."""
    floor, found = record.get("floor", {}), []
    for task in ("VAE", "IWAE-50", "SSVAE"):
        times = record.get("steps", {}).get(f"{task}, 100, cpu", {}).get("seconds", {})
        if floor and COMPILED in times:
            least = floor["operations"][f"{task}, 100"]["vaezoo"] / floor["rates"]["float32"]
            found.append(ratio(times[COMPILED], [least] * len(times[COMPILED])))
    return found


def _memory(record: Record) -> list[Ratio]:
    """Of every size that both reach."""
    found = []
    for curves in record.get("growth", {}).get("curves", {}).values():
        hand, ours = ({p["value"]: p.get("mib") for p in curves[peer]} for peer in PEERS)
        both = [(ours[n], hand[n]) for n in hand if ours.get(n) and hand[n]]
        found += [ratio([mine], [other]) for mine, other in both]
    return found


def step(
    record: Record, task: str, name: str, reference: str = REFERENCE, size: int = 100
) -> Ratio | None:
    """Of steps of two peers, by rounds; None where one is missing."""
    times = record.get("steps", {}).get(f"{task}, {size}, cpu", {}).get("seconds", {})
    if name not in times or reference not in times:
        return None
    return ratio(times[name], times[reference])


def runs_of(record: Record, section: str, peer: str) -> list[Record]:
    """All runs of a peer, in turns."""
    return [r for r in record.get(section, {}).get("runs", []) if r["peer"] == peer]


def seconds_of(section: str, run: Record) -> float:
    """Of one run; of an epoch, the median of those after the first."""
    if section == "epoch":
        return median(run["epochs"][1:])
    if section == "cold" and not run["reached"]:
        return float("inf")
    return float(run["seconds"])


def paired(
    record: Record, section: str, peer: str = "compiled", against: str = BY_HAND
) -> list[Ratio]:
    """Of runs of two peers, in turns; empty where one is missing."""
    peers = (peer, against)
    mine, other = ([seconds_of(section, r) for r in runs_of(record, section, p)] for p in peers)
    return [ratio(mine, other)] if mine and other else []
