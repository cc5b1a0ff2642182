"""The optimizer of compiled steps: what it keeps is what it would keep of eager ones."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from own_pair import OwnPair, trained
from torch import Tensor, nn

from vaezoo import Step
from vaezoo.compiler.adam import AdamUpdate


@pytest.fixture
def default_dtype() -> Iterator[None]:
    before = torch.get_default_dtype()
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("first", [torch.float32, torch.float64])
@pytest.mark.usefixtures("default_dtype")
def test_steps_are_counted_whatever_the_default_dtype_is_meanwhile(
    first: torch.dtype, fused: bool
) -> None:
    """In the dtype that the optimizer has begun with, as eagerly."""
    other = torch.float64 if first == torch.float32 else torch.float32

    def between(step: Step, i: int) -> None:
        torch.set_default_dtype(other if i in (2, 3, 4) else first)

    found = []
    for backend in (None, "eager"):
        torch.set_default_dtype(first)
        losses, step, _ = trained(
            OwnPair,
            between,
            backend=backend,
            dtype=torch.float32,
            steps=9,
            optimizer=lambda p: torch.optim.Adam(p, lr=1e-2, fused=fused),
        )
        found.append((losses, [s["step"] for s in step.optimizer.state.values()]))
    (losses, counts), (others, same) = found
    assert others == pytest.approx(losses, rel=1e-5)
    assert counts == same == [9] * 4
    assert {t.dtype for t in counts} == {t.dtype for t in same}


class Spare(OwnPair):
    """With a layer that the loss does not reach, at first."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(6, 6)
        self.reached = False

    def scale(self, h: Tensor) -> Tensor:
        return h + self.spare(h) if self.reached else h


@pytest.mark.parametrize("late", [False, True])
def test_only_what_the_loss_reaches_has_state(late: bool) -> None:
    """And what it reaches later, from then on."""

    def between(step: Step, i: int) -> None:
        step.bound.model.reached = late and i >= 3

    found = []
    for backend in (None, "eager"):
        losses, step, ways = trained(Spare, between, backend=backend)
        state = step.optimizer.state_dict()["state"]
        found.append((losses, {i: float(s["step"]) for i, s in state.items()}))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-12)
    assert found[1][1] == found[0][1]
    assert len(found[0][1]) == (6 if late else 4)
    assert "c" in ways


def test_state_that_an_eager_step_makes_for_more_is_kept() -> None:
    """And state that was cleared is made anew for what is trained alone."""

    def between(step: Step, i: int) -> None:
        if i == 2:
            step.optimizer.zero_grad()
            spare = step.bound.model.spare.bias
            spare.grad = torch.ones_like(spare)
            step.optimizer.step()
        if i == 4:
            step.optimizer.state.clear()

    found = []
    for backend in (None, "eager"):
        losses, step, _ = trained(Spare, between, backend=backend)
        states = copy.deepcopy(step.optimizer.state_dict()["state"])
        found.append((losses, {i: float(s["step"]) for i, s in states.items()}))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-12)
    assert found[1][1] == found[0][1]


@pytest.mark.parametrize("name", ["zero_grad", "step"])
def test_an_optimizer_with_a_method_of_its_own_makes_the_update(name: str) -> None:
    calls = []

    def between(step: Step, i: int) -> None:
        if i == 3:
            method = getattr(step.optimizer, name)
            setattr(step.optimizer, name, lambda *a: (calls.append(i), method(*a))[1])

    eager, compiled = (trained(OwnPair, between, backend=backend) for backend in (None, "eager"))
    assert compiled[0] == pytest.approx(eager[0], rel=1e-12)
    assert len(calls) == 2 * 3


class Dead(OwnPair):
    """With a weight whose gradient is none, or next to none."""

    def __init__(self) -> None:
        super().__init__()
        self.dead = nn.Parameter(torch.ones(6))

    def scale(self, h: Tensor) -> Tensor:
        return h + 0 * self.dead


def test_half_weights_without_gradients_stay() -> None:
    """In float16 ε is below what there is: a fused Adam computes in float32, and so do graphs."""
    found: list[Any] = []
    for backend in (None, "eager"):
        losses, step, ways = trained(
            Dead,
            backend=backend,
            dtype=torch.float16,
            optimizer=lambda p: torch.optim.Adam(p, lr=1e-3, fused=True),
        )
        found.append((losses, step.bound.model.dead.tolist()))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-2)
    assert found[1][1] == found[0][1] == [1.0] * 6
    assert ways == "e" + 6 * "c"


def test_one_that_loses_its_epsilon_does_so_itself() -> None:
    """Unfused, in float16."""
    p = nn.Parameter(torch.zeros(2, dtype=torch.float16))
    fused = [AdamUpdate.fits(torch.optim.Adam([p], fused=fused)) for fused in (False, True)]
    assert fused == [False, True]


def test_bfloat16_is_updated_as_by_a_fused_adam() -> None:
    found = [
        trained(
            OwnPair,
            backend=backend,
            dtype=torch.bfloat16,
            steps=20,
            optimizer=lambda p: torch.optim.Adam(p, lr=1e-2, fused=True),
        )
        for backend in (None, "eager")
    ]
    (eager, a, _), (compiled, b, _) = found
    assert compiled == pytest.approx(eager, rel=1e-2)
    for p, q in zip(a.bound.parameters(), b.bound.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=0.02, atol=0.02)
