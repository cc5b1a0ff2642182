"""A prior that depends on the label, p(z|y): what is asked of it, and what it cannot answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from zoo import CLASSES, X_SHAPE, images, labels, refused

from vaezoo import diagnostics, models, plots, priors
from vaezoo.models.decoding import prior_moments
from vaezoo.models.drawing import prior_codes
from vaezoo.models.parts import has_lone_prior, lone_prior
from vaezoo.panel.latents import DRAWS, codes_of
from vaezoo.panel.menus import choices
from vaezoo.plots.densities import prior_density
from vaezoo.scopes import own_generator


class OfClass(priors.Prior):
    """N(loc[y], 1)."""

    def __init__(self, z_dim: int = 2, k: int = CLASSES) -> None:
        super().__init__()
        self.z_dim, self.k = z_dim, k
        self.loc = nn.Parameter(10 * torch.arange(float(k))[:, None].repeat(1, z_dim))

    def forward(self, y: Tensor) -> Any:  # type: ignore[override]
        return dist.Normal(self.loc[y], 1.0).to_event(1)


class CVAE(models.FSVAE):
    """With y given."""

    parts: ClassVar[Mapping[str, models.Part]] = {
        **models.FSVAE.parts,
        "prior": models.Part(priors.Prior, "z", ("y",)),
    }

    def model(self, x: Tensor, y: Tensor) -> Tensor:
        with self.images(x, y):
            z = pyro.sample("z", self.prior(y))
            return pyro.sample("x", self.likelihood(z, y), obs=x)


class Inferring(models.SSVAE):
    """With y inferred."""

    parts: ClassVar[Mapping[str, models.Part]] = {
        **models.SSVAE.parts,
        "prior": CVAE.parts["prior"],
    }

    def model(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        with self.images(x, y):
            uniform = dist.Categorical(logits=x.new_zeros(self.classes))
            y = pyro.sample("y", uniform, obs=y, infer={"enumerate": "parallel"})
            z = pyro.sample("z", self.prior(y))
            return pyro.sample("x", self.likelihood(z, y), obs=x)


def of(kind: type) -> Any:
    return kind(X_SHAPE, 2, classes=CLASSES, hidden=(4,), prior=OfClass())


def drawn(n: int, seed: int = 0) -> Tensor:
    """The same draws by hand: of each class in turn."""
    loc = 10.0 * (torch.arange(n) % CLASSES)[:, None]
    with own_generator(seed):
        return loc + torch.randn(n, 2)


def test_whether_it_stands_alone() -> None:
    assert not has_lone_prior(of(CVAE))
    assert has_lone_prior(models.FSVAE(X_SHAPE, 2, classes=3))
    assert has_lone_prior(models.HierarchicalVAE(X_SHAPE, 4, 3))


def test_moments_and_draws_are_of_all_classes() -> None:
    model = of(CVAE)
    assert torch.equal(prior_codes(model, 7, "z", seed=3), drawn(7, 3))
    mean, deviation = prior_moments(model, "z")
    assert torch.equal(mean, drawn(1000).mean(0))
    assert torch.equal(deviation, drawn(1000).std(0))
    mean, deviation = prior_moments(of(Inferring), "z")
    assert mean.tolist() == pytest.approx([10, 10], abs=1)  # labels are drawn: of 0, 10 and 20
    assert deviation.tolist() == pytest.approx([8.2, 8.2], abs=0.5)


def test_a_traverse_spans_them() -> None:
    model, x, y = of(CVAE), torch.rand(2, *X_SHAPE), labels(2)
    codes = drawn(1000)[:, 1]
    ends = torch.linspace(-3, 3, 7) * codes.std() + codes.mean()
    assert torch.equal(model.traverse(x, 1, y), model.traverse(x, 1, y, values=ends))


def test_it_is_drawn() -> None:
    """In the style grid, as contours of codes, and in the panel."""
    model, x, y = of(CVAE), torch.rand(9, *X_SHAPE), labels(9)
    figure = plots.style_by_content(model, columns=4, seed=5)
    assert figure.axes[0].images[0].get_array() is not None
    again = plots.style_by_content(model, columns=4, z=drawn(4, 5))
    first, second = (f.axes[0].images[0].get_array() for f in (figure, again))
    assert torch.equal(torch.as_tensor(first), torch.as_tensor(second))
    density = prior_density(model)
    assert not density.has_parts
    assert len(density.normals.means) == 1000
    assert plots.latent_scatter(model, x, y).axes
    assert torch.equal(codes_of(model, x, y).prior, drawn(DRAWS))
    images_of_codes = codes_of(of(Inferring), images(9), None)
    assert images_of_codes.prior.shape == (DRAWS, 2)


def test_the_panel_offers_what_takes_a_label() -> None:
    assert list(choices(of(CVAE), "prior", own=[OfClass])) == ["OfClass (yours)"]
    assert "Flow" in choices(of(CVAE), "posterior")
    assert "Flow" in choices(models.FSVAE(X_SHAPE, 2, classes=CLASSES), "prior")


FITS_NOT = (
    r"does not fit CVAE\(.*: expected a forward\(self, y\) for p\(z\|y\), got forward\(self\)"
)
NOR_HERE = r"expected a forward\(self\) for p\(z\), got forward\(self, y\)"
test_a_prior_takes_what_it_depends_on = refused(
    [
        (lambda: setattr(of(CVAE), "prior", priors.Flow(2)), ValueError, FITS_NOT),
        (lambda: CVAE(X_SHAPE, 2, classes=CLASSES, hidden=(4,)), ValueError, FITS_NOT),
        (lambda: models.VAE(X_SHAPE, 2, prior=OfClass()), ValueError, NOR_HERE),
    ]
)


ALONE = r"expected a prior that depends on nothing, got the p\(z\|y\) of a CVAE"
test_what_needs_one_prior = refused(
    [
        (lambda: lone_prior(of(CVAE)), TypeError, ALONE),
        (lambda: plots.components(of(CVAE)), TypeError, ALONE),
        (lambda: diagnostics.mixture_diagnostics(of(CVAE), images(), labels()), TypeError, ALONE),
        (lambda: diagnostics.component_samples(of(CVAE), [0]), TypeError, ALONE),
    ]
)
