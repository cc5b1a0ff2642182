"""What takes a member is given something else: an error of that call, which says what came."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from zoo import batch_for, member, refused

import vaezoo
from vaezoo import Bound, Step, data, diagnostics, evaluation, models, plots, training

ROOMS = (vaezoo, evaluation, plots, diagnostics, training)
OTHERS = {"pull", "push", "save"}  # take any module, or refuse a repository first


class Lone(nn.Module):
    """A network, and no pair."""


def asked() -> Iterator[tuple[str, Callable[..., Any]]]:
    """All public functions whose first argument is a model."""
    seen = set()
    for room in ROOMS:
        for name in room.__all__:
            function = getattr(room, name)
            if not inspect.isfunction(function) or function in seen or name in OTHERS:
                continue
            if next(iter(inspect.signature(function).parameters), "") in ("model", "before"):
                seen.add(function)
                yield name, function


ASKED = dict(asked())
GIVEN: dict[str, tuple[Callable[[], Any], str]] = {
    "a class": (lambda: models.VAE, r"got the class VAE: make an instance, VAE\(…\)"),
    "a bound": (lambda: Bound(member("GMVAE")), r"got a Bound: give its \.model"),
    "a network": (Lone, r"a Lone"),
    "nothing": (lambda: None, r"got a NoneType"),
    "a name": (lambda: "ssvae-mnist", r"got a str"),
}


def others(function: Callable[..., Any]) -> list[Any]:
    """Right arguments besides."""
    images = data.digits("test")[:4]
    x, _ = images.tensors(seed=0)
    known = {"x": x, "x1": x, "x2": x, "after": member("VAE"), "components": [0]}
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return [
        known.get(p.name, images)
        for p in parameters
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    ]


def test_all_are_asked() -> None:
    assert len(ASKED) >= 24
    assert {"fit", "evaluate", "samples", "crosscheck", "mixture_diagnostics", "report"} <= {*ASKED}


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("name", ASKED)
def test_no_member(name: str, given: str) -> None:
    make, message = GIVEN[given]
    with pytest.raises(TypeError, match=message):
        list(ASKED[name](make(), *others(ASKED[name])))  # all of a generator


@pytest.mark.parametrize("name", ["samples", "latent_scatter"])
def test_members_still_pass(name: str) -> None:
    x, *_ = batch_for("VAE")
    model = member("VAE")
    assert getattr(plots, name)(model, *([] if name == "samples" else [x])).axes


ADAM = torch.optim.Adam([torch.zeros(1, requires_grad=True)])
test_no_step = refused(
    {
        "a model": (lambda: Step(member("VAE"), ADAM), TypeError, r"takes a Bound first, got a VAE: Step\(Bound\(model\)"),  # type: ignore[arg-type]
        "a class": (lambda: Step(Bound, ADAM), TypeError, r"got the class Bound$"),  # type: ignore[arg-type]
        "Adam's class": (lambda: Step(Bound(member("VAE")), torch.optim.Adam), TypeError, r"an optimizer of torch.optim, got the class Adam: such as torch.optim.Adam\("),  # type: ignore[arg-type]
        "a rate": (lambda: Step(Bound(member("VAE")), 1e-3), TypeError, r"got a float: such as"),  # type: ignore[arg-type]
    }
)  # fmt: skip


class Around(nn.Module):
    """A module that hands on what it is asked."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inside"), name)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("wrap", [Around, torch.compile])
def test_modules_around_members_are_drawn(wrap: Callable[[nn.Module], Any]) -> None:
    around = wrap(member("VAE"))
    assert plots.samples(around, 4).axes
    assert plots.reconstructions(around, batch_for("VAE")[0]).axes
