"""Checkpoints that older releases wrote: they load, and give the numbers that they gave."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from vaezoo import (
    ELBO,
    Bound,
    CheckpointError,
    likelihoods,
    load,
    models,
    networks,
    posteriors,
    priors,
)
from vaezoo.networks import MLP, Conv, PairMLP

FOLDER = Path(__file__).parent / "checkpoints"
X_SHAPE, Z, CLASSES = (1, 4, 4), 3, 3
H: dict[str, Any] = {"hidden": (4,)}
C: dict[str, Any] = {"hidden": (4,), "classes": CLASSES}


class Own(nn.Module):
    """A module that returns a distribution."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(Z))

    def forward(self) -> dist.TorchDistribution:
        return dist.Normal(self.loc, 2.0).to_event(1)


Own.__module__ = "elsewhere"  # in the file, whatever this one is called


def own_encoder() -> nn.Module:
    """A user's network, with statistics."""
    last = nn.Unflatten(-1, (2, Z))
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 2 * Z), nn.BatchNorm1d(2 * Z), last)


def m1m2() -> models.M1M2:
    """In float64, with a frozen M1."""
    network = Conv((Z,), (2,), X_SHAPE, activation=functools.partial(nn.LeakyReLU, 0.2))
    m1 = models.VAE(
        X_SHAPE,
        Z,
        **H,
        likelihood=likelihoods.Bernoulli(Z, X_SHAPE, network=network),
        posterior=posteriors.LowRankNormal(X_SHAPE, Z, rank=1, **H),
    )
    return models.M1M2.from_m1(m1, 2, classes=CLASSES, upper_hidden=(4,)).double()


def adgm() -> models.ADGM:
    """With a network of its own kind in each part that reads a pair."""
    pair = PairMLP(X_SHAPE, 2, (4,), (9,), classes=CLASSES, activation=nn.Tanh)
    return models.ADGM(
        X_SHAPE,
        Z,
        2,
        **C,
        prior=priors.MixtureOfGaussians(Z, k=2),
        likelihood=likelihoods.NegativeBinomial(Z, X_SHAPE, **C),
        posterior=posteriors.FullNormal(X_SHAPE, Z, classes=CLASSES, network=pair),
    )


BUILD: dict[str, Callable[[], Any]] = {
    "vae": lambda: models.VAE(
        X_SHAPE,
        Z,
        **H,
        beta=2.0,
        prior=priors.VampPrior(X_SHAPE, Z, k=3),
        likelihood=likelihoods.Categorical(Z, X_SHAPE, levels=2, **H),
        posterior=posteriors.DiagonalNormal(
            X_SHAPE, Z, network=Conv(X_SHAPE, (2,), (2, Z), activation=nn.ReLU)
        ),
    ),
    "gmvae": lambda: models.GMVAE(
        X_SHAPE, Z, **H, k=3, likelihood=likelihoods.ContinuousBernoulli(Z, X_SHAPE, **H)
    ),
    "iwae": lambda: models.IWAE(
        X_SHAPE,
        Z,
        **H,
        particles=4,
        prior=priors.MixtureOfGaussians(Z, k=3, learn_weights=True),
        likelihood=likelihoods.Normal(Z, X_SHAPE, learn_variance="pixel", **H),
    ),
    "ssvae": lambda: models.SSVAE(
        X_SHAPE, Z, **C, likelihood=likelihoods.DiscretizedLogistic(Z, X_SHAPE, scale="pixel", **C)
    ),
    "fsvae": lambda: models.FSVAE(
        X_SHAPE,
        Z,
        **C,
        prior=priors.VampPrior(X_SHAPE, Z, k=3, classes=CLASSES, unit=False),
        likelihood=likelihoods.Poisson(Z, X_SHAPE, **C),  # its encoder sees logarithms
    ),
    "hierarchical": lambda: models.HierarchicalVAE(
        X_SHAPE,
        Z,
        2,
        **H,
        upper_hidden=(4,),
        prior=priors.Flow(2, layers=1, hidden=(4,)),
        conditional_prior=likelihoods.Normal(2, (Z,), learn_variance="shared", **H),
        posterior=posteriors.Flow(X_SHAPE, Z, layers=1, flow_hidden=(4,), context=2, **H),
    ),
    "m1m2": m1m2,
    "adgm": adgm,
    "classifier": lambda: posteriors.Classifier(X_SHAPE, CLASSES, hidden=(4,)),
    "mlp": lambda: MLP((3,), (4,), (2,), activation=functools.partial(nn.Softplus, beta=2.0)),
}
# what nothing is built from: these are filled
GIVEN: dict[str, Callable[[], Any]] = {
    "bare": lambda: models.VAE(
        X_SHAPE,
        Z,
        **H,
        prior=dist.Laplace(nn.Parameter(torch.zeros(Z)), torch.ones(Z)).to_event(1),  # type: ignore[arg-type]
        posterior=posteriors.DiagonalNormal(X_SHAPE, Z, network=own_encoder()),
    ),
    "bare_module": lambda: models.VAE(X_SHAPE, Z, **H, prior=Own()),  # type: ignore[arg-type]
}
# of release 0.1.0, with weights from N(0, 0.4²): minus the ELBO of `IMAGES` from seed 1, or the sum
# of what a part alone puts out
NUMBERS = {
    "vae": 12.474460,
    "gmvae": 1.420520,
    "iwae": 28.218882,
    "ssvae": 20.803965,
    "fsvae": 21.152960,
    "hierarchical": 21.385368,
    "m1m2": 15.393951,
    "adgm": 21.643412,
    "classifier": 34.726841,
    "mlp": 1.761909,
    "bare": 12.008401,
    "bare_module": 14.043042,
}
IMAGES = (torch.arange(6 * 16) % 7 % 2).float().reshape(6, *X_SHAPE)


def number(model: Any) -> float:
    """What the file's weights have to give."""
    x = IMAGES.to(next(model.parameters()).dtype)
    if isinstance(model, MLP):
        return model(x[:, 0, 0, :3]).square().sum().item()  # type: ignore[no-any-return]
    if isinstance(model, posteriors.Classifier):
        return model(x).logits.square().sum().item()  # type: ignore[no-any-return]
    batch = (x, torch.arange(6) % CLASSES) if isinstance(model, models.FSVAE) else (x,)
    torch.manual_seed(1)
    loss: Tensor = Bound(model.eval(), ELBO())(*batch)["loss"]
    return loss.item()


@pytest.mark.parametrize("name", BUILD)
def test_a_file_of_every_member_and_part(name: str) -> None:
    """Built from the file alone, and into the model that is built today as it was then."""
    path = FOLDER / "0.1.0" / f"{name}.safetensors"
    model, twin = load(path), BUILD[name]()
    assert repr(model) == repr(twin)
    assert load(path, twin) is twin
    for each in (model, twin):
        assert number(each) == pytest.approx(NUMBERS[name], rel=1e-5)


@pytest.mark.parametrize("name", GIVEN)
def test_a_file_of_what_is_no_part(name: str) -> None:
    """Distributions, networks and modules of the user's: filled into a model made anew."""
    path = FOLDER / "0.1.0" / f"{name}.safetensors"
    with pytest.raises(CheckpointError, match="part from outside vaezoo"):
        load(path)
    assert number(load(path, GIVEN[name]())) == pytest.approx(NUMBERS[name], rel=1e-5)


def test_the_frozen_stay_frozen() -> None:
    model = load(FOLDER / "0.1.0" / "m1m2.safetensors")
    frozen = {n.split(".")[0] for n, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"likelihood", "posterior"}


def test_no_kind_of_part_is_missing() -> None:
    """Every public class that version 0.1.0 could write is in one of its files."""
    made = {type(m).__name__ for build in BUILD.values() for m in build().modules()}
    members = "VAE GMVAE IWAE SSVAE FSVAE HierarchicalVAE M1M2 ADGM"
    parts = (
        "StandardNormal MixtureOfGaussians VampPrior Flow DiagonalNormal FullNormal LowRankNormal"
    )
    parts += " Classifier Bernoulli ContinuousBernoulli DiscretizedLogistic Normal Categorical"
    assert {*members.split(), *parts.split(), "Poisson", "NegativeBinomial"} <= made
    assert {"MLP", "Conv", "PairMLP"} <= made
    assert isinstance(BUILD["hierarchical"]().posterior, posteriors.Flow)  # and the prior's own


# Files of before that release, which name some parts otherwise

# repr, sum of the absolute weights
BEFORE = {
    "adgm": ("p(a|x, z, y) = DiagonalNormal(2)", 84.305081),
    "conv_mixture": ("p(z) = MixtureOfGaussians(3, k=3)", 43.219868),
    "flows": ("p(z) = Flow(3, layers=2)", 158.498909),
    "low_rank": ("q(z|x, y) = LowRankNormal(3, rank=1)", 62.722326),
    "vamp_full": ("p(z) = VampPrior(3, k=3)", 124.512760),
}


@pytest.mark.parametrize("name", BEFORE)
def test_checkpoints_of_before(name: str) -> None:
    """Built anew, and into a model that describes itself as the file of before does."""
    part, weights = BEFORE[name]
    model = load(FOLDER / f"{name}.safetensors")
    assert part in repr(model)
    total = sum(t.double().abs().sum().item() for t in model.state_dict().values())
    assert total == pytest.approx(weights, abs=1e-6)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    assert load(FOLDER / f"{name}.safetensors", other) is other
    assert all(torch.equal(t, model.state_dict()[n]) for n, t in other.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


def test_a_partial_of_before_needs_its_model() -> None:
    """Files of before hold its repr, which nothing can be built from."""
    path = FOLDER / "partial.safetensors"
    with pytest.raises(CheckpointError, match=r"part from outside vaezoo, functools\.partial"):
        load(path)
    network = networks.MLP((3,), (4,), (1, 4, 4), activation=functools.partial(nn.LeakyReLU, 0.2))
    likelihood = likelihoods.Bernoulli(3, (1, 4, 4), hidden=(4,), network=network)
    model = load(path, models.VAE((1, 4, 4), 3, hidden=(4,), likelihood=likelihood))
    total = sum(t.double().abs().sum().item() for t in model.state_dict().values())
    assert total == pytest.approx(40.400365, abs=1e-6)
