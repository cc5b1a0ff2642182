"""Each likelihood against scipy, quadrature or a sum; bad data; training on data that are no pictures.

Exact tests are in float64, with the tolerance stated in each.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy import integrate, special, stats
from torch import Tensor, nn
from zoo import BadCall, refused

from vaezoo import Bound, fit, likelihoods, load, models, networks, save

GENES, CLASSES, LEVELS = (12,), 3, 5
OPTIONS: dict[str, dict[str, Any]] = {
    "Bernoulli": {},
    "ContinuousBernoulli": {},
    "DiscretizedLogistic": {"scale": "shared"},
    "DiscretizedLogistic, pixel": {"scale": "pixel"},
    "Normal": {"variance": 0.3},
    "Normal, shared": {"learn_variance": "shared"},
    "Normal, pixel": {"learn_variance": "pixel"},
    "Categorical": {"levels": LEVELS},
    "Poisson": {},
    "NegativeBinomial": {},
}


def likelihood(case: str, x_shape: tuple[int, ...] = GENES, **changes: Any) -> Any:
    kind = getattr(likelihoods, case.split(",")[0])
    return kind(3, x_shape, **{"hidden": (8, 6), **OPTIONS[case], **changes})


def data(case: str, n: int = 6) -> Tensor:
    """Synthetic observations (n, 12), all levels and some large counts among them."""
    grid = torch.linspace(0, 1, n * 12).reshape(n, 12)
    return {
        "Bernoulli": grid.round(),
        "ContinuousBernoulli": grid,
        "DiscretizedLogistic": (grid * 255).round() / 255,
        "Normal": grid * 4 - 2,
        "Categorical": (grid * (LEVELS - 1)).round(),
        "Poisson": torch.poisson(grid * 30),
        "NegativeBinomial": torch.poisson(grid.pow(4) * 300),
    }[case.split(",")[0]]


def given(name: str, parameters: Tensor, **options: Any) -> Any:
    """The distribution of single numbers whose network has put out `parameters` (D,)."""
    size = len(parameters)
    kind = getattr(likelihoods, name)
    part = kind(size, (size,), network=nn.Identity(), **options).double()
    return part(parameters).base_dist, part


H = torch.tensor(
    [-30.0, -3.0, -0.2501, -0.2499, -1e-4, 0.0, 1e-9, 0.1, 0.26, 2.0, 15.0, 30.0]
).double()


def test_bernoulli_is_scipys() -> None:
    d, _ = given("Bernoulli", H)
    for x in (0.0, 1.0):
        exact = special.log_expit((2 * x - 1) * H.numpy())
        assert d.log_prob(H.new_tensor(x)).numpy() == pytest.approx(exact, abs=1e-12)


def _tilted(x: float, k: int, h: float, peak: float) -> float:
    return x**k * math.exp(h * x - peak)


def test_continuous_bernoulli_against_quadrature() -> None:
    """Normaliser to 1e-11, mean and variance to 1e-9, for |logit| up to 30 and on both sides of the series."""
    d, _ = given("ContinuousBernoulli", H)
    for i, h in enumerate(H.tolist()):
        peak = max(h, 0.0)  # taken out, so that quad sees numbers near 1
        total, first, second = (
            integrate.quad(_tilted, 0, 1, args=(k, h, peak), epsabs=1e-13, limit=200)[0]
            for k in range(3)
        )
        log_c = d.log_prob(H.new_tensor(0.3))[i].item() - 0.3 * h
        assert log_c == pytest.approx(-math.log(total) - peak, abs=1e-11)
        assert d.mean[i].item() == pytest.approx(first / total, abs=1e-9)
        assert d.variance[i].item() == pytest.approx(
            second / total - (first / total) ** 2, abs=1e-9
        )


def test_continuous_bernoulli_in_float32() -> None:
    """To 1e-6 of a nat where torch's own, which clamps a probability, is 0.6 nats off."""
    logits = torch.tensor([-30.0, 30.0])
    d, _ = given("ContinuousBernoulli", logits.double())
    exact = d.log_prob(H.new_tensor(0.3))
    ours = likelihoods.ContinuousBernoulli(2, (2,), network=nn.Identity())(logits).base_dist
    x = torch.tensor(0.3)
    assert ours.log_prob(x).double().numpy() == pytest.approx(exact.numpy(), abs=2e-6)
    theirs = dist.ContinuousBernoulli(logits=logits).log_prob(x).double()
    assert (theirs - exact).abs().min() > 0.5


def test_normal_is_scipys() -> None:
    for learn in (False, True, "shared", "pixel"):
        d, part = given("Normal", H, variance=0.3, learn_variance=learn)
        if learn:
            nn.init.normal_(part.log_scale)
            scale = part.log_scale.detach().exp().numpy()
            d = part(H).base_dist
        else:
            scale = math.sqrt(0.3)
        exact = stats.norm.logpdf(0.7, H.numpy(), scale)
        assert d.log_prob(H.new_tensor(0.7)).detach().numpy() == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("log_s", [-7.0, -2.3, 1.0])
def test_discretized_logistic_against_scipy(log_s: float) -> None:
    """Sum over 256 levels to 1e-12, each bin to 1e-9, the mean to 1e-12."""
    means = torch.tensor([-0.4, 0.0, 0.3, 1.0, 60.0]).double()
    _, part = given("DiscretizedLogistic", means, scale="pixel")
    nn.init.constant_(part.log_scale, log_s)
    d = part(means).base_dist
    levels = d.enumerate_support().detach()
    mass = d.log_prob(levels).exp().detach()
    assert (mass.sum(0) - 1).abs().max() < 1e-12
    assert ((mass * levels).sum(0) - d.mean).abs().max() < 1e-12
    edges = (np.arange(257) - 0.5)[:, None] / 255
    below = stats.logistic.cdf(edges, means.numpy(), math.exp(log_s))
    below[0], below[-1] = 0, 1
    assert mass.numpy() == pytest.approx(np.diff(below, axis=0), abs=1e-9)


def test_categorical_is_a_softmax() -> None:
    logits = torch.randn(4, 3, LEVELS).double()
    part = likelihoods.Categorical(15, (3,), network=nn.Unflatten(-1, (3, LEVELS)), levels=LEVELS)
    d = part.double()(logits.flatten(1))
    exact = special.log_softmax(logits.numpy(), -1)
    for k in range(LEVELS):
        found = d.log_prob(torch.full((4, 3), float(k)).double())
        assert found.numpy() == pytest.approx(exact[..., k].sum(-1), abs=1e-12)
    mean = (np.exp(exact) * np.arange(LEVELS)).sum(-1)
    squares = (np.exp(exact) * np.arange(LEVELS) ** 2).sum(-1)
    assert d.mean.numpy() == pytest.approx(mean, abs=1e-12)
    assert d.variance.numpy() == pytest.approx(squares - mean**2, abs=1e-12)
    single = part.float()(logits.float().flatten(1))
    with torch.autocast("cpu", torch.bfloat16):
        assert single.mean.numpy() == pytest.approx(mean, abs=1e-5)


COUNTS = torch.tensor([0.0, 1.0, 2.0, 7.0, 100.0, 5000.0]).double()[:, None]


def test_poisson_is_scipys() -> None:
    d, _ = given("Poisson", H)
    rate = np.exp(15 * np.tanh(H.numpy() / 15))
    exact = stats.poisson.logpmf(COUNTS.numpy(), rate)
    assert d.log_prob(COUNTS).numpy() == pytest.approx(exact, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("raw_r", [-6.0, 0.0, 4.2, 4.6, 30.0])
def test_negative_binomial_against_a_product(raw_r: float) -> None:
    """To 1e-10, on both sides of r = 64 where a series begins: log Γ(x + r) / Γ(r) as Σ log(r + i).

    scipy's is told 1 - p = μ / (r + μ) as p, and is 1e-4 off where that is small.
    """
    _, part = given("NegativeBinomial", H)
    nn.init.constant_(part.raw_r, raw_r)
    d = part(H).base_dist
    mean, r = np.exp(15 * np.tanh(H.numpy() / 15)), math.exp(15 * math.tanh(raw_r / 15))
    rising = [math.fsum(np.log1p(np.arange(x) / r)) for x in COUNTS[:, 0].tolist()]
    exact = np.array(rising)[:, None] - special.gammaln(COUNTS.numpy() + 1)
    exact = exact + COUNTS.numpy() * (np.log(mean) - np.log1p(mean / r)) - r * np.log1p(mean / r)
    assert d.log_prob(COUNTS).detach().numpy() == pytest.approx(exact, rel=1e-10, abs=1e-10)
    if raw_r < 5:
        scipys = stats.nbinom.logpmf(COUNTS.numpy(), r, r / (r + mean))
        assert scipys[:, 3:] == pytest.approx(exact[:, 3:], rel=1e-8)
    assert d.mean.detach().numpy() == pytest.approx(mean, rel=1e-10)
    assert d.variance.detach().numpy() == pytest.approx(mean + mean**2 / r, rel=1e-10)


def test_negative_binomial_of_large_r_in_float32_is_poisson() -> None:
    """At r = 3e6 to 1e-5 of 1 + |log P|; torch's own NegativeBinomial is off by more than 0.01."""
    part = likelihoods.NegativeBinomial(1, (1,), network=nn.Identity())
    nn.init.constant_(part.raw_r, 1e3)
    d = part(torch.tensor([1.0])).base_dist
    x = COUNTS[:4].float()
    exact = stats.nbinom.logpmf(x.numpy(), math.exp(15), 1 / (1 + d.mean.item() * math.exp(-15)))
    error = np.abs(d.log_prob(x).detach().numpy() - exact) / (1 + np.abs(exact))
    assert error.max() < 1e-5
    theirs = dist.NegativeBinomial(d.total_count, logits=d.logits).log_prob(x).detach().numpy()
    assert np.abs(theirs - exact).max() > 0.01


@pytest.mark.parametrize("size", [1.0, 30.0, 1e4])
@pytest.mark.parametrize("case", OPTIONS)
def test_finite_in_float32(case: str, size: float) -> None:
    """Densities and gradients, whatever the network puts out."""
    part = likelihood(case, network=nn.Identity())
    outputs = part.output_shape()
    h = (size * torch.linspace(-1, 1, math.prod(outputs))).reshape(1, *outputs).requires_grad_()
    log_p = part(h).log_prob(data(case))
    log_p.sum().backward()
    assert log_p.isfinite().all()
    assert all(t.grad.isfinite().all() for t in (h, *part.parameters()))


@pytest.mark.parametrize("name", ["VAE", "SSVAE"])
@pytest.mark.parametrize("case", OPTIONS)
def test_trains_on_data_that_are_no_pictures(case: str, name: str, tmp_path: Path) -> None:
    """Three steps on (N, 12): finite, a gradient in every weight; then draws, means and a file."""
    options = {"classes": CLASSES} if name == "SSVAE" else {}
    model = getattr(models, name)(
        GENES, 3, hidden=(6, 8), likelihood=likelihood(case, **options), **options
    )
    x, y = data(case), torch.arange(6) % CLASSES
    Bound(model)(*((x,) if name == "VAE" else (x, x, y)))["loss"].backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in model.parameters())
    before = copy.deepcopy(model.state_dict())
    history = fit(model, [x if name == "VAE" else (x, x, y)], steps=3, log_every=1, progress=False)
    assert all(np.isfinite(v).all() for v in history.values())
    assert all(not torch.equal(p, before[n]) for n, p in model.named_parameters())
    drawn = model.sample(4, mean=False)
    model.likelihood.check(drawn)
    assert drawn.dtype == model.sample(4).dtype == torch.float32
    assert model.reconstruct(x).isfinite().all()
    twin = load(save(model, tmp_path / "model.safetensors"))
    assert repr(twin) == repr(model)
    assert all(torch.equal(t, twin.state_dict()[n]) for n, t in model.state_dict().items())


@pytest.mark.parametrize("case", OPTIONS)
def test_leading_dimensions_and_float64(case: str) -> None:
    part = likelihood(case, (2, 3), classes=CLASSES).double()
    every = torch.arange(CLASSES)[:, None, None]
    d = part(torch.randn(5, 7, 3).double(), every)
    assert d.batch_shape == (CLASSES, 5, 7)
    assert d.event_shape == (2, 3)
    assert d.sample().dtype == d.mean.dtype == d.log_prob(d.sample()).dtype == torch.float64
    assert d.mean.shape == d.sample().shape == (CLASSES, 5, 7, 2, 3)
    assert d.expand((2, CLASSES, 5, 7)).sample().shape == (2, CLASSES, 5, 7, 2, 3)


def test_networks_of_vectors() -> None:
    assert networks.MLP((30,), (4,), (2, 3))(torch.zeros(5, 7, 30)).shape == (5, 7, 2, 3)


def test_learn_variance_as_it_was_written_before(tmp_path: Path) -> None:
    """True and "shared" are one, so that older checkpoints fit models built either way."""
    old, new = likelihood("Normal, shared", learn_variance=True), likelihood("Normal, shared")
    assert old.learn_variance is new.learn_variance is True
    assert old.log_scale.shape == new.log_scale.shape == ()
    model = models.VAE(GENES, 3, hidden=(6, 8), likelihood=old)
    load(
        save(model, tmp_path / "old.safetensors"),
        models.VAE(GENES, 3, hidden=(6, 8), likelihood=copy.deepcopy(new)),
    )


def check(case: str, value: float) -> Callable[[], None]:
    return lambda: likelihood(case).check(torch.tensor([[0.0, value]]))


BAD: list[tuple[Callable[[], Any], str]] = [
    (check("Bernoulli", 0.5), r"pixels that are 0 or 1, got 0\.5: .*binarisation='dynamic'"),
    (check("ContinuousBernoulli", 1.5), r"needs pixels in \[0, 1\], got 1\.5: divide bytes by 255"),
    (check("ContinuousBernoulli", -0.1), r"needs pixels in \[0, 1\], got -0\.1"),
    (check("DiscretizedLogistic", 0.5), r"multiples of 1/255 in \[0, 1\], got 0\.5: .*binarisation='none'"),
    (check("DiscretizedLogistic", 256 / 255), r"multiples of 1/255 in \[0, 1\], got 1\.00392"),
    (check("DiscretizedLogistic", -1 / 255), r"multiples of 1/255 .* got -0\.0039"),
    (check("DiscretizedLogistic", 7.0002 / 255), r"multiples of 1/255"),
    (check("Categorical", 5.0), r"levels=5 needs integers in 0\.\.4, as floats, got 5: number the"),
    (check("Categorical", -1.0), r"in 0\.\.4, as floats, got -1: .*more levels"),
    (check("Categorical", 0.25), r"got 0\.25"),
    (check("Poisson", -1.0), r"a Poisson likelihood needs counts 0, 1, 2, …, as floats, got -1: give the raw"),
    (check("Poisson", 1.5), r"got 1\.5: .*likelihoods\.Normal"),
    (check("NegativeBinomial", 0.5), r"a NegativeBinomial likelihood needs counts"),
    (lambda: likelihoods.Categorical(2, GENES, levels=1), "levels must be at least 2, got 1"),
    (lambda: likelihoods.DiscretizedLogistic(2, GENES, scale="image"), "'shared' or 'pixel', got 'image'"),
    (lambda: likelihoods.Normal(2, GENES, learn_variance="image"), "False, 'shared' or 'pixel', got 'image'"),
    (lambda: likelihoods.Normal(2, GENES, variance=-1), "positive number, got -1"),
    (lambda: likelihood("Poisson")(torch.zeros(2, 4)), r"inputs \(\.\.\., 3\), got \(2, 4\)"),
    (lambda: fit(models.VAE(GENES, 3, hidden=(4,), likelihood=likelihood("Poisson")), [-data("Poisson")], steps=1, progress=False), "needs counts"),
]  # fmt: skip


test_bad_input = refused([(call, ValueError, message) for call, message in BAD])


def test_levels_of_float32_pixels_are_accepted() -> None:
    """Bytes divided by 255 in either precision, and what is 0.5e-4 of a level off."""
    part = likelihood("DiscretizedLogistic")
    levels = torch.arange(256)
    part.check(levels.float() / 255)
    part.check((levels.double() / 255).float())
    part.check((levels.double()[:-1] + 0.5e-4) / 255)


BAD_VARIANCES: list[BadCall] = [
    (lambda: likelihoods.Normal(2, GENES, variance=0.0), ValueError, "positive number, got 0.0"),
    (lambda: likelihoods.Normal(2, GENES, variance="1"), TypeError, "variance must be a number, got '1'"),
    (lambda: likelihoods.Normal(2, GENES, variance=torch.ones(3)), TypeError, "variance must be a number, got tensor"),
]  # fmt: skip


test_bad_variances = refused(BAD_VARIANCES)


def test_a_fixed_scale_is_as_exact_as_the_dtype(tmp_path: Path) -> None:
    """However a model came by its dtype, log p(x|z) is that of a variance of 1/10, to 1e-12."""
    x, z, y = torch.rand(2, 3, 2, 2).double(), torch.randn(2, 2).double(), torch.arange(2)
    fsvae = models.FSVAE((3, 2, 2), 2, hidden=(4,)).double()
    loaded: Any = load(save(fsvae, tmp_path / "a.safetensors"))
    for part in (fsvae.likelihood, fsvae.float().double().likelihood, loaded.likelihood):
        squares = (x - part(z, y).mean).square().sum((1, 2, 3))
        exact = -squares / (2 * 0.1) - 6 * math.log(2 * math.pi * 0.1)
        assert part(z, y).log_prob(x).tolist() == pytest.approx(exact.tolist(), abs=1e-12)
    own = likelihoods.Normal(2, (3,), hidden=(4,))
    own.scale.fill_(0.1)
    assert own.double().scale.item() == torch.tensor(0.1).double().item()


@pytest.mark.parametrize("by", ["variance", "scale"])
def test_another_fixed_variance(by: str, tmp_path: Path) -> None:
    """Set on a model, it is that of log p(x|z), of what is printed, and of a file, to 1e-12."""
    vae = models.VAE((3,), 2, hidden=(4,), likelihood=likelihoods.Normal(2, (3,))).double()
    if by == "variance":
        vae.likelihood.variance = 4
    else:
        vae.likelihood.scale.fill_(2.0)
    loaded: Any = load(save(vae, tmp_path / "a.safetensors"))
    for model in (vae, copy.deepcopy(vae), loaded, loaded.float().double()):
        p = model.likelihood(torch.zeros(1, 2).double())
        assert p.variance.flatten().tolist() == pytest.approx([4.0] * 3, rel=1e-12)
        assert "variance=4)" in repr(model)
    vae.likelihood.scale = torch.tensor([1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match=r"likelihood\.variance is a tensor"):
        save(vae, tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match="variance must be a positive number, got 0"):
        loaded.likelihood.variance = 0
