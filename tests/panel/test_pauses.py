"""What is trained when: on over pauses, anew after changes, and a model by one session at a time."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import ipywidgets
import pytest
import torch
from sessions import same, session, train, weights
from zoo import X_SHAPE, images, labels, member

import vaezoo
from vaezoo import networks
from vaezoo.panel.session import Session


def test_training_goes_on_where_a_pause_left_it() -> None:
    """Its rate, its optimizer and the place in the data."""
    rates, made, batches = list[int](), list[int](), list[int]()

    class Watched(torch.optim.SGD):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(1)

    class Numbered(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            for i, batch in enumerate(super().__iter__()):
                batches.append(i)
                yield batch

    def rate(step: int) -> float:
        rates.append(step)
        return 1e-3

    it = Session(member("VAE"), Numbered([images(5)] * 10_000), lr=rate, optimizer=Watched)
    batches.clear()
    for _ in range(3):
        train(it, 5)
    assert len(made) == 1
    taken = it.stepper.step
    assert set(rates) >= set(range(taken))
    assert rates[2:] == sorted(rates[2:])
    assert batches == list(range(len(batches)))
    it.swap("prior", "MixtureOfGaussians", "k=3")
    train(it, 5)
    assert len(made) == 2
    assert batches[taken:].count(0) == 1, "anew"


def assigned(it: Session) -> None:
    it.model.posterior.network = networks.MLP(X_SHAPE, (5,), (2, 3))


def unfrozen(it: Session) -> None:
    it.model.posterior.requires_grad_(True)


@pytest.mark.parametrize("change", [assigned, unfrozen])
def test_what_a_cell_does_within_a_part_is_trained(change: Callable[[Session], None]) -> None:
    it, before = session(), list[torch.Tensor]()
    it.model.posterior.requires_grad_(change is assigned)

    def meanwhile() -> None:
        change(it)
        before.extend(weights(it.model.posterior))

    train(it, 20, meanwhile)
    assert it.message == ""
    after = weights(it.model.posterior)
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_one_session_at_a_time_trains_a_model() -> None:
    async def kernel() -> None:
        model = member("VAE").eval()
        first, second = (Session(model, [images(30)]) for _ in range(2))
        tasks = []
        for it in (first, second, first):
            tasks.append(asyncio.create_task(it.train()))
            await asyncio.sleep(0.05)
            assert (first.running, second.running) == (it is first, it is second)
            assert model.training
        third = Session(model, [images(30)])
        assert not first.running
        assert not model.training, "the mode it was in"
        another = Session(member("VAE"), [images(30)])
        tasks += [asyncio.create_task(each.train()) for each in (third, another)]
        await asyncio.sleep(0.05)
        assert third.running
        assert another.running
        third.pause()
        another.pause()
        await asyncio.gather(*tasks)

    asyncio.run(kernel())


def test_a_panel_that_is_closed_rests_and_leaves_nothing() -> None:
    async def kernel() -> weakref.ref[Session]:
        it = vaezoo.explore(member("VAE"), [images(30)])
        it.toolbar.train.click()
        await asyncio.sleep(0.05)
        it.close()
        await asyncio.sleep(0.05)
        step, before = it.session.stepper.step, weights(it.model)
        await asyncio.sleep(0.05)
        assert (it.session.stepper.step, it.session.running) == (step, False)
        assert same(weights(it.model), before)
        assert it.looking.value.comm is None
        return weakref.ref(it.session)

    gone = [asyncio.run(kernel())]
    panel = vaezoo.explore(member("VAE"), [(images(30), labels(30))])
    gone.append(weakref.ref(panel.session))
    ipywidgets.Widget.close_all()
    del panel
    gc.collect()
    assert [session() for session in gone] == [None, None]


def test_what_the_guards_say_is_not_lost() -> None:
    async def kernel() -> None:
        it = vaezoo.explore(member("VAE"), [images(30)])
        with torch.no_grad():
            next(it.model.posterior.parameters()).fill_(float("nan"))
        it.toolbar.train.click()
        for _ in range(6000):
            await asyncio.sleep(0.005)
            if it.session.failed and it.toolbar.train.description == "Train":
                break
        assert it.session.message.startswith("NonFiniteLoss: step 1: parameter posterior.network")
        assert (it.session.failed, it.toolbar.train.description) == (True, "Train")

    asyncio.run(kernel())
