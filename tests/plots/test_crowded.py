"""Figures of much, or of little room: text that can be read, numbers that are true."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from zoo import X_SHAPE, images, member

from vaezoo import fit, models, plots, priors


def drawn(figure: Any) -> Any:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas.get_renderer()


def boxes(figure: Any, texts: list[Any]) -> list[Any]:
    renderer = drawn(figure)
    return [t.get_window_extent(renderer) for t in texts if t.get_text() and t.get_visible()]


def overlapping(found: list[Any]) -> list[Any]:
    return [(a, b) for a, b in combinations(found, 2) if a.overlaps(b)]


def tick_names(figure: Any) -> list[Any]:
    axes = figure.axes[0]
    return [*axes.get_xticklabels(), *axes.get_yticklabels()]


NAMES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Boot",
]
GUESSES = torch.arange(200) % 10
MANY = (1, 2, 3, 5, 7, 10, 20, 50, 100, 500, 1000, 5000, 10_000)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.confusion(GUESSES, GUESSES, names=NAMES),
        lambda: plots.confusion([0, 1], [0, 1], names=["a name of many letters", "another one"]),
        lambda: plots.bound_against_k({k: 99 - k**0.1 for k in MANY}),
        lambda: plots.bound_against_k({k: 99 - k**0.1 for k in range(1, 21)}),
        lambda: plots.responsibilities(torch.eye(100), torch.arange(100)),
        lambda: plots.responsibilities(torch.eye(50), torch.arange(50)),
    ],
)
def test_names_at_an_axis_do_not_overlap(draw: Callable[[], Any]) -> None:
    figure = draw()
    assert not overlapping(boxes(figure, tick_names(figure)))


def scattered(classes: int, ax: Any = None) -> Any:
    vae = models.VAE(X_SHAPE, 2, hidden=(8,))
    vae.prior = priors.MixtureOfGaussians(2, k=3)
    return plots.latent_scatter(vae, images(200), torch.arange(200) % classes, ax=ax)


@pytest.mark.parametrize("classes", [3, 17, 62, 100])
def test_a_legend_of_many_classes_leaves_the_axes_their_room(classes: int) -> None:
    figure = scattered(classes)
    drawn(figure)
    width, height = figure.get_size_inches()
    place = figure.axes[0].get_position()
    assert min(place.width * width, place.height * height) > 3


def test_the_key_is_below_the_label_of_the_axis() -> None:
    small = Figure((4, 2.6), layout="constrained")
    for figure in (scattered(3, small.add_subplot()), scattered(3)):
        axes = figure.axes[0]
        renderer = drawn(figure)
        (key,) = [a for a in axes.artists if hasattr(a, "legend_handles")]
        box = key.get_window_extent(renderer)
        assert not box.overlaps(axes.xaxis.label.get_window_extent(renderer))
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1


@pytest.mark.parametrize("unit", [1e-2, 1.0, 30.0, 1e4])
def test_lines_of_equal_elbo_are_named_by_their_totals(unit: float) -> None:
    """Each name is the sum of the coordinates along its line, to its last digit, and its own."""
    figure = plots.rate_distortion({"a": (0.2 * unit, unit), "b": (0.5 * unit, 0.6 * unit)})
    axes = figure.axes[0]
    lines = [line for line in axes.lines if line.get_linestyle() == ":"]
    names = [text.get_text() for text in axes.texts]
    assert len(names) == len(lines) == len({*names}) > 1
    for line, name in zip(lines, names, strict=True):
        x, y = line.get_data()
        assert float(name) == pytest.approx(x[0] + y[0], abs=1e-9 * unit)


def test_curves_stay_near_their_k() -> None:
    figure = plots.bound_against_k({f"m{i}": {1: 1.0, 10: 2.0} for i in range(25)})
    curves = [c.lines[0].get_xdata() for c in figure.axes[0].containers]
    assert all(abs(x[i] / k - 1) < 0.1 for x in curves for i, k in enumerate((1, 10)))
    assert len({x[0] for x in curves}) == 25


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_frames_keep_the_prior_of_their_time(dtype: torch.dtype) -> None:
    vae = models.VAE(X_SHAPE, 2, hidden=(8,))
    vae.prior = priors.MixtureOfGaussians(2, k=3)
    vae.to(dtype)
    x = images(40).to(dtype)
    film = plots.LatentFilm(vae, x)
    fit(vae, [x], steps=20, log_every=10, lr=0.05, progress=False, callback=film)
    means = [frame.density.normals.means for frame in film.frames if frame.density]
    assert len(means) == 3
    assert all((a - b).abs().max() > 1e-3 for a, b in combinations(means, 2))
    assert [frame.step for frame in plots.LatentFilm(vae, x, step=20).frames] == [20]


def test_what_is_not_shown_is_refused() -> None:
    flat, x = models.VAE(X_SHAPE, 1, hidden=(8,)), images(9)
    for call in (
        lambda: plots.latent_scatter(flat, x, dims=(3, 5)),
        lambda: plots.LatentFilm(flat, x, dims=(0, 1)),
    ):
        with pytest.raises(ValueError, match="codes have one unit, which is shown: leave dims out"):
            call()
    with pytest.raises(ValueError, match="x1 and x2 must be as many images, got 9 and 8"):
        plots.interpolations(member("VAE"), x, x[:8])
    with pytest.raises(ValueError, match="step must be at least 0, got -1"):
        plots.LatentFilm(member("VAE"), x, step=-1)


@pytest.mark.parametrize(
    "draw",
    [
        *(lambda n=n: plots.kl_per_unit([1e3] * n) for n in (1, 2, 6)),
        *(lambda n=n: plots.rate_distortion(many(n, (20.0, 70.0))) for n in (1, 12, 40)),
        *(lambda n=n: plots.bound_against_k(many(n, {1: 97.0, 10: 96.0})) for n in (9, 40)),
    ],
)
def test_titles_and_keys_are_within_the_figure(draw: Callable[[], Any]) -> None:
    """Of few units, whose axes are narrow, and of many names, beside axes of a good size."""
    figure = draw()
    renderer = drawn(figure)
    axes = figure.axes[0]
    legend = axes.get_legend()
    for part in filter(None, (axes.title if axes.get_title() else None, legend)):
        box = part.get_window_extent(renderer)
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    inside = axes.get_window_extent(renderer)
    assert min(inside.width, inside.height) / figure.dpi > 2


def test_a_key_on_axes_of_ones_own_is_within_them() -> None:
    axes = Figure((10, 4), layout="constrained").subplots(1, 2)
    plots.bound_against_k(many(12, {1: 97.0, 10: 96.0}), ax=axes[0])
    renderer = drawn(axes[0].figure)
    key, inside = axes[0].get_legend().get_window_extent(renderer), axes[0].get_window_extent()
    assert inside.x0 <= key.x0 < key.x1 <= inside.x1


def many(n: int, points: Any) -> dict[str, Any]:
    return {f"a model of {i} layers": points for i in range(n)}
