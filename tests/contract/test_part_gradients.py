"""The contract's clauses on gradients: wrong ones are refused, in every kind of part, right ones not.

`times(t, g)` has the value of t and g times its gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from vaezoo import networks
from vaezoo.contract import ContractError, check_part
from vaezoo.likelihoods import Likelihood
from vaezoo.posteriors import Classifier, Posterior
from vaezoo.priors import Prior

X_SHAPE = (4,)


def times(t: Tensor, factor: Any) -> Tensor:
    return factor * t + (1 - factor) * t.detach()


class Drawn(Posterior):
    """N(μ(x), σ²(x)) or another law of two numbers a coordinate, by a draw of our own."""

    def __init__(self, z_dim: int = 2, *, what: str = "", factor: float = 1.1) -> None:
        super().__init__()
        self.z_dim, self.what, self.factor = z_dim, what, factor
        self.network = networks.MLP(X_SHAPE, (4,), (2, z_dim))

    def __repr__(self) -> str:
        return "Drawn()"

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        if self.what == "input":
            x = times(x, self.factor)
        loc, raw = self.network(x).unbind(-2)
        scale = nn.functional.softplus(raw) + 0.3
        if self.what == "some inputs":
            return DrawnNormal(loc, scale, "draw", 1 + (x[..., :1] > 0.5) * 0.5).to_event(1)
        if self.what in LAWS:
            return LAWS[self.what](loc, scale)
        if self.what.startswith("vector"):
            return DrawnVector(loc, scale, self.what, self.factor)
        return DrawnNormal(loc, scale, self.what, self.factor).to_event(1)


class DrawnNormal(dist.Normal):
    def __init__(self, loc: Tensor, scale: Tensor, what: str, factor: Any) -> None:
        self.what, self.factor = what, factor
        super().__init__(loc, scale)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        each = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        return DrawnNormal(*each, self.what, self.factor)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape, what, factor = self._extended_shape(sample_shape), self.what, self.factor
        loc, scale = self.loc.expand(shape), self.scale.expand(shape)
        noise = torch.randn(shape, dtype=loc.dtype)
        loc = times(loc, factor) if what == "location" else loc
        scale = times(scale, factor) if what == "scale" else scale
        z = loc.detach() + scale * noise if what == "detached location" else loc + scale * noise
        if what == "coordinate":
            return torch.cat([times(z[..., :1], factor), z[..., 1:]], -1)
        return times(z, factor) if what == "draw" else z

    def log_prob(self, value: Tensor) -> Tensor:
        scale = self.scale.detach() if self.what == "density, detached scale" else self.scale
        value = value.detach() if self.what == "density, detached value" else value
        found = dist.Normal(self.loc, scale).log_prob(value)
        return times(found, 1.01) if self.what == "density" else found


class DrawnVector(dist.MultivariateNormal):
    def __init__(self, loc: Tensor, scale: Tensor, what: str, factor: float) -> None:
        self.given, self.what, self.factor = (loc, scale), what, factor
        below = torch.tril(0.5 + 0.2 * loc[..., None] * scale[..., None, :], -1)
        super().__init__(loc, scale_tril=torch.diag_embed(scale) + below)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        given = (t.expand(*batch_shape, -1) for t in self.given)
        return DrawnVector(*given, self.what, self.factor)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        noise = torch.randn(self._extended_shape(sample_shape), dtype=self.loc.dtype)
        factor = self.scale_tril
        if self.what == "vector, detached below the diagonal":
            factor = torch.tril(factor, -1).detach() + torch.diag_embed(
                factor.diagonal(dim1=-2, dim2=-1)
            )
        z = self.loc + (factor @ noise[..., None])[..., 0]
        if self.what == "vector, coordinate":
            return torch.cat([times(z[..., :1], self.factor), z[..., 1:]], -1)
        return times(z, self.factor) if self.what == "vector, draw" else z


LAWS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "Gamma": lambda loc, scale: dist.Gamma(nn.functional.softplus(loc) + 0.5, scale).to_event(1),
    "Beta": lambda loc, scale: dist.Beta(nn.functional.softplus(loc) + 0.5, scale + 0.3).to_event(1),
    "StudentT": lambda loc, scale: dist.StudentT(scale + 4, loc, scale).to_event(1),
    "LogNormal": lambda loc, scale: dist.LogNormal(loc, scale).to_event(1),
    "Laplace": lambda loc, scale: dist.Laplace(loc, scale).to_event(1),
    "wrong Gamma": lambda loc, scale: WrongGamma(nn.functional.softplus(loc) + 0.5, scale).to_event(1),
}  # fmt: skip


class WrongGamma(dist.Gamma):
    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return WrongGamma(self.concentration.expand(batch_shape), self.rate.expand(batch_shape))

    def rsample(
        self, sample_shape: Any = (), **options: Any
    ) -> Tensor:  # torch 2.15 passes a generator
        return times(super().rsample(sample_shape, **options), 1.1)


class WrongPrior(Prior):
    def __init__(self, what: str = "") -> None:
        super().__init__()
        self.z_dim, self.what = 2, what
        self.loc, self.raw = nn.Parameter(torch.ones(2)), nn.Parameter(torch.zeros(2))

    def __repr__(self) -> str:
        return "WrongPrior()"

    def forward(self) -> Any:
        return DrawnNormal(self.loc, self.raw.exp(), self.what, 1.0).to_event(1)


class WrongLikelihood(Likelihood):
    def __init__(self, what: str = "") -> None:
        super().__init__(2, (3,), hidden=(4,))
        self.what = what

    def forward(self, z: Tensor, y: Tensor | None = None) -> Any:
        h = self._decode(times(z, -1.0) if self.what == "codes" else z, y)
        if self.what == "clamped":  # as for stability, but with a gradient straight through
            h = h + (h.clamp(-0.1, 0.1) - h).detach()
        if self.what == "logits":
            return dist.Bernoulli(logits=times(h, 0.99)).to_event(1)
        return DrawnNormal(h, torch.ones_like(h), self.what, 1.0).to_event(1)


class WrongClassifier(Classifier):
    def __init__(self, what: str = "") -> None:
        super().__init__(X_SHAPE, 3, hidden=(16,))
        self.what = what

    def __repr__(self) -> str:
        return "WrongClassifier()"

    def forward(self, x: Tensor) -> Any:
        logits = self.network(times(x, 0.5) if self.what == "input" else x)
        return dist.Categorical(logits=times(logits, 2.0) if self.what == "logits" else logits)


def given(part: Any) -> tuple[Tensor, ...]:
    if isinstance(part, Prior):
        return ()
    x = torch.rand(3, 2 if isinstance(part, Likelihood) else 4)
    x[:, 0] = torch.tensor([0.2, 0.3, 0.9])
    return (x,)


DRAW = "pathwise: expected rsample's gradient by .* to agree with log_prob's, .*differentiable"
DENSITY = "differences: expected the gradient of the density by .* to be that of its value"
REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: Drawn(what="draw", factor=1.5), DRAW),
    (lambda: Drawn(what="draw", factor=-1.0), DRAW),
    (lambda: Drawn(what="draw"), DRAW),
    (lambda: Drawn(1, what="draw"), DRAW),
    (lambda: Drawn(what="location"), DRAW),
    (lambda: Drawn(what="scale"), DRAW),
    (lambda: Drawn(3, what="coordinate"), DRAW),
    (lambda: Drawn(what="detached location"), DRAW),
    (lambda: Drawn(what="vector, draw"), DRAW),
    (lambda: Drawn(3, what="vector, coordinate", factor=1.3), DRAW),
    (lambda: Drawn(what="vector, detached below the diagonal"), DRAW),
    (lambda: Drawn(what="wrong Gamma"), DRAW),
    (lambda: Drawn(what="some inputs"), DRAW),
    (lambda: Drawn(what="input"), DENSITY.replace(".* to", "its input to")),
    (lambda: Drawn(what="density"), DENSITY),
    (lambda: Drawn(what="density, detached scale"), DENSITY),
    (lambda: Drawn(what="density, detached value"), DENSITY.replace(".* to", "its value to")),
    (lambda: WrongPrior("density"), DENSITY),
    (lambda: WrongPrior("density, detached value"), DENSITY),
    (lambda: WrongLikelihood("codes"), DENSITY.replace(".* to", "its input to")),
    (lambda: WrongLikelihood("clamped"), DENSITY),
    (lambda: WrongLikelihood("logits"), DENSITY),
    (lambda: WrongClassifier("input"), DENSITY.replace(".* to", "its input to")),
    (lambda: WrongClassifier("logits"), DENSITY),
]
RIGHT: list[Callable[[], Any]] = [
    Drawn,
    lambda: Drawn(5),
    lambda: Drawn(3, what="vector"),
    *(lambda law=law: Drawn(what=law) for law in LAWS if law != "wrong Gamma"),
    WrongPrior,
    WrongLikelihood,
    WrongClassifier,
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=range(len(REFUSED)))
def test_wrong_gradients_are_refused(make: Callable[[], Any], message: str) -> None:
    part = make()
    with pytest.raises(ContractError, match=message):
        check_part(part, *given(part))


@pytest.mark.parametrize("make", RIGHT, ids=range(len(RIGHT)))
def test_right_ones_are_accepted(make: Callable[[], Any]) -> None:
    """Explicit, implicit (Gamma, Beta) and mixed (Student's t): n = 100,000 draws at most."""
    part = make()
    check_part(part, *given(part))


def test_kinks_are_no_faults() -> None:
    """Units of a ReLU that an input puts on their kink; either side's slope is right."""
    network = networks.MLP(X_SHAPE, (8,), (3,), activation=nn.ReLU)
    with torch.no_grad():
        network.first[1].weight[:4] = torch.tensor([1.0, -1.0, 1.0, -1.0])
        network.first[1].bias[:4] = 0.0
    check_part(Classifier(X_SHAPE, 3, network=network), torch.ones(3, 4))
