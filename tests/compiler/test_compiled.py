"""`Bound.compile`, `fit(compile=True)` and `precision="bf16"` against the eager float32 bound.

Most combinations run the traced graph without Inductor, which costs seconds for each graph; what
Inductor adds to it, rounding and memory of its own, is tested on a few.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from compiling import OBJECTIVES, Pair, assert_close, batch_of, compiled, step, traced
from pyro.infer import Trace_ELBO, TraceGraph_ELBO
from torch import Tensor, nn
from torch.fx import GraphModule
from zoo import (
    CLASSES,
    EACH_PART,
    INFERS,
    LATE_LABEL,
    MEMBERS,
    X_SHAPE,
    Z_DIM,
    batch_for,
    images,
    member,
    with_parts,
)

from vaezoo import ELBO, IWELBO, Bound, SemiSupervised, models, posteriors, priors, save
from vaezoo.evaluation import evaluate
from vaezoo.objectives import WarmUp
from vaezoo.training import steps

CASES = [
    (name, objective)
    for name in MEMBERS
    for objective in OBJECTIVES
    if (objective != "semi" or name in INFERS)
    and (objective in ("elbo", "beta", "semi") or name not in LATE_LABEL)  # they refuse labels late
]


@pytest.mark.parametrize(("name", "objective"), CASES)
def test_the_traced_graph_is_the_eager_bound(name: str, objective: str) -> None:
    """Every member and objective, terms and all gradients under the same noise: to 1e-12."""
    bound = Bound(member(name).double(), OBJECTIVES[objective]())
    batch = batch_of(name, bound.objective, torch.float64)
    eager = step(bound, *batch)
    assert_close(eager, step(compiled(bound, *batch), *batch), 1e-12)


@pytest.mark.parametrize(
    ("objective", "parts"),
    # every prior and posterior is among the first five
    [*(("elbo", parts) for parts in EACH_PART), *(("dreg", parts) for parts in EACH_PART[:5])],
    ids=lambda v: v if isinstance(v, str) else "-".join(v),
)
def test_other_parts(parts: tuple[str, str, str], objective: str) -> None:
    """Masks and permutations are buffers, VampPrior's posterior is another part: to 1e-12."""
    bound, x = Bound(with_parts("VAE", *parts), OBJECTIVES[objective]()), images()
    compiled(bound, x)
    bound, x = bound.double(), x.double()
    eager = step(Bound(bound.model, bound.objective), x)
    for _ in range(2):
        bound(x)
    assert traced(bound) == 1
    assert_close(eager, step(bound, x), 1e-12)


def test_weights_are_read_anew() -> None:
    """Ten steps of Adam end at the same weights as eagerly, to 1e-6."""
    vae, x = member("VAE"), images()
    twin = copy.deepcopy(vae)
    for model, compiling in ((vae, False), (twin, True)):
        bound = Bound(model).compile("eager") if compiling else Bound(model)
        optimizer = torch.optim.Adam(bound.parameters(), lr=1e-2)
        torch.manual_seed(1)
        for _ in range(10):
            optimizer.zero_grad()
            bound(x)["loss"].backward()
            optimizer.step()
    for p, q in zip(vae.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-6)


def test_shapes_are_traced_at_their_second_batch_four_at_most() -> None:
    """A shape that comes once costs nothing; the fifth runs eagerly, after one warning."""
    bound = Bound(member("VAE")).compile("eager")
    counts = []
    for n in (6, 6, 6, 2, 6, 2, 3, 3, 4, 4):
        x = images(n)
        assert_close(step(Bound(bound.model), x), step(bound, x), 1e-6)
        counts.append(traced(bound))
    assert counts == [0, 1, 1, 1, 1, 2, 2, 3, 3, 4]
    x = images(5)
    bound(x)
    with pytest.warns(UserWarning, match="4 steps have been compiled, and 4 are in use"):
        bound(x)
    assert_close(step(Bound(bound.model), x), step(bound, x), 1e-6)


def swap_prior(bound: Bound) -> None:
    bound.model.prior = priors.MixtureOfGaussians(Z_DIM, k=4)


def swap_inner_layer(bound: Bound) -> None:
    bound.model.posterior.network.rest[0] = nn.Tanh()


def swap_guide(bound: Bound) -> None:
    posterior = bound.model.posterior

    def guide(x: Tensor) -> Tensor:
        with pyro.plate("data", len(x)):
            return pyro.sample("z", dist.Normal(posterior(x).mean, 0.5).to_event(1))

    bound.model.guide = guide


CHANGES: list[Callable[[Bound], Any]] = [
    swap_prior,
    swap_inner_layer,
    swap_guide,
    lambda b: setattr(b, "objective", IWELBO(3)),
    lambda b: setattr(b.objective, "beta", 3.0),
    lambda b: setattr(b, "precision", "bf16"),
    lambda b: b.eval(),
    lambda b: b.model.likelihood.requires_grad_(False),
    lambda b: b.model.load_state_dict({n: t + 0.1 for n, t in b.model.state_dict().items()}),
    lambda b: b.model.posterior.network.register_forward_hook(lambda m, i, out: 0.5 * out),
    lambda b: b.model.likelihood.network.register_full_backward_hook(lambda m, i, o: (i[0] / 2,)),
]


@pytest.mark.parametrize("change", CHANGES)
def test_no_change_is_overlooked(change: Callable[[Bound], Any]) -> None:
    """After each kind of change the compiled bound is the eager one, at the next call and later."""
    posterior = posteriors.DiagonalNormal(X_SHAPE, Z_DIM, hidden=(8, 6))
    posterior.network.rest.insert(1, nn.Dropout(0.5))
    bound, x = Bound(member("VAE", posterior=posterior), ELBO(beta=2.0)), images()
    compiled(bound, x)
    change(bound)
    for _ in range(3):
        eager = Bound(bound.model, bound.objective, precision=bound.precision)
        eager.training = bound.training
        assert_close(step(eager, x), step(bound, x), 1e-6)
    assert traced(bound) >= 1


def test_modes_have_their_own_graphs() -> None:
    """Going back and forth between training and evaluation compiles twice, not each time."""
    bound, x = Bound(member("VAE")), images()
    compiled(bound, x)
    for _ in range(3):
        for mode in (False, True):
            bound.train(mode)
            bound(x), bound(x)
    assert bound.compiled is not None
    assert bound.compiled.made == 2


def test_schedules_are_inputs() -> None:
    """β moves on with no new graph, in the loss and in the report, inside SemiSupervised too."""
    warm_up = WarmUp(4, start=0.2)
    objective = SemiSupervised(ELBO(beta=warm_up))
    bound = Bound(member("SSVAE"), objective)
    batch = batch_of("SSVAE", objective, torch.float32)
    compiled(bound, *batch)
    for _ in range(3):
        objective.step()
        found = step(bound, *batch)
        assert found[0]["beta"].item() == pytest.approx(warm_up.value)
        assert_close(step(Bound(bound.model, objective), *batch), found, 1e-6)
    assert bound.compiled is not None
    assert bound.compiled.made == 1


def test_frozen_parts() -> None:
    """M1M2 on a frozen VAE: no gradient there; after thawing, gradients everywhere."""
    m1 = models.VAE(X_SHAPE, 3, hidden=(8,))
    bound = Bound(models.M1M2.from_m1(m1, 2, classes=CLASSES, upper_hidden=(5,)))
    batch = batch_of("M1M2", bound.objective, torch.float32)
    compiled(bound, *batch)
    step(bound, *batch)
    assert all(p.grad is None for p in bound.model.posterior.parameters())
    bound.requires_grad_(True)
    for _ in range(3):
        found = step(bound, *batch)
    assert all(p.grad is not None for p in bound.model.posterior.parameters())
    assert_close(step(Bound(bound.model, bound.objective), *batch), found, 1e-6)


def test_gradients_of_gradients_are_refused() -> None:
    bound, x = Bound(member("VAE")), images()
    loss = compiled(bound, x)(x)["loss"]
    with pytest.raises(RuntimeError, match=r"create_graph=True\): use bound.eager"):
        torch.autograd.grad(loss, list(bound.parameters()), create_graph=True)


def test_an_outer_autocast_runs_eagerly() -> None:
    calls: list[GraphModule] = []
    bound, x = Bound(member("VAE")), images()
    bound.compile(lambda g, _: lambda *a: calls.append(g) or g(*a))
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            for _ in range(3):
                bound(x)
    assert len(calls) == 2


def test_pyros_objectives_run() -> None:
    bound, x = Bound(member("VAE"), Trace_ELBO()).compile("eager"), images()
    bound(x)
    with pytest.warns(UserWarning, match="runs eagerly"):
        bound(x)
    assert bound(x)["loss"].requires_grad


def test_an_objective_of_pyros_that_fails_leaves_gradients_alone() -> None:
    def fails(x: Tensor) -> None:
        raise ZeroDivisionError

    pair = Pair(nn.Linear(16, 2))
    pair.decoder.weight.grad = kept = torch.ones(16, 2)
    pair.model = fails
    with pytest.raises(ZeroDivisionError):
        Bound(pair, TraceGraph_ELBO())(images())
    assert pair.decoder.weight.grad is kept


def test_seeds_repeat() -> None:
    """Tracing takes no random numbers: with and without it the noise of a run is the same."""
    x = images()
    runs = []
    for compiling in (False, True, True):
        bound = Bound(member("VAE"))
        bound.load_state_dict({n: torch.full_like(t, 0.1) for n, t in bound.state_dict().items()})
        if compiling:
            bound.compile("eager")
        torch.manual_seed(3)
        runs.append([bound(x)["loss"].item() for _ in range(4)])
    assert runs[1] == runs[2] == pytest.approx(runs[0], rel=1e-6)
    assert len(set(runs[0])) == 4


def test_bad_batches_are_refused_until_one_was_good() -> None:
    """The first of each shape and dtype is looked over; a refused one does not count."""
    bound, x = Bound(member("VAE")).compile("eager"), images()
    for _ in range(3):
        with pytest.raises(ValueError, match="needs pixels that are 0 or 1"):
            bound(x * 0.5)
    compiled(bound, x)
    with pytest.raises(ValueError, match="expected images of dtype"):
        bound(x.double())
    with pytest.raises(ValueError, match="expected images"):
        bound(x[..., :3])
    training = steps(bound.model, [x, x, x * 0.5], progress=False)
    training.step.compile("eager")
    with pytest.raises(ValueError, match="needs pixels that are 0 or 1"):
        list(training)


def test_gradients_accumulate_and_scale_as_autograds_do() -> None:
    """A scaled loss, sums over calls, a second backward pass, a batch with a gradient."""
    bound, x = compiled(Bound(member("VAE")), images()), images()
    _, one = step(bound, x)
    one = [g.clone() for g in one if g is not None]
    torch.manual_seed(1)
    loss = bound(x)["loss"]
    (3 * loss).backward(retain_graph=True)
    loss.backward()
    for p, g in zip(bound.parameters(), one, strict=True):
        torch.testing.assert_close(p.grad, 5 * g)
    with pytest.raises(RuntimeError, match="was differentiated before"):
        loss.backward()
    x.requires_grad_()
    bound(x)["loss"].backward()
    assert x.grad is not None


def test_copies_and_checkpoints_of_a_compiled_bound(tmp_path: Any) -> None:
    """A copy has weights and graphs of its own, and the model is saved as ever."""
    from vaezoo import load

    bound, x = compiled(Bound(member("VAE")), images()), images()
    twin = copy.deepcopy(bound)
    with torch.no_grad():
        for p in twin.parameters():
            p.zero_()
    assert traced(twin) == 0
    for _ in range(2):
        twin(x)
    assert traced(twin) == 1
    assert_close(step(Bound(twin.model), x), step(twin, x), 1e-6)
    assert_close(step(Bound(bound.model), x), step(bound, x), 1e-6)
    again = load(save(bound.model, tmp_path / "vae.safetensors"))
    assert_close(step(Bound(again), x), step(bound, x), 1e-6)


@pytest.mark.parametrize("name", MEMBERS)
def test_evaluation_is_the_same(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Same draws, same estimates to 1e-9: 7 draws at a time of 28, or 5 of 13 and a rest of 3."""
    model = member(name).double()
    x, *y = batch_for(name, 3, dtype=torch.float64)
    batches = [(x, *y), (x.flip(0), *y)]
    each = CLASSES if hasattr(model, "classify") else 1
    traced: list[str] = []

    def compile_(bound: Bound, **options: Any) -> Bound:
        return compiling(bound, lambda g, _: traced.append(name) or g.forward, **options)

    compiling = Bound.compile
    monkeypatch.setattr(Bound, "compile", compile_)
    for k, at_a_time, graphs in ((28, 8, 1), (13, 5, 2)):
        asked = {"particles": (1, k), "max_decodes": at_a_time * each, "progress": False}
        eager = evaluate(model, batches, **asked)
        traced.clear()
        found = evaluate(model, batches, **asked, compile=True)
        assert len(traced) == graphs
        for quantity, estimate in eager.items():
            assert found[quantity] == pytest.approx(estimate, rel=1e-9)
