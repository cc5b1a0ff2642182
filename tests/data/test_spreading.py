"""`spread_labels`: neighbours and F by brute force, what labels follow, what stays; bad input."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch

from vaezoo import data
from vaezoo.data import neighbours
from vaezoo.data.neighbours import nearest, similarities, spread

SEED = torch.Generator
spread_labels = functools.partial(data.spread_labels, progress=False)


def rows(n: int, d: int = 3) -> torch.Tensor:
    return torch.randn(n, d, generator=SEED().manual_seed(0), dtype=torch.float64)


def grey(values: list[int], labels: list[int] | None = None) -> data.Images:
    """Pictures of one pixel."""
    pixels = torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1)
    return data.Images(pixels, labels, binarisation="none")


def by_brute_force(features: torch.Tensor) -> torch.Tensor:
    apart = torch.stack([(x - features).square().sum(1) for x in features])
    return apart.fill_diagonal_(torch.inf)


@pytest.mark.parametrize("entries", [1, 2 * 57, 2**25])
def test_neighbours_by_brute_force(monkeypatch: pytest.MonkeyPatch, entries: int) -> None:
    monkeypatch.setattr(neighbours, "ENTRIES", entries)
    features = rows(57) + 100
    indices, squared = nearest(features, 5)
    assert indices.equal(by_brute_force(features).argsort(1)[:, :5])
    exact = by_brute_force(features / 128).sort(1).values[:, :5]
    assert torch.allclose(squared, exact, rtol=1e-10)


SPREADS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "as they are": lambda x: x,
    "large": lambda x: 1e25 * x,
    "small": lambda x: 1e-30 * x,
    "one far off": lambda x: torch.cat([x[:-1], 1e8 + x[-1:]]),
    "two groups": lambda x: torch.cat([x[:150], 1e5 + x[150:]]),
    "copies": lambda x: x[:60].repeat(5, 1),
}


@pytest.mark.parametrize("how", SPREADS)
def test_neighbours_in_float32(how: str) -> None:
    """As near as those by brute force in float64, whatever rounds."""
    features = SPREADS[how](rows(300).float())
    indices, _ = nearest(features, 8)
    exact = by_brute_force(features.double())
    found = exact.gather(1, indices).sort(1).values
    assert torch.allclose(found, exact.sort(1).values[:, :8], rtol=1e-4)
    assert all(len(set(row)) == 8 for row in indices.tolist())


@pytest.mark.parametrize("k", [3, 9])
def test_what_spreads_by_a_dense_inverse(k: int) -> None:
    """Similarities one by one, as in the papers, and (I - αS)⁻¹, to 1e-9 of F."""
    n, alpha, features = 40, 0.9, rows(40)
    indices, squared = nearest(features, k)
    found = similarities(indices, squared)
    a = torch.zeros(n, n, dtype=torch.float64)
    scale = by_brute_force(features).sort(1).values[:, min(k, 7) - 1].sqrt()
    for i in range(n):
        for j in indices[i].tolist():
            a[i, j] = torch.exp(-(features[i] - features[j]).square().sum() / (scale[i] * scale[j]))
    assert torch.allclose(found, a.gather(1, indices), rtol=1e-12)
    w = (a + a.T) / 2
    s = w / (w.sum(0)[:, None] * w.sum(0)).sqrt()
    y = torch.eye(n, dtype=torch.float64)[:, :4]
    exact = (1 - alpha) * torch.linalg.solve(torch.eye(n, dtype=torch.float64) - alpha * s, y)
    assert torch.allclose(spread(indices, found, y, alpha=alpha), exact, atol=1e-10, rtol=1e-9)
    single = spread(indices, found.float(), y.float(), alpha=alpha)
    assert torch.allclose(single.double(), exact, atol=1e-6, rtol=1e-4)


def test_a_label_follows_the_data() -> None:
    """From 0 a line of pictures leads to 90, which is nearer to 120, where the other class is."""
    line = grey([*range(0, 93, 3), *range(120, 240, 3)])
    given = spread_labels(line, grey([0, 120], [0, 1]), neighbours=2, alpha=0.999, share=1)
    assert given.labels.tolist() == [0] * 31 + [1] * 40


def test_what_no_label_reaches_has_none() -> None:
    apart = grey([0, 1, 2, 200, 201, 202])
    given = spread_labels(apart, grey([0, 2], [1, 0]), neighbours=2, share=1)
    assert (given.labels[0], given.labels[2]) == (1, 0)
    assert given.labels.tolist()[3:] == [-1] * 3


def test_the_surest_keep_their_labels() -> None:
    """Of a line between two classes, the ends: the middle is as near to both."""
    line, ends = grey([*range(0, 201, 2)]), grey([0, 200], [4, 2])
    given = spread_labels(line, ends, neighbours=2, alpha=0.9, share=0.5).labels
    assert int((given >= 0).sum()) == 50
    assert given[40:60].eq(-1).all()
    assert given[:20].eq(4).all()
    assert given[-20:].eq(2).all()


def test_digits() -> None:
    """Of 2,000 real ones, by 100 labels: above what the nearest labelled one says."""
    images = data.digits("test", binarisation="none")
    x, y = images.tensors()
    for seed in range(3):
        few = images.labelled(100, seed=seed)
        given = spread_labels(images, few, share=1)
        x_few, y_few = few.tensors()
        by_one = y_few[torch.cdist(x.flatten(1), x_few.flatten(1)).argmin(1)]
        assert (given.labels == y).float().mean() > (by_one == y).float().mean() + 0.02
        surest = spread_labels(images, few, share=0.9)
        sure = surest.labels >= 0
        assert int(sure.sum()) == 1_800
        assert surest.labels[sure].equal(given.labels[sure])
        assert (surest.labels == y)[sure].float().mean() > (given.labels == y).float().mean() + 0.01


def test_what_is_asked_and_what_stays() -> None:
    """Features are asked for grey levels, without gradient; labels and moves are not looked at."""
    images = data.digits("test")[:300]
    few, seen = images.labelled(20), []
    weight = torch.ones((), requires_grad=True)

    def features(x: torch.Tensor) -> torch.Tensor:
        seen.append((tuple(x.shape), float(x.max())))
        return x.flatten(1) * weight

    before = images.labels.clone()
    given = spread_labels(images, few, features=features)
    assert seen == [((20, 1, 28, 28), 1.0), ((300, 1, 28, 28), 1.0)]
    assert images.labels.equal(before)
    bare = data.Images(images.pixels, binarisation="dynamic")
    assert bare.labels is None
    moved = spread_labels(data.Moved(bare), data.Moved(few))
    assert isinstance(moved, data.Moved)
    half = spread_labels(bare, few, features=lambda x: x.flatten(1).bfloat16())
    assert (half.labels == given.labels).float().mean() > 0.95  # pixels to 3 digits
    for other in (spread_labels(bare, few), moved):
        assert other.labels.equal(given.labels)
    batches = data.semi_supervised(images, given[given.labels >= 0], batch_size=50)
    assert len(batches.labelled) == 270
    assert len(next(iter(batches))) == 3


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e20])
def test_the_scale_of_features_says_nothing(scale: float) -> None:
    images = data.digits("test", binarisation="none")[:400]
    few = images.labelled(50)
    found = [
        spread_labels(images, few, features=lambda x, s=s: x.flatten(1) * s) for s in (1, scale)
    ]
    assert (found[0].labels == found[1].labels).float().mean() > 0.99


def test_copies_are_one_image() -> None:
    """Where each is there eight times, they are no neighbours of one another."""
    images = data.digits("test", binarisation="none")[:300]
    few = images.labelled(50)
    once = spread_labels(images, few, share=1).labels
    copies = data.Images(images.pixels.repeat(8, 1, 1, 1), binarisation="none")
    assert spread_labels(copies, few, share=1).labels.equal(once.repeat(8))
    assert spread_labels(images, few, neighbours=1, share=1).labels.ge(0).sum() > 50


def test_labels_that_were_given_stay() -> None:
    images = data.digits("test", binarisation="none")
    few = images.labelled(1000)
    same = (images.pixels.flatten(1)[:, None] == few.pixels.flatten(1)[None, :300]).all(2)
    place, number = same.nonzero().unbind(1)
    assert len(number) >= 300
    for share in (0.6, 1.0):
        found = spread_labels(images, few, share=share)
        assert found.labels[place].equal(few.labels[number])


def test_classes_may_have_any_numbers() -> None:
    images = data.digits("test", binarisation="none")[:300]
    few = images.labelled(50)
    far = data.Images(few.pixels, few.labels * 2**40 + 7, binarisation="none")
    expected = spread_labels(images, few, share=1).labels * 2**40 + 7
    assert spread_labels(images, far, share=1).labels.equal(expected)


def test_results_share_nothing_that_is_assigned() -> None:
    moved = data.Moved(data.digits("test", binarisation="none")[:100])
    found, before = spread_labels(moved, moved.labelled(20)), moved.pixels.clone()
    found.pixels = torch.zeros_like(found.pixels)
    assert moved.pixels.equal(before)


def test_features_may_come_in_one_buffer() -> None:
    images, buffer = data.digits("test", binarisation="none"), torch.empty(1000, 784)

    def features(x: torch.Tensor) -> torch.Tensor:
        return buffer[: len(x)].copy_(x.flatten(1))

    few = images.labelled(100)
    expected = spread_labels(images, few).labels
    assert spread_labels(images, few, features=features).labels.equal(expected)


def test_what_is_not_found_is_said() -> None:
    indices, squared = nearest(rows(200, 1), 2)
    lost, y = similarities(indices, squared) * torch.nan, torch.eye(200, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="was not found in 10,000 steps: take an alpha"):
        spread(indices, lost, y, alpha=0.9)


def test_a_bar_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    data.spread_labels(FEW, FEW, neighbours=1)
    assert "neighbours: 100%" in capsys.readouterr().err


def test_images_without_a_label_among_the_labelled_are_left_out() -> None:
    few, some = grey([0, 200], [0, 1]), grey([0, 7, 200], [0, -1, 1])
    line = grey([*range(0, 201, 5)])
    given = [spread_labels(line, each, neighbours=3).labels for each in (few, some)]
    assert given[0].equal(given[1])


FEW = grey([0, 9], [0, 1])
BAD = {
    "tensors": (
        lambda: spread_labels(torch.zeros(5, 1, 1, 1), FEW),
        TypeError,
        "spread_labels takes data.Images twice, got a Tensor",
    ),
    "batches": (
        lambda: spread_labels(FEW, FEW.batches(1)),
        TypeError,
        "takes data.Images twice, got a ImagePass",
    ),
    "two shapes": (
        lambda: spread_labels(data.digits("test")[:9], FEW),
        ValueError,
        r"images of one shape share labels, got \(1, 28, 28\) and \(1, 1, 1\)",
    ),
    "no labels": (
        lambda: spread_labels(FEW, grey([1, 2])),
        ValueError,
        "has no labels to spread: give images.labelled",
    ),
    "none given": (
        lambda: spread_labels(FEW, grey([1, 2], [-1, -1])),
        ValueError,
        "has no labels to spread",
    ),
    "too few": (
        lambda: spread_labels(FEW, FEW, neighbours=2),
        ValueError,
        "neighbours must be fewer than the images that differ, 2, got 2",
    ),
    "no neighbours": (
        lambda: spread_labels(FEW, FEW, neighbours=0),
        ValueError,
        "neighbours must be at least 1, got 0",
    ),
    "alpha": (
        lambda: spread_labels(FEW, FEW, alpha=1),
        ValueError,
        r"alpha must be a number in \(0, 1\), got 1",
    ),
    "alpha of text": (
        lambda: spread_labels(FEW, FEW, alpha="most"),
        TypeError,
        r"alpha must be a number in \(0, 1\), got 'most'",
    ),
    "share": (
        lambda: spread_labels(FEW, FEW, share=90),
        ValueError,
        r"share must be a number in \(0, 1\], got 90",
    ),
    "NaN": (
        lambda: spread_labels(FEW, FEW, share=float("nan")),
        ValueError,
        "share must be a number",
    ),
    "features of text": (
        lambda: spread_labels(FEW, FEW, features="pixels"),
        TypeError,
        r"features must be a function of grey levels \(n, C, H, W\), such as data.strokes, got 'p",
    ),
    "features that are made": (
        lambda: spread_labels(FEW, FEW, features=torch.zeros(2, 3)),
        TypeError,
        "features must be a function of grey levels .* got tensor",
    ),
    "no tensor": (
        lambda: spread_labels(FEW, FEW, features=lambda x: x.tolist()),
        TypeError,
        r"features must make a dense tensor of floats \(2, D\), got list",
    ),
    "integers": (
        lambda: spread_labels(FEW, FEW, features=lambda x: x.flatten(1).long()),
        TypeError,
        r"features must make a dense tensor of floats \(2, D\), got torch.int64",
    ),
    "pictures": (
        lambda: spread_labels(FEW, FEW, features=lambda x: x),
        ValueError,
        r"features must make a tensor \(2, D\) of 2 images, got \(2, 1, 1, 1\): use .flatten",
    ),
    "two widths": (
        lambda: spread_labels(
            FEW, FEW, features=lambda x, n=[]: torch.ones(2, len(n.append(0) or n))
        ),
        ValueError,
        r"features must make a tensor \(2, 1\) of 2 images, got \(2, 2\)",
    ),
    "none": (
        lambda: spread_labels(FEW, FEW, features=lambda x: x.flatten(1)[:, :0]),
        ValueError,
        r"features must make a tensor \(2, D\) of 2 images, got \(2, 0\)",
    ),
    "one number": (
        lambda: spread_labels(FEW, FEW, features=lambda x: x.mean()),
        ValueError,
        r"features must make a tensor \(2, D\) of 2 images, got \(\)",
    ),
    "sparse": (
        lambda: spread_labels(FEW, FEW, features=lambda x: x.flatten(1).to_sparse()),
        TypeError,
        "features must make a dense tensor of floats",
    ),
    "not finite": (
        lambda: spread_labels(FEW, FEW, features=lambda x: x.flatten(1) / 0),
        ValueError,
        "features must be finite",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str) -> None:
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
