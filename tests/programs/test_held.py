"""Held distributions: one run of the guide's networks, and the gradient of log q through z alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions.transforms import AffineAutoregressive
from pyro.nn import AutoRegressiveNN
from torch import Tensor, nn
from zoo import X_SHAPE, Z_DIM, images, member

from vaezoo.objectives import IWELBO
from vaezoo.posteriors import DiagonalNormal
from vaezoo.programs.held import hold
from vaezoo.programs.run import run


class InputNoise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 0.3 * torch.randn_like(x)


def encoder(*layers: nn.Module) -> nn.Module:
    first, last = nn.Linear(16, 8), nn.Linear(8, 2 * Z_DIM)
    return nn.Sequential(nn.Flatten(), first, *layers, last, nn.Unflatten(-1, (2, Z_DIM)))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "dropout": lambda: encoder(nn.Dropout(0.5)),
    "input noise": lambda: nn.Sequential(InputNoise(), encoder()),
    "batch norm": lambda: encoder(nn.BatchNorm1d(8)),
    "spectral norm": lambda: nn.Sequential(
        nn.Flatten(),
        nn.utils.parametrizations.spectral_norm(nn.Linear(16, 2 * Z_DIM)),
        nn.Unflatten(-1, (2, Z_DIM)),
    ),
}


@pytest.mark.parametrize("estimator", ["stl", "dreg"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_that_is_no_function_runs_once(name: str, estimator: str) -> None:
    """The bound is iwae's on the same noise, to 1e-12; buffers move as in one run."""
    torch.manual_seed(1)
    network, x = NETWORKS[name]().double(), images().double()
    posterior = DiagonalNormal(X_SHAPE, Z_DIM, network=network)
    vae = member("VAE", posterior=posterior).double().train()
    state = {n: t.clone() for n, t in vae.state_dict().items()}
    found = []
    for each in ("iwae", estimator):
        vae.load_state_dict(state)
        runs: list[int] = []
        with_count = network.register_forward_hook(lambda *_, runs=runs: runs.append(1))
        torch.manual_seed(2)
        terms = IWELBO(5, estimator=each).estimate(vae.model, vae.guide, x)
        with_count.remove()
        assert len(runs) == 1
        found.append((terms["bound"], {n: b.clone() for n, b in vae.named_buffers()}))
    (bound, buffers), (held_bound, held_buffers) = found
    assert torch.allclose(held_bound, bound, rtol=1e-12, atol=0)
    assert all(torch.equal(buffers[n], held_buffers[n]) for n in buffers)


class Chain(nn.Module):
    """q(z1|x) q(z2|z1) q(z3|z1, z2): every latent depends on all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(2 + 2 * i, 4) for i in range(3)).double()

    def distribution(self, i: int, given: Tensor, maps: Any = None) -> dist.TorchDistribution:
        loc, raw = (maps or self.maps)[i](given).chunk(2, -1)
        return dist.Normal(loc, raw.exp()).to_event(1)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            given = x
            for i in range(3):
                q = self.distribution(i, given)
                z = pyro.sample(f"z{i}", q)
                given = torch.cat([given.expand(*z.shape[:-1], -1), z], -1)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            zs = [
                pyro.sample(f"z{i}", dist.Normal(torch.zeros(2).to(x), 1.0).to_event(1))
                for i in range(3)
            ]
            pyro.sample("x", dist.Normal(torch.stack(zs).sum(0).tanh(), 0.5).to_event(1), obs=x)


def test_latents_drawn_from_one_another_by_a_second_run() -> None:
    """The stl gradient of a guide of three layers, against one that runs held copies; 1e-12."""
    torch.manual_seed(0)
    pair, x, k = Chain(), torch.randn(5, 2, dtype=torch.float64), 4
    torch.manual_seed(3)
    IWELBO(k, estimator="stl").differentiable_loss(pair.model, pair.guide, x).backward()
    found = [p.grad.clone() for p in pair.parameters()]
    pair.zero_grad()

    frozen = [nn.Linear(m.in_features, 4).double().requires_grad_(False) for m in pair.maps]
    for mine, theirs in zip(frozen, pair.maps, strict=True):
        mine.load_state_dict(theirs.state_dict())
    torch.manual_seed(3)
    given, zs, log_q = x, [], torch.zeros(())
    for i in range(3):
        loc, raw = pair.maps[i](given).chunk(2, -1)
        noise = torch.randn(k, 5, 2, dtype=torch.float64)
        z = loc + raw.exp() * noise
        log_q = log_q + pair.distribution(i, given, frozen).log_prob(z)
        given, zs = torch.cat([given.expand(k, 5, -1), z], -1), [*zs, z]
    log_p = sum(dist.Normal(0.0, 1.0).log_prob(z).sum(-1) for z in zs)
    log_p = log_p + dist.Normal(torch.stack(zs).sum(0).tanh(), 0.5).log_prob(x).sum(-1)
    (-torch.logsumexp(log_p - log_q, 0).mean()).backward()
    for mine, p in zip(found, pair.parameters(), strict=True):
        assert torch.allclose(mine, p.grad, rtol=1e-12, atol=1e-14)


def test_parameters_of_no_component_are_held() -> None:
    """A guide of plain torch: the same gradients as of a posterior of vaezoo's, to 1e-12."""
    vae = member("VAE").double()
    x, gradients = images().double(), []
    for program in (vae.guide, lambda x: _plain_guide(vae, x)):
        torch.manual_seed(1)
        loss = IWELBO(4, estimator="dreg").differentiable_loss(vae.model, program, x)
        gradients.append(torch.autograd.grad(loss, list(vae.posterior.parameters())))
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-14)


def _plain_guide(vae: Any, x: Tensor) -> None:
    loc, raw = vae.posterior.network(x).unbind(-2)
    with pyro.plate("data", len(x)):
        scale = (nn.functional.softplus(raw) + 1e-8).sqrt()
        pyro.sample("z", dist.Normal(loc, scale).to_event(1))


def test_transforms_are_modules_and_caches_are_dropped() -> None:
    """Pyro's own flow: d log q(z)/dz at fixed parameters, against finite differences in float32."""
    network = AutoRegressiveNN(2, [8])
    base = dist.Normal(torch.zeros(2).requires_grad_(), 1.0).to_event(1)
    q = dist.TransformedDistribution(base, [AffineAutoregressive(network)])
    z = q.rsample().detach().requires_grad_()
    hold(q).log_prob(z).backward()
    assert z.grad is not None
    assert all(p.grad is None for p in [*network.parameters(), base.base_dist.loc])
    with torch.no_grad():
        for i, step in enumerate(torch.eye(2) * 1e-2):
            slope = (q.log_prob(z + step) - q.log_prob(z - step)) / 2e-2
            assert torch.allclose(slope, z.grad[i], atol=1e-2)


def test_what_cannot_be_held_is_refused() -> None:
    outside = nn.Parameter(torch.zeros(Z_DIM))

    class Closed(dist.Normal):
        def log_prob(self, value: Tensor) -> Tensor:
            return super().log_prob(value) + outside

        def expand(self, batch_shape: Any, _instance: Any = None) -> Closed:
            return Closed(self.loc.expand(batch_shape), self.scale.expand(batch_shape))

    vae = member("VAE")

    def guide(x: Tensor) -> None:
        with vae.images(x):
            pyro.sample("z", Closed(torch.zeros(len(x), Z_DIM), 1.0).to_event(1))

    with pytest.raises(ValueError, match=r"draws 'z' from a Independent .* in a closure"):
        run(vae.model, guide, images(), particles=2, hold_guide=True)
