"""Schedules and objectives inside an objective."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyro import infer

from vaezoo.objectives import Schedule

__all__ = ["objectives", "schedules"]


def schedules(objective: Any) -> Iterator[tuple[Any, str]]:
    """The attributes of an objective, and of those inside it, that are schedules."""
    for owner in objectives(objective):
        yield from ((owner, n) for n, v in vars(owner).items() if isinstance(v, Schedule))


def objectives(objective: Any) -> Iterator[Any]:
    """An objective and those inside it."""
    yield objective
    for value in vars(objective).values():
        if isinstance(value, infer.elbo.ELBO):
            yield from objectives(value)
