"""`strokes`: where mass goes, what directions say, who is near; bad input."""

from __future__ import annotations

import math

import pytest
import torch

from vaezoo import data
from vaezoo.data.neighbours import nearest
from vaezoo.data.strokes import DIRECTIONS, strokes, upright


def bar(slope: float, *, height: int = 28, width: int = 28) -> torch.Tensor:
    """A stroke that leans by so many columns a row, off the middle."""
    rows = torch.arange(height).view(-1, 1) - height / 2
    columns = torch.arange(width) - width / 2 - 2 - slope * rows
    return (-(columns**2) / 4).exp().mul(rows.abs() < height / 3).view(1, 1, height, width)


@pytest.mark.parametrize("width", [28, 36])
@pytest.mark.parametrize("slope", [-0.4, 0.0, 0.25])
def test_a_leaning_stroke_is_set_upright(slope: float, width: int) -> None:
    """Its mass is in the middle, and no column of it is on one side above and the other below."""
    x = upright(bar(slope, width=width))
    mass = x / x.sum()
    rows = torch.arange(28).view(-1, 1) - 13.5
    columns = torch.arange(width) - (width - 1) / 2
    assert abs(float((mass * rows).sum())) < 0.1  # pixels
    assert abs(float((mass * columns).sum())) < 0.1
    assert abs(float((mass * rows * columns).sum() / (mass * rows**2).sum())) < 0.02


@pytest.mark.parametrize("turns", range(4))
def test_an_edge_counts_for_its_direction(turns: int) -> None:
    """Brighter to the right, and then a quarter of a turn on, of what is left of borders."""
    ramp = torch.linspace(0, 1, 28).expand(1, 1, 28, 28).rot90(-turns, (2, 3))
    found = strokes(ramp.contiguous()).square().view(DIRECTIONS, 10, 10)[:, 2:-2, 2:-2].sum((1, 2))
    assert int(found.argmax()) == turns * DIRECTIONS // 4


def test_lengths_and_blank_digits() -> None:
    x = torch.cat([bar(0.3), torch.zeros(1, 1, 28, 28)])
    found = strokes(x)
    assert found.shape == (2, DIRECTIONS * 100)
    assert math.isclose(float(found[0].norm()), 1, rel_tol=1e-5)
    assert float(found[1].norm()) == 0


def test_neighbours_are_of_a_class() -> None:
    """Of 2,000 real digits: the nearest by strokes err less than half as often as by pixels."""
    x, y = data.digits("test", binarisation="none").tensors()
    wrong = [(y[nearest(f, 8)[0]] != y[:, None]).float().mean() for f in (strokes(x), x.flatten(1))]
    assert wrong[0] < wrong[1] / 2


@pytest.mark.parametrize(
    ("x", "got"),
    [
        (torch.zeros(2, 28, 28), r"got \(2, 28, 28\) torch.float32"),
        (torch.zeros(2, 3, 28, 28), r"got \(2, 3, 28, 28\) torch.float32: make one channel"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), "torch.uint8"),
    ],
)
def test_bad_input(x: torch.Tensor, got: str) -> None:
    with pytest.raises(ValueError, match=got):
        strokes(x)
