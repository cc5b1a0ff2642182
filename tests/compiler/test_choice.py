"""When compiling pays: a rule of numbers, and a choice that is given them."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest
import torch
from zoo import member

from vaezoo.chunks import Draws
from vaezoo.compiler import choice, kept
from vaezoo.compiler.choice import Choice, can_choose, pays


@pytest.mark.parametrize(
    ("step", "left", "spent", "cost", "expected"),
    [
        (0.01, 100, 1.0, 6.0, False),
        (0.01, 1_000, 1.0, 6.0, False),
        (0.01, 10_000, 1.0, 6.0, True),
        (0.001, 10_000, 1.0, 6.0, False),
        (1.0, 21, 1.0, 6.0, True),
        (1.0, 19, 1.0, 6.0, False),
        (1.0, 0, 1e9, 0.0, False),
        (0.01, None, 19.0, 6.0, False),
        (0.01, None, 21.0, 6.0, True),
    ],
)
def test_the_rule(
    step: float, left: float | None, spent: float, cost: float, expected: bool
) -> None:
    """30 % of what is left, or of what was spent where nobody knows, against the cost."""
    assert pays(step, left, spent, cost) is expected
    if left is not None:
        assert pays(step, left + 500, spent, cost, wait=500 * step) is expected


def chosen(eager: float, compiled: float, left: int | None, n: int) -> Choice:
    """After n steps of so many seconds, the first of which takes 128 times as long."""
    found = Choice()
    for i in range(1, n + 1):
        fast = found.compiles
        found.add(i, 128 * eager if i == 1 else compiled if fast else eager, left, compiled=fast)
    return found


@pytest.mark.parametrize(
    ("eager", "compiled", "left", "n", "expected"),
    [
        (2**-10, 2**-11, 10**6, 20, (False, False, "eager")),
        (2**-10, 2**-11, 10**6, 21, (True, False, "eager")),
        (2**-10, 2**-11, 10**6, 22, (True, False, "from step 22")),
        (2**-10, 2**-11, 10**6, 42, (True, True, "from step 22")),
        (
            2**-10,
            2**-9,
            10**6,
            63,
            (False, True, "from step 22 to 42: compiled steps took as long"),
        ),
        (2**-10, 2**-11, 10**3, 21, (False, True, "eager")),
        (2**-10, 2**-11, 16_000, 21, (False, True, "eager")),
        (2**-10, 2**-11, 17_000, 21, (True, False, "eager")),
        (2**-10, 2**-11, None, 5_000, (False, False, "eager")),
        (2**-10, 2**-11, None, 30_000, (True, True, "from step 10115")),
        (2.0, 1.0, 100, 2, (True, False, "eager")),
    ],
)
def test_a_choice(
    eager: float,
    compiled: float,
    left: int | None,
    n: int,
    expected: tuple[bool, bool, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first step is not timed, then 20 are, or a second; compiled ones the same way."""
    monkeypatch.setattr(choice, "cost", lambda size: 6.0)
    monkeypatch.setattr(choice, "share", lambda: 0.5)
    found = chosen(eager, compiled, left, n)
    assert (found.compiles, found.settled, str(found)) == expected


def test_eager_steps_are_timed_once_more_before_compiled_ones_are_given_up() -> None:
    """A machine that is busy from step 22 on: all takes four times as long from there."""
    found = chosen(2**-10, 2**-9, 10**6, 42)
    assert (found.compiles, found.settled, str(found)) == (False, False, "from step 22 to 42")
    for i in range(43, 64):
        found.add(i, 2**-8, 10**6)
    assert (found.compiles, found.settled, str(found)) == (True, True, "from step 22")


@pytest.mark.parametrize(("threads", "share"), [(0, 0.5), (-1, 0.1), (1, 0.5)])
def test_a_processor_to_spare(threads: int, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compiled elsewhere costs little where there is one: threads more than there are."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8 + threads)
    assert choice.share() == share


def test_what_is_on_disk_is_taken_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later choice of the same knows that it is there: 2,000 steps of a millisecond pay for it."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(choice, "cost", lambda size: 6.0)
    one, other = member("VAE"), member("VAE", hidden=(9,))
    for model, expected in ((one, False), (one, True), (other, False)):
        found = Choice(about=choice.described(model, 5))
        for i in range(22):
            found.add(i, 2**-10, 2_000)
        assert found.compiles is expected
        kept.note(choice.described(one, 5))


def test_functions_are_described_by_their_names() -> None:
    """One that is made anew has another address, and would have a note of its own on the disk."""
    one, other = (choice.described(member("VAE"), lambda x: x) for _ in range(2))
    assert one == other


def test_what_rests_in_evaluation_is_taken_up_again() -> None:
    """While eager batches are timed once more, what is compiled stays."""
    turns = iter((True, False, True))
    draws = Draws(member("VAE"), compile=None)
    given = types.SimpleNamespace(compiles=False, settled=False)
    given.add = lambda *_, **__: setattr(given, "compiles", next(turns))
    draws.choice, bound, seen = given, draws[2], list[Any]()
    for _ in range(3):
        with draws.on_a_batch():
            pass
        assert bound.compiled is not None
        seen.append((bound.compiled, bound.compiled.resting))
    assert seen == [(seen[0][0], rests) for rests in (False, True, False)]


def test_the_cost_is_seconds() -> None:
    """More than a second, and less than ten minutes, on any machine; more for a large graph."""
    assert 1 < choice.cost(0) < 600
    assert choice.cost(1000) > 2 * choice.cost(0)


def test_only_a_cpu_was_measured() -> None:
    assert can_choose(member("VAE"))
    assert not can_choose(member("VAE").to("meta"))
