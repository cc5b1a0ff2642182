"""The contract: every part of the zoo keeps to it, and one broken part per clause is refused."""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from zoo import HIDDEN, LIKELIHOODS, POSTERIORS, PRIORS, refused

from vaezoo import contract, likelihoods, networks, posteriors, priors
from vaezoo.contract import (
    ContractError,
    check_classifier,
    check_likelihood,
    check_part,
    check_posterior,
    check_prior,
)
from vaezoo.contract.proposal import LocalProposal, Proposal
from vaezoo.likelihoods import Likelihood
from vaezoo.posteriors import Classifier, Posterior
from vaezoo.priors import Prior

X_SHAPE, CLASSES, N = (4,), 3, 4
# sizes beside 2, at which every part is checked
PRIOR_SIZES = [
    *((n, 2) for n in PRIORS if n != "vamp"),
    ("mixture", 1),
    ("weights", 5),
    ("flow", 3),
]
POSTERIOR_SIZES = [*((n, 2) for n in POSTERIORS), ("diagonal", 3), ("full", 1), ("low rank", 4)]


def inputs(shape: tuple[int, ...], classes: int = 0) -> tuple[Tensor, ...]:
    x = torch.rand(N, *shape)
    return (x, torch.arange(N) % classes) if classes else (x,)


@pytest.mark.parametrize(("name", "size"), PRIOR_SIZES)
def test_priors(name: str, size: int) -> None:
    check_prior(PRIORS[name](X_SHAPE, size, 0))


@pytest.mark.parametrize("classes", [0, CLASSES])
@pytest.mark.parametrize(("name", "size"), POSTERIOR_SIZES)
def test_posteriors(name: str, size: int, classes: int) -> None:
    check_posterior(POSTERIORS[name](X_SHAPE, size, classes), *inputs(X_SHAPE, classes))


@pytest.mark.parametrize("classes", [0, CLASSES])
@pytest.mark.parametrize(
    ("name", "size"), [("diagonal", 3), ("full", 2), ("full", 1), ("low rank", 2), ("flow", 2)]
)
def test_vamp_priors(name: str, size: int, classes: int) -> None:
    posterior = POSTERIORS[name](X_SHAPE, size, classes)
    prior = priors.VampPrior(X_SHAPE, posterior.z_dim, k=3, classes=classes)
    prior.follow(posterior)
    check_prior(prior)


class Shifted(Prior):
    """N(the mean code of an image of zeros, I); where it keeps the posterior is its own affair."""

    def __init__(self, z_dim: int = 3) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.raw = nn.Parameter(torch.zeros(1, *X_SHAPE))
        self.kept: dict[str, nn.Module] = {}

    def follow(self, posterior: nn.Module) -> None:
        self.kept["posterior"] = posterior

    def follows(self) -> tuple[nn.Module, ...]:
        return tuple(self.kept.values())

    def forward(self) -> dist.TorchDistribution:
        return dist.Normal(self.kept["posterior"](self.raw).mean[0], 1.0).to_event(1)

    def __repr__(self) -> str:
        return "Shifted()"


def test_a_prior_says_what_it_follows() -> None:
    """And is asked: nothing is searched for modules."""
    prior = Shifted()
    prior.follow(POSTERIORS["diagonal"](X_SHAPE, 3, 0))
    check_prior(prior)
    assert priors.StandardNormal(2).follows() == ()


@pytest.mark.parametrize("classes", [0, CLASSES])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihoods(name: str, classes: int) -> None:
    check_likelihood(LIKELIHOODS[name]((2, 2), 2, classes), *inputs((2,), classes))


@pytest.mark.parametrize("classes", [2, 5])
def test_classifiers(classes: int) -> None:
    check_classifier(Classifier(X_SHAPE, classes, hidden=HIDDEN), *inputs(X_SHAPE))


class Broken(Prior):
    """A Normal prior by a distribution of our own; `what` names how it is broken."""

    def __init__(self, z_dim: int = 2, *, what: str = "") -> None:
        super().__init__()
        self.z_dim, self.what = z_dim, what
        self.loc = nn.Parameter(torch.zeros(z_dim))
        if what in ("unused parameter", "zero gradient"):
            self.idle = nn.Parameter(torch.zeros(1))
        if what == "lock":
            self.lock = threading.Lock()
        self.noise = torch.rand(()).item() if what == "unregistered" else 0.0
        if what == "list":
            self.what = ["list"]
        if what == "forgotten":
            del self.what

    def forward(self) -> Any:
        what, loc = getattr(self, "what", ""), self.loc
        if what == "kept draw":
            self.last = 2 * loc
        if what == "kept state":
            self.noise += 1.0
        if what == "event shape":
            return dist.Normal(loc, torch.ones_like(loc))
        if what == "batch shape":
            return dist.Normal(loc.expand(3, -1), 1.0).to_event(1)
        if what == "float32":
            return dist.Normal(loc.detach().float(), 1.0).to_event(1)
        if what == "float64":
            return dist.Normal(loc.double(), 1.0).to_event(1)
        if what == "zero gradient":
            loc = loc + 0 * self.idle
        if what == "nan gradient":
            loc = loc + loc.square().sum().sqrt()
        return Law(loc + self.noise, what)

    def __repr__(self) -> str:
        return "Broken(\n)" if getattr(self, "what", "") == "repr" else "Broken()"


class Law(dist.TorchDistribution):
    """N(loc, I) that is not an Independent, right or not."""

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012
    support = dist.constraints.real_vector

    def __init__(self, loc: Tensor, what: str) -> None:
        self.loc, self.what = loc, what
        super().__init__(loc.shape[:-1], loc.shape[-1:])

    def expand(self, batch_shape: Any, _instance: Any = None) -> Law:
        return Law(self.loc.expand(*batch_shape, -1), self.what)

    def log_prob(self, value: Tensor) -> Tensor:
        found = dist.Normal(self.loc, 1.0).to_event(1).log_prob(value)
        return found + 0.05 if self.what == "unnormalised" else found

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            noise = torch.randn(self._extended_shape(sample_shape), dtype=self.loc.dtype)
            if self.what == "wide draws":
                noise = noise * 1.05
            if self.what == "correlated draws":
                noise = torch.cat(
                    [noise[..., :1], 0.99 * noise[..., 1:] + 0.1 * noise[..., :1]], -1
                )
            return self.loc + noise


class BrokenPosterior(Posterior):
    def __init__(self, what: str = "") -> None:
        super().__init__()
        self.z_dim, self.what = 2, what
        self.network = networks.MLP(X_SHAPE, (4,), (2,))

    def __repr__(self) -> str:
        return "BrokenPosterior()"

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        loc = self.network(x)
        if self.what == "neighbours":
            loc = loc - loc.mean(0)
        if self.what == "no particles" and x.dim() > 2:
            loc = loc.flatten(0, -2)
        if self.what == "mixture":
            parts = dist.Normal(torch.stack([loc, -loc], -2), 1.0).to_event(1)
            return dist.MixtureSameFamily(dist.Categorical(logits=torch.zeros_like(loc)), parts)
        if self.what == "detached draw":
            return DetachedDraw(loc, 1.0).to_event(1)
        if self.what == "cache":
            return dist.TransformedDistribution(dist.Normal(loc, 1.0).to_event(1), [Shift()])
        return dist.Normal(loc, 1.0).to_event(1)


class DetachedDraw(dist.Normal):
    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return super().rsample(sample_shape).detach()


class Shift(torch.distributions.Transform):
    """z = ε + 1 whose inverse forgets the 1."""

    domain = codomain = dist.constraints.real_vector
    bijective = True

    def __init__(self) -> None:
        super().__init__(cache_size=1)

    def _call(self, x: Tensor) -> Tensor:
        return x + 1

    def _inverse(self, y: Tensor) -> Tensor:
        return y + 0

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return x.new_zeros(x.shape[:-1])


class BrokenLikelihood(Likelihood):
    def __init__(self, what: str = "") -> None:
        super().__init__(2, (3,), hidden=(4,))
        self.what = what

    def forward(self, z: Tensor, y: Tensor | None = None) -> Any:
        h = self._decode(z, y)
        if self.what == "no normaliser":
            return GreyBernoulli(logits=h).to_event(1)
        if self.what == "counts":
            return OverdrawnPoisson(h.exp()).to_event(1)
        if self.what == "no mean":
            return dist.Cauchy(h, 1.0).to_event(1)
        return dist.Normal(h, 1.0).to_event(1)

    def check(self, x: Tensor) -> None:
        if self.what == "check" and (x < 0).any():
            raise ValueError("no negative numbers")


class GreyBernoulli(dist.ContinuousBernoulli):
    """The error after which the continuous Bernoulli is named."""

    def log_prob(self, value: Tensor) -> Tensor:
        return -nn.functional.binary_cross_entropy_with_logits(
            *torch.broadcast_tensors(self.logits, value), reduction="none"
        )


class OverdrawnPoisson(dist.Poisson):
    def sample(self, sample_shape: Any = ()) -> Tensor:
        return torch.poisson(1.1 * self.rate.detach().expand(self._extended_shape(sample_shape)))


class BrokenClassifier(Classifier):
    def __init__(self, what: str = "") -> None:
        super().__init__(X_SHAPE, 3, hidden=(16,))  # not so few that all may be at rest
        self.what = what
        self.register_buffer("idle", torch.zeros(1), persistent=False)
        if what == "unsaved":
            self.idle = torch.randn(3)

    def __repr__(self) -> str:
        return "BrokenClassifier()"

    def forward(self, x: Tensor) -> Any:
        logits = self.network(x)
        if self.what == "unsaved":
            logits = logits + self.idle
        if self.what == "one-hot":
            return dist.OneHotCategorical(logits=logits)
        if self.what == "classes":
            return dist.Categorical(logits=logits[..., :2])
        if self.what in ("unnormalised", "drawn", "floats"):
            return BrokenLabels(logits, self.what)
        if self.what == "neighbours":
            logits = logits - logits.mean(0)
        return dist.Categorical(logits=logits.detach() if self.what == "detached" else logits)


class BrokenLabels(dist.Categorical):
    def __init__(self, logits: Tensor, what: str) -> None:
        self.what = what
        super().__init__(logits=logits)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return BrokenLabels(self.logits.expand(*batch_shape, 3), self.what)

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value.long()) + (0.01 if self.what == "unnormalised" else 0.0)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        if self.what == "floats":
            return super().sample(sample_shape).to(self.logits.dtype)
        others = dist.Categorical(logits=self.logits.detach() * (-3 if self.what == "drawn" else 1))
        return others.sample(sample_shape)


REFUSED: list[tuple[Any, str]] = [
    (lambda: Broken(what="unnormalised"), r"normalises: expected an integral of 1 to 0\.001, got 1\.0512"),
    (lambda: Broken(1, what="unnormalised"), r"normalises: .* got 1\.0512.*; add the log of the norm"),
    (lambda: Broken(5, what="unnormalised"), r"normalises: expected an integral of 1, got 1\.0\d+ ± 0\.00.* importance"),
    (lambda: Broken(1, what="wide draws"), "samples: expected a p-value above .*mend the wrong one"),
    (lambda: Broken(2, what="wide draws"), "samples: expected a p-value"),
    (lambda: Broken(5, what="wide draws"), "samples: expected a p-value"),
    (lambda: Broken(2, what="correlated draws"), "samples: expected a p-value"),
    (lambda: Broken(what="unused parameter"), "gradients: expected a gradient of the density for idle, got none; use idle, or leave it out"),
    (lambda: Broken(what="zero gradient"), "gradients: expected a gradient of the density for idle, got none"),
    (lambda: Broken(what="nan gradient"), "gradients: expected a gradient of the density for loc, got NaN"),
    (lambda: Broken(what="event shape"), r"shapes: .* shape \(\(\), \(2,\)\), got \(\(2,\), \(\)\); to_event"),
    (lambda: Broken(what="batch shape"), r"shapes: .* got \(\(3,\), \(2,\)\)"),
    (lambda: Broken(what="float32"), "dtypes: expected a draw of torch.float64 .*got torch.float32; make constants"),
    (lambda: Broken(what="float64"), "dtypes: expected a draw of torch.float32 .*got torch.float64"),
    (lambda: Broken(what="forgotten"), "rebuilds: .* got no what; write self.what = what"),
    (lambda: Broken(what="list"), r"rebuilds: expected what to be .* got \['list'\]"),
    (lambda: Broken(what="unregistered"), "rebuilds: .*log-densities off by"),
    (lambda: Broken(what="lock"), "copies: expected a part that deepcopy can copy, got TypeError: .*lock"),
    (lambda: Broken(what="kept draw"), "(dtypes|copies): .*deepcopy"),
    (lambda: Broken(what="kept state"), "leading|copies|rebuilds"),
    (lambda: Broken(what="repr"), r"one line: .* got 'Broken\(\\n\)'; write a __repr__"),
    (lambda: BrokenPosterior("mixture"), "rsample: expected has_rsample, got MixtureSameFamily without"),
    (lambda: BrokenPosterior("cache"), "rsample: expected one density .* inverse of the transform"),
    (lambda: BrokenPosterior("detached draw"), "gradients: expected a gradient of a draw, got none; .* without detach"),
    (lambda: BrokenPosterior("neighbours"), "leading: expected the same densities for one input"),
    (lambda: BrokenPosterior("no particles"), r"leading: expected batch shape \(3, 4\) with particles"),
    (lambda: BrokenLikelihood("no normaliser"), r"normalises: expected an integral of 1"),
    (lambda: BrokenLikelihood("counts"), "samples: expected a p-value"),
    (lambda: BrokenLikelihood("check"), "outcomes: expected check to accept a draw, got ValueError: no negative"),
    (lambda: BrokenLikelihood("no mean"), r"outcomes: expected a finite mean \(4, 3\)"),
    (lambda: BrokenClassifier("one-hot"), r"dtypes: expected a draw of torch.int64 from a part of torch.float64"),
    (lambda: BrokenClassifier("floats"), r"dtypes: expected a draw of torch.int64 .*, got torch.float64"),
    (lambda: BrokenClassifier("classes"), r"labels: expected all of 0\.\.2 by enumerate_support, got Categorical"),
    (lambda: BrokenClassifier("unnormalised"), r"labels: expected probs \(4, 3\) that log_prob agrees with, got"),
    (lambda: BrokenClassifier("drawn"), "samples: expected a p-value above .* mend the wrong one"),
    (lambda: BrokenClassifier("detached"), "gradients: expected a gradient of the density, got none"),
    (lambda: BrokenClassifier("neighbours"), "leading: expected the same densities for one input"),
    (lambda: BrokenClassifier("unsaved"), "rebuilds: .* a file of its state, got .*log-densities off by"),
]  # fmt: skip


def given(part: Any) -> tuple[Tensor, ...]:
    if isinstance(part, Prior):
        return ()
    return inputs(X_SHAPE if isinstance(part, Posterior | Classifier) else (2,))


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=range(len(REFUSED)))
def test_broken_parts_are_refused(make: Callable[[], Any], message: str) -> None:
    part = make()
    with pytest.raises(ContractError, match=message):
        check_part(part, *given(part))


@pytest.mark.parametrize(
    "make",
    [
        Broken,
        lambda: Broken(1),
        lambda: Broken(5),
        BrokenPosterior,
        BrokenLikelihood,
        BrokenClassifier,
    ],
    ids=range(6),
)
def test_the_same_parts_unbroken_are_accepted(make: Callable[[], Any]) -> None:
    """So that what is refused above is refused for what it is broken by."""
    part = make()  # here, from the test's seed
    check_part(part, *given(part))


def test_contract_leaves_everything_as_it_was() -> None:
    """Weights, dtype, mode, gradients and followed posterior; generator, settings and store."""
    posterior = POSTERIORS["diagonal"](X_SHAPE, 3, 0).train()
    prior = priors.VampPrior(X_SHAPE, 3, k=3)
    prior.follow(posterior)
    for p in itertools.chain(posterior.parameters(), prior.parameters()):
        p.grad = torch.ones_like(p)
    x = torch.rand(2, *X_SHAPE)
    before = copy.deepcopy((posterior.state_dict(), prior.state_dict()))
    pyro.clear_param_store()
    generator = torch.get_rng_state()
    with torch.no_grad(), pyro.validation_enabled(False):
        check_part(prior)
        check_part(posterior, x)
        assert not dist.is_validation_enabled()
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), generator)
    assert not list(pyro.get_param_store().keys())
    for part, state in zip((posterior, prior), before, strict=True):
        assert part.training
        assert all((p.grad == 1).all() and p.dtype == torch.float32 for p in part.parameters())
        assert all(torch.equal(t, part.state_dict()[n]) for n, t in state.items())


def test_a_seed_gives_one_verdict() -> None:
    messages = set()
    for _ in range(2):
        with pytest.raises(ContractError) as caught:
            check_prior(Broken(5, what="wide draws"), seed=3)
        messages.add(str(caught.value))
        torch.rand(7)
    assert len(messages) == 1


def test_float64_parts_and_inputs_of_either_precision() -> None:
    check_posterior(
        POSTERIORS["diagonal"](X_SHAPE, 3, 0).double(), torch.rand(2, *X_SHAPE).double()
    )
    check_likelihood(likelihoods.Poisson(2, (3,), hidden=(4,)).double(), torch.rand(2, 2))


class Islands(priors.MixtureOfGaussians):
    """Components as far apart as `spread` says, right or not."""

    def __init__(self, z_dim: int, spread: float, *, what: str = "") -> None:
        super().__init__(z_dim, k=4)
        self.spread, self.what = spread, what
        nn.init.normal_(self.loc, std=spread)

    def forward(self) -> Any:
        d = super().forward()
        return Wrong(d.mixture_distribution, d.component_distribution, self.what)

    def __repr__(self) -> str:
        return "Islands()"


class Wrong(dist.MixtureSameFamily):
    """A mixture that is too high by a tenth, or that draws a component too often."""

    def __init__(self, weights: Any, parts: Any, what: str) -> None:
        self.what = what
        super().__init__(weights, parts, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        weights, parts = self.mixture_distribution, self.component_distribution
        return Wrong(weights.expand(batch_shape), parts.expand((*batch_shape, 4)), self.what)

    def log_prob(self, value: Tensor) -> Tensor:
        found: Tensor = super().log_prob(value)
        return found + 0.1 if self.what == "unnormalised" else found

    def sample(self, sample_shape: Any = ()) -> Tensor:
        weights = self.mixture_distribution.probs
        if self.what == "drawn":
            weights = weights * weights.new_tensor([1.3, 1, 1, 1])
        i = torch.distributions.Categorical(weights).sample(sample_shape)
        each = self.component_distribution.sample(sample_shape)
        return each.gather(-2, i[..., None, None].expand(*i.shape, 1, each.shape[-1])).squeeze(-2)


@pytest.mark.parametrize(("size", "spread"), [(1, 300.0), (2, 30.0), (3, 30.0), (5, 300.0)])
def test_components_that_lie_far_apart(size: int, spread: float) -> None:
    """Right ones are accepted, and wrong ones refused by the clause that they break."""
    torch.manual_seed(size)
    check_prior(Islands(size, spread))
    with pytest.raises(ContractError, match=r"normalises: expected an integral of 1.* got 1\.[01]"):
        check_prior(Islands(size, spread, what="unnormalised"))
    with pytest.raises(ContractError, match="samples: expected a p-value"):
        check_prior(Islands(size, spread, what="drawn"))


def test_an_integral_that_is_not_known_is_not_called_wrong() -> None:
    with pytest.raises(ContractError, match=r"known to a tenth, got 0\.0.*fewer dim"):
        check_prior(Islands(40, 30.0))


@pytest.mark.parametrize("kind", [Proposal, LocalProposal])
def test_the_proposal_is_a_density(kind: Any) -> None:
    """Its integral over the plane to 1e-3, and its draws against it: n = 20,000, |z| < 4."""
    draws = torch.randn(500, 2).double() @ torch.tensor([[1.0, 0.5], [0.0, 2.0]]).double()
    q = kind(draws, kernels=20)
    t = torch.linspace(-8, 8, 401).double().sinh()
    points = torch.cartesian_prod(t, t)
    area = torch.cartesian_prod(*2 * [(1 + t.square()).sqrt() * 16 / 400]).prod(-1)
    assert (q.log_prob(points).exp() * area).sum().item() == pytest.approx(1, abs=1e-3)
    draws = q.sample(20_000)
    inside = (q.whiten(draws).square().sum(-1) < 1).double()
    mass = (q.log_prob(points).exp() * area)[q.whiten(points).square().sum(-1) < 1].sum()
    assert abs((inside.mean() - mass) / inside.std() * len(draws) ** 0.5) < 4


def test_other_modules_are_no_parts() -> None:
    with pytest.raises(
        TypeError, match="a Prior, Posterior, Likelihood or Classifier, got a Linear"
    ):
        check_part(nn.Linear(1, 1))  # type: ignore[arg-type]


test_no_inputs = refused(
    {
        "a likelihood": (lambda: contract.check_part(likelihoods.Normal(2, (3,))), TypeError, r"of a Normal takes codes, such as torch\.randn\(5, z_dim\)"),
        "a posterior": (lambda: contract.check_part(posteriors.DiagonalNormal((3,), 2)), TypeError, r"of a DiagonalNormal takes images, and labels"),
    }
)  # fmt: skip
