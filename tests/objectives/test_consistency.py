"""What a classifier says of moved images: by hand, in the loss, compiled, resumed; bad input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from compiling import assert_close, compiled, step
from torch import Tensor, nn
from zoo import INFERS, BadCall, images, member, refused, semi_supervised_batch, widen

from vaezoo import ELBO, Bound, data, fit
from vaezoo.objectives import Consistency, SemiSupervised
from vaezoo.training import ResumeError


def mirrored(x: Tensor) -> Tensor:
    return x.flip(-1)


def by_hand(ssvae: Any, x: Tensor, threshold: float) -> Tensor:
    """-log q(ŷ|x̃) of the images that are sure, over all images."""
    total = x.new_zeros(())
    for i in range(len(x)):
        q = ssvae.classifier(x[i : i + 1]).probs[0]
        if q.max() > threshold:
            moved = ssvae.classifier(mirrored(x[i : i + 1])).probs[0]
            total = total - moved[q.argmax()].log()
    return total / len(x)


@pytest.mark.parametrize("threshold", [0.0, 0.4, 0.5, 0.99])
def test_it_is_the_cross_entropy_of_sure_images(threshold: float) -> None:
    """Value, and gradient through the moved images alone, to 1e-12 in float64."""
    ssvae, x = widen(member("SSVAE").double()), images(9, dtype=torch.float64)
    parameters = list(ssvae.classifier.parameters())
    found = Consistency(mirrored, threshold=threshold).of(ssvae.guide, x)
    expected = by_hand(ssvae, x, threshold)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    if threshold < 0.99:
        assert found > 0
        pairs = [torch.autograd.grad(each, parameters) for each in (found, expected)]
        torch.testing.assert_close(*pairs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("generative_weight", [0.0, 1.0])
def test_the_loss_has_it_with_its_weight(generative_weight: float) -> None:
    """Beside the same noise, to 1e-12; where processes weigh unlabelled images, by that too."""
    ssvae, batch = widen(member("SSVAE").double()), semi_supervised_batch(dtype=torch.float64)
    alike = Consistency(mirrored, weight=3.0, threshold=0.4)
    found = []
    for consistency, weight in ((None, None), (alike, None), (alike, torch.tensor(0.5).double())):
        objective = SemiSupervised(generative_weight=generative_weight, consistency=consistency)
        torch.manual_seed(0)
        terms = objective.estimate(ssvae.model, ssvae.guide, *batch)
        if weight is not None:
            objective.unlabelled_weight = weight
            terms = objective.estimate(ssvae.model, ssvae.guide, *batch)
        found.append(terms)
    without, plain, halved = found
    expected = by_hand(ssvae, batch[0], 0.4)
    assert expected > 0
    torch.testing.assert_close(plain["consistency"], expected.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(plain["loss"], without["loss"] + 3 * expected, rtol=0, atol=1e-11)
    torch.testing.assert_close(halved["consistency"], expected.detach() / 2, rtol=0, atol=1e-12)
    assert "consistency" not in without


@pytest.mark.parametrize("name", INFERS)
def test_every_member_that_infers_a_label_trains_with_it(name: str) -> None:
    """Where latents come before the label they are drawn; all weights move."""
    model = widen(member(name))
    before = {n: p.clone() for n, p in model.named_parameters()}
    objective = SemiSupervised(ELBO(), consistency=Consistency(data.Moves(), threshold=0.0))
    history = fit(model, [semi_supervised_batch()], objective, steps=2, log_every=1, progress=False)
    assert all(value > 0 for value in history["consistency"])
    assert not [n for n, p in model.named_parameters() if torch.equal(p, before[n])]


def test_compiled_it_is_the_same() -> None:
    """Under one seed, which draws the moves too: to 1e-10 in float64."""
    objective = SemiSupervised(consistency=Consistency(data.Moves(elastic=1.0), threshold=0.4))
    bound = Bound(widen(member("SSVAE").double()), objective)
    batch = semi_supervised_batch(dtype=torch.float64)
    eager = step(bound, *batch)
    assert eager[0]["consistency"] > 0
    assert_close(eager, step(compiled(bound, *batch), *batch), 1e-10)


class Dimmed(nn.Module):
    """A move of one's own, which reads an attribute, a buffer, and a global."""

    def __init__(self) -> None:
        super().__init__()
        self.by = 1.0
        self.register_buffer("least", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.by * self.least * SCALE["of all"]


SCALE = {"of all": 1.0}
CHANGES: dict[str, Callable[[Consistency], object]] = {
    "weight": lambda c: setattr(c, "weight", 1.0),
    "threshold": lambda c: setattr(c, "threshold", 0.9),
    "move": lambda c: setattr(c, "move", mirrored),
    "an attribute of the move": lambda c: setattr(c.move, "by", 0.5),
    "a buffer of the move": lambda c: c.move.least.fill_(0.5),  # type: ignore[attr-defined]
    "another buffer": lambda c: setattr(c.move, "least", torch.tensor(0.5)),
    "a global": lambda c: SCALE.update({"of all": 0.5}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_compiled_it_is_followed_where_it_changes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To 1e-10 in float64, before the change and after it."""
    monkeypatch.setitem(SCALE, "of all", 1.0)
    alike = Consistency(Dimmed().double(), threshold=0.2)
    bound = Bound(widen(member("SSVAE").double()), SemiSupervised(consistency=alike))
    batch = semi_supervised_batch(dtype=torch.float64)
    run, before = compiled(bound, *batch), step(bound, *batch)
    assert_close(before, step(run, *batch), 1e-10)
    CHANGES[name](alike)
    after = step(Bound(bound.model, bound.objective), *batch)
    assert after[0]["loss"] != before[0]["loss"]
    assert_close(after, step(run, *batch), 1e-10)


def test_an_objective_of_ones_own_may_have_a_number_of_that_name() -> None:
    class Weighted(ELBO):
        def __init__(self) -> None:
            super().__init__()
            self.consistency = 2.0

        def loss_of(self, terms: Any) -> Tensor:
            return self.consistency * super().loss_of(terms)

    bound, x = Bound(member("VAE").double(), Weighted()), images(dtype=torch.float64)
    run, before = compiled(bound, x), step(bound, x)
    bound.objective.consistency = 3.0
    after = step(Bound(bound.model, bound.objective), x)
    assert after[0]["loss"] != before[0]["loss"]
    assert_close(after, step(run, x), 1e-10)


@pytest.mark.parametrize("name", ["degrees", "shear", "scale", "shift", "elastic", "smoothness"])
def test_compiled_amounts_of_moves_are_followed(name: str) -> None:
    alike = Consistency(data.Moves(elastic=1.0), threshold=0.0)
    bound = Bound(widen(member("SSVAE").double()), SemiSupervised(consistency=alike))
    batch = semi_supervised_batch(dtype=torch.float64)
    run, before = compiled(bound, *batch), step(bound, *batch)
    setattr(alike.move, name, 0.7)
    after = step(Bound(bound.model, bound.objective), *batch)
    assert after[0]["consistency"] != before[0]["consistency"]
    assert_close(after, step(run, *batch), 1e-10)


def test_a_run_goes_on_with_it_and_not_with_another(tmp_path: Path) -> None:
    batches = [semi_supervised_batch()]

    def run(steps: int, shift: float) -> dict[str, list[float]]:
        torch.manual_seed(0)
        alike = Consistency(data.Moves(shift=shift), threshold=0.0)
        options = {"steps": steps, "log_every": 1, "checkpoint": tmp_path, "progress": False}
        objective = SemiSupervised(consistency=alike)
        return fit(member("SSVAE"), batches, objective, **options)

    run(2, 1.0)
    assert len(run(3, 1.0)["consistency"]) == 3
    with pytest.raises(ResumeError, match="objective"):
        run(4, 2.0)


def test_a_move_may_write_into_what_it_is_given() -> None:
    ssvae, x = member("SSVAE"), images()
    before = x.clone()
    found = Consistency(lambda x: x.mul_(0.5), threshold=0.0).of(ssvae.guide, x)
    found.backward()
    assert x.equal(before)
    assert found.equal(Consistency(lambda x: x * 0.5, threshold=0.0).of(ssvae.guide, x))


def test_it_says_what_it_is() -> None:
    alike = Consistency(data.Moves(shift=1), weight=5)
    assert repr(alike) == (
        "Consistency(Moves(degrees=15, shear=0.2, scale=0.1, shift=1), weight=5, threshold=0.95)"
    )
    assert repr(SemiSupervised(consistency=alike)).endswith(f", consistency={alike!r})")


BAD: list[BadCall] = [
    (lambda: Consistency(2.0), TypeError, "move must be a function of images, got a float"),
    (lambda: Consistency(mirrored, weight=-1), ValueError, "weight must be .* at least 0, got -1"),
    (lambda: Consistency(mirrored, threshold=1), ValueError, r"must lie in \[0, 1\), got 1"),
    (
        lambda: SemiSupervised(consistency=mirrored),
        *(TypeError, r"must be an objectives.Consistency\(move\), got a function"),
    ),
    (
        lambda: Consistency(mirrored).of(member("VAE").guide, images()),
        *(ValueError, "needs a guide that infers a label"),
    ),
    (
        lambda: data.Moves()(torch.zeros(3, 16)),
        *(ValueError, r"expected floating images \(n, C, H, W\), got \(3, 16\)"),
    ),
    (
        lambda: Consistency(lambda x: x[:1]).of(member("SSVAE").guide, images()),
        *(ValueError, r"move must return as many images .* got \(1, 1, 4, 4\)"),
    ),
    (
        lambda: Consistency(lambda x: torch.cat([x, x])).of(member("SSVAE").guide, images()),
        *(ValueError, "move must return as many images"),
    ),
    (
        lambda: Consistency(lambda x: None).of(member("SSVAE").guide, images()),
        *(ValueError, "got NoneType"),
    ),
    (lambda: data.Moves(scale=1), ValueError, "at least 0 and below 1, got 1"),
]


test_bad_calls_are_refused = refused(BAD)
