"""Weights that change in training, such as the β of an ELBO, and where an objective keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyro import infer

from vaezoo import arguments
from vaezoo.data.counts import as_count
from vaezoo.objectives.consistency import Consistency

__all__ = ["Cyclical", "Schedule", "WarmUp", "objectives_in", "parts_in", "schedules_in"]


class Schedule:
    """A number that depends on how many training steps are over, counted by `step`.

    Attributes:
        taken: steps so far.
    """

    def __init__(self) -> None:
        self.taken = 0

    @property
    def value(self) -> float:
        """The number for the next step."""
        raise NotImplementedError

    def step(self) -> None:
        """Count one training step."""
        self.taken += 1


class _Line(Schedule):
    """One that goes from `start` to `end`, in a number of steps."""

    def __init__(self, steps: int, *, start: float, end: float) -> None:
        super().__init__()
        self.steps = as_count("steps", steps)
        self.start = arguments.number("start", start, least=0)
        self.end = arguments.number("end", end, least=0)


class WarmUp(_Line):
    """From `start` to `end` in a straight line over `steps` steps, `end` ever after.

    References:
        Bowman et al. Generating Sentences from a Continuous Space. 2016. arXiv:1511.06349,
        section 3.1.
        Sønderby et al. Ladder Variational Autoencoders. 2016. arXiv:1602.02282.

    Example:
        >>> warm_up = WarmUp(4)
        >>> for _ in range(3):
        ...     warm_up.step()
        >>> warm_up.value, warm_up
        (0.75, WarmUp(4, start=0, end=1))
    """

    def __init__(self, steps: int, *, start: float = 0.0, end: float = 1.0) -> None:
        super().__init__(steps, start=start, end=end)

    @property
    def value(self) -> float:
        """The weight of the next step."""
        return self.start + (self.end - self.start) * min(1.0, self.taken / self.steps)

    def __repr__(self) -> str:
        return f"WarmUp({self.steps}, start={self.start:g}, end={self.end:g})"


class Cyclical(_Line):
    """A warm-up over the first `ramp` of every `steps` steps, then `end` until the next.

    References:
        Fu et al. Cyclical Annealing Schedule: A Simple Approach to Mitigating KL Vanishing. 2019.
        arXiv:1903.10145, equation 6.

    Example:
        >>> cyclical = Cyclical(4, ramp=0.5)
        >>> values = []
        >>> for _ in range(6):
        ...     values.append(cyclical.value)
        ...     cyclical.step()
        >>> values
        [0.0, 0.5, 1.0, 1.0, 0.0, 0.5]
    """

    def __init__(
        self, steps: int, *, ramp: float = 0.5, start: float = 0.0, end: float = 1.0
    ) -> None:
        super().__init__(steps, start=start, end=end)
        if not 0 < (ramp := arguments.number("ramp", ramp)) <= 1:
            raise ValueError(f"ramp must be a share of a cycle in (0, 1], got {ramp}")
        self.ramp = ramp

    @property
    def value(self) -> float:
        """The weight of the next step."""
        along = self.taken % self.steps / (self.ramp * self.steps)
        return self.start + (self.end - self.start) * min(1.0, along)

    def __repr__(self) -> str:
        return f"Cyclical({self.steps}, ramp={self.ramp:g}, start={self.start:g}, end={self.end:g})"


def objectives_in(objective: infer.elbo.ELBO) -> Iterator[infer.elbo.ELBO]:
    """An objective and those inside it."""
    yield objective
    for value in vars(objective).values():
        if isinstance(value, infer.elbo.ELBO):
            yield from objectives_in(value)


def parts_in(objective: infer.elbo.ELBO) -> Iterator[Any]:
    """An objective and all that its loss depends on besides: those inside, a consistency, its move.

    Example:
        >>> from vaezoo.objectives import Consistency, SemiSupervised
        >>> alike = Consistency(abs)
        >>> [*parts_in(SemiSupervised(consistency=alike))][1:3] == [alike, abs]
        True
    """
    for each in objectives_in(objective):
        yield each
        for part in vars(each).values():
            if isinstance(part, Consistency):
                yield from (part, part.move)


def schedules_in(objective: infer.elbo.ELBO) -> Iterator[tuple[Any, str]]:
    """Owner and name of each schedule among the attributes of an objective and of those inside it.

    Example:
        >>> from vaezoo.objectives import ELBO, SemiSupervised
        >>> [(o.beta.value, name) for o, name in schedules_in(SemiSupervised(ELBO(WarmUp(4))))]
        [(0.0, 'beta')]
    """
    for owner in objectives_in(objective):
        yield from ((owner, n) for n, v in vars(owner).items() if isinstance(v, Schedule))
