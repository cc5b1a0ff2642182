"""`fit(compile=None)`: eager until compiling pays, and back where it does not."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._inductor.config
from pyro import infer
from torch import Tensor, nn
from zoo import fixed, member

from vaezoo import evaluate, fit, posteriors
from vaezoo.compiler import choice, kept
from vaezoo.objectives import IWELBO
from vaezoo.training import ResumeError, steps
from vaezoo.training.alone import Alone
from vaezoo.training.processes import World
from vaezoo.training.step import Step, kind_of
from vaezoo.training.timed_step import TimedStep

X = fixed(9).double()
KINDS: dict[str, dict[str, Any]] = {
    "update inside": {},
    "update behind": {"max_grad_norm": 0.5},
    "with averages": {"average": 0.9},
}


@pytest.fixture
def at_no_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling costs nothing, and three steps tell."""
    monkeypatch.setattr(choice, "OPERATIONS", (0, 0))
    monkeypatch.setattr(choice, "STEPS", 3)
    monkeypatch.setattr(Step.compile, "__defaults__", ("eager",))


class Slow(nn.Linear):
    """A layer that takes long in Python, and no time in a graph."""

    def forward(self, x: Tensor) -> Tensor:
        sum(range(200_000))
        return super().forward(x)


def slow(dtype: torch.dtype = torch.float64) -> Any:
    """A member whose eager steps are slower than compiled ones on any machine."""
    encoder = nn.Sequential(nn.Flatten(-3), Slow(16, 6), nn.Unflatten(-1, (2, 3)))
    q = posteriors.DiagonalNormal((1, 4, 4), 3, network=encoder)
    return member("VAE", posterior=q).to(dtype)


def trained(n: int = 12, **options: Any) -> tuple[Any, Any]:
    """History and weights after a few steps from one seed."""
    torch.manual_seed(1)
    model = options.pop("model", None) or slow()
    asked = {"steps": n, "log_every": 1, "progress": False, "data": [X], **options}
    history = fit(model, asked.pop("data"), asked.pop("objective", None), **asked)
    return history, [p.detach() for p in model.parameters()]


def without_seconds(history: Any) -> dict[str, Any]:
    return {name: values for name, values in history.items() if name != "seconds"}


def test_a_short_run_is_the_eager_one() -> None:
    """Bit by bit."""
    found, expected = trained(), trained(compile=False)
    assert without_seconds(found[0]) == without_seconds(expected[0])
    assert all(map(torch.equal, found[1], expected[1]))
    assert found[0].compiled == "eager"


@pytest.mark.usefixtures("at_no_cost")
@pytest.mark.parametrize("kind", KINDS)
def test_where_it_pays_the_rest_is_compiled(kind: str) -> None:
    """The first step untimed, three timed, one more of its kind; to 1e-10 as eagerly."""
    found, expected = trained(**KINDS[kind]), trained(**KINDS[kind], compile=False)
    assert found[0].compiled == "from step 6"
    torch.testing.assert_close(found[1], expected[1], rtol=1e-10, atol=1e-10)
    assert found[0]["loss"] == pytest.approx(expected[0]["loss"], rel=1e-10)


@pytest.mark.usefixtures("at_no_cost")
def test_each_kind_of_batch_has_its_choice() -> None:
    """A kind that comes once in five passes of nine stays eager: too few of it are timed."""
    training = steps(slow(), [X, X, X, X[:5]], steps=16)
    ran = [bool(taken) and training.step.cache is not None and training.step.cache.served
           for taken in training]  # fmt: skip
    assert ran == [False] * 6 + [True, False] + [True, True, True, False] * 2
    assert training.history.compiled == "from step 7"


@pytest.mark.usefixtures("at_no_cost")
@pytest.mark.parametrize(
    ("compiled", "said"),
    [
        (math.inf, "from step 6 to 9: compiled steps took as long"),
        (1e-9, "from step 6"),
    ],
)
def test_it_goes_back_where_compiled_steps_are_no_faster(compiled: float, said: str) -> None:
    """Than eager ones before, at first: they are timed once more. The weights go on either way."""
    torch.manual_seed(1)
    model = slow()
    training, ran = steps(model, [X], steps=16), []
    for taken in training:
        assert isinstance(training.step, TimedStep)
        assert training.step.choices is not None
        (found,) = training.step.choices.values()
        ran.append(training.step.cache is not None and training.step.cache.served)
        if taken.step == 6:
            found.eager = 0.0
        if taken.step == 9:
            found.compiled = compiled
    assert ran == [False] * 5 + [True] * 4 + [False] * 4 + [said == "from step 6"] * 3
    assert training.history.compiled == said
    expected = trained(16, compile=False)[1]
    torch.testing.assert_close(
        [p.detach() for p in model.parameters()], expected, rtol=1e-10, atol=1e-10
    )


@pytest.mark.usefixtures("at_no_cost")
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"objective": infer.Trace_ELBO()}, "tracing tensor"),
        ({"objective": IWELBO(4, chunk=2)}, "makes its draws twice"),
    ],
)
def test_what_cannot_be_compiled_runs_eagerly(options: dict[str, Any], reason: str) -> None:
    """Without a warning, with the reason; bit by bit the eager run."""
    found, expected = trained(**options), trained(**options, compile=False)
    assert re.fullmatch(f"eager: RuntimeError: .*{reason}.*", found[0].compiled)
    assert all(map(torch.equal, found[1], expected[1]))


@pytest.mark.usefixtures("at_no_cost")
@pytest.mark.parametrize("stop", [3, 5, 8])
def test_a_resumed_run_keeps_the_choice(stop: int, tmp_path: Path) -> None:
    """Before it was taken, while it is tried, and after: compiled ones bit by bit."""
    expected = trained()
    trained(stop, checkpoint=tmp_path)
    history, weights = trained(checkpoint=tmp_path)
    assert trained(checkpoint=tmp_path)[0].compiled == history.compiled, "there is no step to take"
    if stop > 3:
        assert history.compiled == expected[0].compiled == "from step 6"
        assert all(map(torch.equal, weights, expected[1]))
    else:
        assert history.compiled == "from step 9"
    torch.testing.assert_close(weights, expected[1], rtol=1e-10, atol=1e-10)


def test_an_eager_run_is_resumed_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """One that settled for it, and one begun with False, as all were before this could be left open."""
    monkeypatch.setattr(choice, "STEPS", 3)
    expected = trained(compile=False)[1]
    trained(5, checkpoint=tmp_path / "chosen")
    trained(5, checkpoint=tmp_path / "told", compile=False)
    request.getfixturevalue("at_no_cost")
    for folder in ("chosen", "told"):
        history, weights = trained(checkpoint=tmp_path / folder)
        assert history.compiled == "eager"
        assert all(map(torch.equal, weights, expected))
    with pytest.raises(ResumeError, match="compile=None, got True"):
        trained(20, checkpoint=tmp_path / "chosen", compile=True)


@pytest.mark.usefixtures("at_no_cost")
def test_without_a_compiler_nothing_is_tried() -> None:
    with torch._inductor.config.patch({"cpp.cxx": (None, "/nowhere/g++")}):
        found = trained()[0]
    assert found.compiled == "eager: no C++ compiler was found"


def test_what_was_compiled_when_told_to_is_known_to_be_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later training, or evaluation, that may choose takes it at once."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    model = member("VAE").double()
    may_choose = steps(model, [X], steps=2).step
    of_steps, of_draws = may_choose.about(kind_of((X,))), choice.described(model)
    trained(2, model=model, compile=False)
    assert not kept.is_noted(of_steps)
    trained(2, model=model, compile=True)
    assert kept.is_noted(of_steps)
    assert not kept.is_noted(of_draws)
    evaluate(model, [X] * 3, particles=2, progress=False, compile=True)
    assert kept.is_noted(of_draws)


def test_several_processes_never_choose() -> None:
    """Their clocks differ: None is False there."""
    here = Alone()
    assert [here.compiles(given) for given in (None, True, False)] == [None, True, False]
    here.world = World(0, 2)
    assert [here.compiles(given) for given in (None, True, False)] == [False, True, False]
