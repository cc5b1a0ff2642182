"""A loader's processes end with the call that began them, and are not left to the garbage collector.

It would have them wait for seconds: torch closes their queues first.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from zoo import images, member

from vaezoo import evaluate, fit
from vaezoo.training import steps

X = images(24)
SPOILT = torch.cat([X[:16], X[16:] * torch.nan])
begun: list[weakref.ref[Any]] = []


class Noted(DataLoader[Any]):
    def __iter__(self) -> Any:
        batches = super().__iter__()
        begun.append(weakref.ref(batches))
        return batches


def loader(x: torch.Tensor = X) -> Noted:
    return Noted(TensorDataset(x), batch_size=4, num_workers=1)


def fails() -> None:
    with pytest.raises(ValueError, match="hold NaN"):
        fit(member("VAE"), loader(SPOILT), epochs=1, progress=False)


def is_interrupted() -> None:
    def interrupts(record: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(member("VAE"), loader(), epochs=1, progress=False, log_every=1, callback=interrupts)


def takes_steps() -> None:
    for taken in (training := steps(member("VAE"), loader(), steps=9, progress=False)):
        if taken.step == 2:
            training.stop()


CALLS: dict[str, Callable[[], Any]] = {
    "steps": lambda: fit(member("VAE"), loader(), steps=3, progress=False),
    "epochs": lambda: fit(member("VAE"), loader(), epochs=1, progress=False),
    "a callback": lambda: fit(
        member("VAE"), loader(), steps=9, progress=False, log_every=1, callback=lambda _: True
    ),
    "an error": fails,
    "an interrupt": is_interrupted,
    "a loop": takes_steps,
    "validation": lambda: fit(
        member("VAE"), [X], steps=2, log_every=1, validation=loader(), progress=False
    ),
    "evaluation": lambda: evaluate(member("VAE"), loader(), particles=1, progress=False),
}


@pytest.fixture
def no_collection() -> Iterator[None]:
    begun.clear()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("call", CALLS)
def test_none_is_left(call: str) -> None:
    CALLS[call]()
    assert begun
    assert not [each for each in begun if each() is not None]
