"""Menus hold the catalogue, every line of them fits, and the code of what was chosen rebuilds it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from zoo import MEMBERS, X_SHAPE, images, labels, member, widen

from vaezoo import likelihoods, models, networks, objectives, posteriors, priors
from vaezoo.models.checkpoints.describing import describe
from vaezoo.panel.menus import choices, parsed
from vaezoo.panel.places import places
from vaezoo.panel.source import source_of
from vaezoo.panel.stepper import Stepper

FEWER = {"k": 4, "hidden": (8,), "particles": 2, "layers": 2, "levels": 2, "upper_hidden": (7,)}


def fewer(options: str) -> str:
    """The same options, smaller where that is quicker."""
    return ", ".join(f"{n}={FEWER.get(n, v)!r}" for n, v in parsed(options).items())


def rebuilt(model: Any, objective: Any) -> tuple[Any, Any]:
    names: dict[str, Any] = {}
    exec(source_of(model, objective), names)
    return names["model"], names["objective"]


@pytest.mark.parametrize("name", MEMBERS)
def test_every_line_of_every_menu_fits_and_comes_out_again(name: str) -> None:
    """All lines of VAE's and SSVAE's menus, of the others two each, one of each place at a time."""
    model = member(name)
    menus = {place: list(choices(model, place).values()) for place in places(model)}
    lines = max(map(len, menus.values())) if name in ("VAE", "SSVAE") else 2
    for i in range(lines):
        made = {p: _made(menu[i % len(menu)]) for p, menu in menus.items()}
        assert made.pop("member").x_shape == X_SHAPE
        objective = made.pop("objective")
        for place, part in made.items():
            setattr(model, place, part)
        again, trained = rebuilt(model, objective)
        assert describe(again) == describe(model)
        assert {n: t.shape for n, t in again.state_dict().items()} == {
            n: t.shape for n, t in model.state_dict().items()
        }
        assert repr(trained) == repr(objective)
        assert vars(trained).keys() == vars(objective).keys()


def _made(choice: Any) -> Any:
    return choice.make(fewer(choice.options))


def test_menus_are_the_catalogue() -> None:
    vae = member("VAE")
    for place, room in (("prior", priors), ("posterior", posteriors), ("member", models)):
        abstract = {"Prior", "Posterior", "LatentVariableModel", "Part", "pretrained"}
        found = set(choices(vae, place))
        assert found == {n for n in room.__all__ if n not in abstract} - {"Classifier"}
    likely = set(likelihoods.__all__) - {"Likelihood"}
    assert set(choices(vae, "likelihood")) == likely
    assert set(choices(vae, "objective")) == {"ELBO", "IWELBO", "Renyi", "SemiSupervised"}


def test_a_place_says_which_sizes_a_part_has() -> None:
    menu = choices(member("HierarchicalVAE"), "prior")
    assert menu["VampPrior"].known == {"x_shape": (4,), "z_dim": 3, "classes": 0}
    assert menu["VampPrior"].options == "k=500, unit=False"
    counts = member("VAE", likelihood=likelihoods.Poisson(3, X_SHAPE, hidden=(8,)))
    assert choices(counts, "posterior")["FullNormal"].known["log1p"] is True
    labelled = choices(member("SSVAE"), "likelihood")["Normal"]
    assert labelled.known["classes"] == 3
    assert parsed(labelled.options)["hidden"] == (6, 8)


def test_code_says_what_was_done_to_a_model() -> None:
    model = member("VAE").double()
    model.likelihood = likelihoods.Bernoulli(
        3, X_SHAPE, network=networks.Conv((3,), (4, 8), X_SHAPE, activation=torch.nn.Tanh)
    )
    model.posterior.requires_grad_(False)
    objective = objectives.SemiSupervised(
        objectives.ELBO(objectives.WarmUp(7, end=2.0), free_bits=0.1), alpha=3.0
    )
    code = source_of(model, objective)
    assert "model.to(torch.float64)" in code
    again, trained = rebuilt(model, objective)
    assert repr(trained.objective) == repr(objective.objective)
    assert trained.alpha == 3.0
    assert {p.dtype for p in again.parameters()} == {torch.float64}
    assert not any(p.requires_grad for p in again.posterior.parameters())
    assert again.likelihood.network.activation is torch.nn.Tanh
    again.load_state_dict(model.state_dict())


class Mine(priors.StandardNormal):
    """A prior from outside vaezoo."""


def test_code_names_what_is_yours() -> None:
    model = member("VAE", prior=Mine(3))

    def guide(x: torch.Tensor) -> torch.Tensor:
        return x

    model.guide = guide
    code = source_of(model, objectives.ELBO())
    assert "# yours, to be defined or imported first: Mine\n" in code
    assert "prior=Mine(z_dim=3)" in code
    assert "model.guide = guide  # yours" in code


def test_records_are_thinned() -> None:
    stepper = Stepper([(images(), labels())], lambda text: None)
    stepper.records = [{"step": i} for i in range(1000)]
    model = widen(member("VAE"), 0.1)
    while stepper.step < 10:
        stepper.piece(model, model.objective())
    stepper.close()
    assert len(stepper.records) < 600
    assert stepper.records[-1]["step"] % 10 == 0
    assert stepper.records[-1]["bound"] < 0
