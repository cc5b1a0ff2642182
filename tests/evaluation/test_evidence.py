"""`evidence`: closed forms of a linear-Gaussian model, its errors, and when it warns."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from linear import D, Linear
from torch import Tensor, nn
from zoo import EACH_PART, GIVEN, MEMBERS, BadCall, batch_for, images, member, refused, with_parts

from vaezoo import compare, evaluate
from vaezoo.estimates import Estimate
from vaezoo.evaluation import evidence
from vaezoo.evaluation.pareto import pareto_shape


def found_of(model: Any, batches: Any, particles: int = 50, **options: Any) -> dict[str, Estimate]:
    return evidence(model, batches, particles, progress=False, **options)


def values(estimate: Estimate) -> Tensor:
    assert estimate.values is not None
    return estimate.values


def test_an_exact_posterior_has_equal_weights() -> None:
    """log p(x) of every image to 1e-9 from 25 draws, an error of 0, all draws effective."""
    linear = Linear()
    x = linear.draw(7)
    found = found_of(linear.vae, [x], 25)
    assert (values(found["log_px"]) - linear.log_px(x)).abs().max() < 1e-9
    assert found["mc_error"].mean < 1e-9
    assert found["ess"].mean == pytest.approx(25, abs=1e-6)
    assert found["k_hat"].mean == 0


def test_errors_are_those_of_the_closed_form() -> None:
    """200 repeats each: 90 to 99 % of the 95 % intervals hold log p(x), and the mean of all images.

    Every image is a repeat for its own Monte Carlo error, every 30 for the error over images.
    """
    torch.manual_seed(0)
    linear = Linear(widen=1.2)
    x = linear.draw(200 * 30)
    found = found_of(linear.vae, x.split(1000), 100, max_decodes=100_000)
    z = (values(found["log_px"]) - linear.log_px(x)) / values(found["mc_error"])
    assert abs(z.mean() + 0.5 * found["mc_error"].mean) * math.sqrt(len(z)) < 4
    covered = (z[:200].abs() < 1.96).double().mean()
    assert 0.9 <= covered <= 0.99
    each = values(found["log_px"]).reshape(200, 30)
    error = each.std(1) / math.sqrt(30)
    covered = ((each.mean(1) - linear.mean_log_px()).abs() < 1.96 * error).double().mean()
    assert 0.9 <= covered <= 0.99


def test_weights_are_those_of_their_closed_form() -> None:
    """ESS / K for q wider than the posterior by c: Π c^-2 √(2c² - 1), to 1 % at 20,000 draws."""
    linear = Linear(widen=1.2)
    found = found_of(linear.vae, [linear.draw(3)], 20_000)
    expected = (math.sqrt(2 * 1.2**2 - 1) / 1.2**2) ** 3
    assert found["ess"].mean / 20_000 == pytest.approx(expected, rel=0.01)


def test_too_narrow_a_posterior_is_said() -> None:
    """Scales of 0.4 of the posterior's: weights exp(z²(1/s² - 1)/2) of shape k = 1 - s² = 0.84."""
    torch.manual_seed(0)
    linear = Linear((2.0,), widen=0.4)
    with pytest.warns(
        UserWarning, match=r"\d+ of 40 images have too few weights .* above 0.70"
    ) as w:
        found = found_of(linear.vae, [linear.draw(40)], 5000)
    assert w[0].filename == __file__
    assert 0.7 < found["k_hat"].mean < 0.9


@pytest.mark.parametrize(
    ("k", "shape", "expected"),
    [
        (25, 0.5, 0.5022472840391239),
        (400, 0.3, 0.33560832058231593),
        (1000, 0.9, 0.8432186317355614),
        (4000, 2.0, 1.8928950804447224),
    ],
)
def test_shapes_are_arviz_s(k: int, shape: float, expected: float) -> None:
    """Of Pareto quantiles, to 1e-9 what arviz-stats 0.8.0 gives, `psislw(-log_w, r_eff=1.0)`."""
    u = (torch.arange(k, **D) + 0.5) / k
    assert pareto_shape(-shape * u.log()[:, None]).item() == pytest.approx(expected, abs=1e-9)


def test_shapes_of_extreme_weights_are_numbers() -> None:
    """All the same, all but the same, hundreds of nats apart; in float32 too."""
    one = torch.zeros(100, 1)
    assert pareto_shape(one - 3.3).item() == 0
    apart = torch.linspace(0, 5000, 100)[:, None]
    for log_w in (apart, apart.double(), one + 90 + 1e-6 * torch.rand(100, 1)):
        assert pareto_shape(log_w).isfinite().all()
    assert pareto_shape(apart).item() > 1


@pytest.mark.parametrize("name", MEMBERS)
def test_it_is_the_bound_of_as_many_particles(name: str) -> None:
    """log p(x) of each image is -NIWAE-K from the same draws, labels summed out alike, to 1e-5."""
    torch.manual_seed(0)
    model, batch = member(name), batch_for(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = found_of(model, [batch], 30)
    bound = evaluate(model, [batch], particles=30, progress=False)["niwae-30"]
    assert (values(found["log_px"]) + values(bound)).abs().max() < 1e-5
    assert compare(found, found)["log_px"].mean == 0


@pytest.mark.parametrize("parts", EACH_PART)
def test_any_parts_will_do(parts: tuple[str, str, str]) -> None:
    torch.manual_seed(0)
    model = with_parts("VAE", *parts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = found_of(model, (images(3) for _ in range(2)), 25, max_decodes=20)
    assert found["log_px"].n == 6
    assert all(values(each).isfinite().all() for each in found.values())


BAD_CALLS: list[BadCall] = [
    (lambda: found_of(member("VAE"), [images()], 24), ValueError, "particles must be at least 25, got 24"),
    (lambda: found_of(member("VAE"), [images()], max_decodes=0), ValueError, "max_decodes must be at least 1, got 0"),
    (lambda: found_of(member("VAE"), [], 25), ValueError, "at least one batch"),
    (lambda: found_of(member(GIVEN[0]), [images()], 25), ValueError, "let the loader yield labels too"),
    (lambda: found_of(torch.nn.Linear(2, 2), [images()]), TypeError, "a Linear has no program model"),
]  # fmt: skip


test_bad_calls = refused(BAD_CALLS)


class WithFactor(nn.Module):
    """q(z|x) of one number, with a factor: a Jacobian of z = 2u, or a term of one's own."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.loc, self.kind = nn.Parameter(torch.tensor(0.3)), kind

    def model(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            if self.kind == "Jacobian":
                u = pyro.sample("u", dist.Normal(self.loc * x, 0.4), infer={"is_auxiliary": True})
                pyro.sample("z", dist.Delta(2 * u))
                pyro.factor("log 2", torch.full((len(x),), -math.log(2)), has_rsample=True)
            else:
                z = pyro.sample("z", dist.Normal(self.loc * x, 0.8))
                pyro.factor("reward", -0.3 * z.square(), has_rsample=True)


def test_factors_of_guides_are_told_apart() -> None:
    """A Jacobian is a part of a density, log p(x) known; another is said, wherever weights are."""
    x = torch.linspace(-2, 2, 20)
    found = evidence(WithFactor("Jacobian"), [x], particles=5000, progress=False)
    exact = dist.Normal(0.0, math.sqrt(2)).log_prob(x)
    assert (values(found["log_px"]) - exact).abs().max() < 0.1
    evaluate(WithFactor("Jacobian"), [x], particles=10, progress=False)
    for ask in (evidence, evaluate):
        with pytest.warns(UserWarning, match="the guide's factor 'reward' .* no estimates of log"):
            ask(WithFactor("reward"), [x], particles=500, progress=False)
