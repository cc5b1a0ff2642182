"""Distributions of torch and Pyro, and modules that return one, assigned as priors."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import pyro.distributions.transforms as transforms
import pytest
import torch
import torch.distributions as plain
from torch import Tensor, nn
from zoo import X_SHAPE, Z_DIM, BadCall, images, member, refused

from vaezoo import IWELBO, evaluate, fit, load, models, priors, save
from vaezoo.posteriors import DiagonalNormal
from vaezoo.programs.run import run


class Elsewhere(plain.Distribution):
    """A law of another library, neither torch's nor Pyro's: N(shift, I), as zuko's are made."""

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012
    has_rsample = True

    def __init__(self, shift: Tensor, batch: Any = ()) -> None:
        self.shift = shift
        super().__init__(torch.Size(batch), shift.shape[-1:], validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Elsewhere:
        return Elsewhere(self.shift, torch.Size(batch_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        return self.shift + torch.randn(shape, dtype=self.shift.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        return plain.Normal(self.shift, 1.0).log_prob(value).sum(-1).expand(value.shape[:-1])


class Lazy(nn.Module):
    """As zuko's flows are: a module whose forward, of a context or of none, returns a law."""

    def __init__(self, size: int = Z_DIM) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.ones(size))

    def forward(self, c: Tensor | None = None) -> Elsewhere:
        return Elsewhere(self.shift)


def ones() -> Tensor:
    return torch.ones(Z_DIM)


BARE: dict[str, Callable[[], Any]] = {
    "torch": lambda: plain.Independent(plain.Normal(ones(), 2 * ones()), 1),
    "expanded": lambda: dist.Normal(0.0, 1.5).expand([Z_DIM]).to_event(1),
    "Laplace": lambda: dist.Laplace(ones(), ones()).to_event(1),
    "covariance": lambda: plain.MultivariateNormal(ones(), torch.eye(Z_DIM) + 0.5),
    "mixture": lambda: plain.MixtureSameFamily(
        plain.Categorical(torch.ones(4)),
        plain.Independent(plain.Normal(torch.arange(12.0).reshape(4, 3), torch.ones(4, 3)), 1),
    ),
    "transformed": lambda: plain.TransformedDistribution(
        plain.Independent(plain.Normal(ones(), ones()), 1),
        [plain.AffineTransform(ones(), 2 * ones(), event_dim=1)],
    ),
    "Gumbel": lambda: plain.Independent(plain.Gumbel(ones(), 2 * ones()), 1),
    "Gumbel of Pyro": lambda: dist.Gumbel(ones(), 2 * ones()).to_event(1),
    "parameter": lambda: dist.Normal(nn.Parameter(ones()), ones()).to_event(1),
    "parameter, expanded": lambda: plain.Independent(plain.Normal(nn.Parameter(torch.ones(1)), ones()), 1),
    "flow of Pyro": lambda: dist.TransformedDistribution(
        dist.Normal(0 * ones(), ones()).to_event(1), [transforms.spline_coupling(Z_DIM)]
    ),
    "module": Lazy,
}  # fmt: skip
LEARNED = ("parameter", "parameter, expanded", "flow of Pyro", "module")


@pytest.mark.parametrize("name", BARE)
def test_a_bare_distribution_is_a_prior(name: str, tmp_path: Any) -> None:
    """The same density and draws; trained, evaluated, copied, moved and saved with the model."""
    torch.manual_seed(1)
    bare = BARE[name]()
    state = torch.get_rng_state()
    model: Any = member("VAE", prior=bare)
    torch.set_rng_state(state)
    z, law = torch.randn(5, Z_DIM), bare() if isinstance(bare, nn.Module) else bare
    assert torch.allclose(model.prior().log_prob(z), law.log_prob(z), atol=1e-5)
    torch.manual_seed(2)
    expected = law.sample(torch.Size([4]))
    torch.manual_seed(2)
    assert torch.allclose(model.prior().sample(torch.Size([4])), expected)
    parameters = dict(model.prior.named_parameters())
    assert bool(parameters) == (name in LEARNED)
    before = {n: p.detach().clone() for n, p in parameters.items()}
    for objective in (None, IWELBO(3)):
        fit(model, [images()], objective, steps=2, progress=False)
    assert not [n for n, p in parameters.items() if torch.equal(p, before[n])]
    evaluate(model, [images()], particles=(1, 4), progress=False)
    twin = copy.deepcopy(model).double()
    here, there = model.prior().log_prob(z), twin.prior().log_prob(z.double())
    assert there.dtype == torch.float64
    assert torch.allclose(there.float(), here, atol=1e-4)
    assert twin.sample(4).shape == (4, *X_SHAPE)
    filled: Any = load(
        save(model, tmp_path / "bare.safetensors"), member("VAE", prior=BARE[name]())
    )
    assert torch.equal(filled.prior().log_prob(z), here)
    assert "\n" not in repr(model)


@pytest.mark.parametrize("library", [plain, dist])
def test_a_bounded_one_has_no_density_outside(library: Any) -> None:
    """Pyro's Uniform keeps more than torch's, and both are themselves; its density is in the box."""
    box = library.Uniform(-2 * ones(), 3 * ones())
    model: Any = member("VAE", prior=plain.Independent(box, 1))
    z = torch.linspace(-1.9, 2.9, 5).unsqueeze(1).expand(-1, Z_DIM)
    assert torch.allclose(model.prior().log_prob(z), torch.tensor(-Z_DIM * math.log(5)))
    assert float(model.prior().sample(torch.Size([99])).abs().max()) <= 3
    assert copy.deepcopy(model).double().prior().log_prob(z.double()).dtype == torch.float64


def test_the_kl_has_its_closed_form() -> None:
    """A bare N(μ, σ²) is as good as a prior of ours: no noise in its KL, to 1e-6."""
    model = member("VAE", prior=plain.Independent(plain.Normal(ones(), 2 * ones()), 1))
    x = images()
    terms = run(model.model, model.guide, x)
    q = model.posterior(x).base_dist
    kl = plain.kl_divergence(plain.Normal(q.loc, q.scale), plain.Normal(ones(), 2 * ones()))
    assert torch.allclose(terms.kl[0, 0], kl.sum(-1), atol=1e-6)


def test_a_parameter_stays_the_users() -> None:
    loc = nn.Parameter(ones())
    model = member("VAE", prior=dist.Normal(loc, ones()).to_event(1))
    assert any(p is loc for p in model.parameters())
    assert [n for n, _ in model.prior.named_parameters()] == ["base_dist_loc"]


@pytest.mark.parametrize("cut", [lambda t: t[1:], lambda t: t[:, ::2]], ids=["rows", "columns"])
def test_a_parameter_that_is_a_part_of_a_larger_tensor(cut: Callable[[Tensor], Tensor]) -> None:
    """A copy holds it in memory of its own: the density is the same, and reaches the parameter."""
    loc, z = nn.Parameter(cut(torch.arange(36.0).reshape(6, 6))), torch.zeros(Z_DIM)
    model = member("VAE", prior=dist.Normal(loc[1, :Z_DIM], ones()).to_event(1))
    expected = dist.Normal(loc[1, :Z_DIM], ones()).log_prob(z).sum()
    twin = copy.deepcopy(model)
    for each in (model, twin, twin.double()):
        found = each.prior().log_prob(z.to(each.prior.base_dist_loc))
        assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    twin.prior().log_prob(z.double()).backward()
    assert twin.prior.base_dist_loc.grad[1, :Z_DIM].tolist() == (-loc[1, :Z_DIM]).tolist()


def test_other_members_and_roles() -> None:
    upper: Any = models.HierarchicalVAE(X_SHAPE, 4, Z_DIM, hidden=(5,), upper_hidden=(5,))
    upper.prior = BARE["Laplace"]()
    fit(upper, [images()], steps=2, progress=False)
    labelled = member("SSVAE", prior=Lazy())
    assert labelled.prior.module.shift.requires_grad


class OfImages(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return dist.Normal(x.flatten(1), 1.0).to_event(1)


CALLS: list[tuple[str, Callable[[], Any], type[Exception], str]] = [
    ("prior", lambda: dist.Normal(ones(), ones()), ValueError, r"got \(\(3,\), \(\)\): write .to_event\(1\)"),
    ("prior", lambda: dist.Normal(0.0, 1.0).expand([4]).to_event(1), ValueError, r"prior Normal does not fit .*got \(\(\), \(4,\)\)"),
    ("prior", lambda: Lazy(4), ValueError, r"prior Lazy does not fit"),
    ("prior", lambda: dist.Normal(ones(), nn.Parameter(ones()).exp()).to_event(1), ValueError, "base_dist_scale is computed from parameters.*write a Prior whose forward"),
    ("prior", lambda: Bound(ones()), ValueError, "depends on parameters that it does not hold: assign the module that returned it"),
    ("prior", lambda: dist.TransformedDistribution(dist.Normal(ones(), ones()).to_event(1), [transforms.Planar(3)]), ValueError, "TransformedDistribution cannot be a prior.*at its own draws only"),
    ("prior", lambda: lambda: dist.Normal(ones(), ones()).to_event(1), TypeError, "prior must be a Prior, got .*: assign the distribution that it returns"),
    ("prior", lambda: dist.Normal, TypeError, "got the class Normal: make one of it"),
    ("prior", lambda: nn.Linear(1, 1), TypeError, "prior must be a Prior, got a Linear"),
    ("prior", lambda: DiagonalNormal(X_SHAPE, 3), TypeError, "prior must be a Prior, got a DiagonalNormal"),
    ("posterior", OfImages, TypeError, r"posterior must be a Posterior, got a OfImages: what depends on an image is .*whose forward\(x\) returns"),
    ("posterior", lambda: dist.Normal(ones(), ones()).to_event(1), TypeError, "posterior must be a Posterior, .*what depends on an image"),
]  # fmt: skip


class Bound(Elsewhere):
    """A law with a parameter where nobody finds it."""

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value) + HIDDEN


HIDDEN = nn.Parameter(torch.zeros(()))


@pytest.mark.parametrize(("role", "value", "error", "message"), CALLS, ids=range(len(CALLS)))
def test_what_is_no_part(role: str, value: Any, error: type[Exception], message: str) -> None:
    model = member("VAE")
    kept = getattr(model, role)
    with pytest.raises(error, match=message):
        setattr(model, role, value())
    assert getattr(model, role) == kept


def test_flows_of_zuko() -> None:
    zuko = pytest.importorskip("zuko")
    model = member("VAE", prior=zuko.flows.NSF(features=Z_DIM, transforms=2, hidden_features=(8,)))
    fit(model, [images()], IWELBO(2), steps=2, progress=False)
    assert model.sample(5).shape == (5, *X_SHAPE)


BAD_SIZES: list[BadCall] = [
    (lambda: priors.MixtureOfGaussians(2, k=0), ValueError, "k must be at least 1, got 0"),
    (lambda: priors.StandardNormal(0), ValueError, "z_dim must be at least 1, got 0"),
]  # fmt: skip


test_bad_sizes = refused(BAD_SIZES)
