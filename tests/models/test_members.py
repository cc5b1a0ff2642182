"""What members with several latents do, in float64: train, swap, draw, be saved, and refuse."""

from __future__ import annotations

import copy
import itertools
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
import zoo
from doubles import doubles, member, normal
from pyro import infer, poutine
from torch import Tensor, nn
from zoo import (
    CLASSES,
    SEVERAL_LATENTS,
    X_SHAPE,
    labels,
    refused,
)

from vaezoo import ELBO, IWELBO, Bound, SemiSupervised, fit, load, networks, save
from vaezoo.components import Component
from vaezoo.likelihoods import Bernoulli, Normal
from vaezoo.models import (
    ADGM,
    FSVAE,
    GMVAE,
    IWAE,
    M1M2,
    SSVAE,
    VAE,
    HierarchicalVAE,
    LatentVariableModel,
)
from vaezoo.networks import PairMLP
from vaezoo.posteriors import Classifier, DiagonalNormal, FullNormal, Posterior
from vaezoo.priors import MixtureOfGaussians, StandardNormal, VampPrior
from vaezoo.programs.run import run

NAMES = SEVERAL_LATENTS


def moments(found: Any) -> tuple[Tensor, Tensor]:
    return found.base_dist.loc, found.base_dist.scale


OBJECTIVES: dict[str, Any] = {
    "elbo": lambda: ELBO(),
    "beta": lambda: ELBO(4.0, particles=2),
    "iwelbo": lambda: IWELBO(3),
    "semi": lambda: SemiSupervised(),
    "Trace_ELBO": lambda: infer.Trace_ELBO(),
    "TraceEnum_ELBO": lambda: infer.TraceEnum_ELBO(max_plate_nesting=1),
}
NO_SENSE = {("HierarchicalVAE", "semi"), ("M1M2", "iwelbo"), ("ADGM", "iwelbo")}
CASES = [c for c in itertools.product(NAMES, OBJECTIVES) if c not in NO_SENSE]


def batch_for(objective: str) -> tuple[Tensor, ...]:
    return (doubles(), doubles(3), labels(3)) if objective == "semi" else (doubles(),)


@pytest.mark.parametrize(("name", "objective"), CASES)
def test_gradients_reach_every_parameter(name: str, objective: str) -> None:
    """In `Bound`, and as an SVI step."""
    model, loss, batch = member(name), OBJECTIVES[objective](), batch_for(objective)
    with warnings.catch_warnings():
        # Pyro's objectives warn where they sample a label, or find none to sum out
        warnings.simplefilter("ignore" if objective.startswith("Trace") else "error")
        Bound(model, loss)(*batch)["loss"].backward()
        for parameter_name, parameter in model.named_parameters():
            assert parameter.grad.abs().sum() > 0, parameter_name
        before = copy.deepcopy(model.state_dict())
        svi = infer.SVI(model.model, model.guide, pyro.optim.Adam({"lr": 1e-2}), loss)
        assert math.isfinite(svi.step(*batch))
    assert not [n for n, p in model.named_parameters() if torch.equal(p, before[n])]


@pytest.mark.parametrize("name", NAMES)
def test_save_and_copies(name: str, tmp_path: Path) -> None:
    """Sizes, parts, dtype and every weight survive a file and a deepcopy."""
    model, x = member(name), doubles()
    for twin in (load(save(model, tmp_path / "member.safetensors")), copy.deepcopy(model)):
        assert type(twin) is type(model)
        assert repr(twin) == repr(model)
        torch.manual_seed(1)
        ours = ELBO().loss(model.model, model.guide, x)
        torch.manual_seed(1)
        assert ELBO().loss(twin.model, twin.guide, x) == ours
        assert not {id(p) for p in twin.parameters()} & {id(p) for p in model.parameters()}


def pair_posterior(kind: Any, z_dim: int, out: tuple[int, ...]) -> Posterior:
    network = PairMLP(X_SHAPE, 2, (5,), out, classes=CLASSES)
    return kind(X_SHAPE, z_dim, classes=CLASSES, network=network)


C: dict[str, Any] = {"classes": CLASSES, "hidden": (5,)}
SWAPS: list[tuple[str, str, Callable[[], Component]]] = [
    ("HierarchicalVAE", "prior", lambda: MixtureOfGaussians(3, k=4)),
    ("HierarchicalVAE", "prior", lambda: VampPrior((4,), 3, k=4, unit=False)),
    ("HierarchicalVAE", "conditional_prior", lambda: FullNormal((3,), 4, hidden=(5,))),
    ("HierarchicalVAE", "conditional_prior", lambda: Normal(3, (4,), learn_variance=True)),
    ("HierarchicalVAE", "likelihood", lambda: Normal(4, X_SHAPE, hidden=(5,))),
    ("HierarchicalVAE", "posterior", lambda: FullNormal(X_SHAPE, 4, hidden=(5,))),
    ("HierarchicalVAE", "upper_posterior", lambda: FullNormal((4,), 3, hidden=(5,))),
    ("M1M2", "prior", lambda: VampPrior((4,), 3, k=4, classes=CLASSES, unit=False)),
    ("M1M2", "conditional_prior", lambda: FullNormal((3,), 4, **C)),
    ("M1M2", "likelihood", lambda: Normal(4, X_SHAPE, hidden=(5,))),
    ("M1M2", "posterior", lambda: FullNormal(X_SHAPE, 4, hidden=(5,))),
    ("M1M2", "classifier", lambda: Classifier((4,), CLASSES, hidden=(5,))),
    ("M1M2", "upper_posterior", lambda: FullNormal((4,), 3, **C)),
    ("ADGM", "prior", lambda: MixtureOfGaussians(3, k=4)),
    ("ADGM", "prior", lambda: VampPrior((18,), 3, k=4, classes=CLASSES, unit=False)),
    ("ADGM", "likelihood", lambda: Bernoulli(3, X_SHAPE, **C)),
    ("ADGM", "auxiliary", lambda: DiagonalNormal(X_SHAPE, 2, network=PairMLP(X_SHAPE, 3, (5,), (2, 2), classes=CLASSES), **C)),
    ("ADGM", "auxiliary_posterior", lambda: FullNormal(X_SHAPE, 2, hidden=(5,))),
    ("ADGM", "classifier", lambda: Classifier(X_SHAPE, CLASSES, network=PairMLP(X_SHAPE, 2, (5,), (CLASSES,)))),
    ("ADGM", "posterior", lambda: pair_posterior(FullNormal, 3, (9,))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "role", "build"), SWAPS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_every_part_is_swapped(name: str, role: str, build: Any, tmp_path: Path) -> None:
    """In place it trains, draws and is saved; asked for at the start, the same."""
    model, x, part = member(name), doubles(), build()
    setattr(model, role, part)
    assert getattr(model, role) is part
    assert all(p.dtype == torch.float64 for p in part.parameters())
    fit(model, [x], ELBO(), steps=2, progress=False)
    assert model.sample(5).shape == (5, *X_SHAPE)
    twin = load(save(model, tmp_path / "swapped.safetensors"))
    assert repr(twin) == repr(model)
    assert repr(zoo.member(name, **{role: build()})) == repr(model)


@pytest.mark.parametrize(
    ("name", "role", "posterior"),
    [
        ("HierarchicalVAE", "upper_posterior", lambda: DiagonalNormal((4,), 3, hidden=(5,))),
        ("M1M2", "upper_posterior", lambda: DiagonalNormal((4,), 3, **C)),
        ("ADGM", "posterior", lambda: pair_posterior(DiagonalNormal, 3, (2, 3))),
    ],
)
def test_vamp_prior_follows_the_posterior_of_its_latent(
    name: str, role: str, posterior: Any
) -> None:
    """Through swaps and copies; the mixture to 1e-10. ADGM's pseudo-inputs are (x, a) in one."""
    classes = {} if name == "HierarchicalVAE" else {"classes": CLASSES}
    width = 18 if name == "ADGM" else 4
    model = member(name, prior=VampPrior((width,), 3, k=5, unit=False, **classes))
    z = torch.randn(6, 3, dtype=torch.float64)
    setattr(model, role, posterior())
    for each in (model, copy.deepcopy(model)):
        nn.init.normal_(next(getattr(each, role).parameters()), std=0.5)
        loc, scale = moments(
            getattr(each, role)(each.prior.raw, *[torch.arange(5) % 3] * len(classes))
        )
        by_hand = normal(z[:, None], loc, scale).logsumexp(-1) - math.log(5)
        assert torch.allclose(each.prior().log_prob(z), by_hand, atol=1e-10)


def test_stages_of_m1m2() -> None:
    """M2 trains on a frozen copy of M1, then all of it; the VAE itself is left alone."""
    vae = VAE(X_SHAPE, 4, hidden=(8,)).double()
    kept = copy.deepcopy(vae.state_dict())
    model = M1M2.from_m1(vae, 3, classes=CLASSES, upper_hidden=(7,))
    assert (model.hidden, model.z1_dim, model.z2_dim) == ((8,), 4, 3)
    x = doubles()
    assert torch.equal(model.posterior(x).mean, vae.posterior(x).mean)
    frozen, rest = (
        {"likelihood", "posterior"},
        {"classifier", "conditional_prior", "upper_posterior"},
    )
    for trained in (rest, rest | frozen):
        before = copy.deepcopy(model.state_dict())
        fit(model, [(x, x[:3], labels(3))], SemiSupervised(), steps=2, progress=False)
        moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
        assert {n.split(".")[0] for n in moved} == trained
        model.requires_grad_(True)
    assert all(torch.equal(t, kept[n]) for n, t in vae.state_dict().items())


def test_codes_and_pictures() -> None:
    """What encode, classify, reconstruct and sample return, in terms of the parts."""
    x, vae, m1m2, adgm = doubles(), *(member(name) for name in NAMES)
    state = torch.get_rng_state()
    assert torch.equal(vae.encode(x), vae.posterior(x).mean)
    z1, a = m1m2.posterior(x).mean, adgm.auxiliary_posterior(x).mean
    assert torch.equal(m1m2.classify(x), m1m2.classifier(z1).probs)
    assert torch.equal(adgm.classify(x), adgm.classifier((x, a)).probs)
    for y in (None, labels()):
        best = [m.classify(x).argmax(-1) if y is None else y for m in (m1m2, adgm)]
        z2 = m1m2.upper_posterior(z1, best[0]).mean
        assert torch.equal(m1m2.encode(x, y), z2)
        assert torch.equal(adgm.encode(x, y), adgm.posterior((x, a), best[1]).mean)
    assert torch.equal(torch.get_rng_state(), state), "an answer at the mean needs no noise"
    assert torch.equal(vae.reconstruct(x), vae.likelihood(vae.encode(x)).mean)
    decoded = m1m2.likelihood(m1m2.conditional_prior(z2, labels()).mean).mean
    assert torch.equal(m1m2.reconstruct(x, labels()), decoded)
    assert torch.equal(m1m2.sample(z1=z1), m1m2.likelihood(z1).mean)
    z = adgm.encode(x)
    assert torch.equal(adgm.sample(y=2, z=z), adgm.likelihood(z, torch.full((6,), 2)).mean)


@pytest.mark.parametrize("name", NAMES)
def test_drawing(name: str) -> None:
    """Shapes; a latent above the code is passed on; pixels are drawn on demand."""
    model = member(name)
    assert model.sample(5).shape == (5, *X_SHAPE)
    assert model.sample(5, mean=False).unique().tolist() == [0, 1]
    z = torch.randn(7, model.z_dim, dtype=torch.float64)
    assert model.sample(z=z).shape == (7, *X_SHAPE)
    assert model.reconstruct(doubles(2)).shape == (2, *X_SHAPE)
    if name == "HierarchicalVAE":
        nn.init.constant_(list(model.conditional_prior.parameters())[-1][4:], -50.0)
        expected = model.likelihood(model.conditional_prior(z[:, :3]).mean).mean
        assert torch.allclose(model.sample(z2=z[:, :3]), expected, atol=1e-2)
    else:
        assert model.sample(y=torch.arange(3)).shape == (3, *X_SHAPE)


def test_pair_network_is_an_mlp_on_the_concatenation() -> None:
    """To 1e-12; labels, draws and images broadcast, and one tensor stands for a pair."""
    net = PairMLP(X_SHAPE, 5, (4, 6), (2,), classes=CLASSES).double()
    plain = networks.MLP((21,), (4, 6), (2,), classes=CLASSES).double()
    plain.load_state_dict(net.state_dict())
    x, v, y = doubles(7), torch.randn(3, 7, 5, dtype=torch.float64), torch.arange(CLASSES)
    joined = torch.cat([x.flatten(1).expand(3, 7, 16), v], -1)
    expected = plain(joined, y[:, None, None])
    assert expected.shape == (CLASSES, 3, 7, 2)
    assert torch.allclose(net((x, v), y[:, None, None]), expected, atol=1e-12)
    assert torch.equal(net(joined, y[:, None, None]), expected)


@pytest.mark.parametrize("name", NAMES)
def test_pyro_tools(name: str) -> None:
    """Predictive and render_model."""
    model, x = member(name), doubles()
    drawn = infer.Predictive(poutine.uncondition(model.model), num_samples=3)(x)
    assert drawn["x"].shape == (3, 6, *X_SHAPE)
    posterior = infer.Predictive(
        poutine.uncondition(model.model), guide=model.guide, num_samples=3, parallel=False
    )(x)
    assert posterior["x"].shape == (3, 6, *X_SHAPE)
    pytest.importorskip("graphviz")
    source = pyro.render_model(model.model, model_args=(x,), render_distributions=True).source
    edges = {
        "HierarchicalVAE": ["z2 -> z1", "z1 -> x"],
        "M1M2": ["y -> z1", "z2 -> z1", "z1 -> x"],
        "ADGM": ["y -> x", "z -> x", "x -> a", "y -> a", "z -> a"],
    }
    assert all(edge in source for edge in edges[name])
    assert source.count(" -> ") == len(edges[name])


EQUATIONS = {
    VAE: "p(z) = StandardNormal(10)   p(x|z) = Bernoulli(1×28×28)   q(z|x) = DiagonalNormal(10)",
    GMVAE: "p(z) = MixtureOfGaussians(10, k=500)   p(x|z) = Bernoulli(1×28×28)   "
    "q(z|x) = DiagonalNormal(10)",
    IWAE: "p(z) = StandardNormal(10)   p(x|z) = Bernoulli(1×28×28)   q(z|x) = DiagonalNormal(10)",
    SSVAE: "p(y) = Categorical(10), uniform   p(z) = StandardNormal(64)   "
    "p(x|z, y) = Bernoulli(1×28×28)   q(y|x) = Classifier(10)   q(z|x, y) = DiagonalNormal(64)",
    FSVAE: "p(z) = StandardNormal(10)   p(x|z, y) = Normal(3×32×32, variance=0.1)   "
    "q(z|x, y) = DiagonalNormal(10)",
    HierarchicalVAE: "p(z2) = StandardNormal(50)   p(z1|z2) = DiagonalNormal(100)   "
    "p(x|z1) = Bernoulli(1×28×28)   q(z1|x) = DiagonalNormal(100)   q(z2|z1) = DiagonalNormal(50)",
    M1M2: "p(y) = Categorical(10), uniform   p(z2) = StandardNormal(50)   "
    "p(z1|z2, y) = DiagonalNormal(50)   p(x|z1) = Bernoulli(1×28×28)   "
    "q(z1|x) = DiagonalNormal(50)   q(y|z1) = Classifier(10)   q(z2|z1, y) = DiagonalNormal(50)",
    ADGM: "p(y) = Categorical(10), uniform   p(z) = StandardNormal(100)   "
    "p(x|z, y) = Bernoulli(1×28×28)   p(a|x, z, y) = DiagonalNormal(100)   "
    "q(a|x) = DiagonalNormal(100)   q(y|x, a) = Classifier(10)   q(z|x, a, y) = DiagonalNormal(100)",
}


@pytest.mark.parametrize("kind", EQUATIONS, ids=lambda kind: kind.__name__)
def test_equations_follow_from_the_parts(kind: Any) -> None:
    assert kind().equations() == EQUATIONS[kind].split("   ")


@pytest.mark.parametrize("name", NAMES)
def test_latents_by_name(name: str) -> None:
    """z is the latent that `code` names; the others go by their own names."""
    model, x = member(name), doubles(4)
    codes = torch.ones(3, model.z_dim, dtype=torch.float64)
    drawn = []
    for latent in ("z", model.code):
        torch.manual_seed(0)
        drawn.append(model.sample(**{latent: codes}))
    assert torch.equal(*drawn)
    for latent in model.parts["posterior"].of, model.parts["prior"].of:
        assert model.encode(x, latent=latent).shape == (4, getattr(model, f"{latent}_dim"))
    assert torch.equal(model.encode(x), model.encode(x, latent=model.code))


def test_replaced_programs_are_named() -> None:
    model: Any = VAE(X_SHAPE, 2)
    assert model.replaced_programs == ()
    written = model.guide
    model.guide = lambda x: written(x)
    assert model.replaced_programs == ("guide",)
    del model.guide
    assert model.replaced_programs == ()


def assign(name: str, role: str, part: Any) -> None:
    setattr(member(name), role, part)


PAIR = PairMLP(X_SHAPE, 2, (5,), (2, 3))
TWO = (torch.zeros(2, *X_SHAPE), torch.zeros(2, 2))
CALLS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: assign("HierarchicalVAE", "prior", StandardNormal(4)), ValueError, r"does not fit HierarchicalVAE\(x_shape=\(1, 4, 4\), z1_dim=4, z2_dim=3\): expected .*\(3,\)\), got \(\(\), \(4,\)\)"),
    (lambda: assign("HierarchicalVAE", "posterior", StandardNormal(4)), TypeError, "posterior must be a Posterior, got a StandardNormal"),
    (lambda: assign("HierarchicalVAE", "upper_posterior", nn.Linear(4, 3)), TypeError, "upper_posterior must be a Posterior, got a Linear"),
    (lambda: assign("HierarchicalVAE", "conditional_prior", nn.Linear(3, 4)), TypeError, "conditional_prior must be a Component, got a Linear"),
    (lambda: assign("HierarchicalVAE", "conditional_prior", DiagonalNormal((4,), 4)), ValueError, r"conditional_prior .*does not fit .*inputs \(\.\.\., 4\), got \(2, 3\)"),
    (lambda: assign("HierarchicalVAE", "upper_posterior", DiagonalNormal((4,), 4)), ValueError, r"expected .*\(3,\)\), got \(\(2,\), \(4,\)\)"),
    (lambda: assign("HierarchicalVAE", "likelihood", Bernoulli(3, X_SHAPE)), ValueError, "likelihood .*does not fit"),
    (lambda: assign("HierarchicalVAE", "prior", VampPrior(X_SHAPE, 3)), ValueError, "does not fit"),
    (lambda: run(*_pair("HierarchicalVAE"), doubles(), labels()), TypeError, "positional"),
    (lambda: member("HierarchicalVAE").sample(y=1), ValueError, "HierarchicalVAE has no labels: leave y out"),
    (lambda: member("HierarchicalVAE").sample(z3=torch.zeros(1, 3)), TypeError, "takes n, y, z, mean, and the latents z1, z2, got 'z3'"),
    (lambda: member("HierarchicalVAE").sample(z=doubles(), z1=doubles()), TypeError, "multiple values"),
    (lambda: member("HierarchicalVAE").encode(doubles(), latent="z"), ValueError, "HierarchicalVAE has the latents z1, z2, got 'z'"),
    (lambda: assign("M1M2", "upper_posterior", DiagonalNormal((4,), 3)), ValueError, "takes no labels"),
    (lambda: assign("M1M2", "conditional_prior", DiagonalNormal((3,), 4)), ValueError, "takes no labels"),
    (lambda: assign("M1M2", "classifier", Classifier((4,), CLASSES, network=nn.Linear(5, 3))), ValueError, r"classifier .*does not fit M1M2\(.*classes=3\)"),
    (lambda: M1M2.from_m1(member("HierarchicalVAE")), TypeError, "M1 must be a VAE, got a HierarchicalVAE"),
    (lambda: M1M2.from_m1(VAE(X_SHAPE, 4), hidden=(3,)), TypeError, "hidden"),
    (lambda: IWELBO(2).loss(*_pair("M1M2"), doubles()), ValueError, "sum a label out only where the guide draws it"),
    (lambda: IWELBO(2).loss(*_pair("ADGM"), doubles()), ValueError, "sum a label out only where the guide draws it"),
    (lambda: ELBO().loss(*_pair("ADGM"), doubles(), labels() + 1), ValueError, r"0\.\.2, got 1\.\.3"),
    (lambda: ELBO().loss(*_pair("M1M2"), doubles() * 0.5), ValueError, "pixels that are 0 or 1"),
    (lambda: assign("ADGM", "posterior", DiagonalNormal(X_SHAPE, 3, **C)), ValueError, r"posterior .*does not fit ADGM\(x_shape=\(1, 4, 4\), a_dim=2, z_dim=3, classes=3\)"),
    (lambda: assign("ADGM", "posterior", pair_posterior(DiagonalNormal, 2, (2, 2))), ValueError, r"\(3,\)\), got"),
    (lambda: assign("ADGM", "auxiliary", pair_posterior(DiagonalNormal, 2, (2, 2))), ValueError, r"expected a pair \(\.\.\., 1, 4, 4\) and \(\.\.\., 2\), got \(2, 1, 4, 4\) and \(2, 3\)"),
    (lambda: PAIR(TWO, labels(2)), ValueError, "takes no labels"),
    (lambda: PairMLP(X_SHAPE, 2, (5,), (3,), classes=3)(TWO), ValueError, r"needs labels in 0\.\.2, got none"),
    (lambda: PAIR(TWO[::-1]), ValueError, "expected a pair"),
    (lambda: PAIR(torch.zeros(2, 17)), ValueError, r"expected inputs \(\.\.\., 18\), got \(2, 17\)"),
]  # fmt: skip


def _pair(name: str) -> tuple[Any, Any]:
    model: LatentVariableModel = member(name)
    return model.model, model.guide


test_bad_input = refused(CALLS)
