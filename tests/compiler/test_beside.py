"""Steps compiled in another process, while training goes on eagerly."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from compiling import Pair
from torch import Tensor, nn
from zoo import fixed, member

from vaezoo import ELBO, Bound, Step, evaluate, fit
from vaezoo.compiler import beside, choice
from vaezoo.compiler.cache import StepCache
from vaezoo.compiler.orders import Order

X = fixed(9)
SECONDS = 240  # on a machine that is busy with other things


@pytest.fixture(autouse=True)
def _nothing_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))


def begun() -> tuple[Step, StepCache]:
    """After two steps, of which the second asked another process for a graph."""
    bound = Bound(Pair(nn.Linear(16, 2)), ELBO())
    step = Step(bound, torch.optim.Adam(bound.parameters(), lr=1e-3)).compile()
    assert step.compiled is not None
    step.compiled.beside = True
    for _ in range(2):
        step(X)
    return step, step.compiled


def waited(step: Step, cache: StepCache) -> bool:
    """Whether a compiled step came, in the end."""
    started = time.perf_counter()
    while cache.steps[0].awaited is not None and time.perf_counter() - started < SECONDS:
        time.sleep(0.05)
        step(X)
    return cache.served


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def none_here(*_: object) -> None:
    raise AssertionError("it is compiled in this process")


def test_training_goes_on_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eager steps until the graph is there; then it serves, and does what eager steps would."""
    monkeypatch.setattr(Order, "compile", none_here)
    step, cache = begun()
    assert not cache.served
    assert waited(step, cache)
    before = {n: t.clone() for n, t in step.bound.state_dict().items()}
    torch.manual_seed(5)
    compiled = step(X)["loss"].item()
    assert cache.served
    step.bound.load_state_dict(before)
    torch.manual_seed(5)
    assert step.bound.eager(X)["loss"].item() == pytest.approx(compiled, rel=1e-5)


def fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "PROGRAM", "raise SystemExit(3)")


def cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "none"))


@pytest.mark.parametrize("trouble", [fails, cannot_start])
def test_what_another_process_cannot_compile_is_compiled_here(
    trouble: Callable[[Path, pytest.MonkeyPatch], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has failed, or cannot even be started."""
    here: list[Tensor] = []

    def compile_graph(graph: object, inputs: list[Tensor], *_: object) -> Callable[..., object]:
        here.append(inputs[0])
        return graph  # type: ignore[return-value]

    monkeypatch.setattr("vaezoo.compiler.inductor.compile_graph", compile_graph)
    trouble(tmp_path, monkeypatch)
    step, cache = begun()
    assert cache.served or waited(step, cache)
    assert len(here) == 1


@pytest.mark.parametrize("scope", [contextlib.nullcontext, beside.ended])
def test_the_process_ends_with_the_training(
    scope: Callable[[], contextlib.AbstractContextManager[None]],
) -> None:
    """Or with a step that is given up on the way."""
    with scope():
        step, cache = begun()
        awaited = cache.steps[0].awaited
        assert awaited is not None
        process = awaited.process
        assert is_running(process)
        del step, cache, awaited
        gc.collect()
        assert not is_running(process)


@pytest.mark.parametrize(
    "call",
    [
        lambda vae, batches: fit(vae, batches, steps=9, progress=False),
        lambda vae, batches: evaluate(vae, batches, particles=2, progress=False),
    ],
    ids=["fit", "evaluate"],
)
def test_none_is_left_behind_a_call(
    call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which ends before a compiled step is there."""
    begun, start = list[Any](), beside._started
    monkeypatch.setattr(beside, "_started", lambda file: begun.append(start(file)) or begun[-1])
    monkeypatch.setattr(choice, "OPERATIONS", (0, 0))
    monkeypatch.setattr(choice, "STEPS", 3)
    vae = member("VAE").float()
    kept = call(vae, [X] * 9)
    assert kept
    assert [process.returncode for process in begun] == [-signal.SIGKILL]
