"""The stop button, by real signals at random moments; and errors, which carry the history."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from several import run_code
from torch import Tensor
from zoo import images, member

from vaezoo import ELBO, fit
from vaezoo.training.interrupts import stop_button

SENDS_SIGINT = hasattr(os, "kill") and sys.platform != "win32"
pytestmark = pytest.mark.skipif(not SENDS_SIGINT, reason="os.kill sends no SIGINT here")


class Pressing(ELBO):
    """Presses the stop button once so many steps are over, then again and again."""

    def __init__(self, *steps: int, press: Callable[[], object] | None = None) -> None:
        super().__init__()
        self.steps, self.taken = steps, 0
        self.press = press or (lambda: os.kill(os.getpid(), signal.SIGINT))

    def step(self) -> None:
        self.taken += 1
        if self.taken in self.steps:
            self.press()


def train(*steps: int, **options: Any) -> Any:
    return fit(
        *(member("VAE"), [images()], Pressing(*steps)),
        **{"steps": 100, "log_every": 10, "progress": False, **options},
    )


def test_the_button_ends_training_with_the_history() -> None:
    """Pressed in step 23: two records of ten steps and one of three; a whole history otherwise."""
    history = train(23)
    assert history["step"] == [10, 20, 23]
    assert history.stopped
    assert {len(values) for values in history.values()} == {3}
    assert not train().stopped
    assert train()["step"] == list(range(10, 101, 10))


def test_the_last_record_is_whole() -> None:
    """Validation is part of it, and the bar says that training was stopped."""
    history = train(4, validation=[images()], log_every=3)
    assert history["step"] == [3, 4]
    assert all(abs(v) < float("inf") for values in history.values() for v in values)


def test_the_bar_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    train(4, progress=True)
    assert "stopped: bound=" in capsys.readouterr().err


def twice() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)


def test_pressed_twice_it_interrupts_at_once() -> None:
    """The second press raises, with the history of the steps before."""
    with pytest.raises(KeyboardInterrupt) as caught:
        fit(
            *(member("VAE"), [images()], Pressing(3, press=twice)),
            steps=9,
            log_every=2,
            progress=False,
        )
    assert caught.value.history["step"] == [2]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_come_back_and_others_are_left_alone() -> None:
    """One of the user's own acts as ever; in another thread there is none to install."""
    usual, seen = signal.getsignal(signal.SIGINT), []
    assert usual is signal.default_int_handler
    train(2)
    assert signal.getsignal(signal.SIGINT) is usual
    try:
        signal.signal(signal.SIGINT, lambda *_: seen.append(1))
        history = train(2, steps=5)
        assert (history["step"], history.stopped, seen) == ([5], False, [1])
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert train(2, steps=5)["step"] == [5]
    finally:
        signal.signal(signal.SIGINT, usual)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(train(steps=5)["step"]))
    thread.start()
    thread.join()
    assert found == [[5]]


def test_the_first_step_is_always_taken() -> None:
    """Pressed while the first batch is loaded, a history of one step is returned."""

    def loading() -> Iterator[Tensor]:
        yield images()
        os.kill(os.getpid(), signal.SIGINT)
        yield images()

    class Loading:
        def __iter__(self) -> Iterator[Tensor]:
            return loading()

    history = fit(member("VAE"), Loading(), steps=9, progress=False)
    assert (history["step"], history.stopped) == ([1], True)


def test_the_button_is_heard_before_the_first_step() -> None:
    """Pressed while validation data are tried: one step, its record, and no error."""

    class Trying:
        def __iter__(self) -> Iterator[Tensor]:
            if not pressed:
                pressed.append(os.kill(os.getpid(), signal.SIGINT))
            return iter([images()])

    pressed: list[Any] = []
    history = train(steps=9, validation=Trying())
    assert (history["step"], history.stopped) == ([1], True)


def test_pressed_while_the_last_step_is_recorded_it_is_noted() -> None:
    """Training is complete, and a loop around `fit` can see that it should end."""

    class Recording:
        passes = 0

        def __iter__(self) -> Iterator[Tensor]:
            self.passes += 1
            if self.passes == 3:  # two to try, and the record
                os.kill(os.getpid(), signal.SIGINT)
            return iter([images()])

    history = train(steps=9, validation=Recording())
    assert (history["step"], history.stopped) == ([9], True)


def test_loading_processes_may_die_of_the_same_signal() -> None:
    """An error of the loader after the press ends training, one before it is raised."""

    class Dying:
        def __init__(self, press: bool) -> None:
            self.press = press

        def __iter__(self) -> Iterator[Tensor]:
            yield images()
            if self.press:
                os.kill(os.getpid(), signal.SIGINT)
            raise RuntimeError("DataLoader worker (pid 7) exited unexpectedly")

    assert fit(member("VAE"), Dying(press=True), steps=9, progress=False)["step"] == [1]
    with pytest.raises(RuntimeError, match="exited unexpectedly") as caught:
        fit(member("VAE"), Dying(press=False), steps=9, progress=False)
    assert caught.value.history["step"] == [1]


ROUNDS = 40
AT_RANDOM = """
import os, random, signal, sys, threading, torch
from vaezoo import ELBO, fit, models
random.seed(int(sys.argv[1]))
x = (torch.rand(24, 1, 4, 4) > 0.5).float()
usual, torn, kept, stopped = signal.getsignal(signal.SIGINT), 0, 0, 0
class Armed(ELBO):
    def step(self):
        if not self.timer.ident:
            self.timer.start()
for _ in range(int(sys.argv[2])):
    vae, objective = models.VAE((1, 4, 4), 3, hidden=(8, 8)), Armed()
    vae.eval()
    # one parameter after the other, so that a step can be torn
    optimizer = torch.optim.Adam(vae.parameters(), foreach=False, fused=False)
    delay = random.uniform(0, 0.06)
    objective.timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
    history = fit(vae, [x], objective, steps=10**6, optimizer=optimizer, log_every=7,
                  validation=[x], progress=False)
    counts = {int(state["step"]) for state in optimizer.state.values()}
    torn += counts != {history["step"][-1]} or len(optimizer.state) != len(list(vae.parameters()))
    kept += len({len(v) for v in history.values()}) == 1 and history["loss"][-1] > 0
    stopped += history.stopped and signal.getsignal(signal.SIGINT) is usual and not vae.training
print(torn, kept, stopped)
"""


def test_signals_at_random_moments_lose_and_tear_nothing(tmp_path: Path) -> None:
    """40 signals up to 60 ms into training: every history whole, every parameter equally far."""
    done = run_code(AT_RANDOM, "0", str(ROUNDS), folder=tmp_path)
    assert done.stdout.split() == ["0", str(ROUNDS), str(ROUNDS)], done.stderr


class Broken:
    """Batches, then an error."""

    def __init__(self, error: BaseException, after: int = 3) -> None:
        self.error, self.after = error, after

    def __iter__(self) -> Iterator[Tensor]:
        for _ in range(self.after):
            yield images()
        raise self.error


@pytest.mark.parametrize(
    "error", [OSError("disk"), KeyboardInterrupt(), MemoryError(), KeyError(1)]
)
def test_any_error_carries_the_history(error: BaseException) -> None:
    """Three steps, one record of two and one of the rest; modes and handler are as before."""
    model = member("VAE").eval()
    with pytest.raises(type(error)) as caught:
        fit(model, Broken(error), steps=9, log_every=2, progress=False)
    history = caught.value.history
    assert history["step"] == [2, 3]
    assert "history until step 3" in caught.value.__notes__[0]
    assert not model.training
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_in_validation_keeps_the_record_before_it() -> None:
    class Failing:
        passes = 0

        def __iter__(self) -> Iterator[Tensor]:
            self.passes += 1
            if self.passes > 4:  # two to try, and two records
                raise OSError("gone")
            return iter([images()])

    with pytest.raises(OSError, match="gone") as caught:
        train(steps=9, log_every=2, validation=Failing())
    history = caught.value.history
    assert history["step"] == [2, 4, 6]
    assert {len(values) for values in history.values()} == {3}
    assert [math.isnan(v) for v in history["validation_loss"]] == [False, False, True]


def test_an_example_writes_what_it_has(tmp_path: Path) -> None:
    """SIGINT in the middle of training: a shorter history, and all files are written."""
    path = Path(__file__).parents[2] / "examples" / "vae_mnist.py"
    options = ["--data", "digits", "--steps", "1000000", "--particles-eval", "1"]
    command = [sys.executable, str(path), *options, "--output", str(tmp_path)]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert run.stderr is not None
    text = ""
    while "bound=" not in text:  # the first record is on the bar
        text += run.stderr.read(1)
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=300)
    assert run.returncode == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["steps"] == metrics["history"]["step"][-1] < 1_000_000
    assert (tmp_path / "model.safetensors").is_file()
    assert (tmp_path / "samples.png").is_file()


def test_a_button_without_a_handler() -> None:
    """In another thread nothing is installed."""
    with stop_button() as button:
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    assert not button.pressed
    found: list[Any] = []

    def elsewhere() -> None:
        with stop_button():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]


def test_within_an_event_loop() -> None:
    """asyncio's handler would wait for the coroutine to end; it is there again afterwards."""

    async def trained(*steps: int, press: Callable[[], None] | None = None) -> Any:
        before = signal.getsignal(signal.SIGINT)
        try:
            return fit(
                member("VAE"), [images()], Pressing(*steps, press=press), steps=100, progress=False
            )
        finally:
            assert signal.getsignal(signal.SIGINT) is before is not signal.default_int_handler

    history = asyncio.run(trained(23))
    assert (history["step"][-1], history.stopped) == (23, True)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(trained(23, press=twice))


def test_a_loops_own_callback_comes_after(tmp_path: Path) -> None:
    """Of a service that ends itself at a SIGTERM."""

    async def served(folder: Path) -> list[object]:
        called: list[object] = []
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, called.append, "ended")
        pressing = Pressing(23, press=lambda: os.kill(os.getpid(), signal.SIGTERM))
        options: dict[str, Any] = {"steps": 100, "progress": False, "checkpoint": folder}
        history = fit(member("VAE"), [images()], pressing, **options)
        await asyncio.sleep(0.1)
        loop.remove_signal_handler(signal.SIGTERM)
        return [history["step"][-1], history.stopped, *called]

    assert asyncio.run(served(tmp_path)) == [23, True, "ended"]


@pytest.mark.parametrize(
    ("number", "handler"),
    [(signal.SIGINT, signal.SIG_DFL), (signal.SIGTERM, signal.default_int_handler)],
)
def test_a_handler_that_is_pythons_for_another_signal_is_the_users(
    number: signal.Signals, handler: Any
) -> None:
    """So that Ctrl-C kills at once, or a SIGTERM raises KeyboardInterrupt."""
    before = signal.signal(number, handler)
    try:
        with stop_button(signal.SIGTERM):
            assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)
