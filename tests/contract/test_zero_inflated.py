"""Right parts that a clause of the contract stumbled over: lazy gates, complex weights, no mean."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from vaezoo import likelihoods, posteriors
from vaezoo.contract import ContractError, check_part

Z = torch.rand(3, 2, generator=torch.Generator().manual_seed(1))


class Inflated(likelihoods.Likelihood):
    """Counts with more zeros, by the logits of their gate or by the gate itself."""

    def __init__(self, law: str, z_dim: int = 2, x_shape: tuple[int, ...] = (2,)) -> None:
        self.law = law
        super().__init__(z_dim, x_shape, hidden=(4,))

    def output_shape(self) -> tuple[int, ...]:
        return (*self.x_shape, 2)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Any:
        a, b = self._decode(z, y).unbind(-1)
        laws = {
            "poisson, logits": lambda: dist.ZeroInflatedPoisson(rate=softplus(a), gate_logits=b),
            "poisson, gate": lambda: dist.ZeroInflatedPoisson(rate=softplus(a), gate=b.sigmoid()),
            "negative binomial, logits": lambda: dist.ZeroInflatedNegativeBinomial(
                total_count=1 + softplus(a), logits=b, gate_logits=a
            ),
            "mean unknown": lambda: dist.TransformedDistribution(
                dist.Normal(a, softplus(b) + 0.1), [dist.transforms.SigmoidTransform()]
            ),
        }
        return laws[self.law]().to_event(len(self.x_shape))


@pytest.mark.parametrize("law", ["poisson, logits", "poisson, gate", "negative binomial, logits"])
def test_a_zero_inflated_likelihood_passes(law: str) -> None:
    torch.manual_seed(0)
    check_part(Inflated(law), Z)


def test_a_likelihood_without_a_mean_is_told_so() -> None:
    with pytest.raises(
        ContractError, match=r"outcomes: expected a finite mean \(3, 2\), .*give it"
    ):
        check_part(Inflated("mean unknown"), Z)


class Spectral(posteriors.Posterior):
    """N(W (filter * F x), 1), with a filter of Fourier coefficients."""

    def __init__(self, *, conjugate: bool = False) -> None:
        super().__init__()
        self.x_shape, self.z_dim, self.conjugate = (6,), 2, conjugate
        self.filter = nn.Parameter(torch.randn(4, dtype=torch.cfloat))
        self.last = nn.Linear(6, 2)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        weight = _WrongWay.apply(self.filter) if self.conjugate else self.filter
        filtered = torch.fft.irfft(torch.fft.rfft(x) * weight, 6)
        return dist.Normal(self.last(filtered), 1.0).to_event(1)

    def __repr__(self) -> str:
        return "Spectral()"


class _WrongWay(torch.autograd.Function):
    """The identity, with the conjugate of its gradient."""

    @staticmethod
    def forward(ctx: Any, t: Tensor) -> Tensor:
        return t.clone()

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> Tensor:  # type: ignore[override]
        return outer.conj().resolve_conj()


def test_complex_weights_are_judged_as_they_are() -> None:
    """Their imaginary parts are kept, and a wrong gradient by them is seen."""
    torch.manual_seed(0)
    x, part = torch.rand(3, 6), Spectral()
    kept = part.filter.detach().clone()
    check_part(part, x)
    assert torch.equal(part.filter, kept)
    with pytest.raises(ContractError, match=r"differences: .*by filter"):
        check_part(Spectral(conjugate=True), x)
