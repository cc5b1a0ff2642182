"""Exactness, in float64: every estimator against a closed form or a brute-force sum.

Statistical tests state n and accept |z| < 4, which a right estimator fails once in 16,000 runs; all
are seeded.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import infer
from torch import Tensor, nn
from zoo import CLASSES, ONE_LATENT, batch_for, images, labels, linear_gaussian, member, z_score

from vaezoo import ELBO, IWELBO, SemiSupervised
from vaezoo.distributions.normal_mixture import NormalMixture
from vaezoo.evaluation import evaluate
from vaezoo.objectives import Objective
from vaezoo.programs.run import run


@pytest.mark.parametrize("batch", [(), (7,)], ids=["alone", "in a plate"])
def test_normal_mixture_is_the_stock_mixture(batch: tuple[int, ...]) -> None:
    """Densities to 1e-9 and gradients to 1e-8, with components far from the origin too."""
    leaves = [t.double().requires_grad_() for t in (30 + torch.randn(5, 3), torch.rand(5, 3) + 0.1)]
    logits = torch.randn(5).double().requires_grad_()
    z = (30 + 2 * torch.randn(4, 7, 3)).double().requires_grad_()
    found = []
    for kind in (NormalMixture, dist.MixtureSameFamily):
        mixture = kind(dist.Categorical(logits=logits), dist.Normal(*leaves).to_event(1))
        log_prob = mixture.expand(batch).log_prob(z)
        assert mixture.expand(batch).sample((6,)).shape == (6, *batch, 3)
        assert log_prob.shape == (4, 7)
        found.append([log_prob, *torch.autograd.grad(log_prob.sum(), [*leaves, logits, z])])
    for ours, stock in zip(*found, strict=True):
        assert torch.allclose(ours, stock, rtol=1e-8, atol=1e-9)


def test_normal_mixture_draws_what_its_density_says() -> None:
    """n = 200,000 draws: mean and second moment of each coordinate, |z| < 5 in 4 tests."""
    loc, scale = torch.tensor([[-2.0, 1.0], [3.0, 0.5]]), torch.tensor([[0.5, 1.0], [1.5, 0.2]])
    weights = dist.Categorical(probs=torch.tensor([0.3, 0.7]))
    mixture = NormalMixture(weights, dist.Normal(loc, scale).to_event(1))
    draws = mixture.sample((200_000,)).double()
    second = mixture.variance.double() + mixture.mean.double().square()
    for value, expected in ((draws, mixture.mean.double()), (draws.square(), second)):
        z = (value.mean(0) - expected) / (value.std(0) / len(draws) ** 0.5)
        assert (z.abs() < 5).all(), z


def test_unlabelled_bound_is_the_brute_force_sum_over_labels() -> None:
    """ELBO and IWELBO of an SSVAE, label by label and draw by draw with scalars: to 1e-10."""
    ssvae, x, particles = member("SSVAE").double(), images(2, dtype=torch.float64), 5
    for parameter in ssvae.parameters():
        nn.init.normal_(parameter, std=0.5)
    terms = run(ssvae.model, ssvae.guide, x, particles=particles)
    z = terms.value("z")
    elbo, iwelbo = [], []
    for i in range(2):
        log_q = ssvae.classifier(x[i : i + 1]).logits.log_softmax(-1)[0]
        elbo.append(0.0)
        iwelbo.append(0.0)
        for y in range(CLASSES):
            weights, elbos = [], []
            q = ssvae.posterior(x[i : i + 1], torch.tensor([y])).base_dist
            kl = sum(
                -math.log(s) + (s**2 + m**2 - 1) / 2
                for m, s in zip(q.loc[0].tolist(), q.scale[0].tolist(), strict=True)
            )
            for k in range(particles):
                code = z[y, k, i]
                logits = ssvae.likelihood(code[None], torch.tensor([y])).base_dist.logits[0]
                rec = sum(
                    -math.log1p(math.exp(-v if pixel else v))
                    for v, pixel in zip(
                        logits.flatten().tolist(), x[i].flatten().tolist(), strict=True
                    )
                )
                log_p = sum(-(c**2) / 2 for c in code.tolist())
                log_g = sum(
                    -(((c - m) / s) ** 2) / 2 - math.log(s)
                    for c, m, s in zip(
                        code.tolist(), q.loc[0].tolist(), q.scale[0].tolist(), strict=True
                    )
                )
                elbos.append(rec - kl)
                weights.append(rec + log_p - log_g)
            log_qy = log_q[y].item()
            mean_w = max(weights) + math.log(
                sum(math.exp(w - max(weights)) for w in weights) / particles
            )
            label = -math.log(CLASSES) - log_qy
            elbo[i] += math.exp(log_qy) * (sum(elbos) / particles + label)
            iwelbo[i] += math.exp(log_qy) * (mean_w + label)
    assert ELBO().bound(terms).tolist() == pytest.approx(elbo, abs=1e-10)
    assert IWELBO(particles).bound(terms).tolist() == pytest.approx(iwelbo, abs=1e-10)


def test_labels_are_used_and_not_marginalised() -> None:
    """The labelled bound is the one at its label, plus log p(y); wrong labels give another."""
    ssvae, x, y = member("SSVAE").double(), images(dtype=torch.float64), labels()
    torch.manual_seed(1)
    given = run(ssvae.model, ssvae.guide, x, y)
    torch.manual_seed(1)
    other = run(ssvae.model, ssvae.guide, x, (y + 1) % CLASSES)
    assert given.log_py.squeeze().tolist() == pytest.approx([-math.log(CLASSES)] * 6)
    assert given.log_qy.eq(0).all()
    assert (given.rec - other.rec).abs().min() > 1e-6


def test_semi_supervised_is_its_formula() -> None:
    """Loss against its parts, on the same noise, to 1e-12."""
    ssvae, x = member("SSVAE").double(), images(dtype=torch.float64)
    x_labelled, y = images(3, dtype=torch.float64), labels(3)
    objective = SemiSupervised(alpha=7, generative_weight=3, labelled_fraction=0.25)
    torch.manual_seed(1)
    found = objective.estimate(ssvae.model, ssvae.guide, x, x_labelled, y)
    torch.manual_seed(1)
    labelled = ELBO().estimate(ssvae.model, ssvae.guide, x_labelled, y)
    unlabelled = ELBO().estimate(ssvae.model, ssvae.guide, x)
    log_qy = ssvae.classifier(x_labelled).log_prob(y).mean()
    bound = 0.75 * unlabelled["bound"] + 0.25 * labelled["bound"]
    assert found["log_qy"].item() == pytest.approx(log_qy.item(), abs=1e-12)
    assert found["bound"].item() == pytest.approx(bound.item(), abs=1e-12)
    assert found["loss"].item() == pytest.approx((-3 * bound - 7 * log_qy).item(), abs=1e-12)


@pytest.mark.parametrize("particles", [1, 2, 10])
def test_exact_posterior_gives_the_evidence_with_no_variance(particles: int) -> None:
    """With q(z|x) = p(z|x) every weight is p(x): the bound is log p(x) at every draw, to 1e-9."""
    vae, x, log_p = linear_gaussian()
    for _ in range(5):
        bound = IWELBO(particles).bound(run(vae.model, vae.guide, x, particles=particles))
        assert bound.tolist() == pytest.approx(log_p.tolist(), abs=1e-9)


def test_exact_posterior_closed_form_kl_in_expectation() -> None:
    """The closed-form KL leaves the reconstruction's noise: log p(x) in the mean, n = 20,000."""
    vae, x, log_p = linear_gaussian()
    terms = run(vae.model, vae.guide, x, particles=20_000)
    draws = (terms.rec - terms.kl).mean(-1).flatten()
    assert draws.std() > 0.1
    assert abs(z_score(draws, log_p.mean().item())) < 4


def test_bounds_rise_with_particles_to_the_evidence() -> None:
    """With a wrong q: ELBO = log p(x) - KL(q‖p(z|x)) exactly, and ELBO < L_4 < L_16 < log p(x).

    n = 8,000 (k = 1), 2,000 (4) and 500 (16) independent estimates of the batch mean.
    """
    vae, x, log_p = linear_gaussian()
    exact = copy.deepcopy(vae.posterior)(x)
    with torch.no_grad():
        vae.posterior.offset.add_(0.3)
        vae.posterior.scale.mul_(1.4)
    wrong = vae.posterior(x)
    elbo = (log_p - torch.distributions.kl_divergence(wrong, exact)).mean().item()
    log_w = run(vae.model, vae.guide, x, particles=8000).log_w[0]
    bounds = {k: (log_w.reshape(-1, k, 4).logsumexp(1) - math.log(k)).mean(-1) for k in (1, 4, 16)}
    assert abs(z_score(bounds[1], elbo)) < 4
    assert z_score(bounds[4], bounds[1]) > 4
    assert z_score(bounds[16], bounds[4]) > 4
    assert z_score(bounds[16], log_p.mean().item()) < 0


def directional(objective: Objective, model: Any, batch: tuple[Tensor, ...], seed: int) -> float:
    """The largest relative error of gradients against central differences, along random lines."""

    def loss() -> Tensor:
        torch.manual_seed(seed)
        return objective.differentiable_loss(model.model, model.guide, *batch)

    parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss(), parameters)
    worst, step = 0.0, 1e-6
    for parameter, gradient in zip(parameters, gradients, strict=True):
        line = torch.randn_like(parameter)
        with torch.no_grad():
            parameter.add_(step * line)
            above = loss().item()
            parameter.sub_(2 * step * line)
            below = loss().item()
            parameter.add_(step * line)
        numeric, exact = (above - below) / (2 * step), (gradient * line).sum().item()
        worst = max(worst, abs(numeric - exact) / max(1e-2, abs(exact)))
    return worst


@pytest.mark.parametrize("objective", [ELBO(), ELBO(3.0, particles=2), IWELBO(4)], ids=repr)
@pytest.mark.parametrize("name", ONE_LATENT)
def test_gradients_against_finite_differences(name: str, objective: Objective) -> None:
    """At fixed noise the loss is a function of the weights: relative error below 1e-6."""
    model, batch = member(name).double(), batch_for(name, dtype=torch.float64)
    if name == "SSVAE":
        objective = SemiSupervised(objective, alpha=2.0, labelled_fraction=0.3)
        batch = (*batch, images(3, dtype=torch.float64), labels(3))
    assert directional(objective, model, batch, seed=1) < 1e-6


class TwoLayers(nn.Module):
    """Model z2 → z1 → x, guide z1 → z2: the closed-form KL holds for z2 and fails for z1."""

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(torch.zeros(len(x), 1).double(), 1.0).to_event(1))
            z1 = pyro.sample("z1", dist.Normal(2 * z2, 0.5).to_event(1))
            pyro.sample("x", dist.Normal(z1, 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Normal(x / 2, 0.7).to_event(1))
            pyro.sample("z2", dist.Normal(z1 / 3, 0.9).to_event(1))


def test_closed_form_kl_only_where_it_holds() -> None:
    """Against the plain sampled bound, n = 20,000; Pyro's mean-field objective is far off."""
    pair, x, n = TwoLayers(), torch.ones(1, 1, dtype=torch.float64), 20_000
    terms = run(pair.model, pair.guide, x, particles=n)
    ours, plain = (terms.rec - terms.kl).flatten(), terms.log_w.flatten()
    closed = {
        name: torch.distributions.kl_divergence(
            terms.distribution(name), terms.distribution(name, of="model")
        )
        for name in ("z1", "z2")
    }
    assert torch.equal(terms.kls["z2"], closed["z2"])
    assert not torch.isclose(terms.kls["z1"], closed["z1"]).any()
    assert abs(z_score(ours - plain, 0.0)) < 4
    mean_field = infer.TraceMeanField_ELBO(
        num_particles=n, vectorize_particles=True, max_plate_nesting=1
    )
    with pytest.warns(UserWarning, match="mean field"):
        biased = -mean_field.loss(pair.model, pair.guide, x)
    assert abs((biased - plain.mean()) / (plain.std() / math.sqrt(n))) > 20


@pytest.mark.parametrize("name", ["VAE", "GMVAE", "SSVAE", "FSVAE"])
def test_evaluation_against_quadrature(name: str) -> None:
    """NIWAE-1000 with a one-dimensional code against log p(x) on a grid; 40 images, |z| < 4.

    The allowance of 0.002 nats is for the bound's own bias, which falls as 1/k.
    """
    model = member(name, z_dim=1).double()
    for parameter in model.likelihood.parameters():
        nn.init.normal_(parameter, std=0.4)
    x, *y = batch_for(name, 40, dtype=torch.float64)
    grid = torch.linspace(-12, 12, 4001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        log_z = model.prior().log_prob(grid)[:, None] + math.log(24 / 4000)
        choices = [torch.full((1,), c) for c in range(CLASSES)] if model.classes else [None]
        each = []
        for choice in choices:
            p = model.likelihood(grid[:, None], *([] if choice is None else [choice]))
            each.append((p.log_prob(x) + log_z).logsumexp(0))
        table = torch.stack(each)
        exact = table[y[0], torch.arange(40)] if y else table.logsumexp(0) - math.log(len(table))
    batches = [(x, *y)]
    found = evaluate(model, batches, particles=(1, 10, 100, 1000), progress=False)
    order = [found[f"niwae-{k}"].mean for k in (1, 10, 100, 1000)]
    assert order == sorted(order, reverse=True)
    # images are the same on both sides: what remains is the noise of the draws
    again = [
        evaluate(model, batches, particles=(1000,), seed=s, progress=False)["niwae-1000"].mean
        for s in range(10)
    ]
    draws = torch.tensor(again).double()
    error = max(draws.std().item() / math.sqrt(10), 1e-9)
    assert draws.mean().item() + exact.mean().item() == pytest.approx(0, abs=4 * error + 2e-3)


def test_evaluation_of_a_linear_gaussian_model() -> None:
    """NELBO, KL, rec and their standard errors against exact values per image.

    KL is exact to 1e-9. NELBO and rec rest on 20,000 draws for each of 4 images: |z| < 4.
    """
    vae, x, log_p = linear_gaussian()
    q = vae.posterior(x)
    prior = dist.Normal(torch.zeros(3).double(), 1.0).to_event(1)
    kl = torch.distributions.kl_divergence(q, prior)
    found = evaluate(vae, [x], particles=(20_000,), progress=False)
    assert found["kl"].mean == pytest.approx(kl.mean().item(), abs=1e-9)
    assert found["kl"].stderr == pytest.approx((kl.std() / 2).item(), abs=1e-9)
    assert found["kl"].n == 4
    terms = run(vae.model, vae.guide, x, particles=2000)
    error = (terms.rec.mean(-1).std() / math.sqrt(20_000)).item()
    assert found["nelbo"].mean == pytest.approx(-log_p.mean().item(), abs=4 * error)
    assert found["rec"].mean == pytest.approx((log_p + kl).mean().item(), abs=4 * error)
    assert found["nelbo"].stderr == pytest.approx((log_p.std() / 2).item(), rel=0.05)
    assert found["niwae-20000"].mean == pytest.approx(-log_p.mean().item(), abs=1e-9)


def test_same_seed_same_numbers() -> None:
    vae, batches = member("VAE"), [(images(),)]
    first, second = (evaluate(vae, batches, particles=(5,), progress=False) for _ in range(2))
    assert first == second
    assert first["nelbo"].mean == pytest.approx(first["kl"].mean - first["rec"].mean)
