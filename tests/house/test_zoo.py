"""Whatever the library exports is in the zoo, and so in all that goes through it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import pytest
import zoo
from torch import nn

from vaezoo import likelihoods, models, networks, posteriors, priors

ABSTRACT = {"LatentVariableModel", "Prior", "Posterior", "Likelihood"}
ACTING = {"beta", "particles", "log1p", "unit"}
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
    named = {k.__name__ for k in kinds} - ABSTRACT
    assert {type(m).__name__ for m in made} == named, "a new part needs a line in tests/zoo.py"


@pytest.mark.parametrize("made", MADE.values(), ids=[h.__name__ for h in MADE])
def test_what_layers_are_made_by_stays(made: Iterable[Any]) -> None:
    """An argument that is set afterwards acts from then on, or is refused."""
    taken = {name for part in made for name in inspect.signature(type(part)).parameters}
    taken = {name for name in taken for part in made if is_taken(part, name)}
    assert taken <= ACTING, "what layers are made by goes into SIZES of vaezoo/components.py"


def test_the_same_again_is_taken() -> None:
    """Equal in words, as partial functions are not by themselves."""
    slope = functools.partial(nn.LeakyReLU, 0.2)
    network = networks.MLP((2,), (3,), (4,), activation=slope)
    network.activation = functools.partial(nn.LeakyReLU, 0.2)
    network.hidden = (3,)


def is_taken(part: nn.Module, name: str) -> bool:
    """Whether a part lets an argument of its own become another."""
    value = vars(part).get(name)
    if (another := changed(value)) is None:
        return False
    try:
        setattr(part, name, another)
    except ValueError:
        return False
    setattr(part, name, value)
    return True


def changed(value: Any) -> Any:
    """Another value of its kind; None of parts and of what is no argument."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, type):
        return nn.Tanh
    if isinstance(value, tuple):
        return (*value, 1)
    return value + 1 if isinstance(value, int | float) else None


def test_members_are_told_apart() -> None:
    """By the parts that they say they have."""
    assert zoo.ONE_LATENT == ("VAE", "GMVAE", "IWAE", "SSVAE", "FSVAE")
    assert zoo.SEVERAL_LATENTS == ("HierarchicalVAE", "M1M2", "ADGM")
    assert zoo.INFERS == ("SSVAE", "M1M2", "ADGM")
    assert zoo.GIVEN == ("FSVAE",)
    assert zoo.LATE_LABEL == ("M1M2", "ADGM")
