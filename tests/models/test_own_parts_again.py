"""Parts of one's own: priors that are taken apart, networks that count or are complex."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import transforms
from pyro.nn import ConditionalDenseNN
from torch import Tensor, nn
from zoo import X_SHAPE, Z_DIM, BadCall, images, member, refused

from vaezoo import load, models, posteriors, priors, save


class Scaled(dist.TorchDistribution):
    """N(0, scale²), which keeps numbers under names that differ by an underscore, or collide."""

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012
    support, has_rsample = dist.constraints.real_vector, True

    def __init__(self, scale: Tensor) -> None:
        self.scale, self._scale = scale, scale.log()
        self.a, self.a_0 = [scale * 5], scale * 7
        self.name, self.distribution, self.half = scale * 2, scale * 3, scale * 4
        super().__init__((), scale.shape, validate_args=False)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return torch.randn(*sample_shape, *self.scale.shape) * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        return dist.Normal(torch.zeros(()), self.scale).to_event(1).log_prob(value)

    def numbers(self) -> list[Tensor]:
        return [self.scale, self._scale, *self.a, self.a_0, self.name, self.distribution, self.half]


def scaled() -> Any:
    return member("VAE", prior=Scaled(torch.full((Z_DIM,), 3.0)))


def test_names_that_differ_by_an_underscore_are_two(tmp_path: Path) -> None:
    """And the first keeps the name that it has in older files."""
    model, law = scaled(), Scaled(torch.full((Z_DIM,), 3.0))
    z = torch.ones(Z_DIM)
    for each in (model, copy.deepcopy(model), load(save(model, tmp_path / "a"), scaled())):
        assert torch.equal(each.prior().log_prob(z), law.log_prob(z))
        for found, expected in zip(each.prior().numbers(), law.numbers(), strict=True):
            assert torch.equal(found, expected)
    assert sorted(n for n, _ in model.prior.named_buffers()) == [
        *("a_0", "a_0_1", "distribution_1", "half_1", "name_1", "scale", "scale_1"),
    ]


def test_one_parameter_under_two_names_is_one() -> None:
    """As before, so that older files fit."""

    class Twice(Scaled):
        def __init__(self, scale: Tensor) -> None:
            super().__init__(scale.detach())
            self.scale = self._scale = scale

    model = member("VAE", prior=Twice(nn.Parameter(torch.ones(Z_DIM))))
    assert [n for n, _ in model.prior.named_parameters()] == ["scale"]


def coupled() -> Any:
    """A law of which one parameter is found, and a network is not."""
    net = ConditionalDenseNN(1, 3, [4], [2, 2])
    flow = transforms.ConditionalAffineCoupling(1, net).condition(torch.ones(3))
    base = dist.Normal(nn.Parameter(torch.zeros(Z_DIM)), torch.ones(Z_DIM)).to_event(1)
    return dist.TransformedDistribution(base, [flow])


class Bad(nn.Module):
    def forward(self) -> Any:
        return dist.Normal(torch.zeros(2), torch.ones(3))


class Needs(nn.Module):
    def forward(self, context: Tensor) -> Any:
        return dist.Normal(context, 1.0).to_event(1)


class Numbers(nn.Module):
    def forward(self) -> Tensor:
        return torch.zeros(Z_DIM)


CALLS: list[BadCall] = [
    (coupled, ValueError, "TransformedDistribution depends on parameters that it does not hold: assign"),
    (Bad, TypeError, r"prior must be a Prior, got a Bad: a module is one if module\(\) returns a distribution, and calling this one raised RuntimeError: The size of tensor a"),
    (Needs, TypeError, "got a Needs: .*raised TypeError: .*missing 1 required positional argument: 'context'"),
    (Numbers, TypeError, r"got a Numbers: a module is one if .*, and this one returned a Tensor"),
]  # fmt: skip


test_priors_that_are_refused = refused(
    [
        (lambda make=make: member("VAE", prior=make()), error, message)  # type: ignore[misc]
        for make, error, message in CALLS
    ]
)


def test_the_error_of_a_module_is_the_cause() -> None:
    with pytest.raises(TypeError) as caught:
        member("VAE", prior=Bad())
    assert isinstance(caught.value.__cause__, RuntimeError)


class Spectral(nn.Module):
    """A filter of Fourier coefficients."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.randn(9, dtype=torch.cfloat))
        self.register_buffer("phase", torch.randn(9, dtype=torch.cfloat))
        self.last = nn.Linear(16, 2 * Z_DIM)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(x.flatten(1)) * self.filter * self.phase
        return self.last(torch.fft.irfft(spectrum, 16)).unflatten(-1, (2, Z_DIM))  # type: ignore[no-any-return]


def test_complex_weights_stay_complex(tmp_path: Path) -> None:
    """They are the first parameter, too, which says no dtype that the others are to have."""
    net, x = Spectral(), images()
    before, filtered = net(x), net.filter.detach().clone()
    model = member("VAE", posterior=posteriors.DiagonalNormal(X_SHAPE, Z_DIM, network=net))
    assert torch.equal(net(x), before)
    assert torch.equal(model.encode(x), before[:, 0])
    assert torch.equal(net.filter, filtered)
    other = posteriors.DiagonalNormal(X_SHAPE, Z_DIM, network=Spectral())
    twin = load(save(model, tmp_path / "a"), member("VAE", posterior=other))
    assert torch.equal(twin.encode(x), before[:, 0])
    part = posteriors.DiagonalNormal(X_SHAPE, Z_DIM, network=net)
    double = member("VAE").double()
    double.posterior = part
    assert (net.filter.dtype, net.phase.dtype) == (torch.complex128, torch.complex128)
    assert torch.equal(net.filter, filtered.to(torch.complex128))
    with pytest.raises(
        TypeError, match=r"posterior.network.filter is of complex128, which no file"
    ):
        save(double, tmp_path / "b")


def test_a_refused_part_of_complex_weights_gets_them_back() -> None:
    net = Spectral()
    before = {n: t.clone() for n, t in net.state_dict().items()}
    double = member("VAE", z_dim=Z_DIM + 1).double()
    with pytest.raises(ValueError, match="does not fit"):
        double.posterior = posteriors.DiagonalNormal(X_SHAPE, Z_DIM, network=net)
    after = net.state_dict()
    assert all(after[n].dtype == t.dtype and torch.equal(after[n], t) for n, t in before.items())


def test_a_member_whose_first_parameter_is_complex() -> None:
    """The others say what dtype a part takes on."""

    class First(models.VAE):
        def __init__(self, **arguments: Any) -> None:
            super().__init__(X_SHAPE, Z_DIM, hidden=(4,), **arguments)
            self._parameters = {"filter": nn.Parameter(torch.zeros(2, dtype=torch.cfloat))}

    model = First()
    part = posteriors.DiagonalNormal(X_SHAPE, Z_DIM, hidden=(4,)).double()
    model.posterior = part
    assert {p.dtype for p in part.parameters()} == {torch.float32}


class Counting(nn.Module):
    """It counts its calls in a buffer that it writes into, and in one that it makes anew."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(16, 2 * Z_DIM), nn.BatchNorm1d(2 * Z_DIM)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("again", torch.zeros(()))
        self.register_buffer("grown", torch.zeros(0))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.again = self.again + 1
        self.grown = torch.zeros(5)
        h = self.norm(self.layer(x.flatten(1)))
        return h.unflatten(-1, (2, Z_DIM))  # type: ignore[no-any-return]


class Drawn(nn.Module):
    """A prior that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.norm = nn.BatchNorm1d(Z_DIM)

    def forward(self) -> Any:
        self.calls += 1
        return dist.Normal(self.norm(torch.ones(2, Z_DIM))[0], 1.0).to_event(1)


def test_an_assignment_leaves_counters_as_they_were() -> None:
    net, prior = Counting(), Drawn()
    calls, again = net.calls, net.again
    model = member("VAE")
    model.posterior = posteriors.DiagonalNormal(X_SHAPE, Z_DIM, network=net)
    model.prior = prior
    assert (net.calls.item(), net.again.item(), prior.calls.item()) == (0, 0, 0)
    assert net.calls is calls
    assert net.again is again
    assert len(net.grown) == 5  # a cache that has grown is kept
    assert prior.norm.num_batches_tracked == 0
    with pytest.raises(ValueError, match="does not fit"):
        member("VAE", z_dim=Z_DIM + 1, prior=prior)
    assert prior.calls.item() == 0
    model.prior = priors.VampPrior(X_SHAPE, Z_DIM, k=4)  # which calls the posterior
    assert (net.calls.item(), net.norm.num_batches_tracked.item()) == (0, 0)
    assert net.norm.training
