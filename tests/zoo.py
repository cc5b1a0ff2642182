"""The zoo that tests share: one line for each part and member, their images, and what judges them.

A line here holds a part to the contract (`contract/test_parts.py`), to the product of all parts and
members (`house/test_product.py`), to Pyro's own objectives and tools (`objectives/
test_pyro_adapter.py`, `house/test_pyro.py`), to checkpoints (`models/test_every_part.py`) and to
the compiled step (`compiler/test_compiled.py`). Everything is small: images are 1×4×4, in three
classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from vaezoo import likelihoods, models, networks, posteriors, priors
from vaezoo.likelihoods import Likelihood
from vaezoo.models import LatentVariableModel
from vaezoo.posteriors import Posterior
from vaezoo.priors import Prior

Shape = tuple[int, ...]
X_SHAPE, Z_DIM, CLASSES = (1, 4, 4), 3, 3
HIDDEN = (8,)

# The parts, each made for the shape of x, the size of z and the number of classes, 0 for none. A
# prior's x is what the posterior reads that it may follow.

PRIORS: dict[str, Callable[[Shape, int, int], Prior]] = {
    "normal": lambda x, z, c: priors.StandardNormal(z),
    "mixture": lambda x, z, c: priors.MixtureOfGaussians(z, k=4),
    "weights": lambda x, z, c: priors.MixtureOfGaussians(z, k=4, learn_weights=True),
    "vamp": lambda x, z, c: priors.VampPrior(x, z, k=4, classes=c, unit=x == X_SHAPE),
    "flow": lambda x, z, c: priors.Flow(z, layers=2, hidden=HIDDEN),
}
POSTERIORS: dict[str, Callable[[Shape, int, int], Posterior]] = {
    "diagonal": lambda x, z, c: posteriors.DiagonalNormal(x, z, classes=c, hidden=HIDDEN),
    "full": lambda x, z, c: posteriors.FullNormal(x, z, classes=c, hidden=HIDDEN),
    "low rank": lambda x, z, c: posteriors.LowRankNormal(
        x, z, rank=max(1, z // 2), classes=c, hidden=HIDDEN
    ),
    "flow": lambda x, z, c: posteriors.Flow(
        x, z, layers=2, flow_hidden=HIDDEN, context=4, classes=c, hidden=HIDDEN
    ),
}
LIKELIHOODS: dict[str, Callable[[Shape, int, int], Likelihood]] = {
    "bernoulli": lambda x, z, c: likelihoods.Bernoulli(z, x, hidden=HIDDEN, classes=c),
    "continuous": lambda x, z, c: likelihoods.ContinuousBernoulli(z, x, hidden=HIDDEN, classes=c),
    "logistic": lambda x, z, c: likelihoods.DiscretizedLogistic(
        z, x, scale="pixel", hidden=HIDDEN, classes=c
    ),
    "logistic, shared": lambda x, z, c: likelihoods.DiscretizedLogistic(
        z, x, hidden=HIDDEN, classes=c
    ),
    "normal": lambda x, z, c: likelihoods.Normal(z, x, hidden=HIDDEN, classes=c),
    "variance": lambda x, z, c: likelihoods.Normal(
        z, x, learn_variance="pixel", hidden=HIDDEN, classes=c
    ),
    "variance, shared": lambda x, z, c: likelihoods.Normal(
        z, x, learn_variance="shared", hidden=HIDDEN, classes=c
    ),
    "categorical": lambda x, z, c: likelihoods.Categorical(
        z, x, levels=4, hidden=HIDDEN, classes=c
    ),
    "poisson": lambda x, z, c: likelihoods.Poisson(z, x, hidden=HIDDEN, classes=c),
    "negative binomial": lambda x, z, c: likelihoods.NegativeBinomial(
        z, x, hidden=HIDDEN, classes=c
    ),
}

# few triples in which every prior, posterior and likelihood comes up at least once
_COUNT = max(len(PRIORS), len(POSTERIORS), len(LIKELIHOODS))
EACH_PART: list[tuple[str, str, str]] = list(
    itertools.islice(
        zip(*map(itertools.cycle, (PRIORS, POSTERIORS, LIKELIHOODS)), strict=False), _COUNT
    )
)

# Networks, each made for its inputs' shape, its outputs' shape and the number of classes; those of
# pairs for the shape of x, the size of v and the same two.

NETWORKS: dict[str, Callable[[Shape, Shape, int], nn.Module]] = {
    "mlp": lambda given, out, c: networks.MLP(given, HIDDEN, out, classes=c),
    "conv": lambda given, out, c: networks.Conv(
        given, (4, 8) if len(given) == 3 else (8, 4), out, classes=c
    ),
}
PAIR_NETWORKS: dict[str, Callable[[Shape, int, Shape, int], nn.Module]] = {
    "pair": lambda x, v, out, c: networks.PairMLP(x, v, HIDDEN, out, classes=c),
}

# Members, by their class and its arguments.

_ONE: dict[str, Any] = {"x_shape": X_SHAPE, "z_dim": Z_DIM, "hidden": (8, 6)}
_TWO: dict[str, Any] = {"x_shape": X_SHAPE, "z1_dim": 4, "z2_dim": 3, "hidden": (8, 6)}
_LABELS: dict[str, Any] = {"classes": CLASSES}
MEMBERS: dict[str, dict[str, Any]] = {
    "VAE": _ONE,
    "GMVAE": _ONE | {"k": 5},
    "IWAE": _ONE | {"particles": 4},
    "SSVAE": _ONE | _LABELS,
    "FSVAE": _ONE | _LABELS,
    "HierarchicalVAE": _TWO | {"upper_hidden": (7, 5)},
    "M1M2": _TWO | _LABELS | {"upper_hidden": (7,)},
    "ADGM": _ONE | _LABELS | {"a_dim": 2},
}
_PARTS = {name: getattr(models, name).parts for name in MEMBERS}
ONE_LATENT = tuple(n for n in MEMBERS if {p.of for p in _PARTS[n].values()} <= {"x", "y", "z"})
SEVERAL_LATENTS = tuple(n for n in MEMBERS if n not in ONE_LATENT)
# members that infer a label have a classifier; the others with labels are given them
INFERS = tuple(
    n for n in MEMBERS if "classes" in MEMBERS[n] and hasattr(getattr(models, n), "classify")
)
GIVEN = tuple(n for n in MEMBERS if "classes" in MEMBERS[n] and n not in INFERS)
# importance weights share one q(y|x): they are refused where another latent is drawn before y
LATE_LABEL = tuple(n for n in INFERS if _PARTS[n]["classifier"].given != ("x",))


def member(name: str, **changes: Any) -> Any:
    """A small member by its class name, with other arguments or parts where they are given."""
    return getattr(models, name)(**(MEMBERS[name] | changes))


def swapping_at(step: int) -> tuple[Any, torch.optim.Optimizer, Callable[[dict[str, float]], None]]:
    """A VAE, an optimizer of its parameters, and a callback that gives both another prior."""
    vae = member("VAE")
    optimizer = torch.optim.SGD(vae.parameters(), lr=0.1)

    def swap(record: dict[str, float]) -> None:
        if record["step"] == step:
            vae.prior = priors.MixtureOfGaussians(3, k=2)
            optimizer.add_param_group({"params": list(vae.prior.parameters())})

    return vae, optimizer, swap


def with_parts(name: str, prior: str, posterior: str, likelihood: str) -> LatentVariableModel:
    """A small member with these parts: p of its upper latent, q of every latent, and p(x|…)."""
    parts: dict[str, Any] = {}
    posterior_of = {p.of: p for p in _PARTS[name].values() if p.kind is Posterior}
    for role, part in _PARTS[name].items():
        reads, classes = _reads(name, posterior_of[part.of] if part.kind is Prior else part)
        if part.kind is Prior:
            parts[role] = PRIORS[prior](_joined(reads), _shape(name, part.of)[0], classes)
        elif part.kind is Likelihood:
            parts[role] = LIKELIHOODS[likelihood](X_SHAPE, reads[0][0], classes)
        elif part.kind is Posterior:
            q = POSTERIORS[posterior](reads[0], _shape(name, part.of)[0], classes)
            if len(reads) == 2:
                out = q.network.out_shape
                q.network = PAIR_NETWORKS["pair"](reads[0], reads[1][0], out, classes)
            parts[role] = q
    return member(name, hidden=HIDDEN, **parts)


def _reads(name: str, part: Any) -> tuple[list[Shape], int]:
    """Shapes of the variables that a part reads, of one or of a pair, and how many classes."""
    first = next(given for given in part.given if given != "y")
    variables = first if isinstance(first, tuple) else (first,)
    classes = MEMBERS[name].get("classes", 0) if "y" in part.given else 0
    return [_shape(name, variable) for variable in variables], classes


def _shape(name: str, variable: str) -> Shape:
    return X_SHAPE if variable == "x" else (MEMBERS[name][f"{variable}_dim"],)


def _joined(shapes: list[Shape]) -> Shape:
    """The shape of a pair in one tensor; of one variable its own."""
    return shapes[0] if len(shapes) == 1 else (sum(torch.Size(s).numel() for s in shapes),)


def widen(model: nn.Module, std: float = 0.4) -> Any:
    """The same model, its weights drawn anew and wide enough for every term to matter."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=std)
    return model


# Images and labels


def images(n: int = 6, *, dtype: torch.dtype | None = None) -> Tensor:
    """Black-and-white noise (n, 1, 4, 4)."""
    return (torch.rand(n, *X_SHAPE) > 0.5).to(dtype or torch.get_default_dtype())


def fixed(n: int = 6) -> Tensor:
    """`images`, the same ones in every process: for what a module of tests makes when imported."""
    generator = torch.Generator().manual_seed(n)
    return (torch.rand(n, *X_SHAPE, generator=generator) > 0.5).to(torch.get_default_dtype())


def labels(n: int = 6) -> Tensor:
    """Labels 0, 1, 2, 0, … (n,)."""
    return torch.arange(n) % CLASSES


def batch_for(name: str, n: int = 6, *, dtype: torch.dtype | None = None) -> tuple[Tensor, ...]:
    """A batch of what a member's programs require."""
    x = images(n, dtype=dtype)
    return (x, labels(n)) if name in GIVEN else (x,)


def semi_supervised_batch(n: int = 6, *, dtype: torch.dtype | None = None) -> tuple[Tensor, ...]:
    """Images, and others with their labels."""
    return images(n, dtype=dtype), images(3, dtype=dtype), labels(3)


# What judges


def z_score(draws: Tensor, expected: Tensor | float = 0.0) -> float:
    """Of the mean of independent draws against a known number, or against the mean of others."""
    known = torch.as_tensor(expected, dtype=torch.float64)
    error = draws.var() / len(draws) + (known.var() / len(known) if known.dim() else 0)
    return ((draws.mean() - known.mean()) / error.sqrt()).item()


BadCall = tuple[Callable[[], Any], type[Exception], str]


def refused(calls: Sequence[BadCall] | Mapping[str, BadCall]) -> Callable[..., None]:
    """A test of a table of calls: the error that each raises, and what it says.

    To be assigned to a name that begins with `test_`. Calls in a dict bear their names.
    """
    named = calls if isinstance(calls, Mapping) else dict(enumerate(calls))

    @pytest.mark.parametrize(("call", "error", "message"), named.values(), ids=named)
    def test(call: Callable[[], Any], error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            call()

    return test


class Affine(Posterior):
    """N(v @ gain + offset, diag scale²): an exact posterior, or p(z1|z2), of a linear model."""

    def __init__(self, gain: Tensor, offset: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.gain, self.offset, self.scale = (
            nn.Parameter(t.clone()) for t in (gain, offset, scale)
        )

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        flat = x.flatten(-3) if x.shape[-3:] == X_SHAPE else x
        return dist.Normal(flat @ self.gain + self.offset, self.scale).to_event(1)


def affine_decoder(gain: Tensor, offset: Tensor) -> nn.Module:
    """z @ gain + offset as an image."""
    network = nn.Sequential(nn.Linear(*gain.shape), nn.Unflatten(-1, X_SHAPE)).double()
    with torch.no_grad():
        network[0].weight.copy_(gain.T)
        network[0].bias.copy_(offset)
    return network


def linear_gaussian() -> tuple[models.VAE, Tensor, Tensor]:
    """x = W z + b + noise of variance 1/4, W with orthogonal columns; q exact, four x, log p(x)."""
    d: dict[str, Any] = {"dtype": torch.float64}
    w = torch.linalg.qr(torch.randn(16, 3, **d)).Q * torch.tensor([1.0, 2, 3], **d)
    b, noise = torch.randn(16, **d), 0.25  # it and its root are exact in float32 too
    precision = 1 + (w**2).sum(0) / noise
    gain = w / noise / precision
    vae = models.VAE(
        X_SHAPE,
        3,
        likelihood=likelihoods.Normal(3, X_SHAPE, network=affine_decoder(w.T, b), variance=noise),
        posterior=Affine(gain, -b @ gain, precision.rsqrt()),
    ).double()
    x = torch.randn(4, 16, **d)
    log_p = dist.MultivariateNormal(b, w @ w.T + noise * torch.eye(16, **d)).log_prob(x)
    return vae, x.reshape(4, *X_SHAPE), log_p


def linear_hierarchy() -> tuple[models.HierarchicalVAE, Tensor, Tensor]:
    """z1 = diag(a) z2 + b + noise, x = z1 W + c + noise, rows of W orthogonal; q exact, log p(x)."""
    d: dict[str, Any] = {"dtype": torch.float64}
    a, b, c = torch.tensor([0.8, -1.5], **d), torch.tensor([0.5, -1.0], **d), torch.randn(16, **d)
    w = torch.linalg.qr(torch.randn(16, 2, **d)).Q.T * torch.tensor([[2.0], [1.0]], **d)
    v1, v = torch.tensor([0.3, 0.6], **d), 0.25
    prior1 = a**2 + v1
    post1 = 1 / (1 / prior1 + (w**2).sum(1) / v)
    post2 = 1 / (1 + a**2 / v1)
    gain1, gain2 = w.T / v * post1, torch.diag(a / v1 * post2)
    vae = models.HierarchicalVAE(
        X_SHAPE,
        2,
        2,
        likelihood=likelihoods.Normal(2, X_SHAPE, network=affine_decoder(w, c), variance=v),
        conditional_prior=Affine(torch.diag(a), b, v1.sqrt()),
        posterior=Affine(gain1, post1 * (b / prior1) - c @ gain1, post1.sqrt()),
        upper_posterior=Affine(gain2, -b @ gain2, post2.sqrt()),
    ).double()
    x = torch.randn(4, 16, **d)
    covariance = w.T @ torch.diag(prior1) @ w + v * torch.eye(16, **d)
    log_p = dist.MultivariateNormal(c + b @ w, covariance).log_prob(x)
    return vae, x.reshape(4, *X_SHAPE), log_p
