"""`Bound.compile`, `fit(compile=True)` and `precision="bf16"` against the eager float32 bound.

Most combinations run the traced graph without Inductor, which costs seconds for each graph; what
Inductor adds to it, rounding and memory of its own, is tested on a few.
"""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceGraph_ELBO, autoguide
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
    labels,
    member,
    with_parts,
)

from vaezoo import ELBO, IWELBO, Bound, SemiSupervised, data, fit, models, posteriors, priors, save
from vaezoo.components import Component
from vaezoo.evaluation import evaluate
from vaezoo.networks.precision import networks_lowered_to
from vaezoo.objectives import Objective, Renyi, WarmUp

OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "elbo": ELBO,
    "beta": lambda: ELBO(beta=2.0, free_bits=0.5, particles=2),
    "iwae": lambda: IWELBO(4),
    "stl": lambda: IWELBO(4, estimator="stl"),
    "dreg": lambda: IWELBO(4, estimator="dreg"),
    "renyi": lambda: Renyi(0.5, particles=3),
    "semi": lambda: SemiSupervised(ELBO(beta=WarmUp(10, start=0.3)), alpha=2.0),
}
CASES = [
    (name, objective)
    for name in MEMBERS
    for objective in OBJECTIVES
    if (objective != "semi" or name in INFERS)
    and (objective in ("elbo", "beta", "semi") or name not in LATE_LABEL)  # they refuse labels late
]
Result = tuple[dict[str, Tensor], list[Tensor | None]]

aten = torch.ops.aten
PRODUCTS_ASKED = (aten.mm.default, aten.addmm.default)
PRODUCTS = ("aten::mm", "aten::addmm", "mkldnn::_linear_pointwise")


def batch_of(name: str, objective: Any, dtype: torch.dtype, n: int = 6) -> tuple[Tensor, ...]:
    if isinstance(objective, SemiSupervised):
        return images(n, dtype=dtype), images(4, dtype=dtype), labels(4)
    return batch_for(name, n, dtype=dtype)


def step(bound: Bound, *batch: Tensor, seed: int = 1) -> Result:
    """Terms, and the gradient of every parameter, from one seed."""
    torch.manual_seed(seed)
    bound.zero_grad()
    terms = bound(*batch)
    terms["loss"].backward()
    return {n: t.detach() for n, t in terms.items()}, [p.grad for p in bound.parameters()]


def assert_close(a: Result, b: Result, tolerance: float) -> None:
    """Terms, and gradients relative to the largest element of each parameter's."""
    assert a[0].keys() == b[0].keys()
    for name, value in a[0].items():
        assert b[0][name].item() == pytest.approx(value.item(), rel=tolerance, abs=tolerance), name
    for p, q in zip(a[1], b[1], strict=True):
        assert (p is None) == (q is None)
        if p is not None and q is not None:
            scale = p.abs().max().clamp(min=1e-6)
            assert ((p - q).abs().max() / scale).item() <= tolerance


def compiled(bound: Bound, *batch: Tensor, backend: Any = "eager") -> Bound:
    """After two calls, of which the second was traced."""
    bound.compile(backend)
    for _ in range(2):
        bound(*batch)
    assert traced(bound) == 1
    return bound


def traced(bound: Bound) -> int:
    """How many steps are in use; those that could not be traced are not counted."""
    assert bound.compiled is not None
    return sum(step.call is not None for step in bound.compiled.steps)


@pytest.mark.parametrize(("name", "objective"), CASES)
def test_the_traced_graph_is_the_eager_bound(name: str, objective: str) -> None:
    """Every member and objective, terms and all gradients under the same noise: to 1e-12."""
    bound = Bound(member(name).double(), OBJECTIVES[objective]())
    batch = batch_of(name, bound.objective, torch.float64)
    eager = step(bound, *batch)
    assert_close(eager, step(compiled(bound, *batch), *batch), 1e-12)


@pytest.mark.parametrize(
    ("name", "objective", "dtype"),
    [
        ("VAE", "elbo", torch.float32),
        ("GMVAE", "elbo", torch.float64),
        ("IWAE", "dreg", torch.float32),
    ],
)
def test_inductor_agrees(name: str, objective: str, dtype: torch.dtype) -> None:
    """To 1e-5 in float32 and 1e-10 in float64, and the gradients may be changed in place."""
    bound = Bound(member(name).to(dtype), OBJECTIVES[objective]())
    batch = batch_of(name, bound.objective, dtype)
    eager = step(bound, *batch)
    compiled(bound, *batch, backend="inductor")
    for _ in range(2):
        found = step(bound, *batch)
        assert_close(eager, found, 1e-5 if dtype == torch.float32 else 1e-10)
        nn.utils.clip_grad_norm_(bound.parameters(), 1e-3)
    different = step(bound, *batch, seed=2)
    assert different[0]["loss"] != found[0]["loss"]


@pytest.mark.parametrize("leads", [False, True])
def test_inductor_agrees_at_the_sizes_of_the_reference_networks(
    monkeypatch: pytest.MonkeyPatch, leads: bool
) -> None:
    """Where products are given to oneDNN, and made transposed, by whether it leads: to 1e-5 in float32."""
    monkeypatch.setattr("vaezoo.compiler.onednn.onednn_leads", lambda: leads)
    bound, x = Bound(models.VAE()), torch.bernoulli(torch.full((1000, 1, 28, 28), 0.2))
    eager = step(bound, x)
    assert_close(eager, step(compiled(bound, x, backend="inductor"), x), 1e-5)


def test_a_semi_supervised_step_makes_half_the_products_it_asks_for() -> None:
    """Those by the same weights at once; unmerged they would be as many as were traced, 50."""
    bound = Bound(member("SSVAE"), SemiSupervised())
    batch = batch_of("SSVAE", bound.objective, torch.float32)
    eager = step(bound, *batch)
    found = step(compiled(bound, *batch, backend="inductor"), *batch)
    assert_close(eager, found, 1e-4)
    graphs: list[GraphModule] = []
    unmerged = Bound(bound.model, bound.objective)
    compiled(unmerged, *batch, backend=lambda g, _: graphs.append(g) or g.forward)
    (asked,) = ([n for n in g.graph.nodes if n.target in PRODUCTS_ASKED] for g in graphs)
    with torch.profiler.profile() as seen:
        bound(*batch)
    made = {e.key: e.count for e in seen.key_averages()}
    assert sum(made.get(k, 0) for k in PRODUCTS) <= len(asked) / 2


@pytest.mark.parametrize("parts", EACH_PART, ids="-".join)
@pytest.mark.parametrize("objective", ["elbo", "dreg"])
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


class Pair(nn.Module):
    """A pair of one's own, with a network inside, one outside and a pyro.param."""

    def __init__(self, outside: nn.Module, *, looks: bool = False) -> None:
        super().__init__()
        self.decoder = nn.Linear(2, 16)
        self.norm = nn.BatchNorm1d(16)
        self.call, self.looks = [outside], looks

    def model(self, x: Tensor) -> None:
        scale = pyro.param("scale", torch.tensor(0.7), constraint=dist.constraints.positive)
        with pyro.plate("images", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), scale).to_event(1))
            if self.looks and z.sum() > 0:
                z = -z
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x.flatten(1))

    def guide(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            h = self.call[0](self.norm(x.flatten(1)))
            pyro.sample("z", dist.Normal(h, 0.5).to_event(1))


def test_a_pair_of_ones_own() -> None:
    """Parameters of a closure and of Pyro's store have gradients; tracing leaves no statistics."""
    outside, x = nn.Linear(16, 2), images()
    pair = Pair(outside)
    bound = Bound(pair, ELBO())
    eager = step(bound, x)
    store = pyro.get_param_store()
    expected = [outside.weight.grad, store._params["scale"].grad]
    outside.zero_grad(), store._params["scale"].grad.zero_()
    bound.compile("eager")
    for _ in range(2):
        bound(x)
    assert_close(eager, step(bound, x), 1e-6)
    torch.testing.assert_close([outside.weight.grad, store._params["scale"].grad], expected)
    assert pair.norm.num_batches_tracked == 4, "once a call, and none for tracing"
    mean = torch.zeros(16)
    for _ in range(4):
        mean = 0.9 * mean + 0.1 * x.flatten(1).mean(0)
    torch.testing.assert_close(pair.norm.running_mean, mean)
    pyro.clear_param_store()
    pyro.param("scale", torch.tensor(2.0), constraint=dist.constraints.positive)
    assert_close(step(Bound(pair, ELBO()), x), step(bound, x), 1e-6)


class Changing(nn.Module):
    """A pair that does at each call what a graph does not repeat."""

    def __init__(self, does: Callable[[Changing], float]) -> None:
        super().__init__()
        self.loc, self.does, self.n = nn.Parameter(torch.zeros(16)), does, 0
        self.register_buffer("heat", torch.tensor(1.0))
        self.register_buffer("count", torch.tensor(0.0))

    def model(self, x: Tensor) -> None:
        self.count += 1
        scale = self.does(self)
        with pyro.plate("images", len(x)):
            pyro.sample("x", dist.Normal(self.loc, scale).to_event(1), obs=x.flatten(1))

    def guide(self, x: Tensor) -> None:
        pass


def counts(pair: Changing) -> float:
    pair.n += 1
    return pair.n


def counts_and_looks(pair: Changing) -> float:
    return counts(pair) * float(pair.heat)


@pytest.mark.parametrize("does", [lambda pair: float(pair.heat), counts, counts_and_looks])
def test_what_a_graph_would_not_repeat_runs_eagerly(does: Callable[[Changing], float]) -> None:
    """A look at a buffer's value, and a number that the program sets: one warning, same losses."""
    found, x = [], images(dtype=torch.float64)
    for compiling in (False, True):
        bound = Bound(Changing(does).double())
        if compiling:
            bound.compile("eager")
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            for i in range(4):
                bound.model.heat.fill_(1.0 / (i + 1))
                found.append(bound(x)["loss"].item())
        assert len([w for w in seen if "the bound runs eagerly" in str(w.message)]) == compiling
        assert bound.model.count == 4
    assert found[:4] == found[4:]


def test_hooks_of_parameters_run_once() -> None:
    """Those from before tracing are no part of the graph."""
    found, x = [], images(dtype=torch.float64)
    for backend in (None, "eager"):
        bound = Bound(member("VAE").double())
        torch.manual_seed(0)
        with torch.no_grad():
            for p in bound.parameters():
                p.normal_(0, 0.1)
                p.register_hook(lambda g: g / 2)
        if backend:
            compiled(bound, x, backend=backend)
        found.append(step(bound, x))
    assert_close(*found, 1e-12)


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


def test_the_labels_of_an_adgm() -> None:
    """Inductor, changing joined tensors in place, gave wrong gradients for them once."""
    torch.manual_seed(0)
    bound = Bound(models.ADGM(hidden=(32,)).double(), SemiSupervised())
    x = torch.bernoulli(torch.full((20, 1, 28, 28), 0.2)).double()
    batch = (x, x.flip(0), torch.arange(20) % 10)
    eager = step(bound, *batch)
    assert_close(eager, step(compiled(bound, *batch, backend="inductor"), *batch), 1e-10)


class Draws(nn.Module):
    """Twelve latents, each of its own size, of which the first that is drawn is the last that is used."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.linspace(-1, 1, 12, dtype=torch.float64))

    def guide(self, x: Tensor) -> list[Tensor]:
        with pyro.plate("images", len(x)):
            spread = torch.ones(len(x), 1, dtype=x.dtype)
            wide = [spread.expand(-1, i + 1) for i in range(12)]
            return [
                pyro.sample(f"z{i}", dist.Normal(self.loc[i], wide[i]).to_event(1))
                for i in range(12)
            ]

    def model(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            wide = [torch.ones(len(x), i + 1, dtype=x.dtype) for i in range(12)]
            z = [pyro.sample(f"z{i}", dist.Normal(0.0, wide[i]).to_event(1)) for i in range(12)]
            loc = x.new_zeros(len(x), 1)
            for latent in reversed(z):
                loc = torch.tanh(
                    loc
                    + latent.sum(-1, keepdim=True)
                    + latent.cumsum(-1)[:, -1:] @ x.new_ones(1, 1)
                )
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x.flatten(1))


def test_draws_keep_their_order() -> None:
    """Inductor sorts them by the names of their memory, and torch 2.9 by where they are used."""
    bound, x = Bound(Draws(), ELBO()), images(dtype=torch.float64)
    eager = step(bound, x)
    assert_close(eager, step(compiled(bound, x, backend="inductor"), x), 1e-12)


class Multiple(Changing):
    def model(self, x: Tensor) -> None:
        loc = torch.add(x.flatten(1) @ self.loc.outer(self.loc), self.loc, alpha=3.0)
        with pyro.plate("images", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x.flatten(1))


def test_a_multiple_is_added() -> None:
    """Inductor in torch 2.13 forgets α of x W + α b."""
    bound, x = Bound(Multiple(counts).double()), images(dtype=torch.float64)
    bound.model.loc.data.add_(0.3)
    eager = step(bound, x)
    assert_close(eager, step(compiled(bound, x, backend="inductor"), x), 1e-12)


def test_a_pair_trains_in_fit() -> None:
    outside = nn.Linear(16, 2)
    before = outside.weight.clone()
    fit(Pair(outside), [images()], steps=4, compile=True, progress=False)
    assert not torch.equal(outside.weight, before)


def test_autoguide() -> None:
    class Auto(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vae = member("VAE")
            self.guide = autoguide.AutoNormal(self.model)

        def model(self, x: Tensor) -> Tensor:
            return self.vae.model(x)

    bound, x = Bound(Auto(), ELBO()), images()
    bound(x)  # an autoguide makes its parameters when it is first called
    eager = step(bound, x)
    assert_close(eager, step(compiled(bound, x), x), 1e-6)


def test_a_program_that_looks_at_values_warns_once_and_runs_eagerly() -> None:
    pair, x = Pair(nn.Linear(16, 2), looks=True), images()
    bound = Bound(pair, ELBO()).compile("eager")
    bound(x)
    with pytest.warns(UserWarning, match="the bound runs eagerly: .*value out of a tracing"):
        bound(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n in (6, 6, 3, 3):
            assert_close(step(Bound(pair, ELBO()), images(n) * 0), step(bound, images(n) * 0), 1e-6)
    pair.looks = False
    bound(x), bound(x)
    assert traced(bound) == 1


def test_a_compiler_that_fails_is_a_warning() -> None:
    def backend(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no C++ compiler\nin detail")

    bound, x = Bound(member("VAE")).compile(backend), images()
    bound(x)
    with pytest.warns(UserWarning, match="eagerly: RuntimeError: no C\\+\\+ compiler$"):
        bound(x)
    assert_close(step(Bound(bound.model), x), step(bound, x), 1e-6)


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
    with pytest.raises(ValueError, match="needs pixels that are 0 or 1"):
        fit(bound.model, [x, x, x * 0.5], compile=True, progress=False)


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


def test_gradients_share_no_memory() -> None:
    """Two parameters of one gradient, and one whose gradient is the data: all may be changed."""

    class Twice(Objective):
        def bound(self, terms: Any) -> Tensor:
            vae = self.vae
            return terms.rec[0, 0] * 0 + (vae.a + vae.b).sum() + (vae.c * vae.data).sum()

    vae, x = member("VAE"), images()
    for name in "abc":
        setattr(vae, name, nn.Parameter(torch.zeros(3)))
    vae.data = torch.arange(3.0)
    objective = Twice()
    objective.vae = vae
    bound = compiled(Bound(vae, objective), x, backend="aot_eager")
    for _ in range(2):
        step(bound, x)
        for p in (vae.a, vae.b, vae.c):
            p.grad.mul_(0.5)
        assert [vae.a.grad[0].item(), vae.b.grad[0].item()] == [-0.5, -0.5]
        assert vae.data.tolist() == [0, 1, 2]


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


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What progress bars say."""
    from tqdm.auto import tqdm

    found: list[str] = []
    monkeypatch.setattr(
        tqdm, "set_postfix_str", lambda self, text, refresh=True: found.append(text)
    )
    return found


def test_compiled_fit_learns(words: list[str]) -> None:
    """300 steps on the built-in digits: the same curve as eagerly to 0.5 nats, above -200."""
    digits = data.digits()[:2000]
    found = []
    for compiling in (False, True):
        torch.manual_seed(0)
        vae = member("VAE", x_shape=(1, 28, 28), hidden=(64,), z_dim=8)
        history = fit(vae, digits, steps=300, lr=3e-3, compile=compiling, validation=digits[:200])
        found.append(history["bound"])
    assert found[1] == pytest.approx(found[0], abs=0.5)
    assert found[1][-1] > -200
    (began,) = (i for i, word in enumerate(words) if word == "compiling")
    assert re.fullmatch(r"compiled in \d+\.\d s", words[began + 1])


@pytest.mark.parametrize("name", ["VAE", "IWAE", "SSVAE", "ADGM"])
@pytest.mark.parametrize("compiling", [False, True])
def test_bf16_agrees_within_its_rounding(name: str, compiling: bool) -> None:
    """Terms to 2 %, and each gradient's direction to a cosine of 0.98; terms are float32."""
    bound = Bound(member(name))
    batch = batch_of(name, bound.objective, torch.float32, 50)
    terms, gradients = step(bound, *batch)
    lowered = Bound(bound.model, bound.objective, precision="bf16")
    if compiling:
        compiled(lowered, *batch)
    found, others = step(lowered, *batch)
    assert all(t.dtype == torch.float32 for t in found.values())
    for key, value in terms.items():
        assert found[key].item() == pytest.approx(value.item(), rel=0.02, abs=0.05), key
    for p, q in zip(gradients, others, strict=True):
        assert p is not None
        assert q is not None
        assert torch.cosine_similarity(p.flatten(), q.flatten(), 0) > 0.98


def test_an_outer_autocast_is_one_around_the_networks() -> None:
    """Densities stay in float32 under it: the same terms as by `precision="bf16"`, to the digit."""
    for name in ("VAE", "GMVAE", "SSVAE"):
        model, x = member(name), images()
        torch.manual_seed(1)
        expected = Bound(model, precision="bf16", objective=ELBO())(x)
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16):
            found = Bound(model, ELBO())(x)
        assert all(torch.equal(found[n], expected[n]) for n in expected)
        assert found["loss"].dtype is torch.float32


def test_bf16_trains_as_float32() -> None:
    """300 steps on the built-in digits from one seed end within 2 nats of float32's bound."""
    digits, found = data.digits()[:2000], []
    for precision in ("float32", "bf16"):
        torch.manual_seed(0)
        vae = member("VAE", x_shape=(1, 28, 28), hidden=(64,), z_dim=8)
        history = fit(vae, digits, steps=300, lr=3e-3, precision=precision, progress=False)
        found.append(history["bound"][-1])
    assert abs(found[0] - found[1]) < 2.0


def test_only_networks_are_lowered() -> None:
    """Not densities, priors' parameters, flows' maps, float64 models, nor anything afterwards."""
    x, seen = images(), {}

    def note(module: nn.Module, _: Any) -> None:
        seen[type(module).__name__] = torch.is_autocast_enabled("cpu")

    vae = member(
        "VAE", posterior=posteriors.Flow(X_SHAPE, Z_DIM, hidden=(8,)), prior=priors.Flow(Z_DIM)
    )
    for m in vae.modules():
        m.register_forward_pre_hook(note)
    Bound(vae, precision="bf16")(x)
    assert seen["Linear"]
    assert not any(seen[n] for n in ("Flow", "Bernoulli", "MaskedLinear"))
    double, y = member("VAE").double(), images(dtype=torch.float64)
    assert_close(step(Bound(double), y), step(Bound(double, precision="bf16"), y), 0)
    pair = Pair(nn.Linear(16, 2))
    with networks_lowered_to(pair, torch.bfloat16):
        assert {n for n, m in pair.named_modules() if "forward" in vars(m)} == {"decoder", "norm"}
    assert not any("forward" in vars(m) for m in pair.modules())
    with pytest.raises(ValueError, match="precision must be one of"):
        Bound(vae, precision="fp8")
    assert isinstance(vae.prior, Component)


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


def test_evaluation_by_inductor() -> None:
    """float32, to 1e-5; models and the number of graphs are left as they were."""
    model, x = member("GMVAE"), images(4)
    asked = {"particles": (1, 200), "max_decodes": 100, "progress": False}
    eager = evaluate(model, [x, x.flip(0)], **asked)
    found = evaluate(model, [x, x.flip(0)], **asked, compile=True)
    for quantity, estimate in eager.items():
        assert found[quantity].mean == pytest.approx(estimate.mean, rel=1e-5)
    assert model.training


@pytest.mark.parametrize("gradients", [True, False])
def test_with_or_without_gradients(gradients: bool) -> None:
    """A bound compiled for one of them runs the other eagerly."""
    calls: list[GraphModule] = []
    bound, x = Bound(member("VAE")), images()
    bound.compile(lambda g, _: lambda *a: calls.append(g) or g(*a), gradients=gradients)
    for enabled in (True, False):
        with torch.set_grad_enabled(enabled):
            for _ in range(3):
                assert bound(x)["loss"].requires_grad == enabled
        assert len(calls) == (2 if gradients or not enabled else 0)


def test_graphs_are_kept_on_disk(tmp_path: Path) -> None:
    """A second process with the same graph compiles nothing; one with another β does."""
    program = """
import sys, torch, torch._dynamo.utils
from vaezoo import ELBO, Bound, models
torch.manual_seed(0)
bound = Bound(models.VAE(z_dim=2), ELBO(beta=float(sys.argv[1]))).compile()
x = torch.zeros(5, 1, 28, 28)
for _ in range(3):
    terms = bound(x)
print(torch._dynamo.utils.counters["inductor"]["fxgraph_cache_hit"], terms["loss"].item())
"""
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    found = []
    for beta in ("1", "1", "3"):
        command = [sys.executable, "-c", program, beta]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.append(done.stdout.split())
    assert [hits for hits, _ in found] == ["0", "1", "0"]
    assert found[0][1] == found[1][1] != found[2][1]
