"""`fit(average=…)`: against averages by hand, what validation and callbacks see, exact resume."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from compiling import Pair
from torch import Tensor, nn
from zoo import fixed, images, member

from vaezoo import data, evaluate, fit, models
from vaezoo.training import KeepBest, steps
from vaezoo.training.averaging import Averages

BATCH, OTHER, STEPS, DECAY = images(8), images(5), 7, 0.6


def start() -> Any:
    torch.manual_seed(0)
    model = member("VAE")
    torch.manual_seed(1)
    return model


def weights(model: Any) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()]).clone()


def followed(n: int = STEPS) -> list[Tensor]:
    """The weights before the first step and after each, without averages."""
    model = start()
    training = steps(model, [BATCH], steps=n)
    return [weights(model), *(weights(model) for _ in training)]


def by_hand(seen: list[Tensor]) -> Tensor:
    average = seen[0].double()
    for t, w in enumerate(seen[1:], 1):
        decay = min(DECAY, (1 + t) / (10 + t))
        average = decay * average + (1 - decay) * w.double()
    return average


@pytest.mark.parametrize("backend", [None, "aot_eager"])
def test_the_model_ends_with_the_average(backend: str | None) -> None:
    """In float32 to 1e-6; and training itself is as without."""
    paths, ends = [], []
    for average in (None, DECAY):
        model = start()
        training = steps(model, [BATCH], steps=STEPS, average=average)
        if backend is not None:
            training.step.compile(backend)
        paths.append([weights(model), *(weights(model) for _ in training)])
        ends.append(weights(model))
    assert all(map(torch.equal, *paths))
    assert ends[0].equal(paths[0][-1])
    torch.testing.assert_close(ends[1].double(), by_hand(paths[0]), rtol=1e-5, atol=1e-6)
    assert not ends[1].equal(ends[0])


def test_what_judges_the_model_sees_the_average() -> None:
    """Validation, callbacks and what they keep; the weights come back after an error too."""
    model, seen = start(), []
    best = KeepBest(model)

    def look(record: dict[str, float]) -> None:
        seen.append(weights(model))

    history = fit(model, [BATCH], steps=STEPS, log_every=1, progress=False, average=DECAY,
                  validation=[OTHER], callback=[look, best])  # fmt: skip
    path = followed()
    for t, found in enumerate(seen, 1):
        torch.testing.assert_close(found.double(), by_hand(path[: t + 1]), rtol=1e-5, atol=1e-6)
    assert weights(model).equal(seen[-1])
    assert best.best.step == 1 + min(range(STEPS), key=history["validation_loss"].__getitem__)
    assert weights(best.restore()).equal(seen[best.best.step - 1])
    judged = fit(model, [BATCH], steps=1, lr=0.0, progress=False, validation=[OTHER])
    at_best = history["validation_loss"][best.best.step - 1]
    assert judged["validation_loss"] == [pytest.approx(at_best, rel=1e-6)]


def program() -> tuple[Any, Callable[[], Tensor]]:
    """A pair with a `pyro.param` and a network outside it, and what gives all that is trained."""
    pyro.clear_param_store()
    torch.manual_seed(0)
    outside = nn.Linear(16, 2)
    pair = Pair(outside)
    pair.model(fixed(8))
    torch.manual_seed(1)

    def trained() -> Tensor:
        scale = pyro.param("scale").unconstrained().detach()
        return torch.cat([weights(pair), weights(outside), scale.view(1)])

    return pair, trained


def test_what_a_program_trains_is_averaged_and_kept_too(tmp_path: Path) -> None:
    """To 1e-5 by hand; those of a record come back whole, also from a run that went on behind it."""
    pair, trained = program()
    path = [trained(), *(trained() for _ in steps(pair, [fixed(8)], steps=STEPS, lr=0.1))]
    averaged = by_hand(path)
    assert (averaged - path[-1])[-1].abs() > 1e-3
    seen: list[Tensor] = []

    def run(n: int) -> tuple[KeepBest, Callable[[], Tensor]]:
        pair, trained = program()
        best = KeepBest(pair, term="step")  # the first
        fit(pair, [fixed(8)], steps=n, lr=0.1, log_every=1, progress=False, average=DECAY,
            callback=[best, lambda record: seen.append(trained())],
            checkpoint=tmp_path, every=1)  # fmt: skip
        return best, trained

    for n in (4, STEPS):
        best, trained = run(n)
    torch.testing.assert_close(trained().double(), averaged, rtol=1e-5, atol=1e-5)
    best.restore()
    assert trained().equal(seen[0])


def test_the_best_comes_back_without_a_program_that_is_gone() -> None:
    """What its parameters were is nobody's any more; the model's own are put back."""
    pair, _ = program()
    best, seen = KeepBest(pair, term="step"), list[Tensor]()
    options: Any = {"steps": 2, "log_every": 1, "progress": False}
    fit(pair, [fixed(8)], callback=[best, lambda record: seen.append(weights(pair))], **options)
    pair.call[0] = nn.Linear(16, 2).requires_grad_(False)
    fit(pair, [fixed(8)], **options)
    assert weights(best.restore()).equal(seen[0])


def test_averages_of_older_checkpoints() -> None:
    """They have none of a program's parameters: their averages begin where the run goes on."""
    weights = [torch.tensor([1.0]), torch.tensor([2.0, 3.0])]
    averages = Averages([torch.zeros(1), *weights[1:]], DECAY)
    weights[1] += 1
    averages.load_state_dict({"steps": 9, "averages": weights[:1]})
    assert [a.tolist() for a in averages.state_dict()["averages"]] == [[1.0], [3.0, 4.0]]


def test_weights_come_back_where_a_callback_fails() -> None:
    model = start()

    def fail(record: dict[str, float]) -> None:
        raise KeyError("callback")

    with pytest.raises(KeyError):
        fit(model, [BATCH], steps=3, log_every=2, progress=False, average=DECAY, callback=fail)
    assert weights(model).equal(followed(2)[-1])


def test_what_a_callback_writes_into_weights_is_kept() -> None:
    """In the weights and in their average, as it is kept without averages; the others go on."""
    ends = []
    for average in (None, 0.9):
        torch.manual_seed(0)
        vae = member("VAE")
        head = vae.likelihood.network.rest[1]

        def write(record: dict[str, float], head: nn.Linear = head) -> None:
            if record["step"] == 3:
                nn.init.constant_(head.bias, 0.5)

        options: dict[str, Any] = {"log_every": 1, "progress": False, "lr": 1e-3}
        fit(vae, [images()], steps=5, average=average, callback=write, **options)
        ends.append(head.bias.detach().clone())
    assert all((end > 0.49).all() for end in ends)
    torch.testing.assert_close(*ends, atol=2e-3, rtol=0)


def test_frozen_weights_and_buffers_stay() -> None:
    model = start()
    model.likelihood.requires_grad_(False)
    before = copy.deepcopy(model.likelihood.state_dict())
    fit(model, [BATCH], steps=3, progress=False, average=DECAY)
    assert all(map(torch.equal, before.values(), model.likelihood.state_dict().values()))


@pytest.mark.parametrize("stop", [3, 4, 7])
def test_a_run_goes_on_bitwise(tmp_path: Path, stop: int) -> None:
    """Stopped at any step, with the averages in the file; a complete run is given them again."""

    def run(folder: str, n: int) -> Any:
        model = start()
        fit(model, [BATCH], steps=n, progress=False, average=DECAY, log_every=2,
            validation=[OTHER], checkpoint=tmp_path / folder, every=2)  # fmt: skip
        return model

    unbroken = run("a", STEPS)
    run("b", stop)
    assert weights(run("b", STEPS)).equal(weights(unbroken))
    assert weights(run("b", STEPS)).equal(weights(unbroken))


def test_a_bound_of_averages_is_better_at_a_high_rate() -> None:
    """On digits after 200 steps at a rate of 0.02, by two nats at least."""
    found = []
    for average in (None, 0.98):
        torch.manual_seed(0)
        vae = models.VAE(z_dim=5, hidden=(50,))
        fit(vae, data.digits(), steps=200, lr=0.02, progress=False, average=average)
        found.append(evaluate(vae, data.digits("test")[:500], particles=(1,), progress=False))
    assert found[1]["nelbo"].mean < found[0]["nelbo"].mean - 2


@pytest.mark.parametrize("decay", [0, 1, -0.5, 1.5, "0.9", True, float("nan")])
def test_bad_decays(decay: Any) -> None:
    with pytest.raises(ValueError, match="average must be a decay above 0 and below 1, got"):
        fit(member("VAE"), [BATCH], steps=1, average=decay)
