"""Counts of any size: no bound above 0, and encoders that see their logarithms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vaezoo import data, evaluate, fit, likelihoods, load, models, posteriors, save
from vaezoo.networks import signed_log1p
from vaezoo.objectives import ELBO, IWELBO, Renyi

GENES, Z = 30, 4


def counts(top: float, n: int = 32) -> Tensor:
    return torch.poisson(top * torch.rand(n, GENES))


MEMBERS: dict[str, Any] = {
    "VAE": lambda p: models.VAE((GENES,), Z, hidden=(16,), likelihood=p(Z, (GENES,), hidden=(16,))),
    "SSVAE": lambda p: models.SSVAE(
        (GENES,), Z, classes=3, hidden=(16,), likelihood=p(Z, (GENES,), hidden=(16,), classes=3)
    ),
    "FSVAE": lambda p: models.FSVAE(
        (GENES,), Z, classes=3, hidden=(16,), likelihood=p(Z, (GENES,), hidden=(16,), classes=3)
    ),
    "HierarchicalVAE": lambda p: models.HierarchicalVAE(
        (GENES,), Z, 3, hidden=(16,), upper_hidden=(8,), likelihood=p(Z, (GENES,), hidden=(16,))
    ),
    "M1M2": lambda p: models.M1M2(
        (GENES,),
        Z,
        3,
        classes=3,
        hidden=(16,),
        upper_hidden=(8,),
        likelihood=p(Z, (GENES,), hidden=(16,)),
    ),
    "ADGM": lambda p: models.ADGM(
        (GENES,), Z, 3, classes=3, hidden=(16,), likelihood=p(Z, (GENES,), hidden=(16,), classes=3)
    ),
}


@pytest.mark.parametrize("kind", [likelihoods.Poisson, likelihoods.NegativeBinomial])
@pytest.mark.parametrize("name", MEMBERS)
def test_members_show_their_encoders_logarithms(name: str, kind: Any, tmp_path: Any) -> None:
    """All that reads x, and nothing else; in a file too."""
    model = MEMBERS[name](kind)
    seen = {n for n, part in model.named_children() if getattr(part, "log1p", False)}
    read_x = {n for n, p in model.parts.items() if "x" in str(p.given) and hasattr(model, n)}
    assert seen == read_x
    again = load(save(model, tmp_path / "model.safetensors"))
    assert {n for n, part in again.named_children() if getattr(part, "log1p", False)} == seen
    other = MEMBERS[name](likelihoods.Normal)
    assert not any(getattr(part, "log1p", False) for part in other.children())


def test_a_posterior_that_sees_logarithms() -> None:
    """The distribution at x is that of another at sign(x) log(1 + |x|), to the digit."""
    x = counts(1e5)
    for kind in (posteriors.DiagonalNormal, posteriors.LowRankNormal, posteriors.Flow):
        q = kind((GENES,), Z, hidden=(16,), log1p=True)
        found = q(x)
        q.log1p = False
        expected = q(signed_log1p(x))
        torch.manual_seed(1)
        z = found.rsample()
        torch.manual_seed(1)
        assert torch.equal(z, expected.rsample())


POSTERIORS = ("DiagonalNormal", "FullNormal", "LowRankNormal", "Flow")


@pytest.mark.parametrize("top", [1e3, 1e5])
@pytest.mark.parametrize("kind", POSTERIORS)
def test_no_bound_above_what_counts_allow(kind: str, top: float) -> None:
    """Raw counts in the encoder: bounds of probabilities stay below 0, in training and after."""
    batches = [counts(top) for _ in range(3)]
    for objective in (ELBO(), IWELBO(5), Renyi(0.5, particles=5)):
        torch.manual_seed(0)
        posterior = getattr(posteriors, kind)((GENES,), Z, hidden=(32,))
        likelihood = likelihoods.NegativeBinomial(Z, (GENES,), hidden=(32,))
        vae = models.VAE((GENES,), Z, likelihood=likelihood, posterior=posterior)
        history = fit(vae, batches, objective, steps=20, progress=False, log_every=1)
        assert max(history["bound"]) <= 0
        found = evaluate(vae, batches[:1], particles=(1, 10), progress=False)
        assert min(found["niwae-1"].mean, found["niwae-10"].mean) >= 0


def test_sharp_posteriors_in_float32() -> None:
    """NIWAE-1 of a posterior of ill-conditioned covariance, against float64; to 0.01 nats."""
    digits = data.digits("test", binarisation="static")[:20]
    vae = models.VAE(
        z_dim=6, hidden=(20,), posterior=posteriors.FullNormal((1, 28, 28), 6, hidden=(20,))
    )
    with torch.no_grad():
        last = vae.posterior.network.rest[-2]
        last.bias[6:12] = -14.0
        last.bias[12:] = torch.randn(15).mul(3)
    found = {}
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(0)
        x, _ = digits.tensors()
        noise = torch.randn(20, 6, dtype=torch.float64)
        twin = vae.to(dtype)
        q = twin.posterior(x.to(dtype))
        z = q.loc + (q.scale_tril @ noise.to(dtype).unsqueeze(-1)).squeeze(-1)
        found[dtype] = (q, z)
    q, _ = found[torch.float32]
    torch.manual_seed(5)
    z = q.rsample()
    torch.manual_seed(5)
    noise = torch.randn(20, 6)
    exact = -0.5 * noise.double().square().sum(-1) - 3 * torch.tensor(2 * torch.pi).double().log()
    exact = exact - q.scale_tril.double().diagonal(dim1=-2, dim2=-1).log().sum(-1)
    assert torch.allclose(q.log_prob(z).double(), exact, atol=0.01)
    assert (q.log_prob(z.clone()).double() - exact).abs().max() > 0.05
