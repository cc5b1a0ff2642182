"""Labels whose p(y|z) depends on a latent: another weight for each particle, in float64 to 1e-12.

Every bound is held against weights that the model writes down by hand while it runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from vaezoo.objectives import IWELBO, Objective, Renyi

K = 7
X, Y = torch.tensor([[0.3, -1.0], [1.2, 0.1], [-0.4, 0.6]]).double(), torch.tensor([0, 1, 1])


def log_normal(x: Tensor, loc: Tensor, scale: float) -> Tensor:
    return -0.5 * ((x - loc) / scale).square() - math.log(scale) - 0.5 * math.log(2 * math.pi)


class Pair(nn.Module):
    """p(z) p(y|z) p(x|z), and q(y|x) q(z|x, y)."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, 0.5]).double())
        self.a = nn.Parameter(torch.tensor(0.8).double())
        self.log_w: list[Tensor] = []  # of every run, (L, K, N)
        self.log_qy = torch.zeros(()).double()

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        infer = {"enumerate": "parallel"}
        with pyro.plate("images", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            logits = torch.cat([2 * z, -2 * z], -1)
            y = pyro.sample("y", dist.Categorical(logits=logits), obs=y, infer=infer)
            pyro.sample("x", dist.Normal(z * self.w, 0.7).to_event(1), obs=x)
        z, sign = z.squeeze(-1), 1 - 2 * (y if y.dim() > 1 else y[None, None])
        p = log_normal(z, x.new_zeros(()), 1.0) + logsigmoid(4 * sign * z)
        p = p + sum(log_normal(x[:, i], z * self.w[i], 0.7) for i in (0, 1))
        self.log_w.append(p - log_normal(z, x[:, 0] + self.a * sign, 0.6))

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        infer = {"enumerate": "parallel"}
        with pyro.plate("images", len(x)):
            if y is None:
                logits = torch.stack([x[:, 0], -x[:, 1]], -1)
                self.log_qy = logits.log_softmax(-1).T
                y = pyro.sample("y", dist.Categorical(logits=logits), infer=infer)
            loc = x[:, 0] + self.a * (1 - 2 * y)
            pyro.sample("z", dist.Normal(loc[..., None], 0.6).to_event(1))

    def by_hand(self, combine: Callable[[Tensor], Tensor]) -> Tensor:
        """The mean of a bound whose weights are combined so over the particles, (L, N)."""
        each = combine(torch.cat(self.log_w, 1))
        if len(each) == 1:
            return each.mean()
        return (self.log_qy.exp() * (each - self.log_qy)).sum(0).mean()


def log_mean(log_w: Tensor) -> Tensor:
    return log_w.logsumexp(1) - math.log(log_w.shape[1])


CASES: list[tuple[Objective, Callable[[Tensor], Tensor]]] = [
    (IWELBO(K), log_mean),
    (Renyi(0.5, particles=K), lambda log_w: 2 * log_mean(log_w / 2)),
    (Renyi(1.0, particles=K), lambda log_w: log_w.mean(1)),
    (IWELBO(K, chunk=3), log_mean),
    (Renyi(0.5, particles=K, chunk=3), lambda log_w: 2 * log_mean(log_w / 2)),
]


@pytest.mark.parametrize("batch", [(X,), (X, Y)], ids=["summed out", "given"])
@pytest.mark.parametrize(("objective", "combine"), CASES, ids=[repr(o) for o, _ in CASES])
def test_weights_have_the_labels_own_density(
    batch: tuple[Tensor, ...], objective: Objective, combine: Callable[[Tensor], Tensor]
) -> None:
    """Loss and gradient."""
    torch.manual_seed(0)
    pair = Pair()
    loss = objective.estimate(pair.model, pair.guide, *batch)["loss"]
    found = torch.autograd.grad(loss, [*pair.parameters()], retain_graph=True)
    if objective.in_chunks:  # the first run is one that checks, and the last three are made again
        pair.log_w = pair.log_w[-3:]
    expected = -pair.by_hand(combine)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    if objective.in_chunks:
        return  # whose gradient, with other graphs, is held against that of all at once elsewhere
    torch.testing.assert_close(found, torch.autograd.grad(expected, [*pair.parameters()]))


@pytest.mark.parametrize("batch", [(X,), (X, Y)], ids=["summed out", "given"])
def test_dreg_weighs_by_them_too(batch: tuple[Tensor, ...]) -> None:
    """The guide's gradient, against iwae's: n = 100 means over 600 images of each, |z| < 4."""
    found = []
    for estimator in ("iwae", "dreg"):
        torch.manual_seed(1)
        pair, many = Pair(), [t.repeat_interleave(200, 0) for t in batch]
        objective, each = IWELBO(K, estimator=estimator), []
        for _ in range(100):
            loss = objective.estimate(pair.model, pair.guide, *many)["loss"]
            each.append(torch.autograd.grad(loss, [pair.a])[0])
        found.append(torch.stack(each))
    difference = found[0].mean() - found[1].mean()
    assert abs(difference) < 4 * (sum(f.var() for f in found) / 100).sqrt()
