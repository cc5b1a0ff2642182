"""Measurements that want a process of their own: one run, one line of JSON.

    python -m benchmarks.speed.fresh '{"what": "cold", "peer": "seed", "threads": 2, ...}'

Peers are "seed", as the files have it (the hand-written loop with a DataLoader, which imports torch
alone), and vaezoo, "eager" or "compiled" or as it chooses "by default".
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers import handwritten
from benchmarks.peers.handwritten import BY_HAND
from benchmarks.speed import growth, memory

COMPILE = {"eager": False, "compiled": True, "by default": None}


def main() -> None:
    """Do what the argument says and print what was found."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("asked", type=json.loads, help="what to measure, as JSON")
    asked = parser.parse_args().asked
    torch.set_num_threads(asked["threads"])
    asked.setdefault("started", time.time())
    torch.manual_seed(asked.get("seed", 0))
    measures = {
        "cold": cold,
        "epoch": epoch,
        "evaluation": evaluation,
        "growth": growth.measure,
    }
    with contextlib.nullcontext() if asked["peer"] == BY_HAND else _as_in_fit():
        measured = measures[asked["what"]](asked)
    print(json.dumps(measured))


def _as_in_fit() -> contextlib.AbstractContextManager[None]:
    from vaezoo.cpu import tuned

    return tuned()


def cold(asked: dict[str, Any]) -> dict[str, Any]:
    """Seconds until the NELBO of held-out images is below the threshold.

    `seconds` runs from `started`, before this process began: imports and data are included.
    """
    before = time.time()
    steps, bound, taken, nelbo = *_training(asked), 0, float("inf")
    pixels, _ = handwritten.mnist(Path(asked["data"]), "test")
    generator = torch.Generator().manual_seed(0)
    held_out = torch.bernoulli(pixels[:1000].flatten(1) / 255, generator=generator)
    while nelbo > asked["nelbo"] and taken < asked["most"]:
        steps(asked["every"])
        taken += asked["every"]
        with torch.no_grad():
            nelbo = bound(held_out)
    done = time.time()
    return {
        "seconds": done - asked["started"],
        "training": done - before,
        "steps": taken,
        "nelbo": nelbo,
        "reached": nelbo <= asked["nelbo"],
    }


def _training(asked: dict[str, Any]) -> tuple[Callable[[int], float], Callable[[Tensor], float]]:
    """A function that takes n steps, and one for the NELBO of flat images."""
    x, y = handwritten.mnist(Path(asked["data"]), "train")
    if asked["peer"] == BY_HAND:
        net = handwritten.VAE()
        batches = ((x,) for x, _ in handwritten.loaded(x, y, 100, binary=True))
        return handwritten.train(net, net.parameters(), batches), lambda x: net(x).item()
    from vaezoo import data, models, training

    images = data.Images(x, binarisation="dynamic")
    way, most = COMPILE[asked["peer"]], asked["most"]
    trained = training.steps(models.VAE(), images, steps=most, compile=way)

    def steps(n: int) -> float:
        for taken in itertools.islice(trained, n):
            loss = taken.terms["loss"]
        return loss.item()

    return steps, lambda x: -trained.bound(x.reshape(-1, 1, 28, 28))["bound"].item()


def epoch(asked: dict[str, Any]) -> dict[str, Any]:
    """Seconds of each pass over the training images, data included, in batches of 100."""
    x, y = handwritten.mnist(Path(asked["data"]), "train")
    x, y = x[: asked["images"]], y[: asked["images"]]
    each = len(x) // 100
    if asked["peer"] == BY_HAND:
        net = handwritten.VAE()
        batches = ((x,) for x, _ in handwritten.loaded(x, y, 100, binary=True))
        steps = handwritten.train(net, net.parameters(), batches)
        times = [time.time()]
        for _ in range(asked["epochs"]):
            steps(each)
            times.append(time.time())
        return {"epochs": _differences(times)}
    from vaezoo import data, fit, models

    history = fit(
        models.VAE(),
        data.Images(x, binarisation="dynamic"),
        epochs=asked["epochs"],
        log_every=each,
        progress=False,
        compile=COMPILE[asked["peer"]],
    )
    return {"epochs": _differences([0.0, *history["seconds"]])}


def evaluation(asked: dict[str, Any]) -> dict[str, Any]:
    """Seconds of NIWAE-k on some images, and the memory that it adds at its peak, in MiB.

    A few images come before, untimed, as "first"; the peak is that of both.
    """
    pixels, _ = handwritten.mnist(Path(asked["data"]), "test")
    evaluate = (_by_hand if asked["peer"] == BY_HAND else _by_vaezoo)(pixels, asked)
    memory.begin_peak()
    times, before = [time.perf_counter()], memory.now()
    for n in (asked["tiled"], asked["images"]):
        evaluate(n)
        times.append(time.perf_counter())
    first, seconds = _differences(times)
    mib = memory.peak() - before
    return {"seconds": seconds, "first": first, "mib": mib, "images": asked["images"]}


def _by_hand(pixels: Tensor, asked: dict[str, Any]) -> Callable[[int], Any]:
    net, generator = handwritten.IWAE(), torch.Generator().manual_seed(0)
    x = torch.bernoulli(pixels.flatten(1) / 255, generator=generator)

    @torch.no_grad()
    def evaluate(n: int) -> Tensor:
        parts = x[:n].split(asked["tiled"])
        return torch.cat([net.log_mean_weight(part, asked["k"]) for part in parts])

    return evaluate


def _by_vaezoo(pixels: Tensor, asked: dict[str, Any]) -> Callable[[int], Any]:
    from vaezoo import data, evaluate, models

    vae, images = models.VAE(), data.Images(pixels, binarisation="dynamic")
    options: dict[str, Any] = {"progress": False, "compile": COMPILE[asked["peer"]]}
    return lambda n: evaluate(vae, images[:n], particles=(asked["k"],), **options)


def _differences(times: list[float]) -> list[float]:
    return [b - a for a, b in itertools.pairwise(times)]


if __name__ == "__main__":
    main()
