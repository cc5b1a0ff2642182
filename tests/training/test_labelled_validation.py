"""Validation of semi-supervised batches: each kind of image is a mean over its own number."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pyro import poutine
from zoo import CLASSES, fixed, member

from vaezoo import ELBO, IWELBO, SemiSupervised, data
from vaezoo.bound import Bound
from vaezoo.objectives import Consistency
from vaezoo.objectives.base import Objective
from vaezoo.programs.run import run
from vaezoo.scopes import own_generator
from vaezoo.training.validation import SEED, Validation

SIZES = ((12, 1), (8, 9), (3, 5))  # of unlabelled and of labelled images


def batches() -> list[tuple[torch.Tensor, ...]]:
    y = torch.arange(9) % CLASSES
    return [(fixed(n).double(), fixed(m + 9).double()[9:], y[:m]) for n, m in SIZES]


def each_by_itself(model: Any, objective: Objective) -> tuple[torch.Tensor, ...]:
    """The bounds of all unlabelled and of all labelled images, and log q(y|x), without a mean."""
    unlabelled, labelled, log_qy = [], [], []
    with own_generator(SEED), torch.no_grad():
        for x, x_labelled, y in batches():
            given = [poutine.condition(p, data={"y": y}) for p in (model.model, model.guide)]
            n = objective.num_particles
            labelled.append(objective.bound(run(*given, x_labelled, particles=n)))
            unlabelled.append(objective.bound(run(model.model, model.guide, x, particles=n)))
            log_qy.append(model.label_posterior(x_labelled).log_prob(y))
    return torch.cat(unlabelled), torch.cat(labelled), torch.cat(log_qy)


@pytest.mark.parametrize("inside", [ELBO(), IWELBO(3)], ids=["ELBO", "IWELBO"])
@pytest.mark.parametrize("weight", [1.0, 0.3, 0.0])
def test_weighs_each_kind_by_its_own_number(inside: Objective, weight: float) -> None:
    """Against the images of all batches joined, on the same noise, to 1e-12 of a nat."""
    model = member("SSVAE").double().eval()
    settings: dict[str, Any] = {"alpha": 7, "labelled_fraction": 0.4, "generative_weight": weight}
    terms = Validation(Bound(model, SemiSupervised(inside, **settings)), batches())()
    unlabelled, labelled, log_qy = each_by_itself(model, inside)
    bound = 0.6 * unlabelled.mean() + 0.4 * labelled.mean()
    assert terms["log_qy"] == pytest.approx(log_qy.mean().item(), abs=1e-12)
    if weight:
        assert terms["bound"] == pytest.approx(bound.item(), abs=1e-12)
    loss = -weight * bound - 7 * log_qy.mean()
    assert terms["loss"] == pytest.approx(loss.item(), abs=1e-12)


def test_consistency_is_of_the_unlabelled() -> None:
    """With a move that moves nothing it is -log max q(y|x), to 1e-12."""
    model = member("SSVAE").double().eval()
    alike = Consistency(torch.clone, weight=3.0, threshold=0.0)
    with_it = Validation(Bound(model, SemiSupervised(consistency=alike)), batches())()
    without = Validation(Bound(model, SemiSupervised()), batches())()
    x = torch.cat([x for x, *_ in batches()])
    expected = -model.label_posterior(x).logits.log_softmax(-1).amax(-1).mean().item()
    assert with_it["consistency"] == pytest.approx(expected, abs=1e-12)
    assert with_it["loss"] - without["loss"] == pytest.approx(3 * expected, abs=1e-10)


def test_apart_the_terms_add_up() -> None:
    """On one batch and the same noise, whatever the weights; to 1e-12."""
    model, batch = member("SSVAE").double(), batches()[1]
    objective = SemiSupervised(IWELBO(2), alpha=5, labelled_fraction=0.3, generative_weight=0.7)
    with own_generator(1):
        whole = objective.estimate(model.model, model.guide, *batch)
    with own_generator(1):
        parts = [each.estimate(model.model, model.guide, *batch) for each in objective.apart()]
    for name, value in whole.items():
        found = sum(part[name] for part in parts if name in part)
        assert value.detach().item() == pytest.approx(float(found.detach()), abs=1e-12)
    assert "log_qy" not in parts[1]


def test_a_bound_of_ones_own_is_asked_for_whole_batches() -> None:
    """What a subclass adds counts once."""

    class Dearer(SemiSupervised):
        def estimate(self, *args: Any) -> dict[str, torch.Tensor]:
            terms = super().estimate(*args)
            return terms | {"loss": terms["loss"] + 100}

    model, batch = member("SSVAE").double(), batches()[:1]
    plain, dearer = (Validation(Bound(model, o()), batch)() for o in (SemiSupervised, Dearer))
    assert dearer["loss"] - plain["loss"] == pytest.approx(100, abs=1e-10)
    several = Validation(Bound(model, Dearer(alpha=7)), batches())()
    log_qy = torch.cat([model.label_posterior(x).log_prob(y) for _, x, y in batches()]).mean()
    assert several["log_qy"] == pytest.approx(log_qy.item(), abs=1e-12)
    assert several["loss"] == pytest.approx(100 - several["bound"] - 7 * log_qy.item(), abs=1e-10)


def test_built_in_batches() -> None:
    """The last batch of a pass holds fewer unlabelled images and as many labelled ones."""
    model = member("SSVAE").double().eval()
    y, pixels = torch.arange(9) % CLASSES, (255 * fixed(23)).byte()
    unlabelled = data.Images(pixels, binarisation="threshold")
    labelled = data.Images(pixels[:9], y, binarisation="threshold")
    several = data.semi_supervised(unlabelled, labelled, batch_size=10)
    terms = Validation(Bound(model, SemiSupervised()), several)()
    expected = model.label_posterior(fixed(23)[:9].double()).log_prob(y)
    assert terms["log_qy"] == pytest.approx(expected.mean().item(), abs=1e-6)
