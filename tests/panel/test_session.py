"""A session: training in pieces, swaps while it runs, undo, codes and images, and a paired comparison."""

from __future__ import annotations

import asyncio

import pyro
import pytest
import torch
from sessions import same, session, train, weights
from torch import Tensor, nn
from zoo import GIVEN, INFERS, MEMBERS, X_SHAPE, images, labels, member, refused

from vaezoo import compare, data, evaluate, objectives, posteriors, priors
from vaezoo.panel.session import Session


def test_it_trains_in_pieces_and_pauses() -> None:
    it = session()
    it.model.eval()
    seen: list[str] = []
    it.changed = seen.append
    rests = train(it, 60)
    assert it.stepper.step >= 120
    assert rests > 2, "the loop was never given back"
    assert not it.running
    assert not it.model.training, "the mode it was in"
    assert [r["step"] for r in it.stepper.records[:3]] == [10, 20, 30]
    assert it.stepper.records[-1]["bound"] > it.stepper.records[0]["bound"]
    assert {"step", "codes"} <= set(seen)
    before = it.stepper.step
    train(it, 5)
    assert it.stepper.step >= before + 10


def test_what_is_swapped_in_is_trained_at_once() -> None:
    """A prior, the guide and the objective, each in the midst of training."""
    it = session()
    for place, name, options in (
        ("prior", "MixtureOfGaussians", "k=5"),
        ("posterior", "FullNormal", None),
        ("objective", "IWELBO", "particles=3"),
    ):
        old, left = it.menus()[place][1], len(it.swaps)
        new: dict[str, list[Tensor]] = {}

        def swap() -> None:
            it.swap(place, name, options)  # noqa: B023
            new["weights"] = weights(it.model)  # noqa: B023

        train(it, 20, swap)
        assert (it.message, it.menus()[place][1]) == ("", name) != ("", old)
        assert len(it.swaps) == left + 1
        moved = [
            not torch.equal(a, b) for a, b in zip(new["weights"], weights(it.model), strict=True)
        ]
        assert all(moved)
    assert isinstance(it.stepper.marks[0][0], int)
    assert it.stepper.marks[-1][1] == "objective: IWELBO(particles=3)"


def test_what_is_assigned_in_another_cell_is_trained() -> None:
    it, shown = session(), list[str]()
    mine = priors.MixtureOfGaussians(3, k=2)
    before = weights(mine)
    it.changed = shown.append
    train(it, 20, lambda: setattr(it.model, "prior", mine))
    assert it.menus()["prior"][1:] == ("MixtureOfGaussians", "k=2, learn_weights=False")
    assert not any(torch.equal(a, b) for a, b in zip(before, weights(mine), strict=True))
    assert shown.count("model") == 1


def test_undo_brings_the_model_back_to_the_last_weight() -> None:
    it = session()
    train(it, 10)
    prior, posterior, before = it.model.prior, it.model.posterior, weights(it.model)
    it.swap("prior", "VampPrior", "k=3, unit=True")
    it.swap("posterior", "Flow", "layers=2, flow_hidden=(4,), context=2, hidden=(8,)")
    it.swap("member", "IWAE", "z_dim=3, particles=2, hidden=(8, 6)")
    assert type(it.model.prior) is priors.VampPrior
    assert it.model.prior.follows() == (it.model.posterior,)
    train(it, 10)
    for _ in range(3):
        it.undo()
        train(it, 2)
        it.stepper.close()
    it.swap("prior", "StandardNormal")
    it.undo()
    assert it.model.prior is prior
    assert it.model.posterior is posterior
    assert not same(weights(it.model), before), "trained on since"
    it.swap("prior", "MixtureOfGaussians", "k=3")
    before = weights(it.model)
    train(it, 5)
    it.undo()
    assert it.model.prior is prior
    assert same(weights(it.model), [w for w in before if w.shape != (3, 3)])


def test_another_member_takes_the_parts_along() -> None:
    it = session()
    vae, decoder = it.model, weights(it.model.likelihood)
    it.swap("member", "GMVAE", "z_dim=3, k=4, hidden=(8, 6)")
    assert repr(it.model.prior) == "MixtureOfGaussians(3, k=4)"
    assert same(weights(it.model.likelihood), decoder)
    train(it, 5)
    assert same(weights(vae.likelihood), decoder), "they are copies"
    it.swap("member", "FSVAE", "z_dim=2, classes=3, hidden=(8,)")
    assert it.viewer.codes.z.shape == (40, 2) == (40, len(it.viewer.z))
    it.undo()
    it.undo()
    assert it.model is vae


def test_what_goes_wrong_is_said_and_nothing_is_lost() -> None:
    it = session()
    before = weights(it.model)
    with pytest.raises(ValueError, match="options are written as in a call"):
        it.swap("prior", "MixtureOfGaussians", "k 5")
    with pytest.raises(TypeError, match="unexpected keyword argument 'kk'"):
        it.swap("prior", "MixtureOfGaussians", "kk=5")
    with pytest.raises(ValueError, match="VAE has no labels, and the batch holds some"):
        it.swap("objective", "SemiSupervised")
    assert not it.swaps
    assert same(weights(it.model), before)
    train(it, 5)
    assert it.stepper.step >= 10


def test_warnings_of_training_are_said() -> None:
    these = data.Images(
        torch.zeros(30, *X_SHAPE, dtype=torch.uint8), labels(30), binarisation="none"
    )
    few = these[these.labels < 2]  # type: ignore[operator]
    it = Session(member("SSVAE"), data.semi_supervised(these, few, batch_size=10))
    train(it, 10)
    assert "no labelled image is of class 2" in it.message
    assert not it.failed


test_it_refuses = refused(
    {
        "no member": (lambda: Session(nn.Linear(2, 2), []), TypeError, "a member of vaezoo.models"),  # type: ignore[arg-type]
        "a place": (lambda: session().swap("x", "y"), ValueError, "has the places member, prior"),
        "a line": (lambda: session().swap("prior", "Normal"), ValueError, "prior can be Flow, Mix"),
        "a swap": (lambda: session().undo(), ValueError, "there is no swap to undo"),
        "none": (lambda: session(images=0), ValueError, "images must be at least 1, got 0"),
        "half": (lambda: session(images=2.5), ValueError, "must be a whole number, got 2.5"),
        "text": (lambda: session(images="a"), TypeError, "must be a whole number, got 'a'"),
        "a number": (lambda: session(parts=[3]), TypeError, "LatentVariableModel, got 3: derive"),
        "a layer": (lambda: session(parts=[nn.Linear(2, 2)]), TypeError, "got Linear"),
        "no option": (lambda: session(lrr=1), TypeError, "takes the options batch_size, .*'lrr'"),
        "an average": (lambda: session(average=0.9), TypeError, "averaged when training ends"),
        "an end": (lambda: session(epochs=3), TypeError, "no epochs: a panel trains until it is"),
        "steps": (lambda: session(steps=3), TypeError, "no steps: a panel trains until it is"),
        "records": (lambda: session(log_every=5), TypeError, "a panel records every 10 steps"),
        "a bar": (lambda: session(progress=True), TypeError, "no progress: a panel shows curves"),
        "a past": (lambda: session(history={}), TypeError, "no history: a panel begins"),
        "two": (lambda: asyncio.run(session().compare()), ValueError, "swap a part, train, then"),
    }
)


@pytest.mark.parametrize("name", MEMBERS)
def test_codes_are_decoded(name: str) -> None:
    it = session(name)
    n, latent = 49 if name in INFERS else 40, it.model.parts["prior"].of
    size = getattr(it.model, f"{latent}_dim")
    assert it.viewer.codes.z.shape == (n, size)
    assert it.viewer.codes.plane.shown(it.viewer.codes.z).shape == (n, 2)
    one, two = it.viewer.at(0.0, 0.0), it.viewer.at(1.5, -1.0)
    torch.testing.assert_close(
        it.viewer.codes.plane.shown(it.viewer.z[None])[0], torch.tensor([1.5, -1.0])
    )
    there = it.viewer.z.clone()
    three = it.viewer.traverse(1, 2.0)
    assert it.viewer.z.tolist() == [there[0], 2.0, *there[2:]]
    for x in (one, two, three):
        assert x.shape == X_SHAPE
    if latent == it.model.code and name != "M1M2":
        y = it.viewer.label if it.model.classes else None
        assert torch.equal(three, it.model.sample(z=it.viewer.z[None], y=y)[0])


@pytest.mark.parametrize("name", MEMBERS)
def test_a_drawing_is_encoded_classified_and_reconstructed(name: str) -> None:
    it = session(name)
    it.viewer.label, x = 2, images(1)
    z, again, probabilities = it.viewer.recognise(x[0])
    y = torch.tensor([2]) if name in GIVEN else None
    assert torch.equal(z, it.model.encode(x, y, latent=it.model.parts["prior"].of)[0])
    if name not in ("M1M2", "HierarchicalVAE"):
        assert torch.equal(again, it.model.reconstruct(x, y)[0])
    assert probabilities is not None
    assert abs(float(probabilities.sum()) - 1) < 1e-6
    if name in INFERS:
        assert torch.equal(probabilities, it.model.classify(x)[0])


def test_looking_draws_no_random_numbers_of_yours() -> None:
    it, before = session("SSVAE"), torch.get_rng_state()
    it.look()
    it.viewer.at(1.0, 1.0)
    it.viewer.recognise(images(1)[0].round())
    it.menus()
    it.swap("prior", "MixtureOfGaussians")
    it.undo()
    it.source()
    torch.set_rng_state(before)
    it.look()
    it.viewer.decoded()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("own", [False, True])
def test_a_comparison_is_paired_and_with_the_model_of_that_time(own: bool) -> None:
    """Also where a guide of one's own reads the posterior of the model itself, not of a copy."""
    it = session(n=60)
    if own:
        reads = it.model

        def guide(x: torch.Tensor) -> torch.Tensor:
            with reads.images(x):
                return pyro.sample("z", reads.posterior(x))

        it.model.guide = guide
    train(it, 30)
    frozen = evaluate(it.model, [(it.viewer.x[:10],)], particles=4, seed=0, progress=False)
    it.swap("prior", "MixtureOfGaussians", "k=3")
    train(it, 50)
    after = weights(it.model)
    found = asyncio.run(it.compare(4, 10))
    assert same(weights(it.model), after)
    now = evaluate(it.model, [(it.viewer.x[:10],)], particles=4, seed=0, progress=False)
    difference = compare(now, frozen)["niwae-4"]
    assert found.before.mean == pytest.approx(frozen["niwae-4"].mean, abs=1e-6)
    assert found.difference.mean == pytest.approx(difference.mean, abs=1e-6)
    assert found.difference.stderr == pytest.approx(difference.stderr, abs=1e-6)
    assert found.difference.mean != 0
    assert "paired (below 0 is better)" in it.message


def test_parts_of_your_own_are_offered() -> None:
    class Mine(priors.StandardNormal):
        """A prior of one's own."""

    theirs = posteriors.DiagonalNormal(X_SHAPE, 3, hidden=(5,))
    it = session(parts=[Mine, theirs, objectives.ELBO(2.0)])
    it.swap("prior", "Mine (yours)")
    assert (type(it.model.prior), it.menus()["prior"][1]) == (Mine, "Mine (yours)")
    it.swap("posterior", "DiagonalNormal (yours)")
    assert it.model.posterior is theirs
    it.swap("objective", "ELBO (yours)")
    assert it.objective.beta == 2.0
    # what the model came with stays on the menu
    vae = member("VAE")
    vae.prior = mine = Mine(3)
    it = Session(vae, [images()])
    it.swap("prior", "Flow")
    it.swap("prior", "Mine (yours)")
    assert it.model.prior is mine


@pytest.mark.parametrize("kind", ["semi-supervised", "unlabelled", "counts"])
def test_it_takes_what_fit_takes(kind: str) -> None:
    pixels = (255 * images(30)).to(torch.uint8)
    these = data.Images(pixels, labels(30), binarisation="threshold")
    if kind == "semi-supervised":
        it = Session(member("SSVAE"), data.semi_supervised(these, these.labelled(9), batch_size=10))
        assert torch.equal(it.viewer.y, labels(30))  # type: ignore[arg-type]
        assert it.objective.labelled_fraction == it.data.labelled_fraction  # type: ignore[union-attr]
    elif kind == "unlabelled":
        it = Session(member("VAE"), data.Images(pixels, binarisation="threshold"))
        assert (it.viewer.y, it.viewer.recognise(it.viewer.x[0]).classes) == (None, None)
    else:
        it = Session(member("VAE", x_shape=(5,)), [torch.ones(20, 5)], images=7)
        assert it.viewer.x.shape == (7, 5)
    train(it, 2)
    assert (it.message, it.stepper.step >= 4) == ("", True)
