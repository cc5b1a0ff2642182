"""Factors, masks, observed and deterministic sites: counted as Pyro counts them, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import infer, poutine
from torch import Tensor

from vaezoo.objectives import ELBO, IWELBO, Renyi
from vaezoo.programs.run import run

N = 5
Program = Callable[[Tensor], Any]


@pytest.fixture
def x() -> Tensor:
    return torch.randn(N, 2, dtype=torch.float64)


def normal(loc: Any, scale: float) -> dist.TorchDistribution:
    return dist.Normal(torch.as_tensor(loc, dtype=torch.float64), scale).to_event(1)


def model(x: Tensor) -> None:
    with pyro.plate("data", N):
        z = pyro.sample("z", normal(torch.zeros(2), 1.0))
        pyro.sample("x", normal(z, 1.0), obs=x)


def guide(x: Tensor) -> None:
    with pyro.plate("data", N):
        pyro.sample("z", normal(0.4 * x, 0.8))


def model_with_factor(x: Tensor) -> None:
    with pyro.plate("data", N):
        z = pyro.sample("z", normal(torch.zeros(2), 1.0))
        pyro.factor("energy", -z.square().sum(-1))
        pyro.sample("x", normal(z, 1.0), obs=x)


def jacobian(x: Tensor) -> None:
    """z = 2u, with the density of z in parts."""
    with pyro.plate("data", N):
        u = pyro.sample("u", normal(0.4 * x, 0.8), infer={"is_auxiliary": True})
        pyro.sample("z", dist.Delta(2 * u).to_event(1))
        log_2 = torch.full((N,), 2.0, dtype=torch.float64).log()
        pyro.factor("jacobian", -2 * log_2, has_rsample=True)


def regulariser(x: Tensor) -> None:
    with pyro.plate("data", N):
        z = pyro.sample("z", normal(0.4 * x, 0.8))
        pyro.factor("regulariser", 0.7 * z.sum(-1), has_rsample=True)


def score_function(x: Tensor) -> None:
    with pyro.plate("data", N):
        z = pyro.sample("z", normal(0.4 * x, 0.8))
        pyro.factor("regulariser", 0.7 * z.sum(-1), has_rsample=False)


def noting(program: Program) -> Program:
    """The same program with a note of what it computed."""

    def noted(x: Tensor) -> None:
        with pyro.plate("notes", N):
            pyro.deterministic(f"note of {program.__name__}", 2 * x, event_dim=1)
        pyro.deterministic(f"size of {program.__name__}", torch.tensor(N))
        program(x)

    return noted


PAIRS: dict[str, tuple[Program, Program]] = {
    "no factor": (model, guide),
    "model's factor": (model_with_factor, guide),
    "Jacobian": (model, jacobian),
    "regulariser": (model, regulariser),
    "both": (model_with_factor, regulariser),
    "notes": (noting(model), guide),
}


def same_noise(objective: Any, *pair: Any) -> Tensor:
    torch.manual_seed(1)
    loss = objective.differentiable_loss(*pair)
    return loss if isinstance(loss, Tensor) else torch.tensor(loss)


@pytest.mark.parametrize("objective", [IWELBO(1), Renyi(0.3, particles=1)])
@pytest.mark.parametrize("name", PAIRS)
def test_factors_count_as_pyro_counts_them(name: str, objective: Any, x: Tensor) -> None:
    """The loss per image is Trace_ELBO's on the same noise, to 1e-12."""
    ours = same_noise(objective, *PAIRS[name], x)
    pyros = same_noise(infer.Trace_ELBO(), *PAIRS[name], x) / N
    assert torch.allclose(ours, pyros, rtol=1e-12)


@pytest.mark.parametrize("name", PAIRS)
def test_a_closed_form_kl_keeps_the_factor(name: str, x: Tensor) -> None:
    """rec - kl of the ELBO differs from the sampled log weight by KL - (log q - log p) alone."""
    torch.manual_seed(1)
    terms = run(*PAIRS[name], x)
    sampled = terms.rec - terms.log_w
    z = terms.value("z")
    q, p = normal(0.4 * x, 0.8), normal(torch.zeros(2), 1.0)
    difference = torch.zeros(N, dtype=torch.float64)
    if name != "Jacobian":
        kl = torch.distributions.kl_divergence(q, p.expand([N]))
        difference = kl - (q.log_prob(z) - p.log_prob(z))
    assert torch.allclose((terms.kl - sampled).flatten(), difference, atol=1e-12)


def test_notes_of_a_guide_are_no_labels(x: Tensor) -> None:
    """`pyro.deterministic` in both programs leaves all terms as they are."""
    torch.manual_seed(1)
    terms = run(noting(model), noting(guide), x)
    assert not terms.has_given_labels
    torch.manual_seed(1)
    assert torch.equal(terms.log_w, run(model, guide, x).log_w)


def masked(program: Program, mask: Tensor | bool, *, inside: bool = False) -> Program:
    """A program whose z is masked, by a handler or inside the distribution."""

    def changed(x: Tensor) -> None:
        with pyro.plate("data", N):
            loc, scale = (0.4 * x, 0.8) if program is guide else (torch.zeros(2), 1.0)
            q = normal(loc, scale)
            if inside:
                z = pyro.sample("z", q.expand([N]).mask(mask))
            else:
                with poutine.mask(mask=mask):
                    z = pyro.sample("z", q)
            if program is model:
                pyro.sample("x", normal(z, 1.0), obs=x)

    return changed


SOME, OTHER = (
    torch.tensor([True, False, True, True, False]),
    torch.tensor([True, True, False] * 2)[:N],
)
MASKS = [
    (True, SOME),
    (SOME, True),
    (SOME, SOME),
    (SOME, OTHER),
    (SOME, SOME.clone()),
    (True, False),
]


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(("of_model", "of_guide"), MASKS)
def test_masks_of_one_program_count(of_model: Any, of_guide: Any, inside: bool, x: Tensor) -> None:
    """The log weight is Trace_ELBO's, to 1e-12; the KL is closed where both count, else sampled."""
    pair = masked(model, of_model, inside=inside), masked(guide, of_guide, inside=inside)
    ours = same_noise(IWELBO(1), *pair, x)
    assert torch.allclose(ours, same_noise(infer.Trace_ELBO(), *pair, x) / N, rtol=1e-12)
    torch.manual_seed(1)
    terms = run(*pair, x)
    on_p, on_q = (torch.as_tensor(m).expand(N) for m in (of_model, of_guide))
    q, p, z = normal(0.4 * x, 0.8), normal(torch.zeros(2), 1.0), terms.value("z")
    ratio = on_q * q.log_prob(z) - on_p * p.log_prob(z)
    closed = torch.distributions.kl_divergence(q, p.expand([N]))
    expected = torch.where(on_p & on_q, closed, ratio)
    assert torch.allclose(terms.kl.flatten(), expected, atol=1e-12)


def test_factors_beside_labels_that_are_summed_out(x: Tensor) -> None:
    """A factor of the guide that depends on y, against TraceEnum_ELBO; 2,000 draws each, |z| < 4."""
    weights = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)

    def labelled_model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Categorical(weights.flip(0)), infer={"enumerate": "parallel"})
            z = pyro.sample("z", normal(torch.zeros(2), 1.0))
            pyro.sample("x", normal(z + y[..., None], 1.0), obs=x)

    def labelled_guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Categorical(weights), infer={"enumerate": "parallel"})
            z = pyro.sample("z", normal(0.4 * x - 0.2 * y[..., None], 0.8))
            pyro.factor("regulariser", 0.5 * y + 0.1 * z.sum(-1), has_rsample=True)

    n, wide = 100, x.repeat(20, 1)  # 20 copies of the images at a time
    stock = infer.TraceEnum_ELBO(max_plate_nesting=1)
    with pyro.validation_enabled(False):
        ours = torch.tensor(
            [IWELBO(1).loss(labelled_model, labelled_guide, wide) for _ in range(n)]
        )
        pyros = torch.tensor([stock.loss(labelled_model, labelled_guide, wide) for _ in range(n)])
    pyros = pyros / len(wide)
    difference = ours.mean() - pyros.mean()
    error = ((ours.var() + pyros.var()) / n).sqrt()
    assert error < 0.05
    assert abs(difference / error) < 4


def observing(x: Tensor) -> None:
    guide(x)
    with pyro.plate("again", N):
        pyro.sample("w", normal(torch.zeros(2), 1.0), obs=x)


def given(program: Program, x: Tensor) -> Program:
    conditioned: Program = pyro.condition(program, data={"z": 0.3 * x})
    return conditioned


REFUSED: list[tuple[Callable[[Tensor], Any], str]] = [
    (lambda x: ELBO().loss(given(model, x), guide, x), "is given 'z' and the guide draws it"),
    (lambda x: ELBO().loss(given(model, x), given(guide, x), x), "given 'z', which is no label"),
    (lambda x: ELBO().loss(model, observing, x), "guide observes 'w' and the model does not"),
    (
        lambda x: ELBO().loss(model, score_function, x),
        "'regulariser' of the guide has has_rsample=False",
    ),
    (
        lambda x: ELBO(free_bits=1.0).loss(model, regulariser, x),
        "'regulariser' belongs to no one latent",
    ),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_refused(call: Callable[[Tensor], Any], message: str, x: Tensor) -> None:
    with pytest.raises(ValueError, match=message):
        call(x)


def test_a_factor_that_cannot_be_held_is_refused(x: Tensor) -> None:
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)

    def learned(x: Tensor) -> None:
        with pyro.plate("data", N):
            z = pyro.sample("z", normal(0.4 * x, 0.8))
            pyro.factor("regulariser", scale * z.sum(-1), has_rsample=True)

    assert IWELBO(2).differentiable_loss(model, learned, x).requires_grad
    with pytest.raises(ValueError, match=r"'regulariser' .*estimator='iwae'"):
        IWELBO(2, estimator="dreg").differentiable_loss(model, learned, x)


def test_a_model_given_a_latent_that_the_guide_leaves_out(x: Tensor) -> None:
    """log p(x, z) itself, to 1e-12."""

    def empty(x: Tensor) -> None:
        pass

    expected = normal(torch.zeros(2), 1.0).log_prob(0.3 * x) + normal(0.3 * x, 1.0).log_prob(x)
    assert ELBO().loss(given(model, x), empty, x) == pytest.approx(
        -expected.mean().item(), rel=1e-12
    )
