"""Labels that a classifier rules out, labels that a model lacks, and folds that have no closed KL."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import infer
from torch import Tensor, nn
from torch.distributions import Transform, constraints, kl_divergence, register_kl
from zoo import X_SHAPE, images, member

from vaezoo import ELBO, IWELBO, closed_form, contract, objectives, posteriors
from vaezoo.bound import Bound
from vaezoo.programs.closed_forms import may_have_closed_form
from vaezoo.programs.run import run

CLASSES = 3


class Without(nn.Module):
    """A classifier's network that never says the last class."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, CLASSES)
        self.register_buffer("mask", torch.tensor([0, 0, -torch.inf]))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1)) + self.mask


def ruled_out() -> Any:
    torch.manual_seed(0)
    network = Without()
    model = member("SSVAE", classes=CLASSES)
    model.classifier = posteriors.Classifier(X_SHAPE, CLASSES, network=network)
    return model.double()


@pytest.mark.parametrize(
    "objective",
    [
        ELBO(),
        ELBO(particles=3),
        IWELBO(3),
        IWELBO(3, estimator="dreg"),
        objectives.Renyi(0.5, particles=3),
    ],
)
def test_a_class_of_probability_0_has_no_part_in_the_sum(objective: Any) -> None:
    """As with log q of -10,000, where 0 times a finite term is 0; finite gradients; to 1e-10."""
    model, x = ruled_out(), images(5).double()
    torch.manual_seed(1)
    terms = Bound(model, objective)(x)
    terms["loss"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    torch.manual_seed(1)
    read = run(model.model, model.guide, x, particles=objective.num_particles)
    each = objective.bound(_labelwise(read))
    assert terms["bound"].item() == pytest.approx(each.mean().item(), abs=1e-10)
    assert torch.isfinite(model.score(x)).all()


def _labelwise(terms: Any) -> Any:
    """The same terms, with a class that has hardly any probability in place of none."""
    ruled = terms.log_qy.clamp_min(-1e4)
    terms.__dict__["log_qy"] = ruled
    return terms


def test_as_pyro_sums_it() -> None:
    """Means of 100 batches of 40 draws, and of 10 of theirs; z below 5 (failure rate 3e-6), seeded."""
    model, x = ruled_out(), images(4).double()
    torch.manual_seed(2)
    theirs = infer.TraceEnum_ELBO(max_plate_nesting=1)
    with torch.no_grad():
        a = torch.stack([Bound(model, ELBO())(x.repeat(40, 1, 1, 1))["loss"] for _ in range(100)])
        b = torch.stack([Bound(model, theirs)(x.repeat(10, 1, 1, 1))["loss"] for _ in range(100)])
    error = (a.var() / len(a) + b.var() / len(b)).sqrt()
    assert ((a.mean() - b.mean()) / error).abs() < 5


def test_the_closed_forms_leave_it_out() -> None:
    q, log_q = torch.tensor([0.25, 0.75, 0.0]), torch.tensor([0.25, 0.75, 0.0]).log()
    log_p = torch.full((3,), 1 / 3).log()
    expected = (q[:2] * (log_q - log_p)[:2]).sum()
    assert closed_form.kl_cat(q, log_q, log_p) == pytest.approx(expected.item(), abs=1e-7)


def test_a_label_that_the_model_lacks_is_refused() -> None:
    """Its sum would be too high by the logarithm of how many classes there are."""
    vae, x = member("VAE"), images(4)

    def guide(x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            label = dist.Categorical(logits=x.new_zeros(len(x), 10))
            pyro.sample("y", label, infer={"enumerate": "parallel"})
            pyro.sample("z", vae.posterior(x))

    for objective in (ELBO(), IWELBO(3)):
        with pytest.raises(ValueError, match="the guide samples 'y' and the model does not"):
            objective.loss(vae.model, guide, x)


class Shift(Transform):
    """z + 1; it leaves torch's word that a transform is not bijective."""

    domain = codomain = constraints.real

    def _call(self, x: Tensor) -> Tensor:
        return x + 1

    def _inverse(self, y: Tensor) -> Tensor:
        return y - 1

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.zeros_like(x)


class Shifted(dist.TransformedDistribution):
    """For which somebody has registered a KL."""

    def __init__(self, base: Any) -> None:
        super().__init__(base, [Shift()])


@register_kl(Shifted, dist.Normal)
def _of_shifted(q: Any, p: Any) -> Tensor:
    return torch.ones(())


def test_what_is_folded_has_no_closed_form() -> None:
    """|z| of two Normals: torch's KL is that of the Normals; numerically it is 0.598."""
    q, p = (dist.FoldedDistribution(dist.Normal(m, 1.0)) for m in (-1.5, 0.0))
    assert kl_divergence(q, p) == pytest.approx(1.125)
    assert not may_have_closed_form(q, p)
    assert not may_have_closed_form(q.expand([2]).to_event(1), p.expand([2]).to_event(1))
    halves = [dist.HalfNormal(torch.tensor(s)).expand([2]).to_event(1) for s in (0.5, 1.0)]
    assert may_have_closed_form(*halves)
    assert may_have_closed_form(Shifted(dist.Normal(0.0, 1.0)), dist.Normal(0.0, 1.0))
    logs = [dist.LogNormal(m, 1.0) for m in (-1.5, 0.0)]
    assert may_have_closed_form(*logs)


def test_a_folded_prior_and_posterior() -> None:
    """The KL that is reported, a mean over 20,000 draws, against quadrature; z below 5, seeded."""
    z = torch.linspace(1e-9, 12, 200_001, dtype=torch.float64)
    zero = torch.zeros(1, dtype=torch.float64)
    q, p = (dist.FoldedDistribution(dist.Normal(zero + m, 1.0)) for m in (-1.5, 0.0))
    at_q, at_p = q.log_prob(z[:, None])[:, 0], p.log_prob(z[:, None])[:, 0]
    exact = torch.trapezoid(at_q.exp() * (at_q - at_p), z)

    def model(x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            code = pyro.sample("z", p.expand([len(x), 1]).to_event(1))
            pyro.sample("x", dist.Normal(code[..., 0], 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            pyro.sample("z", q.expand([len(x), 1]).to_event(1))

    torch.manual_seed(0)
    terms = run(model, guide, torch.zeros(1, dtype=torch.float64), particles=20_000)
    kl = terms.kl.flatten()
    assert (kl.mean() - exact).abs() < 5 * kl.std() / len(kl) ** 0.5
    assert exact == pytest.approx(0.598, abs=1e-3)


@pytest.mark.parametrize("name", ["SSVAE", "M1M2", "ADGM"])
@pytest.mark.parametrize("question", ["classify", "label_posterior"])
def test_no_images_have_no_class(name: str, question: str) -> None:
    model = member(name)
    for x in (torch.zeros(0, *X_SHAPE), torch.zeros(X_SHAPE)):
        with pytest.raises(ValueError, match=r"expected images \(N, 1, 4, 4\), got"):
            getattr(model, question)(x)


def test_the_contract_takes_such_a_classifier() -> None:
    network = Without()
    classifier = posteriors.Classifier(X_SHAPE, CLASSES, network=network)
    contract.check_classifier(classifier, images(4))
