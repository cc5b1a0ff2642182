"""Gradient estimators, Rényi bounds, free bits and schedules, in float64 against exact values.

Statistical tests state n and accept |z| < 4, which a right estimator fails once in 16,000 runs; all
are seeded.
"""

from __future__ import annotations

import copy
import decimal
import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import infer
from scipy import stats
from torch import Tensor, nn
from zoo import CLASSES, BadCall, batch_for, images, labels, member, refused

from vaezoo import data, fit, priors
from vaezoo.likelihoods import Normal
from vaezoo.models import SSVAE, VAE, HierarchicalVAE
from vaezoo.objectives import ELBO, IWELBO, Cyclical, Objective, Renyi, SemiSupervised, WarmUp
from vaezoo.posteriors import Flow, Posterior
from vaezoo.programs.run import run
from vaezoo.training import TrainingWarning

ESTIMATORS = ("iwae", "stl", "dreg")


class Line(Posterior):
    """q(z|x) = N(gain · x + offset, exp(log_scale)²) for one-dimensional x and z."""

    def __init__(self) -> None:
        super().__init__()
        self.z_dim = 1
        start = {"gain": 0.5, "offset": 0.4, "log_scale": -0.3}
        for name, value in start.items():
            setattr(self, name, nn.Parameter(torch.tensor([value], dtype=torch.float64)))

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        loc = self.gain * x + self.offset
        return dist.Normal(loc, self.log_scale.exp()).to_event(1)


def one_dimensional() -> tuple[VAE, Tensor]:
    """x = 1.2 z - 0.3 + N(0, 0.5), with a posterior that is wrong, and one image."""
    decoder = nn.Linear(1, 1)
    with torch.no_grad():
        decoder.weight.fill_(1.2)
        decoder.bias.fill_(-0.3)
    likelihood = Normal(1, (1,), network=decoder, variance=0.5)
    vae = VAE((1,), 1, likelihood=likelihood, posterior=Line())
    return vae.double(), torch.tensor([[0.8]], dtype=torch.float64)


def exact_bound(vae: VAE, x: Tensor, k: int) -> Tensor:
    """The importance-weighted bound for k = 1 or 2 by Gauss-Hermite quadrature, 48 nodes a side."""
    nodes, weights = (torch.tensor(t) for t in np.polynomial.hermite_e.hermegauss(48))
    weights = weights / math.sqrt(2 * math.pi)
    q = vae.posterior(x).base_dist
    z = (q.loc + q.scale * nodes[:, None])[:, None, :]
    log_w = (
        vae.likelihood(z).log_prob(x) + vae.prior().log_prob(z) - q.log_prob(z).sum(-1)
    ).squeeze(-1)
    if k == 1:
        return (weights * log_w).sum()
    pair = torch.logaddexp(log_w[:, None], log_w) - math.log(2)
    return (weights[:, None] * weights * pair).sum()


def gradients(vae: VAE, x: Tensor, objective: Objective, repeats: int, each: int) -> Tensor:
    """Gradients of minus the loss by all parameters, `repeats` means of `each` draws."""
    parameters = list(vae.parameters())
    rows = []
    for _ in range(repeats):
        loss = objective.differentiable_loss(vae.model, vae.guide, x.expand(each, 1))
        rows.append(torch.cat([-g.flatten() for g in torch.autograd.grad(loss, parameters)]))
    return torch.stack(rows)


def z_scores(vae: VAE, x: Tensor, k: int, estimator: str) -> Tensor:
    """Of each parameter's mean gradient against the exact one; n = 200 means of 500 draws."""
    exact = torch.autograd.grad(exact_bound(vae, x, k), list(vae.parameters()))
    found = gradients(vae, x, IWELBO(k, estimator=estimator), 200, 500)
    error = found.std(0) / len(found) ** 0.5
    return (found.mean(0) - torch.cat([g.flatten() for g in exact])) / error.clamp(min=1e-12)


@pytest.mark.parametrize(
    ("k", "estimator"), [(1, "iwae"), (1, "stl"), (1, "dreg"), (2, "iwae"), (2, "dreg")]
)
def test_gradients_are_unbiased(k: int, estimator: str) -> None:
    """All five parameters, guide's and model's, against the gradient of the quadrature."""
    z = z_scores(*one_dimensional(), k, estimator)
    assert len(z) == 5
    assert (z.abs() < 4).all(), z


def test_stl_is_biased_for_more_than_one_particle() -> None:
    """As its docstring says; were it not, this file's other tests could not tell estimators apart."""
    assert (z_scores(*one_dimensional(), 2, "stl").abs() > 10).any()


@pytest.mark.parametrize("k", [1, 10, 20, 100])
def test_path_gradients_vary_less(k: int) -> None:
    """Variance of the guide's gradients, by stl and by dreg, below half of that by iwae.

    n = 800 draws each; the posterior is near the exact one, where the difference is large.
    """
    precision = 1 + 1.2**2 / 0.5
    near = {
        "gain": 1.2 / 0.5 / precision,
        "offset": 1.2 * 0.3 / 0.5 / precision + 0.05,
        "log_scale": -0.5 * math.log(precision) + 0.05,
    }
    spread = {e: each_gradient(near, IWELBO(k, estimator=e), 800).var(0) for e in ESTIMATORS}
    for estimator in ("stl", "dreg"):
        assert (spread[estimator] < 0.5 * spread["iwae"]).all(), spread
    if k == 1:
        assert torch.allclose(spread["dreg"], spread["stl"], rtol=0.3)


def each_gradient(guide: dict[str, float], objective: Objective, n: int) -> Tensor:
    """Gradients by the guide's parameters for n copies of an image, each with its own, (n, 3)."""
    vae, x = one_dimensional()
    own = [nn.Parameter(torch.full((n, 1), v, dtype=torch.float64)) for v in guide.values()]
    for name, parameter in zip(guide, own, strict=True):
        setattr(vae.posterior, name, parameter)
    loss = objective.differentiable_loss(vae.model, vae.guide, x.expand(n, 1))
    return torch.cat([-n * g for g in torch.autograd.grad(loss, own)], 1)


def test_labels_summed_out_of_importance_weights_by_quadrature() -> None:
    """Σ_y q(y|x) [L_2(x, y) + log p(y) - log q(y|x)] on a grid of 64 × 64 nodes for each y.

    n = 400 estimates of 20 images; |z| < 4.
    """
    ssvae = member("SSVAE", z_dim=1).double()
    for parameter in ssvae.likelihood.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = images(1, dtype=torch.float64)
    nodes, weights = (torch.tensor(t) for t in np.polynomial.hermite_e.hermegauss(64))
    weights = weights / math.sqrt(2 * math.pi)
    exact = torch.zeros(()).double()
    with torch.no_grad():
        log_qy = ssvae.classifier(x).logits[0].log_softmax(0)
        for c in range(CLASSES):
            y = torch.full((1,), c)
            q = ssvae.posterior(x, y).base_dist
            z = (q.loc + q.scale * nodes[:, None])[:, None]
            log_w = ssvae.likelihood(z, y).log_prob(x) + ssvae.prior().log_prob(z)
            log_w = (log_w - q.log_prob(z).sum(-1)).squeeze(-1)
            pair = torch.logaddexp(log_w[:, None], log_w) - math.log(2)
            bound = (weights[:, None] * weights * pair).sum()
            exact += log_qy[c].exp() * (bound - math.log(CLASSES) - log_qy[c])
        batch = x.expand(20, *x.shape[1:])
        draws = [-IWELBO(2).loss(ssvae.model, ssvae.guide, batch) for _ in range(400)]
    found = torch.tensor(draws).double()
    assert abs((found.mean() - exact) / (found.std() / 20)) < 4


@pytest.mark.parametrize("name", ["VAE", "GMVAE", "SSVAE", "FSVAE"])
@pytest.mark.parametrize("estimator", ["stl", "dreg"])
def test_estimators_report_one_bound_and_agree_on_the_model(name: str, estimator: str) -> None:
    """Same noise: bounds to 1e-12, and gradients of the model's parameters to 1e-10."""
    model, batch = member(name).double(), batch_for(name, dtype=torch.float64)
    inference = ("posterior", "classifier")
    outer = [p for n, p in model.named_parameters() if not n.startswith(inference)]
    found = []
    for objective in (IWELBO(5), IWELBO(5, estimator=estimator)):
        torch.manual_seed(0)
        terms = objective.estimate(model.model, model.guide, *batch)
        found.append([terms["bound"], *torch.autograd.grad(terms["loss"], outer)])
    for plain, other in zip(*found, strict=True):
        assert torch.allclose(plain, other, atol=1e-10)


@pytest.mark.parametrize("estimator", ["stl", "dreg"])
def test_flow_posteriors_are_held_too(estimator: str) -> None:
    """At K = 1 both are stl: its mean over draws is iwae's, n = 200 of 40 images, |z| < 5 in ~900."""
    vae = VAE((1, 2, 2), 2, hidden=(3,)).double()
    vae.posterior = Flow((1, 2, 2), 2, hidden=(3,), context=2, flow_hidden=(3,), layers=1)
    x = (torch.rand(1, 1, 2, 2) > 0.5).double().expand(40, 1, 2, 2)
    parameters, found = list(vae.posterior.parameters()), []
    for objective in (IWELBO(1), IWELBO(1, estimator=estimator)):
        rows = []
        for _ in range(200):
            loss = objective.differentiable_loss(vae.model, vae.guide, x)
            rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]))
        found.append(torch.stack(rows))
    error = ((found[0].var(0) + found[1].var(0)) / 200).sqrt()
    z = (found[0].mean(0) - found[1].mean(0)) / error.clamp(min=1e-9)
    assert (z.abs() < 5).all(), z
    assert not torch.allclose(found[1].var(0), found[0].var(0), rtol=0.3)


GUIDES = {
    "two layers": lambda: HierarchicalVAE((1, 2, 2), 2, 2, hidden=(3,), upper_hidden=(3,)),
    "label": lambda: SSVAE((1, 2, 2), 2, hidden=(3,), classes=3),
    "flow": lambda: VAE(
        (1, 2, 2),
        2,
        hidden=(3,),
        posterior=Flow((1, 2, 2), 2, hidden=(3,), context=2, flow_hidden=(3,), layers=1),
    ),
}


def paired(model: Any, x: Tensor, parameters: list[Tensor], n: int) -> dict[str, Tensor]:
    """z of the mean of n gradients at K = 3 less those of iwae on the same noise, by estimator."""
    rows: dict[str, list[Tensor]] = {e: [] for e in ESTIMATORS}
    for seed in range(n):
        for estimator, row in rows.items():
            torch.manual_seed(seed)
            objective = IWELBO(3, estimator=estimator)
            loss = objective.differentiable_loss(model.model, model.guide, x)
            row.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]))
    each = {e: torch.stack(row) - torch.stack(rows["iwae"]) for e, row in rows.items()}
    return {e: d.mean(0) / (d.std(0) / n**0.5).clamp(min=1e-12) for e, d in each.items()}


@pytest.mark.parametrize("name", GUIDES)
def test_dreg_is_unbiased_for_every_kind_of_guide(name: str) -> None:
    """At K = 3: the gradients of dreg have the mean of iwae's, and those of stl have not.

    n = 80 means over 125 copies of an image. |z| is below what a right estimator of that many
    parameters exceeds once in 10,000 runs (Student's t, Bonferroni; 5.2 for 56 of them).
    """
    model = GUIDES[name]().double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.7)
    inference = ("posterior", "upper_posterior", "classifier")
    parameters = [p for n, p in model.named_parameters() if n.startswith(inference)]
    x = torch.tensor([1.0, 0.0, 1.0, 1.0]).double().expand(125, 4).reshape(125, 1, 2, 2)
    z = paired(model, x, parameters, 80)
    bound = stats.t.isf(1e-4 / (2 * len(z["dreg"])), df=79)
    assert z["dreg"].abs().max() < bound
    assert z["stl"].abs().max() > bound


@pytest.mark.parametrize("estimator", ["stl", "dreg"])
def test_label_gradients_are_those_of_iwae(estimator: str) -> None:
    """q(y|x) is summed out, not sampled: its gradient is the same for every estimator, to 1e-10."""
    ssvae, x = member("SSVAE").double(), images(dtype=torch.float64)
    found = []
    for objective in (IWELBO(5), IWELBO(5, estimator=estimator)):
        torch.manual_seed(0)
        loss = objective.differentiable_loss(ssvae.model, ssvae.guide, x)
        found.append(torch.autograd.grad(loss, list(ssvae.classifier.parameters())))
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(*found, strict=True))


def _bounds(name: str, batch: tuple[Tensor, ...], *objectives: Objective) -> list[Tensor]:
    """Minus the loss of each image, on the same noise."""
    model, found = member(name).double(), []
    for objective in objectives:
        torch.manual_seed(0)
        terms = objective.run(model.model, model.guide, *batch)
        found.append(-objective.loss_of(terms).detach())
    return found


@pytest.mark.parametrize("name", ["VAE", "GMVAE", "SSVAE", "FSVAE"])
def test_renyi_between_iwelbo_and_elbo(name: str) -> None:
    """α = 0 is IWELBO to 1e-12; α = 1 is the limit α → 1 to 1e-5; the bound falls with α."""
    alphas = (-1.0, 0.0, 0.5, 1 - 1e-7, 1.0, 2.0)
    batch = batch_for(name, dtype=torch.float64)
    weighted, *found = _bounds(name, batch, IWELBO(7), *(Renyi(a, particles=7) for a in alphas))
    assert torch.allclose(found[1], weighted, atol=1e-12)
    assert torch.allclose(found[3], found[4], atol=1e-5)
    for above, below in itertools.pairwise(found):
        assert (above >= below - 1e-5).all()
    assert (found[0] > found[-1]).all()


def test_renyi_at_one_is_the_elbo_with_a_sampled_kl() -> None:
    """To 1e-10 from log_w, and in expectation with the closed-form KL: n = 20,000, |z| < 4."""
    vae, x = member("VAE").double(), images(dtype=torch.float64)
    terms = run(vae.model, vae.guide, x, particles=20_000)
    sampled = terms.log_w[0].mean(-1)
    assert torch.allclose(Renyi(1.0).bound(terms).mean(), sampled.mean(), atol=1e-10)
    difference = sampled - (terms.rec - terms.kl)[0].mean(-1)
    assert abs(difference.mean() / (difference.std() / len(difference) ** 0.5)) < 4


NEAR_ONE = (
    0.5,
    0.9,
    0.999,
    1 - 1e-5,
    1 - 1e-7,
    1 - 1e-9,
    sum([0.1] * 10),
    1.0,
    1 + 1e-9,
    1.01,
    3.0,
)


@pytest.mark.parametrize("spread", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("alpha", NEAR_ONE)
def test_renyi_near_one(alpha: float, spread: float) -> None:
    """float32 against 50 digits, to 1e-6 of the largest weight; the gradients sum to 1."""
    log_w = -700 + spread * torch.randn(1, 6, 5)
    log_w.requires_grad_()
    terms: Any = SimpleNamespace(log_wy=log_w, particles=6, labels_come_first=True)
    terms.log_qy = torch.zeros(())
    terms.expect = lambda values: values.squeeze(0)
    found = -Renyi(alpha, particles=6).loss_of(terms)
    (gradient,) = torch.autograd.grad(found.sum(), log_w)
    assert torch.allclose(gradient.sum((0, 1)), torch.ones(5), atol=1e-4)
    with decimal.localcontext(prec=50):
        power = 1 - decimal.Decimal(alpha)
        for column, value in zip(log_w[0].T.tolist(), found.tolist(), strict=True):
            weights = [decimal.Decimal(w) for w in column]
            powers = [(power * w).exp() for w in weights] if power else weights
            mean = sum(powers) / 6
            exact = mean.ln() / power if power else mean
            assert value == pytest.approx(float(exact), rel=3e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.5, -1.0])
def test_renyi_is_pyros(alpha: float) -> None:
    """The same draws give the loss of `pyro.infer.RenyiELBO` to 1e-9."""
    vae, x = member("VAE").double(), images(dtype=torch.float64)
    stock = infer.RenyiELBO(
        alpha=alpha, num_particles=6, vectorize_particles=True, max_plate_nesting=1
    )
    torch.manual_seed(0)
    expected = stock.loss(vae.model, vae.guide, x) / len(x)
    torch.manual_seed(0)
    found = Renyi(alpha, particles=6).loss(vae.model, vae.guide, x)
    assert found == pytest.approx(expected, abs=1e-9)


def test_free_bits() -> None:
    """Below λ the KL costs λ and has no gradient; above it costs what it is."""
    vae, x = member("VAE").double(), images(dtype=torch.float64)
    torch.manual_seed(0)
    plain = ELBO().estimate(vae.model, vae.guide, x)
    kl = plain["kl"].item()
    for bits, expected in ((kl + 1, kl + 1), (kl - 0.01, kl)):
        torch.manual_seed(0)
        terms = ELBO(free_bits=bits).estimate(vae.model, vae.guide, x)
        assert terms["bound"].item() == pytest.approx(plain["bound"].item(), abs=1e-12)
        paid = terms["loss"].item() + plain["rec"].item()
        assert paid == pytest.approx(expected, abs=1e-12)


def test_free_bits_sum_labels_out() -> None:
    """One λ for the expectation over y: far below it, the loss is λ - Σ_y q(y|x) [rec + …]."""
    ssvae, x = member("SSVAE").double(), images(dtype=torch.float64)
    torch.manual_seed(0)
    terms = run(ssvae.model, ssvae.guide, x)
    rest = terms.expect(terms.rec + terms.log_py - terms.log_qy)
    loss = ELBO(free_bits=100.0).loss_of(terms)
    assert torch.allclose(loss, 100 - rest[0], atol=1e-12)


def _by_hand(vae: VAE, x: Tensor, k: int, loss_of: Any) -> dict[str, list[float]]:
    """Loss and bound of three steps of Adam, from densities and one draw (K, N, z_dim) a step."""
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3, fused=True)
    found: dict[str, list[float]] = {"loss": [], "bound": []}
    for _ in range(3):
        q = vae.posterior(x).base_dist
        z = q.loc + q.scale * torch.randn(k, *q.loc.shape, dtype=torch.float64)
        log_qz = dist.Normal(q.loc, q.scale).log_prob(z).sum(-1)
        rec, log_pz = vae.likelihood(z).log_prob(x), vae.prior().log_prob(z)
        kl = 0.5 * (q.loc**2 + q.scale**2 - 1 - 2 * q.scale.log()).sum(-1)
        loss, bound = loss_of(rec, log_pz - log_qz, kl)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found["loss"].append(loss.item())
        found["bound"].append(bound.item())
    return found


def _renyi(alpha: float) -> Any:
    def loss_of(rec: Tensor, ratio: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        powers = ((rec + ratio) * (1 - alpha)).exp().mean(0)
        return -(powers.log() / (1 - alpha)).mean(), (rec + ratio).mean()

    return loss_of


def _free(bits: float) -> Any:
    def loss_of(rec: Tensor, _: Tensor, kl: Tensor) -> tuple[Tensor, Tensor]:
        paid = kl.mean() if kl.mean() > bits else torch.tensor(bits).double()
        return paid - rec.mean(), rec.mean() - kl.mean()

    return loss_of


HISTORIES = [
    (Renyi(0.5, particles=4), 4, _renyi(0.5)),
    (Renyi(-1.0, particles=4), 4, _renyi(-1.0)),
    (ELBO(free_bits=0.01), 1, _free(0.01)),
    (ELBO(free_bits=50.0), 1, _free(50.0)),
]


@pytest.mark.parametrize(("objective", "k", "loss_of"), HISTORIES, ids=lambda v: repr(v)[:25])
def test_history_holds_what_is_optimised_and_the_plain_bound(
    objective: Objective, k: int, loss_of: Any
) -> None:
    """Of `fit`, three steps on the same noise, against formulas written out here, to 1e-8."""
    vae, x = member("VAE").double(), images(dtype=torch.float64)
    twin = copy.deepcopy(vae)
    torch.manual_seed(1)
    history = fit(vae, [x], objective, steps=3, log_every=1, progress=False)
    torch.manual_seed(1)
    expected = _by_hand(twin, x, k, loss_of)
    for name, values in expected.items():
        assert history[name] == pytest.approx(values, abs=1e-8)


SCHEDULES = [
    (lambda: WarmUp(4), [0, 0.25, 0.5, 0.75, 1, 1]),
    (lambda: WarmUp(2, start=0.5, end=2), [0.5, 1.25, 2, 2]),
    (lambda: Cyclical(4), [0, 0.5, 1, 1, 0, 0.5]),
    (lambda: Cyclical(2, ramp=1, end=4), [0, 2, 0, 2]),
]


@pytest.mark.parametrize(("make", "values"), SCHEDULES)
def test_fit_advances_schedules_and_records_beta(make: Any, values: list[float]) -> None:
    """β of each step as the formula has it; loss = β kl - rec; the bound stays plain."""
    objective = ELBO(make())
    history = fit(
        member("VAE"), [images()], objective, steps=len(values), log_every=1, progress=False
    )
    assert history["beta"] == pytest.approx(values)
    for step, beta in enumerate(values):
        kl, rec = history["kl"][step], history["rec"][step]
        assert history["loss"][step] == pytest.approx(beta * kl - rec, abs=1e-4)
        assert history["bound"][step] == pytest.approx(rec - kl, abs=1e-4)


def test_schedule_inside_semi_supervised_and_across_fits() -> None:
    inner = ELBO(WarmUp(4))
    objective = SemiSupervised(inner, labelled_fraction=0.5)
    batch = (images(), images(), labels())
    fit(member("SSVAE"), [batch], objective, steps=1, progress=False)
    with pytest.warns(TrainingWarning, match="stands at step 1, where another run left it"):
        fit(member("SSVAE"), [batch], objective, steps=1, progress=False)
    assert inner.beta.value == 0.5
    assert SSVAE(x_shape=(1, 4, 4), classes=CLASSES).classes == CLASSES


SWAPS = ("prior", "posterior", "objective")


def _swap(model: Any, part: str) -> Objective | None:
    """Another prior, posterior or objective."""
    classes = model.classes
    if part == "prior":
        model.prior = priors.VampPrior((1, 4, 4), 3, k=4, classes=classes)
    elif part == "posterior":
        sizes: dict[str, Any] = {"hidden": (5,), "layers": 1, "flow_hidden": (4,), "context": 2}
        model.posterior = Flow((1, 4, 4), 3, classes=classes, **sizes)
    else:
        return IWELBO(4, estimator="dreg")
    return None


def _check_swap(model: Any, part: str, batches: list[Any], wrap: Any) -> None:
    """Old weights go on from where they were, and new ones move."""
    fit(model, batches, wrap(None), steps=3, progress=False)
    kept = {n: p.clone() for n, p in model.named_parameters() if not n.startswith(part)}
    objective = _swap(model, part)
    for name, parameter in model.named_parameters():
        assert name not in kept or torch.equal(parameter, kept[name])
    before = {n: p.clone() for n, p in model.named_parameters()}
    fit(model, batches, wrap(objective), steps=1, progress=False)
    for name, parameter in model.named_parameters():
        moved = (parameter - before[name]).abs().max().item()
        assert 0 < moved < 2e-3, name  # one step of Adam at 1e-3, from where it was


@pytest.mark.parametrize("part", SWAPS)
def test_swapping_in_the_middle_of_training(part: str) -> None:
    """`fit`, swap, `fit`, with a VampPrior, a flow as the posterior, and DReG."""
    _check_swap(member("VAE"), part, [images()], lambda objective: objective)


@pytest.mark.parametrize("part", SWAPS)
def test_swapping_in_the_middle_of_semi_supervised_training(part: str) -> None:
    """The same with labels: the objective is the one inside SemiSupervised."""
    batches = [(images(), images(3), labels(3))]
    _check_swap(
        member("SSVAE"),
        part,
        batches,
        lambda objective: SemiSupervised(objective, labelled_fraction=0.5),
    )


BAD = [
    (lambda: IWELBO(2, estimator="vimco"), r"estimator must be one of .*got 'vimco'"),
    (lambda: Renyi(math.nan), "alpha must be a finite number, got nan"),
    (lambda: Renyi(math.inf), "alpha must be a finite number, got inf"),
    (lambda: Renyi(particles=0), "particles must be at least 1, got 0"),
    (lambda: ELBO(free_bits=-1), "free_bits must be a number of at least 0, got -1"),
    (lambda: ELBO(free_bits=math.nan), "free_bits must be a number of at least 0, got nan"),
    (lambda: WarmUp(0), "steps must be at least 1, got 0"),
    (lambda: WarmUp(2.5), "steps must be a whole number.*got 2.5"),
    (lambda: Cyclical(math.nan), "steps must be a whole number.*got nan"),
    (lambda: WarmUp(1, end=-1.0), "end must be a number of at least 0, got -1"),
    (lambda: Cyclical(1, start=math.nan), "start must be a number of at least 0, got nan"),
    (lambda: Cyclical(5, ramp=math.nan), "ramp must be a number, got nan"),
    (lambda: Cyclical(5, ramp=0.0), r"ramp must be a share of a cycle in \(0, 1\], got 0"),
]


test_bad_input = refused([(call, ValueError, message) for call, message in BAD])


def test_real_digits_train_with_every_estimator() -> None:
    """40 steps on the built-in digits: the bound rises by more than 100 nats for each."""
    digits = data.digits("train")[:1000]
    for objective in (IWELBO(5, estimator="stl"), IWELBO(5, estimator="dreg"), Renyi(0.5)):
        history = fit(VAE(hidden=(50,)), digits, objective, steps=40, log_every=20, progress=False)
        assert history["bound"][-1] > history["bound"][0] + 100


BAD_NUMBERS: list[BadCall] = [
    (lambda: ELBO(-1), ValueError, "beta must be a number of at least 0, got -1"),
    (lambda: ELBO(float("nan")), ValueError, "beta .* got nan"),
    (lambda: ELBO(particles=0), ValueError, "particles must be at least 1, got 0"),
    (lambda: IWELBO(0), ValueError, "particles must be at least 1, got 0"),
    (lambda: SemiSupervised(alpha=-1), ValueError, "at least 0, got -1"),
    (lambda: IWELBO(2.5), ValueError, "particles must be a whole number.*got 2.5"),
    (lambda: IWELBO(math.nan), ValueError, "particles must be a whole number.*got nan"),
    (lambda: Renyi(particles="3"), TypeError, "particles must be .*got '3'"),
    (lambda: ELBO(True), TypeError, "beta must be a number of at least 0, got True"),
    (lambda: SemiSupervised(alpha=math.nan), ValueError, "alpha must be .*, got nan"),
    (lambda: SemiSupervised(alpha=math.inf), ValueError, "alpha must be .*, got inf"),
    (lambda: SemiSupervised(generative_weight=math.inf), ValueError, "weight must be .*, got inf"),
    (lambda: SemiSupervised(labelled_fraction=math.nan), ValueError, "fraction must be .* got nan"),
    (lambda: SemiSupervised(SemiSupervised()), TypeError, "one of vaezoo's that SemiSupervised"),
    (lambda: SemiSupervised(pyro.infer.Trace_ELBO()), TypeError, r"Renyi\(0.5\), got a Trace_ELBO"),
    (lambda: SemiSupervised(ELBO), TypeError, "one of vaezoo's that SemiSupervised combines"),
    (lambda: SemiSupervised(labelled_fraction=2), ValueError, r"lie in \[0, 1\], got 2"),
]  # fmt: skip


test_bad_numbers = refused(BAD_NUMBERS)
