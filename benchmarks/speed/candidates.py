"""Ways to do less arithmetic in a step, each beside what a step does now: what they would bring.

    python -m benchmarks.speed.candidates     # benchmarks/results/candidates.{json,md}

The products are those of the VAE and the SSVAE at batches of 100: 784 binary pixels of which 13 %
are ones, layers of 300, ten labels. Both ways take turns, in a new random order each time; given
are the median of their ratio, below 1 where the candidate is faster, and its quartiles.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import markdown
from benchmarks.command import without_arguments
from benchmarks.speed import machine
from benchmarks.speed.targets import ratio

RESULTS = Path(__file__).parents[1] / "results"
ROUNDS, CALLS = 41, 200
PIXELS, HIDDEN, BATCH, LABELS = 784, 300, 100, 10
Pair = tuple[Callable[[], Any], Callable[[], Any]]  # what a step does now, and instead
linear = torch.ops.mkldnn._linear_pointwise.default


def main() -> None:
    """Measure all of them, and write JSON and table."""
    without_arguments(__doc__)
    torch.manual_seed(0)
    x = torch.bernoulli(torch.full((BATCH, PIXELS), 0.13))
    with torch.no_grad():
        found = {name: _in_turns(make(x)) for name, make in CANDIDATES.items()}
    rates = {rows: _rate(rows) for rows in (BATCH, 2 * BATCH, LABELS * BATCH, 10_000)}
    about = argparse.Namespace(threads=torch.get_num_threads(), quick=False)
    record = {"about": machine.describe(about), "seconds": found, "rates": rates}
    (RESULTS / "candidates.json").write_text(json.dumps(record, indent=1) + "\n")
    (RESULTS / "candidates.md").write_text(table(record) + "\n")
    print(table(record))


def table(record: dict[str, Any]) -> str:
    """Medians of the ratios, and the rate of products by their rows."""
    rows = [
        (
            name,
            str(ratio(each["instead"], each["now"])),
            f"{1e6 * statistics.median(each['now']):.0f}",
        )
        for name, each in record["seconds"].items()
    ]
    titles = ("instead of what a step does now", "ratio (quartiles)", "now, µs")
    rates = [(f"{int(n):,}", f"{rate / 1e9:.0f}") for n, rate in record["rates"].items()]
    by_rows = markdown.table(("rows of a product with 300 × 300", "GFLOP/s"), rates)
    return f"{markdown.table(titles, rows)}\n\n{by_rows}"


def sparse(x: Tensor) -> Pair:
    """The first layer as sums of the rows of its weights where pixels are ones."""
    w = torch.randn(PIXELS, HIDDEN)
    return lambda: torch.mm(x, w), lambda: _sums(x, w)


def sparse_gradient(x: Tensor) -> Pair:
    """The gradient of those weights as sums of the gradients of images whose pixel is one."""
    g = torch.randn(BATCH, HIDDEN)
    return lambda: torch.mm(x.T, g), lambda: _sums(x.T, g)


def _sums(x: Tensor, w: Tensor) -> Tensor:
    """x w for x of zeros and ones, the ones found first."""
    row, column = x.nonzero().unbind(1)
    starts = torch.searchsorted(row, torch.arange(len(x)))
    return functional.embedding_bag(column, w, starts, mode="sum")


def in_bytes(x: Tensor) -> Pair:
    """The first layer in bytes, weights rounded before (not counted)."""
    w, bytes_ = torch.randn(PIXELS, HIDDEN), x.to(torch.int8)
    rounded = (w * 40).clamp(-127, 127).to(torch.int8)
    return lambda: torch.mm(x, w), lambda: torch._int_mm(bytes_, rounded)


def packed(x: Tensor) -> Pair:
    """oneDNN's product by weights that are packed again, as Adam rewrites them at each step."""
    w, b = torch.randn(HIDDEN, PIXELS), torch.randn(HIDDEN)

    def again() -> Tensor:
        reordered = torch.ops.mkldnn._reorder_linear_weight(w, BATCH)
        return linear(x, reordered, b, "none", [], "")

    return lambda: linear(x, w, b, "none", [], ""), again


def packed_before(x: Tensor) -> Pair:
    """The same, packing not counted: what keeping them packed would bring at most."""
    w, b = torch.randn(HIDDEN, PIXELS), torch.randn(HIDDEN)
    reordered = torch.ops.mkldnn._reorder_linear_weight(w, BATCH)
    return (
        lambda: linear(x, w, b, "none", [], ""),
        lambda: linear(x, reordered, b, "none", [], ""),
    )


def one_product(x: Tensor) -> Pair:
    """The first layers of an SSVAE's q(y|x) and q(z|x, y) at once, weights laid side by side."""
    y, z = torch.randn(2, PIXELS, HIDDEN)
    both = torch.cat([y, z], 1)
    return lambda: (torch.mm(x, y), torch.mm(x, z)), lambda: torch.mm(x, both)


def stacked(x: Tensor) -> Pair:
    """A hidden layer for all labels at once, as steps do, after one label at a time."""
    h, w = torch.randn(LABELS, BATCH, HIDDEN), torch.randn(HIDDEN, HIDDEN)
    return lambda: h.reshape(-1, HIDDEN) @ w, lambda: [each @ w for each in h]


def rounded_weights(x: Tensor) -> Pair:
    """bf16: all weights of a VAE rounded at each step, or kept rounded (nothing to do)."""
    sizes = ((PIXELS, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 20), (10, HIDDEN))
    weights = [torch.randn(s) for s in (*sizes, (HIDDEN, HIDDEN), (HIDDEN, PIXELS))]
    h, kept = x.bfloat16(), [w.bfloat16() for w in weights]

    def rounded() -> Tensor:
        first, *_ = [w.bfloat16() for w in weights]
        return torch.mm(h, first)

    return rounded, lambda: torch.mm(h, kept[0])


CANDIDATES: dict[str, Callable[[Tensor], Pair]] = {
    "first layer: sums of weights where pixels are found to be ones": sparse,
    "its gradient: sums of gradients where they are": sparse_gradient,
    "first layer: bytes": in_bytes,
    "oneDNN: weights packed at each step": packed,
    "oneDNN: weights kept packed": packed_before,
    "SSVAE: first layers of both encoders in one product": one_product,
    "SSVAE: label by label, not all stacked": stacked,
    "bf16: weights kept rounded, a product after it": rounded_weights,
}


def _in_turns(pair: Pair) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {"now": [], "instead": []}
    ways = dict(zip(times, pair, strict=True))
    for i in range(ROUNDS):
        for name in random.Random(i).sample(list(ways), 2):
            times[name].append(_each(ways[name]))
    return times


def _each(function: Callable[[], Any]) -> float:
    """Seconds of a call."""
    for _ in range(CALLS // 10):
        function()
    started = time.perf_counter()
    for _ in range(CALLS):
        function()
    return (time.perf_counter() - started) / CALLS


def _rate(rows: int) -> float:
    """Operations a second of products with as many rows."""
    a, w = torch.randn(rows, HIDDEN), torch.randn(HIDDEN, HIDDEN)
    least = min(_each(lambda: torch.mm(a, w)) for _ in range(5))
    own = min(_each(lambda: linear(a, w, None, "none", [], "")) for _ in range(5))
    return 2 * rows * HIDDEN**2 / min(least, own)


if __name__ == "__main__":
    main()
