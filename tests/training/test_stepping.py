"""Steps to iterate over: `fit` taken apart, paused, changed on the way and stopped."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from zoo import fixed, member

from vaezoo import ELBO, NonFiniteLoss, data, evaluate, fit
from vaezoo.training import steps

X = fixed(30)
PIXELS = data.Images((255 * X).byte(), binarisation="dynamic")
OPTIONS: dict[str, Any] = {"batch_size": 7, "steps": 12, "log_every": 5, "validation": [X[:4]]}


def test_fit_is_a_loop_over_them() -> None:
    """Weights, records and random draws bitwise those of `fit`, also with pauses between."""
    found = []
    for pauses in ((), (1, 2, 5, 11, 12)):
        torch.manual_seed(3)
        model, whole = member("VAE"), member("VAE")
        whole.load_state_dict(model.state_dict())
        state = torch.get_rng_state()
        expected = fit(whole, PIXELS, **OPTIONS, progress=False)
        after = torch.rand(1)
        torch.set_rng_state(state)
        training = steps(model, PIXELS, **OPTIONS)
        taken = []
        for pause in (*pauses, None):
            for step in training:
                taken.append(step)
                if step.step == pause:
                    break
            evaluate(model, [X[:2]], particles=1)
        assert [t.step for t in taken] == list(range(1, 13))
        assert [t.step for t in taken if t.record] == [5, 10]
        assert {n: v for n, v in training.history.items() if n != "seconds"} == {
            n: v for n, v in expected.items() if n != "seconds"
        }
        assert all(map(torch.equal, model.parameters(), whole.parameters()))
        assert torch.equal(torch.rand(1), after)
        found.append(expected["loss"])
    assert found[0] == found[1]


def test_what_a_step_says() -> None:
    """The terms of one step are those of the batch, and a record is their mean, to 1e-6."""
    training = steps(member("VAE"), [X[:5], X[5:9]], steps=4, log_every=2, history={})
    taken = list(training)
    for record, pair in ((taken[1].record, taken[:2]), (taken[3].record, taken[2:])):
        assert record is not None
        mean = sum(t.terms["loss"].item() for t in pair) / 2
        assert record["loss"] == pytest.approx(mean, rel=1e-6)
    assert set(taken[0].terms) == {"loss", "bound", "rec", "kl"}
    assert taken[0].record is None
    assert list(training) == []


def test_between_two_loops_all_is_as_it_was() -> None:
    """The mode of the model, and denormal numbers."""
    model, tiny = member("VAE").eval(), torch.full((1,), 1e-40)
    training = steps(model, [X], steps=9)
    for _ in training:
        assert model.training
        assert (tiny * 1).item() == 0
        break
    assert not model.training
    assert (tiny * 1).item() > 0
    for _ in training:
        assert model.training
    assert not model.training


def test_it_can_be_changed_and_stopped() -> None:
    """At rate 0 nothing moves; stopped, what was not recorded yet is, and no step follows."""
    model = member("VAE")
    training = steps(model, [X], steps=100, log_every=3)
    for taken in training:
        if taken.step == 4:
            break
    before = [p.clone() for p in model.parameters()]
    training.step.optimizer.param_groups[0]["lr"] = 0.0
    for taken in training:
        if taken.step == 8:
            training.stop()
    assert all(map(torch.equal, before, model.parameters()))
    assert training.history["step"] == [3, 6, 8]
    assert (training.ended, training.history.stopped, list(training)) == (True, False, [])
    paused = steps(model, [X], steps=100, log_every=3)
    next(iter(paused))
    paused.stop()
    assert (list(paused), paused.history["step"]) == ([], [1])


def test_errors_carry_the_history_and_interrupts_the_steps() -> None:
    class Failing(ELBO):
        taken = 0

        def step(self) -> None:
            self.taken += 1
            if self.taken == 4:
                raise KeyboardInterrupt

    training = steps(member("VAE"), [X], Failing(), steps=9, log_every=3)
    with pytest.raises(KeyboardInterrupt) as caught:
        list(training)
    assert caught.value.history["step"] == [3]
    poisoned = steps(member("VAE"), [X, torch.full_like(X, torch.nan)], steps=9, log_every=1)
    with pytest.raises((NonFiniteLoss, ValueError)) as broken:
        list(poisoned)
    assert broken.value.history["step"] == [1]  # type: ignore[union-attr]


def test_a_loop_that_goes_on_behind_an_interrupt_is_validated() -> None:
    """All but the record that the interrupt made, as validation may be what it was in."""
    training = steps(member("VAE"), PIXELS, **{**OPTIONS, "log_every": 2})
    model, calls = training.step.bound.model, iter(range(100))

    def press(*_: Any) -> None:
        if model.training and next(calls) == 5:
            raise KeyboardInterrupt

    hook = model.posterior.register_forward_pre_hook(press)
    with pytest.raises(KeyboardInterrupt):
        list(training)
    hook.remove()
    list(training)
    found = training.history["validation_loss"]
    assert len(found) > 4
    assert sum(value != value for value in found) <= 1  # NaN
    assert found[-1] == found[-1]


def test_bad_arguments_are_refused_before_a_loop() -> None:
    with pytest.raises(ValueError, match="give steps or epochs, not both"):
        steps(member("VAE"), [X], steps=1, epochs=1)
    with pytest.raises(TypeError, match="iterable of batches, got a int"):
        steps(member("VAE"), 3)
