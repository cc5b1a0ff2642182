"""Distributions that do not say their mean, variance or support: nothing reads NaN for a number."""

from __future__ import annotations

from typing import Any, ClassVar

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from zoo import X_SHAPE, Z_DIM, member

from vaezoo import Bound, Step, data, posteriors, priors
from vaezoo.distributions import known_mean, known_moments, known_support
from vaezoo.evaluation.units import units
from vaezoo.programs import run
from vaezoo.training import TrainingWarning
from vaezoo.training.guards import Guard
from vaezoo.training.history import History
from vaezoo.training.symptoms import information, scales_of


class Unsaid(dist.TorchDistribution):
    """A Normal whose author did not say where its values lie, nor its moments."""

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self.inner, self.scale = dist.Normal(loc, scale), scale
        super().__init__(self.inner.batch_shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.inner.log_prob(value)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.inner.sample(sample_shape)


LAWS: dict[str, tuple[Any, bool, bool]] = {  # whether the mean is known, and the variance too
    "Normal": (dist.Normal(torch.zeros(2), 1.0), True, True),
    "Cauchy": (dist.Cauchy(torch.zeros(2), 1.0), False, False),
    "StudentT(2)": (dist.StudentT(2.0), True, False),
    "HalfCauchy": (dist.HalfCauchy(1.0), True, False),
    "Categorical": (dist.Categorical(torch.ones(3)), False, False),
    "Unsaid": (Unsaid(torch.zeros(2), torch.ones(2)), False, False),
}


@pytest.mark.parametrize("name", LAWS)
def test_known_or_none(name: str) -> None:
    law, mean, moments = LAWS[name]
    assert (known_mean(law) is not None, known_moments(law) is not None) == (mean, moments)
    assert (known_support(law) is None) == (name == "Unsaid")


class Heavy(posteriors.Posterior):
    """A Cauchy of the same place and width for every image."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(Z_DIM))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        return dist.Cauchy(self.loc.expand(len(x), -1), 1.0).to_event(1)


class Wide(priors.Prior):
    """The same as a prior, so that the KL is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("loc", torch.zeros(Z_DIM))

    def forward(self, y: Tensor | None = None) -> Any:
        return dist.Cauchy(self.loc, 1.0).to_event(1)


def images(n: int = 60) -> data.Images:
    pixels = torch.rand(n, *X_SHAPE, generator=torch.Generator().manual_seed(0))
    return data.Images((pixels > 0.5).byte() * 255, binarisation="threshold")


def test_a_mean_that_does_not_exist_is_no_number() -> None:
    """The variance of a mean over images is not known then, nor whether units are active."""
    found = units(member("VAE", posterior=Heavy()), images(), progress=False)["z"]
    assert found.variance.isnan().all()
    assert not found.collapsed


def test_a_guard_that_reads_no_nan() -> None:
    """A posterior that ignores the image is named collapsed, also where it has no mean."""
    model = member("VAE", posterior=Heavy())
    model.prior = Wide()
    terms = run(model.model, model.guide, images().tensors(seed=0)[0])
    assert information(terms, "z").isfinite().all()
    step = Step(Bound(model), torch.optim.Adam(model.parameters()))
    guard, batch = Guard(step, images()), images().tensors(seed=0)[0]
    history = History({"step": [50], "loss": [9.0]})
    for at in range(50, 250, 50):
        guard.look({"step": at, "loss": 9.0}, history, batch)
    with pytest.warns(TrainingWarning, match="posterior of z has collapsed"):
        guard.look({"step": 250, "loss": 9.0}, history, batch)


def test_scales_of_a_distribution_that_does_not_say_where_it_lies() -> None:
    law = Unsaid(torch.zeros(2), torch.full((2,), 3.0))
    assert scales_of(law).tolist() == [3.0, 3.0]  # type: ignore[union-attr]
