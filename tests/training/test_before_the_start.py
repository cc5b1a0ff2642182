"""What `fit` refuses before its first step, and what it looks at in batches after that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.optim import Adam, ClippedAdam
from torch import Tensor, nn

from vaezoo import Bound, evaluate, fit, likelihoods, models, posteriors, training
from vaezoo.networks.leading import over_leading
from vaezoo.objectives import IWELBO, Objective

X = [torch.ones(7, 12)]


def made() -> models.VAE:
    torch.manual_seed(0)
    return models.VAE((12,), 2, hidden=(8,))


def train(model: Any, **options: Any) -> Any:
    return fit(model, X, steps=1, progress=False, **options)


def without_gradients() -> Any:
    with torch.no_grad():
        return train(made())


def in_inference() -> Any:
    with torch.inference_mode():
        return train(made())


def from_inference() -> Any:
    with torch.inference_mode():
        vae = made()
    return train(vae)


def compiled() -> Any:
    return torch.compile(made(), backend="eager")


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no_grad": (
        without_gradients,
        RuntimeError,
        "needs gradients, which are off here: leave torch",
    ),
    "inference": (
        in_inference,
        RuntimeError,
        "leave torch.no_grad() or torch.inference_mode() bef",
    ),
    "inference's": (
        from_inference,
        ValueError,
        "was made in torch.inference_mode(), and cannot be",
    ),
    "meta": (
        lambda: train(made().to("meta")),
        ValueError,
        "on the meta device, which holds no num",
    ),
    "compiled": (
        lambda: train(compiled()),
        TypeError,
        "must be the VAE itself, got torch.compile(",
    ),
    "its bound": (
        lambda: Bound(compiled()),
        TypeError,
        "compile steps by fit(…, compile=True), or",
    ),
    "evaluated": (
        lambda: evaluate(compiled(), X),
        TypeError,
        "must be the VAE itself, got torch.c",
    ),
    "Pyro's": (
        lambda: train(made(), optimizer=Adam({"lr": 1e-3})),
        *(TypeError, "got one of pyro.optim, which is for SVI: write optimizer=torch.optim.Adam"),
    ),
    "Pyro's own": (
        lambda: train(made(), optimizer=ClippedAdam({"lr": 1e-3})),
        *(TypeError, "got one of pyro.optim, which is for SVI: write optimizer=torch.optim.Adam"),
    ),
    "a function": (
        lambda: train(made(), optimizer=lambda parameters: None),
        *(TypeError, "got a function that returns a NoneType"),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_at_the_call(case: str) -> None:
    call, error, message = REFUSED[case]
    with pytest.raises(error) as raised:
        call()
    assert message in str(raised.value)


class Mine(nn.Module):
    """A pair of one's own, which nobody but Pyro checks."""

    def __init__(self, make: Callable[..., dist.TorchDistribution]) -> None:
        super().__init__()
        self.encoder = posteriors.DiagonalNormal((12,), 2, hidden=(8,))
        self.decoder, self.make = nn.Linear(2, 12), make

    def model(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", self.make(self.decoder(z)).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            pyro.sample("z", self.encoder(x))


OBSERVED: dict[str, tuple[Callable[..., dist.TorchDistribution], float, float]] = {
    "Bernoulli": (lambda r: dist.Bernoulli(logits=r), 1, 2.0),
    "Poisson": (lambda r: dist.Poisson(r.exp()), 1, 0.5),
    "ContinuousBernoulli": (lambda r: dist.ContinuousBernoulli(logits=r), 1, -1.0),
    "Gamma": (lambda r: dist.Gamma(r.exp(), 1.0), 1, -1.0),
    "Beta": (lambda r: dist.Beta(r.exp(), 1.0), 0.5, 1.5),
}


@pytest.mark.usefixtures("torchs_checks")
@pytest.mark.parametrize("case", OBSERVED)
def test_no_batch_of_a_pair_is_outside_the_support(case: str) -> None:
    make, inside, outside = OBSERVED[case]
    good, bad = torch.ones(7, 12) * inside, torch.full((5, 12), outside)
    torch.manual_seed(0)
    mine = Mine(make)
    steps = iter(training.steps(mine, [good, good[:3], bad], steps=6, compile=False))
    next(steps), next(steps)
    before, generator = mine.decoder.weight.clone(), torch.get_rng_state()
    with pytest.raises(ValueError, match="within the support"):
        next(steps)
    assert torch.equal(mine.decoder.weight, before)
    assert torch.equal(torch.get_rng_state(), generator)


class Unknown(dist.TorchDistribution):
    """A distribution of one's own that does not say its support."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True

    def __init__(self, loc: Tensor) -> None:
        self.loc = loc
        super().__init__(loc.shape, validate_args=False)

    def expand(self, shape: Any, _instance: Any = None) -> Unknown:
        return Unknown(self.loc.expand(shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.loc + torch.randn(*sample_shape, *self.loc.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return dist.Normal(self.loc, 1.0).log_prob(value)


class Lazy(Mine):
    """Layers whose sizes the first batch says, and a support that nobody knows."""

    def __init__(self) -> None:
        super().__init__(Unknown)
        self.encoder = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2))

    def guide(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            pyro.sample("z", Unknown(self.encoder(x)).to_event(1))


@pytest.mark.parametrize("objective", [IWELBO(3), IWELBO(3, estimator="dreg")])
def test_lazy_layers_and_unknown_supports_are_trained(objective: Objective) -> None:
    history = fit(Lazy(), [X[0], X[0] * 2], objective, steps=4, progress=False, compile=False)
    assert history["step"] == [4]


def test_values_that_pyro_is_not_to_check_cost_no_run() -> None:
    runs = []

    def soft(logits: Tensor) -> dist.TorchDistribution:
        runs.append(0)
        return dist.Bernoulli(logits=logits, validate_args=False)

    fit(Mine(soft), [X[0] * 0.5, X[0] * 0.3], steps=8, progress=False, compile=False)
    assert len(runs) == 9  # once to find what there is to train


def test_another_likelihood_on_the_way_is_asked_itself() -> None:
    mine = Mine(OBSERVED["Bernoulli"][0])
    for taken in training.steps(mine, [X[0], X[0] * 2], steps=4, compile=False):
        if taken.step == 1:
            mine.make = lambda r: dist.Normal(r, 1.0)
    assert taken.step == 4


def test_a_parameter_that_a_hook_brings_is_trained() -> None:
    vae, scale = made(), nn.Parameter(torch.ones(1))
    vae.likelihood.network.register_forward_hook(lambda m, i, out: out * scale)
    fit(vae, X, steps=3, lr=0.1, progress=False, compile=False)
    assert scale.item() != 1


class Box(posteriors.Posterior):
    """A posterior whose support moves with its parameters, as it is or through another map."""

    def __init__(self, *, mapped: bool) -> None:
        super().__init__()
        self.z_dim, self.network, self.mapped = 2, nn.Linear(12, 4), mapped

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        middle, half = over_leading(self.network, x, y, (12,)).chunk(2, -1)
        q = dist.Uniform(middle - half.exp(), middle + half.exp())
        if self.mapped:
            return dist.TransformedDistribution(q, [dist.transforms.TanhTransform()]).to_event(1)
        return q.to_event(1)


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(
    ("objective", "is_refused"),
    [
        (IWELBO(1), False),
        (IWELBO(1, estimator="stl"), True),
        (IWELBO(5, estimator="dreg"), True),
        (IWELBO(6, estimator="dreg", chunk=2), True),
    ],
)
def test_a_support_that_moves_is_for_the_whole_gradient(
    objective: Objective, is_refused: bool, mapped: bool
) -> None:
    likelihood = likelihoods.Normal(2, (12,), hidden=(4,))
    vae = models.VAE((12,), 2, likelihood=likelihood, posterior=Box(mapped=mapped))
    if not is_refused:
        fit(vae, X, objective, steps=1, progress=False)
        return
    with pytest.raises(ValueError, match=r"a Uniform whose support depends .*estimator='iwae'"):
        fit(vae, X, objective, steps=1, progress=False)
