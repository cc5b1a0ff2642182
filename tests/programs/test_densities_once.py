"""Densities are computed where they count: a prior's may cost more than all networks do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor
from zoo import images, labels, member

from vaezoo import ELBO, IWELBO, Bound
from vaezoo.distributions import NormalMixture
from vaezoo.objectives import Objective, Renyi
from vaezoo.priors import MixtureOfGaussians

OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "elbo": ELBO,
    "iwae": lambda: IWELBO(3),
    "dreg": lambda: IWELBO(3, estimator="dreg"),
    "renyi": lambda: Renyi(0.5, particles=3),
}


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", ["VAE", "FSVAE"])
def test_a_mixture_is_asked_for_its_density_once(
    name: str, objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = member(name)
    model.prior = MixtureOfGaussians(3, k=3)
    batch = (images(), labels()) if name == "FSVAE" else (images(),)
    bound, asked = Bound(model, OBJECTIVES[objective]()), list[int]()
    density = NormalMixture.log_prob

    def counted(self: NormalMixture, value: Tensor) -> Tensor:
        asked.append(len(value))
        return density(self, value)

    monkeypatch.setattr(NormalMixture, "log_prob", counted)
    bound(*batch)
    asked.clear()  # the first run checks more
    bound(*batch)["loss"].backward()
    assert len(asked) == 1
    assert model.prior.loc.grad.norm() > 0
