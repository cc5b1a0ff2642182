"""Parts that were changed by hand: what a file can say of them, and what is refused at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import parametrizations
from zoo import MEMBERS, X_SHAPE, images, member

from vaezoo import load, models, priors, save
from vaezoo.models.checkpoints import CheckpointError
from vaezoo.models.checkpoints.changes import by_hand


def replaced(model: Any) -> None:
    model.posterior.network.rest[0] = nn.Tanh()


def another_slope(model: Any) -> None:
    model.posterior.network.rest[0] = nn.ELU(0.5)


def renamed(model: Any) -> None:
    model.posterior.network.__dict__["activation"] = nn.ReLU  # past what is refused when set


def inserted(model: Any) -> None:
    model.posterior.network.rest.append(nn.Dropout(0.5))


def weight_normed(model: Any) -> None:
    parametrizations.weight_norm(model.posterior.network.rest[1])


CHANGES = [replaced, another_slope, renamed, inserted, weight_normed]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_model_comes_back_into_one_that_is_changed_alike(
    change: Callable[[Any], None], tmp_path: Path
) -> None:
    model, like, plain = member("VAE").eval(), member("VAE").eval(), member("VAE").eval()
    change(model)
    change(like)
    path, x = save(model, tmp_path / "a.safetensors"), images(5)
    load(path, like)
    assert torch.equal(like.encode(x), model.encode(x))
    with pytest.raises(CheckpointError, match="changed by hand"):
        load(path)
    with pytest.raises(CheckpointError):
        load(path, plain)
    with pytest.raises(CheckpointError):
        load(save(plain, tmp_path / "b.safetensors"), model)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_model_as_its_constructor_makes_it_was_not_changed(name: str) -> None:
    for model in (member(name), member(name).double(), member(name).bfloat16()):
        assert by_hand(model) == ({}, "")


def test_parts_inside_a_model_that_is_yours_are_looked_at() -> None:
    class Mine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = member("VAE"), nn.Linear(2, 2)

    mine = Mine()
    replaced(mine.one)
    assert by_hand(mine).layers == {"one.posterior.network.rest.0": "Tanh()"}


@pytest.mark.parametrize(
    ("prior", "write"),
    [
        (priors.MixtureOfGaussians(3, k=4), lambda p: p.logits.copy_(torch.arange(4.0))),
        (priors.VampPrior((17,), 3, k=4, classes=2), lambda p: p.labels.zero_()),
        (priors.StandardNormal(3), lambda p: p.ones.mul_(2)),
    ],
    ids=["weights of a mixture", "labels of pseudo-inputs", "a scale"],
)
def test_a_buffer_that_no_file_holds(prior: Any, write: Any, tmp_path: Path) -> None:
    save(prior, tmp_path / "a.safetensors")
    write(prior)
    with pytest.raises(TypeError, match="was written into, and no file holds it: make it a param"):
        save(prior, tmp_path / "b.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def with_prior(prior: Any) -> Any:
    model = models.VAE(X_SHAPE, 2, hidden=(4,))
    model.prior = prior
    return model


ZEROS, ONES = torch.zeros(2), torch.ones(2)
BARE = {
    "Laplace": lambda: dist.Laplace(ZEROS, 3 * ONES).to_event(1),
    "Normal": lambda: dist.Normal(ZEROS, ONES).to_event(1),
    "Gumbel": lambda: dist.Gumbel(ZEROS, ONES).to_event(1),
    "twice": lambda: _moved(2.0),
    "three times": lambda: _moved(3.0),
}


def _moved(scale: float) -> Any:
    normal = dist.Normal(ZEROS, ONES).to_event(1)
    return dist.TransformedDistribution(normal, [dist.transforms.AffineTransform(0.0, scale)])


@pytest.mark.parametrize("saved", BARE)
def test_a_bare_prior_is_known_by_its_kind(saved: str, tmp_path: Path) -> None:
    """By its classes and plain numbers; a file of before, which does not say, is taken as then."""
    path = save(with_prior(BARE[saved]()), tmp_path / "a.safetensors")
    for given, make in BARE.items():
        model = with_prior(make())
        if given == saved:
            load(path, model)
        else:
            with pytest.raises(CheckpointError, match="holds another model"):
                load(path, model)
    older = tmp_path / "older.safetensors"
    with safe_open(path, "pt") as file:
        header = file.metadata()
    said = header["model"]
    start = said.index('"distribution"')
    end = said.index("}", start)
    header["model"] = said[:start] + said[end:]
    header.pop("changes")
    save_file(load_file(path), older, metadata=header)
    load(older, with_prior(BARE[saved]()))
