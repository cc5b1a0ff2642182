"""Trap 1 of Pyro: its parameter store, keyed by name; what SVI trains, and what it leaves alone."""

from __future__ import annotations

import copy
import gc
import warnings
import weakref
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from pyro import infer
from several import run_code
from svi import moved, svi_steps
from torch import Tensor, nn
from zoo import ONE_LATENT, Z_DIM, batch_for, images, member

from vaezoo import ELBO, IWELBO, fit, priors


@pytest.mark.parametrize(
    "loss", [ELBO(), IWELBO(3), infer.Trace_ELBO()], ids=lambda o: repr(o)[:20]
)
@pytest.mark.parametrize("name", ONE_LATENT)
def test_svi_trains_every_instance(name: str, loss: Any) -> None:
    """Trap 1: the store is keyed by name, so a second model must not share the first's names."""
    batch = batch_for(name)
    for _ in range(2):
        model = member(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if name == "SSVAE" else "error")
            assert svi_steps(model, batch, loss=loss) == {n for n, _ in model.named_parameters()}


def store_of(model: Any, x: Tensor, path: Path) -> dict[str, Tensor]:
    """Train a model by SVI and save the store; returns its weights."""
    svi = infer.SVI(model.model, model.guide, pyro.optim.Adam({"lr": 1e-2}), infer.Trace_ELBO())
    for _ in range(3):
        svi.step(x)
    pyro.get_param_store().save(str(path))
    return {n: t.detach().clone() for n, t in model.state_dict().items()}


@pytest.mark.filterwarnings("ignore:.*weights_only.*")
@pytest.mark.parametrize("others_before", [0, 2])
def test_a_loaded_store_is_taken_up(tmp_path: Path, others_before: int) -> None:
    """As `pyro.module` would: by a model of a new process, which SVI then trains."""
    trained = store_of(member("VAE"), images(), tmp_path / "store")
    code = f"""
import torch, pyro
from pyro.infer import SVI, Trace_ELBO
from zoo import images, member
for _ in range({others_before}):
    torch.manual_seed(7)
    other = member("VAE")
    SVI(other.model, other.guide, pyro.optim.Adam({{}}), Trace_ELBO()).step(images())
pyro.get_param_store().load({str(tmp_path / "store")!r})
vae = member("VAE")
svi = SVI(vae.model, vae.guide, pyro.optim.SGD({{"lr": 1e-3}}), Trace_ELBO())
svi.evaluate_loss(images())
torch.save(vae.state_dict(), {str(tmp_path / "weights")!r})
svi.step(images())
moved = [n for n, t in torch.load({str(tmp_path / "weights")!r}).items() if not torch.equal(t, vae.state_dict()[n])]
print(len(moved))
"""
    done = run_code(code, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    found = torch.load(tmp_path / "weights")
    assert all(torch.equal(found[n], trained[n]) for n in trained)
    assert int(done.stdout) >= 10


def test_a_store_set_back_takes_the_weights_back() -> None:
    vae, x = member("VAE"), images()
    svi = infer.SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-2}), infer.Trace_ELBO())
    svi.step(x)
    state, weights = (
        copy.deepcopy(pyro.get_param_store().get_state()),
        copy.deepcopy(vae.state_dict()),
    )
    svi.step(x)
    assert not torch.equal(
        vae.posterior.network.first[1].weight, weights["posterior.network.first.1.weight"]
    )
    pyro.get_param_store().set_state(state)
    svi.evaluate_loss(x)
    assert all(torch.equal(t, weights[n]) for n, t in vae.state_dict().items())


@pytest.mark.parametrize("chunk", [None, 2])
def test_a_loaded_store_is_taken_by_every_objective(chunk: int | None) -> None:
    """Also where a first run, with all checks, leaves no other trace."""
    vae, x = member("VAE"), images()
    moving, still = pyro.optim.Adam({"lr": 1e-2}), pyro.optim.Adam({"lr": 0.0})
    infer.SVI(vae.model, vae.guide, moving, infer.Trace_ELBO()).step(x)
    state, weights = (
        copy.deepcopy(pyro.get_param_store().get_state()),
        copy.deepcopy(vae.state_dict()),
    )
    infer.SVI(vae.model, vae.guide, moving, infer.Trace_ELBO()).step(x)
    pyro.get_param_store().set_state(state)
    infer.SVI(vae.model, vae.guide, still, IWELBO(4, chunk=chunk)).step(x)
    assert all(torch.equal(t, weights[n]) for n, t in vae.state_dict().items())


def test_a_store_of_another_model_is_refused() -> None:
    vae, x = member("VAE"), images()
    vae.model(x)
    store = pyro.get_param_store()
    name = next(iter(store))
    store.set_state(
        {"params": {name: torch.zeros(1)}, "constraints": {name: store._constraints[name]}}
    )
    with pytest.raises(ValueError, match=r"store was loaded with '.*' of shape \(1,\)"):
        vae.model(x)


def test_dropped_models_leave_the_store() -> None:
    """Of ten models trained and dropped, at most the last is still there; a living one stays."""
    kept, x, weights = member("VAE"), images(), []
    for model in [kept, *(member("VAE") for _ in range(10))]:
        infer.SVI(model.model, model.guide, pyro.optim.Adam({}), infer.Trace_ELBO()).step(x)
        weights.append(weakref.ref(model.posterior.network.first[1].weight))
    del model
    kept.model(x)
    gc.collect()
    assert [ref() is not None for ref in weights] == [True, *[False] * 10]
    assert len(pyro.get_param_store()) == len(list(kept.parameters()))


def test_parameters_that_are_not_contiguous_are_trained() -> None:
    """The store would hold a copy of them."""
    vae, x = member("VAE"), images()
    layer = vae.posterior.network.first[1]
    layer.weight = nn.Parameter(layer.weight.detach().t().contiguous().t())
    assert not layer.weight.is_contiguous()
    before = layer.weight.detach().clone()
    infer.SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-2}), infer.Trace_ELBO()).step(x)
    assert not torch.equal(layer.weight, before)


def test_svi_trains_a_part_swapped_in_mid_training() -> None:
    vae, x = member("VAE"), images()
    svi = infer.SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-2}), ELBO())
    svi.step(x)
    vae.prior = priors.MixtureOfGaussians(Z_DIM, k=4)
    before = copy.deepcopy(vae.state_dict())
    svi.step(x)
    assert moved(vae, before) == {n for n, _ in vae.named_parameters()}


def test_svi_trains_parameters_replaced_by_a_loaded_state() -> None:
    vae, x = member("VAE"), images()
    svi_steps(vae, (x,))
    vae.load_state_dict(copy.deepcopy(vae.state_dict()), assign=True)
    assert svi_steps(vae, (x,)) == {n for n, _ in vae.named_parameters()}


def test_frozen_parts_stay_frozen() -> None:
    vae = member("VAE")
    vae.likelihood.requires_grad_(False)
    assert {n.split(".")[0] for n in svi_steps(vae, (images(),))} == {"posterior"}


def test_fit_leaves_the_store_alone() -> None:
    fit(member("VAE"), [images()], steps=2, progress=False)
    vae = member("VAE")
    vae.reconstruct(images())
    assert len(list(pyro.get_param_store())) == 0


def test_stale_optimizer_is_refused() -> None:
    """Trap 2: an optimizer made before a swap never trains the new part."""
    vae = member("VAE")
    optimizer = torch.optim.Adam(vae.parameters())
    vae.prior = priors.MixtureOfGaussians(Z_DIM, k=4)
    with pytest.raises(
        ValueError, match=r"does not train prior\.loc, prior\.raw_scale: it was made"
    ):
        fit(vae, [images()], optimizer=optimizer, steps=1, progress=False)
