"""Parts that are wrong where one look does not see it, and right ones that are hard to judge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from vaezoo import likelihoods, posteriors, priors
from vaezoo.contract import (
    ContractError,
    check_likelihood,
    check_part,
    check_posterior,
    check_prior,
)
from vaezoo.networks import MLP

X = torch.rand(3, 12, generator=torch.Generator().manual_seed(0))
Z = torch.rand(3, 2, generator=torch.Generator().manual_seed(1))


class OfX(posteriors.Posterior):
    """A posterior whose distribution is made of means by `make`."""

    def __init__(self, make: type, z_dim: int = 2) -> None:
        super().__init__()
        self.make, self.z_dim, self.x_shape = make, z_dim, (12,)
        self.network = MLP((12,), (8,), (z_dim,))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        loc = self.network(x)
        return self.make(loc, loc.new_full((), 0.5)).to_event(1)

    def __repr__(self) -> str:
        return "OfX()"


class Shifted(dist.Normal):
    """Its rsample is a standard deviation off, and its sample is right."""

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return type(self)(self.loc.expand(batch_shape), self.scale.expand(batch_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return super().rsample(sample_shape) + 0.5


class Noisy(dist.Normal):
    """Its draws are of noise that is made elsewhere."""

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return type(self)(self.loc.expand(batch_shape), self.scale.expand(batch_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        return self.loc + self.scale * self.noise(shape).to(self.loc)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)

    def noise(self, shape: torch.Size) -> Tensor:
        return torch.randn(shape)


class OneForAllNumbers(Noisy):
    def noise(self, shape: torch.Size) -> Tensor:
        return torch.randn(*shape[:-1], 1)


class OneForAllImages(Noisy):
    def noise(self, shape: torch.Size) -> Tensor:
        return torch.randn(*shape[:-2], 1, *shape[-1:]) if len(shape) > 1 else torch.randn(shape)


class OneForAllCalls(Noisy):
    def noise(self, shape: torch.Size) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(0))


class OneSizeForAll(Noisy):
    """Draws whose signs are independent, and whose sizes are not."""

    def noise(self, shape: torch.Size) -> Tensor:
        return torch.randn(*shape[:-1], 1).abs() * torch.randn(shape).sign()


class OneElsewhere(Noisy):
    """A single number of many has its draws three standard deviations off."""

    def noise(self, shape: torch.Size) -> Tensor:
        noise = torch.randn(shape)
        noise[..., 2] += 3
        return noise


class OneBernoulliOff(dist.Bernoulli):
    @property
    def mean(self) -> Tensor:
        return 1 - self.probs


def of_z(make: Callable[[Tensor], Any]) -> Any:
    """A class of likelihood, since what makes its distribution is no argument that a file holds."""

    class Made(likelihoods.Bernoulli):
        def forward(self, z: Tensor, y: Tensor | None = None) -> Any:
            return make(nn.functional.softplus(self.network(z)) + 0.5).to_event(1)

        def check(self, x: Tensor) -> None:
            pass

    return Made(2, (12,), hidden=(8,))


WRONG = [
    (Shifted, "samples: .* draws of rsample; rsample and log_prob are of two distributions"),
    (OneForAllNumbers, "independent: .* between those of two numbers"),
    (OneSizeForAll, "independent: .* between those of two numbers"),
    (OneForAllImages, "independent: .* between those of two inputs"),
    (OneForAllCalls, "independent: .* between those of two calls"),
]


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_wrong_draws_are_refused(make: type, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check_posterior(OfX(make), X)


def test_right_draws_are_accepted() -> None:
    check_posterior(OfX(Noisy), X)


def test_a_prior_with_one_noise_for_all_numbers_is_refused() -> None:
    class Tied(priors.StandardNormal):
        def forward(self) -> Any:
            return OneForAllNumbers(self.zeros, self.ones).to_event(1)

        def __repr__(self) -> str:
            return f"Tied({self.z_dim})"

    with pytest.raises(ContractError, match=r"independent: .* of two numbers"):
        check_prior(Tied(3))


@pytest.mark.parametrize("seed", range(3))
def test_every_number_is_looked_at(seed: int) -> None:
    """Of 12 the third, which is not among those whose whole distribution is tested."""
    likelihood = of_z(lambda loc: OneElsewhere(loc, loc.new_tensor(0.5)))
    with pytest.raises(ContractError, match="samples: expected a p-value"):
        check_likelihood(likelihood, Z, seed=seed)


def test_a_wrong_mean_is_refused() -> None:
    likelihood = of_z(lambda raw: OneBernoulliOff(probs=raw / (1 + raw)))
    with pytest.raises(
        ContractError, match="means: expected the mean of the density, got one that"
    ):
        check_likelihood(likelihood, Z)


RIGHT: dict[str, Callable[[Tensor], Any]] = {
    "Gamma, infinite at 0": lambda raw: dist.Gamma(0.3 + 0 * raw, raw),
    "Gamma, more so": lambda raw: dist.Gamma(0.1 + 0 * raw, raw),
    "Beta, infinite at both ends": lambda raw: dist.Beta(0.3 + 0 * raw, 0.4 * raw),
    "VonMises": lambda raw: dist.VonMises(raw - 1, 2 * raw),
    "Pareto": lambda raw: dist.Pareto(raw, 3 + raw),
    "Weibull": lambda raw: dist.Weibull(raw, 0.5 + 0 * raw),
    "Exponential": dist.Exponential,
    "LogNormal": lambda raw: dist.LogNormal(raw, 0.5 * raw),
    "StudentT": lambda raw: dist.StudentT(5.0, raw, raw),
    "rare": lambda raw: dist.Bernoulli(probs=1e-3 * raw),
}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", RIGHT)
def test_right_parts_of_many_kinds_are_accepted(kind: str, seed: int) -> None:
    check_likelihood(of_z(RIGHT[kind]), Z, seed=seed)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda raw: dist.Dirichlet(raw), "in a plane, as on a simplex: it cannot be judged"),
        (
            lambda raw: dist.OneHotCategorical(raw),
            "of outcomes that are vectors: it cannot be judged",
        ),
        (lambda raw: dist.Multinomial(5, raw), "of outcomes that are vectors: it cannot be judged"),
    ],
)
def test_what_cannot_be_judged_is_not_called_wrong(make: Any, message: str) -> None:
    class Made(likelihoods.Bernoulli):
        def forward(self, z: Tensor, y: Tensor | None = None) -> Any:
            return make(nn.functional.softplus(self.network(z)) + 0.5)

        def check(self, x: Tensor) -> None:
            pass

    with pytest.raises(ContractError, match=message):
        check_likelihood(Made(2, (12,), hidden=(8,)), Z)


def test_parts_are_checked_within_inference_mode() -> None:
    part = posteriors.DiagonalNormal((12,), 2, hidden=(8,))
    with torch.inference_mode():
        check_part(part, X.clone().double())
        assert torch.is_inference_mode_enabled()
