"""Resident memory while images stream through training and evaluation.

    python -m benchmarks.streams              # benchmarks/results/streams.json, half an hour
    python -m benchmarks.streams --scale 0.1  # the same, with a tenth of the images to train on
    python -m benchmarks.streams --rows "fit, made"  # one row, the others stay

Each run has a process of its own, on one thread: 10 million images 1×28×28 made on the way through
`fit` of a small VAE, with validation on a stream at each of 25 records; one million
through `evaluate`; and one million in shards on a disk, five passes of a `data.Stream` through
`fit` and one through `evaluate`. Memory is read at a hundred moments, as the system counts it:
`anonymous` is what the process has asked for, `resident` that and the pages of files it has mapped.
Growth is the largest resident number of the last 95 moments over that of the fifth, less 1: by then
every kind of batch has come once.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaezoo import data, evaluate, fit, models
from vaezoo.data.binarising import scaled
from vaezoo.estimates import Estimate

RESULTS = Path(__file__).parent / "results"
BATCH, SHAPE, MOMENTS, FIRST = 1000, (1, 28, 28), 100, 5
IMAGES = {"fit, made": 10_000_000, "evaluate, made": 1_000_000, "fit, shards": 1_000_000}
IMAGES |= {"evaluate, shards": 1_000_000}
PASSES = 5


class Made:
    """Batches of random bytes, or of their binarised pixels, made when they are asked for.

    Args:
        n: images in a pass.
        binary: whether x is binarised, rather than bytes.
        note: called with the images so far after each batch.
    """

    def __init__(self, n: int, *, binary: bool, note: Callable[[int], None] | None = None) -> None:
        self.n, self.binary, self.note = n, binary, note

    def __iter__(self) -> Iterator[Tensor]:
        generator, bound = torch.Generator().manual_seed(0), 2**63
        for end in range(BATCH, self.n + 1, BATCH):
            words = torch.empty(BATCH * 784 // 8, dtype=torch.int64)
            pixels = words.random_(-bound, None, generator=generator).view(torch.uint8)
            pixels = pixels.reshape(BATCH, *SHAPE)
            yield scaled(pixels, "threshold", None) if self.binary else pixels
            if self.note is not None:
                self.note(end)


class Curve:
    """Memory in MiB at so many moments.

    Args:
        n: images in all.
    """

    def __init__(self, n: int) -> None:
        self.every, self.began = max(BATCH, n // MOMENTS), time.perf_counter()
        self.images: list[int] = []
        self.resident: list[float] = []
        self.anonymous: list[float] = []

    def note(self, images: int) -> None:
        """Note where it is time to."""
        if images % self.every:
            return
        status = Path("/proc/self/status").read_text()
        for name, values in (("VmRSS", self.resident), ("RssAnon", self.anonymous)):
            kib = re.search(rf"{name}:\s+(\d+) kB", status)
            values.append(round(int(kib[1]) / 1024, 1) if kib else 0.0)
        self.images.append(images)

    def found(self) -> dict[str, Any]:
        """The curve, what it grew by, and how long it took."""
        early = self.resident[min(FIRST, len(self.resident)) - 1]
        return {
            "images": self.images[-1],
            "growth": round(max(self.resident[FIRST - 1 :], default=early) / early - 1, 4),
            "seconds": round(time.perf_counter() - self.began, 1),
            "load": round(os.getloadavg()[0], 1),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "resident": self.resident,
            "anonymous": self.anonymous,
            "at": self.images,
        }


class Noted(data.Stream):
    """A stream that notes the images it has given, over all passes."""

    curve: Curve
    given = 0

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        return self._noted(super().__iter__())

    def in_order(self, seed: int = 0) -> Iterator[tuple[Tensor, ...]]:
        """As of any stream."""
        return self._noted(super().in_order(seed))

    def _noted(self, batches: Iterator[tuple[Tensor, ...]]) -> Iterator[tuple[Tensor, ...]]:
        for batch in batches:
            yield batch
            self.given += len(batch[0])
            self.curve.note(self.given)


def run(name: str, n: int, batch: int = BATCH) -> dict[str, Any]:
    """One row, in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    vae = models.VAE(SHAPE, 4, hidden=(32,))
    with tempfile.TemporaryDirectory() as folder:
        if name == "fit, made":
            curve = Curve(n)
            made = Made(n, binary=True, note=curve.note)
            few = data.write_shards(f"{folder}/few", Made(20 * BATCH, binary=False))
            held_out = data.Stream(few, binarisation="threshold", batch_size=BATCH)
            fit(vae, made, epochs=1, log_every=max(1, n // BATCH // 25), validation=held_out,
                progress=False, compile=False)  # fmt: skip
            return curve.found()
        if name == "evaluate, made":
            curve = Curve(n)
            made = Made(n, binary=True, note=curve.note)
            said = _said(evaluate(vae, made, particles=1, progress=False, compile=False))
            return curve.found() | said
        shards = data.write_shards(f"{folder}/shards", Made(n, binary=False), shard_size=n // 10)
        stream = Noted(shards, binarisation="dynamic", batch_size=batch)
        stream.curve = curve = Curve(PASSES * n if name == "fit, shards" else n)
        if name == "fit, shards":
            fit(vae, stream, epochs=PASSES, progress=False, compile=False)
            return curve.found()
        said = _said(evaluate(vae, stream, particles=1, progress=False, compile=False))
        return curve.found() | said


def _said(estimates: dict[str, Estimate]) -> dict[str, Any]:
    return {"nelbo": str(estimates["nelbo"]), "n": estimates["nelbo"].n}


def main() -> None:
    """Run all rows, or one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rows", nargs="+", default=list(IMAGES), choices=list(IMAGES))
    parser.add_argument("--row", nargs=2, metavar=("NAME", "IMAGES"))
    parser.add_argument("--batch", type=int, default=BATCH, help="of the row's shards")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    if asked.row:
        print(json.dumps(run(asked.row[0], int(asked.row[1]), asked.batch)))
        return
    path = asked.out / "streams.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else {}
    for name in asked.rows:
        scale = 1.0 if name == "evaluate, made" else asked.scale
        n = max(10 * BATCH, int(IMAGES[name] * scale) // BATCH * BATCH)
        command = [sys.executable, "-m", "benchmarks.streams", "--row", name, str(n)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        rows[name] = row = json.loads(done.stdout)
        print(f"{name}: {row['images']:,} images in {row['seconds']} s, {row['growth']:+.1%}")
        path.write_text(json.dumps({"batch": BATCH, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
