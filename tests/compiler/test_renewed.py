"""Code that is renewed in place, as a reload has it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from own_pair import OwnPair, trained
from torch import Tensor, nn

from vaezoo import Step
from vaezoo.compiler.state import State

SOURCE = """
def head(by=1.0, *, at=1.0):
    return by * at

class Net:
    gain = 1.0
    def factor(self):
        return self.gain
    @property
    def half(self):
        return self.gain
    @staticmethod
    def whole():
        return 1.0
"""


class Read(OwnPair):
    """With a factor that `read` finds."""

    def __init__(self, read: Callable[[], float]) -> None:
        super().__init__()
        self.read = read

    def scale(self, h: Tensor) -> Tensor:
        return h * self.read()


def both(make: Callable[[], tuple[Callable[[], float], Callable[[], Any]]]) -> str:
    """How steps run where what is read changes from the fourth on: losses are the eager ones."""
    found, ways = [], ""
    for backend in (None, "eager"):
        read, change = make()

        def between(step: Step, i: int, change: Callable[[], Any] = change) -> None:
            if i == 3:
                change()

        make_pair = functools.partial(Read, read)
        losses, _, ways = trained(make_pair, between, backend=backend, steps=6)
        found.append(losses)
    assert found[1] == pytest.approx(found[0], rel=1e-12)
    return ways


def of_main() -> dict[str, Any]:
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(SOURCE, scope)
    return scope


def five() -> float:
    return 5.0


def five_of(net: Any) -> float:
    return 5.0


Renewal = Callable[[dict[str, Any]], tuple[Callable[[], float], Callable[[], Any]]]
RENEWED: dict[str, Renewal] = {
    "code": lambda s: (s["head"], lambda: setattr(s["head"], "__code__", five.__code__)),
    "defaults": lambda s: (s["head"], lambda: setattr(s["head"], "__defaults__", (5.0,))),
    "names' defaults": lambda s: (
        s["head"],
        lambda: setattr(s["head"], "__kwdefaults__", {"at": 5.0}),
    ),
    "one default": lambda s: (s["head"], lambda: s["head"].__kwdefaults__.update(at=5.0)),
    "a method": lambda s: (
        s["Net"]().factor,
        lambda: setattr(s["Net"].factor, "__code__", five_of.__code__),
    ),
    "a getter": lambda s: (
        (lambda net: lambda: net.half)(s["Net"]()),
        lambda: setattr(s["Net"].half.fget, "__code__", five_of.__code__),
    ),
    "a static method": lambda s: (
        (lambda net: lambda: net.whole())(s["Net"]()),
        lambda: setattr(s["Net"].whole, "__code__", five.__code__),
    ),
    "a part of a function": lambda s: (
        functools.partial(s["head"], at=1.0),
        lambda: setattr(s["head"], "__defaults__", (5.0,)),
    ),
    "a cached function": lambda s: (
        (lambda cached: lambda: cached(cached.cache_clear()))(
            functools.lru_cache(lambda _: s["head"]())
        ),
        lambda: setattr(s["head"], "__defaults__", (5.0,)),
    ),
    "a decorated function": lambda s: (
        torch.no_grad()(s["head"]),
        lambda: setattr(s["head"], "__defaults__", (5.0,)),
    ),
}


@pytest.mark.parametrize("name", RENEWED)
def test_code_that_is_renewed_in_place_makes_a_new_graph(name: str) -> None:
    """Losses are the eager ones to 1e-12, and steps are compiled before the change and after it."""
    assert both(lambda: RENEWED[name](of_main())) == "ecccec"


def test_code_that_a_program_renews_is_seen_and_put_back() -> None:
    """By the names of what it renews, and as it was: the very objects."""
    head = of_main()["head"]
    state, before = State({"head": head}), (head.__code__, head.__defaults__)
    head.__code__, head.__defaults__ = five.__code__, None
    assert state.changes() == ["__code__ of head", "__defaults__ of head"]
    assert not state.is_current()
    state.restore()
    assert state.is_current()
    assert (head.__code__, head.__defaults__) == before


def test_functions_of_libraries_cost_a_guard_nothing() -> None:
    assert not State({"linear": nn.Linear(1, 1), "f": nn.init.ones_}, only=frozenset())._functions
