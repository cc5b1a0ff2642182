"""What `fit` trains besides a pair's own parameters: a file is written without it, after a warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from vaezoo import fit, save
from vaezoo.training import KeepBest

X = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))


class Pair(nn.Module):
    """A pair with a scale, and perhaps an encoder, that it does not hold."""

    def __init__(self, scale: Callable[[], Any], encoder: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.loading = nn.Parameter(torch.eye(1, 3))
        self.scale, self.encode = scale, encoder

    def model(self, x: Tensor) -> Tensor:
        scale = self.scale()
        with pyro.plate("images", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(z @ self.loading, scale).to_event(1), obs=x)  # type: ignore[no-any-return]

    def guide(self, x: Tensor) -> Tensor:
        with pyro.plate("images", len(x)):
            return pyro.sample("z", dist.Normal(self.encode(x), 1.0).to_event(1))  # type: ignore[no-any-return]


def by_name() -> Any:
    return pyro.param("scale", torch.tensor(2.0), constraint=dist.constraints.positive)


def one() -> float:
    return 1.0


def first(x: Tensor) -> Tensor:
    return x[:, :1]


def trained(pair: Pair, **arguments: Any) -> Pair:
    pyro.clear_param_store()
    fit(pair, [X, X], steps=2, progress=False, compile=False, **arguments)
    return pair


def outside(*, frozen: bool = False) -> Callable[[Tensor], Tensor]:
    network = nn.Linear(3, 1).requires_grad_(not frozen)
    return lambda x: network(x)  # type: ignore[no-any-return]


STRAYS = {
    "param": (lambda: Pair(by_name, first), r"Pair uses pyro.param\('scale', …\), which no file"),
    "network": (lambda: Pair(one, outside()), r"Pair .* not hold, of shape \(1, 3\), \(1,\), and"),
}


@pytest.mark.parametrize("name", STRAYS)
def test_what_a_pair_trained_and_does_not_hold_is_named(name: str, tmp_path: Path) -> None:
    make, message = STRAYS[name]
    pair = trained(make())
    with pytest.warns(UserWarning, match=message) as caught:
        save(pair, tmp_path / "a.safetensors")
    assert [Path(each.filename).name for each in caught] == [Path(__file__).name]


def test_it_is_named_while_training_goes_on(tmp_path: Path) -> None:
    pair = Pair(by_name, first)
    keep = KeepBest(pair, save=lambda: save(pair, tmp_path / "a.safetensors"))
    with pytest.warns(UserWarning, match=r"pyro.param\('scale', …\)"):
        trained(pair, callback=keep, validation=[X], log_every=1)


@pytest.mark.parametrize("kind", ["nothing", "frozen", "held since", "another one"])
def test_what_is_held_or_was_not_trained_is_saved_in_silence(kind: str, tmp_path: Path) -> None:
    pair: Any = trained(Pair(one, outside(frozen=kind == "frozen") if kind != "nothing" else first))
    if kind == "held since":
        pair.encoder = pair.encode.__closure__[0].cell_contents
    if kind == "another one":
        pair = Pair(one, first)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(pair, tmp_path / "a.safetensors")
