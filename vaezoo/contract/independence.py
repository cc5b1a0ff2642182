"""The clause that draws are independent where nothing ties them.

Those of one call and of the next, those for one input and for another, and the numbers of one draw
whose density is a product.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from vaezoo.contract.case import FAILURE_RATE, Case, refuse
from vaezoo.contract.integrals import scalars

__all__ = ["independent"]

DRAWS = 4000
NUMBERS = 8  # of a draw, spread evenly, that are looked at
KURTOSIS = 10  # above which a mean of DRAWS products is not yet a Normal


@torch.no_grad()
def independent(case: Case) -> None:
    """Draws of one call, input or number say nothing of those of another."""
    tests = [(*_correlated(a, b), what) for what, a, b in _pairs(case)]
    least, correlation, what = min(tests, default=(1.0, 0.0, ""))
    if not least > FAILURE_RATE / max(len(tests), 1):
        got = f"a correlation of {correlation:.2g} between those of {what}, p = {least:.1g}"
        mend = "draw noise anew for each call, input and number"
        refuse("independent", "independent draws", got, mend)


def _pairs(case: Case) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Features (DRAWS,) of two draws that have nothing to do with one another."""
    first, again = _draws(case), _draws(case)
    size = first.shape[2]
    chosen = torch.linspace(0, size - 1, min(NUMBERS, size)).long().tolist()
    single = scalars(case.first()) is not None
    for i, j in zip(chosen, [*chosen[1:], chosen[0]], strict=True):
        for even in (False, True):
            here = _feature(first[:, 0, i], even=even)
            others = {"two calls": again[:, 0, i], "two inputs": first[:, 1, i]}
            if single and i != j:
                others["two numbers"] = first[:, 0, j]
            for what, other in others.items():
                there = _feature(other, even=even)
                if here is not None and there is not None:
                    yield what, here, there


def _draws(case: Case) -> Tensor:
    """Those for two inputs, (DRAWS, 2, size); where there is one, two that are drawn in a plate."""
    d: Any = case()
    if case.batch[:1] in ((), (1,)):
        d = d.expand(torch.Size((2, *case.batch)))
    draw = d.rsample if d.has_rsample else d.sample
    return draw(torch.Size([DRAWS])).reshape(DRAWS, d.batch_shape[0], -1)[:, :2].double()


def _feature(x: Tensor, *, even: bool) -> Tensor | None:
    """A bounded function of draws, of mean 0 and variance 1; None where it hardly varies."""
    white = (x - x.mean()) / x.std().clamp(min=1e-12)
    bounded = white.square().neg().exp() if even else white.tanh()
    centred = bounded - bounded.mean()
    if not (spread := centred.square().mean().sqrt()) > 1e-6:
        return None
    feature = centred / spread
    return feature if feature.pow(4).mean() < KURTOSIS else None


def _correlated(a: Tensor, b: Tensor) -> tuple[float, float]:
    """The two-sided p-value of a correlation, and the correlation."""
    correlation = (a * b).mean().item()
    return math.erfc(abs(correlation) * math.sqrt(DRAWS / 2)), correlation
