"""What a model holds in several places: a checkpoint of it is held in them again, and trains as one."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from zoo import MEMBERS, PRIORS, member

from vaezoo import CheckpointError, fit, load, models, save
from vaezoo.models.checkpoints.ties import ties
from vaezoo.posteriors import DiagonalNormal


def hierarchical() -> Any:
    return models.HierarchicalVAE((4,), 4, 4, hidden=(5,), upper_hidden=(5,))


def one_network() -> Any:
    model = hierarchical()
    model.upper_posterior.network = model.conditional_prior.network
    return model


def one_part() -> Any:
    """And a prior that follows it."""
    model = hierarchical()
    model.prior = PRIORS["vamp"]((4,), 4, 0)
    model.posterior = model.upper_posterior
    return model


def one_weight() -> Any:
    model = hierarchical()
    layers = [m for m in model.modules() if isinstance(m, nn.Linear) and m.weight.shape == (5, 4)]
    layers[0].weight = layers[1].weight = layers[2].weight
    return model


def one_norm() -> Any:
    """One batch norm in two parts of a network from outside; its statistics are shared too."""
    norm = nn.BatchNorm1d(4)
    network = nn.Sequential(norm, nn.Linear(4, 4), norm, nn.Linear(4, 8), nn.Unflatten(-1, (2, 4)))
    vae = models.VAE((4,), 4, hidden=(5,))
    vae.posterior = DiagonalNormal((4,), 4, network=network)
    return vae


def one_scale() -> Any:
    model = hierarchical()
    for part in (model.posterior, model.upper_posterior):
        part.register_buffer("offset", torch.ones(2))
    model.posterior.offset = model.upper_posterior.offset
    return model


TIED = [one_network, one_part, one_weight]
X = (torch.rand(6, 4, generator=torch.Generator().manual_seed(0)) > 0.5).float()


@pytest.mark.parametrize("build", TIED)
def test_ties_come_back(build: Callable[[], Any], tmp_path: Path) -> None:
    """The same places, as many parameters, the same numbers, and again after a step."""
    model = build()
    model.double()
    twin: Any = load(save(model, tmp_path / "a.safetensors"))
    assert ties(twin) == ties(model) != []
    assert [n for n, _ in twin.named_parameters()] == [n for n, _ in model.named_parameters()]
    found = []
    for each in (model, twin):
        torch.manual_seed(1)
        fit(each, [X.double()], steps=2, progress=False)
        found.append(each.state_dict())
    assert all(torch.equal(t, found[1][n]) for n, t in found[0].items())


@pytest.mark.parametrize("build", [*TIED, one_norm, one_scale])
def test_a_model_that_is_given_ties_the_same(build: Callable[[], Any], tmp_path: Path) -> None:
    """It is filled; one that does not is refused, and so is a file of one that does not."""
    model, untied = build(), build()
    path = save(model, tmp_path / "a.safetensors")
    twin: Any = build()
    assert load(path, twin) is twin
    assert all(torch.equal(t, twin.state_dict()[n]) for n, t in model.state_dict().items())
    first, second, *_ = ties(untied)[0]
    held = (
        dict(untied.named_modules())
        | dict(untied.named_parameters())
        | dict(untied.named_buffers())
    )
    parent, _, leaf = second.rpartition(".")
    other = copy.deepcopy(held[first])
    setattr(untied.get_submodule(parent), leaf, other)
    with pytest.raises(
        CheckpointError, match=rf"a model in which {second} is {first}, and in this"
    ):
        load(path, untied)
    changed = next(iter(other.parameters())) if isinstance(other, nn.Module) else other
    with torch.no_grad():
        changed.add_(1)
    before = {n: t.clone() for n, t in twin.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"has other weights in .* which are one here"):
        load(save(untied, tmp_path / "b.safetensors"), twin)
    assert all(torch.equal(t, before[n]) for n, t in twin.state_dict().items())


def test_members_tie_nothing() -> None:
    """So that files of them are as they were, but for an empty list."""
    assert {len(ties(member(name))) for name in MEMBERS} == {0}


def test_a_weight_that_is_nan_is_itself(tmp_path: Path) -> None:
    model = one_network()
    with torch.no_grad():
        next(model.conditional_prior.network.parameters()).fill_(torch.nan)
    assert ties(load(save(model, tmp_path / "a.safetensors"))) == ties(model)


PRIOR, Q, P = "conditional_prior", "upper_posterior", "likelihood"
HOSTILE: list[tuple[Any, str]] = [
    ("x", "its ties is no JSON"),
    ({}, "its ties are no lists of names"),
    ([[PRIOR]], "its ties are no lists of names"),
    ([[PRIOR, 3]], "its ties are no lists of names"),
    ([[PRIOR, "colour"]], "ties what the model does not have: colour"),
    ([[PRIOR, f"{PRIOR}.__class__"]], "ties what the model does not have"),
    ([["", PRIOR]], "ties what the model does not have"),
    ([[PRIOR, f"{PRIOR}.network"]], f"ties {PRIOR} and {PRIOR}.network, which differ"),
    ([[PRIOR, P]], f"ties {PRIOR} and {P}, which differ"),
    ([[f"{PRIOR}.network", f"{Q}.network"]], "has other weights in .* which are one here"),
]


@pytest.mark.parametrize(("groups", "message"), HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_ties(groups: Any, message: str, tmp_path: Path) -> None:
    path = save(hierarchical(), tmp_path / "a.safetensors")
    text = groups if isinstance(groups, str) else json.dumps(groups)
    with safetensors.safe_open(path, "pt") as file:
        header = file.metadata() | {"ties": text}
        weights: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    safetensors.torch.save_file(weights, path, metadata=header)
    with pytest.raises(CheckpointError, match=message):
        load(path)
