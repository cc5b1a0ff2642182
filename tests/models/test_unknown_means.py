"""Distributions without a mean, and members asked for means: a draw, or an error that says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from zoo import MEMBERS, X_SHAPE, Z_DIM, batch_for, member, refused, widen

from vaezoo import likelihoods, models, posteriors
from vaezoo.models.drawing import mean_of
from vaezoo.scopes import own_generator


class Levels(likelihoods.Likelihood):
    """Pyro's own Categorical, whose mean is NaN."""

    def output_shape(self) -> tuple[int, ...]:
        return (*self.x_shape, 3)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Any:
        return dist.Categorical(logits=self._decode(z, y)).to_event(len(self.x_shape))


class Squashed(likelihoods.Likelihood):
    """A Normal through a sigmoid, whose mean nobody knows."""

    def forward(self, z: Tensor, y: Tensor | None = None) -> Any:
        base = dist.Normal(self._decode(z, y), 1.0)
        squash = dist.transforms.SigmoidTransform()
        return dist.TransformedDistribution(base, [squash]).to_event(len(self.x_shape))


class Heavy(posteriors.Posterior):
    """A Cauchy, whose mean is NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(16, Z_DIM))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        return dist.Cauchy(self.network(x), 1.0).to_event(1)


def vae(likelihood: type | None = None, **parts: Any) -> Any:
    made = likelihoods.Normal if likelihood is None else likelihood
    return member("VAE", likelihood=made(Z_DIM, X_SHAPE, hidden=(4,)), **parts)


X = (torch.arange(32.0).reshape(2, *X_SHAPE) % 3).round()
Z = torch.zeros(1, Z_DIM)
GREY = X / 3


def test_a_draw_where_the_mean_is_not_known() -> None:
    """NaNs in the place of a mean are none, also where some numbers have one."""
    laws: list[Any] = [
        dist.Cauchy(torch.zeros(2), 1.0),
        dist.StudentT(torch.tensor([0.5, 3.0]), 0.0, 1.0),
        dist.TransformedDistribution(dist.Normal(torch.zeros(2), 1.0), [dist.transforms.ExpTransform()]),
        dist.Categorical(logits=torch.zeros(2, 3)),
    ]  # fmt: skip
    for law in laws:
        with own_generator(0):
            expected = law.sample()
        with own_generator(0):
            assert torch.equal(mean_of(law), expected)
    assert torch.equal(mean_of(dist.HalfCauchy(1.0)), torch.tensor(torch.inf))
    assert mean_of(dist.Poisson(3.0)) == 3.0


def test_a_posterior_of_a_nan_mean_gives_codes() -> None:
    model = vae(posterior=Heavy())
    assert model.encode(GREY).isfinite().all()
    for images in (model.reconstruct(GREY), model.traverse(GREY, 0), model.interpolate(GREY, GREY)):
        assert images.isfinite().all()


def test_pixels_are_drawn_all_the_same() -> None:
    for likelihood in (Levels, Squashed):
        model = vae(likelihood)
        assert model.sample(3, mean=False).isfinite().all()
        assert model.score(X if likelihood is Levels else GREY.clamp(0.1, 0.9)).isfinite().all()


UNKNOWN = (
    r"^p\(x\|z\) is a {}, whose mean is not known: draw pixels, sample\({}mean=False\), or let"
)
ASKED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "sample": (lambda m: m.sample(2), ""),
    "decode": (lambda m: m.decode(Z), "z=…, "),
    "reconstruct": (lambda m: m.reconstruct(X.clamp(0, 1)), "z=…, "),
    "traverse": (lambda m: m.traverse(X.clamp(0, 1), 0), "z=…, "),
}
test_images_without_a_mean = refused(
    {
        f"{name} {kind.__name__}": (lambda a=ask, k=kind: a(vae(k)), ValueError, UNKNOWN.format(law, given))  # type: ignore[misc]
        for name, (ask, given) in ASKED.items()
        for kind, law in ((Levels, "Categorical"), (Squashed, "TransformedDistribution"))
    }
)  # fmt: skip


@pytest.mark.parametrize("name", MEMBERS)
def test_reconstructions_are_what_they_were(name: str) -> None:
    """E[x|z] at the code, with the global generator left alone where the zoo's own members ask it."""
    model = widen(member(name).double())
    x, *y = batch_for(name, dtype=torch.float64)
    given = y or ([model.classify(x).argmax(-1)] if model.classes else [])
    z = model.encode(x, *y)
    if name == "M1M2":
        expected = model.likelihood(model.conditional_prior(z, *given).mean).mean
    else:
        expected = model.likelihood(z, *given).mean
    state = torch.get_rng_state()
    found = models.LatentVariableModel.reconstruct(model, x, *y)
    assert torch.equal(found, expected)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(model.reconstruct(x, *y), expected)


def upper() -> Any:
    """z1 between z2 and the image has no known mean."""
    flow = posteriors.Flow((3,), 4, layers=2, flow_hidden=(4,), hidden=(4,))
    return widen(member("HierarchicalVAE", conditional_prior=flow))


def test_a_latent_between_is_drawn_by_a_fixed_seed() -> None:
    """The same images each time, whatever was drawn before."""
    model, z2 = upper(), torch.randn(2, 3)
    first = model.decode(z2, latent="z2")
    state = torch.get_rng_state()
    _ = torch.rand(5)
    assert torch.equal(model.decode(z2, latent="z2"), first)
    with own_generator(0):
        z1 = model.conditional_prior(z2).sample()
    assert torch.equal(first, model.likelihood(z1).mean)
    torch.set_rng_state(state)
    _ = model.decode(z2, latent="z2")
    assert torch.equal(torch.get_rng_state(), state)
