"""Programs that look at values in ways of their own: compiled, they do what they do eagerly."""

from __future__ import annotations

import contextlib
import cProfile
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode
from zoo import images

from vaezoo import ELBO, Bound

Reads = Callable[[Any], Any]
READS: dict[str, Reads] = {
    "equal": lambda s: 2.0 if torch.equal(s.flag, s.other) else 1.0,
    "allclose": lambda s: 2.0 if torch.allclose(s.flag, s.other) else 1.0,
    "nonzero": lambda s: 1.0 + s.flag.nonzero().shape[0],
    "mask": lambda s: 1.0 + len(s.flag[s.flag > 0]),
    "unique": lambda s: 1.0 * len(torch.cat([s.flag, s.other[:1]]).unique()),
    "argwhere": lambda s: 1.0 + torch.argwhere(s.flag).shape[0],
    "masked_select": lambda s: 1.0 + s.flag.masked_select(s.flag > 0).numel(),
    "where": lambda s: 1.0 + len(torch.where(s.flag)[0]),
    "bincount": lambda s: 1.0 * len(torch.bincount(s.flag.long() * 2 + 1)),
    "repr": lambda s: 2.0 if "1." in repr(s.flag) else 1.0,
    "any": lambda s: 2.0 if s.flag.any() else 1.0,
    "item": lambda s: 1.0 + s.flag.sum().item(),
    "integers": lambda s: 1.0 + s.flag[s.places].sum(),  # which is no read, and is compiled
}


class Pair(nn.Module):
    """Whose decoder is scaled by what a function makes of the pair's buffers."""

    def __init__(self, scale: Reads) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Linear(16, 4), nn.Linear(2, 16)
        self.scale = scale
        self.register_buffer("flag", torch.zeros(3))
        self.register_buffer("other", torch.ones(3))
        self.register_buffer("places", torch.tensor([2, 0]))

    def model(self, x: Tensor) -> None:
        scale = self.scale(self)
        with pyro.plate("images", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample(
                "x", dist.Normal(self.decoder(z) * scale, 1.0).to_event(1), obs=x.flatten(1)
            )

    def guide(self, x: Tensor) -> None:
        m, log_scale = self.encoder(x.flatten(1)).chunk(2, -1)
        with pyro.plate("images", len(x)):
            pyro.sample("z", dist.Normal(m, log_scale.exp()).to_event(1))


def losses(bound: Bound, between: Callable[[int, Any], None]) -> list[float]:
    found = []
    for i in range(6):
        between(i, bound.model)
        torch.manual_seed(i)
        terms = bound(images())
        terms["loss"].backward()
        found.append(terms["loss"].item())
    return found


def both(
    scale: Reads, between: Callable[[int, Any], None]
) -> tuple[list[float], list[float], bool]:
    """Losses eagerly and compiled, and whether they were compiled in the end."""
    eager, compiled = Bound(Pair(scale), ELBO()), Bound(Pair(scale), ELBO()).compile("eager")
    expected = losses(eager, between)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = losses(compiled, between)
    assert compiled.compiled is not None
    return expected, found, compiled.compiled.serves


@pytest.mark.parametrize("name", READS)
def test_what_is_read_is_read_at_every_step(name: str) -> None:
    def fill(i: int, pair: Any) -> None:
        pair.flag.fill_(float(i >= 4))

    expected, found, serves = both(READS[name], fill)
    assert found == pytest.approx(expected, rel=1e-5)
    assert serves is (name == "integers")


def test_numbers_that_are_set_anew_and_equal_make_no_new_graph() -> None:
    pair = Pair(lambda s: s.factor)
    bound = Bound(pair, ELBO()).compile("eager")
    for i in range(12):
        pair.factor = float(f"{1.5 if i < 9 else 2.5}")  # another object each time
        bound(images())
    assert bound.compiled is not None
    assert bound.compiled.made == 2


def test_under_a_profiler_what_is_looked_up_is_watched() -> None:
    def change(i: int, pair: Any) -> None:
        pair.settings = {"factor": 1.0 + (i >= 4)}

    profile = cProfile.Profile()
    profile.enable()
    before = sys.getprofile()
    try:
        expected, found, serves = both(lambda s: s.settings["factor"], change)
        assert sys.getprofile() is before
    finally:
        profile.disable()
    assert found == pytest.approx(expected, rel=1e-5)
    assert serves


def test_handlers_around_a_call_are_heard() -> None:
    bound = Bound(Pair(lambda s: 1.0), ELBO()).compile("eager")
    for _ in range(3):
        bound(images())
    with poutine.mask(mask=torch.tensor(False)):
        assert bound(images())["loss"].item() == 0.0
    assert bound(images())["loss"].item() > 0.0


class Doubled(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        return 2 * out if func is nn.functional.linear else out


AROUND: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
    "a function mode": Doubled,
    "a dispatch mode": lambda: FlopCounterMode(display=False),
    "hooks of what is saved": lambda: torch.autograd.graph.saved_tensors_hooks(
        lambda t: 2 * t, lambda t: t
    ),
}


@pytest.mark.parametrize("mode", AROUND)
def test_modes_around_a_call_are_heard(mode: str) -> None:
    """Also those that come later: loss, gradients and operations are those of an eager call."""
    pair = Pair(lambda s: 1.0)
    found = []
    for bound in (Bound(pair, ELBO()), Bound(pair, ELBO()).compile("eager")):
        for _ in range(3):
            bound(images())
        pair.zero_grad()
        torch.manual_seed(0)
        with AROUND[mode]() as around:
            loss = bound(images())["loss"]
        loss.backward()
        operations = around.get_total_flops() if isinstance(around, FlopCounterMode) else 0
        found.append([loss.item(), *(p.grad.sum().item() for p in pair.parameters()), operations])
        assert bound.compiled is None or not bound.compiled.served
        with torch.device("cpu"):
            bound(images())
        assert bound.compiled is None or bound.compiled.served
    assert found[0] == found[1]


@pytest.mark.parametrize("refused", [False, True])
def test_what_was_made_before_a_step_is_differentiated_after_it(refused: bool) -> None:
    """Also where the program turns out to change what it is made of, and runs eagerly."""

    def scale(s: Any) -> Any:
        if refused:
            s.calls = getattr(s, "calls", 0) + 1
        return s.context

    found = []
    for compiles in (False, True):
        pair, net = Pair(scale), nn.Linear(1, 1)
        nn.init.constant_(net.weight, 0.3), nn.init.constant_(net.bias, 0.1)
        pair.context = None
        bound = Bound(pair, ELBO())
        if compiles:
            bound.compile("eager")
        for i in range(4):
            pair.context = net(torch.ones(1)).exp().squeeze()
            net.zero_grad()
            torch.manual_seed(i)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                loss = bound(images())["loss"]
            (loss + pair.context**2).backward()
            found.append(net.weight.grad.item())  # type: ignore[union-attr]
    assert found[4:] == pytest.approx(found[:4], rel=1e-5)
