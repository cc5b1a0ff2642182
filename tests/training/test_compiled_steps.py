"""Compiled steps beside eager ones, whatever is done to model and optimizer between them."""

from __future__ import annotations

import copy
import math
import pickle
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import optimizer as optimizers
from zoo import images, member

from vaezoo import ELBO, Bound
from vaezoo.compiler.adam import AdamUpdate
from vaezoo.scopes import unchecked
from vaezoo.training.step import Step
from vaezoo.training.untrained import Untrained

X = images()


class Counting(ELBO):
    """An objective that keeps a large mean of what it has seen, and a small one."""

    def estimate(self, model: Any, guide: Any, *batch: Tensor, **options: Any) -> Any:
        owner = model.__self__
        with torch.no_grad():
            for buffer in (owner.large, owner.small):
                buffer.mul_(0.9).add_(0.1 * batch[0].mean())
        return super().estimate(model, guide, *batch, **options)


def made(optimizer: Any = torch.optim.Adam, backend: str | None = "eager", **options: Any) -> Step:
    """A step of a VAE with such means."""
    torch.manual_seed(0)
    vae = member("VAE")
    vae.register_buffer("large", torch.zeros(5_000))
    vae.register_buffer("small", torch.zeros(10))
    step = Step(Bound(vae, Counting()), optimizer(vae.parameters(), lr=1e-2), **options)
    return step if backend is None else step.compile(backend)


def take(step: Step, n: int = 5, seed: int = 0) -> list[float]:
    found = []
    for i in range(n):
        torch.manual_seed(seed + i)
        found.append(step(X)["loss"].item())
    return found


def state(step: Step) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in step.bound.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


UPDATES = [
    (torch.optim.Adam, {}),
    (torch.optim.SGD, {}),
    (torch.optim.Adam, {"max_grad_norm": 1.0}),
]


@pytest.mark.parametrize(
    ("optimizer", "options", "backend"),
    [*((*u, b) for u in UPDATES for b in (None, "eager")), (torch.optim.Adam, {}, "inductor")],
)
def test_means_of_any_size_come_back_from_a_broken_step(optimizer, options, backend) -> None:
    """In a step of the same shape, and in one that runs eagerly since it has another."""
    step = made(optimizer, backend, **options)
    take(step)
    for n in (len(X), len(X) - 1):
        before = state(step)
        with unchecked():
            step(torch.full_like(X[:n], math.nan))
        assert step.broken == "loss"
        assert same(state(step), before)
        assert before["model.large"][0].item() > 0.1


def test_what_a_compiled_step_writes_into_cannot_be_differentiated_by_afterwards() -> None:
    step = made(backend="inductor")
    take(step)
    logits = step.bound.model.likelihood.network(torch.randn(3, 3)).sum()
    step(X)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        logits.backward()


@pytest.mark.parametrize("again", [copy.deepcopy, lambda step: pickle.loads(pickle.dumps(step))])
def test_a_copy_takes_the_same_steps(again: Callable[[Step], Step]) -> None:
    step = made()
    take(step)
    copied = again(step)
    assert take(copied, seed=9) == pytest.approx(take(step, seed=9), rel=1e-6)
    before = state(copied)
    with unchecked():
        copied(torch.full_like(X, math.nan))
    assert same(state(copied), before)
    assert copied.compiled is not None
    assert copied.compiled.update is not None
    assert copied.compiled.serves


def double(step: Step) -> None:
    step.bound.double()


def cleared(step: Step) -> None:
    for each in step.optimizer.state.values():
        each.clear()


def other_strides(step: Step) -> None:
    for each in step.optimizer.state.values():
        if each["exp_avg"].dim() == 2:
            each["exp_avg"] = each["exp_avg"].T.contiguous().T


def wider(step: Step) -> None:
    for each in step.optimizer.state.values():
        each["exp_avg_sq"] = each["exp_avg_sq"].double()


@pytest.mark.parametrize("change", [cleared, other_strides, wider])
def test_an_optimizers_state_may_be_changed(change: Callable[[Step], None]) -> None:
    """By Inductor, which reads moments as they lay when it compiled."""
    steps = [made(backend=None), made(backend="inductor")]
    for step in steps:
        take(step)
        if step.compiled is not None or change is not wider:  # torch's own takes no other dtype
            change(step)
    found = [take(step, seed=9) for step in steps]
    assert found[1] == pytest.approx(found[0], rel=1e-4)


def test_a_model_may_change_its_dtype_before_the_first_step() -> None:
    steps = [made(backend=None), made()]
    found = []
    for step in steps:
        double(step)
        torch.manual_seed(1)
        found.append([step(X.double())["loss"].item() for _ in range(5)])
    assert found[1] == pytest.approx(found[0], rel=1e-10)
    assert steps[1].compiled is not None
    assert steps[1].compiled.serves


def test_hooks_for_all_optimizers_run() -> None:
    called: list[Any] = []
    step = made()
    take(step)
    handle = optimizers.register_optimizer_step_post_hook(lambda *given: called.append(given))
    try:
        take(step)
    finally:
        handle.remove()
    assert len(called) == 5


def test_a_step_of_the_optimizer_that_was_replaced_runs() -> None:
    step, called = made(), []
    take(step)
    step.optimizer.step = lambda closure=None: called.append(1)  # type: ignore[method-assign]
    take(step)
    assert len(called) == 5


def test_a_schedulers_wrapper_is_no_other_step() -> None:
    step = made()
    torch.optim.lr_scheduler.ConstantLR(step.optimizer)
    take(step)
    assert step.compiled is not None
    assert step.compiled.updated


def test_a_forward_that_was_set_on_the_bound_runs() -> None:
    step = made()
    take(step)
    forward = step.bound.forward
    step.bound.forward = lambda *b: {n: 10 * t for n, t in forward(*b).items()}  # type: ignore[method-assign]
    eager = made(backend=None)
    take(eager)
    assert take(step, 1, 9) == pytest.approx([10 * take(eager, 1, 9)[0]], rel=1e-4)


def test_what_is_finite_is_finite_compiled() -> None:
    """Gradients whose sum is not, and those of what the optimizer does not train."""

    class Large(Bound):
        def eager(self, *batch: Tensor) -> dict[str, Tensor]:
            terms, more = super().eager(*batch), self.model.lost.sqrt() - 5e37 * weight.sum()
            return terms | {"loss": terms["loss"] + more}

    weight, lost = nn.Parameter(torch.zeros(16)), nn.Parameter(torch.zeros(()))
    vae = member("VAE")
    vae.weight, vae.lost = weight, lost
    trained = [p for name, p in vae.named_parameters() if name != "lost"]
    step = Step(Large(vae), torch.optim.Adam(trained)).compile("eager")
    for _ in range(4):
        step(X)
        assert not step.broken
    assert step.compiled is not None
    assert step.compiled.updated
    assert step.optimizer.state[weight]["step"].item() == 4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_steps_are_counted_as_torch_counts_them(dtype: torch.dtype) -> None:
    torch.set_default_dtype(dtype)
    try:
        counts = []
        for backend in (None, "eager"):
            step = made(backend=backend)
            for _ in range(3):
                step(X.to(dtype))
            counts.append(next(iter(step.optimizer.state.values()))["step"])
    finally:
        torch.set_default_dtype(torch.float32)
    assert counts[0].dtype == counts[1].dtype
    assert counts[0].item() == counts[1].item() == 3


def test_complex_parameters_are_the_optimizers() -> None:
    net = nn.Linear(2, 2, dtype=torch.complex64)
    assert not AdamUpdate.fits(torch.optim.Adam(net.parameters()))


@pytest.mark.parametrize("scale", [0.0, 1e-7])
def test_gradients_that_are_small_beside_the_moments_are_right(scale: float) -> None:
    """By the first run, which has them from the moments."""

    class Scaled(Bound):
        scale = 1.0

        def eager(self, *batch: Tensor) -> dict[str, Tensor]:
            terms = super().eager(*batch)
            return terms | {"loss": terms["loss"] * self.scale}

    vae = member("VAE")
    bound = Scaled(vae)
    step = Step(bound, torch.optim.Adam(vae.parameters(), lr=1e-3))
    take(step, 10)
    bound.scale = scale
    step.compile("eager")
    take(step, 4)
    assert step.compiled is not None
    assert step.compiled.serves


def test_steps_in_threads_take_turns() -> None:
    """And leave torch and Pyro as they were."""
    before = nn.Module.__call__, nn.Module.__getattr__
    steps, errors = [made() for _ in range(3)], []

    def work(step: Step) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                for _ in range(4):
                    step(X)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(step,)) for step in steps]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not errors
    assert all(step.compiled is not None and step.compiled.serves for step in steps)
    assert (nn.Module.__call__, nn.Module.__getattr__) == before


class Scripted(nn.Module):
    """A VAE with a part that torch.jit has made, and a buffer inside it."""

    def __init__(self, *, traced: bool) -> None:
        super().__init__()
        self.vae = member("VAE")
        part = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
        part[0].bias.requires_grad_(False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says that it has something newer
            x = torch.rand(6, 3)
            self.part = torch.jit.trace(part, x) if traced else torch.jit.script(part)

    def model(self, x: Tensor) -> None:
        self.vae.model(x + self.part(torch.ones(6, 3).cumsum(0)).mean().tanh() * 0)

    def guide(self, x: Tensor) -> None:
        self.vae.guide(x)


@pytest.mark.parametrize("traced", [False, True])
def test_modules_of_torch_jit_are_trained_eagerly(traced: bool) -> None:
    """After one warning that says why, where steps were to be compiled; buffers come back."""
    found = []
    for compiling in (False, True):
        torch.manual_seed(0)
        pair, x = Scripted(traced=traced), images()
        step = Step(Bound(pair), torch.optim.Adam(pair.parameters()))
        if compiling:
            step.compile("eager")
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found.append([step(x)["loss"].item() for _ in range(4)])
        messages = [str(w.message) for w in said if issubclass(w.category, UserWarning)]
        assert len(messages) == compiling
        assert all("a module of torch.jit holds cannot be watched" in text for text in messages)
    assert found[0] == found[1]


@pytest.mark.parametrize("traced", [False, True])
def test_buffers_of_torch_jit_come_back(traced: bool) -> None:
    pair = Scripted(traced=traced)
    untrained, before = Untrained(pair), copy.deepcopy(pair.state_dict())
    untrained.keep()
    pair.part(torch.full((6, 3), torch.nan))
    untrained.put_back()
    after = pair.state_dict()
    assert all(torch.equal(t, after[name]) for name, t in before.items())
