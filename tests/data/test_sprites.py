"""Sprites: areas, centres and symmetries in closed form, and factors that are independent."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from zoo import BadCall, refused

from vaezoo.data import Sprites, sprites
from vaezoo.data.sprites import SIDE, VALUES, _drawn, _values

SQUARE, ELLIPSE, HEART = range(3)
AREAS = torch.tensor([2, math.pi / 2, (1 + math.pi / 4) * SIDE**2])  # at radius 1


def every(size: int, **some: list[int]) -> tuple[Tensor, dict[str, Tensor]]:
    """Images (n, size, size) of every combination of some values of each factor, and those."""
    chosen = [torch.tensor(some.get(name, range(n))) for name, n in VALUES.items()]
    indices = torch.cartesian_prod(*chosen)
    return _drawn(indices, size)[:, 0].double() / 255, _values(indices, size)


def centres(pixels: Tensor) -> Tensor:
    """Columns and rows of the centres of mass, (2, n)."""
    pixel = torch.arange(pixels.shape[-1]).double()
    return torch.stack([pixels.sum(i) @ pixel for i in (1, 2)]) / pixels.sum((1, 2))


@pytest.mark.parametrize("size", [32, 64])
def test_an_upright_square_has_the_rows_and_columns_within_its_side(size: int) -> None:
    pixels, factors = every(size, shape=[SQUARE], orientation=[0], x=[0, 7], y=[2])
    half = factors["scale"] * size / 4 / math.sqrt(2)
    pixel = torch.arange(size).double()
    wide, high = (((pixel[:, None] - factors[k]).abs() <= half).sum(0) for k in "xy")
    assert pixels.sum((1, 2)).equal((wide * high).double())
    assert (wide - 2 * half).abs().max() < 1
    assert (high.reshape(6, 2)[:, 0].diff() >= 1).all()  # no two sizes look alike


def test_areas_and_centres() -> None:
    """At 192 pixels, in all shapes and orientations, what the formulae say within pixels' rounding.

    The heart is a square of side s and two half discs of diameter s: (1 + π/4) s².
    """
    pixels, factors = every(192, scale=[0, 5], x=[4], y=[11])
    areas = AREAS[factors["shape"]] * (factors["scale"] * 48) ** 2
    assert (pixels.sum((1, 2)) / areas - 1).abs().max() < 0.02
    places = torch.stack([factors["x"], factors["y"]])
    assert (centres(pixels) - places).abs().max() <= 0.25  # upright squares: of a whole row


def test_the_corner_of_a_heart_says_how_it_is_turned() -> None:
    """It lies at radius 1, below the centre, and goes round counter-clockwise."""
    pixels, factors = every(128, shape=[HEART], scale=[5], x=[8], y=[8])
    pixel = torch.arange(128).double()
    right = pixel - factors["x"][:, None, None]
    up = factors["y"][:, None, None] - pixel[:, None]
    distance = (right.square() + up.square()).sqrt() * pixels
    assert ((distance.amax((1, 2)) - 32).abs() < 1.5).all()
    corner = distance.flatten(1).argmax(1, keepdim=True)
    seen = torch.atan2(
        *(t.expand_as(pixels).flatten(1).gather(1, corner)[:, 0] for t in (up, right))
    )
    off = seen - (factors["orientation"] - math.pi / 2)
    assert torch.atan2(off.sin(), off.cos()).abs().max() < 0.05


@pytest.mark.parametrize("size", [32, 64])
def test_what_looks_alike_is_what_symmetry_says(size: int) -> None:
    """Quarter turns of a square, half turns of an ellipse: 6 · (5 + 10 + 20) images at a place.

    An image leaves log 4, log 2 or 0 nats of orientation open, log 2 on average.
    """
    pixels = every(size, x=[5], y=[9])[0].unflatten(0, (3, 6, 20))
    assert pixels[SQUARE].equal(pixels[SQUARE].roll(5, 1))
    assert pixels[ELLIPSE].equal(pixels[ELLIPSE].roll(10, 1))
    counts = pixels.flatten(0, 2).unique(dim=0, return_counts=True)[1].double()
    assert len(counts) == 210
    assert (counts / 360) @ counts.log() == pytest.approx(math.log(2), rel=1e-12)
    assert round(1 - math.log(2) / math.log(20), 2) == 0.77  # as the documents say


def test_places_are_pixels_apart_and_inside() -> None:
    """16 × 16 places: at 32 pixels one pixel apart, and the largest sprites are whole in all."""
    pixels = every(32, scale=[5], orientation=[0, 2])[0].unflatten(0, (6, 16, 16))
    for axis, towards in ((1, -1), (2, -2)):
        moved = pixels.roll(1, towards)
        assert moved.narrow(axis, 0, 15).equal(pixels.narrow(axis, 1, 15))
    areas = pixels.sum((-2, -1))
    assert areas.equal(areas[:, :1, :1].expand_as(areas))


def test_images_are_those_of_their_factors() -> None:
    images = sprites(n=1000, seed=3, size=64)
    factors, pixels = images.factors, images.pixels[:, 0].double() / 255
    assert images.labels is not None
    assert images.labels.equal(factors["shape"])
    assert (centres(pixels) - torch.stack([factors["x"], factors["y"]])).abs().max() < 1
    areas = AREAS[factors["shape"]] * (factors["scale"] * 16) ** 2
    assert (pixels.sum((1, 2)) / areas - 1).abs().max() < 0.2
    part = images[torch.tensor([5, 700])]
    assert isinstance(part, Sprites)
    assert {k: v.tolist() for k, v in part.factors.items()} == {
        k: v[[5, 700]].tolist() for k, v in factors.items()
    }
    assert images.tensors()[0].unique().tolist() == [0, 1]


def test_factors_are_uniform_and_independent() -> None:
    """χ² of each factor, and of each two: 15 statistics of n = 20,000, |z| < 4."""
    factors = sprites(n=20_000, size=16).factors
    numbers = {k: f.unique(return_inverse=True)[1] for k, f in factors.items()}
    assert {k: int(each.max()) + 1 for k, each in numbers.items()} == VALUES
    pairs = [*itertools.combinations(VALUES, 2), *((name, None) for name in VALUES)]
    for a, b in pairs:
        cells = VALUES[a] * (VALUES[b] if b else 1)
        both = numbers[a] * VALUES[b] + numbers[b] if b else numbers[a]
        expected = 20_000 / cells
        square = ((both.bincount(minlength=cells) - expected) ** 2 / expected).sum().item()
        assert abs(square - (cells - 1)) / math.sqrt(2 * (cells - 1)) < 4, (a, b)


def test_a_seed_says_all() -> None:
    images, state = sprites("test"), torch.get_rng_state()
    assert repr(images) == "Sprites(sprites test, 2000 × 1×32×32, threshold)"
    few = sprites("test", n=7)
    assert torch.get_rng_state().equal(state)
    assert few.pixels.equal(images.pixels[:7])
    assert not sprites("test", n=7, seed=1).pixels.equal(few.pixels)
    assert not sprites(n=7).pixels.equal(few.pixels)
    torch.set_default_dtype(torch.float64)
    try:
        again = sprites("test", n=7)
    finally:
        torch.set_default_dtype(torch.float32)
    assert again.pixels.equal(few.pixels)
    assert all(again.factors[k].equal(f) for k, f in few.factors.items())


BAD_CALLS: list[BadCall] = [
    (lambda: sprites("valid"), ValueError, "split must be 'train' or 'test', got 'valid'"),
    (lambda: sprites(n=0), ValueError, "n must be at least 1, got 0"),
    (lambda: sprites(size=15), ValueError, "size must be at least 16, got 15"),
    (lambda: sprites(size=20.5), ValueError, "size must be a whole number, got 20.5"),  # type: ignore[arg-type]
    (lambda: sprites(size=(32, 32)), TypeError, r"size must be a whole number, got \(32, 32\)"),  # type: ignore[arg-type]
    (lambda: sprites(seed=0.5), ValueError, "seed must be a whole number, got 0.5"),  # type: ignore[arg-type]
]


test_bad_calls = refused(BAD_CALLS)
