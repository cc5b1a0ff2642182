"""Later batches that `fit` holds against the supports of likelihoods and pairs of one's own."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from vaezoo import NonFiniteLoss, fit, likelihoods, models


def flags(r: Tensor) -> dist.TorchDistribution:
    return dist.Bernoulli(logits=r).to_event(1)


def ten(r: Tensor) -> dist.TorchDistribution:
    return dist.Binomial(10, logits=r).to_event(1)


GOOD = torch.arange(24.0).reshape(6, 4) // 2 % 2
BAD = torch.full((6, 4), -2.5).where(torch.eye(6, 4) > 0, GOOD)


class Own(likelihoods.Likelihood):
    """A likelihood of one's own without a `check`."""

    law: Any = staticmethod(flags)

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        return self.law(self._decode(z, y))


@pytest.mark.parametrize("law", [flags, ten, lambda r: dist.Geometric(logits=r).to_event(1)])
@pytest.mark.parametrize("kind", ["VAE", "SSVAE"])
def test_members_with_a_likelihood_of_ones_own(kind: str, law: Any) -> None:
    classes = {"classes": 2} if kind == "SSVAE" else {}
    torch.manual_seed(0)
    own = Own(2, (4,), hidden=(8,), **classes)
    own.law = law
    model = getattr(models, kind)((4,), 2, hidden=(8,), likelihood=own, **classes)
    labels = torch.arange(6) % 2
    good, bad = ([x, GOOD, labels] if classes else [x] for x in (GOOD, BAD))
    options: dict[str, Any] = {"progress": False, "compile": False, "steps": 2}
    assert fit(model, [good, good], **options)["step"] == [2]
    for data in ([bad, good], [good, bad]):
        with pytest.raises(ValueError, match="within the support"):
            fit(model, data, **options)


class Tens(nn.Module):
    """A pair that counts to ten, or as far as each row says."""

    def __init__(self, each: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder, self.each = nn.Linear(4, 4), nn.Linear(2, 4), each

    def model(self, x: Tensor) -> None:
        with pyro.plate("rows", len(x)):
            r = self.decoder(pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1)))
            total = 10 + x.detach().nan_to_num()[:, :1].round() if self.each else 10
            pyro.sample("x", dist.Binomial(total, logits=r).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("rows", len(x)):
            loc, raw = self.encoder(x.nan_to_num()).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, nn.functional.softplus(raw)).to_event(1))


@pytest.mark.parametrize("each", [False, True])
def test_a_pair_of_counts(each: bool) -> None:
    """Totals that are the same for all are known; those of each row are for the program to say."""
    options: dict[str, Any] = {"progress": False, "compile": False, "steps": 3}
    assert fit(Tens(each), [GOOD] * 3, **options)["step"] == [3]
    assert fit(Tens(each), [GOOD, GOOD[:4] * 2, GOOD], **options)["step"] == [3]
    if not each:
        with pytest.raises(ValueError, match="within the support"):
            fit(Tens(each), [GOOD, GOOD, GOOD * 11], **options)
    with pytest.raises((NonFiniteLoss, ValueError)):
        fit(Tens(each), [GOOD, GOOD, GOOD / 0], **options)
