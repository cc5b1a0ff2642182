"""`Images`: exact values, batches, bad input, and random numbers that stay where they belong."""

import pytest
import torch
from torch import Tensor

from vaezoo.data import (
    Images,
    colour_digits,
    digits,
    mnist,
    semi_supervised,
    svhn,
)
from vaezoo.data.binarising import bernoulli

ROW = torch.tensor([[0, 51, 127], [128, 204, 255]], dtype=torch.uint8).reshape(2, 1, 1, 3)
GREY = torch.arange(256, dtype=torch.uint8).repeat(40, 1).reshape(40, 1, 16, 16)


def blank(n: int, labels: Tensor | None = None) -> Images:
    return Images(torch.zeros(n, 1, 2, 2, dtype=torch.uint8), labels, binarisation="none")


def numbered(n: int, binarisation: str = "none") -> Images:
    """Images whose pixel and label both say which image it is."""
    pixels = torch.arange(n, dtype=torch.uint8).reshape(n, 1, 1, 1)
    return Images(pixels, torch.arange(n), binarisation=binarisation)


# Images


@pytest.mark.parametrize(
    ("binarisation", "expected"),
    [("none", [0, 0.2, 127 / 255, 128 / 255, 0.8, 1]), ("threshold", [0, 0, 0, 1, 1, 1])],
)
def test_fixed_values(binarisation, expected):
    images = Images(ROW, torch.tensor([4, 9]), binarisation=binarisation)
    x, y = images.tensors()
    torch.testing.assert_close(x.flatten(), torch.tensor(expected, dtype=torch.float32))
    assert y.tolist() == [4, 9]
    assert x.shape == (2, 1, 1, 3)
    (again, labels), *rest = images.batches(shuffle=False)
    assert again.equal(x)
    assert labels.equal(y)
    assert not rest


def test_default_dtype_is_followed():
    torch.set_default_dtype(torch.float64)
    try:
        for binarisation in ("dynamic", "threshold", "none"):
            (x,) = Images(ROW, binarisation=binarisation).tensors()
            assert x.dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("binarisation", ["dynamic", "static"])
def test_binarisation_is_bernoulli(binarisation):
    # n = 40 × 256 draws of known probabilities, seed 0; |z| > 4 would happen once in 15,000 seeds.
    torch.manual_seed(0)
    images = Images(GREY, binarisation=binarisation)
    (x,) = next(images.batches(40, shuffle=False))
    p = GREY / 255
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert x[GREY == 0].max() == 0
    assert x[GREY == 255].min() == 1
    for weight in (torch.ones_like(p), p - 0.5):  # the mean, and that it rises with the pixel
        z = (weight * (x - p)).sum() / (weight**2 * p * (1 - p)).sum().sqrt()
        assert abs(z) < 4


def test_every_pixel_value_is_drawn_with_its_own_probability():
    """n = 20,000 draws of each of 256 values: χ² of 254 degrees, |z| < 4.5, two-sided 7e-6."""
    torch.manual_seed(0)
    levels, n = torch.arange(256, dtype=torch.uint8), 20_000
    x = bernoulli(levels.expand(n, 256).contiguous(), None, dtype=torch.float64)
    assert x[:, 0].sum() == 0
    assert x[:, 255].sum() == n
    p = levels[1:-1].double() / 255
    chi2 = ((x[:, 1:-1].mean(0) - p) ** 2 / (p * (1 - p) / n)).sum()
    assert abs(chi2 - 254) / (2 * 254) ** 0.5 < 4.5
    neighbours = x[:, 100:110] - levels[100:110] / 255  # eight bytes of one number
    covariance = neighbours.T @ neighbours / n
    off = covariance - torch.diag(covariance.diagonal())
    assert off.abs().max() < 5 * 0.25 / n**0.5  # 45 pairs, each |z| < 5


def test_dynamic_draws_afresh_and_static_never():
    dynamic, static = (Images(GREY, binarisation=kind) for kind in ("dynamic", "static"))
    first, second = (next(dynamic.batches(40, shuffle=False))[0] for _ in range(2))
    assert not first.equal(second)
    first, second = (next(static.batches(40, shuffle=False))[0] for _ in range(2))
    assert first.equal(second)
    assert first.equal(static.tensors(seed=7)[0])
    assert static[10:20].tensors()[0].equal(first[10:20])
    assert Images(GREY, binarisation="static").tensors()[0].equal(first)
    assert not Images(GREY, binarisation="static", seed=1).tensors()[0].equal(first)


def test_tensors_are_drawn_by_their_seed():
    images = Images(GREY, binarisation="dynamic")
    assert images.tensors()[0].equal(images.tensors(seed=0)[0])
    assert not images.tensors(seed=1)[0].equal(images.tensors(seed=0)[0])


@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_cover_every_image_once(shuffle):
    images = numbered(25)
    batches = list(images.batches(10, shuffle=shuffle))
    assert [len(x) for x, _ in batches] == [10, 10, 5]
    labels = torch.cat([y for _, y in batches])
    assert labels.sort().values.tolist() == list(range(25))
    assert (labels.tolist() == list(range(25))) is not shuffle
    for x, y in batches:
        torch.testing.assert_close(x.flatten() * 255, y.float())
    dropped = list(images.batches(10, drop_last=True))
    assert [len(x) for x, _ in dropped] == [10, 10]


def test_batches_follow_the_global_seed_or_a_generator():
    images = Images(GREY, torch.arange(40), binarisation="dynamic")

    def draw(generator=None):
        return torch.cat([x for x, _ in images.batches(7, generator=generator)])

    torch.manual_seed(3)
    first = draw()
    assert not draw().equal(first)
    torch.manual_seed(3)
    assert draw().equal(first)
    state = torch.get_rng_state()
    one, two = (draw(torch.Generator().manual_seed(5)) for _ in range(2))
    assert one.equal(two)
    assert torch.get_rng_state().equal(state)


def test_images_without_labels_give_one_tensor():
    images = blank(3)
    assert [len(batch) for batch in images.batches(2)] == [1, 1]
    assert len(images.tensors()) == 1
    assert images[:1].labels is None
    assert repr(images) == "Images(images, 3 × 1×2×2, none, unlabelled)"


def test_indexing():
    images = numbered(9, "threshold")
    for index in (slice(1, 9, 3), torch.tensor([1, 4, 7]), torch.arange(9) % 3 == 1):
        part = images[index]
        assert part.labels.tolist() == part.pixels.flatten().tolist() == [1, 4, 7]
        assert part.binarisation == "threshold"
        assert part.x_shape == (1, 1, 1)
    assert len(images) == 9


def test_to_moves_everything():
    moved = colour_digits("test", n=3).to("meta")
    tensors = [moved.pixels, moved.labels, *moved.factors.values()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_labelled_is_balanced_seeded_and_random():
    images = digits("train")
    few = images.labelled(100)
    assert few.labels.bincount().tolist() == [10] * 10
    assert few.pixels.equal(images.labelled(100, seed=0).pixels)
    assert not few.pixels.equal(images.labelled(100, seed=1).pixels)
    assert not few.pixels.equal(images[:100].pixels)
    assert len(few.pixels.unique(dim=0)) == 100


@pytest.mark.parametrize(
    "call",
    [
        lambda: Images(GREY, binarisation="static"),
        lambda: Images(GREY, binarisation="dynamic").tensors(),
        lambda: digits("test").labelled(50),
        lambda: colour_digits("test", n=20),
    ],
)
def test_global_random_state_is_untouched(call):
    before = torch.get_rng_state()
    call()
    assert torch.get_rng_state().equal(before)


# Semi-supervised batches


def test_semi_supervised_takes_all_labelled_images_each_time():
    unlabelled, labelled = numbered(25), numbered(6)
    batches = semi_supervised(unlabelled, labelled, batch_size=10)
    assert len(batches) == 3
    assert batches.labelled_fraction == 6 / 31
    for _ in range(2):  # it can be iterated again
        steps = list(batches)
        assert [len(x) for x, _, _ in steps] == [10, 10, 5]
        seen = torch.cat([x for x, _, _ in steps]).flatten() * 255
        assert seen.round().sort().values.tolist() == list(range(25))
        for _, x, y in steps:
            assert y.sort().values.tolist() == list(range(6))
            torch.testing.assert_close(x.flatten() * 255, y.float())


def test_semi_supervised_goes_round_many_labelled_images():
    batches = semi_supervised(numbered(60), numbered(20), batch_size=10)
    labels = [y for _, _, y in batches]
    assert [len(y) for y in labels] == [10] * 6
    rounds = [torch.cat(labels[i : i + 2]) for i in (0, 2, 4)]
    assert all(y.sort().values.tolist() == list(range(20)) for y in rounds)
    assert not rounds[0].equal(rounds[1])
    smaller = semi_supervised(numbered(60), numbered(20), batch_size=10, labelled_batch_size=4)
    assert {len(y) for _, _, y in smaller} == {4}
    assert "batches of 4" in repr(smaller)


# Built-in digits


# Downloads


# Imports


# Colour digits


# Bad input


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Images(ROW, binarisation="soft"), ValueError, "dynamic, static, threshold, none"),
        (lambda: Images(ROW.float(), binarisation="none"), TypeError, "uint8.*got torch.float32"),
        (lambda: Images(ROW.tolist(), binarisation="none"), TypeError, "got a list.*np.stack"),
        (lambda: Images(ROW[0], binarisation="none"), ValueError, r"\(N, C, H, W\).*unsqueeze"),
        (lambda: Images(ROW[:0], binarisation="none"), ValueError, "at least one image"),
        (lambda: blank(2)[2:], ValueError, "at least one image"),
        (lambda: blank(2).batches(0), ValueError, "batch_size must be at least 1, got 0"),
        (lambda: blank(2).batches(3, drop_last=True), ValueError, "make batch_size smaller"),
        (lambda: blank(2).labelled(2), ValueError, "has no labels"),
        (lambda: numbered(3).labelled(4), ValueError, "multiple of the 3 classes, got 4"),
        (lambda: numbered(3).labelled(0), ValueError, "multiple of the 3 classes, got 0"),
        (lambda: numbered(3).labelled(6), ValueError, "2 images of each class.*at most n=3"),
        (lambda: semi_supervised(blank(2), blank(2)), ValueError, "need labels"),
        (lambda: semi_supervised(blank(2), numbered(2)), ValueError, "one shape"),
        (
            lambda: semi_supervised(numbered(2), numbered(2), batch_size=0),
            ValueError,
            "batch_size must be at least 1, got 0",
        ),
        (
            lambda: semi_supervised(numbered(2), numbered(2), labelled_batch_size=3),
            ValueError,
            "between 1 and the 2 labelled images, got 3",
        ),
        (lambda: digits("valid"), ValueError, "'train' or 'test', got 'valid'"),
        (lambda: mnist("valid"), ValueError, "'train' or 'test', got 'valid'"),
        (lambda: mnist(binarisation="soft"), ValueError, "dynamic, static, threshold, none"),
        (lambda: svhn("valid"), ValueError, "'train', 'test' or 'extra', got 'valid'"),
        (lambda: svhn(file="absent.mat"), FileNotFoundError, "absent.mat is not there"),
        (lambda: svhn(file=__file__), ValueError, r"test_data.py is not a .mat file with X and y"),
        (lambda: colour_digits("valid"), ValueError, "'train' or 'test', got 'valid'"),
        (lambda: colour_digits(n=0), ValueError, "n must be at least 1, got 0"),
    ],
)
def test_bad_input_is_explained(call, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        call()
