"""The operator `vaezoo::product`, a product by oneDNN, and whether oneDNN beats MKL here."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["LINEAR", "UNFUSED", "onednn_leads"]

LEAD = 1.4  # times as fast, at least; it is 2.1 on the Zen 5
LINEAR = torch.ops.mkldnn._linear_pointwise.default
UNFUSED: tuple[Any, ...] = (None, "none", [], "")
_library = torch.library.Library("vaezoo", "DEF")
_library.define("product(Tensor x, Tensor w) -> Tensor")


@torch.library.impl(_library, "product", "CPU")
def product(x: Tensor, w: Tensor) -> Tensor:
    result: Tensor = LINEAR(x, w.T, *UNFUSED)
    return result


@torch.library.impl(_library, "product", "Meta")
def _shape_of_product(x: Tensor, w: Tensor) -> Tensor:
    return x.new_empty(len(x), w.shape[1])


@functools.cache
def onednn_leads() -> bool:
    """Whether oneDNN multiplies much faster than MKL on this processor: tried once, for 30 ms.

    On one thread, as several wait for one another where the machine has other work too.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    kind: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
    x, w = torch.ones(256, 512, **kind), torch.ones(512, 512, **kind)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.autocast("cpu", enabled=False):
            times = [(_time(torch.mm, x, w), _time(product, x, w)) for _ in range(12)]
    finally:
        torch.set_num_threads(threads)
    by_mkl, by_onednn = map(min, zip(*times, strict=True))
    return by_mkl > LEAD * by_onednn


def _time(function: Callable[..., Any], *args: Any) -> float:
    started = time.perf_counter()
    function(*args)
    return time.perf_counter() - started
