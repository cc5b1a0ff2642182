"""A swap is done as a whole or not at all, and an undo brings all back, what is yours included."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import torch
from sessions import same, session, train, weights
from torch import Tensor, nn
from zoo import X_SHAPE, images, labels, member

import vaezoo
from vaezoo import data, models, networks, objectives, posteriors, priors
from vaezoo.panel.session import Session


@pytest.mark.parametrize("trains", [False, True])
def test_a_swap_that_the_data_refuse_has_not_happened(trains: bool) -> None:
    """By hand, in a kernel: the menu goes back by itself, and what was wrong stays said."""

    async def kernel() -> None:
        vae = models.VAE(X_SHAPE, 3, hidden=(8,), beta=4.0)
        it = vaezoo.explore(vae, [images(30)])
        objective, before = it.session.objective, weights(vae)
        if trains:
            it.toolbar.train.click()
            await asyncio.sleep(0.05)
            before = []
        said = list[tuple[str, bool]]()
        say = it.session.say  # training may say something else soon after
        it.session.say = lambda text, *, failed=False: (
            said.append((text, failed)),
            say(text, failed=failed),
        )
        wrong = "ValueError: FSVAE is given labels: pass y, shape (30,)", True
        it.swapping.menus["member"].value = "FSVAE"
        for _ in range(6000):
            await asyncio.sleep(0.005)
            if wrong in said:
                break
        assert wrong in said
        assert it.swapping.menus["member"].value == "VAE"
        assert trains or (it.session.message, it.session.failed) == wrong
        assert it.model is vae
        assert it.session.viewer.model is vae
        assert it.session.objective is objective
        assert (vae.beta, it.session.swaps, it.session.stepper.marks) == (4.0, [], [])
        assert it.session.running == trains
        assert trains or same(weights(vae), before)
        it.session.pause()
        await asyncio.sleep(0.01)

    asyncio.run(kernel())


def test_a_part_whose_first_look_fails_is_taken_out_again() -> None:
    it = session()
    prior, codes = it.model.prior, it.viewer.codes

    class Wrong(priors.StandardNormal):
        def forward(self) -> Any:
            if it.viewer.model.prior is self:
                raise ValueError("no more")
            return super().forward()

    it.own.append(Wrong(3))
    with pytest.raises(ValueError, match="no more"):
        it.swap("prior", "Wrong (yours)")
    assert it.model.prior is prior
    assert (it.viewer.codes is codes, it.swaps, it.stepper.marks) == (True, [], [])


def test_another_member_has_the_dtype_of_the_old_one() -> None:
    pixels = data.Images((255 * images(30)).to(torch.uint8), labels(30), binarisation="threshold")
    it = Session(member("VAE").double(), pixels)
    it.swap("member", "IWAE", "z_dim=3, particles=2, hidden=(8, 6)")
    assert {p.dtype for p in it.model.parameters()} == {torch.float64}
    train(it, 3)
    assert (it.message, len(it.swaps)) == ("", 1)


def test_undo_takes_back_what_cells_have_assigned_since() -> None:
    it = session()
    network, before = it.model.posterior.network, weights(it.model)
    it.swap("prior", "MixtureOfGaussians", "k=3")
    it.model.posterior.network = networks.MLP(X_SHAPE, (5,), (2, 3))
    it.model.extra = nn.Linear(2, 2)
    it.model.likelihood.requires_grad_(False)
    it.model.guide = lambda x, y=None: None
    it.undo()
    assert it.model.posterior.network is network
    assert same(weights(it.model), before)
    assert all(p.requires_grad for p in it.model.parameters())
    assert not hasattr(it.model, "extra")
    assert (it.model.replaced_programs, it.swaps) == ((), [])
    train(it, 5)
    assert it.message == ""
    assert not same(weights(it.model), before)


def test_undo_brings_your_own_objective_back_with_the_steps_of_then() -> None:
    mine = objectives.ELBO(objectives.WarmUp(1000))
    it = session(parts=[mine])
    it.swap("objective", "ELBO (yours)")
    train(it, 5)
    taken = mine.beta.taken  # type: ignore[union-attr]
    assert it.menus()["objective"][1:] == ("ELBO (yours)", "")
    it.swap("prior", "MixtureOfGaussians", "k=3")
    train(it, 5)
    assert mine.beta.taken > taken > 0  # type: ignore[union-attr]
    it.undo()
    assert it.objective is mine
    assert mine.beta.taken == taken  # type: ignore[union-attr]


def test_parts_of_one_class_are_all_offered() -> None:
    class Mine(priors.StandardNormal):
        """A prior of one's own."""

    vae, theirs = member("VAE"), Mine(3)
    vae.prior = own = Mine(3)
    narrow, wide = (posteriors.DiagonalNormal(X_SHAPE, 3, hidden=(n,)) for n in (5, 7))
    it = Session(vae, [images(30)], parts=[theirs, narrow, wide, narrow])
    assert [n for n in it.menus()["posterior"][0] if "yours" in n] == [
        "DiagonalNormal (yours)",
        "DiagonalNormal (yours, 2)",
    ]
    it.swap("posterior", "DiagonalNormal (yours, 2)")
    assert it.model.posterior is wide
    assert it.menus()["prior"][1] == "Mine (yours, 2)"
    it.swap("prior", "Mine (yours)")
    assert it.model.prior is theirs
    it.swap("prior", "Mine (yours, 2)")
    assert it.model.prior is own


@pytest.mark.parametrize(
    ("old", "place", "name", "said"),
    [
        ("VAE", "member", "SSVAE", "SemiSupervised needs batches"),
        ("VAE", "member", "M1M2", "SemiSupervised needs batches"),
        ("VAE", "objective", "SemiSupervised", "VAE has no labels, and the batch holds some"),
        ("M1M2", "objective", "IWELBO", "importance weights sum a label out only where"),
        ("ADGM", "objective", "Renyi", "importance weights sum a label out only where"),
        ("SSVAE", "member", "FSVAE", "-1 is no class"),
    ],
)
def test_what_the_data_cannot_train_is_refused(old: str, place: str, name: str, said: str) -> None:
    it = session(old)
    before = weights(it.model)
    with pytest.raises(ValueError, match=said):
        it.swap(place, name)
    assert (it.swaps, type(it.model).__name__) == ([], old)
    assert same(weights(it.model), before)
    train(it, 2)
    assert it.message == ""


class Once:
    """A stream that is its own iterator."""

    def __init__(self) -> None:
        self.taken = 0

    def __iter__(self) -> Once:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        self.taken += 1
        return images(), labels()


def test_data_that_can_be_had_once_are_left_for_training() -> None:
    it = Session(member("VAE"), Once(), validation=[images(9)])
    it.swap("objective", "SemiSupervised")
    assert (it.data.taken, len(it.swaps)) == (0, 1)  # type: ignore[attr-defined]


def test_a_model_is_looked_at_without_data_to_train_on() -> None:
    it = Session(member("VAE"), [], validation=[images(9)])
    it.swap("prior", "MixtureOfGaussians", "k=4")
    assert len(it.swaps) == 1


def test_what_is_only_looked_at_is_swapped_all_the_same() -> None:
    """Where the data could not train it before either."""
    it = Session(member("SSVAE"), [(images(40), labels(40))])
    it.swap("prior", "MixtureOfGaussians", "k=4")
    assert len(it.swaps) == 1


@pytest.mark.parametrize(
    ("old", "new"), [("FSVAE", "VAE"), ("SSVAE", "FSVAE"), ("VAE", "FSVAE"), ("SSVAE", "VAE")]
)
def test_members_with_and_without_labels_are_compared(old: str, new: str) -> None:
    it = Session(member(old), [(images(40), labels(40))])
    sizes = "z_dim=3, hidden=(8,)" + (", classes=3" if new != "VAE" else "")
    it.swap("member", new, sizes)
    assert asyncio.run(it.compare(3, 20)).difference.n == 20
