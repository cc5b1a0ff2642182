"""Densities are computed where they count: a prior's may cost more than all networks do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from zoo import images, labels, member

from vaezoo import ELBO, IWELBO, Bound
from vaezoo.distributions import NormalMixture
from vaezoo.objectives import Objective
from vaezoo.priors import MixtureOfGaussians

OBJECTIVES: dict[str, tuple[Callable[[], Objective], int]] = {
    "elbo": (ELBO, 1),
    "iwae": (lambda: IWELBO(3), 2),  # of the weights, and of the KL that is reported
    "dreg": (lambda: IWELBO(3, estimator="dreg"), 2),
}


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", ["VAE", "FSVAE"])
def test_a_mixture_is_asked_for_its_density_where_that_counts(
    name: str, objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = member(name)
    model.prior = MixtureOfGaussians(3, k=3)
    batch = (images(), labels()) if name == "FSVAE" else (images(),)
    make, times = OBJECTIVES[objective]
    bound, asked, density = Bound(model, make()), list[int](), NormalMixture.log_prob

    def counted(self: NormalMixture, value: Tensor) -> Tensor:
        asked.append(len(value))
        return density(self, value)

    monkeypatch.setattr(NormalMixture, "log_prob", counted)
    bound(*batch)
    asked.clear()  # the first run checks more
    with torch.no_grad():
        bound(*batch)
    assert len(asked) == times
