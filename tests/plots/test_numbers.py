"""Numbers as figures: each against what it is of, by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor
from zoo import HIDDEN, X_SHAPE, images, labels, member, refused, widen

from vaezoo import evaluate, models, plots, priors
from vaezoo.diagnostics import component_samples
from vaezoo.evaluation import Estimate
from vaezoo.plots.figures import DPI, styled
from vaezoo.plots.figures import Figure as Ours
from vaezoo.scopes import own_generator

SIDE = X_SHAPE[-1]


def texts(found: Any) -> list[str]:
    return [text.get_text() for text in found]


def cell(figure: Figure, row: int, column: int) -> Tensor:
    """An image (1, 4, 4) of a mosaic whose gaps are one pixel."""
    array = torch.as_tensor(figure.axes[0].images[0].get_array().data)
    top, left = row * (SIDE + 1), column * (SIDE + 1)
    return array[None, top : top + SIDE, left : left + SIDE]


# images at codes


@pytest.mark.parametrize("name", ["VAE", "SSVAE", "FSVAE", "M1M2"])
def test_traversals_of_the_units_that_say_most(name: str) -> None:
    """Rows in the order of their KL, those below 0.01 nats left out; each the member's own."""
    model, x, y = widen(member(name)), images(3), labels(3)
    y = y if model.classes else None
    values = [-1.0, 0.5]
    figure = plots.traversals(model, x, y, kl=torch.tensor([0.2, 0.009, 0.8]), values=values)
    axes = figure.axes[0]
    assert texts(axes.get_yticklabels()) == ["unit 2: 0.80 nats", "unit 0: 0.20 nats"]
    assert texts(axes.get_xticklabels()) == ["-1", "0.5"]
    for row, unit in enumerate((2, 0)):
        expected = model.traverse(x[:1], unit, None if y is None else y[:1], values=values)
        for column in range(2):
            assert torch.allclose(
                cell(figure, row, column), expected[column].clamp(0, 1), atol=1e-6
            )


def test_traversals_of_chosen_units() -> None:
    model, x = widen(member("VAE")), images(1)
    figure = plots.traversals(model, x, units=(1, 0), kl=[0.0, 3.0, 1.0])
    axes = figure.axes[0]
    assert texts(axes.get_yticklabels()) == ["unit 1: 3.00 nats", "unit 0: 0.00 nats"]
    assert texts(axes.get_xticklabels()) == ["-3σ", "-2σ", "-1σ", "mean", "+1σ", "+2σ", "+3σ"]
    assert torch.allclose(cell(figure, 1, 6), model.traverse(x, 0)[6], atol=1e-6)
    plain = plots.traversals(model, x, rows=2).axes[0]
    assert texts(plain.get_yticklabels()) == ["unit 0", "unit 1"]


@pytest.mark.parametrize("name", ["VAE", "FSVAE"])
def test_interpolations_lie_between_their_images(name: str) -> None:
    model, (x1, x2), y = widen(member(name)), images(6).split(3), labels(3)
    given = (y, y.flip(0)) if model.classes else ()
    figure = plots.interpolations(model, x1, x2, *given, steps=4, n=2)
    way = model.interpolate(x1, x2, *given, steps=4).unflatten(0, (3, 4))
    assert texts(figure.axes[0].get_xticklabels()) == ["x₁", "0", "0.33", "0.67", "1", "x₂"]
    for row in range(2):
        assert torch.equal(cell(figure, row, 0), x1[row])
        assert torch.equal(cell(figure, row, 5), x2[row])
        for k in range(4):
            assert torch.allclose(cell(figure, row, k + 1), way[row, k].clamp(0, 1), atol=1e-6)


def test_a_manifold_is_over_quantiles_of_the_prior() -> None:
    """z₁ to the right, z₂ upwards; a Normal of other moments where the prior is another."""
    model = widen(models.VAE(X_SHAPE, 2, hidden=HIDDEN))
    normal = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor([0.25, 0.5, 0.75]))
    for prior, middle, wide in (
        (None, 0.0, 1.0),
        (torch.distributions.Normal(torch.ones(2) * 3, torch.ones(2) * 2), 3.0, 2.0),
    ):
        if prior is not None:
            model.prior = torch.distributions.Independent(prior, 1)
        figure, at = plots.manifold(model, n=3), middle + wide * normal
        for row in range(3):
            for column in range(3):
                z = torch.stack([at[column], at[2 - row]])[None]
                expected = model.likelihood(z).mean[0]
                assert torch.allclose(cell(figure, row, column), expected, atol=1e-5)
    assert figure.axes[0].get_xlabel() == "z₁ from 1.65 to 4.35"


def test_a_manifold_of_two_units_of_a_class() -> None:
    """The third is at its mean under the prior."""
    model = widen(member("SSVAE", prior=priors.StandardNormal(3)))
    figure = plots.manifold(model, y=2, dims=(2, 0), n=3)
    low = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(0.25))
    z = torch.stack([low, torch.tensor(0.0), low])[None]
    expected = model.likelihood(z, torch.tensor([2])).mean[0]
    assert torch.allclose(cell(figure, 2, 0), expected, atol=1e-5)
    assert figure.axes[0].get_ylabel().startswith("z, unit 0 from -0.67")


@pytest.mark.parametrize("name", ["GMVAE", "FSVAE", "SSVAE"])
def test_components_draw_by_the_share_they_have(name: str) -> None:
    model = widen(member(name, prior=priors.MixtureOfGaussians(3, k=4)))
    r = torch.tensor([[0.1, 0.2, 0.6, 0.1], [0.0, 0.5, 0.5, 0.0]])
    figure = plots.components(model, r, rows=2, n=3, seed=5)
    assert texts(figure.axes[0].get_yticklabels()) == ["2: 55 %", "1: 35 %"]
    y = torch.tensor([0, 1, 2, 0, 1, 2]) if name == "FSVAE" else None
    with own_generator(5):
        expected = component_samples(model, [2, 1], 3, y=y)
    for k in range(6):
        assert torch.allclose(cell(figure, *divmod(k, 3)), expected[k].clamp(0, 1), atol=1e-6)
    equal = plots.components(model, y=1 if model.classes else None, n=2).axes[0]
    assert texts(equal.get_yticklabels()) == ["0: 25 %", "1: 25 %", "2: 25 %", "3: 25 %"]


# numbers


def test_bars_of_units_stand_in_order() -> None:
    axes = plots.kl_per_unit(np.array([0.5, 0.0, 2.0, 0.02])).axes[0]
    assert [bar.get_height() for bar in axes.patches] == [2.0, 0.5, 0.02, 0.0]
    assert texts(axes.get_xticklabels()) == ["2", "0", "3", "1"]
    assert axes.get_title() == "3 of 4 units above 0.01 nats, 2.52 in all"
    assert len({bar.get_facecolor() for bar in axes.patches}) == 2
    assert len(plots.kl_per_unit(torch.ones(100)).axes[0].get_xticks()) <= 41


def test_bounds_of_an_evaluation_with_their_errors() -> None:
    """In ascending k whatever the order; a curve for each name."""
    found = evaluate(member("VAE"), [images(9)], particles=(1, 2, 8), progress=False)
    curve = {k: found[f"niwae-{k}"] for k in (8, 1, 2)}
    axes = plots.bound_against_k({"VAE": curve, "other": {1: 90, 4: 80.5}}).axes[0]
    (line, _, (bars,)), (other, *_) = (c.lines for c in axes.containers)
    assert line.get_xdata().tolist() == [1, 2, 8]
    assert line.get_ydata().tolist() == [found[f"niwae-{k}"].mean for k in (1, 2, 8)]
    ends = [s[:, 1].tolist() for s in bars.get_segments()]
    for (low, high), k in zip(ends, (1, 2, 8), strict=True):
        assert high - low == pytest.approx(2 * found[f"niwae-{k}"].stderr)
    assert other.get_ydata().tolist() == [90, 80.5]
    assert other.get_xdata().tolist() == pytest.approx([1, 4], rel=0.05)
    assert texts(axes.get_legend().get_texts()) == ["VAE", "other"]
    assert texts(axes.get_xticklabels()) == ["1", "2", "4", "8"]
    assert plots.bound_against_k({1: 2.0}).axes[0].get_legend() is None


def test_rate_and_distortion_on_lines_of_equal_elbo() -> None:
    points = {"a": (Estimate(10.0, 0.5, 9), 80.0), "b": (20, Estimate(65.0, 1.0, 9))}
    axes = plots.rate_distortion(points).axes[0]
    places = [(c.lines[0].get_xdata()[0], c.lines[0].get_ydata()[0]) for c in axes.containers]
    assert places == [(10, 80), (20, 65)]
    assert texts(axes.get_legend().get_texts()) == ["a", "b"]
    dotted = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert len(dotted) == len(axes.texts) == 8
    for line, text in zip(dotted, axes.texts, strict=True):
        totals = np.add(line.get_xdata(), line.get_ydata())
        assert totals[0] == pytest.approx(totals[1])
        assert float(text.get_text()) == pytest.approx(totals[0], abs=1e-9)


def test_confusion_counts() -> None:
    """By hand; cells are shares of their rows."""
    y, guess = [0, 0, 0, 1, 2, 2], np.array([0, 0, 2, 1, 1, 2])
    axes = plots.confusion(y, guess).axes[0]
    assert axes.images[0].get_array().tolist() == [
        pytest.approx([2 / 3, 0, 1 / 3]),
        pytest.approx([0, 1, 0]),
        pytest.approx([0, 0.5, 0.5]),
    ]
    written = {(t.get_position()[1], t.get_position()[0]): t.get_text() for t in axes.texts}
    assert written == {(0, 0): "2", (0, 2): "1", (1, 1): "1", (2, 1): "1", (2, 2): "1"}
    assert axes.get_title() == "66.7 % of 6 right"
    named = plots.confusion([0, 1], [0, 0], names=("cat", "dog", "cow")).axes[0]
    assert texts(named.get_xticklabels()) == ["cat", "dog", "cow"]
    assert named.images[0].get_array().shape == (3, 3)
    many = plots.confusion(torch.arange(100), torch.arange(100)).axes[0]
    assert not many.texts
    assert len(many.get_xticks()) <= 30


def test_reliability_by_hand() -> None:
    """Three bins, one of them empty; what is said, how often it is right, and how many there are."""
    sure = torch.tensor([0.4, 0.6, 0.62, 0.9, 1.0])
    p = torch.stack([sure, (1 - sure) / 2, (1 - sure) / 2], 1)
    y = [0, 0, 1, 0, 0]
    axes = plots.reliability(y, p, bins=5).axes[0]
    line = next(line for line in axes.lines if line.get_marker() == "o")
    # 0.6 lies in 0.6..0.8, and the edge of float32 decides; 1.0 is in the last bin
    where = [min(int(s * 5), 4) for s in sure.double().tolist()]
    right = [p[i].argmax().item() == y[i] for i in range(5)]
    expected_x, expected_y = [], []
    for b in sorted(set(where)):
        here = [i for i in range(5) if where[i] == b]
        expected_x.append(np.mean([sure[i].item() for i in here]))
        expected_y.append(np.mean([right[i] for i in here]))
    assert line.get_xdata().tolist() == pytest.approx(expected_x)
    assert line.get_ydata().tolist() == pytest.approx(expected_y)
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == pytest.approx([where.count(b) / 5 for b in range(5)])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_probabilities_in_short_floats(dtype: torch.dtype) -> None:
    """They sum to 1 as exactly as they can."""
    p = torch.randn(500, 10).softmax(-1).to(dtype)
    assert (p.double().sum(1) - 1).abs().max() > {torch.bfloat16: 1e-3, torch.float16: 1e-4}[dtype]
    y = p.argmax(1)
    shares = plots.reliability(y, p).axes[0].containers[1].lines[0].get_ydata()
    assert np.array_equal(shares, np.ones(len(shares)))


def test_responsibilities_are_means_of_classes() -> None:
    r = torch.tensor([[0.1, 0.9, 0.0], [0.5, 0.3, 0.2], [0.1, 0.6, 0.3]])
    axes = plots.responsibilities(r, [1, 7, 7]).axes[0]
    expected = [pytest.approx([0.9, 0.1, 0.0]), pytest.approx([0.45, 0.3, 0.25])]
    assert axes.images[0].get_array().tolist() == expected
    assert texts(axes.get_xticklabels()) == ["1", "0", "2"]
    assert texts(axes.get_yticklabels()) == ["1", "7"]
    plain = plots.responsibilities(r, most=2).axes[0]
    assert plain.images[0].get_array().shape == (3, 2)
    assert plain.get_ylabel() == "3 images"


# axes of one's own

R = torch.eye(3).repeat(2, 1)
P = torch.tensor([[0.8, 0.1, 0.1]]).repeat(6, 1)
DRAWN: dict[str, tuple[Any, Callable[..., Figure]]] = {
    "image_grid": (None, lambda **o: plots.image_grid(images(6), title="t", **o)),
    "samples": (None, lambda **o: plots.samples(member("FSVAE"), 6, **o)),
    "reconstructions": (None, lambda **o: plots.reconstructions(member("VAE"), images(), **o)),
    "style_by_content": (None, lambda **o: plots.style_by_content(member("SSVAE"), **o)),
    "traversals": (None, lambda **o: plots.traversals(member("VAE"), images(), **o)),
    "interpolations": (None, lambda **o: plots.interpolations(member("VAE"), images(), images(), **o)),
    "manifold": (None, lambda **o: plots.manifold(member("VAE"), dims=(0, 1), n=3, **o)),
    "components": (None, lambda **o: plots.components(member("GMVAE"), **o)),
    "latent_scatter": ((6.2, 5), lambda **o: plots.latent_scatter(torch_vae(), images(), labels(), **o)),
    "kl_per_unit": ((4.6, 3.4), lambda **o: plots.kl_per_unit([0.5, 1.0, 0.0], **o)),
    "bound_against_k": ((5, 3.6), lambda **o: plots.bound_against_k({1: 9.0, 5: 8.5}, **o)),
    "rate_distortion": ((5, 4), lambda **o: plots.rate_distortion({"a": (1, 2), "b": (2, 1)}, **o)),
    "confusion": ((3.9, 3.4), lambda **o: plots.confusion(labels(), labels().flip(0), **o)),
    "reliability": ((4.6, 4.2), lambda **o: plots.reliability(labels(), P, **o)),
    "responsibilities": ((4, 2.4), lambda **o: plots.responsibilities(R, labels(), **o)),
}  # fmt: skip


def torch_vae() -> models.VAE:
    torch.manual_seed(5)
    return models.VAE(X_SHAPE, 2, hidden=HIDDEN)


def picture(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba()).copy()


@pytest.mark.parametrize("name", DRAWN)
def test_axes_of_ones_own_are_drawn_on(name: str) -> None:
    """Beside others, whose figure is returned; the same picture as without, in the same style."""
    size, draw = DRAWN[name]
    whole = Figure()
    axes, other = whole.subplots(1, 2)
    assert draw(ax=axes) is whole
    assert not other.has_data()
    assert axes.has_data()
    whole._repr_png_() if isinstance(whole, Ours) else FigureCanvasAgg(whole).draw()
    if size is None:
        return
    with styled():
        own = Ours(size, DPI, layout="constrained")
        draw(ax=own.add_subplot())
    assert np.array_equal(picture(own), picture(draw()))


SEVERAL: dict[str, Callable[..., Figure]] = {
    "training_curves": lambda **o: plots.training_curves(
        {"step": [1, 2], "bound": [-9, -8], "kl": [1, 2], "validation_bound": [-9, -8]}, **o
    ),
    "before_after": lambda **o: plots.before_after(
        member("VAE"), member("VAE"), images(), n=3, title="2.0", **o
    ),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_several_panels_share_the_place_of_one(name: str) -> None:
    """Within its bounds, with nothing in it or in the other; the same panels as in a new figure."""
    whole = Ours((12, 6), DPI)
    place, other = whole.subplots(1, 2)
    assert SEVERAL[name](ax=place) is whole
    bounds, panels = place.get_position(), whole.axes[2:]
    assert len(panels) == len(SEVERAL[name]().axes) > 1
    for panel in panels:
        assert bounds.padded(1e-6).fully_contains(*panel.get_position().min)
        assert bounds.padded(1e-6).fully_contains(*panel.get_position().max)
        assert panel.has_data() or panel.images
    assert not place.has_data()
    assert not other.has_data()


def test_axes_placed_by_hand_cannot_be_shared_out() -> None:
    by_hand = Figure().add_axes((0, 0, 1, 1))
    with pytest.raises(ValueError, match="made by subplots or add_subplot, got axes placed by"):
        SEVERAL["training_curves"](ax=by_hand)
    with pytest.raises(TypeError, match="one of matplotlib's Axes, got a int"):
        SEVERAL["before_after"](ax=3)


def test_every_function_is_drawn_here() -> None:
    drawn = {*DRAWN, *SEVERAL, "LatentFilm"}
    assert drawn == set(plots.__all__), "a new one goes into DRAWN or SEVERAL"


Y = [0, 1, 2]


test_bad_numbers = refused(
    [
        (lambda: plots.kl_per_unit([]), ValueError, r"nats of at least 0 for each unit \(z_dim,\), got \[\]"),
        (lambda: plots.kl_per_unit([[1.0]]), ValueError, "kl must be nats"),
        (lambda: plots.kl_per_unit([math.nan]), ValueError, "kl must be nats"),
        (lambda: plots.traversals(member("VAE"), images(), kl=[1.0]), ValueError, "each of 3 units, got 1"),
        (lambda: plots.traversals(member("VAE"), images(), kl=[0.0] * 3), ValueError, r"no unit has 0.01 nats: name some, units="),
        (lambda: plots.traversals(member("VAE"), images(), units=(3,)), ValueError, r"units must be some of 0\.\.2, got \[3\]"),
        (lambda: plots.traversals(member("VAE"), images(), units=3), ValueError, r"units must be some of 0\.\.2, got \[3\]"),
        (lambda: plots.traversals(member("VAE"), images(), units=()), ValueError, "units must be some"),
        (lambda: plots.traversals(member("VAE"), images(), rows=0), ValueError, "rows must be at least 1"),
        (lambda: plots.traversals(member("FSVAE"), images()), ValueError, "FSVAE is given labels: pass y"),
        (lambda: plots.traversals(member("VAE"), images()[0]), ValueError, r"\(N, C, H, W\)"),
        (lambda: plots.interpolations(member("VAE"), images(), images(2)), ValueError, "as many images, got 6 and 2"),
        (lambda: plots.interpolations(member("VAE"), images(), images(), n=0), ValueError, "n must be at least 1"),
        (lambda: plots.interpolations(member("VAE"), images(), images(), steps=1), ValueError, "steps must be at least 2"),
        (lambda: plots.manifold(member("VAE")), ValueError, r"has 3 dimensions, and a plane two: say which, dims=\(0, 1\)"),
        (lambda: plots.manifold(member("VAE"), dims=(0, 0)), ValueError, "two different units"),
        (lambda: plots.manifold(member("VAE"), dims=(0, 1), n=0), ValueError, "n must be at least 1"),
        (lambda: plots.manifold(member("SSVAE"), dims=(0, 1)), ValueError, r"got none: decode\(z, y="),
        (lambda: plots.components(member("VAE")), TypeError, "expected a mixture prior"),
        (lambda: plots.components(member("GMVAE"), R), ValueError, "has 5 components, and r 3 columns"),
        (lambda: plots.components(member("GMVAE"), R + 1), ValueError, r"r must be rows \(N, k\) that sum to 1"),
        (lambda: plots.responsibilities(R[0]), ValueError, r"rows \(N, k\) that sum to 1, .* of shape \(3,\)"),
        (lambda: plots.responsibilities([[1.5, -0.5]]), ValueError, "from -0.5 to 1.5: take model"),
        (lambda: plots.responsibilities(R, Y), ValueError, r"y \(6,\), got \(3,\)"),
        (lambda: plots.bound_against_k({}), TypeError, r"bounds must be \{k: bound\}.* got \{\}"),
        (lambda: plots.bound_against_k({"VAE": {}}), ValueError, r"'VAE' must have a bound at one k at least, got \{\}"),
        (lambda: plots.bound_against_k({"VAE": {1: 9.0}, "IWAE": {}}), ValueError, "'IWAE' must have"),
        (lambda: plots.bound_against_k([1.0]), TypeError, "bounds must be"),
        (lambda: plots.bound_against_k({0: 9.0}), ValueError, "k must be at least 1, got 0"),
        (lambda: plots.bound_against_k({"niwae-1": 9.0}), TypeError, "k must be a whole number, got 'niwae-1'"),
        (lambda: plots.bound_against_k({1: "9"}), TypeError, "the bound at k = 1 must be a number, got '9'"),
        (lambda: plots.bound_against_k({1: math.inf}), ValueError, "must be a number, got inf"),
        (lambda: plots.rate_distortion({}), TypeError, r"points must be \{name: \(rate, distortion\)\}"),
        (lambda: plots.rate_distortion({"a": 3.0}), ValueError, r"'a' must have a pair \(rate, distortion\), got 3.0"),
        (lambda: plots.rate_distortion({"a": (1.0, None)}), TypeError, "the distortion of 'a' must be a number"),
        (lambda: plots.confusion([], []), ValueError, r"labels must be classes \(N,\), got none"),
        (lambda: plots.confusion(Y, [0, 1]), ValueError, r"y \(3,\), got \(2,\)"),
        (lambda: plots.confusion(Y, [0, 1, -1]), ValueError, "predicted must be classes 0 to 999, .* from -1 to 1"),
        (lambda: plots.confusion(Y, Y, names="ab"), ValueError, r"0\.\.1, got 0\.\.2"),
        (lambda: plots.reliability(Y, torch.eye(3) * 2), ValueError, r"sum to 1, got .*softmax\(-1\)"),
        (lambda: plots.reliability(Y, torch.eye(3) * math.nan), ValueError, "sum to 1, got .* from nan to nan"),
        (lambda: plots.reliability(Y, torch.eye(3)[:, :0]), ValueError, r"sum to 1, got .* \(3, 0\)"),
        (lambda: plots.reliability(Y, torch.eye(3)[:2]), ValueError, r"y \(2,\), got \(3,\)"),
        (lambda: plots.reliability([3, 1, 2], torch.eye(3)), ValueError, r"0\.\.2, got 1\.\.3"),
        (lambda: plots.reliability(Y, torch.eye(3), bins=0), ValueError, "bins must be at least 1"),
    ]
)  # fmt: skip
