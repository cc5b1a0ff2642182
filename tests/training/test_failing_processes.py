"""Processes of which one fails, stops or is killed: the others end at once, with its reason."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from several import in_processes
from torch import Tensor, nn
from zoo import X_SHAPE, member

from vaezoo import evaluate, fit
from vaezoo.training import NonFiniteLoss
from vaezoo.training.processes import Group, RankFailed


def _images(n: int) -> Tensor:
    return (torch.rand(n, *X_SHAPE, generator=torch.Generator().manual_seed(n)) > 0.5).float()


class _Batches:
    """Eight batches, in the middle of which one process does something."""

    def __init__(self, rank: int, does: Any) -> None:
        self.rank, self.does = rank, does

    def __iter__(self) -> Iterator[Tensor]:
        for i in range(8):
            if i == 3 and self.rank == 1:
                self.does()
            yield _images(4)


def _raise(error: BaseException) -> None:
    raise error


def _failing_at(step: int) -> Any:
    """A hook of gradients that fails at a step."""
    calls: list[int] = []

    def hook(gradient: Tensor) -> None:
        calls.append(1)
        if len(calls) == step:
            raise KeyError("in the backward pass")

    return hook


def _ends(run: Any) -> tuple[str, str, float]:
    """The error that something ends with, and after how many seconds."""
    began = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run()
    except Exception as error:
        return type(error).__name__, str(error), time.monotonic() - began
    return "", "", time.monotonic() - began


def _failing(rank: int) -> dict[str, tuple[str, str, float]]:
    """How trainings end of which rank 1 is the one that fails, by what fails in it."""
    found = {}
    options: dict[str, Any] = {"epochs": 1, "progress": False}
    data = _Batches(rank, lambda: _raise(OSError("the disk is gone")))
    found["data"] = _ends(lambda: fit(member("VAE"), data, **options))
    model: Any = member("VAE") if rank == 0 else 3
    found["model"] = _ends(lambda: fit(model, [_images(4)], **options))

    first = member("VAE")
    if rank == 1:
        first.likelihood.register_forward_hook(lambda *_: _raise(KeyError("in a hook")))
    found["forward"] = _ends(lambda: fit(first, [_images(4)], **options))
    second = member("VAE")
    if rank == 1:
        next(second.parameters()).register_hook(_failing_at(3))
    found["backward"] = _ends(lambda: fit(second, [_images(4)], steps=5, progress=False))
    third = member("VAE")
    if rank == 1:
        third.likelihood.register_forward_hook(lambda *_: _raise(KeyError("in a hook")))
    found["evaluate"] = _ends(lambda: evaluate(third, [_images(4)], particles=1, progress=False))
    # after all that, one that goes well
    found["well"] = _ends(lambda: fit(member("VAE"), [_images(4)], **options))
    return found


def test_the_reason_of_one_ends_all() -> None:
    first, second = in_processes(_failing)
    says = {
        "data": ("OSError", "the disk is gone"),
        "model": ("TypeError", "model"),
        "forward": ("KeyError", "in a hook"),
        "backward": ("KeyError", "in the backward pass"),
        "evaluate": ("KeyError", "in a hook"),
    }
    for case, (error, text) in says.items():
        assert second[case][0] == error, case
        assert text in second[case][1], case
        assert first[case][0] == "RankFailed", case
        assert first[case][1].startswith(f"rank 1: {error}: "), case
        assert text in first[case][1], case
        assert max(first[case][2], second[case][2]) < 30, case
    assert first["well"][0] == second["well"][0] == ""


class _Counted:
    """Five batches, of which the place is known, and the weights in front of each."""

    def __init__(self, model: nn.Module, rank: int) -> None:
        self.model, self.rank, self.at = model, rank, -1
        self.weights: list[Tensor] = []

    def __iter__(self) -> Iterator[Tensor]:
        for self.at in range(5):
            self.weights.append(_weights(self.model))
            yield _images(4 + self.rank)

    def broken(self, value: Tensor) -> Tensor:
        """Not a number at the third batch of rank 1."""
        return value * torch.nan if self.rank == 1 and self.at == 2 else value


def _weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def _not_finite(rank: int) -> dict[str, Any]:
    """Step, history and weights where the loss, or a gradient, of rank 1 is not a number."""
    found = {}
    for case in ("loss", "gradient"):
        vae = member("VAE")
        data = _Counted(vae, rank)
        if case == "loss":
            network = vae.likelihood.network
            network.register_forward_hook(lambda m, given, out, d=data: d.broken(out))
        else:
            next(vae.parameters()).register_hook(data.broken)
        try:
            fit(vae, data, epochs=1, progress=False, log_every=1)
        except NonFiniteLoss as error:
            unchanged = torch.equal(_weights(vae), data.weights[2])
            found[case] = str(error), error.history["step"], unchanged, _weights(vae)
    return found


def test_a_nan_of_one_is_a_nan_of_all() -> None:
    """At the same step, with the same words, and the weights from before."""
    first, second = in_processes(_not_finite)
    for case in ("loss", "gradient"):
        assert first[case][:3] == second[case][:3], case
        assert first[case][1:3] == ([1, 2], True), case
        assert torch.equal(first[case][3], second[case][3]), case
    assert "; not finite: log p(x) of site 'x' in the model, as " in first["loss"][0]
    assert " (on rank 1); the weights from before" in first["loss"][0]
    assert "step 3: the gradient not finite" in first["gradient"][0]


def _stopping(rank: int) -> Any:
    """Steps that were taken where rank 1 is told to stop in front of its fourth batch."""

    def press() -> None:  # twice, as torchrun hands on what the terminal has sent to all
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    data = _Batches(rank, press)
    history = fit(member("VAE"), data, epochs=3, progress=False, log_every=100)
    return history["step"], history.stopped, signal.getsignal(signal.SIGINT)


def test_the_stop_button_of_one_stops_all() -> None:
    """After the step that was under way."""
    first, second = in_processes(_stopping)
    assert first == second == ([4], True, signal.default_int_handler)


def _pressed_meanwhile(rank: int, *ranks: int) -> Any:
    """Steps taken where some ranks are told to stop in the third's exchange; the first has two."""
    usual, exchanges = Group.sum, []

    def sums(self: Group, numbers: Any = (), **failed: bool) -> list[float]:
        found = usual(self, numbers, **failed)
        exchanges.extend(numbers[:1])
        if numbers and len(exchanges) == 4 and rank in ranks:
            os.kill(os.getpid(), signal.SIGINT)
        return found

    Group.sum = sums  # type: ignore[method-assign]
    data = [_images(4)] * 8
    history = fit(member("VAE"), data, steps=8, progress=False, log_every=100)
    return history["step"], history.stopped, len(exchanges)


@pytest.mark.parametrize("ranks", [(0,), (1,), (0, 1)])
def test_a_stop_in_an_exchange_is_told_in_the_next(ranks: tuple[int, ...]) -> None:
    first, second = in_processes(_pressed_meanwhile, *ranks)
    assert first == second
    assert first[:2] == ([4], True)


def _killed(rank: int) -> Any:
    data = _Batches(rank, lambda: os.kill(os.getpid(), signal.SIGKILL))
    return _ends(lambda: fit(member("VAE"), data, epochs=1, progress=False))


def test_a_process_that_is_killed_ends_the_others() -> None:
    first, second = in_processes(_killed)
    assert second is None
    assert first[0] == RankFailed.__name__
    assert "killed" in first[1]
    assert first[2] < 30
