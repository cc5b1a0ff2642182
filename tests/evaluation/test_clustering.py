"""`clusters`: best assignment by brute force, NMI as scikit-learn has it, and its errors."""

from __future__ import annotations

import itertools
import math
import sys
from typing import Any

import pytest
import torch
from linear import D
from torch import Tensor, nn
from zoo import PRIORS, X_SHAPE, BadCall, images, labels, member, refused

from vaezoo import likelihoods, models, posteriors, priors
from vaezoo.evaluation import clusters
from vaezoo.evaluation.clustering import _nmi

pytest.importorskip("scipy")
QUIET: dict[str, Any] = {"progress": False}
EACH = torch.arange(60)
COMPONENT, LABEL = EACH**2 % 7, (3 * EACH + EACH // 5) % 4


class Codes(nn.Module):
    """An encoder that puts an image at the code in its first pixels."""

    def forward(self, x: Tensor) -> Tensor:
        z = x.reshape(len(x), -1)[:, :2]
        return torch.stack([z, torch.full_like(z, -20.0)], -2)


def model(k: int = 7) -> models.VAE:
    """Components 10 apart in a row."""
    prior = priors.MixtureOfGaussians(2, k=k)
    with torch.no_grad():
        prior.loc.copy_(torch.stack([10.0 * torch.arange(k), torch.zeros(k)], 1))
    return models.VAE(
        X_SHAPE,
        2,
        prior=prior,
        posterior=posteriors.DiagonalNormal(X_SHAPE, 2, network=Codes()),
        likelihood=likelihoods.Normal(2, X_SHAPE, hidden=(8,)),
    )


def shown(component: Tensor) -> Tensor:
    x = torch.zeros(len(component), *X_SHAPE)
    x[:, 0, 0, 0] = 10.0 * component
    return x


def test_components_are_held_against_classes() -> None:
    """Accuracy of all 840 assignments of 4 of 7 components; NMI of scikit-learn 1.9.1, to 1e-9."""
    x = shown(COMPONENT)
    batches = list(zip(x.split(25), LABEL.split(25), strict=True))
    found = clusters(model(), batches, **QUIET)
    counts = torch.zeros(7, 4)
    for c, y in zip(COMPONENT, LABEL, strict=True):
        counts[c, y] += 1
    assert torch.equal(found.counts, counts.long())
    best = max(
        sum(counts[c, y] for y, c in enumerate(p)) for p in itertools.permutations(range(7), 4)
    )
    assert found.estimates["accuracy"].mean == pytest.approx(best.item() / 60)
    assert found.estimates["purity"].mean == pytest.approx(counts.max(1).values.sum().item() / 60)
    assert found.estimates["nmi"].mean == pytest.approx(0.007845152288357513, abs=1e-9)
    used = torch.bincount(COMPONENT, minlength=7) / 60
    assert torch.allclose(found.usage, used)
    assert found.effective == pytest.approx(torch.special.entr(used).sum().exp().item())
    assert f"components in use  {found.effective:.1f} of 7" in repr(found)
    assert "held against labels" in found._repr_html_()


def test_clusters_that_are_the_classes() -> None:
    """Under any numbering: accuracy, purity and NMI of 1, without error."""
    found = clusters(model(5), [(shown((LABEL + 1) % 4), LABEL)], **QUIET)
    assert all(e == (1.0, 0.0, 60) for e in found.estimates.values())
    one = clusters(model(3), [(shown(0 * LABEL), 0 * LABEL)], **QUIET)
    assert one.estimates["nmi"] == (1.0, 0.0, 60)


def test_the_error_of_nmi() -> None:
    """200 repeats of 500 images: 90 to 99 % of the 95 % intervals hold the NMI of the joint law."""
    torch.manual_seed(0)
    joint = torch.tensor([[0.3, 0.05, 0.05], [0.02, 0.28, 0.1], [0.1, 0.05, 0.05]], **D)
    h = [torch.special.entr(joint.sum(i)).sum() for i in (0, 1)]
    truth = 2 * (sum(h) - torch.special.entr(joint).sum()) / sum(h)
    drawn = torch.multinomial(joint.flatten(), 200 * 500, replacement=True).reshape(200, 500)
    hits = 0
    for row in drawn:
        counts = torch.bincount(row, minlength=9).reshape(3, 3).double()
        each = _nmi(counts, row // 3, row % 3)
        hits += bool((each.mean() - truth).abs() < 1.96 * each.std() / math.sqrt(500))
    assert 0.9 <= hits / 200 <= 0.99


@pytest.mark.parametrize(
    ("name", "prior"),
    [
        *itertools.product(("VAE", "SSVAE", "FSVAE"), ("mixture", "weights", "vamp")),
        *itertools.product(("HierarchicalVAE", "M1M2", "ADGM"), ("mixture", "weights")),
    ],
)
def test_any_mixture_of_any_member_will_do(name: str, prior: str) -> None:
    made = member(name)
    made.prior = PRIORS[prior](X_SHAPE, made.prior.z_dim, made.classes if prior == "vamp" else 0)
    found = clusters(made, [(images(9), labels(9))], **QUIET)
    assert found.counts.sum() == 9
    assert len(found.counts) == 4


def test_without_scipy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r"pip install 'vaezoo\[evaluation\]'"):
        clusters(model(), [(shown(COMPONENT), LABEL)], **QUIET)


BAD_CALLS: list[BadCall] = [
    (lambda: clusters(member("VAE"), [(images(), labels())], **QUIET), TypeError, "expected a mixture prior"),
    (lambda: clusters(member("GMVAE"), [images()], **QUIET), ValueError, "let the loader yield labels too"),
    (lambda: clusters(member("GMVAE"), [(images(), -labels())], **QUIET), ValueError, "labels must lie in"),
    (lambda: clusters(member("GMVAE"), [(images(), 2**40 + labels())], **QUIET), ValueError, r"numbered from 0 to 99999 at most, got label 109951162\d+: number those .* y\.unique\("),
    (lambda: clusters(nn.Linear(2, 2), [images()], **QUIET), TypeError, "a member with a mixture prior, got a Linear"),
]  # fmt: skip


test_bad_calls = refused(BAD_CALLS)
