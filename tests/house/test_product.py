"""The product: every prior × posterior × likelihood × objective on every member trains.

Each combination makes a step of Adam on a small model with weights of its own, and more of them
where the objective moves its weight (warm-up) or a KL begins below the free bits: every loss is
finite, and every parameter has had a gradient and moved. GMVAE and IWAE have the VAE's pair and are
its combinations with a mixture and with importance weights. Pyro's own objectives, and
convolutional networks, are in test_pyro_adapter.py.

What makes no sense is refused by one rule: importance weights (IWELBO, Renyi) share one q(y|x), so
a label that is summed out must be the first latent that the guide draws. It is in an SSVAE; in
M1+M2 and in the ADGM it comes second. Given their labels, those train with importance weights too,
all but the classifier, which has nothing to do then. Members that infer a label train on batches
with some labels too (SemiSupervised), by the same rule.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from torch import Tensor, nn
from zoo import (
    INFERS,
    LATE_LABEL,
    LIKELIHOODS,
    MEMBERS,
    POSTERIORS,
    PRIORS,
    batch_for,
    images,
    labels,
    semi_supervised_batch,
    widen,
    with_parts,
)

from vaezoo import Bound
from vaezoo.objectives import ELBO, IWELBO, Renyi, SemiSupervised, WarmUp

ROOT = Path(__file__).parents[2]
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
STEPS = {"warm-up": (2, 2), "free bits": (1, 4)}  # at least and at most; one otherwise
WEIGHTED = ("iwae", "stl", "dreg", "renyi")
# GMVAE and IWAE have the VAE's pair
TRAINED_MEMBERS = tuple(n for n in MEMBERS if n not in ("GMVAE", "IWAE"))
# one kind of shared scale and variance is as that per pixel, but for a shape
CHOSEN = [name for name in LIKELIHOODS if not name.endswith("shared")]
PARTS = list(itertools.product(PRIORS, POSTERIORS, CHOSEN))
TRAINED = [
    *itertools.product(TRAINED_MEMBERS, OBJECTIVES),
    *itertools.product(INFERS, ("semi",)),
    *((name, "semi, iwae") for name in INFERS if name not in LATE_LABEL),
]
REFUSED = list(itertools.product(LATE_LABEL, (*WEIGHTED, "semi, iwae")))
tally: Counter[tuple[str, str, str]] = Counter()  # of what was done, by verdict, member, objective


built = functools.cache(with_parts)  # half of the time is theirs, and each trains many times


def bound_of(member: str, parts: tuple[str, str, str], objective: str) -> Bound:
    """Weights drawn anew, wide enough that no KL hides below the free bits."""
    model = widen(built(member, *parts))
    model.zero_grad()
    return Bound(model, (OBJECTIVES | SEMI)[objective]())


def batch_of(member: str, objective: str) -> tuple[Tensor, ...]:
    """Labels where a member or an objective needs them."""
    if objective in SEMI:
        return semi_supervised_batch()
    return batch_for(member)


def trained(bound: Bound, given: bool) -> dict[str, nn.Parameter]:
    """Its parameters, but for a classifier that has nothing to do where labels are given."""
    given = given and hasattr(bound.model, "classifier")
    return {n: p for n, p in bound.named_parameters() if not (given and ".classifier." in n)}


def train(bounds: list[Bound], batch: tuple[Tensor, ...], least: int, most: int) -> None:
    """Every loss finite, every parameter reached and moved, in the first steps or those up to `most`.

    The models share nothing: one pass backward and one step of Adam do for all of them.
    """
    parameters = {b: trained(b, len(batch) == 2) for b in bounds}
    all_of_them = [p for each in parameters.values() for p in each.values()]
    before = {p: p.detach().clone() for p in all_of_them}
    optimizer = torch.optim.Adam(all_of_them, lr=1e-2, fused=True)

    still = {b: ["all"] for b in bounds}
    for step in range(most):
        left = [b for b in bounds if step < least or still[b]]
        if not left:
            break
        optimizer.zero_grad()
        with pyro.validation_enabled(step == 0):
            terms = {b: b(*batch) for b in left}
        for bound, each in terms.items():
            assert torch.stack([*each.values()]).isfinite().all(), (bound, each)
            bound.objective.step()
        torch.stack([each["loss"] for each in terms.values()]).sum().backward()
        optimizer.step()
        for bound in left:
            of = parameters[bound].items()
            still[bound] = [n for n, p in of if p.grad is None or torch.equal(p, before[p])]
    assert not any(still.values()), {repr(b): names for b, names in still.items() if names}
    assert all(torch.isfinite(p).all() for p in all_of_them)


@pytest.mark.parametrize(("member", "objective"), TRAINED)
def test_every_combination_trains(member: str, objective: str) -> None:
    """All combinations of parts; M1+M2 and ADGM are given labels under importance weights."""
    late = member in LATE_LABEL and objective in WEIGHTED
    batch = (images(), labels()) if late else batch_of(member, objective)
    for prior, posterior in itertools.product(PRIORS, POSTERIORS):
        bounds = [bound_of(member, (prior, posterior, x), objective) for x in CHOSEN]
        train(bounds, batch, *STEPS.get(objective, (1, 1)))
        tally["train", member, objective] += len(bounds)


@pytest.mark.parametrize(("member", "objective"), REFUSED)
def test_what_makes_no_sense_is_refused(member: str, objective: str) -> None:
    """All combinations of parts: importance weights with a label that comes second."""
    batch = batch_of(member, objective)
    for parts in PARTS:
        bound = Bound(built(member, *parts), (OBJECTIVES | SEMI)[objective]())
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
        f"{len(TRAINED_MEMBERS)} members, {len(PRIORS)} priors × {len(POSTERIORS)} posteriors × "
        f"{len(CHOSEN)} likelihoods, {len(OBJECTIVES | SEMI)} objectives: "
        f"{sums['train']:,} combinations train, {sums['refuse']:,} are refused",
    )
    assert set(tally.values()) <= {len(PARTS)}
    if len(tally) == len(TRAINED) + len(REFUSED):
        assert sums == {"train": len(PARTS) * len(TRAINED), "refuse": len(PARTS) * len(REFUSED)}
        assert sums["train"] >= 7360
        assert sums["refuse"] >= 1600


@pytest.mark.parametrize("name", ["README.md", "PACKAGE.md", "docs/guide.md"])
def test_documents_say_how_many(name: str) -> None:
    assert f" {len(PARTS) * len(TRAINED):,} combinations" in (ROOT / name).read_text()
