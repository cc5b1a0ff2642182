"""The clause that the mean which a likelihood shows is that of its density."""

from __future__ import annotations

import torch

from vaezoo.contract.case import Case, refuse
from vaezoo.contract.integrals import masses, scalars

__all__ = ["means"]

CLOSE = 0.02  # standard deviations: some means are known by approximation


@torch.no_grad()
def means(case: Case) -> None:
    """E[x|z], which drawings and reconstructions show, is what the density says."""
    d = case.first()
    if (single := scalars(d)) is None:
        return
    points, mass, known = masses(single)
    if not known:
        return
    share = mass / mass.sum(0)
    mean = (share * points).sum(0)
    spread = (share * (points - mean).square()).sum(0).sqrt()
    off = ((d.mean.reshape(mean.shape) - mean).abs() / (spread + 1e-3)).max().item()
    if not off < CLOSE:
        got = f"one that is {off:.2g} standard deviations from it"
        refuse("means", "the mean of the density", got, "mend the distribution's mean")
