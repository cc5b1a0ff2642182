"""Menus hold the catalogue, every line of them fits, and the code of what was chosen rebuilds it."""

from __future__ import annotations

import functools
import math
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from zoo import MEMBERS, X_SHAPE, images, labels, member, widen

from vaezoo import likelihoods, models, networks, objectives, posteriors, priors
from vaezoo.models.checkpoints.describing import describe
from vaezoo.panel.layers import layer_source
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


def layers() -> nn.Sequential:
    """A network of torch's layers for a posterior of `member("VAE")`."""
    inner = nn.Sequential(nn.LayerNorm(5), nn.Dropout(0.1))
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 5, bias=False), nn.GELU(), inner, nn.Linear(5, 6), nn.Unflatten(1, (2, 3))
    )  # fmt: skip


def convolutions(last: nn.Module) -> Any:
    """A member with a network of layers that show words without quotes."""
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding="same"), nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"),
        nn.Upsample(scale_factor=2, mode="nearest"), nn.GELU("tanh"), nn.Flatten(), last, nn.Unflatten(1, (2, 3))
    )  # fmt: skip
    return member("VAE", posterior=posteriors.DiagonalNormal(X_SHAPE, 3, network=network))


class Tanh(nn.Module):
    """Of the name of a layer of torch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x.tanh()


def encoded(activation: Any) -> Any:
    network = networks.MLP(X_SHAPE, (8,), (2, 3), activation=activation)
    return member("VAE", posterior=posteriors.DiagonalNormal(X_SHAPE, 3, network=network))


@pytest.mark.parametrize(
    "make",
    [
        lambda: member("VAE", posterior=posteriors.DiagonalNormal(X_SHAPE, 3, network=layers())),
        lambda: convolutions(nn.Linear(128, 6)),
        lambda: encoded(functools.partial(nn.LeakyReLU, 0.2)),
        lambda: encoded(functools.partial(nn.ELU, alpha=0.5)),
        lambda: encoded(Tanh),
        lambda: encoded(nn.Tanh),
        lambda: convolutions(
            nn.Sequential(
                nn.Unflatten(1, (2, 8, 8)),
                nn.Upsample(scale_factor=1.5, mode="bilinear", align_corners=True),
                nn.AvgPool2d(3, 3, 1, count_include_pad=False),
                nn.Flatten(),
                nn.Linear(32, 6),
            )
        ),
    ],
)
def test_code_has_layers_of_torch_and_classes_of_ones_own(make: Any) -> None:
    model, x = make(), images()
    names: dict[str, Any] = {"Tanh": Tanh} if Tanh in map(type, model.modules()) else {}
    exec(source_of(model, objectives.ELBO()), names)
    again = names["model"].eval()
    again.load_state_dict(model.state_dict())
    assert repr(again.posterior.network) == repr(model.posterior.network)
    assert torch.equal(again.encode(x), model.eval().encode(x))
    assert ("# yours" in source_of(model, objectives.ELBO())) == bool(names.get("Tanh"))


def test_code_says_which_weights_rest_and_their_dtypes() -> None:
    model = member("VAE")
    first = next(name for name, _ in model.named_parameters())
    model.get_parameter(first).requires_grad_(False)
    model.likelihood.double()
    again, _ = rebuilt(model, objectives.ELBO())
    for (name, a), b in zip(again.named_parameters(), model.parameters(), strict=True):
        assert (a.requires_grad, a.dtype) == (b.requires_grad, b.dtype), name


class Unkept(priors.StandardNormal):
    """A prior that makes something else of a number that it does not keep."""

    def __init__(self, z_dim: int, scale: float = 1.0) -> None:
        super().__init__(z_dim)
        self.wide = scale


def hooked(layer: nn.Module) -> nn.Module:
    layer.register_forward_hook(lambda module, given, out: 2 * out)
    return layer


def with_guide(guide: Any) -> Any:
    model = member("VAE")
    model.guide = guide
    return model


def test_code_has_programs_with_arguments() -> None:
    code = source_of(with_guide(functools.partial(drawn, scale=2)), objectives.ELBO())
    assert "model.guide = functools.partial(drawn, scale=2)  # yours" in code
    assert "import functools\n" in code


def drawn(x: torch.Tensor, scale: float) -> torch.Tensor:
    return x * scale


@pytest.mark.parametrize(
    ("layer", "code"),
    [
        (nn.LSTM(3, 4), "nn.LSTM(3, 4)"),
        (nn.GRU(3, 4, num_layers=2), "nn.GRU(3, 4, num_layers=2)"),
        (nn.Softmax(-1), "nn.Softmax(dim=-1)"),
        (nn.MaxPool2d(2, return_indices=True), "return_indices=True)"),
    ],
)
def test_code_of_a_layer(layer: nn.Module, code: str) -> None:
    assert layer_source(layer).endswith(code)


class Open(priors.StandardNormal):
    """A prior that need not keep what it is given."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(sum(sizes))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: member("VAE", prior=dist.Normal(torch.zeros(3), 1.0).to_event(1)),
            "no code says how this Normal was made: write a Prior",
        ),
        (lambda: member("VAE", prior=Open(1, 2)), "how this Open was made: put it into a class"),
        (lambda: encoded(lambda: nn.Tanh()), "how this <lambda> was made"),
        (lambda: member("VAE", prior=Unkept(3, scale=5.0)), "Unkept keeps no scale: assign"),
        (lambda: convolutions(hooked(nn.Linear(128, 6))), "how this Linear was"),
        (lambda: convolutions(parametrizations.weight_norm(nn.Linear(128, 6))), "was made"),
        (lambda: with_guide(lambda x: x), "how this <lambda> was made"),
        (lambda: with_guide(member("VAE").guide), "how this guide was made"),
        (
            lambda: convolutions(nn.Sequential(nn.Linear(128, 6), *2 * [nn.Linear(6, 6)])),
            "same weights",
        ),
        (
            lambda: convolutions(nn.Sequential(nn.Linear(128, 6), nn.Hardtanh(0.0, math.inf))),
            "how this Hardtanh was made",
        ),
    ],
)
def test_what_no_code_can_say_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        source_of(make(), objectives.ELBO())


def test_records_are_thinned() -> None:
    stepper = Stepper([(images(), labels())], lambda text: None)
    stepper.records = [{"step": i} for i in range(1000)]
    model = widen(member("VAE"), 0.1)
    objective = model.objective()
    while stepper.step < 10:
        stepper.piece(model, objective)
    stepper.close()
    assert len(stepper.records) < 600
    assert stepper.records[-1]["step"] % 10 == 0
    assert stepper.records[-1]["bound"] < 0
