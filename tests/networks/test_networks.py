"""The networks of the library, and what they refuse."""

from __future__ import annotations

import torch
from zoo import BadCall, labels, refused

from vaezoo import fit, likelihoods, models, networks, priors

CALLS: list[BadCall] = [
    (lambda: networks.MLP((4,), (), (2,)), ValueError, "hidden must be one or more sizes"),
    (lambda: networks.MLP((4,), (3,), (2,))(torch.zeros(2, 5)), ValueError, r"inputs \(\.\.\., 4\), got \(2, 5\)"),
    (lambda: networks.MLP((4,), (3,), (2,))(torch.zeros(2, 4), labels(2)), ValueError, "takes no labels"),
    (lambda: networks.Conv((1, 6, 6), (3, 3), (2,)), ValueError, "divisible by 4 on one side"),
    (lambda: networks.Conv((4,), (3,), (2,)), ValueError, r"needs an image \(C, H, W\)"),
]  # fmt: skip


test_bad_networks = refused(CALLS)


def test_signed_log1p_has_its_derivative_at_0() -> None:
    """1 / (1 + |x|) everywhere, to 1e-12, and the same values as sign(x) log(1 + |x|)."""
    x = torch.tensor([-1e9, -2.0, -1e-12, -0.0, 0.0, 1e-12, 3.0, 1e300], dtype=torch.float64)
    x.requires_grad_()
    y = networks.signed_log1p(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(slope, 1 / (1 + x.abs()), rtol=1e-12, atol=0)
    assert torch.equal(y, x.sign() * x.abs().log1p())
    assert networks.signed_log1p(torch.tensor([torch.inf, -torch.inf])).tolist() == [
        torch.inf,
        -torch.inf,
    ]


def test_pseudo_inputs_that_start_as_counts_of_0_are_trained() -> None:
    counts = torch.poisson(torch.full((60, 6), 0.7))
    likelihood = likelihoods.Poisson(2, (6,), hidden=(8,))
    model = models.VAE((6,), 2, hidden=(8,), likelihood=likelihood)
    model.prior = priors.VampPrior((6,), 2, k=5, unit=False).start_from(counts[:5])
    before = model.prior.raw.detach().clone()
    fit(model, [counts], steps=30, lr=1e-2, progress=False)
    moved = (model.prior.raw - before).abs()
    assert moved[before == 0].min() > 1e-4
