"""Importance weights whose draws are made in chunks: exact, and in the memory of a chunk.

They are held against the same objective without chunks, on the same noise, in float64 to 1e-12.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from peaks import Tensors
from pyro.infer import SVI, autoguide
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from zoo import (
    X_SHAPE,
    BadCall,
    batch_for,
    images,
    member,
    refused,
    semi_supervised_batch,
    widen,
    with_parts,
)

from vaezoo import Bound, Step, evaluate, fit
from vaezoo.likelihoods import Bernoulli
from vaezoo.models import VAE
from vaezoo.objectives import IWELBO, Objective, Renyi, SemiSupervised

K, CHUNK = 7, 3  # K divides no other size here: draws of all are known by it
CHUNKS = (3, 3, 1)


class Noise(TorchDispatchMode):
    """Keeps what is drawn, after it has put `given`, if there are such, in its place.

    Args:
        given: for each draw the parts that it is joined from.
    """

    def __init__(self, given: Iterator[list[Tensor]] | None = None) -> None:
        super().__init__()
        self.kept: list[Tensor] = []
        self.given = given

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in func.tags:
            if self.given is not None:
                result.copy_(joined(next(self.given), result.shape))
            self.kept.append(result.detach().clone())
        return result


def joined(parts: list[Tensor], shape: torch.Size) -> Tensor:
    """A draw of all particles, from those of the chunks."""
    at = next(i for i, n in enumerate(shape) if n % K == 0)
    wide = ((*shape[:at], shape[at] * k // K, *shape[at + 1 :]) for k in CHUNKS)
    return torch.cat([part.reshape(s) for part, s in zip(parts, wide, strict=True)], at)


def first_passes(kept: list[Tensor], runs: int) -> Iterator[list[Tensor]]:
    """The parts of each draw; a run is one of a few draws, that checks, and two over the chunks."""
    each = len(kept) // runs
    n = each // (1 + 2 * len(CHUNKS))
    assert n * (1 + 2 * len(CHUNKS)) * runs == len(kept)
    for start in range(n, len(kept), each):
        first, again = (kept[i : i + n * len(CHUNKS)] for i in (start, start + n * len(CHUNKS)))
        assert all(map(torch.equal, first, again))
        yield from (first[i::n] for i in range(n))


def step(model: Any, objective: Objective, batch: Any, noise: Any) -> dict[str, Tensor]:
    """The scalars of a step, its gradients, and the buffers that it leaves."""
    model = copy.deepcopy(model)
    with noise:
        scalars = objective.estimate(model.model, model.guide, *batch)
    scalars["loss"].backward()
    named = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {n: t.detach() for n, t in (scalars | named | dict(model.named_buffers())).items()}


def assert_exact(model: Any, batch: Any, make: Callable[..., Objective], runs: int = 1) -> None:
    model.double()
    noise = Noise()
    found = step(model, make(particles=K, chunk=CHUNK), batch, noise)
    given = Noise(first_passes(noise.kept, runs))
    expected = step(model, make(particles=K), batch, given)
    assert next(given.given or iter([]), None) is None, "draws that were made and not compared"
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-12, msg=name)


OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "iwae": IWELBO,
    "stl": lambda **a: IWELBO(**a, estimator="stl"),
    "dreg": lambda **a: IWELBO(**a, estimator="dreg"),
    "renyi": lambda **a: Renyi(0.5, **a),
}
PAIRS: dict[str, Callable[[], Any]] = {
    "mixture": lambda: member("GMVAE"),
    "vamp, full": lambda: with_parts("VAE", "vamp", "full", "bernoulli"),
    "flows": lambda: with_parts("VAE", "flow", "flow", "bernoulli"),
    "labels given": lambda: member("FSVAE"),
    "labels summed out": lambda: member("SSVAE"),
    "two latents": lambda: member("HierarchicalVAE"),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_chunks_give_what_all_at_once_would(pair: str) -> None:
    """Scalars and all gradients, of 7 draws in chunks of 3, 3 and 1."""
    name = {"labels given": "FSVAE"}.get(pair, "VAE")
    for objective in OBJECTIVES.values():
        assert_exact(widen(PAIRS[pair]()), batch_for(name, dtype=torch.float64), objective)


@pytest.mark.parametrize("objective", ["iwae", "dreg", "renyi"])
def test_both_terms_of_semi_supervised(objective: str) -> None:
    """Labels given and summed out, and the classifier's loss beside them."""
    batch = semi_supervised_batch(dtype=torch.float64)

    def make(**a: Any) -> Objective:
        return SemiSupervised(OBJECTIVES[objective](**a), labelled_fraction=0.3)

    assert_exact(widen(member("SSVAE")), batch, make, runs=2)


def test_a_label_that_depends_on_another_latent() -> None:
    """The loss of M1M2's classifier is a mean over the draws of z1."""
    batch = semi_supervised_batch(dtype=torch.float64)

    def make(**a: Any) -> Objective:
        return SemiSupervised(IWELBO(**a), generative_weight=0)

    assert_exact(widen(member("M1M2")), batch, make)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_images_that_were_computed(objective: str) -> None:
    """What they were made from has the gradient that it has without chunks."""
    model, scales = widen(with_parts("VAE", "normal", "diagonal", "normal")), []

    class Scaled(nn.Module):
        """An objective of images that have a graph of their own."""

        def __init__(self, inner: Objective) -> None:
            super().__init__()
            self.inner = inner

        def estimate(self, model: Any, guide: Any, x: Tensor) -> dict[str, Tensor]:
            scales.append(torch.ones(X_SHAPE, dtype=x.dtype, requires_grad=True))
            return self.inner.estimate(model, guide, (x * scales[-1]).tanh())

    def make(**a: Any) -> Any:
        return Scaled(OBJECTIVES[objective](**a))

    assert_exact(model, batch_for("VAE", dtype=torch.float64), make)
    found, expected = (scale.grad for scale in scales)
    assert expected.abs().min() > 0
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_networks_that_draw_or_keep_statistics() -> None:
    """Dropout has the same masks in both passes; a batch norm moves once a step, as ever."""
    decoder = nn.Sequential(nn.Linear(3, 5), nn.Dropout(0.4), nn.Linear(5, 16))
    decoder.append(nn.Unflatten(-1, X_SHAPE))
    vae = member("VAE", likelihood=Bernoulli(3, X_SHAPE, network=decoder))
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.BatchNorm1d(5), nn.Linear(5, 6))
    encoder.append(nn.Unflatten(-1, (2, 3)))
    vae.posterior.network = encoder
    for objective in (OBJECTIVES["iwae"], OBJECTIVES["dreg"]):
        assert_exact(vae, (images(dtype=torch.float64),), objective)


class Own(nn.Module):
    """A pair of one's own, with what a zoo's member has not: x = loc + z + noise."""

    def __init__(self, shift: Callable[[Own], Any] = lambda own: 0.0) -> None:
        super().__init__()
        self.loc, self.shift = nn.Parameter(torch.zeros(16)), shift
        self.linear = nn.utils.parametrizations.spectral_norm(nn.Linear(16, 16))
        self.register_buffer("calls", torch.zeros(()))

    def model(self, x: Tensor) -> None:
        self.calls += 1
        with pyro.plate("images", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(16), 1.0).to_event(1))
            loc = self.linear(z) + self.loc + self.shift(self)
            pyro.sample("x", dist.Normal(loc, 0.5).to_event(1), obs=x.flatten(1))

    def guide(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            pyro.sample("z", dist.Normal(self.loc, 1.0).to_event(1))


def test_hooks_of_parameters_run_once() -> None:
    """One that halves a gradient halves it, and not a quarter of it remains."""
    vae, found = member("VAE"), []
    for scale in (1.0, 0.5):
        twin = copy.deepcopy(vae)
        for p in twin.parameters():
            p.register_hook(lambda g, scale=scale: g * scale)
        torch.manual_seed(0)
        Bound(twin, IWELBO(K, chunk=CHUNK))(images())["loss"].backward()
        found.append([p.grad for p in twin.parameters()])
    torch.testing.assert_close([g / 2 for g in found[0]], found[1])


def test_what_programs_write_is_written_once() -> None:
    """A count, and the vectors of a spectral norm, which both passes must begin with."""
    assert_exact(Own(), (images(dtype=torch.float64),), IWELBO)


def test_numbers_of_numpy_are_drawn_again() -> None:
    own, x = Own(lambda _: np.random.normal()).double(), images(dtype=torch.float64)  # noqa: NPY002
    found = step(own, IWELBO(K, chunk=CHUNK), (x,), Noise())
    assert found["loss"].isfinite()


def test_a_program_that_does_not_repeat_itself_is_refused() -> None:
    """It draws from a generator of its own: gradients would be those of other draws."""
    generator = torch.Generator()
    own = Own(lambda _: torch.randn((), generator=generator))
    with pytest.raises(RuntimeError, match="drew other numbers from the same random state"):
        IWELBO(K, chunk=CHUNK).estimate(own.model, own.guide, images())
    with torch.no_grad():  # one pass
        assert np.isfinite(IWELBO(K, chunk=CHUNK).loss(own.model, own.guide, images()))


def test_generators_go_on_from_one_pass() -> None:
    """With gradients or without, and after the run that checks; a chunk of all draws is None."""
    vae, x, after = member("VAE"), images(), []
    for objective, context in (
        (IWELBO(K, chunk=CHUNK), torch.enable_grad()),
        (IWELBO(K, chunk=CHUNK), torch.no_grad()),
        (IWELBO(K, chunk=K), torch.no_grad()),
        (IWELBO(K), torch.no_grad()),
    ):
        torch.manual_seed(3)
        with context:
            loss = objective.differentiable_loss(vae.model, vae.guide, x).detach()
        after.append((loss, torch.get_rng_state()))
    for (a, s), (b, t) in (after[:2], after[2:]):
        assert torch.equal(a, b)
        assert torch.equal(s, t)


def test_other_ways_to_take_steps() -> None:
    """`fit`, `Step` under a norm, SVI with an autoguide, and bf16; weights move, no warning."""
    objective, x = IWELBO(K, chunk=CHUNK), images()
    vae = member("VAE")
    history = fit(vae, [x], objective, steps=3, validation=[x], progress=False, precision="bf16")
    assert np.isfinite([*history["loss"], *history["validation_loss"]]).all()
    bound = Bound(vae, objective)
    take = Step(bound, torch.optim.Adam(bound.parameters(), 1e-2), max_grad_norm=1.0)
    losses = [take(x)["loss"].item() for _ in range(40)]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    own, optimizer = Own(), pyro.optim.Adam({"lr": 1e-2})
    guide = autoguide.AutoNormal(own.model)
    for model, program in ((vae.model, vae.guide), (own.model, guide)):
        svi = SVI(model, program, optimizer, objective)
        svi.step(x)
        trained = next((guide if program is guide else vae).parameters())
        before = trained.clone()
        svi.step(x)
        assert not torch.equal(before, trained)


def test_compiled_steps_say_why_they_are_not() -> None:
    vae, x = member("VAE"), images()
    bound = Bound(vae, IWELBO(K, chunk=CHUNK)).compile("eager")
    bound(x)["loss"].backward()
    with pytest.warns(UserWarning, match=r"eagerly: .*IWELBO\(particles=7, chunk=3\) makes its"):
        bound(x)["loss"].backward()
    bound(x)["loss"].backward()


def test_gradients_are_not_differentiated_again() -> None:
    vae = member("VAE")
    loss = IWELBO(K, chunk=CHUNK).differentiable_loss(vae.model, vae.guide, images())
    with pytest.raises(RuntimeError, match="chunk=None"):
        torch.autograd.grad(loss, list(vae.parameters()), create_graph=True)


def test_memory_is_that_of_a_chunk() -> None:
    """20,000 draws of 2 images of 784 pixels: 125 MB for each tensor of pixels, in chunks 3.

    In tensors that are held at one moment; a tenth of the draws, all at once, is seen to take more.
    """
    vae = VAE(z_dim=2, hidden=(8,))
    x = torch.zeros(2, 1, 28, 28)
    with Tensors() as at_once:
        Bound(vae, IWELBO(2000))(x)["loss"].backward()
    assert at_once.most > 40e6
    with Tensors() as chunked:
        Bound(vae, IWELBO(20_000, chunk=500))(x)["loss"].backward()
    assert 10e6 < chunked.most < 20e6
    with Tensors() as evaluated:
        evaluate(vae, [x], particles=20_000, max_decodes=2000, progress=False)
    assert 10e6 < evaluated.most < 30e6


BAD: list[BadCall] = [
    (lambda: IWELBO(5, chunk=0), ValueError, "chunk must be at least 1, got 0"),
    (lambda: IWELBO(5, chunk=2.5), ValueError, "chunk must be a whole number, got 2.5"),
    (lambda: Renyi(particles=5, chunk="2"), TypeError, "chunk must be a whole number, got '2'"),
    (
        lambda: IWELBO(K, chunk=2).estimate((m := member("M1M2")).model, m.guide, images()),
        ValueError,
        "the guide draws it before every other latent",
    ),
    (
        lambda: IWELBO(K, chunk=2).estimate((m := member("VAE")).model, m.guide, images() + 0.5),
        ValueError,
        "binar",
    ),
]
test_refused = refused(BAD)
