"""Sessions for tests: made, trained for some steps, and their weights looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from zoo import INFERS, images, labels, member

from vaezoo.panel.session import Session


def session(name: str = "VAE", *, n: int = 40, **options: Any) -> Session:
    batch = (images(n), images(9), labels(9)) if name in INFERS else (images(n), labels(n))
    return Session(member(name), [batch], **options)


def train(it: Session, steps: int, meanwhile: Callable[[], object] | None = None) -> int:
    """Train for some steps, do something in the midst of it, train on as long; count the rests."""

    async def run() -> int:
        task, rests, end = asyncio.create_task(it.train()), 0, it.stepper.step + steps
        for todo in (meanwhile, it.pause):
            while it.stepper.step < end and (it.running or not rests):
                await asyncio.sleep(0)
                rests += 1
            if todo is not None:
                todo()
            end = it.stepper.step + steps
        await task
        return rests

    return asyncio.run(run())


def weights(module: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(s, t) for s, t in zip(a, b, strict=True))
