"""`precision="bf16"`, eager and compiled, against float32."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from compiling import Pair, assert_close, batch_of, compiled, step
from torch import nn
from zoo import (
    X_SHAPE,
    Z_DIM,
    images,
    member,
)

from vaezoo import ELBO, Bound, data, evaluate, fit, posteriors, priors
from vaezoo.components import Component
from vaezoo.networks.precision import networks_lowered_to


@pytest.mark.parametrize("name", ["VAE", "IWAE", "SSVAE", "ADGM"])
@pytest.mark.parametrize("compiling", [False, True])
def test_bf16_agrees_within_its_rounding(name: str, compiling: bool) -> None:
    """Terms to 2 %, and each gradient's direction to a cosine of 0.98; terms are float32."""
    bound = Bound(member(name))
    batch = batch_of(name, bound.objective, torch.float32, 50)
    terms, gradients = step(bound, *batch)
    lowered = Bound(bound.model, bound.objective, precision="bf16")
    if compiling:
        compiled(lowered, *batch)
    found, others = step(lowered, *batch)
    assert all(t.dtype == torch.float32 for t in found.values())
    for key, value in terms.items():
        assert found[key].item() == pytest.approx(value.item(), rel=0.02, abs=0.05), key
    for p, q in zip(gradients, others, strict=True):
        assert p is not None
        assert q is not None
        assert torch.cosine_similarity(p.flatten(), q.flatten(), 0) > 0.98


def test_an_outer_autocast_is_one_around_the_networks() -> None:
    """Densities stay in float32 under it: the same terms as by `precision="bf16"`, to the digit."""
    for name in ("VAE", "GMVAE", "SSVAE"):
        model, x = member(name), images()
        torch.manual_seed(1)
        expected = Bound(model, precision="bf16", objective=ELBO())(x)
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16):
            found = Bound(model, ELBO())(x)
        assert all(torch.equal(found[n], expected[n]) for n in expected)
        assert found["loss"].dtype is torch.float32


def test_training_and_evaluation_inside_an_autocast_see_weights_as_they_are() -> None:
    """As many steps as there may be, and evaluations between them: bit for bit as by precision."""
    found = []
    for outer in (False, True):
        torch.manual_seed(0)
        vae, x = member("VAE"), images()
        options = {"precision": "float32" if outer else "bf16", "compile": False, "lr": 0.02}
        with torch.autocast("cpu", torch.bfloat16, enabled=outer):
            history = fit(vae, [x], steps=30, log_every=10, progress=False, **options)
        found.append((history["bound"], [p.detach().clone() for p in vae.parameters()]))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(a, b) for a, b in zip(found[0][1], found[1][1], strict=True))
    with torch.autocast("cpu", torch.bfloat16):
        before = evaluate(vae, [x], progress=False)["nelbo"].mean
        torch.nn.init.constant_(vae.likelihood.network.rest[1].weight, 3.0)
        after = evaluate(vae, [x], progress=False)["nelbo"].mean
    with torch.autocast("cpu", torch.bfloat16):
        fresh = evaluate(vae, [x], progress=False)["nelbo"].mean
    assert after == fresh != before


def test_bf16_trains_as_float32() -> None:
    """300 steps on the built-in digits from one seed end within 2 nats of float32's bound."""
    digits, found = data.digits()[:2000], []
    for precision in ("float32", "bf16"):
        torch.manual_seed(0)
        vae = member("VAE", x_shape=(1, 28, 28), hidden=(64,), z_dim=8)
        history = fit(vae, digits, steps=300, lr=3e-3, precision=precision, progress=False)
        found.append(history["bound"][-1])
    assert abs(found[0] - found[1]) < 2.0


def test_only_networks_are_lowered() -> None:
    """Not densities, priors' parameters, flows' maps, float64 models, nor anything afterwards."""
    x, seen = images(), {}

    def note(module: nn.Module, _: Any) -> None:
        seen[type(module).__name__] = torch.is_autocast_enabled("cpu")

    vae = member(
        "VAE", posterior=posteriors.Flow(X_SHAPE, Z_DIM, hidden=(8,)), prior=priors.Flow(Z_DIM)
    )
    for m in vae.modules():
        m.register_forward_pre_hook(note)
    Bound(vae, precision="bf16")(x)
    assert seen["Linear"]
    assert not any(seen[n] for n in ("Flow", "Bernoulli", "MaskedLinear"))
    double, y = member("VAE").double(), images(dtype=torch.float64)
    assert_close(step(Bound(double), y), step(Bound(double, precision="bf16"), y), 0)
    pair = Pair(nn.Linear(16, 2))
    with networks_lowered_to(pair, torch.bfloat16):
        assert {n for n, m in pair.named_modules() if "forward" in vars(m)} == {"decoder", "norm"}
    assert not any("forward" in vars(m) for m in pair.modules())
    with pytest.raises(ValueError, match="precision must be one of"):
        Bound(vae, precision="fp8")
    assert isinstance(vae.prior, Component)
