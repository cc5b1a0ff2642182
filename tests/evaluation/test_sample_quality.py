"""`sample_quality`: the distance in closed form, its floor, and what pictures are asked to show."""

from __future__ import annotations

from typing import Any

import pytest
import scipy.linalg
import torch
from linear import D
from torch import Tensor, nn
from zoo import BadCall, fixed, images, member, refused

from vaezoo import data, models
from vaezoo.evaluation import frechet, sample_quality

TRAIN, TEST = data.digits("train"), data.digits("test")
POOL = TRAIN.tensors(seed=3)


def test_the_distance_of_normals() -> None:
    """Moved and stretched: |move|² + (stretch - 1)² tr Σ; any two as by SciPy's root, to 1e-9."""
    torch.manual_seed(0)
    a, b = torch.randn(50, 4, **D) @ torch.randn(4, 4, **D), torch.randn(60, 4, **D)
    move = torch.tensor([1.0, -2.0, 0.0, 3.0], **D)
    stretched = 3 * (a - a.mean(0)) + a.mean(0) + move
    assert frechet(a, stretched) == pytest.approx(14 + 4 * a.T.cov().trace().item(), abs=1e-9)
    product = a.T.cov() @ b.T.cov()
    root = torch.from_numpy(scipy.linalg.sqrtm(product.numpy()).real)
    traces = a.T.cov().trace() + b.T.cov().trace() - 2 * root.trace()
    expected = (a.mean(0) - b.mean(0)).square().sum() + traces
    assert frechet(a, b) == pytest.approx(expected.item(), abs=1e-9)
    assert frechet(b, a) == pytest.approx(frechet(a, b), abs=1e-9)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet(a[:, :1], a[:, :1] + 2) == pytest.approx(4, abs=1e-9)


class Album(nn.Module):
    """A "model" that draws training images of the class asked for, or of another one."""

    def __init__(self, shift: int = 0) -> None:
        super().__init__()
        self.classes, self.shift = 10, shift

    def sample(self, n: int, *, y: Tensor, mean: bool) -> Tensor:
        assert len(y) == n
        assert not mean
        pool, labels = POOL
        rows = [(labels == (c + self.shift) % 10).nonzero().flatten() for c in y]
        return torch.stack([pool[r[torch.randint(len(r), ())]] for r in rows])


def test_pictures_that_are_data() -> None:
    """Training images are as far from test images as the floor, and are read as what they are.

    Of another class, hardly ever. The classifier has learned half of them, and reads these better.
    """
    options: dict[str, Any] = {"n": 500, "steps": 300, "repeats": 3}
    found = sample_quality(Album(), TRAIN, TEST, **options)
    assert 0.5 * found["floor"].mean < found["frechet"].mean < 2 * found["floor"].mean
    assert found["judge"].mean > 0.85
    assert found["judge"].mean - 0.02 < found["consistency"].mean < found["judge"].mean + 0.1
    assert found["consistency"].n == 1500
    assert found["judge"].n == len(TEST)
    wrong = sample_quality(Album(3), TRAIN, TEST, **options)
    assert wrong["consistency"].mean < 0.1
    assert wrong["judge"] == found["judge"]


def test_pictures_that_are_noise() -> None:
    """Far above the floor; the generators are left alone, and a seed gives the same numbers."""
    torch.manual_seed(0)
    vae, state = models.VAE(hidden=(8,)), torch.get_rng_state()
    options: dict[str, Any] = {"n": 100, "steps": 20, "repeats": 2}
    found = sample_quality(vae, TRAIN, TEST, **options)
    assert found["frechet"].mean > 3 * found["floor"].mean
    assert list(found) == ["frechet", "floor", "judge"]
    assert torch.equal(torch.get_rng_state(), state)
    assert sample_quality(vae, TRAIN, TEST, **options) == found


@pytest.mark.parametrize("name", ["SSVAE", "FSVAE", "M1M2", "ADGM"])
def test_members_with_labels(name: str) -> None:
    pixels = (255 * images(30)).byte()
    small = data.Images(pixels, torch.arange(30) % 3, binarisation="none")
    found = sample_quality(member(name), small, small, n=10, steps=2, repeats=2)
    assert list(found) == ["frechet", "floor", "consistency", "judge"]
    assert found["consistency"].n == 20


BARE = data.Images((255 * fixed(9)).byte(), binarisation="none")


def some_without_label() -> data.Images:
    images = TEST[:20]
    assert images.labels is not None
    images.labels = images.labels.clone()
    images.labels[:3] = -1
    return images


ROWS = torch.rand(5, 3)
BAD_CALLS: list[BadCall] = [
    (lambda: sample_quality(member("VAE"), BARE, BARE), ValueError, "data.Images with labels, got Images"),
    (lambda: sample_quality(member("VAE"), TRAIN, [1]), ValueError, r"data.Images with labels, got \[1\]"),
    (lambda: sample_quality(member("VAE"), TRAIN, TEST, repeats=1), ValueError, "repeats must be at least 2, got 1"),
    (lambda: sample_quality(member("VAE"), TRAIN[TRAIN.labels < 7], TEST, steps=1), ValueError, r"classes \[7, 8, 9\], of which train has none"),
    (lambda: sample_quality(member("VAE"), TRAIN, some_without_label()), ValueError, "a label of every image, got 3 without one"),
    (lambda: frechet(ROWS[:1], ROWS), ValueError, r"features must be \(n, d\), n at least 2, got \(1, 3\)"),
    (lambda: frechet(ROWS[0], ROWS), ValueError, r"features must be \(n, d\), n at least 2, got \(3,\)"),
    (lambda: frechet(ROWS, ROWS[:, :2]), ValueError, "features must be of one size, got 3 and 2"),
    (lambda: frechet(ROWS / 0, ROWS), ValueError, "features must be finite"),
    (lambda: sample_quality(nn.Linear(2, 2), TRAIN, TEST), TypeError, "a member to draw from, got a Linear"),
]  # fmt: skip


test_bad_calls = refused(BAD_CALLS)
