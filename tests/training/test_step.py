"""`Step`: compiled with Adam behind the gradients, it goes where the optimizer itself would."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from zoo import Z_DIM, batch_for, images, labels, member

from vaezoo import ELBO, Bound, NonFiniteLoss, SemiSupervised, fit, posteriors, priors
from vaezoo.training.step import Step

Optimizer = Callable[[Any], torch.optim.Optimizer]
OPTIMIZERS: dict[str, tuple[Optimizer, bool]] = {
    "adam": (lambda p: torch.optim.Adam(p, lr=1e-2), True),
    "betas": (lambda p: torch.optim.Adam(p, lr=1e-2, betas=(0.8, 0.99), eps=1e-3), True),
    "fused": (lambda p: torch.optim.Adam(p, lr=1e-2, fused=True), True),
    "amsgrad": (lambda p: torch.optim.Adam(p, lr=1e-2, amsgrad=True), False),
    "decay": (lambda p: torch.optim.AdamW(p, lr=1e-2), False),
    "sgd": (lambda p: torch.optim.SGD(p, lr=1e-2, momentum=0.9), False),
}
DOUBLE = {"dtype": torch.float64}


def twins(name: str = "VAE", optimizer: str = "adam") -> list[Step]:
    """The same member in float64 twice, to be stepped eagerly and compiled."""
    model = member(name).double()
    found = []
    for each in (model, copy.deepcopy(model)):
        bound = Bound(each)
        found.append(Step(bound, OPTIMIZERS[optimizer][0](bound.parameters())))
    found[1].compile("eager")
    return found


def take(step: Step, batches: list[tuple[Tensor, ...]]) -> list[dict[str, Tensor]]:
    torch.manual_seed(1)
    return [step(*batch) for batch in batches]


def assert_same(a: Step, b: Step) -> None:
    """Weights and the optimizers' states, to 1e-10 in float64."""
    for p, q in zip(a.bound.parameters(), b.bound.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-10, atol=1e-10)
        states = a.optimizer.state[p], b.optimizer.state[q]
        assert states[0].keys() == states[1].keys()
        for key, value in states[0].items():
            torch.testing.assert_close(value, states[1][key], rtol=1e-10, atol=1e-10)


MEMBERS = ("GMVAE", "IWAE", "SSVAE", "FSVAE")


@pytest.mark.parametrize(
    ("name", "optimizer"), [*(("VAE", o) for o in OPTIMIZERS), *((m, "adam") for m in MEMBERS)]
)
def test_compiled_steps_go_where_the_optimizer_goes(name: str, optimizer: str) -> None:
    """Eight steps; among them a short batch that comes once, and so runs eagerly."""
    eager, compiled = twins(name, optimizer)
    batches = [batch_for(name, n, **DOUBLE) for n in (6, 6, 6, 4, 6, 5, 5, 5)]
    if name == "SSVAE":
        batches = [(x, images(4, **DOUBLE), labels(4)) for (x,) in batches]
    found = [take(step, batches) for step in (eager, compiled)]
    for a, b in zip(*found, strict=True):
        assert a.keys() == b.keys()
        for key, value in a.items():
            assert b[key].item() == pytest.approx(value.item(), rel=1e-10, abs=1e-10)
    assert_same(eager, compiled)
    assert (compiled.compiled is not None) == OPTIMIZERS[optimizer][1]
    if compiled.compiled is not None:
        assert sum(s.update is not None for s in compiled.compiled.steps) == 2


def test_schedules_of_the_optimizer_are_read_at_each_step() -> None:
    """One cycle moves the rate and β1."""
    pair = twins()
    schedulers = [
        torch.optim.lr_scheduler.OneCycleLR(step.optimizer, 0.05, total_steps=12) for step in pair
    ]
    (x,) = batch_for("VAE", **DOUBLE)
    for step, scheduler in zip(pair, schedulers, strict=True):
        torch.manual_seed(1)
        for _ in range(10):
            step(x)
            scheduler.step()
    assert pair[0].optimizer.param_groups[0]["betas"][0] != 0.9
    assert_same(*pair)


def test_an_optimizer_goes_on_where_the_graph_stops_and_the_other_way_round() -> None:
    eager, compiled = twins()
    batches = [batch_for("VAE", **DOUBLE)] * 4
    take(eager, batches), take(compiled, batches)
    state = copy.deepcopy(compiled.optimizer.state_dict())
    compiled = Step(compiled.bound, torch.optim.Adam(compiled.bound.parameters(), lr=0.5))
    compiled.optimizer.load_state_dict(state)
    take(eager, batches), take(compiled, batches)
    assert_same(eager, compiled)
    compiled.compile("eager")
    take(eager, batches), take(compiled, batches)
    assert_same(eager, compiled)


def reload(step: Step) -> None:
    step.optimizer.load_state_dict(copy.deepcopy(step.optimizer.state_dict()))
    step.optimizer.param_groups[0]["lr"] = 0.03


def halve_gradients(step: Step) -> None:
    for p in step.bound.parameters():
        p.register_hook(lambda g: g / 2)


def clamp_gradients(step: Step) -> None:
    def clamp(p: Tensor) -> None:
        assert p.grad is not None
        p.grad.clamp_(-1e-3, 1e-3)

    for p in step.bound.parameters():
        p.register_post_accumulate_grad_hook(clamp)


def count_steps(step: Step) -> None:
    step.counted = []  # type: ignore[attr-defined]
    step.optimizer.register_step_post_hook(lambda *_: step.counted.append(1))  # type: ignore[attr-defined]


def share_the_optimizer(step: Step) -> None:
    torch.manual_seed(2)
    other = Step(Bound(copy.deepcopy(step.bound.model)), step.optimizer)
    if step.compiled is not None:
        other.compile("eager")
    other.bound = step.bound
    take(other, [batch_for("VAE", **DOUBLE)] * 3)


CHANGES: list[Callable[[Step], Any]] = [
    reload,
    halve_gradients,
    clamp_gradients,
    count_steps,
    share_the_optimizer,
    lambda s: s.optimizer.state.clear(),
    lambda s: s.optimizer.param_groups[0].update(weight_decay=0.5),
    lambda s: s.optimizer.param_groups[0].update(lr=torch.tensor(0.03, **DOUBLE)),
    lambda s: s.optimizer.add_param_group({"params": [torch.zeros(2, requires_grad=True)]}),
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_done_to_the_optimizer_or_to_gradients_is_seen(
    change: Callable[[Step], Any],
) -> None:
    pair = twins(optimizer="betas")
    batches = [batch_for("VAE", **DOUBLE)] * 4
    for each in pair:
        take(each, batches)
        change(each)
        take(each, batches)
    assert_same(*pair)
    counted = [getattr(each, "counted", None) for each in pair]
    assert counted[0] == counted[1]


def test_a_rate_in_a_tensor_is_read_at_each_step() -> None:
    pair, batches = twins(), [batch_for("VAE", **DOUBLE)] * 2
    for each in pair:
        each.optimizer.param_groups[0]["lr"] = rate = torch.tensor(0.1, **DOUBLE)
        for _ in range(4):
            take(each, batches)
            rate.mul_(0.5)
    assert_same(*pair)


def test_swaps_make_a_new_graph_with_the_same_optimizer() -> None:
    """What is frozen is not updated, and what is thawed goes on with its own number of steps."""
    eager, compiled = twins()
    batches = [batch_for("VAE", **DOUBLE)] * 3
    for frozen in (False, True, False):
        for step in (eager, compiled):
            step.bound.model.likelihood.requires_grad_(not frozen)
            step.optimizer.zero_grad()
            take(step, batches)
    assert_same(eager, compiled)
    steps = [s["step"].item() for s in compiled.optimizer.state.values()]
    assert sorted(set(steps)) == [6, 9]


def test_nothing_is_updated_where_the_loss_is_not_finite() -> None:
    _, compiled = twins()
    (x,) = batch_for("VAE", **DOUBLE)
    for _ in range(3):
        compiled(x)
    before = copy.deepcopy([compiled.bound.state_dict(), compiled.optimizer.state_dict()])
    terms = compiled(torch.full_like(x, torch.nan))
    assert not torch.isfinite(terms["loss"])
    after = [compiled.bound.state_dict(), compiled.optimizer.state_dict()]
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_gradients_are_clipped_by_the_ordinary_step() -> None:
    found = []
    for compiling in (False, True):
        step = twins()[0]
        step = Step(step.bound, step.optimizer, max_grad_norm=1e-3)
        if compiling:
            step.compile("eager")
        take(step, [batch_for("VAE", **DOUBLE)] * 3)
        norms = [p.grad.norm() for p in step.bound.parameters() if p.grad is not None]
        found.append(torch.stack(norms).norm().item())
    assert found == pytest.approx([1e-3, 1e-3], rel=1e-4)


def test_a_prior_swapped_under_an_old_optimizer_is_read_and_not_updated() -> None:
    """`fit` refuses such an optimizer; a step of one's own does what the optimizer would."""
    eager, compiled = twins()
    torch.manual_seed(2)
    prior = priors.MixtureOfGaussians(Z_DIM, k=4).double()
    batches = [batch_for("VAE", **DOUBLE)] * 4
    for step in (eager, compiled):
        step.bound.model.prior = copy.deepcopy(prior)
        take(step, batches)
    assert torch.equal(compiled.bound.model.prior.loc, prior.loc)
    torch.testing.assert_close(
        list(eager.bound.model.posterior.parameters()),
        list(compiled.bound.model.posterior.parameters()),
    )


class Length(nn.Module):
    """The root of a sum of squares: at an image of zeros finite, with a gradient that is NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(16, affine=False)
        self.first, self.last = nn.Linear(16, 8, bias=False), nn.Linear(9, 2 * Z_DIM)
        self.seen = nn.Parameter(torch.zeros(16), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        h = x.flatten(-3)
        self.norm(h)
        with torch.no_grad():
            self.seen.add_(h.mean(0))
        h = self.first(h)
        length = h.square().sum(-1, keepdim=True).sqrt()
        return self.last(torch.cat([h, length], -1)).unflatten(-1, (2, Z_DIM))


def broken_steps(kind: str) -> tuple[Step, Tensor]:
    """A step after four good ones, and a batch with one empty image."""
    torch.manual_seed(0)
    posterior = posteriors.DiagonalNormal((1, 4, 4), Z_DIM, network=Length())
    bound = Bound(member("VAE", posterior=posterior).double())
    make = torch.optim.SGD if "sgd" in kind else torch.optim.Adam
    optimizer = make(bound.parameters(), lr=1e-2)
    step = Step(bound, optimizer, max_grad_norm=1.0 if "clip" in kind else None)
    if "compiled" in kind:
        step.compile("eager")
    x = images(6, **DOUBLE)
    x[:, 0, 0, 0] = 1
    for _ in range(4):
        step(x)
        assert not step.broken
    return step, x * (torch.arange(6) != 3)[:, None, None, None]


KINDS = ("", "clip", "sgd", "compiled", "compiled clip", "compiled sgd")


def state_of(step: Step) -> Any:
    tensors = [*step.bound.parameters(), *step.bound.buffers()]
    return copy.deepcopy([[t.detach() for t in tensors], step.optimizer.state_dict()["state"]])


@pytest.mark.parametrize("broken", ["gradient", "loss"])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_of_a_broken_step(kind: str, broken: str) -> None:
    """Weights, averages, statistics and moments are those from before, and the next step is good."""
    step, x = broken_steps(kind)
    before = state_of(step)
    with pyro.validation_enabled(False):
        terms = step(x if broken == "gradient" else torch.full_like(x, torch.nan))
    assert step.broken == broken
    assert torch.isfinite(terms["loss"]) == (broken == "gradient")
    torch.testing.assert_close(state_of(step), before, rtol=0, atol=0)
    step(images(6, **DOUBLE).clamp(min=0.5).round())
    assert not step.broken
    assert all(t.isfinite().all() for t in state_of(step)[0])


class Root(nn.Module):
    """No latents; the gradient of an image of zeros is NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 4, bias=False)

    def model(self, x: Tensor) -> None:
        length = self.first(x.flatten(1)).square().sum(-1, keepdim=True).sqrt()
        with pyro.plate("images", len(x)):
            pyro.sample(
                "x", dist.Normal(length, 1.0).expand([len(x), 16]).to_event(1), obs=x.flatten(1)
            )

    def guide(self, x: Tensor) -> None:
        pass


def test_a_broken_step_by_inductor() -> None:
    """Which folds 0 times a number to 0, NaN or not."""
    bound, x = Bound(Root().double(), ELBO()), images(6, **DOUBLE)
    step = Step(bound, torch.optim.Adam(bound.parameters())).compile()
    for _ in range(3):
        step(x + 1)
    before = state_of(step)
    assert step(x * 0)["loss"].isfinite()
    assert step.broken == "gradient"
    torch.testing.assert_close(state_of(step), before, rtol=0, atol=0)


def test_large_gradients_are_finite() -> None:
    """Though their sum is not."""
    for scale, expected in ((1e38, ""), (1e39, "gradient")):
        vae = member("VAE")
        vae.likelihood.network.register_full_backward_hook(lambda m, i, o: (i[0] * 0,))
        step = Step(Bound(vae), torch.optim.SGD(vae.parameters(), lr=1e-38))
        bias = vae.likelihood.network.rest[-2].bias
        bias.register_hook(lambda g, scale=scale: torch.full_like(g, 3.0) * scale)
        step(images())
        assert step.broken == expected


@pytest.mark.parametrize("compiling", [False, True])
def test_fit_names_the_gradient(compiling: bool) -> None:
    step, x = broken_steps("")
    with pytest.raises(NonFiniteLoss, match="step 1: the gradient not finite") as caught:
        fit(step.bound.model, [x], steps=4, compile=compiling, progress=False)
    assert caught.value.step == 1
    assert all(p.isfinite().all() for p in step.bound.parameters())


def another_optimizer(step: Step) -> None:
    step.optimizer = torch.optim.Adam(step.bound.parameters(), lr=0.0)


def another_kind(step: Step) -> None:
    step.optimizer = torch.optim.SGD(step.bound.parameters(), lr=0.1)


def another_bound(step: Step) -> None:
    step.bound = Bound(step.bound.model, ELBO(beta=3.0))


def another_norm(step: Step) -> None:
    step.max_grad_norm = 1e-3


@pytest.mark.parametrize("kind", ["adam", "sgd"])
@pytest.mark.parametrize("change", [another_optimizer, another_kind, another_bound, another_norm])
def test_what_is_set_on_a_compiled_step_is_followed(
    change: Callable[[Step], None], kind: str
) -> None:
    pair, batches = twins(optimizer=kind), [batch_for("VAE", **DOUBLE)] * 4
    for each in pair:
        take(each, batches)
        change(each)
        take(each, batches)
    assert_same(*pair)


@pytest.mark.parametrize("norm", [0.0, -1.0])
def test_bad_input(norm: float) -> None:
    bound = Bound(member("VAE"), ELBO())
    with pytest.raises(ValueError, match=f"max_grad_norm must be positive, got {norm}"):
        Step(bound, torch.optim.Adam(bound.parameters()), max_grad_norm=norm)
    step = Step(bound, torch.optim.Adam(bound.parameters()))
    with pytest.raises(ValueError, match=f"max_grad_norm must be positive, got {norm}"):
        step.max_grad_norm = norm


def test_a_step_serves_semi_supervised_loops() -> None:
    bound = Bound(member("SSVAE"), SemiSupervised())
    step = Step(bound, torch.optim.Adam(bound.parameters())).compile("eager")
    before = [p.clone() for p in bound.parameters()]
    for _ in range(3):
        assert {"loss", "bound", "rec", "kl", "log_qy"} == set(step(images(), images(4), labels(4)))
    assert all(not torch.equal(p, q) for p, q in zip(before, bound.parameters(), strict=True))
    assert isinstance(bound, nn.Module)
