"""Layers from elsewhere inside a model: `load` fills the same ones alone, however they were made."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vaezoo import load, models, networks, posteriors, save
from vaezoo.models.checkpoints import CheckpointError
from vaezoo.models.checkpoints.layers import layers

SHAPE = (1, 8, 8)
Make = Callable[[], nn.Module]


class Annealed(nn.Module):
    """One whose argument changes in training."""

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        self.temperature *= 0.5
        return x

    def extra_repr(self) -> str:
        return f"{self.temperature}"


class Attention(nn.Module):
    def __init__(self, heads: int) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(8, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, 0]
        return self.attend(x, x, x, need_weights=False)[0].flatten(1)  # type: ignore[no-any-return]


def vae(*inside: nn.Module) -> nn.Module:
    network = nn.Sequential(*inside, nn.Unflatten(-1, (2, 3)))
    posterior = posteriors.DiagonalNormal(SHAPE, 3, network=network)
    return models.VAE(SHAPE, 3, hidden=(8,), posterior=posterior)


def mlp(*between: nn.Module) -> nn.Module:
    return vae(nn.Flatten(), nn.Linear(64, 8), *between, nn.Linear(8, 6))


def convolution(kind: type[nn.Module] = nn.Conv2d, **options: Any) -> nn.Module:
    return vae(kind(1, 4, 3, **options), nn.Flatten(), nn.Linear(256, 6))


def normed(groups: int) -> nn.Module:
    return vae(nn.Conv2d(1, 4, 1), nn.GroupNorm(groups, 4), nn.Flatten(), nn.Linear(256, 6))


def attention(heads: int) -> nn.Module:
    return vae(Attention(heads), nn.Linear(64, 6))


def of_vaezoo(activation: type[nn.Module]) -> nn.Module:
    inner = networks.MLP(SHAPE, (8,), (2, 3), activation=activation)
    return models.VAE(
        SHAPE,
        3,
        hidden=(8,),
        posterior=posteriors.DiagonalNormal(SHAPE, 3, network=nn.Sequential(inner)),
    )


PAIRS: dict[str, tuple[Make, Make, str]] = {
    "activation": (lambda: mlp(nn.ReLU()), lambda: mlp(nn.Tanh()), r"network\.2\.class is ReLU"),
    "slope": (lambda: mlp(nn.ELU()), lambda: mlp(nn.ELU(0.5)), r"2\.alpha is 1\.0"),
    "dilation": (
        lambda: convolution(padding=1),
        lambda: convolution(padding=2, dilation=2),
        r"network\.0\.padding is \[1, 1\] in the file and \[2, 2\]",
    ),
    "heads": (lambda: attention(2), lambda: attention(4), r"num_heads is 2"),
    "groups": (lambda: normed(2), lambda: normed(4), "num_groups is 2"),
    "of vaezoo": (
        lambda: of_vaezoo(nn.ReLU),
        lambda: of_vaezoo(nn.Tanh),
        r"network\.0\.activation",
    ),
    "alone": (
        lambda: nn.Sequential(nn.Linear(2, 2)),
        lambda: nn.Sequential(nn.Linear(2, 2), nn.ReLU()),
        "1 is nothing in the file and ReLU in the model given",
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_model_with_other_layers_is_refused_and_left_as_it_was(name: str, tmp_path: Path) -> None:
    make, another, words = PAIRS[name]
    path, other = save(make(), tmp_path / "a.safetensors"), another()
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(CheckpointError, match=words):
        load(path, other)
    assert all(torch.equal(t, before[n]) for n, t in other.state_dict().items())


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("i", [0, 1])
def test_the_same_model_made_again_is_filled(name: str, i: int, tmp_path: Path) -> None:
    """In another mode, frozen otherwise, in float64, and after runs."""
    make = PAIRS[name][i]
    model, again = make(), make().double().eval().requires_grad_(requires_grad=False)
    if isinstance(model, models.VAE):
        model.posterior(torch.rand(2, *SHAPE))
    path = save(model, tmp_path / "a.safetensors")
    assert load(path, again) is again
    weights = again.state_dict()
    assert all(torch.equal(t.to(weights[n].dtype), weights[n]) for n, t in load_file(path).items())


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_what_computes_the_same_is_the_same(tmp_path: Path) -> None:
    """Compiled by `torch.jit`, a batch norm of several processes, an activation in place."""
    model = mlp(nn.ReLU(inplace=True), nn.SyncBatchNorm(8), torch.jit.script(nn.Linear(8, 8)))
    like = mlp(nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 8))
    for one, other in ((model, like), (like, model)):
        load(save(one, tmp_path / "a.safetensors"), other)


def test_what_training_changes_and_evaluation_does_not_use_is_no_other_layer(
    tmp_path: Path,
) -> None:
    model = mlp(Annealed(), nn.Dropout(0.1), nn.BatchNorm1d(8, momentum=0.1))
    again = mlp(Annealed(), nn.Dropout(0.2), nn.BatchNorm1d(8, momentum=0.01))
    model.posterior(torch.rand(2, *SHAPE))  # type: ignore[operator]
    assert load(save(model, tmp_path / "a.safetensors"), again) is again


@pytest.mark.parametrize("change", ["older vaezoo", "another torch", "more arguments"])
def test_files_of_other_versions_load(change: str, tmp_path: Path) -> None:
    """Where they cannot be compared, or say arguments that there are no more."""
    path, other = save(mlp(nn.ReLU()), tmp_path / "a.safetensors"), mlp(nn.Tanh())
    with safe_open(path, "pt") as file:
        header = file.metadata()
    said = json.loads(header.pop("layers"))
    if change == "another torch":
        said["torch"] = "1.13"
    if change == "more arguments":
        other = mlp(nn.ReLU())
        said["modules"]["posterior.network.2"]["arguments"]["gone"] = 1
    if change != "older vaezoo":
        header["layers"] = json.dumps(said)
    save_file(load_file(path), path, metadata=header)
    load(path, other)


@pytest.mark.parametrize("text", ["[]", '{"torch": 3}', "{", "null"])
def test_layers_that_are_none_are_a_damage(text: str, tmp_path: Path) -> None:
    path = save(model := mlp(nn.ReLU()), tmp_path / "a.safetensors")
    with safe_open(path, "pt") as file:
        header = file.metadata() | {"layers": text}
    save_file(load_file(path), path, metadata=header)
    with pytest.raises(CheckpointError, match="is damaged: its layers"):
        load(path, model)


def test_members_of_vaezoo_have_no_foreign_layers(tmp_path: Path) -> None:
    """Their files say nothing that a later vaezoo could make otherwise."""
    for kind in (models.VAE, models.GMVAE, models.M1M2, models.HierarchicalVAE):
        assert layers(kind(SHAPE)) == {}
