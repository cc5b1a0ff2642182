"""Training in several processes: the answer of one, on the same batches, and no process left alone.

Each launch makes several checks, as starting processes costs most. Two processes and one draw the
same noise by `several.one_draw`: each cuts its images' part out of the draw for the whole batch,
made of a generator that a rate function seeds before each step.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import sys
import warnings
from typing import Any

import pytest
import torch
import torch.distributed as dist
from pyro import infer
from several import in_processes, one_draw
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler
from zoo import CLASSES, X_SHAPE, member, widen

from vaezoo import Step, fit, objectives, posteriors
from vaezoo.data import Images, semi_supervised, shares
from vaezoo.training import TrainingWarning, loaders, processes, shared_step, together
from vaezoo.training import alone as alone_
from vaezoo.training.processes import alone, world

# images and labelled ones of a batch, which two processes cannot share out evenly, and of a last one
N, N_LABELLED, N_LAST = 7, 5, 2


def _images(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(n, *X_SHAPE, generator=generator) > 0.5).double()


def _batches(name: str) -> list[tuple[Tensor, ...]]:
    if name != "SSVAE":
        return [(_images(n, i),) for i, n in enumerate((N, N, N_LAST))]
    y = torch.arange(N_LABELLED) % CLASSES
    return [(_images(n, i), _images(N_LABELLED, 9), y) for i, n in enumerate((N, N, N_LAST))]


def _pixels(n: int, seed: int = 0) -> Images:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (n, *X_SHAPE), generator=generator, dtype=torch.uint8)
    return Images(pixels, torch.arange(n) % CLASSES, binarisation="dynamic")


def _seeded(step: int) -> float:
    """A rate that begins the noise of each step anew."""
    torch.manual_seed(step)
    return 1e-2


def _weights(model: nn.Module) -> Tensor:
    return torch.cat([t.detach().double().flatten() for t in model.state_dict().values()])


def _quietly(model: nn.Module, data: Any, *args: Any, **options: Any) -> Any:
    """`fit` without a bar and without the warnings of what runs eagerly."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit(model, data, *args, progress=False, **options)


def _same(rank: int, value: Any) -> list[Any]:
    values: list[Any] = [None] * world().size
    dist.all_gather_object(values, value)
    return values


def _twenty_steps(
    name: str, rank: int, size: int, batches: list[Any], *, compiled: bool = False
) -> tuple[Tensor, list[float]]:
    """Weights and losses of 20 steps, from weights that differ between the processes."""
    torch.manual_seed(rank)
    model = widen(member(name)).double()
    starts = {n: n * rank // size for n in (N_LABELLED, *(len(batch[0]) for batch in batches))}
    shares = {n * (rank + 1) // size - start: (n, start) for n, start in starts.items()}
    options: dict[str, Any] = {"lr": _seeded, "log_every": 1, "compile": compiled}
    with one_draw(shares):
        history = _quietly(model, batches, steps=20, **options)
    return _weights(model), history["loss"]


def _against_one(rank: int) -> dict[str, Any]:
    """By member and mode, the largest difference of two processes from one, and between the two."""
    usual, inside = Step.compile, list[bool]()

    def traced(step: Step, **options: Any) -> Step:
        usual(step, "eager", **options)
        inside.append(step.compiled is not None or step.bound.compiled is None)
        return step

    Step.compile = traced  # type: ignore[method-assign,assignment]
    found: dict[str, Any] = {}
    for name, compiled in itertools.product(("VAE", "GMVAE", "IWAE", "SSVAE"), (False, True)):
        # compiled, the last batch would be one more graph
        batches = _batches(name)[: 2 if compiled else 3]
        weights, losses = _twenty_steps(name, rank, 2, batches, compiled=compiled)
        ours = _same(rank, (weights, losses))
        if rank == 0:
            with alone():
                expected, expected_losses = _twenty_steps(name, 0, 1, batches)
            found[f"{name} {'compiled' if compiled else 'eager'}"] = {
                "weights": (weights - expected).abs().max().item(),
                "losses": max(abs(a - b) for a, b in zip(losses, expected_losses, strict=True)),
                "moved": abs(losses[0] - losses[-1]),
                "ranks are equal": torch.equal(ours[0][0], ours[1][0]) and ours[0][1] == ours[1][1],
            }
    return found | {"inside": inside}


def test_two_processes_are_one() -> None:
    """On the same batches, the last of one image each: weights and losses of 20 steps to 1e-9.

    Compiled, the update is not made inside the graph, where gradients would not be averaged.
    """
    found, _ = in_processes(_against_one)
    assert found.pop("inside") == [False] * 4
    assert len(found) == 8
    for case, of in found.items():
        assert of["weights"] < 1e-9, case
        assert of["losses"] < 1e-9, case
        assert of["moved"] > 0.1, case
        assert of["ranks are equal"], case


class _Norm(nn.Module):
    """Means and log scales of z by a network with a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(16)
        self.linear = nn.Linear(16, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.norm(x.flatten(1))).unflatten(-1, (2, 3))


def _soundly(rank: int) -> dict[str, Any]:
    """What each process finds in trainings that are to go well."""
    found: dict[str, Any] = {"world": world()}
    torch.manual_seed(0)
    images = _pixels(50)
    state = torch.get_rng_state()
    vae = member("VAE")
    draws: list[Tensor] = []
    vae.posterior.register_forward_hook(lambda module, given, out: draws.append(torch.rand(1)))
    screen = io.StringIO()
    with contextlib.redirect_stderr(screen):
        history = fit(vae, images, steps=500, batch_size=9, validation=images[:7])
    found |= {"shown": bool(screen.getvalue()), "history": dict(history), "in": history.world}
    found["vae"], found["noise"] = _weights(vae), torch.cat(draws)
    found["generator"] = torch.get_rng_state()
    torch.set_rng_state(state)

    labelled, classifier = images.labelled(15), member("SSVAE")
    semi = semi_supervised(images, labelled, batch_size=20, labelled_batch_size=5)
    objective = objectives.SemiSupervised(generative_weight=0, labelled_fraction=0.3)
    before = _weights(classifier.likelihood)
    _quietly(classifier, semi, objective, epochs=2)
    found["unused"] = torch.equal(before, _weights(classifier.likelihood))
    found["classifier"] = _weights(classifier)
    found["weight"] = "unlabelled_weight" in vars(objective)  # a setting of runs, if it were
    fractions: list[float] = []
    usual = objectives.SemiSupervised.estimate

    def noted(self: Any, *args: Any) -> Any:
        fractions.append(self.labelled_fraction)
        return usual(self, *args)

    objectives.SemiSupervised.estimate = noted  # type: ignore[method-assign]
    _quietly(classifier, semi, steps=2)
    found["fraction"] = fractions[0]
    few = semi_supervised(images, labelled[labelled.labels > 0], labelled_batch_size=5)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fit(classifier, few, steps=2, log_every=1, progress=False)
    found["said"] = [str(w.message) for w in said if w.category is TrainingWarning]

    norm = _Norm()
    with_norm = member("VAE", posterior=posteriors.DiagonalNormal(X_SHAPE, 3, network=norm))
    _quietly(with_norm, images, steps=6, batch_size=10)
    found["buffers"] = norm.norm.running_mean
    found["with norm"] = _weights(with_norm)

    loader = DataLoader(images, batch_size=10, sampler=DistributedSampler(images, shuffle=False))
    sampled = member("VAE")
    found["sampler"] = _quietly(sampled, loader, epochs=1, log_every=1)["step"]
    own = member("VAE")
    shards = [[_images(4, 7).float()] * 5, [_images(6, 8).float()] * 3][rank]
    found["uneven"] = _quietly(own, shards, epochs=2, log_every=1)["step"]
    found["own"] = _weights(own)
    few = member("VAE")
    _quietly(few, [images.tensors()[0][:1]], steps=3)
    found["few"] = _weights(few)
    return found


@pytest.fixture(scope="module")
def sound() -> list[dict[str, Any]]:
    return in_processes(_soundly)


def test_the_same_weights_and_other_noise(sound: list[dict[str, Any]]) -> None:
    """After 500 steps too; then both draw from where they were: what is made next is the same."""
    a, b = sound
    for name in ("vae", "classifier", "with norm", "own", "few", "generator"):
        assert torch.equal(a[name], b[name]), name
    assert a["vae"].isfinite().all()
    assert len(a["noise"]) == len(b["noise"])
    assert not (a["noise"] == b["noise"]).any()


def test_history_is_the_same_and_one_process_shows_it(sound: list[dict[str, Any]]) -> None:
    a, b = sound
    for name in a["history"].keys() - {"seconds"}:
        assert a["history"][name] == b["history"][name], name
    assert a["history"]["step"] == [100, 200, 300, 400, 500]
    assert "validation_loss" in a["history"]
    assert [f["in"] for f in sound] == [f["world"] for f in sound] == [(0, 2), (1, 2)]
    assert [f["shown"] for f in sound] == [True, False]


def test_parameters_that_are_not_used(sound: list[dict[str, Any]]) -> None:
    assert all(f["unused"] and not f["weight"] for f in sound)


def test_the_labelled_fraction_is_that_of_all_images(sound: list[dict[str, Any]]) -> None:
    assert [f["fraction"] for f in sound] == [15 / 65] * 2


def test_guards_speak_once(sound: list[dict[str, Any]]) -> None:
    first, second = (f["said"] for f in sound)
    assert second == []
    assert len(first) == 1
    assert first[0].startswith("step 1: no labelled image is of class 0: ")


def test_buffers_are_those_of_rank_0(sound: list[dict[str, Any]]) -> None:
    a, b = sound
    assert torch.equal(a["buffers"], b["buffers"])
    assert a["buffers"].abs().max() > 0


def test_shares_that_a_loader_makes(sound: list[dict[str, Any]]) -> None:
    """25 images for each in batches of 10; and 10 and 6 batches, which end with the shorter."""
    assert [f["sampler"] for f in sound] == [[1, 2, 3]] * 2
    assert [f["uneven"] for f in sound] == [[1, 2, 3, 4, 5, 6]] * 2


def test_one_process_pays_nothing_for_several() -> None:
    """No function of these modules is called at a step: as many of them for 2 steps as for 4."""
    several = {m.__file__ for m in (alone_, loaders, processes, shared_step, shares, together)}
    calls: list[str] = []

    def note(frame: Any, event: str, argument: Any) -> None:
        if frame.f_code.co_filename in several and event == "call":
            calls.append(frame.f_code.co_name)

    counts = []
    for steps in (2, 4):
        calls.clear()
        sys.setprofile(note)
        try:
            fit(member("VAE"), _pixels(8), steps=steps, batch_size=4, progress=False)
        finally:
            sys.setprofile(None)
        counts.append(len(calls))
    assert counts[0] == counts[1] > 0


def _by_objective(rank: int) -> dict[str, Any]:
    """By objective, whether the processes stay equal and what it came to."""
    found = {}
    for name in ("Trace_ELBO", "TraceMeanField_ELBO", "TraceGraph_ELBO", "RenyiELBO"):
        torch.manual_seed(3)
        vae = member("VAE")
        objective = getattr(infer, name)(num_particles=2) if name == "RenyiELBO" else None
        before = _weights(vae)
        _quietly(vae, [_images(6, 1).float()], objective or getattr(infer, name)(), steps=3)
        found[name] = _weights(vae), bool((_weights(vae) != before).any())
    ssvae = member("SSVAE")
    _quietly(ssvae, [_images(6, 1).float()], infer.TraceEnum_ELBO(max_plate_nesting=1), steps=3)
    found["TraceEnum_ELBO"] = _weights(ssvae), True
    vae = member("VAE")
    before = _weights(vae)
    _quietly(vae, [_images(6, 1).float()], objectives.IWELBO(5, chunk=2), steps=3)
    found["IWELBO in chunks"] = _weights(vae), bool((_weights(vae) != before).any())
    return found


def test_objectives_of_pyro_and_in_chunks() -> None:
    a, b = in_processes(_by_objective)
    for name, (weights, moved) in a.items():
        assert moved, name
        assert torch.equal(weights, b[name][0]), name
