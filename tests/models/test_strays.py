"""What a member computes with and does not hold: a file is written without it, after a warning."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import Tensor, nn
from zoo import X_SHAPE, Z_DIM, images, member

from vaezoo import load, models, posteriors, save

OUTSIDE = nn.Linear(16, 2 * Z_DIM)


def read(net: nn.Module, x: Tensor) -> Tensor:
    return net(x.flatten(1)).unflatten(-1, (2, Z_DIM))  # type: ignore[no-any-return]


class Elsewhere(nn.Module):
    """A network that is not where torch looks for networks."""

    def __init__(self, kept: Any) -> None:
        super().__init__()
        self.kept = kept

    def forward(self, x: Tensor) -> Tensor:
        return read(self.kept[0] if isinstance(self.kept, list) else self.kept, x)


class Named(models.VAE):
    """With a number, and a scale, that Pyro's store holds."""

    def model(self, x: Tensor) -> Tensor:
        shift = pyro.param("shift", torch.zeros(()))
        scale = pyro.param("z.scale", torch.ones(()), constraint=dist.constraints.positive)
        with self.images(x):
            z = pyro.sample("z", dist.Normal(shift, scale).expand([Z_DIM]).to_event(1))
            return pyro.sample("x", self.likelihood(z), obs=x)


class OfAModule(models.FSVAE):
    """With a network that Pyro's store knows."""

    def guide(self, x: Tensor, y: Tensor) -> Tensor:
        net = pyro.module("net", OUTSIDE)
        with self.images(x, y):
            loc = read(net, x)[:, 0]
            return pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))


class Own(models.VAE):
    """With what it uses by the same names, but holds."""

    def __init__(self, *args: Any, **arguments: Any) -> None:
        super().__init__(*args, **arguments)
        self.shift = nn.Parameter(torch.zeros(()))

    def model(self, x: Tensor) -> Tensor:
        pyro.module("vae", self)
        shift = pyro.param("shift", self.shift)
        with self.images(x):
            z = pyro.sample("z", dist.Normal(shift, 1.0).expand([Z_DIM]).to_event(1))
            return pyro.sample("x", self.likelihood(z), obs=x)


class Fails(Named):
    """Whose programs cannot be run on what they draw."""

    def guide(self, x: Tensor) -> Tensor:
        raise ConnectionError


def with_network(network: nn.Module) -> Any:
    return member("VAE", posterior=posteriors.DiagonalNormal(X_SHAPE, Z_DIM, network=network))


def small(kind: type, **arguments: Any) -> Any:
    return kind(X_SHAPE, Z_DIM, hidden=(4,), **arguments)


def closed_over() -> Any:
    """A guide with a network that only its closure has."""
    model, net = member("VAE"), nn.Linear(16, Z_DIM)

    def guide(x: Tensor) -> Tensor:
        with model.images(x):
            return pyro.sample("z", dist.Normal(net(x.flatten(1)), 1.0).to_event(1))

    model.guide = guide
    return model


LOST = r"that it does not hold, of shape {}, and no file .*nn.ModuleList"
STRAYS = {
    "param": (lambda: small(Named), r"Named uses pyro.param\('shift', …\), pyro.param\('z.scale', …\), which no file of the model holds: keep it in the model, self.shift = nn.Parameter\(…\), self.z_scale ="),
    "module": (lambda: small(OfAModule, classes=3), r"OfAModule uses pyro.module\('net', …\), .*self.net = its module"),
    "list": (lambda: with_network(Elsewhere([OUTSIDE])), r"VAE computes with parameters " + LOST.format(r"\(6, 16\), \(6,\)")),
    "partial": (lambda: with_network(Elsewhere(functools.partial(OUTSIDE))), LOST.format(".*")),
    "closure": (closed_over, LOST.format(".*")),
}  # fmt: skip


@pytest.mark.parametrize("name", STRAYS)
def test_what_no_file_holds_is_named(name: str, tmp_path: Path) -> None:
    """At the line that saves; the run that finds it leaves no mark."""
    make, message = STRAYS[name]
    pyro.clear_param_store()
    model = make().train()
    state = torch.get_rng_state()
    with pytest.warns(UserWarning, match=message) as caught:
        save(model, tmp_path / "a.safetensors")
    assert [Path(each.filename).name for each in caught] == [Path(__file__).name]
    assert torch.equal(torch.get_rng_state(), state)
    assert not list(pyro.get_param_store())
    assert all(m.training for m in model.modules())
    assert all(p.grad is None for p in [*model.parameters(), *OUTSIDE.parameters()])


def frozen_outside() -> Any:
    return with_network(Elsewhere([nn.Linear(16, 2 * Z_DIM).requires_grad_(False)]))


def of_a_closure() -> Any:
    """A guide of a closure over the model itself, which holds all of it."""
    model = member("SSVAE")

    def guide(x: Tensor, y: Tensor | None = None) -> Tensor:
        with model.images(x, y):
            if y is None:
                y = pyro.sample("y", model.classifier(x), infer={"enumerate": "parallel"})
            return pyro.sample("z", model.posterior(x, y))

    model.guide = guide
    return model


HELD = {
    "own parameter": lambda: small(Own),
    "own network": lambda: with_network(Elsewhere(OUTSIDE)),
    "closure": of_a_closure,
    "frozen": frozen_outside,
    "fails": lambda: small(Fails),
    "plain": lambda: member("M1M2"),
}


@pytest.mark.parametrize("name", HELD)
def test_what_is_held_or_unknown_is_saved_in_silence(name: str, tmp_path: Path) -> None:
    """The store may hold it too, as after a call of Pyro's."""
    pyro.clear_param_store()
    model = HELD[name]()
    x = images()
    for trained in (False, True):
        if trained and name != "fails":
            pyro.poutine.trace(model.guide).get_trace(x)
            pyro.poutine.trace(model.model).get_trace(x)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            save(model, tmp_path / "a.safetensors")


def test_a_guide_that_makes_its_parameters_is_not_set_up(tmp_path: Path) -> None:
    """It would make them for the two images that are drawn."""
    pyro.clear_param_store()
    model = member("VAE")
    model.guide = AutoNormal(
        model.model, create_plates=lambda x: pyro.plate("data", len(x), dim=-1)
    )
    save(model, tmp_path / "a.safetensors")
    assert not [*model.guide.parameters()]
    assert not list(pyro.get_param_store())


def test_the_numbers_of_the_warning_are_those_that_are_lost(tmp_path: Path) -> None:
    """Every parameter of the bound is in the file, or in the warning."""
    pyro.clear_param_store()
    model = small(Named)
    model.score(images())
    pyro.get_param_store()["shift"].data.fill_(3.0)
    before = model.score(images() * 0)
    with pytest.warns(UserWarning, match=r"pyro.param\('shift'"):
        path = save(model, tmp_path / "a.safetensors")
    assert pyro.param("shift").item() == 3.0
    assert torch.equal(load(path, small(Named)).score(images() * 0), before)
    pyro.clear_param_store()
