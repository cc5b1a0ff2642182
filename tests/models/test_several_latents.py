"""Members with several latents against formulas written out, in float64: HierarchicalVAE, M1M2 and ADGM.

Statistical tests state n and accept |z| < 4; all are seeded.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from doubles import doubles, member, normal
from pyro import infer, poutine
from torch import Tensor, nn
from zoo import (
    CLASSES,
    SEVERAL_LATENTS,
    X_SHAPE,
    labels,
    linear_hierarchy,
    z_score,
)

from vaezoo import ELBO, IWELBO, Bound, SemiSupervised, evaluate
from vaezoo.models import (
    ADGM,
    M1M2,
    HierarchicalVAE,
)
from vaezoo.programs.run import run

NAMES = SEVERAL_LATENTS


LABELLED = NAMES[1:]


def kl_to_standard(loc: Tensor, scale: Tensor) -> Tensor:
    return ((scale**2 + loc**2 - 1) / 2 - scale.log()).sum(-1)


def log_bernoulli(x: Tensor, logits: Tensor) -> Tensor:
    each = x * -nn.functional.softplus(-logits) + (1 - x) * -nn.functional.softplus(logits)
    return each.flatten(-len(X_SHAPE)).sum(-1)


def moments(found: Any) -> tuple[Tensor, Tensor]:
    return found.base_dist.loc, found.base_dist.scale


def tanh_layers(part: Any, v: Tensor) -> Tensor:
    """A part's network, layer by layer."""
    layers = [m for m in part.network.modules() if isinstance(m, nn.Linear)]
    for layer in layers[:-1]:
        v = torch.tanh(v @ layer.weight.T + layer.bias)
    return v @ layers[-1].weight.T + layers[-1].bias


def tanh_normal(part: Any, v: Tensor) -> tuple[Tensor, Tensor]:
    loc, raw = tanh_layers(part, v).chunk(2, -1)
    return loc, (torch.log1p(raw.exp()) + 1e-8).sqrt()


def hierarchical_terms(vae: Any, x: Tensor, particles: int) -> tuple[Any, Tensor, Tensor, Tensor]:
    """Our terms, and by hand on their noise: rec, KL, and KL with a closed form for z1 too."""
    terms = run(vae.model, vae.guide, x, particles=particles)
    z1, z2 = map(terms.value, ("z1", "z2"))
    loc1, scale1 = tanh_normal(vae.posterior, x.flatten(1))
    loc2, scale2 = tanh_normal(vae.upper_posterior, z1)
    loc, scale = tanh_normal(vae.conditional_prior, z2)
    rec = log_bernoulli(x, tanh_layers(vae.likelihood, z1).unflatten(-1, X_SHAPE))
    upper = kl_to_standard(loc2, scale2)
    closed = (scale.log() - scale1.log()) + (scale1**2 + (loc1 - loc) ** 2) / (2 * scale**2) - 0.5
    sampled = normal(z1, loc1, scale1) - normal(z1, loc, scale)
    return terms, rec, sampled + upper, closed.sum(-1) + upper


def assert_same(bound: Tensor, expected: list[Tensor], model: nn.Module) -> None:
    """Values of each image to 1e-10, and gradients of their sum."""
    by_hand, parameters = torch.stack(expected), list(model.parameters())
    assert torch.allclose(bound, by_hand, rtol=0, atol=1e-10)
    ours, theirs = (
        torch.autograd.grad(each.sum(), parameters, retain_graph=True) for each in (bound, by_hand)
    )
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-9)


def test_hierarchical_elbo_by_hand() -> None:
    """Closed form for z2, log q - log p for z1, on the same noise: to 1e-10."""
    vae, x = member("HierarchicalVAE"), doubles()
    for particles in (1, 5):
        terms, rec, kl, wrong = hierarchical_terms(vae, x, particles)
        assert (terms.rec[0] - rec).abs().max() < 1e-10
        assert (terms.kl[0] - kl).abs().max() < 1e-10
        assert (terms.kl[0] - wrong).abs().min() > 1e-6
        by_hand = (rec - kl).reshape(particles, -1).mean(0)
        assert_same(ELBO(particles=particles).bound(terms), list(by_hand), vae)


def test_closed_form_for_the_lower_latent_would_be_wrong() -> None:
    """It would miss log p(x) by Σ a Cov_q(z1, z2) / Var(z1|z2); ours is log p(x). n = 20,000."""
    vae, x, log_p = linear_hierarchy()
    terms = run(vae.model, vae.guide, x, particles=20_000)
    q1, p1 = terms.distribution("z1"), terms.distribution("z1", of="model")
    wrong = torch.distributions.kl_divergence(q1, p1) + terms.kls["z2"]
    a, scale1 = vae.conditional_prior.gain.diagonal(), vae.conditional_prior.scale
    covariance = vae.upper_posterior.gain.diagonal() * vae.posterior.scale**2
    missing = (a * covariance / scale1**2).sum().item()
    assert missing > 0.1
    assert abs(z_score((terms.rec - terms.kl)[0].mean(-1), log_p.mean().item())) < 4
    assert abs(z_score((terms.rec[0] - wrong).mean(-1), log_p.mean().item() - missing)) < 4


@pytest.mark.parametrize("particles", [1, 10])
def test_exact_posteriors_give_the_evidence(particles: int) -> None:
    """Every weight is p(x), so that the bound is log p(x) at every draw: to 1e-9."""
    vae, x, log_p = linear_hierarchy()
    bound = IWELBO(particles).bound(run(vae.model, vae.guide, x, particles=particles))
    assert bound.tolist() == pytest.approx(log_p.tolist(), abs=1e-9)


def test_importance_weighted_bound_rises_to_the_evidence() -> None:
    """With wrong posteriors of both latents: 16,000 draws, as n = 4,000 (k = 4) and 250 (k = 64)."""
    vae, x, log_p = linear_hierarchy()
    with torch.no_grad():
        vae.posterior.scale.mul_(1.3)
        vae.upper_posterior.offset.add_(0.4)
    terms = run(vae.model, vae.guide, x, particles=16_000)
    log_w = terms.log_w[0]
    bounds = [(log_w.reshape(-1, k, 4).logsumexp(1) - math.log(k)).mean(-1) for k in (1, 4, 64)]
    elbo = (terms.rec - terms.kl)[0].mean(-1)
    assert abs(z_score(elbo - bounds[0])) < 4
    for lower, higher in itertools.pairwise(bounds):
        assert higher.mean() - lower.mean() > 4 * (lower.std() / len(lower) ** 0.5)
    assert bounds[0].mean() + 0.1 < log_p.mean()
    assert abs(z_score((log_w - log_p).exp().mean(-1), 1.0)) < 4


def m1m2_summand(model: Any, x: Tensor, y: Tensor, sites: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """log q(y|z1), and rec - KL given y, of M1M2."""
    z1, z2 = sites["z1"], sites["z2"]
    rec = log_bernoulli(x, model.likelihood(z1).base_dist.logits)
    lower = normal(z1, *moments(model.conditional_prior(z2, y)))
    lower = lower - normal(z1, *moments(model.posterior(x)))
    upper = kl_to_standard(*moments(model.upper_posterior(z1, y)))
    return model.classifier(z1).logits.log_softmax(-1), rec + lower - upper


def adgm_summand(model: Any, x: Tensor, y: Tensor, sites: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """log q(y|x, a), and rec - KL given y, of ADGM."""
    a, z = sites["a"], sites["z"]
    rec = log_bernoulli(x, model.likelihood(z, y).base_dist.logits)
    auxiliary = normal(a, *moments(model.auxiliary((x, z), y)))
    auxiliary = auxiliary - normal(a, *moments(model.auxiliary_posterior(x)))
    code = kl_to_standard(*moments(model.posterior((x, a), y)))
    return model.classifier((x, a)).logits.log_softmax(-1), rec + auxiliary - code


@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize(("name", "summand"), [("M1M2", m1m2_summand), ("ADGM", adgm_summand)])
def test_unlabelled_elbo_is_the_brute_force_sum(name: str, summand: Any, particles: int) -> None:
    """Image by image, draw by draw, label by label."""
    model, x = member(name), doubles(3)
    terms = run(model.model, model.guide, x, particles=particles)
    latents = {part.of for part in model.parts.values()} - {"x", "y"}
    full = {n: terms.value(n).expand(CLASSES, particles, 3, -1) for n in latents}
    expected = [torch.zeros((), dtype=torch.float64)] * 3
    for i, k, y in itertools.product(range(3), range(particles), range(CLASSES)):
        sites = {n: value[y, k, i][None] for n, value in full.items()}
        log_q, rest = summand(model, x[i : i + 1], torch.tensor([y]), sites)
        value = log_q[0, y].exp() * (rest[0] - math.log(CLASSES) - log_q[0, y])
        expected[i] = expected[i] + value / particles
    assert_same(ELBO(particles=particles).bound(terms), expected, model)


@pytest.mark.parametrize("name", LABELLED)
def test_stock_objective_agrees(name: str) -> None:
    """TraceEnum_ELBO, which samples the KLs: n = 40 estimates of 50 draws a side."""
    model, x = member(name), doubles(2)
    stock = infer.TraceEnum_ELBO(50, max_plate_nesting=1, vectorize_particles=True)
    pairs = [
        (ELBO(particles=50).loss(model.model, model.guide, x), stock.loss(model.model, model.guide, x) / 2)
        for _ in range(40)
    ]  # fmt: skip
    assert abs(z_score(torch.tensor([ours - theirs for ours, theirs in pairs]))) < 4


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_unbiased(name: str) -> None:
    """Σ_x E_q[Σ_y w(x, y)] = Σ_x p(x) = 1 over all four images of two pixels; n = 20,000 draws.

    So the log of their mean, with y summed where z1 or a is drawn before it, estimates log p(x),
    as `evaluate` has it.
    """
    sizes: dict[str, Any] = {"hidden": (5,)} | ({"classes": 3} if name in LABELLED else {})
    sizes |= {} if name == "ADGM" else {"upper_hidden": (5,)}
    kind: Any = {"HierarchicalVAE": HierarchicalVAE, "M1M2": M1M2, "ADGM": ADGM}[name]
    model = kind((1, 1, 2), 2, 2, **sizes).double()
    for role in ("posterior", "upper_posterior", "auxiliary_posterior"):
        if hasattr(model, role):  # wider than p, so that no weight is large
            nn.init.constant_(list(getattr(model, role).parameters())[-1][2:], 2.0)
    x = torch.tensor(list(itertools.product([0.0, 1.0], repeat=2))).double().reshape(4, 1, 1, 2)
    with torch.no_grad():
        terms = run(model.model, model.guide, x, particles=20_000)
    totals = (terms.log_w + terms.log_py).exp().sum((0, -1))
    assert 0.01 < totals.std() < 5
    assert abs(z_score(totals, 1.0)) < 4


@pytest.mark.parametrize("name", NAMES)
def test_evaluate(name: str) -> None:
    """n = 100 draws of eight images' NELBO, 50 of each in two batches, against 4,000."""
    model, x = member(name), doubles(8)
    found = evaluate(model, [x, x.flip(0)], particles=(1, 5, 50), max_decodes=200, progress=False)
    assert found["nelbo"].mean == pytest.approx(found["kl"].mean - found["rec"].mean, abs=1e-9)
    assert found["niwae-50"].mean < found["niwae-5"].mean < found["niwae-1"].mean
    with torch.no_grad():
        terms = run(model.model, model.guide, x, particles=4000)
    draws = -terms.expect(terms.rec - terms.kl + terms.log_py - terms.log_qy).mean(-1)
    error = draws.std() * (1 / 100 + 1 / 4000) ** 0.5
    assert abs((found["nelbo"].mean - draws.mean()) / error) < 4


def test_labels_given() -> None:
    """Given, a label is used, costs log p(y), and leaves every objective open; q(y|·) is unused."""
    for name in LABELLED:
        model, x, y = member(name), doubles(), labels()
        terms = run(model.model, model.guide, x, y, particles=3)
        assert (terms.log_py + math.log(CLASSES)).abs().max() < 1e-12
        assert terms.log_qy.eq(0).all()
        bound = IWELBO(3).bound(terms)
        assert torch.allclose(bound, (terms.log_w[0].logsumexp(0) - math.log(3 * CLASSES)))
        Bound(model, ELBO())(x, y)["loss"].backward()
        unreached = {n.split(".")[0] for n, p in model.named_parameters() if p.grad is None}
        assert unreached == {"classifier"}


def test_semi_supervised_is_its_formula() -> None:
    """log q(y|z1) of M1M2 at the z1 that the labelled bound uses, and the same of ADGM's a."""
    for name in LABELLED:
        model, x, y = member(name), doubles(), labels()
        objective = SemiSupervised(alpha=7, labelled_fraction=1.0)
        torch.manual_seed(1)
        found = objective.estimate(model.model, model.guide, x, x, y)
        torch.manual_seed(1)
        labelled = ELBO().estimate(model.model, model.guide, x, y)
        torch.manual_seed(1)
        sites = poutine.trace(model.guide).get_trace(x, y).nodes
        read = (x, sites["a"]["value"]) if name == "ADGM" else sites["z1"]["value"]
        log_qy = model.classifier(read).log_prob(y).mean()
        assert found["log_qy"].item() == pytest.approx(log_qy.item(), abs=1e-12)
        loss = labelled["loss"] - 7 * log_qy
        assert found["loss"].item() == pytest.approx(loss.item(), abs=1e-12)
