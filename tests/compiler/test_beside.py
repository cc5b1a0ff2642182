"""Steps compiled in another process, while training goes on eagerly."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from compiling import Pair
from torch import nn
from zoo import fixed, member

from vaezoo import ELBO, Bound, Step, evaluate, fit
from vaezoo.compiler import beside, choice, kept
from vaezoo.compiler.cache import StepCache
from vaezoo.compiler.orders import Order
from vaezoo.training import steps
from vaezoo.training.training import Training

X = fixed(9)
SECONDS = 240  # on a machine that is busy with other things


@pytest.fixture(autouse=True)
def _nothing_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))


def begun(refused: Callable[[str], object] | None = None) -> tuple[Step, StepCache]:
    """After two steps, of which the second asked another process for a graph."""
    bound = Bound(Pair(nn.Linear(16, 2)), ELBO())
    step = Step(bound, torch.optim.Adam(bound.parameters(), lr=1e-3)).compile()
    assert step.compiled is not None
    step.compiled.beside, step.compiled.refused = True, refused
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


def has_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))


def keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "key_of", lambda *_: None)


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (fails, "left no graph (status 3)"),
        (cannot_start, "FileNotFoundError: "),
        (has_no_room, "FileNotFoundError: "),
        (keeps_nothing, "graphs are not kept on disk"),
    ],
)
def test_what_another_process_cannot_compile_runs_eagerly(
    trouble: Callable[[Path, pytest.MonkeyPatch], None],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the reason, and without a compilation here, which would be one without a step."""
    monkeypatch.setattr(Order, "compile", none_here)
    trouble(tmp_path, monkeypatch)
    reasons: list[str] = []
    step, cache = begun(reasons.append)
    assert not waited(step, cache)
    assert len(reasons) == 1
    assert reason in reasons[0]
    assert not cache.serves


def test_a_removed_folder_ends_no_training() -> None:
    """Such as by what cleans folders of temporary files; what comes behind it is done."""
    with beside.ended():
        _, cache = begun()
        awaited = cache.steps[0].awaited
        assert awaited is not None
        shutil.rmtree(awaited._end.peek()[2][1].parent)  # type: ignore[index]
    assert beside._begun_here.get() is None
    assert not is_running(awaited.process)


OF_ITS_PATH = """
import json, queue, sys
from pathlib import Path
def main(file, parent):
    seen = {"path": sys.path, "queue": queue.__file__, "optimize": sys.flags.optimize, "parent": parent}
    Path(file).write_text(json.dumps(seen))
"""


def test_the_process_finds_what_this_one_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the working folder, which is not on the path; what is no text there is ignored."""
    room = tmp_path / "path" / "vaezoo" / "compiler"
    room.mkdir(parents=True)
    for file in (room.parent / "__init__.py", room / "__init__.py"):
        file.touch()
    (room / "beside.py").write_text(OF_ITS_PATH)
    (tmp_path / "queue.py").write_text("raise SystemExit('this file is of no concern')")
    path = [str(tmp_path / "path"), *filter(None, sys.path)]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [tmp_path, *path, b"bytes"])
    monkeypatch.setenv("PYTHONOPTIMIZE", "1")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert beside._started(tmp_path / "seen").wait(SECONDS) == 0
    seen = json.loads((tmp_path / "seen").read_text())
    assert seen == {"path": path, "queue": queue.__file__, "optimize": 0, "parent": os.getpid()}


def test_the_process_ends_when_the_training_is_killed(tmp_path: Path) -> None:
    """And removes its folder; its output is open for as long as it is there."""
    file = tmp_path / "folder" / "order"
    file.parent.mkdir()
    os.mkfifo(file)  # to read it takes for ever
    by_a_shell = 'program=$1 file=$2; shift 2; "$0" -c "$program" "$file" $$ "$@" &'  # gone at once
    done = subprocess.run(
        ["sh", "-c", by_a_shell, sys.executable, beside.PROGRAM, str(file), *sys.path],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.stderr == ""
    assert not file.parent.exists()


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


def test_the_stop_button_is_not_for_the_process() -> None:
    """A terminal and a notebook interrupt all of a group: who trains goes on, compiled later."""
    _, cache = begun()
    awaited = cache.steps[0].awaited
    assert awaited is not None
    assert os.getpgid(awaited.process) != os.getpgid(0)
    cache.steps[0].close()


def closed(vae: Any, batches: list[Any]) -> Training:
    """On the way, as a panel does it, while another process is at work."""
    training = steps(vae, batches * 99)
    for _ in training:
        cache = training.step.cache
        if cache is not None and any(step.awaited for step in cache.steps):
            break
    training.close()
    return training


def to_the_end(vae: Any, batches: list[Any]) -> list[Any]:
    """A training that ends itself."""
    return list(steps(vae, batches))


@pytest.mark.parametrize(
    "call",
    [
        lambda vae, batches: fit(vae, batches, steps=9, progress=False),
        lambda vae, batches: evaluate(vae, batches, particles=2, progress=False),
        closed,
        to_the_end,
    ],
    ids=["fit", "evaluate", "steps that are closed", "steps to the end"],
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
    kept_alive = call(vae, [X] * 9)
    assert kept_alive
    assert [process.returncode for process in begun] == [-signal.SIGKILL]
