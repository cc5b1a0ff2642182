"""Training and evaluation on a GPU: `make test-gpu`, where there is one."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from compiling import OBJECTIVES, assert_close, batch_of, step
from torch import Tensor, nn
from zoo import INFERS, MEMBERS, fixed, labels, member

from vaezoo import (
    IWELBO,
    Bound,
    SemiSupervised,
    Step,
    data,
    evaluate,
    fit,
    objectives,
    posteriors,
    training,
)
from vaezoo.compiler.replay import Replay
from vaezoo.models import SSVAE

pytestmark = [
    pytest.mark.gpu,
    # advice to a user who trains for long
    pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores:UserWarning"),
    # of torch's compiler on itself
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

X = fixed(31)
PIXELS = data.Images((255 * X).byte(), labels(31), binarisation="dynamic")
PAIRS = [
    *((name, "elbo") for name in MEMBERS),
    *(("VAE", name) for name in OBJECTIVES if name not in ("elbo", "semi")),
    *((name, "semi") for name in INFERS),
]


def on_gpu(batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(t.cuda() for t in batch)


def replay_of(cache: Any) -> Replay:
    (made,) = cache.steps
    assert isinstance(made.call, Replay)
    return made.call


@pytest.mark.parametrize(("name", "objective"), PAIRS)
def test_loss_and_gradients_are_the_eager_ones(name, objective):
    """By the same noise, in float64: the compiled step, and its recording."""
    torch.manual_seed(0)
    model = member(name).double().cuda()
    batch = on_gpu(batch_of(name, OBJECTIVES[objective](), torch.float64))
    eager, bound = (Bound(model, OBJECTIVES[objective]()) for _ in range(2))
    bound.compile()
    for seed in range(5):
        assert_close(step(eager, *batch, seed=seed), step(bound, *batch, seed=seed), 1e-9)
    replay = replay_of(bound.compiled)
    assert replay.graph is not None
    assert replay.recorded == 1


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_steps_of_adam_are_the_eager_ones(name, precision):
    model = member(name).cuda()
    other = copy.deepcopy(model)
    objective = SemiSupervised if name in INFERS else objectives.ELBO
    batch = on_gpu(batch_of(name, objective(), torch.float32))
    steps = []
    for each in (model, other):
        bound = Bound(each, objective(), precision=precision)
        steps.append(Step(bound, torch.optim.Adam(each.parameters(), lr=1e-3, fused=True)))
    steps[1].compile()
    losses = []
    for made in steps:
        torch.manual_seed(1)
        losses.append([made(*batch)["loss"].item() for _ in range(12)])
    assert replay_of(steps[1].compiled).graph is not None
    tolerance = 1e-4 if precision == "float32" else 2e-2
    assert losses[1] == pytest.approx(losses[0], rel=tolerance)
    if precision == "float32":
        for p, q in zip(model.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-2, atol=1e-3)


def test_a_batch_that_is_not_finite_changes_nothing():
    model = member("VAE").cuda()
    made = Step(Bound(model), torch.optim.Adam(model.parameters(), fused=True)).compile()
    x = X[:6].cuda()
    for _ in range(4):
        made(x)
    assert replay_of(made.compiled).graph is not None
    before = copy.deepcopy((model.state_dict(), made.optimizer.state_dict()))
    made(torch.full_like(x, math.nan))
    assert made.broken == "loss"
    after = model.state_dict(), made.optimizer.state_dict()
    assert all(map(torch.equal, before[0].values(), after[0].values()))
    for mine, theirs in zip(before[1]["state"].values(), after[1]["state"].values(), strict=True):
        assert all(torch.equal(mine[n], theirs[n]) for n in mine)
    made(x)
    assert not made.broken


def test_weights_and_moments_that_lie_elsewhere_are_followed():
    model, other = (member("VAE").cuda() for _ in range(2))
    other.load_state_dict(model.state_dict())
    steps = [Step(Bound(m), torch.optim.Adam(m.parameters(), fused=True)) for m in (model, other)]
    steps[1].compile()
    x = X[:6].cuda()
    for made, each in zip(steps, (model, other), strict=True):
        torch.manual_seed(1)
        for i in range(12):
            made(x)
            if i == 5:
                made.optimizer.load_state_dict(copy.deepcopy(made.optimizer.state_dict()))
                for p in each.parameters():
                    p.data = p.data.clone()
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-2, atol=1e-4)


def test_outputs_of_a_recording_are_their_own():
    replay = Replay(lambda x, w: [x.sum(), x * w + torch.randn_like(x)], moving=1)
    w, x = torch.full((3,), 2.0, device="cuda"), torch.ones(3, device="cuda")
    torch.manual_seed(0)
    eager = [[x.mul(i).sum(), x * i * w + torch.randn_like(x)] for i in range(5)]
    torch.manual_seed(0)
    found = [replay(x * i, w) for i in range(5)]
    assert replay.recorded == 1
    for a, b in zip(eager, found, strict=True):
        for s, t in zip(a, b, strict=True):
            torch.testing.assert_close(s, t)


def test_what_cannot_be_recorded_runs_all_the_same():
    replay = Replay(lambda x: [x * x.sum().item()], moving=1)
    x = torch.ones(2, device="cuda")
    replay(x)
    with pytest.warns(UserWarning, match="steps are not recorded"):
        assert replay(x)[0].tolist() == [2.0, 2.0]
    assert replay(2 * x)[0].tolist() == [8.0, 8.0]


@pytest.mark.parametrize("compiles", [True, False, None])
@pytest.mark.parametrize("place", ["cpu", "cuda"])
def test_training_at_rates_that_change(place, compiles):
    """By `fit`, of images here and there; the whole run again gives the same weights."""
    images, weights = PIXELS.to(place), []
    for _ in range(2):
        torch.manual_seed(0)
        model = member("VAE").cuda()
        history = fit(
            model,
            images,
            steps=30,
            batch_size=8,
            lr=training.one_cycle(4e-3, 30),
            drop_last=True,
            log_every=10,
            progress=False,
            compile=compiles,
            validation=[X[:5]],
        )
        assert all(map(math.isfinite, history["loss"]))
        weights.append([p.detach().clone() for p in model.parameters()])
    for p, q in zip(*weights, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("compiles", [True, False])
def test_a_run_that_goes_on_is_the_unbroken_one(tmp_path, compiles):
    few: Any = {"batch_size": 8, "drop_last": True, "progress": False, "compile": compiles}
    found = []
    for ends in ([20], [9, 20]):
        for end in ends:
            torch.manual_seed(0)
            model = member("VAE").cuda()
            fit(model, PIXELS, steps=end, checkpoint=tmp_path / str(len(ends)), every=50, **few)
        found.append([p.detach().clone() for p in model.parameters()])
    assert all(map(torch.equal, *found))


def test_labels_moved_images_and_consistency_on_the_gpu():
    x_shape = (1, 28, 28)
    images = data.digits("train").to("cuda")
    moved = data.Moved(images)
    batches = data.semi_supervised(
        moved, data.Moved(images.labelled(100)), batch_size=50, labelled_batch_size=50
    )
    model = SSVAE(x_shape, 8, hidden=(32,)).cuda()
    consistency = objectives.Consistency(data.Moves(), weight=2.0)
    objective = SemiSupervised(alpha=20.0, consistency=consistency)
    history = fit(
        model,
        batches,
        objective,
        steps=300,
        precision="bf16",
        compile=True,
        progress=False,
        log_every=100,
        average=0.99,
    )
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize("name", MEMBERS)
def test_evaluation_is_the_eager_one(name):
    model = member(name).double().cuda()
    x, y = X[:12].double(), labels(12)
    found = [
        evaluate(
            model, [(x, y), (x, y), (x, y)], particles=(1, 20), compile=compiles, progress=False
        )
        for compiles in (True, False)
    ]
    for key, value in found[0].items():
        assert value.mean == pytest.approx(found[1][key].mean, rel=1e-9), key


def test_memory_of_a_replayed_step_does_not_grow():
    model = member("VAE").cuda()
    made = Step(Bound(model, IWELBO(5)), torch.optim.Adam(model.parameters(), fused=True)).compile()
    x = X[:6].cuda()
    for _ in range(5):
        made(x)
    before = torch.cuda.memory_allocated()
    for _ in range(200):
        made(x)
    assert torch.cuda.memory_allocated() == before


def test_a_network_of_ones_own_with_statistics_and_dropout():
    """Batch norm's means are written in the recording, dropout draws in it."""
    encoder = nn.Sequential(
        nn.Flatten(-3),
        nn.Linear(16, 8, bias=False),
        nn.BatchNorm1d(8),
        nn.Dropout(0.3),
        nn.Linear(8, 6),
        nn.Unflatten(-1, (2, 3)),
    )
    model = member("VAE", posterior=posteriors.DiagonalNormal((1, 4, 4), 3, network=encoder)).cuda()
    other = copy.deepcopy(model)
    x = X[:8].cuda()
    for each, compiled in ((model, False), (other, True)):
        made = Step(Bound(each), torch.optim.Adam(each.parameters(), fused=True))
        if compiled:
            made.compile()
        torch.manual_seed(3)
        for _ in range(10):
            made(x)
    for p, q in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-2, atol=1e-4)
