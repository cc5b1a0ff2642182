"""Figures: what is drawn and where, what is written beside it, and what is refused."""

from __future__ import annotations

import copy
import itertools
import math
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from torch import nn
from zoo import refused

from vaezoo import models, plots
from vaezoo.likelihoods import Bernoulli

HIDDEN = (16, 16)
GREY, COLOUR = (1, 8, 8), (3, 8, 8)
HISTORY = {
    "step": [100, 200, 300],
    "seconds": [1.0, 2.0, 3.0],
    "loss": [30.0, 21.0, 20.0],
    "bound": [-30.0, -21.0, -20.0],
    "rec": [-28.0, -18.0, -16.0],
    "kl": [2.0, 3.0, 4.0],
    "log_qy": [-2.0, -1.5, -1.0],
    "validation_loss": [31.0, 23.0, 22.0],
    "validation_bound": [-31.0, -23.0, -22.0],
}


def vae(z_dim: int = 3, x_shape: tuple[int, ...] = GREY) -> models.VAE:
    return models.VAE(x_shape, z_dim, hidden=HIDDEN)


def ssvae() -> models.SSVAE:
    return models.SSVAE(GREY, 3, classes=4, hidden=HIDDEN)


def fsvae() -> models.FSVAE:
    return models.FSVAE(COLOUR, 3, classes=4, hidden=HIDDEN)


def batch(x_shape: tuple[int, ...] = GREY, n: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(n, *x_shape).round(), torch.arange(n) % 4


def array(figure: Figure) -> torch.Tensor:
    return torch.as_tensor(figure.axes[0].images[0].get_array().data)


def cell(figure: Figure, row: int, column: int, size: int = 8) -> torch.Tensor:
    """The image (C, size, size) at a place in a mosaic whose gaps are one pixel."""
    top, left = row * (size + 1), column * (size + 1)
    pixels = array(figure)[top : top + size, left : left + size]
    return pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)


def texts(labels) -> list[str]:
    return [label.get_text() for label in labels]


# image_grid


@pytest.mark.parametrize("channels", [1, 3])
def test_mosaic_holds_every_image_in_reading_order_on_white(channels):
    images = torch.rand(5, channels, 8, 8)
    figure = plots.image_grid(images, columns=3)
    assert array(figure).shape[:2] == (17, 26)
    for k in range(5):
        assert cell(figure, *divmod(k, 3)).equal(images[k])
    assert (cell(figure, 1, 2) == 1).all()
    assert (array(figure)[8] == 1).all()
    assert (array(figure)[:, 8] == 1).all()


def test_values_are_clipped_and_grey_runs_from_black_to_white():
    figure = plots.image_grid(torch.tensor([-2.0, 0.25, 7.0]).reshape(3, 1, 1, 1), rows=1)
    image = figure.axes[0].images[0]
    assert array(figure).tolist() == [[0, 1, 0.25, 1, 1]]
    assert image.cmap(image.norm(0.0)) == (0, 0, 0, 1)
    assert image.cmap(image.norm(1.0)) == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("n", "grid", "shape"),
    [
        (7, {}, (8, 62)),
        (10, {}, (17, 44)),
        (26, {}, (44, 53)),
        (30, {}, (44, 53)),
        (7, {"rows": 1}, (8, 62)),
        (7, {"columns": 2}, (35, 17)),
        (7, {"rows": 2, "columns": 5}, (17, 44)),
        (1, {}, (8, 8)),
    ],
)
def test_layout(n, grid, shape):
    assert array(plots.image_grid(torch.zeros(n, *GREY), **grid)).shape == shape


def test_labels_stand_at_the_middle_of_their_rows_and_columns():
    figure = plots.image_grid(
        torch.zeros(6, *GREY), rows=2, title="six", row_labels=(0, "b"), column_labels="xyz"
    )
    axes = figure.axes[0]
    assert axes.get_title() == "six"
    assert texts(axes.get_yticklabels()) == ["0", "b"]
    assert texts(axes.get_xticklabels()) == ["x", "y", "z"]
    # of 17 rows and 26 columns of pixels, the first of which is centred at 0
    assert axes.get_yticks().tolist() == pytest.approx([3.75, 12.25])
    assert axes.get_xticks().tolist() == pytest.approx([23 / 6, 12.5, 127 / 6])


@pytest.mark.parametrize(
    ("x_shape", "n", "scale"),
    [((1, 28, 28), 64, 2), ((1, 28, 28), 1, 6), ((3, 32, 20), 100, 2), ((1, 28, 28), 1600, None)],
)
def test_a_pixel_is_a_square_of_whole_dots_unless_the_grid_is_huge(x_shape, n, scale):
    figure = plots.image_grid(torch.zeros(n, *x_shape), title="wide " * 30)
    inside = figure.axes[0].get_window_extent()
    rows, columns = array(figure).shape[:2]
    assert inside.height / rows == pytest.approx(inside.width / columns)
    if scale is None:
        assert max(inside.width, inside.height) == pytest.approx(1400)
    else:
        assert inside.height / rows == pytest.approx(scale)


@pytest.mark.parametrize("style", [{}, {"axes.grid": True, "font.size": 20}])
def test_no_text_is_cut_off(style):
    from matplotlib import rc_context

    with rc_context(style):
        grid = plots.image_grid(
            torch.zeros(4, *GREY), title="wider than all " * 4, row_labels=["a long label", "b"]
        )
        figures = [grid, plots.style_by_content(fsvae(), columns=3)]
        for figure in figures:
            figure.canvas.draw()
            box = figure.get_tightbbox()
            width, height = figure.get_size_inches()
            assert 0 < box.x0 < box.x1 < width
            assert 0 < box.y0 < box.y1 < height
            lines = [*figure.axes[0].get_xgridlines(), *figure.axes[0].get_ygridlines()]
            assert not any(line.get_visible() for line in lines)


# samples and reconstructions


def test_samples_are_the_means_of_draws_from_the_prior():
    model = vae()
    torch.manual_seed(3)
    figure = plots.samples(model, 5, title="mine")
    torch.manual_seed(3)
    expected = model.sample(5)
    assert figure.axes[0].get_title() == "mine"
    for k in range(5):
        assert cell(figure, 0, k).equal(expected[k])


def test_samples_of_one_class():
    model = ssvae()
    torch.manual_seed(3)
    figure = plots.samples(model, 4, y=2)
    torch.manual_seed(3)
    assert cell(figure, 1, 1).equal(model.sample(4, y=2)[3])


def test_samples_run_through_the_classes_where_labels_are_needed():
    model = fsvae()
    torch.manual_seed(3)
    figure = plots.samples(model, 10)
    torch.manual_seed(3)
    expected = model.sample(10, y=torch.arange(10) % 4).clamp(0, 1)
    assert texts(figure.axes[0].get_xticklabels()) == ["y = 0", "y = 1", "y = 2", "y = 3"]
    for k in range(10):
        assert cell(figure, *divmod(k, 4)).equal(expected[k])
    assert len(texts(plots.samples(model, 3).axes[0].get_xticklabels())) == 3


@pytest.mark.parametrize(
    ("make", "labelled"), [(vae, True), (ssvae, True), (ssvae, False), (fsvae, True)]
)
def test_reconstructions_stand_below_their_originals(make, labelled):
    model = make()
    x, y = batch(model.x_shape)
    figure = plots.reconstructions(model, x, y if labelled else None, n=3)
    expected = model.reconstruct(*(x, y) if model.classes and labelled else (x,)).clamp(0, 1)
    assert texts(figure.axes[0].get_yticklabels()) == ["data", "E[x|z]"]
    assert array(figure).shape[:2] == (17, 26)
    for k in range(3):
        assert cell(figure, 0, k).equal(x[k])
        assert cell(figure, 1, k).allclose(expected[k], atol=1e-6)


def test_fewer_images_than_asked_for():
    assert array(plots.reconstructions(vae(), batch(n=2)[0])).shape == (17, 17)


# latent_scatter


def shown(figure: Figure) -> tuple[torch.Tensor, list[tuple[float, ...]]]:
    (dots,) = (c for c in figure.axes[0].collections if isinstance(c, PathCollection))
    colours = [tuple(colour[:3]) for colour in dots.get_facecolors().tolist()]
    return torch.as_tensor(dots.get_offsets().data), colours


def test_two_latents_are_shown_as_they_are_in_the_colours_of_the_legend():
    model, (x, y) = vae(2), batch()
    figure = plots.latent_scatter(model, x, y)
    points, colours = shown(figure)
    legend = figure.axes[0].get_legend()
    assert texts(legend.get_texts()) == ["0", "1", "2", "3"]
    assert legend.get_title().get_text() == "class"
    key = {to_rgb(line.get_color()): k for k, line in enumerate(legend.get_lines())}
    found = sorted((*p, key[c]) for p, c in zip(points.tolist(), colours, strict=True))
    wanted = sorted((*p, k) for p, k in zip(model.encode(x).tolist(), y.tolist(), strict=True))
    assert found == [pytest.approx(row) for row in wanted]
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("z₁", "z₂")
    assert figure.axes[0].get_aspect() == 1


def test_more_latents_are_shown_by_their_principal_components(monkeypatch):
    # variance 8 along one diagonal of the codes and 2 along the other, none elsewhere
    a, b = torch.tensor([1.0, 1, 0, 0]) / 2**0.5, torch.tensor([0.0, 0, 1, -1]) / 2**0.5
    codes = torch.stack([4 * a, -4 * a, 2 * b, -2 * b]) + 7
    model = vae(4)
    monkeypatch.setattr(model, "encode", lambda *batch: codes)
    figure = plots.latent_scatter(model, *batch(n=4))
    points, _ = shown(figure)
    assert figure.axes[0].get_xlabel() == "principal component 1 (80% of variance)"
    assert figure.axes[0].get_ylabel() == "principal component 2 (20% of variance)"
    found = sorted(points.abs().round(decimals=4).tolist())
    assert found == [[0, 2], [0, 2], [4, 0], [4, 0]]


def test_collapsed_codes_are_shown_in_one_place(monkeypatch):
    model = vae(4)
    monkeypatch.setattr(model, "encode", lambda *batch: torch.ones(4, 4))
    figure = plots.latent_scatter(model, *batch(n=4))
    assert (shown(figure)[0] == 0).all()
    assert figure.axes[0].get_xlabel() == "principal component 1 (0% of variance)"


def test_one_latent_is_shown_against_the_class():
    model, (x, y) = vae(1), batch()
    figure = plots.latent_scatter(model, x, y)
    points, _ = shown(figure)
    assert sorted(points[:, 1].round().tolist()) == sorted(y.tolist())
    assert points[:, 0].sort().values.allclose(model.encode(x)[:, 0].double().sort().values)
    assert figure.axes[0].get_xlabel() == "z"


def test_labelled_members_encode_with_the_labels():
    model, (x, y) = models.SSVAE(GREY, 2, classes=4, hidden=HIDDEN), batch()
    points, _ = shown(plots.latent_scatter(model, x, y))
    expected = model.encode(x, y).double()
    assert points[points[:, 0].argsort()].allclose(expected[expected[:, 0].argsort()])


# training_curves


def test_curves_are_the_history():
    figure = plots.training_curves(HISTORY)
    assert [axes.get_title() for axes in figure.axes] == ["bound", "rec", "kl", "log_qy"]
    for axes in figure.axes:
        line = axes.lines[0]
        assert list(line.get_xdata()) == HISTORY["step"]
        assert list(line.get_ydata()) == HISTORY[axes.get_title()]
        assert axes.get_xlabel() == "step"
        assert re.search("nats per (labelled )?image$", axes.get_ylabel())
    assert figure.axes[1].get_ylabel().startswith("E[log p(x|z)]")
    training, validation = figure.axes[0].lines
    assert list(validation.get_ydata()) == HISTORY["validation_bound"]
    assert (training.get_linestyle(), validation.get_linestyle()) == ("-", "--")
    assert texts(figure.legends[0].get_texts()) == ["training", "validation"]
    alone = plots.training_curves({k: v for k, v in HISTORY.items() if "validation" not in k})
    assert not alone.legends


@pytest.mark.parametrize(
    ("bound", "low", "high", "inset"),
    [
        ([-1e6] * 5 + [*range(-120, -99)], -1e6, -99, (-119.95, -99.05)),
        ([-140, *range(-120, -99)], -140, -100, None),
        ([-100, -100], -101, -99, None),
        ([-7], -8, -6, None),
        ([float("nan"), -7, -7], -8, -6, None),
        ([float("nan")], -1, 1, None),
    ],
)
def test_all_of_a_curve_is_shown_and_its_end_again(bound, low, high, inset):
    history = {"step": list(range(len(bound))), "bound": bound, "validation_bound": bound}
    axes = plots.training_curves(history).axes[0]
    margin = 0.05 * (max(bound) - min(bound)) if max(bound) > min(bound) else 0
    shown = axes.get_ylim()
    assert shown[0] == pytest.approx(low - margin, abs=2)
    assert shown[1] == pytest.approx(high + margin, rel=0.01)
    assert [list(line.get_xdata()) for line in axes.lines] == [history["step"]] * 2
    assert len(axes.child_axes) == (inset is not None)
    for small in axes.child_axes:
        late = math.ceil(0.2 * len(bound))
        assert [list(line.get_ydata()) for line in small.lines] == [bound[late:]] * 2
        assert small.get_ylim() == pytest.approx(inset)
        assert small.get_xlim()[0] > axes.get_xlim()[0]


def test_a_single_record_is_visible():
    line = plots.training_curves({"step": [100], "bound": [-7.0]}).axes[0].lines[0]
    assert line.get_marker() == "."


# style_by_content


@pytest.mark.parametrize("make", [ssvae, fsvae])
def test_rows_are_classes_and_columns_share_a_code(make):
    model, z = make(), torch.randn(5, 3)
    figure = plots.style_by_content(model, z=z)
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("style z", "content y")
    assert texts(axes.get_yticklabels()) == ["0", "1", "2", "3"]
    assert array(figure).shape[:2] == (35, 44)
    for y, k in itertools.product(range(4), range(5)):
        expected = model.sample(y=y, z=z[k : k + 1])[0].clamp(0, 1)
        assert cell(figure, y, k).allclose(expected, atol=1e-6)


@pytest.mark.parametrize("make", [np.array, np.float64, torch.Tensor, list])
def test_codes_of_any_kind(make):
    model, z = fsvae(), [[1, -1, 2], [0, 1, 0]]
    expected = plots.style_by_content(model, z=torch.tensor(z, dtype=torch.float32))
    assert array(plots.style_by_content(model, z=make(z))).equal(array(expected))


class Column:
    """A column of a table: no list, and without a truth value."""

    def __init__(self, values):
        self.values = np.array(values)

    def __len__(self):
        return len(self.values)

    def __array__(self, dtype=None, copy=None):
        return self.values.astype(dtype)

    def __bool__(self):
        raise ValueError("ambiguous")


@pytest.mark.parametrize("make", [np.array, torch.tensor, Column])
def test_curves_of_any_kind(make):
    history = {"step": [1, 2], "bound": [-9.3, -8.1], "validation_bound": [-9.5, math.nan]}
    lines = plots.training_curves({k: make(v) for k, v in history.items()}).axes[0].lines
    for line, name in zip(lines, ("bound", "validation_bound"), strict=True):
        assert np.array_equal(line.get_xdata(), [1, 2])
        assert line.get_ydata() == pytest.approx(history[name], rel=1e-6, nan_ok=True)


def test_grids_of_arrays():
    images = torch.rand(4, *GREY)
    assert array(plots.image_grid(images.numpy())).equal(array(plots.image_grid(images)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_members_in_short_floats_are_drawn(dtype):
    """As those in float32 are, to the precision of the dtype."""
    model = vae(2)
    expected = array(plots.manifold(model, n=3))
    assert array(plots.manifold(copy.deepcopy(model).to(dtype), n=3)) == pytest.approx(
        expected, abs=0.02
    )


def test_codes_come_from_the_seed():
    model = fsvae()
    one, again, other = (array(plots.style_by_content(model, columns=2, seed=s)) for s in (1, 1, 2))
    assert one.equal(again)
    assert not one.allclose(other)


# all functions


def film() -> Figure:
    made = plots.LatentFilm(vae(), *batch())
    made({"step": 10})
    return made.figure()


R = torch.eye(4).repeat(3, 1)
FIGURES = {
    "image_grid": lambda: plots.image_grid(torch.rand(5, *GREY)),
    "image_grid, colour": lambda: plots.image_grid(torch.rand(5, *COLOUR)),
    "samples": lambda: plots.samples(vae()),
    "samples, colour": lambda: plots.samples(fsvae()),
    "reconstructions": lambda: plots.reconstructions(ssvae(), *batch()),
    "reconstructions, colour": lambda: plots.reconstructions(fsvae(), *batch(COLOUR)),
    "latent_scatter": lambda: plots.latent_scatter(vae(), *batch()),
    "latent_scatter, colour": lambda: plots.latent_scatter(fsvae(), *batch(COLOUR)),
    "latent_scatter, score": lambda: plots.latent_scatter(vae(2), batch()[0], colour=range(12)),
    "training_curves": lambda: plots.training_curves(HISTORY),
    "style_by_content": lambda: plots.style_by_content(ssvae()),
    "style_by_content, colour": lambda: plots.style_by_content(fsvae()),
    "manifold": lambda: plots.manifold(fsvae(), y=1, dims=(0, 2), n=4),
    "traversals": lambda: plots.traversals(ssvae(), *batch(), kl=[0.1, 0.2, 0.3]),
    "interpolations": lambda: plots.interpolations(vae(), *batch()[0].split(6)),
    "kl_per_unit": lambda: plots.kl_per_unit([0.1, 0.0, 2.0]),
    "bound_against_k": lambda: plots.bound_against_k({1: 9.0, 10: 8.0}),
    "rate_distortion": lambda: plots.rate_distortion({"a": (1.0, 2.0), "b": (2.0, 1.5)}),
    "confusion": lambda: plots.confusion([0, 1, 2], [0, 1, 1]),
    "reliability": lambda: plots.reliability([0, 1], [[0.9, 0.1], [0.4, 0.6]]),
    "responsibilities": lambda: plots.responsibilities(R, batch()[1]),
    "components": lambda: plots.components(mixed(), R),
    "before_after": lambda: plots.before_after(vae(), mixed(), *batch(), n=7, title="paired"),
    "LatentFilm": film,
}


def mixed() -> models.VAE:
    return models.GMVAE(GREY, 3, k=4, hidden=HIDDEN)


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_saves_as_png(draw, tmp_path):
    figure = draw()
    figure.savefig(tmp_path / "figure.png")
    header = (tmp_path / "figure.png").read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    size = [int.from_bytes(header[k : k + 4]) for k in (16, 20)]
    assert size == pytest.approx((100 * figure.get_size_inches()).tolist(), abs=1)


@pytest.mark.parametrize(
    "draw",
    [
        lambda model, x, y: plots.latent_scatter(model, x, y),
        lambda model, x, y: plots.style_by_content(model),
        lambda model, x, y: plots.reconstructions(model, x, y),
        lambda model, x, y: plots.image_grid(x),
    ],
)
def test_the_global_generator_is_left_alone(draw):
    model = fsvae()
    x, y = batch(COLOUR)
    before = torch.get_rng_state()
    draw(model, x, y)
    assert torch.get_rng_state().equal(before)


class Dropping(nn.Module):
    """A decoder with dropout, one layer of which is kept in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 64).eval()
        self.dropout = nn.Dropout()

    def forward(self, z: torch.Tensor, y: None = None) -> torch.Tensor:
        return self.dropout(self.layer(z)).unflatten(-1, GREY)


def test_members_are_drawn_from_in_evaluation_mode_and_left_as_they_were():
    likelihood = Bernoulli(3, GREY, network=Dropping())
    model = models.VAE(GREY, 3, hidden=HIDDEN, likelihood=likelihood)
    model.likelihood.network.layer.eval()
    before = [module.training for module in model.modules()]
    assert len(set(before)) == 2
    x, _ = batch()
    figure = plots.reconstructions(model, x, n=1)
    assert [module.training for module in model.modules()] == before
    expected = model.eval().reconstruct(x[:1])[0]
    assert cell(figure, 1, 0).allclose(expected, atol=1e-6)


def test_matplotlib_is_imported_on_demand_and_pyplot_never():
    program = (
        "import sys, vaezoo; print('matplotlib' in sys.modules); "
        "film = vaezoo.plots.LatentFilm(vaezoo.models.VAE((4,), 2), [[1.0] * 4] * 3); "
        "film.figure()._repr_png_(); print('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).split() == (
        ["False", "False"]
    )


X, Y = torch.zeros(4, *GREY), torch.arange(4)


test_bad_input_is_refused = refused(
    [
        (lambda: plots.image_grid([X]), TypeError, r"floating-point tensor .* got list"),
        (lambda: plots.image_grid(X.byte()), TypeError, r"got torch.uint8 .* x / 255"),
        (lambda: plots.image_grid(X[0]), ValueError, r"\(N, C, H, W\).*\(1, 8, 8\).*unsqueeze"),
        (lambda: plots.image_grid(torch.zeros(1, 2, 8, 8)), ValueError, r"C being 1 .* or 3"),
        (lambda: plots.image_grid(X[:0]), ValueError, r"N at least 1, got .*\(0, 1, 8, 8\)"),
        (lambda: plots.image_grid(X / 0), ValueError, "hold NaNs"),
        (
            lambda: plots.image_grid(X, rows=1, columns=3),
            ValueError,
            "4 images do not fit in 1 row",
        ),
        (lambda: plots.image_grid(X, rows=0), ValueError, "do not fit in 0 rows"),
        (lambda: plots.image_grid(X, columns=-1), ValueError, "columns must be at least 0, got -1"),
        (lambda: plots.image_grid(X, rows=1.5), ValueError, "rows must be a whole number, got 1.5"),
        (lambda: plots.image_grid(X, row_labels="abc"), ValueError, "row_labels must be 2.*got 3"),
        (lambda: plots.image_grid(X, column_labels="a"), ValueError, "column_labels must be 2"),
        (lambda: plots.samples(vae(), 0), ValueError, "n must be at least 1, got 0"),
        (lambda: plots.samples(vae(), y=1), ValueError, "VAE has no labels"),
        (lambda: plots.samples(fsvae(), y=Y), ValueError, r"n=64 labels, got 4 .*n=len\(y\)"),
        (lambda: plots.samples(fsvae(), y=4), ValueError, r"labels must lie in 0\.\.3"),
        (lambda: plots.samples(vae(x_shape=(64,))), ValueError, r"got .* of shape \(64, 64\)"),
        (lambda: plots.reconstructions(vae(), X, n=0), ValueError, "n must be at least 1"),
        (lambda: plots.reconstructions(vae(), X[..., 1:]), ValueError, "expected images"),
        (lambda: plots.reconstructions(vae(), X + 0.5), ValueError, "binarisation='dynamic'"),
        (lambda: plots.reconstructions(fsvae(), X), ValueError, r"is given labels: pass y.*\(4,\)"),
        (lambda: plots.reconstructions(fsvae(), X, Y[1:]), ValueError, r"y \(4,\), got \(3,"),
        (lambda: plots.latent_scatter(vae(), X[:1], Y[:1]), ValueError, "at least two images"),
        (
            lambda: plots.latent_scatter(vae(), X, Y + 97),
            ValueError,
            r"0 to 99, .* to 100.*y < 100",
        ),
        (
            lambda: plots.latent_scatter(vae(), X, colour=Y[:2]),
            ValueError,
            r"4 finite numbers .*\(2,",
        ),
        (lambda: plots.latent_scatter(vae(), X, colour=Y / 0), ValueError, "finite numbers"),
        (
            lambda: plots.latent_scatter(vae(), X, dims=(0, 3)),
            ValueError,
            r"dims .* 0\.\.2.*\(0, 3\)",
        ),
        (lambda: plots.latent_scatter(vae(), X, dims=(1, 1)), ValueError, "two different units"),
        (lambda: plots.latent_scatter(vae(), X, dims=1), ValueError, "two different units"),
        (
            lambda: plots.latent_scatter(vae(), X, dims="ab"),
            TypeError,
            "dims must be a whole number",
        ),
        (lambda: plots.latent_scatter(fsvae(), X), ValueError, "FSVAE is given labels: pass y"),
        (lambda: plots.latent_scatter(vae(), X, Y - 1), ValueError, "from -1 to 2"),
        (lambda: plots.latent_scatter(vae(), X, Y[1:]), ValueError, r"got \(3,\)"),
        (lambda: plots.latent_scatter(vae(), X, Y / 2), ValueError, "of torch.float32"),
        (lambda: plots.training_curves({}), ValueError, "as training.fit returns it, got nothing"),
        (lambda: plots.training_curves({"step": [], "bound": []}), ValueError, "got 0 of step"),
        (lambda: plots.training_curves({"step": [1], "loss": [1]}), ValueError, "1 of loss"),
        (
            lambda: plots.training_curves({"step": [1, 2], "bound": [1]}),
            ValueError,
            "2 of step, 1 of b",
        ),
        (lambda: plots.training_curves([1]), TypeError, "returns it, got a list"),
        (
            lambda: plots.training_curves({"step": 1, "bound": 2}),
            ValueError,
            r"\['step'\] .* got 1",
        ),
        (
            lambda: plots.training_curves({"step": ["a"], "bound": [1]}),
            ValueError,
            "list of numbers",
        ),
        (
            lambda: plots.style_by_content(fsvae(), z=[]),
            ValueError,
            r"codes \(columns, 3\), got .*\(0,",
        ),
        (lambda: plots.style_by_content(fsvae(), z=[[math.nan] * 3]), ValueError, "z hold NaNs"),
        (lambda: plots.samples(fsvae(), y=math.nan), ValueError, "integer classes"),
        (lambda: plots.style_by_content(vae()), ValueError, "VAE has no labels .* plots.samples"),
        (
            lambda: plots.style_by_content(fsvae(), columns=0),
            ValueError,
            "columns must be at least",
        ),
        (lambda: plots.style_by_content(fsvae(), z=torch.zeros(3)), ValueError, r"\(columns, 3\)"),
    ]
)
