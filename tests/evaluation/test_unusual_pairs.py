"""Programs that are written as Pyro lets one write them: transforms, factors, frozen features."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.distributions.transforms import AffineTransform
from test_any_pair import QUESTIONS
from torch import Tensor, nn
from zoo import fixed, member

from vaezoo import data, models
from vaezoo.distributions.overlaps import overlaps_of
from vaezoo.distributions.projections import as_normals
from vaezoo.evaluation import (
    aggregate,
    annealed,
    gaps,
    rate,
    report,
    sample_quality,
    sandwiched,
    units,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*too few weights to trust:UserWarning")
QUIET: dict[str, Any] = {"progress": False}
Draw = Callable[[Tensor], Any]
X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def normal(loc: Tensor) -> dist.Normal:
    return dist.Normal(loc, 0.5)


class Pair(nn.Module):
    """x ~ N(w z + b, 1), with scalar z of any prior and any posterior of a linear code."""

    def __init__(self, prior: Draw = normal, posterior: Draw = normal) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features, self.code, self.decode = nn.Linear(4, 4), nn.Linear(4, 1), nn.Linear(1, 4)
        self.of_prior, self.of_posterior = prior, posterior

    def model(self, x: Tensor) -> None:
        """A draw of the prior, decoded."""
        with pyro.plate("n", len(x)):
            z = pyro.sample("z", self.of_prior(torch.zeros(())))
            pyro.sample("x", dist.Normal(self.decode(z[..., None]), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        """A draw around a code of features."""
        with pyro.plate("n", len(x)):
            pyro.sample("z", self.of_posterior(self.code(self.seen(x))[:, 0]))

    def seen(self, x: Tensor) -> Tensor:
        """What the code is made of."""
        features: Tensor = self.features(x)
        return features


class Halved(dist.Normal):
    """Half of a Normal's log-density: another distribution, by the name of its parent."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Of no use."""
        half: Tensor = 0.5 * super().log_prob(value)
        return half


DISTRIBUTIONS: dict[str, Draw] = {
    "transformed": lambda loc: dist.TransformedDistribution(
        dist.Normal(torch.zeros_like(loc), 1.0), [AffineTransform(loc, 2.0)]
    ),
    "log": lambda loc: dist.LogNormal(loc, 0.5),
    "half": lambda loc: dist.HalfNormal(loc.exp()),
    "own": lambda loc: Halved(loc, 0.5),
}


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_what_is_made_from_a_normal_is_none(kind: str) -> None:
    """No KL of its base stands for its own, and no moments for it."""
    made = DISTRIBUTIONS[kind]
    of_both = units(Pair(made, made), [X], **QUIET)["z"]
    of_one = units(Pair(normal, made), [X], **QUIET)["z"]
    assert of_both.kl is None
    assert of_one.kl is None
    assert units(Pair(), [X], **QUIET)["z"].kl is not None
    vector = made(torch.zeros(3, 2)).to_event(1)
    assert overlaps_of(vector) is None
    assert as_normals(made(torch.zeros(2)).to_event(1)) is None


def test_a_mean_that_does_not_exist_is_not_collapsed() -> None:
    found = units(Pair(posterior=lambda loc: dist.Cauchy(loc, 1.0)), [X], **QUIET)["z"]
    assert not found.collapsed


class Bonus(Pair):
    """A factor in the model, or in the guide, or a mask of what is drawn."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def model(self, x: Tensor) -> None:
        """With a factor, or masked."""
        kept = torch.arange(len(x)) > 2 if self.where == "mask" else torch.tensor(True)
        with pyro.plate("n", len(x)):
            with poutine.mask(mask=kept):
                z = pyro.sample("z", normal(torch.zeros(())))
            if self.where == "model":
                pyro.factor("bonus", -z.square())
            pyro.sample("x", dist.Normal(self.decode(z[..., None]), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        """With a factor."""
        super().guide(x)
        with pyro.plate("again", len(x)):
            if self.where == "guide":
                pyro.factor("bonus", torch.full((len(x),), 7.0), has_rsample=True)


@pytest.mark.parametrize(
    ("where", "message"), [("model", "has a factor 'bonus'"), ("mask", "a mask on the latent 'z'")]
)
def test_draws_that_do_not_follow_the_density_are_no_data(where: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"{message}, which draws of it do not follow"):
        sandwiched(Bonus(where), [X], chains=2, temperatures=3, **QUIET)


@pytest.mark.parametrize("start", ["prior", "guide"])
def test_chains_begin_with_the_density_of_their_draws(start: str) -> None:
    """A factor of the guide's is no part of it: the closed form of log p(x), to 5 standard errors.

    Two steps only, so that a weight of exp(-7) would show: 6 images, 400 chains each.
    """
    pair = Bonus("guide")
    w, b = pair.decode.weight[:, 0].detach(), pair.decode.bias.detach()
    marginal = dist.MultivariateNormal(b, torch.eye(4) + 0.25 * torch.outer(w, w))
    found = annealed(pair, [X], chains=400, temperatures=2, steps=3, start=start, **QUIET)
    assert found["log_px"].values is not None
    assert found["mc_error"].values is not None
    z = (found["log_px"].values - marginal.log_prob(X)) / found["mc_error"].values
    assert z.abs().max() < 5  # of 6 images, by chance once in 300,000


class Auxiliary(Pair):
    """A guide that draws a number of its own, of which z is one more name."""

    def guide(self, x: Tensor) -> None:
        """z is a point given u."""
        with pyro.plate("n", len(x)):
            drawn = normal(self.code(x)[:, 0])
            u = pyro.sample("u", drawn, infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(u))


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (Auxiliary(), "the guide draws 'u', which the model does not: anneal from start='prior'"),
        (Pair(posterior=dist.Delta), "the guide's 'z' is a point: anneal from start='prior'"),
    ],
)
def test_chains_begin_at_a_density(pair: Pair, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        annealed(pair, [X], chains=2, temperatures=3, start="guide", **QUIET)
    assert annealed(pair, [X], chains=2, temperatures=3, **QUIET)["log_px"].n == 6


class Frozen(Pair):
    """Features without gradients, by one way or another."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.flat = way, nn.Flatten()

    def seen(self, x: Tensor) -> Tensor:
        """Features, or x."""
        if self.way == "no_grad":
            with torch.no_grad():
                return super().seen(x)
        if self.way == "integers":
            self.flat(torch.ones(len(x), 2, dtype=torch.long))
        if self.way == "unused":
            super().seen(x)
        return super().seen(x).detach()


@pytest.mark.parametrize("way", ["no_grad", "detach", "integers", "unused"])
def test_features_that_are_frozen_stay_what_they_are(way: str) -> None:
    """The code behind them is refined, to the bound that it has with features refined too."""
    found = gaps(Frozen(way), [X], steps=200, particles=400, **QUIET)
    expected = gaps(Pair(), [X], steps=200, particles=400, **QUIET)
    assert found["bound"].mean == pytest.approx(expected["bound"].mean, abs=0.1)
    assert found["refined"].mean == pytest.approx(expected["refined"].mean, abs=0.1)


def test_a_guide_without_gradients_cannot_be_refined() -> None:
    with pytest.raises(ValueError, match="no output of the guide's networks could be refined"):
        gaps(Pair(posterior=lambda loc: normal(loc.detach())), [X], steps=2, particles=25, **QUIET)


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_default_dtype_is_not_the_models(question: str, request: Any) -> None:
    model, x = member("VAE"), fixed(6).float()
    expected = QUESTIONS[question](model, [x])
    request.getfixturevalue("double")
    for name, each in QUESTIONS[question](model, [x]).items():
        assert each.mean == pytest.approx(expected[name].mean, rel=1e-4, abs=1e-4), name


@pytest.mark.parametrize("question", QUESTIONS)
def test_gradients_are_taken_in_inference_mode_too(question: str) -> None:
    model = member("VAE")
    expected = QUESTIONS[question](model, [fixed(6)])
    with torch.inference_mode():
        found = QUESTIONS[question](model, [fixed(6)])
    for name, each in found.items():
        assert each.mean == expected[name].mean, name


def test_samples_are_judged_in_inference_mode() -> None:
    digits = data.digits("test")[:200]
    with torch.inference_mode():
        found = sample_quality(models.VAE(), digits, digits, n=100, steps=5)
    assert found["frechet"].mean > 0


class Coded(Pair):
    """With a module and a method that a member has too, and that mean something else here."""

    def __init__(self) -> None:
        super().__init__()
        self.prior = nn.Linear(3, 2)

    def encode(self, x: Tensor) -> Tensor:
        """Of another kind."""
        return self.seen(x)


class Graded(Pair):
    """One whose images are grades 0, 1, 2: numbers that Categorical draws as integers."""

    def model(self, x: Tensor) -> None:
        with pyro.plate("n", len(x)):
            z = pyro.sample("z", self.of_prior(torch.zeros(())))
            logits = self.decode(z[..., None])[..., None] * torch.arange(3.0)
            pyro.sample("x", dist.Categorical(logits=logits).to_event(1), obs=x)


def test_images_are_simulated_in_their_dtype() -> None:
    grades = torch.arange(24.0).reshape(6, 4) % 3
    found = sandwiched(Graded(), [grades], chains=2, temperatures=20, **QUIET)
    assert all(math.isfinite(estimate.mean) for estimate in found.values())


class TwoLatents(nn.Module):
    """v ~ N(A u, 1), whose guide draws u from the image, as v is wide, and from v."""

    def __init__(self, wide: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lower, self.upper = nn.Linear(4, 2), nn.Linear(6, 2)
        self.above, self.decode, self.wide = nn.Linear(2, 2), nn.Linear(2, 4), wide

    def model(self, x: Tensor) -> None:
        with pyro.plate("n", len(x)):
            u = pyro.sample("u", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            v = pyro.sample("v", dist.Normal(self.above(u), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decode(v), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("n", len(x)):
            v = pyro.sample("v", dist.Normal(self.lower(x), 1.0).to_event(1))
            code = self.upper(torch.cat([self.wide(x, v), v.expand(*self.lead(x, v), 2)], -1))
            pyro.sample("u", dist.Normal(code, 1.0).to_event(1))

    def lead(self, x: Tensor, v: Tensor) -> torch.Size:
        """As wide as the image that is made as wide as v."""
        return self.wide(x, v).shape[:-1]


@pytest.mark.parametrize("numbers", [2**22, 6 * 4 * 5])
def test_images_may_be_expanded_to_the_latents(
    numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As to particles; for the rate v is one row beside many images, of all draws or the last."""
    monkeypatch.setattr(aggregate, "NUMBERS", numbers)
    by_both = TwoLatents(lambda x, v: torch.broadcast_tensors(x, v[..., :1])[0])
    by_latent = TwoLatents(lambda x, v: x.expand(*v.shape[:-1], 4))
    found, expected = (rate(pair, [X], **QUIET) for pair in (by_latent, by_both))
    for name, estimate in expected.items():
        assert found[name].mean == pytest.approx(estimate.mean, rel=1e-6), name


def test_a_report_of_ones_own_pair_is_whole() -> None:
    labels = torch.arange(6) % 3
    found = report(Coded(), [(X, labels)], particles=25, seed=np.int64(3), **QUIET)
    assert [*found.numbers] == ["bounds", "evidence", "rate"]
    assert json.loads(found.json())["settings"]["seed"] == 3


def test_a_report_goes_on_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    found = report(member("GMVAE"), [(fixed(6), torch.arange(6) % 3)], particles=25, **QUIET)
    assert any("clusters: clusters need SciPy" in note for note in found.notes)
    assert math.isfinite(found.numbers["rate"]["rate"].mean)


def test_a_report_without_all_labels() -> None:
    labels = torch.arange(6) % 3
    labels[3] = -1
    images = data.Images((fixed(6) * 255).byte(), labels, binarisation="threshold")
    found = report(member("SSVAE"), images, particles=25, **QUIET)
    assert [*found.numbers] == ["bounds", "evidence", "rate"]
    assert [note.partition(":")[0] for note in found.notes[:1]] == ["classes"]


@pytest.mark.parametrize("loaded", [False, True])
def test_a_report_leaves_a_stream_where_it_was(tmp_path: Path, loaded: bool) -> None:
    pixels = (fixed(20) * 255).byte().numpy()
    shards = data.write_shards(tmp_path / "s", [pixels], shard_size=20)
    stream = data.Stream(shards, binarisation="threshold", batch_size=5)
    next(iter(stream))
    before = stream.state_dict()
    batches = torch.utils.data.DataLoader(stream, batch_size=None) if loaded else stream
    report(member("VAE"), batches, particles=25, **QUIET)
    assert stream.state_dict() == before
