"""`rate`: the parts of the rate against closed forms, quadrature and brute force."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from linear import D, Linear
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence
from zoo import (
    EACH_PART,
    MEMBERS,
    SEVERAL_LATENTS,
    BadCall,
    batch_for,
    images,
    labels,
    member,
    refused,
    widen,
    with_parts,
)

from vaezoo import evaluate
from vaezoo.estimates import Estimate
from vaezoo.evaluation import rate
from vaezoo.evaluation.aggregate import log_aggregate, log_marginals
from vaezoo.programs.densities import draw

PARTS = ["rate", "distortion", "mutual_information", "marginal_kl"]
MORE = [*PARTS, "total_correlation", "dimension_kl"]


def found_of(model: Any, batches: Any, **options: Any) -> dict[str, Estimate]:
    return rate(model, batches, progress=False, **options)


def linear() -> Linear:
    """Of little mutual information, its codes correlated."""
    return Linear((0.2, 1.2), variance=0.5, turn=0.8)


def closed_form(model: Linear) -> dict[str, float]:
    """All parts, where images are those of the model."""
    q, unit = model.aggregate(), torch.eye(len(model.scale), **D)
    zero = torch.zeros(len(unit), **D)
    both = MultivariateNormal(zero, q)
    alone = Normal(zero, q.diagonal().sqrt())
    marginal = kl_divergence(both, MultivariateNormal(zero, unit)).item()
    information = 0.5 * (q.logdet() - (model.scale**2).log().sum()).item()
    error = (model.w @ model.gain.T - torch.eye(16, **D)) @ model.covariance
    error = error @ (model.w @ model.gain.T - torch.eye(16, **D)).T
    spread = error.trace() + (model.w.square() @ model.scale**2).sum()
    total = 0.5 * (q.diagonal().log().sum() - q.logdet()).item()
    return {
        "rate": information + marginal,
        "distortion": 8 * math.log(2 * math.pi * model.variance)
        + spread.item() / 2 / model.variance,
        "mutual_information": information,
        "marginal_kl": marginal,
        "total_correlation": total,
        "dimension_kl": kl_divergence(alone, Normal(zero, 1.0)).sum().item(),
    }


def test_the_parts_of_a_linear_model() -> None:
    """2,000 images: each within 4 standard errors of its closed form, and these below 0.05 nats."""
    torch.manual_seed(0)
    model = linear()
    found, expected = found_of(model.vae, [model.draw(2000)]), closed_form(model)
    assert list(found) == MORE == list(expected)
    assert expected["total_correlation"] > 0.03
    for name, estimate in found.items():
        assert abs(estimate.mean - expected[name]) < 4 * estimate.stderr, name
    assert max(found[name].stderr for name in MORE if name != "distortion") < 0.05


def test_errors_of_the_parts() -> None:
    """200 repeats with 100 images: 90 to 99 % of the 95 % intervals hold the closed form."""
    torch.manual_seed(0)
    model = linear()
    expected, repeats = closed_form(model), 200
    hits = dict.fromkeys(MORE, 0)
    for seed in range(repeats):
        for name, e in found_of(model.vae, [model.draw(100)], seed=seed).items():
            hits[name] += abs(e.mean - expected[name]) < 1.96 * e.stderr
    assert all(0.9 <= hit / repeats <= 0.99 for hit in hits.values()), hits


def test_information_is_bounded_by_the_number_of_images() -> None:
    """Codes that do not overlap tell which of 50 images it is: log 50, |z| < 4."""
    torch.manual_seed(0)
    model = Linear((30.0, 30.0, 30.0), widen=0.01)
    found = found_of(model.vae, [model.draw(50)])
    estimate = found["mutual_information"]
    # q(h) is q(h|x) / 50 at each draw: what is left is the noise of log q(h|x) against its mean
    assert abs(estimate.mean - math.log(50)) < 4 * estimate.stderr
    z = model.vae.posterior(x := model.draw(50)).mean
    own = model.vae.posterior(x).log_prob(z)
    assert (log_aggregate(model.vae, [[x]], {"z": z}) - own + math.log(50)).abs().max() < 1e-9


def by_hand(model: Any, name: str, x: Tensor, y: Tensor, latents: dict[str, Tensor]) -> Tensor:
    """log q(h_m|x_n) of all draws and images (M, N), by the parts themselves."""
    at = {k: v[:, None] for k, v in latents.items()}
    if name == "SSVAE":
        log_qy = model.classifier(x).logits.log_softmax(-1).T[latents["y"]]
        return log_qy + model.posterior(x, at["y"]).log_prob(at["z"])
    if name == "HierarchicalVAE":
        upper = model.upper_posterior(at["z1"]).log_prob(at["z2"])
        return model.posterior(x).log_prob(at["z1"]) + upper
    if name == "M1M2":
        log_qy = model.classifier(latents["z1"]).log_prob(latents["y"])
        upper = model.upper_posterior(latents["z1"], latents["y"]).log_prob(latents["z2"])
        return model.posterior(x).log_prob(at["z1"]) + (log_qy + upper)[:, None]
    given = (x, y) if name == "FSVAE" else (x,)
    found: Tensor = model.posterior(*given).log_prob(at["z"])
    return found


@pytest.mark.parametrize("name", ["VAE", "SSVAE", "FSVAE", "HierarchicalVAE", "M1M2"])
def test_the_aggregated_posterior_is_the_mean_over_images(name: str) -> None:
    """Against the parts themselves, to 1e-10, in batches of 4 and 5; the marginals too."""
    torch.manual_seed(0)
    model = widen(member(name)).double()
    x, y = images(9, dtype=torch.float64), labels(9)
    batches = [list(b) for b in zip(x.split(4), y.split(4), strict=True)]
    batches = batches if name == "FSVAE" else [b[:1] for b in batches]
    with torch.no_grad():
        drawn = [draw(model.guide, *batch) for batch in batches]
        latents = {k: torch.cat([d[k] for d in drawn]) for k in drawn[0]}
        found = log_aggregate(model, batches, latents)
        expected = by_hand(model, name, x, y, latents).logsumexp(1) - math.log(9)
        marginals = log_marginals(model, batches, latents)
    assert (found - expected).abs().max() < 1e-10
    if name in ("HierarchicalVAE", "M1M2"):
        assert marginals is None
        return
    with torch.no_grad():
        alone = marginals_by_hand(model, name, x, y, latents)
    assert marginals is not None
    assert (marginals - alone).abs().max() < 1e-10


def marginals_by_hand(
    model: Any, name: str, x: Tensor, y: Tensor, latents: dict[str, Tensor]
) -> Tensor:
    z = latents["z"]
    if name == "SSVAE":
        shares = model.classifier(x).probs
        qs = [model.posterior(x, torch.full((9,), c)).base_dist for c in range(3)]
        each = sum(
            s[:, None] * q.log_prob(z[:, None]).exp() for s, q in zip(shares.T, qs, strict=True)
        )
        return each.mean(1).log().sum(1) + shares.mean(0).log()[latents["y"]]
    q = model.posterior(*((x, y) if name == "FSVAE" else (x,))).base_dist
    found: Tensor = q.log_prob(z[:, None]).exp().mean(1).log().sum(1)
    return found


@pytest.mark.parametrize("name", MEMBERS)
def test_any_member_will_do(name: str) -> None:
    """The parts add up, for each image too; the rate is evaluate's, where it needs no draw."""
    torch.manual_seed(0)
    model, batch = widen(member(name)), batch_for(name, 8)
    found = found_of(model, [batch])
    sums(found)
    if name in ("VAE", "IWAE", "FSVAE"):
        other = evaluate(model, [batch], particles=1, progress=False)
        assert found["rate"].mean == pytest.approx(other["kl"].mean, rel=1e-5)
    assert set(found) == set(PARTS if name in SEVERAL_LATENTS else MORE)


@pytest.mark.parametrize("parts", EACH_PART)
def test_any_parts_will_do(parts: tuple[str, str, str]) -> None:
    """A stream is read as far as it is needed; codes of a flow have no marginals."""
    torch.manual_seed(0)
    seen: list[int] = []
    stream = (seen.append(i) or (images(4),) for i in range(9))
    found = found_of(with_parts("VAE", *parts), stream, images=10)
    sums(found)
    assert found["rate"].n == 10
    assert seen == [0, 1, 2]
    assert ("total_correlation" in found) == (parts[1] != "flow")


def sums(found: dict[str, Estimate]) -> None:
    each = {name: e.values for name, e in found.items() if e.values is not None}
    assert all(v.isfinite().all() for v in each.values())
    total = each["mutual_information"] + each["marginal_kl"]
    assert (total - each["rate"]).abs().max() < 1e-9
    if "dimension_kl" in each:
        total = each["total_correlation"] + each["dimension_kl"]
        assert (total - each["marginal_kl"]).abs().max() < 1e-9


BAD_CALLS: list[BadCall] = [
    (lambda: found_of(member("VAE"), [images()], images=0), ValueError, "images must be at least 1, got 0"),
    (lambda: found_of(member("VAE"), [images()], images=1), ValueError, "at least 2 images, got 1"),
    (lambda: found_of(member("VAE"), []), ValueError, "at least 2 images, got 0"),
    (lambda: found_of(torch.nn.Linear(2, 2), [images()]), TypeError, "a Linear has no program model"),
]  # fmt: skip


test_bad_calls = refused(BAD_CALLS)
