"""Pairs of one's own, values at the edge, and what is bounded: cases that members do not have."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from zoo import fixed, member

from vaezoo import Bound, data, evaluate, models, priors
from vaezoo.evaluation import (
    accuracy,
    annealed,
    disentanglement,
    evidence,
    gaps,
    rate,
    report,
    sample_quality,
    units,
)
from vaezoo.evaluation.pareto import pareto_shape

pytestmark = pytest.mark.filterwarnings("ignore:.*too few weights to trust:UserWarning")
QUIET: dict[str, Any] = {"progress": False}
X = fixed(6)
QUESTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "evaluate": lambda m, x: evaluate(m, x, particles=4, **QUIET),
    "evidence": lambda m, x: evidence(m, x, 25, **QUIET),
    "annealed": lambda m, x: annealed(m, x, chains=2, temperatures=3, steps=2, **QUIET),
    "gaps": lambda m, x: gaps(m, x, steps=2, particles=25, **QUIET),
}


class Own(nn.Module):
    """A linear pair whose latent has any shape, and whose model may add a factor."""

    def __init__(self, shape: tuple[int, ...], *, factor: bool = False, name: str = "z") -> None:
        super().__init__()
        self.shape, self.factor, self.name = shape, factor, name
        self.encode, self.decode = nn.Linear(16, math.prod(shape)), nn.Linear(math.prod(shape), 16)

    def model(self, x: Tensor) -> None:
        """Bernoulli pixels of a code."""
        pyro.module("pair", self)
        with pyro.plate("images", len(x)):
            prior = dist.Normal(torch.zeros(self.shape), 1.0).to_event(len(self.shape))
            z = pyro.sample(self.name, prior)
            flat = z.reshape(*z.shape[: z.dim() - len(self.shape)], -1)
            logits = self.decode(flat).unflatten(-1, (1, 4, 4))
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(3), obs=x)
            if self.factor:
                pyro.factor("bonus", torch.ones(len(x)))

    def guide(self, x: Tensor) -> None:
        """A Normal around a linear code."""
        with pyro.plate("images", len(x)):
            mean = self.encode(x.flatten(1)).reshape(len(x), *self.shape)
            pyro.sample(self.name, dist.Normal(mean, 0.5).to_event(len(self.shape)))


def made(*shape: int, **options: Any) -> Own:
    torch.manual_seed(0)
    return Own(shape, **options)


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_a_latent_of_any_shape(question: str, shape: tuple[int, ...]) -> None:
    """Codes are the same numbers in any shape, and so is all that is asked of them."""
    flat = made(math.prod(shape))
    expected = QUESTIONS[question](flat, [X])
    own = made(*shape)
    own.load_state_dict(flat.state_dict())
    found = QUESTIONS[question](own, [X])
    for name, each in found.items():
        assert each.mean == pytest.approx(expected[name].mean, rel=1e-4, abs=1e-4), name


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_units_of_a_latent_of_any_shape(shape: tuple[int, ...]) -> None:
    """Each number is one, its variance over images that of its mean, and its KL the closed form."""
    own = made(*shape, name="a latent")
    (found,) = units(own, [X[:3], X[3:]], **QUIET).values()
    mean = own.encode(X.flatten(1)).detach()
    assert found.name == "a latent"
    assert torch.allclose(found.variance.float(), mean.var(0), atol=1e-5)
    kl = 0.5 * (mean.square() + 0.25 - 1) - math.log(0.5)
    assert found.kl is not None
    assert torch.allclose(found.kl.float(), kl.mean(0), rtol=1e-4)


def test_the_rate_of_a_latent_that_is_a_matrix() -> None:
    found = rate(made(2, 3), [X], **QUIET)
    assert found["rate"].mean == pytest.approx(rate(made(6), [X], **QUIET)["rate"].mean, rel=1e-4)


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_factor_is_a_part_of_the_density(question: str) -> None:
    """One of 1 nat for each image raises log p(x) by 1."""
    without, own = (QUESTIONS[question](made(3, factor=f), [X]) for f in (False, True))
    for name, sign in {"nelbo": -1, "log_px": 1, "bound": 1}.items():
        if name in own:
            assert own[name].mean == pytest.approx(without[name].mean + sign, abs=1e-3)


@pytest.mark.usefixtures("torchs_checks")
@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("batches", [1, 2])
def test_values_outside_the_support_are_refused(question: str, batches: int) -> None:
    """As `Bound` refuses them, in the first batch and in a later one."""
    own, grey = made(3), torch.full_like(X, 0.5)
    with pytest.raises(ValueError, match="within the support"):
        Bound(own)(grey)
    with pytest.raises(ValueError, match="within the support"):
        QUESTIONS[question](own, [X, grey][-batches:])


@pytest.mark.parametrize("question", ["evidence", "annealed"])
def test_labels_of_a_later_batch_are_looked_at(question: str) -> None:
    model, y = member("FSVAE"), torch.arange(6) % 3
    with pytest.raises(ValueError, match="-1"):
        QUESTIONS[question](model, [(X, y), (X, torch.where(y == 1, -1, y))])


def test_a_k_named_twice_counts_once() -> None:
    once, twice = (evaluate(made(3), [X], particles=ks, **QUIET) for ks in ((1,), (1, 1)))
    assert twice["niwae-1"] == once["niwae-1"]


@pytest.mark.parametrize("worst", [-math.inf, math.nan])
def test_the_tail_of_weights_one_of_which_is_none(worst: float) -> None:
    """A weight of 0 changes no tail; of NaN nothing is known."""
    log_w = -1.5 * ((torch.arange(4000.0) + 0.5) / 4000).log()[:, None]
    known = pareto_shape(log_w).item()
    log_w[-1] = worst
    found = pareto_shape(log_w).item()
    assert found == pytest.approx(known, abs=0.01) if worst < 0 else math.isnan(found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_is_no_tail(dtype: torch.dtype) -> None:
    """Log weights that differ by rounding alone, summed in float64 as `evidence` does."""
    torch.manual_seed(0)
    noise = torch.randn(1000, 20, dtype=torch.float64).clamp(-4, 4)
    log_w = (-500 * (1 + torch.finfo(dtype).eps * noise)).to(dtype)
    assert bool((pareto_shape(log_w.double(), dtype) == 0).all())


class Box(Own):
    """Pixels within 1 of a code, so that most codes of the prior have no density."""

    def model(self, x: Tensor) -> None:
        """Uniform pixels."""
        with pyro.plate("images", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            box = dist.Uniform(z - 1, z + 1, validate_args=False)
            pyro.sample("x", box.to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        """The prior."""
        with pyro.plate("images", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), 1), 1.0).to_event(1))


def test_chains_that_begin_where_there_is_no_density_have_weight_0() -> None:
    """p(x) = P(|z - x| < 1) / 2 in closed form; 4 Monte Carlo errors, 400 chains."""
    x = torch.tensor([[0.0], [1.0]])
    with pyro.validation_enabled(False):
        found = annealed(Box((1,)), [x], chains=400, temperatures=5, steps=3, **QUIET)
    normal = torch.distributions.Normal(0.0, 1.0)
    exact = ((normal.cdf(x + 1) - normal.cdf(x - 1)) / 2).log().mean().item()
    assert found["log_px"].mean == pytest.approx(exact, abs=4 * found["mc_error"].mean)


def test_accuracy_of_images_of_one_class() -> None:
    """A model that takes all ones for zeros is wrong, not they."""
    model = member("SSVAE")
    model.classify = lambda x: torch.eye(3)[torch.zeros(len(x), dtype=torch.long)]
    x = fixed(30)
    assert accuracy(model, [(x, torch.ones(30, dtype=torch.long))]).mean == 0


def test_a_report_keeps_what_it_has_found() -> None:
    """An image without a label, and numbers of NumPy's."""
    pixels = (fixed(30) * 255).to(torch.uint8)
    labels = torch.arange(30) % 3
    labels[7] = -1
    images = data.Images(pixels, labels, binarisation="threshold")
    found = report(member("GMVAE"), images, particles=np.int64(25), **QUIET)
    assert json.loads(found.json())["settings"]["particles"] == 25
    assert any(note.startswith("clusters: ") for note in found.notes)
    assert found.numbers["evidence"]["log_px"].n == 30


@pytest.mark.parametrize("question", ["units", "evaluate"])
def test_decoded_at_a_time(question: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch of 600 images, ten draws or one: never more than 2,000 codes."""
    own, sizes = made(3), []
    own.decode.register_forward_hook(lambda module, given, out: sizes.append(out[..., 0].numel()))
    x = fixed(6).repeat(100, 1, 1, 1)
    _ = (
        units(own, [x], **QUIET)
        if question == "units"
        else evaluate(own, [x], particles=9, **QUIET)
    )
    assert 0 < max(sizes) <= 2000


def test_samples_are_judged_without_gradients_around_it() -> None:
    """The judge is trained all the same."""
    digits = data.digits("test")[:200]
    with torch.no_grad():
        found = sample_quality(models.VAE(), digits, digits, n=100, steps=5)
    assert found["frechet"].mean > 0


DIGITS = data.digits("test")[:200]
REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: sample_quality(models.VAE(), DIGITS, DIGITS[:1]), "two of test at least, got 200 and 1"),
    (lambda: sample_quality(member("VAE"), DIGITS, DIGITS), "must have one shape, got "),
    (lambda: disentanglement(models.VAE(), DIGITS, {}, **QUIET), "one factor or more, by name"),
    (lambda: disentanglement(models.VAE(), DIGITS, {"a": np.zeros(3)}, **QUIET), "a row for each"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_asked(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_arrays_of_numpy() -> None:
    """Factors and codes may come from elsewhere."""
    classes = np.arange(200) % 3
    found = disentanglement(models.VAE(), DIGITS, {"class": classes}, **QUIET)
    assert found.factors == ["class"]
    codes = np.random.default_rng(0).normal(size=(50, 3))
    one, other = (
        priors.MixtureOfGaussians(3, k=2).start_from(c) for c in (codes, torch.tensor(codes))
    )
    assert torch.equal(one.loc, other.loc)
