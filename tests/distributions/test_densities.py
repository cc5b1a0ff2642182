"""Densities of priors and posteriors in float64, against brute force."""

from __future__ import annotations

import copy
import math

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian
from torch.distributions import MultivariateNormal, kl_divergence
from zoo import CLASSES, POSTERIORS, X_SHAPE, Z_DIM, images, labels, member, refused, widen

from vaezoo import posteriors, priors
from vaezoo.distributions.autoregressive import AutoregressiveFlow
from vaezoo.posteriors import Posterior
from vaezoo.priors import Prior


def posterior(name: str, *, z_dim: int = Z_DIM, classes: int = 0) -> Posterior:
    """A small posterior in float64 with weights large enough to matter."""
    return widen(POSTERIORS[name](X_SHAPE, z_dim, classes).double())


def log_normal(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """The sum over the last axis, by hand."""
    each = -0.5 * ((z - loc) / scale) ** 2 - scale.log() - 0.5 * math.log(2 * math.pi)
    return each.sum(-1)


@pytest.mark.parametrize("classes", [0, CLASSES])
@pytest.mark.parametrize("name", POSTERIORS)
def test_vamp_is_the_mean_of_posteriors(name: str, classes: int) -> None:
    """Against a loop over pseudo-inputs, to 1e-9, alone and inside a plate."""
    q = posterior(name, classes=classes)
    prior = priors.VampPrior(X_SHAPE, Z_DIM, k=5, classes=classes).double()
    prior.follow(q)
    z = torch.randn(4, 6, Z_DIM).double()
    each = []
    for i, u in enumerate(prior.raw.sigmoid()):
        given = [torch.tensor([i % classes])] if classes else []
        # one component at a time, each point on its own
        component = q(u[None], *given)
        each.append(torch.stack([component.log_prob(point)[0] for point in z.reshape(-1, Z_DIM)]))
    expected = (torch.stack(each).logsumexp(0) - math.log(5)).reshape(4, 6)
    for shape in ((), (6,)):
        assert torch.allclose(prior().expand(shape).log_prob(z), expected, atol=1e-9)
    assert prior().sample((7,)).shape == (7, Z_DIM)


def test_vamp_gradients_reach_pseudo_inputs_and_posterior() -> None:
    vae = member("VAE", prior=priors.VampPrior(X_SHAPE, Z_DIM, k=5))
    vae.prior().log_prob(torch.zeros(Z_DIM)).backward()
    assert vae.prior.raw.grad.abs().sum() > 0
    assert all(p.grad is not None for p in vae.posterior.parameters())
    assert not any(n.startswith("prior") and "network" in n for n, _ in vae.named_parameters())


def test_vamp_follows_swaps_and_copies() -> None:
    """Through `vae.posterior = …` and deepcopy it is the mixture of the posterior at hand."""
    vae = member("VAE", prior=priors.VampPrior(X_SHAPE, Z_DIM, k=5))
    vae.posterior = posteriors.FullNormal(X_SHAPE, Z_DIM, hidden=(8,))
    twin = copy.deepcopy(vae)
    z = torch.zeros(Z_DIM)
    assert torch.equal(twin.prior().log_prob(z), vae.prior().log_prob(z))
    for p in twin.posterior.parameters():
        nn.init.zeros_(p)
    assert not torch.equal(twin.prior().log_prob(z), vae.prior().log_prob(z))
    assert vae.prior().component_distribution.__class__ is vae.posterior(images(5)).__class__


def test_vamp_starts_from_images() -> None:
    prior = priors.VampPrior(X_SHAPE, Z_DIM, k=6)
    x = images()
    assert torch.allclose(prior.start_from(x).pseudo_inputs(), x.clamp(0.01, 0.99), atol=1e-6)
    wide = priors.VampPrior((2,), Z_DIM, k=6, unit=False)
    assert torch.equal(
        wide.start_from(torch.full((6, 2), 7.0)).pseudo_inputs(), torch.full((6, 2), 7.0)
    )


def _spread(module: nn.Module) -> nn.Module:
    for p in module.double().parameters():
        nn.init.normal_(p, std=0.5)
    return module


@pytest.mark.parametrize("layers", [1, 3])
def test_flow_prior_by_change_of_variables(layers: int) -> None:
    """log N(f(z)) + log |det df/dz| with the whole Jacobian by autograd, to 1e-10."""
    prior = _spread(priors.Flow(Z_DIM, layers=layers, hidden=(8, 8)))
    found = prior()

    def f(z: Tensor) -> Tensor:
        for transform in reversed(found.transforms):
            z = transform.inv(z)
        return z

    for z in torch.randn(5, Z_DIM).double():
        determinant = jacobian(f, z).det().abs().log()
        expected = log_normal(f(z), torch.zeros(1).double(), torch.ones(Z_DIM).double())
        assert torch.allclose(found.log_prob(z), expected + determinant, atol=1e-10)


def _grid(half_width: float, n: int) -> tuple[Tensor, float]:
    axis = torch.linspace(-half_width, half_width, n, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    return points, (axis[1] - axis[0]).item() ** 2


@pytest.mark.parametrize("name", ["flow", "vamp", "mixture"])
def test_priors_integrate_to_one(name: str) -> None:
    """On a 2-D grid of 800 × 800 points, to 1e-6."""
    made: dict[str, Prior] = {
        "flow": priors.Flow(2, layers=2, hidden=(6,)),
        "vamp": priors.VampPrior(X_SHAPE, 2, k=3),
        "mixture": priors.MixtureOfGaussians(2, k=3, learn_weights=True),
    }
    prior = made[name].double()
    for p in prior.parameters():
        nn.init.normal_(p, std=0.2)
    prior.follow(posterior("diagonal", z_dim=2))
    points, cell = _grid(24.0, 800)
    with torch.no_grad():
        assert prior().log_prob(points).exp().sum().item() * cell == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("classes", [0, CLASSES])
@pytest.mark.parametrize("name", POSTERIORS)
def test_posterior_density_of_its_own_draws(name: str, classes: int) -> None:
    """The cached density of a draw is that of the same numbers as a fresh tensor, to 1e-10."""
    q = posterior(name, classes=classes)
    given = [torch.arange(CLASSES)[:, None, None]] if classes else []
    x = images(4, dtype=torch.float64)
    drawn, shape = q(x, *given), (CLASSES, 5, 4) if classes else (5, 4)
    assert drawn.batch_shape == ((CLASSES, 1, 4) if classes else (4,))
    first = drawn.expand(shape)
    z = first.rsample()
    assert z.shape == (*shape, Z_DIM)
    assert torch.allclose(first.log_prob(z), q(x, *given).log_prob(z.clone()), atol=1e-10)


def test_flow_posterior_by_change_of_variables() -> None:
    """log q(z) = log N(ε) - log |det dz/dε| with the whole Jacobian, to 1e-10."""
    q = posterior("flow")(images(1, dtype=torch.float64))
    base = q.base_dist.base_dist

    def f(e: Tensor) -> Tensor:
        for transform in q.transforms:
            e = transform(e)
        return e

    for _ in range(5):
        e = base.sample()[0]
        determinant = jacobian(lambda e: f(e[None])[0], e).det().abs().log()
        expected = log_normal(e, base.loc[0], base.scale[0]) - determinant
        assert torch.allclose(q.log_prob(f(e[None]))[0], expected, atol=1e-10)


def test_full_and_low_rank_are_multivariate_normals() -> None:
    """Their densities from the whole covariance matrix, to 1e-10."""
    x = images(4, dtype=torch.float64)
    z = torch.randn(4, Z_DIM).double()
    for name in ("full", "low rank"):
        q = posterior(name)(x)
        covariance = q.covariance_matrix
        off = covariance - torch.diag_embed(covariance.diagonal(dim1=-2, dim2=-1))
        assert off.abs().max() > 1e-3
        expected = MultivariateNormal(q.mean, covariance).log_prob(z)
        assert torch.allclose(q.log_prob(z), expected, atol=1e-10)


@pytest.mark.parametrize("name", ["full", "low rank"])
def test_closed_form_kl_to_any_diagonal_normal(name: str) -> None:
    """Against torch's KL between two full covariance matrices, to 1e-10."""
    q = posterior(name)(images(4, dtype=torch.float64))
    loc, scale = torch.randn(Z_DIM).double(), torch.rand(Z_DIM).double() + 0.5
    p = dist.Normal(loc, scale).to_event(1)
    whole = MultivariateNormal(q.mean, q.covariance_matrix)
    expected = kl_divergence(whole, MultivariateNormal(loc, torch.diag(scale**2)))
    assert torch.allclose(kl_divergence(q, p.expand((4,))), expected, atol=1e-10)
    with pytest.raises(NotImplementedError):
        kl_divergence(q, dist.Laplace(loc, scale).to_event(1))


@pytest.mark.parametrize("z_dim", [2, 5])
def test_flow_inverts(z_dim: int) -> None:
    """There and back to 1e-9, and the Jacobians of both ways cancel."""
    flow = _spread(AutoregressiveFlow(z_dim, layers=2, hidden=(8,), context=3))
    x, context = torch.randn(6, z_dim).double(), torch.randn(6, 3).double()
    for there, back in zip(flow(context), flow(context), strict=True):
        y = there(x)
        assert torch.allclose(back.inv(y), x, atol=1e-9)
        forwards = there.log_abs_det_jacobian(x, y)
        assert torch.allclose(back.inv.log_abs_det_jacobian(y, back.inv(y)), -forwards, atol=1e-9)


@pytest.mark.parametrize("inverted", [False, True], ids=["posterior", "prior"])
def test_flow_gives_gradients_at_what_it_sampled(inverted: bool) -> None:
    """`d.log_prob(d.sample())`: the density of a constant, whose parameters have gradients."""
    flow = _spread(AutoregressiveFlow(3, layers=2, hidden=(8,)))
    base = dist.Normal(torch.zeros(3).double(), 1.0).to_event(1)

    def fresh() -> dist.TorchDistribution:
        return dist.TransformedDistribution(base, [t.inv if inverted else t for t in flow()])

    found, parameters = fresh(), list(flow.parameters())
    z = found.sample((4,))
    ours = torch.autograd.grad(found.log_prob(z).sum(), parameters)
    expected = torch.autograd.grad(fresh().log_prob(z.clone()).sum(), parameters)
    for a, b in zip(ours, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-8)
        assert b.abs().sum() > 0


def test_labels_reach_every_posterior() -> None:
    x = images(dtype=torch.float64)
    for name in POSTERIORS:
        q, z = posterior(name, classes=CLASSES), torch.zeros(6, Z_DIM).double()
        a, b = (q(x, y).log_prob(z) for y in (labels(), (labels() + 1) % CLASSES))
        assert (a != b).all()


BAD = [
    (lambda: priors.Flow(1), "an autoregressive flow needs z_dim of at least 2.*got z_dim=1"),
    (lambda: priors.Flow(9, hidden=(8,)), r"at least as wide as z_dim, got z_dim=9.*\(8,\)"),
    (lambda: priors.Flow(3, layers=0), "layers must be at least 1, got 0"),
    (lambda: posteriors.Flow(X_SHAPE, 3, context=0), "context must be at least 1, got 0"),
    (lambda: posteriors.LowRankNormal(X_SHAPE, 3, rank=0), "rank must be at least 1, got 0"),
    (lambda: priors.VampPrior(X_SHAPE, 3, k=0), "k must be at least 1, got 0"),
    (lambda: priors.VampPrior(X_SHAPE, 3)(), "a VampPrior needs a posterior"),
    (
        lambda: priors.VampPrior(X_SHAPE, 3, k=2).start_from(255 * images(2)),
        r"from pixels in \[0, 1\], got 0\.\.255: divide bytes by 255",
    ),
    (
        lambda: priors.VampPrior(X_SHAPE, 3, k=2).start_from(images(2).log()),
        "images must be finite",
    ),
    (
        lambda: priors.VampPrior(X_SHAPE, 3, k=2).start_from(images(3)),
        r"expected \(2, 1, 4, 4\) images, got \(3, 1, 4, 4\)",
    ),
    (
        lambda: member("VAE", prior=priors.VampPrior((1, 5, 5), Z_DIM)),
        r"prior VampPrior\(3, k=500\) does not fit VAE.*expected inputs \(\.\.\., 1, 4, 4\)",
    ),
    (
        lambda: member("SSVAE", prior=priors.VampPrior(X_SHAPE, Z_DIM)),
        "does not fit SSVAE.*classes=0 cannot follow a posterior with classes=3",
    ),
    (
        lambda: AutoregressiveFlow(3, hidden=(4,), context=2)(),
        "this flow has a context of size 2, got None",
    ),
]


test_bad_input = refused([(call, ValueError, message) for call, message in BAD])


def test_a_mixture_under_autocast_is_that_without() -> None:
    """bfloat16 squares that cancel were 22 nats off; equal to the last digit."""
    prior, z = priors.MixtureOfGaussians(10, k=50), 3 * torch.randn(20, 10)
    expected = prior().log_prob(z)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(prior().log_prob(z), expected)


@pytest.mark.parametrize("name", POSTERIORS)
def test_a_posterior_under_autocast_is_in_the_models_dtype(name: str) -> None:
    """Whose densities at other values than its draws are those of its own numbers, to 1e-3."""
    q, x = POSTERIORS[name](X_SHAPE, Z_DIM, 0), images()
    with torch.autocast("cpu", torch.bfloat16):
        law = q(x)
        z = law.rsample()
        found, again = law.log_prob(z), law.log_prob(z.clone())
    assert found.dtype == again.dtype == torch.float32
    assert torch.allclose(found, again, atol=1e-3)


@pytest.mark.parametrize("name", POSTERIORS)
def test_a_draw_that_was_written_to_is_another_value(name: str) -> None:
    """As where one unit of it is moved: its density is that of the same numbers elsewhere."""
    q = POSTERIORS[name](X_SHAPE, Z_DIM, 0).double()(images(dtype=torch.float64))
    with torch.no_grad():
        z = q.sample()
        before = q.log_prob(z)
        z[..., 0] += 2
        found = q.log_prob(z)
    assert torch.allclose(found, q.log_prob(z.clone()), atol=1e-9)
    assert (found - before).abs().min() > 0.01


class Narrowed(dist.Normal):
    """A density of its own on Normal's parameters."""

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value) - value.abs()


class OfNarrowed(posteriors.DiagonalNormal):
    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        base = super().forward(x, y).base_dist
        return Narrowed(base.loc, base.scale).to_event(1)


def test_vamp_of_a_class_made_from_normal() -> None:
    """Its components have the posterior's own density, to 1e-5."""
    prior, q, z = (
        priors.VampPrior(X_SHAPE, Z_DIM, k=2),
        OfNarrowed(X_SHAPE, Z_DIM),
        torch.randn(5, 3),
    )
    prior.follow(q)
    each = q(prior.pseudo_inputs()).log_prob(z.unsqueeze(1))
    assert torch.allclose(prior().log_prob(z), each.logsumexp(-1) - math.log(2), atol=1e-5)
