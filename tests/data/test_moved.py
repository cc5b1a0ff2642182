"""`Moved` and `Moves`: what is moved where, by exact pictures; what stays; bad input."""

import math

import pytest
import torch

from vaezoo.data import Images, Moved, Moves, digits, semi_supervised, sprites

STILL = {"degrees": 0, "shear": 0, "scale": 0, "shift": 0}


def picture(height=9, width=9, at=((4, 4),), n=1):
    pixels = torch.zeros(n, 1, height, width, dtype=torch.uint8)
    for row, column in at:
        pixels[..., row, column] = 255
    return Images(pixels, binarisation="none")


def fixed(monkeypatch, *draws):
    """Let the five draws (turn, shear, scale, right, down), in [-1, 1], be these."""
    values = (torch.tensor(draws).unsqueeze(1) + 1) / 2
    monkeypatch.setattr(torch, "rand", lambda *_, **__: values)


def lit(images):
    return [tuple(place) for place in (images.tensors()[0][0, 0] > 0.5).nonzero().tolist()]


@pytest.mark.parametrize(("height", "width"), [(9, 9), (9, 15)])
def test_a_shift_is_in_pixels(monkeypatch, height, width):
    fixed(monkeypatch, 0.0, 0.0, 0.0, 1.0, -0.5)
    moved = Moved(picture(height, width), **STILL | {"shift": 2})
    assert lit(moved) == [(5, 2)]


@pytest.mark.parametrize(("height", "width", "middle"), [(9, 9, 4), (9, 15, 7)])
def test_a_quarter_turn(monkeypatch, height, width, middle):
    """What is three places to the right of the middle goes three above it."""
    fixed(monkeypatch, 1.0, 0.0, 0.0, 0.0, 0.0)
    images = picture(height, width, at=[(4, middle + 3)])
    assert lit(Moved(images, **STILL | {"degrees": 90})) == [(1, middle)]


def test_a_shear_moves_rows_by_their_distance(monkeypatch):
    fixed(monkeypatch, 0.0, 1.0, 0.0, 0.0, 0.0)
    images = picture(9, 15, at=[(row, 7) for row in range(9)])
    moved = Moved(images, **STILL | {"shear": 1})
    assert lit(moved) == [(row, 7 - (row - 4)) for row in range(9)]


def test_a_scale_makes_larger(monkeypatch):
    fixed(monkeypatch, 0.0, 0.0, 1.0, 0.0, 0.0)
    moved = Moved(picture(at=[(4, 4), (4, 6)]), **STILL | {"scale": 0.5})
    x = moved.tensors()[0][0, 0]
    assert x[4, 7].item() == pytest.approx(1, abs=0.01)
    assert x[4, 6].item() == pytest.approx(1 / 3, abs=0.01)  # 4/3 from the middle before


def test_still_ones_are_as_they_were():
    images = digits("test", binarisation="none")[:50]
    assert Moved(images, **STILL).tensors()[0].equal(images.tensors()[0])


def test_draws_are_afresh_and_follow_seeds():
    moved = Moved(digits("test")[:20])
    torch.manual_seed(0)
    first = [next(moved.batches(20, shuffle=False))[0] for _ in range(2)]
    torch.manual_seed(0)
    again = next(moved.batches(20, shuffle=False))[0]
    assert first[0].equal(again)
    assert not first[0].equal(first[1])
    state = torch.get_rng_state()
    assert moved.tensors(seed=3)[0].equal(moved.tensors(seed=3)[0])
    assert torch.get_rng_state().equal(state)


def test_amounts_are_uniform():
    """The mass of a dot moves by as much as was drawn: variance of U(-a, a) is a²/3, n = 4,000.

    z-scores below 4 of the mean (standard error a / √(3n)) and of the variance (√(4/45) a² / √n).
    """
    n, a = 4000, 3.0
    moved = Moved(picture(n=n), **STILL | {"shift": a})
    x = moved.tensors()[0][:, 0].double()
    columns = torch.arange(9) - 4.0
    places = (x.sum(1) * columns).sum(-1) / x.sum((1, 2))
    assert abs(places.mean()) < 4 * a / math.sqrt(3 * n)
    assert abs(places.var() - a**2 / 3) < 4 * a**2 * math.sqrt(4 / 45 / n)


def pulls(n=4000, height=28, width=36, **amounts):
    """How far off the colour of each place came from, in pixels: across and along, (2, n, H, W).

    Between places whose grey levels rise evenly, interpolation adds what was pulled, exactly.
    """
    levels = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")[::-1]
    even = torch.stack(levels).double().expand(n, 2, height, width)
    moved = Moves(**STILL | amounts)(even, torch.Generator().manual_seed(0))
    return (moved - even).transpose(0, 1)


@pytest.mark.parametrize(("elastic", "smoothness"), [(0.5, 4.0), (1.0, 3.0)])
def test_bends_are_smooth_and_gaussian(elastic, smoothness):
    """Of each place N(0, e²), at a distance d correlated by exp(-d²/4s²), across and along apart.

    z-scores below 4.5 with n = 4,000: of a variance e²√(2/n), of a correlation at most 1/√n; bumps
    that are a width apart are that stationary to 0.0002.
    """
    n = 4000
    found = pulls(n, elastic=elastic, smoothness=smoothness) / elastic
    places = [(6, 6), (12, 16), (17, 26)]  # further than 4.5 e from the edge
    for row, column in places:
        here, near, below = (found[..., row + d, column + e] for d, e in ((0, 0), (0, 3), (4, 0)))
        assert (here.square().mean(-1) - 1).abs().max() < 4.5 * math.sqrt(2 / n)
        for other, d in ((near, 3), (below, 4)):
            expected = math.exp(-(d**2) / 4 / smoothness**2)
            assert ((here * other).mean(-1) - expected).abs().max() < 4.5 * math.sqrt(2 / n)
        assert abs((here[0] * here[1]).mean()) < 4.5 / math.sqrt(n)
        assert abs(here.pow(4).mean() - 3) < 4.5 * math.sqrt(96 / n)


def test_bends_draw_nothing_where_there_are_none():
    x = torch.rand(5, 1, 12, 9)
    still, bent = Moves(), Moves(elastic=0.1)
    left = []
    for move in (still, Moves(elastic=0, smoothness=2), bent):
        generator = torch.Generator().manual_seed(3)
        left.append((move(x, generator), torch.rand(2, generator=generator)))
    assert left[0][0].equal(left[1][0])
    assert left[0][1].equal(left[1][1])
    assert 0 < (left[0][0] - left[2][0]).abs().max() < 1
    assert not left[0][1].equal(left[2][1])
    assert repr(still) == "Moves(degrees=15, shear=0.2, scale=0.1, shift=2)"
    assert repr(bent) == f"{repr(still)[:-1]}, elastic=0.1, smoothness=4)"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [28, 256])
def test_places_are_exact_in_any_dtype(dtype, size):
    """Of half precision, inside an autocast, and by default: as in float32 but for the last digit."""
    x = torch.rand(3, 1, size, size, generator=torch.Generator().manual_seed(0)).to(dtype)
    still, moves = Moves(**STILL), Moves(elastic=1.0)
    assert (still(x) - x).abs().max() <= torch.finfo(dtype).eps
    wide = moves(x.float(), torch.Generator().manual_seed(1))
    assert moves(x, torch.Generator().manual_seed(1)).equal(wide.to(dtype))
    with torch.autocast("cpu", dtype):
        assert moves(x.float(), torch.Generator().manual_seed(1)).equal(wide)
    images = Images((255 * x.float()).byte(), binarisation="none")
    expected = Moved(images).grey_levels(slice(None), torch.Generator().manual_seed(1))
    torch.set_default_dtype(dtype)
    try:
        found = Moved(images).grey_levels(slice(None), torch.Generator().manual_seed(1))
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.equal(expected)


def test_pulls_of_places_that_are_on_their_own_take_no_more_memory():
    """Below a fifth of a pixel places are pulled apart, by as much."""
    found = pulls(200, elastic=1.0, smoothness=1e-3)[..., 6:-6, 6:-6]
    assert found.square().mean().item() == pytest.approx(1, abs=0.05)
    assert abs((found[..., 1:] * found[..., :-1]).mean()) < 0.05


def test_what_is_assigned_is_kept():
    """New labels and new pixels, in part, elsewhere, chosen by label, and for both kinds of batch."""
    images = digits("test", binarisation="none")[:200]
    moved, before = Moved(images, **STILL), images.labels.clone()
    moved.labels = 9 - moved.labels
    for few in (moved[:50], moved.to("cpu")[:50], moved[torch.arange(50)]):
        assert few.labels.tolist() == (9 - before[:50]).tolist()
    chosen = moved.labelled(20)
    assert chosen.labels.bincount().tolist() == [2] * 10
    moved.labels = None
    assert moved.to("cpu").labels is None
    moved.pixels = 255 - moved.pixels
    assert torch.allclose(moved.tensors()[0], 1 - images.tensors()[0], atol=1e-6)
    assert images.labels.equal(before)
    moved.labels = torch.where(torch.arange(200) < 30, before, -1)
    both = semi_supervised(moved)
    assert both.unlabelled.to("cpu").labels is None
    assert both.labelled.labels.tolist() == before[:30].tolist()


def test_they_remain_images():
    moved = Moved(digits("test"), shift=1, elastic=0.5, smoothness=3).to("cpu").labelled(20)
    assert isinstance(moved, Moved)
    assert (moved.moves.elastic, moved.moves.smoothness) == (0.5, 3.0)
    assert (moved.moves.shift, len(moved), moved.labels.bincount().tolist()) == (1.0, 20, [2] * 10)
    x, x_labelled, y = next(iter(semi_supervised(digits("test"), moved, batch_size=50)))
    assert (len(x), len(x_labelled), len(y)) == (50, 20, 20)
    assert x_labelled.unique().tolist() == [0.0, 1.0]
    assert moved[3][0].shape == (1, 28, 28)


class Negative(Images):
    """A set of one's own that changes its pictures."""

    def grey_levels(self, index, generator):
        return 255 - super().grey_levels(index, generator)


def test_images_that_change_already_are_moved_on(monkeypatch):
    """Moved twice, or of a class of one's own; in part, and one at a time too."""
    fixed(monkeypatch, 0.0, 0.0, 0.0, 1.0, -0.5)
    twice = Moved(Moved(picture(), **STILL | {"shift": 2}), **STILL | {"shift": 2})
    for images in (twice, twice[:1], twice.to("cpu")):
        assert lit(images) == [(6, 0)]
    negative = Negative(picture().pixels, binarisation="none")
    assert Moved(negative, **STILL).tensors()[0].equal(negative.tensors()[0])


def test_factors_stay_aligned():
    """Of sprites and coloured digits, as before the move; other images have none."""
    images = sprites("test", n=50)
    rows = torch.tensor([3, 1, 40])
    for moved in (Moved(images), Moved(Moved(images))):
        assert moved[rows].factors.keys() == images.factors.keys()
        for name, factor in images.factors.items():
            assert moved[rows].factors[name].equal(factor[rows])
        assert moved[rows].labels.equal(images.labels[rows])
        assert moved[rows].pixels.equal(images.pixels[rows])
    assert not hasattr(Moved(picture()), "factors")


@pytest.mark.parametrize(
    ("images", "amounts", "error", "message"),
    [
        (torch.zeros(3), {}, TypeError, r"takes data.Images\(pixels, …\), got a Tensor"),
        (digits("test", binarisation="static"), {}, ValueError, "got static ones, drawn once"),
        (digits("test"), {"shift": -1}, ValueError, "shift must be a number of at least 0, got -1"),
        (digits("test"), {"degrees": math.nan}, ValueError, "degrees must be .*, got nan"),
        (digits("test"), {"scale": 1}, ValueError, "at least 0 and below 1, got 1"),
        (digits("test"), {"elastic": -1}, ValueError, "elastic must be .* at least 0, got -1"),
        (digits("test"), {"smoothness": 0}, ValueError, "must be a number above 0, got 0"),
        (digits("test"), {"elastic": "3"}, TypeError, "elastic must be .*, got '3'"),
        (digits("test"), {"elastic": True}, TypeError, "elastic must be .*, got True"),
        (digits("test"), {"shift": math.inf}, ValueError, "shift must be .*, got inf"),
        (digits("test"), {"shear": "a"}, TypeError, "shear must be a number .*, got 'a'"),
    ],
)
def test_bad_input(images, amounts, error, message):
    with pytest.raises(error, match=message):
        Moved(images, **amounts)
