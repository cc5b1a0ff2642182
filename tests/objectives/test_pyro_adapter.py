"""Pyro's own objectives, and networks of every kind, on the parts and members of the reference zoo.

The product with vaezoo's objectives and the other members is in test_product.py.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pyro import infer
from torch import nn
from zoo import (
    CLASSES,
    GIVEN,
    INFERS,
    LIKELIHOODS,
    NETWORKS,
    ONE_LATENT,
    POSTERIORS,
    PRIORS,
    X_SHAPE,
    Z_DIM,
    batch_for,
    images,
    labels,
    member,
)

from vaezoo import (
    ELBO,
    IWELBO,
    SemiSupervised,
    fit,
    likelihoods,
    load,
    posteriors,
    priors,
    save,
)
from vaezoo.objectives.pyro_adapter import adapted_loss

ENCODERS: dict[str, Callable[[int], Any]] = {
    **{name: functools.partial(make, X_SHAPE, Z_DIM) for name, make in POSTERIORS.items()},
    **{
        name: lambda c, make=make: posteriors.DiagonalNormal(
            X_SHAPE, Z_DIM, network=make(X_SHAPE, (2, Z_DIM), c), classes=c
        )
        for name, make in NETWORKS.items()
    },
}
DECODERS: dict[str, Callable[[int], Any]] = {
    **{name: functools.partial(make, X_SHAPE, Z_DIM) for name, make in LIKELIHOODS.items()},
    **{
        name: lambda c, make=make: likelihoods.Bernoulli(
            Z_DIM, X_SHAPE, network=make((Z_DIM,), X_SHAPE, c), classes=c
        )
        for name, make in NETWORKS.items()
    },
}
OBJECTIVES: dict[str, Any] = {
    "Trace_ELBO": lambda: infer.Trace_ELBO(),
    "TraceMeanField_ELBO": lambda: infer.TraceMeanField_ELBO(),
    "TraceEnum_ELBO": lambda: infer.TraceEnum_ELBO(max_plate_nesting=1),
    "RenyiELBO": lambda: infer.RenyiELBO(
        num_particles=3, vectorize_particles=True, max_plate_nesting=1
    ),
}
# They would sample the label: refused, see vaezoo.objectives.pyro_adapter.
NO_SENSE = {("SSVAE", "TraceMeanField_ELBO"), ("SSVAE", "RenyiELBO")}
# all of these with each other, and every other encoder and decoder once
PRODUCT = list(
    itertools.product(
        PRIORS,
        ("diagonal", "conv", "full", "flow"),
        ("bernoulli", "conv", "normal", "variance, shared"),
    )
)
OTHERS = [
    *(("normal", q, "bernoulli") for q in ENCODERS if q not in {c[1] for c in PRODUCT}),
    *(("normal", "diagonal", p) for p in DECODERS if p not in {c[2] for c in PRODUCT}),
]
COMBINATIONS = [*PRODUCT, *OTHERS]
PAIRS = [p for p in itertools.product(ONE_LATENT, OBJECTIVES) if p not in NO_SENSE]
tally: Counter[str] = Counter()


@functools.cache  # half of the time is theirs, and each trains many times
def with_these(name: str, prior: str, encoder: str, decoder: str) -> Any:
    classes = CLASSES if name in (*INFERS, *GIVEN) else 0
    return member(
        name,
        prior=PRIORS[prior](X_SHAPE, Z_DIM, classes),
        posterior=ENCODERS[encoder](classes),
        likelihood=DECODERS[decoder](classes),
    )


def _pyro_says(name: str, objective: str) -> contextlib.AbstractContextManager[Any]:
    """Pyro's objectives warn where they sample a label that could be summed out, or find none."""
    if name == "SSVAE" and objective == "Trace_ELBO":
        return pytest.warns(UserWarning, match="you need to use TraceEnum_ELBO")
    if name != "SSVAE" and objective == "TraceEnum_ELBO":
        return pytest.warns(UserWarning, match="found no sample sites configured for enumeration")
    return contextlib.nullcontext()


@pytest.mark.parametrize(("name", "objective"), PAIRS)
def test_every_combination_trains(name: str, objective: str) -> None:
    """A step of `fit` for each prior × posterior × likelihood: finite, all weights moved."""
    for parts in COMBINATIONS:
        model = with_these(name, *parts)
        before = copy.deepcopy(model.state_dict())
        with _pyro_says(name, objective):
            history = fit(
                model,
                [batch_for(name)],
                OBJECTIVES[objective](),
                steps=1,
                log_every=1,
                compile=False,
                progress=False,
            )
        assert all(torch.isfinite(torch.tensor(v)).all() for v in history.values()), history
        still = [n for n, p in model.named_parameters() if torch.equal(p, before[n])]
        assert not still, f"{' × '.join(parts)}: {still} did not train"
        tally["train"] += 1


@pytest.mark.parametrize(("name", "objective"), sorted(NO_SENSE))
def test_what_makes_no_sense_is_refused(name: str, objective: str) -> None:
    """For each prior × posterior × likelihood, in `fit`, before a weight has moved."""
    for parts in COMBINATIONS:
        model = with_these(name, *parts)
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(ValueError, match=rf"{objective} would sample 'y'"):
            fit(model, [batch_for(name)], OBJECTIVES[objective](), steps=3, progress=False)
        assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
        tally["refuse"] += 1


def test_the_combinations_are_counted(record_property: Callable[[str, object], None]) -> None:
    """What the tests above tallied, be it all of them or those that were selected."""
    record_property(
        "counted",
        f"{tally['train']:,} combinations with Pyro's objectives train, "
        f"{tally['refuse']} are refused",
    )
    assert len(PRODUCT) == len(set(PRODUCT)) >= 80
    assert not {n: k for n, k in tally.items() if k % len(COMBINATIONS)}
    assert {"train": len(PAIRS), "refuse": len(NO_SENSE)} == {"train": 18, "refuse": 2}


@pytest.mark.parametrize("objective", [ELBO(2.0), IWELBO(3)], ids=repr)
def test_semi_supervised_reaches_every_weight(objective: Any) -> None:
    ssvae = member("SSVAE")
    batch = (images(), images(3), labels(3))
    before = copy.deepcopy(ssvae.state_dict())
    history = fit(ssvae, [batch], SemiSupervised(objective), steps=3, progress=False)
    assert all(not torch.equal(p, before[n]) for n, p in ssvae.named_parameters())
    assert {"loss", "bound", "rec", "kl", "log_qy"} < set(history)


def test_classifier_alone_leaves_the_rest() -> None:
    ssvae = member("SSVAE")
    before = copy.deepcopy(ssvae.state_dict())
    objective = SemiSupervised(generative_weight=0)
    fit(ssvae, [(images(), images(3), labels(3))], objective, steps=3, progress=False)
    moved = {n.split(".")[0] for n, p in ssvae.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {"classifier"}


@pytest.mark.parametrize("objective", [infer.RenyiELBO, infer.TraceGraph_ELBO])
def test_gradients_that_pyro_computed_are_handed_out_once(objective: Any) -> None:
    """The same again with retain_graph, and scaled as the loss is; refused where there are none."""
    vae = member("VAE")
    loss = adapted_loss(objective(), vae, images())
    weights = [p for p in vae.parameters() if p.requires_grad]
    first = torch.autograd.grad(loss, weights, retain_graph=True)
    again = torch.autograd.grad(3 * loss, weights, retain_graph=True)
    for g, h in zip(first, again, strict=True):
        torch.testing.assert_close(h, 3 * g)
    with pytest.raises(RuntimeError, match=r"cannot be differentiated again \(create_graph=True"):
        torch.autograd.grad(loss, weights, create_graph=True)
    loss.backward()
    assert all(p.grad is not None for p in weights)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()


PARTS = [
    # a Vamp needs a posterior to follow
    *((make(X_SHAPE, Z_DIM, 0), ()) for name, make in PRIORS.items() if name != "vamp"),
    *((make(c), (Z_DIM,)) for make in DECODERS.values() for c in (0, CLASSES)),
    *((make(c), X_SHAPE) for make in ENCODERS.values() for c in (0, CLASSES)),
]


def _call(part: nn.Module, inputs: tuple[int, ...], leading: tuple[int, ...]) -> Any:
    if not inputs:
        return part()
    classes = [torch.randint(CLASSES, leading)] if getattr(part, "classes", 0) else []
    return part(torch.rand(*leading, *inputs), *classes)


@pytest.mark.parametrize(("part", "inputs"), PARTS, ids=lambda v: repr(v))
def test_every_part(part: nn.Module, inputs: tuple[int, ...]) -> None:
    """Shapes, a gradient for every weight, deepcopy, float64, and a state that survives."""
    found = _call(part, inputs, (5, 2))
    event = X_SHAPE if isinstance(part, likelihoods.Likelihood) else (Z_DIM,)
    assert found.event_shape == event
    assert found.batch_shape == ((5, 2) if inputs else ())
    if list(part.parameters()):
        found.log_prob(found.sample()).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
    twin = copy.deepcopy(part)
    twin.load_state_dict(part.state_dict())
    assert repr(twin) == repr(part)
    assert type(part).__name__ in repr(part)
    inputs64 = [torch.rand(4, *inputs).double()] if inputs else []
    y = [torch.zeros(4, dtype=torch.long)] if getattr(part, "classes", 0) else []
    assert twin.double()(*inputs64, *y).sample().dtype == torch.float64


@pytest.mark.parametrize(
    ("prior", "posterior", "likelihood"),
    [
        ("normal", "diagonal", "bernoulli"),
        ("mixture", "conv", "conv"),
        ("weights", "diagonal", "normal"),
        ("normal", "diagonal", "variance, shared"),
        ("vamp", "full", "normal"),
        ("flow", "flow", "bernoulli"),
    ],
)
@pytest.mark.parametrize("name", ["VAE", "SSVAE"])
def test_every_part_is_saved(
    name: str, prior: str, posterior: str, likelihood: str, tmp_path: Path
) -> None:
    """Each part is built again from its description, with every weight."""
    model = with_these(name, prior, posterior, likelihood)
    twin = load(save(model, tmp_path / "model.safetensors"))
    assert repr(twin) == repr(model)
    assert all(torch.equal(t, twin.state_dict()[n]) for n, t in model.state_dict().items())


@pytest.mark.parametrize("k", [1, 7])
@pytest.mark.parametrize("learned", [False, True])
def test_mixture_normalises(k: int, learned: bool) -> None:
    """∫ p(z) dz = 1 on a grid, to 1e-6, with weights moved away from uniform."""
    prior = priors.MixtureOfGaussians(1, k=k, learn_weights=learned).double()
    if learned:
        nn.init.normal_(prior.logits)
    z = torch.linspace(-15, 15, 6001, dtype=torch.float64)[:, None]
    assert (prior().log_prob(z).exp().sum() * (30 / 6000)).item() == pytest.approx(1, abs=1e-6)


def test_reference_initialisation_of_the_mixture() -> None:
    """Means N(0, 1 / (k z_dim)): the mean square of 5,000 of them, |z| < 4, variances near log 2."""
    prior = priors.MixtureOfGaussians(10, k=500)
    squares = (prior.loc**2).flatten() * 500 * 10
    z = (squares.mean() - 1) / (2 / 5000) ** 0.5
    assert abs(z.item()) < 4
    variance = prior().component_distribution.variance
    assert variance.mean().item() == pytest.approx(0.6931, abs=1e-2)
