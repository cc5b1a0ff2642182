"""Codes in a plane and the prior behind them: what is drawn where, before and after, as a film."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from PIL import Image
from torch import Tensor
from zoo import HIDDEN, X_SHAPE, images, labels, member, refused, widen

from vaezoo import data, fit, models, plots, priors, training
from vaezoo.plots.colours import look, marker_path
from vaezoo.priors.bare import as_prior

N = 30
x, y = torch.rand(N, *X_SHAPE).round(), torch.arange(N) % 3


def vae(z_dim: int = 2, **parts: Any) -> Any:
    return widen(models.VAE(X_SHAPE, z_dim, hidden=HIDDEN, **parts))


def dots(figure: Figure) -> PathCollection:
    (found,) = (c for c in figure.axes[0].collections if isinstance(c, PathCollection))
    return found


def rows(points: Any) -> list[list[float]]:
    """Points in an order of their own."""
    return sorted(torch.as_tensor(np.asarray(points)).double().tolist())


def radii(figure: Figure, centre: Tensor) -> tuple[list[float], list[float]]:
    """How far each contour's points are from a centre, at the nearest and at the farthest."""
    sets = [c for c in figure.axes[0].collections if isinstance(c, ContourSet) and not c.filled]
    (lines,) = sets
    away = [np.linalg.norm(p.vertices - centre.numpy(), axis=1) for p in lines.get_paths()]
    return [a.min() for a in away], [a.max() for a in away]


def test_without_labels_all_points_look_alike() -> None:
    model = vae()
    figure = plots.latent_scatter(model, x)
    assert rows(dots(figure).get_offsets()) == [pytest.approx(r) for r in rows(model.encode(x))]
    assert len({to_hex(c) for c in dots(figure).get_facecolors()}) == 1
    named = figure.axes[0].get_legend().get_texts()
    assert [t.get_text() for t in named] == ["prior, 50 % and 95 % of it"]


def test_more_than_ten_classes_have_looks_of_their_own() -> None:
    """Colour and marker together; as many in the legend, and NumPy's labels are as torch's."""
    many = np.arange(N)
    figure = plots.latent_scatter(vae(), x, many, prior=False)
    found = {
        (to_hex(c), tuple(map(tuple, p.vertices.round(6))))
        for c, p in zip(dots(figure).get_facecolors(), dots(figure).get_paths(), strict=True)
    }
    wanted = {
        (look(k)[0], tuple(map(tuple, marker_path(look(k)[1]).vertices.round(6)))) for k in many
    }
    assert found == wanted
    assert len(found) == N
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == [*map(str, many)]


def test_classes_are_named_where_they_lie() -> None:
    """At the median, or near it where two would cover one another."""
    model = vae()
    codes = model.encode(x)
    figure = plots.latent_scatter(model, x, y)
    named = {t.get_text(): torch.tensor(t.get_position()) for t in figure.axes[0].texts}
    span = (codes.amax(0) - codes.amin(0)).max()
    assert [*named] == ["0", "1", "2"]
    for k in range(3):
        assert (named[str(k)] - codes[y == k].median(0).values).norm() < 0.12 * span
    assert torch.pdist(torch.stack([*named.values()])).min() > 0.055 * span


def test_a_continuous_colour() -> None:
    figure = plots.latent_scatter(vae(), x, colour=range(N), colour_label="nats", seed=3)
    assert sorted(dots(figure).get_array().tolist()) == [*range(N)]
    assert figure.axes[1].get_ylabel() == "nats"
    model = vae()
    point = plots.latent_scatter(model, x, colour=np.arange(N) == 7.0)
    (at,) = dots(point).get_array().nonzero()
    assert dots(point).get_offsets()[at].tolist()[0] == pytest.approx(model.encode(x)[7].tolist())


def test_two_chosen_dimensions() -> None:
    model = vae(5)
    figure = plots.latent_scatter(model, x, dims=(3, 0))
    expected = model.encode(x)[:, [3, 0]]
    assert rows(dots(figure).get_offsets()) == [pytest.approx(r) for r in rows(expected)]
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("z, unit 3", "z, unit 0")


@pytest.mark.parametrize(("z_dim", "dims"), [(2, None), (4, None), (4, (2, 1))])
def test_contours_of_a_normal_hold_what_they_say(z_dim: int, dims: Any) -> None:
    """Circles whose radii are √(-2 log 0.05) and √(-2 log 0.5), to 6 %: levels are of 2,000 draws."""
    model = vae(z_dim)
    codes = model.encode(x).double()
    centre = torch.zeros(2, dtype=torch.double)
    if z_dim == 4 and dims is None:
        _, _, directions = torch.linalg.svd(codes - codes.mean(0), full_matrices=False)
        centre = -codes.mean(0) @ directions[:2].T
    nearest, farthest = radii(plots.latent_scatter(model, x, dims=dims), centre)
    expected = [(-2 * np.log(1 - share)) ** 0.5 for share in (0.95, 0.5)]
    assert nearest == pytest.approx(expected, rel=0.06)
    assert farthest == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_ellipses_are_two_deviations_from_their_components(kind: str) -> None:
    """(v - μ)ᵀ Σ⁻¹ (v - μ) = 4 all the way round, seen along two principal components."""
    model, loc = vae(4), torch.randn(3, 4)
    if kind == "full":
        factor = torch.randn(3, 4, 4)
        covariance = factor @ factor.mT + 0.1 * torch.eye(4)
        each = dist.MultivariateNormal(loc, covariance)
    else:
        scale = torch.rand(3, 4) + 0.2
        each, covariance = dist.Normal(loc, scale).to_event(1), scale.square().diag_embed()
    model.prior = dist.MixtureSameFamily(dist.Categorical(torch.ones(3)), each)
    figure = plots.latent_scatter(model, x, y)
    codes = model.encode(x).double()
    _, _, directions = torch.linalg.svd(codes - codes.mean(0), full_matrices=False)
    plane = directions[:2].T
    found = [p for p in figure.axes[0].patches if isinstance(p, Ellipse)]
    for ellipse, mean, spread in zip(found, loc.double(), covariance.double(), strict=True):
        edge = torch.as_tensor(ellipse.get_patch_transform().transform(ellipse.get_path().vertices))
        away = edge - (mean - codes.mean(0)) @ plane
        inside = torch.linalg.inv(plane.T @ spread @ plane)
        distance = torch.einsum("ni,ij,nj->n", away, inside, away)
        corners = distance[::3]  # of the curves that an ellipse is drawn by
        assert corners.tolist() == pytest.approx([4.0] * len(corners), rel=1e-4)


def test_priors_that_are_no_mixtures_and_mixtures_of_many() -> None:
    """Contours of draws, and no ellipses; none at all where they are left out."""
    flow, many = vae(3, prior=priors.Flow(3, hidden=(8,))), member("GMVAE", k=61)
    upper = member("HierarchicalVAE")
    for model in (flow, many, upper, member("VAE", prior=priors.MixtureOfGaussians(3, k=61))):
        axes = plots.latent_scatter(model, images(9)).axes[0]
        assert any(isinstance(c, ContourSet) for c in axes.collections)
        assert not any(isinstance(p, Ellipse) for p in axes.patches)
    bare = plots.latent_scatter(many, images(9), prior=False).axes[0]
    assert not any(isinstance(c, ContourSet) for c in bare.collections)
    assert bare.get_legend() is None


def test_a_prior_that_is_a_spike() -> None:
    """Narrower than the points between which contours are looked for, or wider than all codes."""
    for scale in (1e-4, 1e4):
        prior = dist.Normal(torch.zeros(2), torch.full((2,), scale)).to_event(1)
        plots.latent_scatter(vae(prior=as_prior(prior)), x)._repr_png_()


def test_one_dimension_without_labels() -> None:
    model = vae(1)
    figure = plots.latent_scatter(model, x)
    points = torch.as_tensor(dots(figure).get_offsets().data)
    assert sorted(points[:, 0].tolist()) == pytest.approx(sorted(model.encode(x)[:, 0].tolist()))
    assert figure.axes[0].get_ylabel() == "spread out"


# before and after


def test_before_and_after_stand_side_by_side() -> None:
    before, after = vae(), vae(prior=priors.MixtureOfGaussians(2, k=3))
    figure = plots.before_after(before, after, x, y, n=12, title="-2.0 ± 0.6 nats")
    above, below = figure.axes[:2], figure.axes[2:4]
    assert [a.get_title() for a in above] == [
        "before: p(z) = StandardNormal(2)",
        "after: p(z) = MixtureOfGaussians(2, k=3)",
    ]
    assert figure.get_suptitle() == "-2.0 ± 0.6 nats"
    for axes, model in zip(above, (before, after), strict=True):
        (points,) = (c for c in axes.collections if isinstance(c, PathCollection))
        expected = [pytest.approx(r) for r in rows(model.encode(x))]
        assert rows(points.get_offsets()) == expected
    assert [len(a.patches) for a in above] == [0, 3]
    assert [a.images[0].get_array().shape for a in below] == [(9, 29)] * 2
    content = plots.before_after(member("FSVAE"), member("FSVAE"), x, y, n=5).axes[2]
    assert content.images[0].get_array().shape == (4, 24)


# a film


def test_a_film_of_training(tmp_path: Any) -> None:
    """A frame for each record; training goes on as without it; a GIF with a second at its end."""
    weights = []
    for filmed in (False, True):
        torch.manual_seed(3)
        model = vae()
        film = plots.LatentFilm(model, x, y) if filmed else None
        fit(model, [(x, y)], steps=6, log_every=2, progress=False, callback=film)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)
    assert film is not None
    assert [frame.step for frame in film.frames] == [0, 2, 4, 6]
    assert torch.equal(film.frames[-1].codes, model.encode(x))
    assert not torch.equal(film.frames[0].codes, film.frames[-1].codes)
    film.save(tmp_path / "film.gif", fps=3, dpi=30)
    with Image.open(tmp_path / "film.gif") as gif:
        assert gif.size == (150, 138)
        shown = [gif.info["duration"] for k in range(gif.n_frames) if not gif.seek(k)]
    assert shown == pytest.approx([333, 333, 333, 1333], abs=10)


def test_frames_share_plane_and_limits() -> None:
    """Those of the last codes, and of all of them."""
    model = vae(4)
    film = plots.LatentFilm(model, x)
    for taken in training.steps(model, [x], steps=4, log_every=2):
        if taken.record:
            film(taken.record)
    first, last = film.figure(0).axes[0], film.figure().axes[0]
    assert (first.get_xlim(), first.get_ylim()) == (last.get_xlim(), last.get_ylim())
    assert first.get_title() == "step 0"
    codes = [frame.codes.double() for frame in film.frames]
    _, _, directions = torch.linalg.svd(codes[-1] - codes[-1].mean(0), full_matrices=False)
    expected = (codes[0] - codes[-1].mean(0)) @ directions[:2].T
    assert rows(dots(film.figure(0)).get_offsets()) == [pytest.approx(r) for r in rows(expected)]


def test_frames_keep_the_prior_as_it_was() -> None:
    model = vae(prior=priors.MixtureOfGaussians(2, k=3))
    film = plots.LatentFilm(model, x)
    before = film.frames[0].density.normals.means.clone()
    with torch.no_grad():
        model.prior.loc.add_(1)
    film({"step": 1})
    assert torch.equal(film.frames[0].density.normals.means, before)
    assert torch.allclose(film.frames[1].density.normals.means, before + 1)


def test_a_real_model_is_drawn_within_its_panel() -> None:
    """No text of a figure with all its legends is cut off."""
    few = data.digits("test")[:300]
    images_, classes = few.tensors()
    figure = plots.latent_scatter(models.GMVAE(k=5), images_, classes)
    figure._repr_png_()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert 0 <= box.x0 < box.x1 <= width
    assert 0 <= box.y0 < box.y1 <= height


test_bad_codes = refused(
    [
        (lambda: plots.before_after(vae(), vae(), x[:1]), ValueError, "at least two images"),
        (lambda: plots.before_after(vae(), vae(), x, n=0), ValueError, "n must be at least 1, got 0"),
        (lambda: plots.before_after(vae(), member("FSVAE"), x), ValueError, "FSVAE is given labels"),
        (lambda: plots.LatentFilm(vae(), x[:1]), ValueError, "at least two images, got 1"),
        (lambda: plots.LatentFilm(vae(), x, dims=(0, 2)), ValueError, r"0\.\.1, .* got \(0, 2\)"),
        (lambda: plots.LatentFilm(vae(), x, labels(3)), ValueError, r"y \(30,\), got \(3,\)"),
        (lambda: plots.LatentFilm(vae(), x).save("f.gif", fps=0), ValueError, "fps must be at least"),
        (lambda: plots.LatentFilm(vae(), x).save("f.gif", dpi=0), ValueError, "dpi must be a number"),
        (lambda: plots.latent_scatter(vae(), x, ax=[1]), TypeError, "matplotlib's Axes, got a list"),
    ]
)  # fmt: skip
