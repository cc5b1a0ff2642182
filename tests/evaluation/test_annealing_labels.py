"""Annealing of pairs with a label, marked in the model or in the guide alone, given or not.

p(y) = (0.2, 0.3, 0.5), p(z) = N(0, 1), p(x|z, y) = N(w z + b_y, 0.5 I) in two dimensions, and the
guide is the posterior: all is known in closed form, in float64.
"""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from vaezoo.evaluation import annealed, evidence, sandwiched
from vaezoo.programs.densities import log_joint, marked, simulated

P = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
B = torch.tensor([[-3.0, 0.0], [0.0, 3.0], [1.0, 0.5]]).double()
X = torch.tensor([[0.1, 0.4], [-2.0, 0.3], [0.5, 2.0], [1.5, 0.0]]).double()
Y = torch.tensor([2, 0, 1, 2])
OPTIONS: dict[str, Any] = {"chains": 4, "temperatures": 3, "steps": 2, "progress": False}


class Labelled(nn.Module):
    def __init__(self, infer: dict[str, Any], one_hot: bool = False) -> None:
        super().__init__()
        self.w, self.infer, self.one_hot = nn.Parameter(torch.ones(2).double()), infer, one_hot

    def label(self, p: Tensor) -> Any:
        return dist.OneHotCategorical(p) if self.one_hot else dist.Categorical(p)

    def loc(self, y: Tensor) -> Tensor:
        return y.double() @ B if self.one_hot else B[y]

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        with pyro.plate("images", len(x)):
            y = pyro.sample("y", self.label(P), obs=y, infer=self.infer)
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            loc = z * self.w + self.loc(y)
            pyro.sample("x", dist.Normal(loc, 0.5**0.5).to_event(1), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        with pyro.plate("images", len(x)):
            if y is None:
                q = log_each(x).softmax(-1)
                y = pyro.sample("y", self.label(q), infer={"enumerate": "parallel"})
            precision = 1 + 2 * self.w.square().sum()
            loc = 2 * ((x - self.loc(y)) @ self.w)[..., None] / precision
            pyro.sample("z", dist.Normal(loc, precision**-0.5).to_event(1))


class Given(Labelled):
    """Its programs need a label, so that it is given one."""

    def model(self, x: Tensor, y: Tensor) -> None:
        super().model(x, y)

    def guide(self, x: Tensor, y: Tensor) -> None:
        super().guide(x, y)


def log_each(x: Tensor) -> Tensor:
    """log p(x, y) of every label, (N, 3)."""
    covariance = 0.5 * torch.eye(2).double() + 1
    normal = torch.distributions.MultivariateNormal(x.new_zeros(2), covariance)
    return normal.log_prob(x[:, None] - B) + P.log()


PAIRS = {
    "marked in both": lambda: Labelled({"enumerate": "parallel"}),
    "in the guide": lambda: Labelled({}),
    "in the guide, one-hot": lambda: Labelled({}, one_hot=True),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_from_the_posterior_annealing_is_exact(kind: str) -> None:
    """Every weight is log p(x) then, to 1e-12, and so are those of evidence."""
    pair, exact = PAIRS[kind](), log_each(X).logsumexp(-1).mean().item()
    found = annealed(pair, [X], start="guide", **OPTIONS)["log_px"]
    assert found.mean == pytest.approx(exact, abs=1e-12)
    assert evidence(pair, [X], 25, progress=False)["log_px"].mean == pytest.approx(exact, abs=1e-12)
    assert abs(sandwiched(pair, [X], start="guide", **OPTIONS)["gap"].mean) < 1e-12


@pytest.mark.parametrize("infer", [{"enumerate": "parallel"}, {}], ids=["marked", "not marked"])
def test_given_labels_are_data(infer: dict[str, Any]) -> None:
    """log p(x, y) from the posterior, and a way that starts at p(z), not at p(z, y)."""
    pair, z = Given(infer), torch.linspace(-1, 1, 12).double().reshape(3, 4, 1)
    exact = log_each(X)[range(4), Y]
    found = annealed(pair, [(X, Y)], start="guide", **OPTIONS)["log_px"]
    assert found.mean == pytest.approx(exact.mean().item(), abs=1e-12)
    prior, joint = log_joint(pair.model, [X, Y], {"z": z})
    given = dist.Normal(z * pair.w + B[Y], 0.5**0.5).to_event(1).log_prob(X) + P[Y].log()
    torch.testing.assert_close(prior, dist.Normal(0.0, 1.0).log_prob(z).sum(-1), rtol=1e-12, atol=0)
    torch.testing.assert_close(joint, prior + given, rtol=1e-12, atol=0)
    summed, _ = log_joint(marked(Labelled({}).model, ["y"]), [X], {"z": z})
    torch.testing.assert_close(summed, prior, rtol=1e-12, atol=0)


def test_labels_that_the_model_observes_are_drawn_with_the_images() -> None:
    """n = 20,000 draws: each class as often as p(y) says, and x around that class; |z| < 4."""
    torch.manual_seed(0)
    n, pair = 20_000, Given({})
    batch = [X[:1].expand(n, -1), Y[:1].expand(n)]
    latents, (x, y) = simulated(pair.model, batch)
    assert [*latents] == ["z"]
    shares = torch.bincount(y, minlength=3) / n
    assert ((shares - P).abs() < 4 * (P * (1 - P) / n).sqrt()).all()
    rest = (x - latents["z"] * pair.w - B[y]).detach()
    assert (rest.mean(0).abs() < 4 * (0.5 / n) ** 0.5).all()
    assert abs(sandwiched(pair, [(X, Y)], start="guide", **OPTIONS)["gap"].mean) < 1e-12


def test_what_is_not_in_the_batch_cannot_be_drawn() -> None:
    pair = Given({})
    own = pair.model
    pair.model = lambda x, y: own(x, y + 0)
    with pytest.raises(ValueError, match=r"the model observes \['y'\], whose values are none of"):
        sandwiched(pair, [(X, Y)], **OPTIONS)
