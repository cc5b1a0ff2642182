"""Schedules that are not attributes of an objective: their values are read at each compiled step."""

from __future__ import annotations

import itertools
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from own_pair import OwnPair, trained
from torch import Tensor, nn

from vaezoo import ELBO, Step
from vaezoo.compiler.scheduled import Scheduled
from vaezoo.objectives import Schedule, WarmUp

GLOBAL = WarmUp(4, start=0.2)


class Rising(Schedule):
    """One of one's own, whose code is watched where it is not read anew."""

    @property
    def value(self) -> float:
        return 0.2 + 0.2 * self.taken


class Twice(Schedule):
    """One that is made of another."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Rising()

    @property
    def value(self) -> float:
        return 2 * self.inner.value

    def step(self) -> None:
        self.inner.step()


class Attribute(OwnPair):
    def __init__(self, schedule: Callable[[], Schedule]) -> None:
        super().__init__()
        self.heat = schedule()

    def scale(self, h: Tensor) -> Tensor:
        return h * self.heat.value


class Inside(OwnPair):
    def __init__(self) -> None:
        super().__init__()
        self.heats = {"of": [WarmUp(4), WarmUp(4, start=0.2)]}

    def scale(self, h: Tensor) -> Tensor:
        return h * self.heats["of"][1].value


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heat = WarmUp(4, start=0.2)

    def forward(self, h: Tensor) -> Tensor:
        return h * self.heat.value


class Layered(OwnPair):
    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Sequential(self.decoder, Layer())


class OfTheModule(OwnPair):
    def scale(self, h: Tensor) -> Tensor:
        return h * GLOBAL.value


class Weighted(ELBO):
    def __init__(self) -> None:
        super().__init__()
        self.weights = [WarmUp(4, start=0.2)]

    def loss_of(self, terms: Any) -> Tensor:
        return -terms.rec + self.weights[0].value * terms.kl

    def step(self) -> None:
        self.weights[0].step()


PLACES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any], Callable[[Step], Any]]] = {
    "a model": (
        lambda: Attribute(lambda: WarmUp(4, start=0.2)),
        ELBO,
        lambda step: step.bound.model.heat.step(),
    ),
    "one of one's own": (
        lambda: Attribute(Rising),
        ELBO,
        lambda step: step.bound.model.heat.step(),
    ),
    "one inside another": (
        lambda: Attribute(Twice),
        ELBO,
        lambda step: step.bound.model.heat.step(),
    ),
    "containers": (Inside, ELBO, lambda step: step.bound.model.heats["of"][1].step()),
    "a layer": (Layered, ELBO, lambda step: step.bound.model.decoder[1].heat.step()),
    "a module": (OfTheModule, ELBO, lambda step: GLOBAL.step()),
    "an objective's list": (OwnPair, Weighted, lambda step: step.bound.objective.step()),
}


@pytest.mark.parametrize("place", PLACES)
def test_values_are_those_of_each_step(place: str) -> None:
    """One graph for all steps, and the losses of eager ones to 1e-12."""
    make, objective, move = PLACES[place]
    found = []
    for backend in (None, "eager"):
        GLOBAL.taken = 0
        losses, step, ways = trained(
            make, lambda step, i: move(step), objective=objective, backend=backend
        )
        found.append(losses)
    assert found[1] == pytest.approx(found[0], rel=1e-12)
    assert ways == "e" + 6 * "c"
    assert step.compiled is not None
    assert step.compiled.made == 1


def test_what_a_schedule_keeps_is_watched_where_a_program_reads_it() -> None:
    class Counting(Attribute):
        def scale(self, h: Tensor) -> Tensor:
            return h * (1 + self.heat.taken)

    def move(step: Step, i: int) -> None:
        if i in (2, 4):
            step.bound.model.heat.step()

    eager, compiled = (
        trained(lambda: Counting(Rising), move, backend=backend) for backend in (None, "eager")
    )
    assert compiled[0] == pytest.approx(eager[0], rel=1e-12)
    assert compiled[2] == "eccecec"


def test_a_choice_by_a_schedule_runs_eagerly() -> None:
    class Choosing(Attribute):
        def scale(self, h: Tensor) -> Tensor:
            return h if self.heat.value < 0.5 else 2 * h

    eager, _, _ = trained(lambda: Choosing(Rising), lambda s, i: s.bound.model.heat.step())
    with pytest.warns(UserWarning, match="get value out of a tracing tensor"):
        compiled, _, _ = trained(
            lambda: Choosing(Rising), lambda s, i: s.bound.model.heat.step(), backend="eager"
        )
    assert compiled == eager


def test_one_that_no_walk_finds_is_refused() -> None:
    class Hidden(OwnPair):
        def __init__(self) -> None:
            super().__init__()
            self.heats = itertools.repeat(WarmUp(4, start=0.2))

        def scale(self, h: Tensor) -> Tensor:
            return h * next(self.heats).value

    eager, _, _ = trained(Hidden)
    with pytest.warns(UserWarning, match="is held where a compiled step cannot find it"):
        compiled, _, _ = trained(Hidden, backend="eager")
    assert compiled == eager


def test_one_that_is_not_read_is_no_argument_of_the_graph() -> None:
    """Nor does one without a number stand in the way."""

    def make() -> nn.Module:
        pair = OwnPair()
        pair.others = [WarmUp(3), Schedule()]
        return pair

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, step, ways = trained(make, backend="eager")
    assert ways == "e" + 6 * "c"
    assert step.compiled is not None
    traced = step.compiled.steps[0].traced
    assert traced is not None
    assert traced.schedules == []
    assert len(traced.graph.graph.find_nodes(op="placeholder")) == len(
        traced.inputs((torch.zeros(8, 6),))
    )


def test_schedules_look_up_as_before_when_all_is_over() -> None:
    with Scheduled([GLOBAL]).given([0.5]):
        assert GLOBAL.value == 0.5
        assert GLOBAL.start == 0.2
    assert Schedule.__getattribute__ is object.__getattribute__


def test_other_threads_read_what_schedules_are() -> None:
    """While a step is traced, a panel may show any schedule; behind it the class is as it was."""
    known, unknown = WarmUp(4), WarmUp(4)
    seen: list[float] = []
    with Scheduled([known]).given([0.5]):
        reader = threading.Thread(target=lambda: seen.extend([known.value, unknown.value]))
        reader.start()
        reader.join()
        assert known.value == 0.5
        with pytest.raises(RuntimeError, match="is held where a compiled step cannot find it"):
            _ = unknown.value
    assert seen == [0.0, 0.0]
    assert known.value == 0.0
    assert "__getattribute__" not in vars(Schedule)
