"""Whoever makes data where something is on around it gets the same: byte for byte."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from vaezoo import data
from vaezoo.data.neighbours import nearest
from vaezoo.data.passes import one_pass
from vaezoo.data.strokes import upright


@contextlib.contextmanager
def in_float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


AROUND: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast to float16": lambda: torch.autocast("cpu", torch.float16),
    "float64 by default": in_float64,
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
}
GREY = data.digits("test", binarisation="none")[:60].tensors()[0]
MANY = data.digits("test")[:300]


def one_pass_of(images: data.Images) -> list[Tensor]:
    return [x for x, *_ in one_pass(images, 50, dtype=torch.float32, seed=0)]


def spread(features: Any = None) -> list[Tensor | None]:
    return [data.spread_labels(MANY, MANY[:50], features=features, progress=False).labels]


def pixels_and_factors(made: Any) -> list[Tensor]:
    return [made.pixels, made.labels, *made.factors.values()]


MAKERS: dict[str, Callable[[], Any]] = {
    "digits": lambda: [data.digits("test").pixels],
    "colour_digits": lambda: pixels_and_factors(data.colour_digits("test", n=60)),
    "sprites": lambda: pixels_and_factors(data.sprites(n=60)),
    "binarised": lambda: one_pass_of(MANY),
    "grey": lambda: one_pass_of(data.digits("test", binarisation="none")[:60]),
    "moved": lambda: one_pass_of(data.Moved(MANY[:60])),
    "moves": lambda: [data.Moves(elastic=2.0)(GREY, Generator().manual_seed(0))],
    "upright": lambda: [upright(GREY)],
    "strokes": lambda: [data.strokes(GREY)],
    "spread_labels": spread,
    "spread_labels by strokes": lambda: spread(data.strokes),
    "nearest": lambda: nearest(GREY.flatten(1), 7),
}
# their noise is drawn in that dtype, and so is other noise
DRAWN = {"moved", "moves"}


# those that draw noise draw it in the default dtype, which is other noise
CASES = [(m, a) for m in MAKERS for a in AROUND if m not in DRAWN or a != "float64 by default"]


@pytest.mark.parametrize(("maker", "around"), CASES)
def test_what_is_on_around_a_maker_changes_no_byte(maker: str, around: str) -> None:
    expected = MAKERS[maker]()
    with AROUND[around]():
        made = MAKERS[maker]()
    assert [t.dtype for t in made] == [t.dtype for t in expected]
    assert all(map(torch.equal, made, expected))
