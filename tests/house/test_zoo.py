"""Whatever the library exports is in the zoo, and so in all that goes through it."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

import pytest
import zoo
from torch import nn

from vaezoo import likelihoods, models, networks, posteriors, priors

ABSTRACT = {"LatentVariableModel", "Prior", "Posterior", "Likelihood"}
MADE = {
    priors: [make(zoo.X_SHAPE, 2, 0) for make in zoo.PRIORS.values()],
    posteriors: [make(zoo.X_SHAPE, 2, 0) for make in zoo.POSTERIORS.values()]
    + [zoo.member("SSVAE").classifier],
    likelihoods: [make(zoo.X_SHAPE, 2, 0) for make in zoo.LIKELIHOODS.values()],
    networks: [make((2,), zoo.X_SHAPE, 0) for make in zoo.NETWORKS.values()]
    + [make(zoo.X_SHAPE, 2, (2,), 0) for make in zoo.PAIR_NETWORKS.values()],
    models: [zoo.member(name) for name in zoo.MEMBERS],
}


@pytest.mark.parametrize(("home", "made"), MADE.items(), ids=[h.__name__ for h in MADE])
def test_everything_public_is_in_the_zoo(home: ModuleType, made: Iterable[nn.Module]) -> None:
    public = {getattr(home, name) for name in home.__all__}
    kinds = {k for k in public if isinstance(k, type) and issubclass(k, nn.Module)}
    assert {type(m).__name__ for m in made} == {k.__name__ for k in kinds} - ABSTRACT


def test_members_are_told_apart() -> None:
    """By the parts that they say they have."""
    assert zoo.ONE_LATENT == ("VAE", "GMVAE", "IWAE", "SSVAE", "FSVAE")
    assert zoo.SEVERAL_LATENTS == ("HierarchicalVAE", "M1M2", "ADGM")
    assert zoo.INFERS == ("SSVAE", "M1M2", "ADGM")
    assert zoo.GIVEN == ("FSVAE",)
    assert zoo.LATE_LABEL == ("M1M2", "ADGM")
