"""Checkpoints, there and back: every argument, weight and flag comes back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from zoo import X_SHAPE, Z_DIM, member

from vaezoo import CheckpointError, likelihoods, load, models, networks, posteriors, priors, save


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(t, b[n]) for n, t in a.items())


def with_activation(activation: Any) -> models.VAE:
    network = networks.MLP((Z_DIM,), (4,), X_SHAPE, activation=activation)
    return member("VAE", likelihood=likelihoods.Bernoulli(Z_DIM, X_SHAPE, network=network))


NUMBERS: list[Callable[[], models.VAE]] = [
    lambda: models.VAE(X_SHAPE, Z_DIM, hidden=(np.int64(8),)),
    lambda: models.VAE(torch.Size(X_SHAPE), Z_DIM, hidden=[8]),
    lambda: models.VAE(np.array(X_SHAPE), Z_DIM, hidden=np.array([8])),
    lambda: models.VAE(X_SHAPE, Z_DIM, hidden=(8,), beta=np.float32(0.5)),
    lambda: models.GMVAE(X_SHAPE, Z_DIM, hidden=(8,), k=np.int64(5)),
    lambda: models.IWAE(X_SHAPE, Z_DIM, hidden=(8,), particles=np.asarray(4)),
    lambda: member("VAE", prior=priors.MixtureOfGaussians(Z_DIM, k=3, learn_weights=np.bool_(True))),
    lambda: member("VAE", prior=priors.MixtureOfGaussians(np.int64(Z_DIM), k=np.int32(3))),
    lambda: member("VAE", likelihood=likelihoods.Normal(Z_DIM, X_SHAPE, variance=np.float64(0.5))),
    lambda: with_activation(functools.partial(nn.LeakyReLU, negative_slope=np.float64(0.2))),
    lambda: with_activation(functools.partial(functools.partial(nn.Dropout, 0.25), inplace=True)),
    lambda: with_activation(nn.Identity),
]  # fmt: skip


@pytest.mark.parametrize("build", NUMBERS, ids=range(len(NUMBERS)))
def test_what_json_has_no_word_for(build: Callable[[], models.VAE], tmp_path: Path) -> None:
    """NumPy's numbers and torch's sizes come back as plain ones, partials as partials."""
    model = build()
    twin = load(save(model, tmp_path / "a.safetensors"))
    assert repr(twin) == repr(model)
    assert equal(twin.state_dict(), model.state_dict())
    assert load(tmp_path / "a.safetensors", model) is model  # both describe themselves alike
    assert type(twin.beta) is float
    assert {type(n) for n in (*twin.x_shape, *twin.hidden, twin.z_dim)} == {int}
    x = torch.zeros(1, Z_DIM)
    assert torch.equal(twin.eval().likelihood(x).mean, model.eval().likelihood(x).mean)


class Mine(nn.Module):
    """A network from outside, with arguments of all kinds."""

    def __init__(self, act: Any, sizes: Any) -> None:
        super().__init__()
        self.act, self.sizes = act, sizes
        self.linear = nn.Linear(Z_DIM, 16)

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.act(self.linear(z)).unflatten(-1, X_SHAPE)
        return out


def test_networks_from_outside_hold_what_they_like(tmp_path: Path) -> None:
    """Functions, sets, tensors: saved, and filled into the same network made anew."""

    def build(act: Any) -> models.VAE:
        network = Mine(act, {"a": np.zeros(3), "b": torch.ones(2)})
        return member("VAE", likelihood=likelihoods.Bernoulli(Z_DIM, X_SHAPE, network=network))

    model = build(lambda h: h.relu())
    path = save(model, tmp_path / "a.safetensors")
    assert " at 0x" not in path.read_bytes().decode(errors="replace")
    with pytest.raises(CheckpointError, match=r"part from outside vaezoo, test_checkpoints\.Mine"):
        load(path)
    assert equal(load(path, build(lambda h: h.relu())).state_dict(), model.state_dict())
    with pytest.raises(CheckpointError, match=r"network.act.* is .*lambda.* file and .*tanh"):
        load(path, build(torch.tanh))


def test_a_plain_layer_as_network(tmp_path: Path) -> None:
    """`nn.Linear` keeps a parameter under the name of an argument, which says nothing of it."""

    def build() -> Any:
        return posteriors.Classifier((3,), 2, network=nn.Linear(3, 2))

    model, twin = build(), build()
    load(save(model, tmp_path / "a.safetensors"), twin)
    assert equal(model.state_dict(), twin.state_dict())


def test_frozen_flags(tmp_path: Path) -> None:
    """They come back; what is frozen in a given model stays frozen."""
    m1 = member("VAE")
    model = models.M1M2.from_m1(m1, 2, classes=3, upper_hidden=(4,))
    model.prior.requires_grad_(False)
    path = save(model, tmp_path / "a.safetensors")
    flags = {n: p.requires_grad for n, p in model.named_parameters()}
    assert len(set(flags.values())) == 2
    twin = load(path)
    assert {n: p.requires_grad for n, p in twin.named_parameters()} == flags
    twin.requires_grad_(True)
    twin.classifier.requires_grad_(False)
    found = {n: p.requires_grad for n, p in load(path, twin).named_parameters()}
    assert found == {n: f and not n.startswith("classifier") for n, f in flags.items()}


def test_checkpoints_of_unusual_models(tmp_path: Path) -> None:
    """Double weights stay double; tied weights are saved."""
    path = save(member("VAE").double(), tmp_path / "double.safetensors")
    assert next(load(path).parameters()).dtype == torch.float64
    tied = member("SSVAE")
    tied.classifier.network.first[1].weight = tied.posterior.network.first[1].weight
    twin = load(save(tied, tmp_path / "tied.safetensors"))
    assert torch.equal(
        twin.classifier.network.first[1].weight, tied.posterior.network.first[1].weight
    )


def test_checkpoint_of_parts_from_elsewhere(tmp_path: Path) -> None:
    """A part that vaezoo does not know is built by the user and filled; never imported."""

    class Mine(priors.StandardNormal):
        pass

    path = save(member("VAE", prior=Mine(3)), tmp_path / "mine.safetensors")
    with pytest.raises(CheckpointError, match=r"part from outside vaezoo, .*Mine: build the model"):
        load(path)
    filled = load(path, member("VAE", prior=Mine(3)))
    assert isinstance(filled.prior, Mine)


@pytest.mark.parametrize("name", ["VAE", "GMVAE", "IWAE", "SSVAE", "FSVAE"])
def test_checkpoint_round_trip(name: str, tmp_path: Path) -> None:
    """Class, sizes, swapped parts and every weight come back; the file holds no pickle."""
    model = member(name)
    if not model.classes:
        model.prior = priors.MixtureOfGaussians(Z_DIM, k=3, learn_weights=True)
        model.posterior = posteriors.DiagonalNormal(
            X_SHAPE, Z_DIM, network=networks.Conv(X_SHAPE, (4,), (2, Z_DIM))
        )
    path = save(model, tmp_path / "deep" / f"{name}.safetensors")
    twin = load(path)
    assert type(twin) is getattr(models, name)
    assert repr(twin) == repr(model)
    assert all(torch.equal(t, twin.state_dict()[n]) for n, t in model.state_dict().items())
    assert [p.name for p in path.parent.iterdir()] == [path.name]
