"""Pairs with lazy layers, which have no weights before their first run: filled, or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from vaezoo import Bound, evaluate, evaluation, load, save
from vaezoo.models.checkpoints import CheckpointError

X = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))


class Pair(nn.Module):
    """A pair whose decoder is an argument of it."""

    def __init__(self, decoder: nn.Module, act: type[nn.Module] = nn.Tanh) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.LazyLinear(8), nn.LazyBatchNorm1d(), act(), nn.LazyLinear(4)
        )
        self.decoder = decoder

    def model(self, x: Tensor) -> Tensor:
        with pyro.plate("images", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)  # type: ignore[no-any-return]

    def guide(self, x: Tensor) -> Tensor:
        with pyro.plate("images", len(x)):
            loc, scale = self.encoder(x).chunk(2, -1)
            q = dist.Normal(loc, nn.functional.softplus(scale)).to_event(1)
            return pyro.sample("z", q)  # type: ignore[no-any-return]


def pair(act: type[nn.Module] = nn.Tanh) -> Pair:
    return Pair(nn.LazyLinear(6), act)


@pytest.fixture
def ran() -> Pair:
    model = pair()
    Bound(model)(X)
    return model.eval()


def test_a_pair_that_has_not_run_is_filled(ran: Pair, tmp_path: Path) -> None:
    """As is one that has; and one that was filled alone can be saved and evaluated too."""
    path = save(ran, tmp_path / "a.safetensors")
    filled = load(path, pair()).eval()
    again = load(save(filled, path), pair()).eval()
    other = pair()
    Bound(other)(X)
    for model in (filled, again, load(path, other).eval()):
        values = [
            evaluate(m, [X], progress=False, compile=False)["nelbo"].mean for m in (model, ran)
        ]
        assert values[0] == values[1]
    with pytest.raises(CheckpointError, match="outside vaezoo"):
        load(path)


def test_one_of_other_layers_stays_lazy(ran: Pair, tmp_path: Path) -> None:
    path, other = save(ran, tmp_path / "a.safetensors"), pair(nn.ReLU)
    with pytest.raises(CheckpointError, match=r"encoder\.2\.class is Tanh"):
        load(path, other)
    assert all(map(is_lazy, other.parameters()))
    Bound(other)(X)
    assert other.encoder[0].weight.shape == (8, 6)


def test_other_names_are_refused(ran: Pair, tmp_path: Path) -> None:
    path = save(ran, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"decoder\.bias"):
        load(path, Pair(nn.LazyLinear(6, bias=False)))


@pytest.mark.parametrize("compile", [None, False])
@pytest.mark.parametrize("ask", [evaluate, evaluation.report, evaluation.evidence])
def test_evaluation_says_to_run_it_once(ask: Callable[..., Any], compile: bool | None) -> None:  # noqa: A002
    options = {"compile": compile} if ask is evaluate else {}
    with pytest.raises(ValueError, match=r"encoder\.0\.weight of this Pair is of a lazy layer"):
        ask(pair(), [X], progress=False, **options)


def test_saving_says_to_run_it_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run the model once, as Bound\(model\)\(x\) does"):
        save(pair(), tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())
