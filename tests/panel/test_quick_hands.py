"""Buttons pressed faster than the kernel answers, and several panels at once."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
import torch
from sessions import same, session, train, weights
from zoo import X_SHAPE, images, member

import vaezoo
from vaezoo import models, objectives, priors
from vaezoo.panel.session import Session


class Odd(priors.Prior):
    """A prior whose constructor does not keep what it is given."""

    def __init__(self, z_dim: int, secret: int) -> None:
        super().__init__()
        self.z_dim = z_dim

    def forward(self) -> Any:
        return priors.StandardNormal(self.z_dim)()

    def __repr__(self) -> str:
        return f"Odd({self.z_dim})"


def test_each_press_counts_and_in_its_turn() -> None:
    """Two undos; then, in one hold-up, a swap, its undo, and another swap."""

    async def kernel() -> None:
        it = vaezoo.explore(member("VAE"), [images(30)])
        prior, undo = it.swapping.menus["prior"], it.toolbar.undo
        for name in ("MixtureOfGaussians", "VampPrior"):
            it.session.swap("prior", name, "k=3")
        undo.click()
        undo.click()
        await asyncio.sleep(0.05)
        assert it.session.swaps == []
        it.session.swap("objective", "IWELBO", "particles=3")
        prior.value = "MixtureOfGaussians"
        undo.click()
        prior.value = "Flow"
        await asyncio.sleep(0.05)
        assert isinstance(it.session.objective, objectives.IWELBO)
        assert isinstance(it.model.prior, priors.Flow)
        it.toolbar.train.click()
        await asyncio.sleep(0.05)
        it.toolbar.train.click()  # pause
        it.toolbar.train.click()  # and go on
        await asyncio.sleep(0.05)
        assert it.session.running
        it.close()

    asyncio.run(kernel())


def test_one_loop_trains_after_a_pause_and_a_start_at_once() -> None:
    async def kernel() -> None:
        it = session()
        tasks = [asyncio.create_task(it.train())]
        await asyncio.sleep(0.05)
        for _ in range(5):
            it.pause()
            tasks.append(asyncio.create_task(it.train()))
            await asyncio.sleep(0)
        await asyncio.sleep(0.1)
        assert [task.done() for task in tasks] == [True] * 5 + [False]
        assert it.running
        it.pause()
        await asyncio.gather(*tasks)
        assert it.message == ""

    asyncio.run(kernel())


def test_a_swap_to_the_model_of_another_panel_takes_its_turn() -> None:
    async def kernel() -> None:
        theirs = models.VAE(X_SHAPE, 3, hidden=(5,))
        first, second = session(parts=[theirs]), Session(theirs, [images(30)])
        tasks = [asyncio.create_task(each.train()) for each in (first, second)]
        await asyncio.sleep(0.05)
        assert (first.running, second.running) == (True, True)
        first.swap("member", "VAE (yours)")
        assert first.model is second.model
        assert (first.running, second.running) == (True, False)
        first.pause()
        await asyncio.gather(*tasks)

    asyncio.run(kernel())


def test_a_member_of_ones_own_is_taken_as_it_is() -> None:
    """Parts, weights and dtype, where the swap stays, is undone, or is refused."""
    mine = models.IWAE(X_SHAPE, 3, hidden=(8,))
    before, parts = weights(mine), [mine.prior, mine.likelihood, mine.posterior]
    it = Session(member("VAE").double(), [images(30)], parts=[mine])
    it.swap("member", "IWAE (yours)")
    assert it.model is mine
    assert same(weights(mine), before)
    it.undo()
    labelled = models.FSVAE(X_SHAPE, 3, classes=3, hidden=(8,))
    prior = labelled.prior
    it = Session(member("VAE"), [images(30)], parts=[labelled])
    with pytest.raises(ValueError, match="label"):
        it.swap("member", "FSVAE (yours)")
    assert labelled.prior is prior
    assert same(weights(mine), before)
    assert [mine.prior, mine.likelihood, mine.posterior] == parts
    assert {p.dtype for p in mine.parameters()} == {torch.float32}


def test_a_setting_of_the_members_own_objective_is_trained() -> None:
    """`model.beta = 50` in a cell, unless another objective was chosen; an undo keeps to it."""
    it = session()
    train(it, 10)
    it.model.beta = 50.0
    train(it, 10)
    assert it.objective.beta == 50
    assert "beta=50" in it.source()
    it.swap("objective", "ELBO", "beta=2.0")
    it.model.beta = 7.0
    train(it, 10)
    assert it.objective.beta == 2
    it.undo()
    train(it, 10)
    assert it.objective.beta == 7
    schedule = it.objective
    train(it, 10)
    assert it.objective is schedule


def test_what_cannot_be_written_is_trained_all_the_same() -> None:
    """The code says why, and the rest of the panel follows."""

    async def kernel() -> None:
        it = vaezoo.explore(member("VAE"), [images(30)], parts=[Odd(3, 1)])
        it.toolbar.show_code.click()
        it.toolbar.train.click()
        await asyncio.sleep(0.05)
        it.swapping.menus["prior"].value = "Odd (yours)"
        await asyncio.sleep(0.1)
        assert it.session.running
        assert isinstance(it.model.prior, Odd)
        assert it.toolbar.code.value == "# a Odd keeps no secret: assign self.secret = secret"
        it.swapping.menus["posterior"].value = "FullNormal"
        await asyncio.sleep(0.1)
        assert it.swapping.menus["posterior"].value == "FullNormal"
        assert type(it.model.posterior).__name__ == "FullNormal"
        it.swapping.menus["prior"].value = "StandardNormal"
        await asyncio.sleep(0.1)
        assert "prior" not in it.toolbar.code.value
        assert "model = models.VAE" in it.toolbar.code.value
        it.close()

    asyncio.run(kernel())


def test_an_objective_that_was_edited_stays_so() -> None:
    it = session()
    it.objective.beta = 4.0
    train(it, 10)
    assert it.objective.beta == 4


def test_an_objective_that_is_not_hashable() -> None:
    @dataclasses.dataclass
    class Mine(objectives.ELBO):
        weight: float = 2.0

        def __post_init__(self) -> None:
            super().__init__(beta=self.weight)

    class Own(models.VAE):
        def objective(self, data: Any = None) -> Any:
            return Mine()

    it = Session(Own(X_SHAPE, 3, hidden=(5,)), [images(30)])
    objective = it.objective
    train(it, 10)
    assert it.objective is objective
