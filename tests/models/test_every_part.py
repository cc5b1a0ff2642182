"""Checkpoints of every member with every kind of part."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from zoo import EACH_PART, MEMBERS, NETWORKS, X_SHAPE, Z_DIM, batch_for, member, with_parts

from vaezoo import ELBO, Bound, load, save
from vaezoo.likelihoods import Bernoulli
from vaezoo.posteriors import DiagonalNormal


@pytest.mark.parametrize("parts", EACH_PART, ids="-".join)
@pytest.mark.parametrize("name", MEMBERS)
def test_every_part_of_every_member_is_saved(
    name: str, parts: tuple[str, str, str], tmp_path: Path
) -> None:
    """A file and a deepcopy have every weight, and give the same bound from the same seed."""
    model, batch = with_parts(name, *parts), batch_for(name)
    torch.manual_seed(1)
    loss = Bound(model, ELBO())(*batch)["loss"]
    for twin in (load(save(model, tmp_path / "model.safetensors")), copy.deepcopy(model)):
        assert repr(twin) == repr(model)
        assert all(torch.equal(t, twin.state_dict()[n]) for n, t in model.state_dict().items())
        torch.manual_seed(1)
        assert Bound(twin, ELBO())(*batch)["loss"] == loss


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_is_saved(network: str, tmp_path: Path) -> None:
    make = NETWORKS[network]
    model = member(
        "VAE",
        likelihood=Bernoulli(Z_DIM, X_SHAPE, network=make((Z_DIM,), X_SHAPE, 0)),
        posterior=DiagonalNormal(X_SHAPE, Z_DIM, network=make(X_SHAPE, (2, Z_DIM), 0)),
    )
    twin = load(save(model, tmp_path / "model.safetensors"))
    assert type(twin.likelihood.network) is type(model.likelihood.network)
    assert all(torch.equal(t, twin.state_dict()[n]) for n, t in model.state_dict().items())
