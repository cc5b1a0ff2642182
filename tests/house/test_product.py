"""The product: every prior × posterior × likelihood × objective on every member trains.

Each combination makes three steps of Adam on a small model of its own: every loss is finite, and
every parameter has had a gradient and moved. GMVAE and IWAE have the VAE's pair and are its
combinations with a mixture and with importance weights. Pyro's own objectives, and convolutional
networks, are in test_contract.py.

What makes no sense is refused by one rule: importance weights (IWELBO, Renyi) share one q(y|x), so
a label that is summed out must be the first latent that the guide draws. It is in an SSVAE; in
M1+M2 and in the ADGM it comes second. Given their labels, those train with importance weights too,
all but the classifier, which has nothing to do then. Members that infer a label train on batches
with some labels too (SemiSupervised), by the same rule.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pyro
import pytest
import torch
from small import CLASSES, X_SHAPE, images, labels
from torch import Tensor, nn

from vaezoo import Bound, likelihoods, models, networks, posteriors, priors
from vaezoo.objectives import ELBO, IWELBO, Renyi, SemiSupervised, WarmUp

Z, Z1, A = 3, 4, 2
STEPS = 3

PRIORS: dict[str, Callable[[tuple[int, ...], int], priors.Prior]] = {
    "normal": lambda of, classes: priors.StandardNormal(Z),
    "mixture": lambda of, classes: priors.MixtureOfGaussians(Z, k=4),
    "weights": lambda of, classes: priors.MixtureOfGaussians(Z, k=4, learn_weights=True),
    "vamp": lambda of, classes: priors.VampPrior(of, Z, k=4, classes=classes, unit=False),
    "flow": lambda of, classes: priors.Flow(Z, layers=2, hidden=(4,)),
}
FLOW: dict[str, Any] = {"layers": 2, "flow_hidden": (4,), "context": 2}
POSTERIORS: dict[str, tuple[Any, dict[str, Any]]] = {
    "diagonal": (posteriors.DiagonalNormal, {}),
    "full": (posteriors.FullNormal, {}),
    "low rank": (posteriors.LowRankNormal, {"rank": 1}),
    "flow": (posteriors.Flow, FLOW),
}
LIKELIHOODS: dict[str, tuple[Any, dict[str, Any]]] = {
    "bernoulli": (likelihoods.Bernoulli, {}),
    "continuous": (likelihoods.ContinuousBernoulli, {}),
    "logistic": (likelihoods.DiscretizedLogistic, {"scale": "pixel"}),
    "normal": (likelihoods.Normal, {}),
    "variance": (likelihoods.Normal, {"learn_variance": "pixel"}),
    "categorical": (likelihoods.Categorical, {"levels": 2}),
    "poisson": (likelihoods.Poisson, {}),
    "negative binomial": (likelihoods.NegativeBinomial, {}),
}
OBJECTIVES: dict[str, Callable[[], Any]] = {
    "elbo": lambda: ELBO(particles=2),
    "warm-up": lambda: ELBO(WarmUp(4, start=0.5)),
    "free bits": lambda: ELBO(free_bits=1e-4),
    "iwae": lambda: IWELBO(2),
    "stl": lambda: IWELBO(2, estimator="stl"),
    "dreg": lambda: IWELBO(2, estimator="dreg"),
    "renyi": lambda: Renyi(0.5, particles=2),
}
SEMI: dict[str, Callable[[], Any]] = {
    "semi": lambda: SemiSupervised(ELBO(), alpha=1.0, labelled_fraction=0.5),
    "semi, iwae": lambda: SemiSupervised(IWELBO(2), alpha=1.0, labelled_fraction=0.5),
}
WEIGHTED = ("iwae", "stl", "dreg", "renyi")
LATE_LABEL = ("M1M2", "ADGM")
MEMBERS = ("VAE", "SSVAE", "FSVAE", "HierarchicalVAE", *LATE_LABEL)
PARTS = list(itertools.product(PRIORS, POSTERIORS, LIKELIHOODS))
TRAINED = [
    *itertools.product(MEMBERS, OBJECTIVES),
    *itertools.product(("SSVAE", *LATE_LABEL), ("semi",)),
    ("SSVAE", "semi, iwae"),
]
REFUSED = list(itertools.product(LATE_LABEL, (*WEIGHTED, "semi, iwae")))
tally: Counter[tuple[str, str, str]] = Counter()  # of what was done, by verdict, member, objective


def posterior(name: str, of: tuple[int, ...], size: int, classes: int) -> posteriors.Posterior:
    """q(code of this size | something of shape `of`[, y])."""
    kind, arguments = POSTERIORS[name]
    wide = {"flow_hidden": (size,)} if name == "flow" else {}
    part: posteriors.Posterior = kind(of, size, hidden=(5,), classes=classes, **(arguments | wide))
    return part


def posterior_of_pair(name: str) -> posteriors.Posterior:
    """The ADGM's q(z|x, a, y): the same, with a network that reads the pair (x, a)."""
    part = posterior(name, X_SHAPE, Z, CLASSES)
    part.network = networks.PairMLP(X_SHAPE, A, (5,), part.network.out_shape, classes=CLASSES)
    return part


def build(member: str, prior: str, q: str, likelihood: str) -> models.LatentVariableModel:
    """A small member with these parts; a Vamp's pseudo-inputs live where its posterior looks."""
    kind, arguments = LIKELIHOODS[likelihood]
    sizes: dict[str, Any] = {"hidden": (5,)}

    def p(z_dim: int, classes: int) -> Any:
        return kind(z_dim, X_SHAPE, hidden=(5,), classes=classes, **arguments)

    if member in ("VAE", "SSVAE", "FSVAE"):
        classes = 0 if member == "VAE" else CLASSES
        sizes |= {"classes": classes} if classes else {}
        parts = {"likelihood": p(Z, classes), "posterior": posterior(q, X_SHAPE, Z, classes)}
        chosen = PRIORS[prior](X_SHAPE, classes)
        return getattr(models, member)(X_SHAPE, Z, prior=chosen, **parts, **sizes)
    if member == "ADGM":
        parts = {"likelihood": p(Z, CLASSES), "posterior": posterior_of_pair(q)}
        chosen = PRIORS[prior]((16 + A,), CLASSES)
        return models.ADGM(X_SHAPE, Z, A, classes=CLASSES, prior=chosen, **parts, **sizes)
    classes = CLASSES if member == "M1M2" else 0
    sizes |= {"upper_hidden": (5,), **({"classes": classes} if classes else {})}
    parts = {"likelihood": p(Z1, 0), "posterior": posterior(q, X_SHAPE, Z1, 0)}
    parts["upper_posterior"] = posterior(q, (Z1,), Z, classes)
    chosen = PRIORS[prior]((Z1,), classes)
    return getattr(models, member)(X_SHAPE, Z1, Z, prior=chosen, **parts, **sizes)


def bound_of(member: str, parts: tuple[str, str, str], objective: str) -> Bound:
    """Weights wide enough that no KL hides below the free bits."""
    model = build(member, *parts)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return Bound(model, (OBJECTIVES | SEMI)[objective]())


def batch_of(member: str, objective: str) -> tuple[Tensor, ...]:
    """Labels where a member or an objective needs them."""
    if objective in SEMI:
        return (images(), images(3), labels(3))
    return (images(), labels()) if member == "FSVAE" else (images(),)


def train(bound: Bound, batch: tuple[Tensor, ...]) -> None:
    """Three steps; every loss finite, every parameter reached and moved."""
    given = len(batch) == 2 and hasattr(bound.model, "classifier")
    parameters = {n: p for n, p in bound.named_parameters() if not (given and ".classifier." in n)}
    before = {n: p.detach().clone() for n, p in parameters.items()}
    optimizer = torch.optim.Adam(parameters.values(), lr=1e-2)
    for step in range(STEPS):
        optimizer.zero_grad()
        with pyro.validation_enabled(step == 0):
            terms = bound(*batch)
        assert all(torch.isfinite(value) for value in terms.values()), terms
        terms["loss"].backward()
        optimizer.step()
        bound.objective.step()
    still = [n for n, p in parameters.items() if p.grad is None or torch.equal(p, before[n])]
    assert not still, f"{bound.model!r} with {bound.objective!r}: no gradient in {still}"
    assert all(torch.isfinite(p).all() for p in parameters.values())


@pytest.mark.parametrize(("member", "objective"), TRAINED)
def test_every_combination_trains(member: str, objective: str) -> None:
    """160 combinations of parts each; M1+M2 and ADGM are given labels under importance weights."""
    late = member in LATE_LABEL and objective in WEIGHTED
    batch = (images(), labels()) if late else batch_of(member, objective)
    for parts in PARTS:
        train(bound_of(member, parts, objective), batch)
        tally["train", member, objective] += 1


@pytest.mark.parametrize(("member", "objective"), REFUSED)
def test_what_makes_no_sense_is_refused(member: str, objective: str) -> None:
    """All 160 combinations of parts: importance weights with a label that comes second."""
    batch = batch_of(member, objective)
    for parts in PARTS:
        bound = bound_of(member, parts, objective)
        with pytest.raises(ValueError, match="only where the guide draws it before every other"):
            bound(*batch)
        tally["refuse", member, objective] += 1


def test_the_product_is_counted(record_property: Callable[[str, object], None]) -> None:
    """What the tests above tallied, be it all of them or those that were selected."""
    sums = Counter[str]()
    for (verdict, _, _), number in tally.items():
        sums[verdict] += number
    record_property(
        "counted",
        f"{len(MEMBERS)} members, {len(PRIORS)} priors × {len(POSTERIORS)} posteriors × "
        f"{len(LIKELIHOODS)} likelihoods, {len(OBJECTIVES | SEMI)} objectives: "
        f"{sums['train']:,} combinations train, {sums['refuse']:,} are refused",
    )
    assert set(tally.values()) <= {160}
    if len(tally) == len(TRAINED) + len(REFUSED):
        assert sums == {"train": 7360, "refuse": 1600}


def test_the_product_is_of_all_parts() -> None:
    kinds = {posteriors: POSTERIORS, likelihoods: LIKELIHOODS}
    for module, chosen in kinds.items():
        abstract = {"Posterior", "Likelihood", "Classifier"}
        assert {kind.__name__ for kind, _ in chosen.values()} == set(module.__all__) - abstract
    made = {type(make(X_SHAPE, 0)).__name__ for make in PRIORS.values()}
    assert made == set(priors.__all__) - {"Prior"}
