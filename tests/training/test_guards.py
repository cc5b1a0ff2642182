"""Guards of training: what is not finite is named, what ails a run is said once, health is not."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import infer
from torch import Tensor, nn
from zoo import INFERS, MEMBERS, X_SHAPE, Z_DIM, images, labels, member

from vaezoo import (
    ELBO,
    Bound,
    NonFiniteLoss,
    Step,
    data,
    fit,
    likelihoods,
    objectives,
    posteriors,
    priors,
)
from vaezoo.programs import run
from vaezoo.training import TrainingWarning, guards
from vaezoo.training.guards import Guard
from vaezoo.training.history import History
from vaezoo.training.rising import rises
from vaezoo.training.symptoms import information


def blocks(n: int = 120) -> tuple[Tensor, Tensor]:
    """Four blocks, black or white: two of them say the label, two are free, and 3 % of pixels lie."""
    y, random = labels(n), torch.Generator().manual_seed(0)
    known = torch.tensor([[1.0, 0], [0, 1], [1, 1]])[y]
    free = (torch.rand(n, 2, generator=random) < 0.5).float()
    x = torch.cat([known, free], 1).reshape(n, 1, 2, 2)
    x = x.repeat_interleave(2, -1).repeat_interleave(2, -2)
    return (x - (torch.rand(x.shape, generator=random) < 0.03).float()).abs(), y


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks that are close together, for short runs."""
    monkeypatch.setattr(guards, "STEPS", 10)


def train(model: Any, batches: Any, objective: Any = None, **options: Any) -> Any:
    options = {"steps": 80, "log_every": 10, "lr": 1e-2, "progress": False} | options
    return fit(model, batches, objective, **options)


def warned(*arguments: Any, **options: Any) -> list[str]:
    """What is said of a training, which is done to its end."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        train(*arguments, **options)
    assert {(w.category, w.filename) for w in said} <= {(TrainingWarning, __file__)}
    return [str(w.message) for w in said]


# What is not finite


def poisoned(where: str) -> Any:
    """A VAE whose numbers of one kind become NaN in the second step."""
    vae, calls = member("VAE", likelihood=likelihoods.Normal(Z_DIM, X_SHAPE, hidden=(6,))), []

    def spoil(module: Any, given: Any, out: Tensor) -> Tensor:
        if module.training:  # and not where what there is to train is looked for
            calls.append(0)
        return out * (torch.nan if len(calls) > 1 else 1)

    def spoil_gradient(gradient: Tensor) -> Tensor:
        calls.append(0)
        return gradient * (torch.nan if len(calls) > 1 else 1)

    if where == "gradient":
        vae.likelihood.network.rest[-2].bias.register_hook(spoil_gradient)
    else:
        getattr(vae, where).network.register_forward_hook(spoil)
    return vae


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            "likelihood",
            r"step 2: loss, .*not finite.*; not finite: log p\(x\) of site 'x' in the model, as loc of "
            "its Normal is not finite; the weights from before this step are kept",
        ),
        (
            "posterior",
            r"step 2: .*; not finite: log q\(z\) of site 'z' in the guide, as loc and scale of its",
        ),
        (
            "gradient",
            "step 2: the gradient not finite.*; the gradient of parameter "
            "likelihood.network.rest.1.bias not finite",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Encountered NaN")  # Pyro's own
@pytest.mark.parametrize("objective", [None, infer.Trace_ELBO()], ids=["own", "Pyro's"])
def test_what_is_not_finite_is_named(where: str, message: str, objective: Any) -> None:
    with pytest.raises(NonFiniteLoss, match=message):
        train(poisoned(where), [images()], objective)


def test_a_gradient_of_a_compiled_step_is_named() -> None:
    """Its parameters are left without gradients, so that they are computed again."""
    vae = member("VAE", likelihood=likelihoods.Normal(Z_DIM, X_SHAPE, hidden=(6,)))
    x = images()
    step = Step(Bound(vae), torch.optim.Adam(vae.parameters())).compile("eager")
    for _ in range(3):
        terms = step(x)
    with torch.no_grad():
        vae.likelihood.network.rest[-2].weight.fill_(1e19)  # of which the loss is finite
    terms = step(x)
    guard_error = Guard(step).error(4, terms, History(), x)
    assert step.broken
    assert guard_error.sites or guard_error.gradients


def test_parameters_that_are_not_finite_from_the_start() -> None:
    vae = member("VAE")
    before = copy.deepcopy(vae.state_dict())
    with torch.no_grad():
        vae.prior.register_parameter("spare", nn.Parameter(torch.tensor(torch.inf)))
    with pytest.raises(NonFiniteLoss, match=r"step 1: parameter prior.spare not finite; begin"):
        train(vae, [images()])
    assert all(torch.equal(t, vae.state_dict()[n]) for n, t in before.items())


def test_a_buffer_is_found_at_a_record() -> None:
    """A running mean that is NaN changes no loss in training; −∞ that was there before may stay."""
    vae = member("VAE", posterior=normed_posterior())
    vae.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    train(vae, [images()], steps=2, log_every=1)

    def rate(step: int) -> float:
        if step == 3:
            vae.posterior.network[1].running_mean[0] = torch.nan
        return 1e-3

    with pytest.raises(
        NonFiniteLoss,
        match=r"step 4: buffer posterior.network.1.running_mean not finite; begin again",
    ) as caught:
        train(vae, [images()], steps=4, log_every=2, lr=rate)
    assert caught.value.history["step"] == [2, 4]


def normed_posterior() -> Any:
    network = nn.Sequential(
        nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 2 * Z_DIM), nn.Unflatten(1, (2, Z_DIM))
    )
    return posteriors.DiagonalNormal(X_SHAPE, Z_DIM, network=network)


def test_data_outside_the_support() -> None:
    """An error, which says what to do."""
    with pytest.raises(ValueError, match="pixels that are 0 or 1, got 255: load the data with"):
        train(member("VAE"), [images() * 255])


# What ails a run that was made to fail


def test_collapse(often: None) -> None:
    """The KL weighs a hundredfold, on images that have something to say."""
    said = warned(member("VAE"), [blocks()[0]], ELBO(beta=100.0))
    assert len(said) == 1
    assert "the posterior of z has collapsed: 0 of 3 units" in said[0]
    assert all(word in said[0] for word in ("Causes:", "Cures:", "WarmUp"))


def test_collapse_of_a_flow(often: None) -> None:
    flow = posteriors.Flow(X_SHAPE, Z_DIM, layers=1, flow_hidden=(8,), context=4, hidden=(8,))
    said = warned(member("VAE", posterior=flow), [blocks()[0]], ELBO(beta=100.0))
    assert [s for s in said if "the posterior of z has collapsed" in s]


class Covariates(nn.Module):
    """A pair that is handed a mask and a covariate, or either, and needs no code."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.mean = nn.Linear(6, 4), nn.Parameter(torch.zeros(6))

    def model(self, x: Tensor, mask: Tensor, c: Tensor | None = None) -> None:
        with pyro.plate("rows", len(x)):
            pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.mean, 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor, mask: Tensor, c: Tensor | None = None) -> None:
        with pyro.plate("rows", len(x)):
            loc, log_scale = self.encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


@pytest.mark.parametrize("arguments", [2, 3])
def test_collapse_of_a_pair_of_several_arguments(often: None, arguments: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 6)
    said = warned(Covariates(), [(x,) * arguments], steps=300)
    assert [s for s in said if "the posterior of z has collapsed" in s]


def test_dead_components(often: None) -> None:
    """All but one begin too far away for any code to be near them."""
    prior = priors.MixtureOfGaussians(Z_DIM, k=6)
    with torch.no_grad():
        prior.loc[1:] += 1000.0
    said = warned(member("GMVAE", prior=prior), [blocks()[0]])
    assert len(said) == 1
    assert "5 of the 6 components of p(z) are dead" in said[0]


def test_variances_that_vanish(often: None) -> None:
    """Half of the pixels are always black, and each pixel has a variance of its own."""
    x = torch.rand(60, *X_SHAPE)
    x[..., :2] = 0
    likelihood = likelihoods.Normal(Z_DIM, X_SHAPE, hidden=(8,), learn_variance="pixel")
    with torch.no_grad():
        likelihood.log_scale[..., :2] = -10.0
    said = warned(member("VAE", likelihood=likelihood), [x], lr=1e-3)
    assert [s for s in said if "50% of the scales of p(x) vanish" in s]


def test_variances_that_grow(often: None) -> None:
    likelihood = likelihoods.Normal(Z_DIM, X_SHAPE, hidden=(8,), variance=1e8)
    said = warned(member("VAE", likelihood=likelihood), [torch.rand(60, *X_SHAPE)])
    assert [s for s in said if "100% of the scales of p(x) grow without bound" in s]


def test_a_rate_that_is_too_high() -> None:
    """The model is trained first: from there the loss can jump."""
    vae, (x, _) = member("VAE"), blocks()
    rates = lambda step: 1e-2 if step < 60 else 30.0  # noqa: E731
    said = warned(vae, [x], lr=rates, steps=120)
    rising = [s for s in said if "the loss rises" in s]
    assert len(rising) == 1
    assert "lr=30" in rising[0]


@pytest.mark.parametrize("name", ["SSVAE", "FSVAE"])
def test_labels_that_never_appear(name: str) -> None:
    x, y = blocks()
    pixels = (x * 255).byte()
    labelled = data.Images(pixels, y.clamp(max=1), binarisation="threshold")
    sets = data.semi_supervised(labelled, labelled[:6]) if name in INFERS else labelled
    (said,) = warned(member(name), sets, steps=100)
    assert "no labelled image is of class 2" in said


# Health


def healthy(name: str) -> Any:
    x, y = blocks()
    pixels = data.Images((x * 255).byte(), y, binarisation="threshold")
    return data.semi_supervised(pixels, pixels[:30], batch_size=60) if name in INFERS else pixels


@pytest.mark.parametrize("name", MEMBERS)
def test_healthy_runs_are_silent(name: str) -> None:
    """Of every member, on images with something to say; a warning is an error here."""
    train(member(name), healthy(name), steps=200, log_every=40)


def test_schedules_are_no_rise() -> None:
    """The loss under β from 0 to 4 rises for ever, and that is meant."""
    train(member("VAE"), [blocks()[0]], ELBO(objectives.WarmUp(200, end=4.0)), steps=200)


def test_guards_change_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and the generator's state are bitwise those of a training without looks."""
    model, found = member("VAE", posterior=normed_posterior()), []
    for steps in (1, 10**9):
        monkeypatch.setattr(guards, "STEPS", steps)
        twin = copy.deepcopy(model)
        torch.manual_seed(3)
        train(twin, [images(), images()], steps=10, log_every=1)
        found.append([*twin.state_dict().values(), torch.get_rng_state()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_looks_are_apart_and_short() -> None:
    """Of 100 records with 300 images each, two runs of the pair with 128."""

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.loc, self.seen = nn.Parameter(torch.zeros(2)), []

        def model(self, x: Tensor) -> None:
            self.seen.append(len(x))
            with pyro.plate("images", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

        def guide(self, x: Tensor) -> None:
            with pyro.plate("images", len(x)):
                pyro.sample("z", dist.Normal(self.loc + x, 1.0).to_event(1))

    pair = Counting()
    train(pair, [torch.randn(300, 2)], steps=100, log_every=1)
    assert pair.seen.count(guards.IMAGES) == 2


def test_users_may_silence_them(often: None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", TrainingWarning)
        train(member("VAE"), [blocks()[0]], ELBO(beta=100.0))


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([9, 5, 4, 3], False),
        ([9, 5, 4, 9], False),  # one bad record
        ([9, 5, 4, 12, 12], False),  # as far as the median change is as large
        ([200, 120, 110, 105, 104, 103.5, 103, 102.9, 400, 500], True),
        ([103, 102, 103, 102.5, 103, 102, 103.5, 102.5, 102, 103], False),  # at rest
        ([103, 102, 103, 102.5, 103, 104, 106, 110, 118, 130], True),
    ],
)
def test_rising(losses: list[float], expected: bool) -> None:
    assert rises(losses) == expected


@pytest.mark.parametrize("n", [3, 7, 49])
def test_a_unit_that_says_nothing_has_no_information(n: int) -> None:
    """But for rounding: rows of a product differ in their last digit, by where in a block they are."""
    for seed in range(50):
        torch.manual_seed(seed)
        vae = member("VAE")
        terms = run(vae.model, vae.guide, torch.zeros(n, *X_SHAPE))
        assert information(terms, "z").abs().max() < 1e-12
