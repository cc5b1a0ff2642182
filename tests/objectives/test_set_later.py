"""Fields of objectives that are set after they were made: taken or refused as by the constructor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from vaezoo import models
from vaezoo.data import Moves
from vaezoo.objectives import (
    ELBO,
    IWELBO,
    Consistency,
    Objective,
    Renyi,
    SemiSupervised,
    WarmUp,
)


def loss(objective: Objective) -> float:
    torch.manual_seed(0)
    member = models.VAE((12,), 2, hidden=(8,))
    return objective.loss(member.model, member.guide, torch.ones(7, 12))


SET: dict[str, tuple[Objective, str, Any, Objective]] = {
    "particles": (IWELBO(1), "particles", 50, IWELBO(50)),
    "num_particles": (ELBO(), "num_particles", 7, ELBO(particles=7)),
    "Renyi's": (Renyi(0.5), "particles", 3, Renyi(0.5, particles=3)),
    "estimator": (IWELBO(5), "estimator", "dreg", IWELBO(5, estimator="dreg")),
    "chunk": (IWELBO(6), "chunk", 2, IWELBO(6, chunk=2)),
    "no chunk": (IWELBO(6, chunk=2), "chunk", None, IWELBO(6)),
    "alpha": (Renyi(0.5), "alpha", -1.0, Renyi(-1.0)),
    "beta": (ELBO(), "beta", 4.0, ELBO(4.0)),
    "scheduled": (ELBO(), "beta", WarmUp(10, start=0.5), ELBO(WarmUp(10, start=0.5))),
    "free bits": (ELBO(), "free_bits", 0.5, ELBO(free_bits=0.5)),
}


@pytest.mark.parametrize("case", SET)
def test_it_is_the_objective_that_is_made_with_it(case: str) -> None:
    objective, name, value, made = SET[case]
    setattr(objective, name, value)
    assert (repr(objective), loss(objective)) == (repr(made), loss(made))
    assert objective.particles == made.particles == made.num_particles


def test_the_particles_of_a_semi_supervised_objective_are_those_of_its_bound() -> None:
    objective = SemiSupervised(IWELBO(5))
    objective.particles = 20
    assert repr(objective) == repr(SemiSupervised(IWELBO(20)))
    objective.objective = ELBO(particles=3)
    assert repr(objective) == repr(SemiSupervised(ELBO(particles=3)))


REFUSED: dict[str, tuple[Callable[[], Any], str, Any, type[Exception], str]] = {
    "no draw": (ELBO, "num_particles", 0, ValueError, "particles must be at least 1, got 0"),
    "half a draw": (IWELBO, "particles", 1.5, ValueError, "particles must be a whole number"),
    "no chunk at all": (IWELBO, "chunk", 0, ValueError, "chunk must be at least 1, got 0"),
    "estimator": (IWELBO, "estimator", "DReG", ValueError, "must be one of ('iwae', 'stl', 'dre"),
    "beta below 0": (ELBO, "beta", -1.0, ValueError, "beta must be a number of at least 0, got"),
    "a function": (ELBO, "beta", abs, TypeError, "or an objectives.Schedule, such as objectives.W"),
    "a schedule's class": (ELBO, "beta", WarmUp, TypeError, "the class WarmUp: make an instance"),
    "free bits": (ELBO, "free_bits", "all", TypeError, "free_bits must be a number of at least 0"),
    "Renyi": (Renyi, "alpha", float("inf"), ValueError, "alpha must be a finite number, got inf"),
    "alpha": (SemiSupervised, "alpha", -1, ValueError, "alpha must be a number of at least 0"),
    "weight": (SemiSupervised, "generative_weight", None, TypeError, "generative_weight must be"),
    "fraction": (SemiSupervised, "labelled_fraction", 1.5, ValueError, "must lie in [0, 1], got"),
    "bound": (SemiSupervised, "objective", SemiSupervised(), TypeError, "that SemiSupervised comb"),
    "moves": (SemiSupervised, "consistency", Moves(), TypeError, "an objectives.Consistency(move)"),
    "threshold": (lambda: Consistency(abs), "threshold", 1.0, ValueError, "threshold must lie in"),
    "its weight": (lambda: Consistency(abs), "weight", -2.0, ValueError, "weight must be a number"),
    "its move": (lambda: Consistency(abs), "move", 3, TypeError, "move must be a function of ima"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_constructor_refuses_is_refused_and_nothing_has_changed(case: str) -> None:
    make, name, value, error, message = REFUSED[case]
    objective = make()
    before = repr(objective)
    with pytest.raises(error) as raised:
        setattr(objective, name, value)
    assert message in str(raised.value)
    assert repr(objective) == before
