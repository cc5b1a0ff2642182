"""Likelihoods whose data cannot be 0: drawing passes no image through their check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus
from zoo import CLASSES, X_SHAPE, Z_DIM, labels, member

from vaezoo import IWELBO, Bound, evaluate, fit, models, plots
from vaezoo.likelihoods import Likelihood


class TwoNumbers(Likelihood):
    """A law of two positive numbers a pixel, which data are checked for."""

    def output_shape(self) -> tuple[int, ...]:
        return (2, *self.x_shape)

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        a, b = (softplus(h) + 0.5 for h in self._decode(z, y).unbind(-1 - len(self.x_shape)))
        return self.law(a, b).to_event(len(self.x_shape))

    def check(self, x: Tensor) -> None:
        if (x <= 0).any() or (self.law is dist.Beta and (x >= 1).any()):
            raise ValueError(f"a {type(self).__name__} likelihood needs positive numbers, got 0")


class Gamma(TwoNumbers):
    law: Any = dist.Gamma


class Beta(TwoNumbers):
    law: Any = dist.Beta


class LogNormal(TwoNumbers):
    law: Any = dist.LogNormal


def build(name: str, kind: Any) -> Any:
    sizes: dict[str, Any] = {"x_shape": X_SHAPE, "hidden": (8,)}
    labelled = {"classes": CLASSES} if name in ("SSVAE", "FSVAE", "ADGM") else {}
    likelihood = kind(4, X_SHAPE, hidden=(8,), **labelled)
    if name in ("HierarchicalVAE", "M1M2"):
        more = {"classes": CLASSES} if name == "M1M2" else {}
        return getattr(models, name)(
            z1_dim=4, z2_dim=2, upper_hidden=(5,), likelihood=likelihood, **more, **sizes
        )
    more = {"a_dim": 2} if name == "ADGM" else {}
    return getattr(models, name)(z_dim=4, likelihood=likelihood, **more, **labelled, **sizes)


@pytest.mark.parametrize("name", ["VAE", "SSVAE", "FSVAE", "HierarchicalVAE", "M1M2", "ADGM"])
@pytest.mark.parametrize("kind", [Gamma, Beta, LogNormal])
def test_every_method(kind: Any, name: str) -> None:
    model, x = build(name, kind), torch.rand(6, *X_SHAPE) * 0.8 + 0.1
    given = (labels(),) if name == "FSVAE" else ()
    drawn = model.sample(5, y=1) if given else model.sample(5)
    assert drawn.shape == (5, *X_SHAPE)
    assert (drawn > 0).all()
    pixels = model.sample(y=labels(5), mean=False) if given else model.sample(5, mean=False)
    model.check(pixels)
    assert model.encode(x, *given).shape == (6, model.z_dim)
    assert model.reconstruct(x, *given).shape == x.shape
    batch = (x, *given) if given else x
    objective = None if name in ("M1M2", "ADGM") else IWELBO(2)
    if objective is not None:
        fit(model, [batch], objective, steps=2, progress=False)
    found = evaluate(model, [batch], particles=(1, 4), progress=False)
    assert found["niwae-4"].mean < found["niwae-1"].mean


def test_figures() -> None:
    figure: Callable[..., Any] = plots.samples
    assert figure(build("VAE", Gamma)).axes
    assert plots.reconstructions(build("VAE", Beta), torch.rand(4, *X_SHAPE) * 0.8 + 0.1).axes


def test_data_are_checked_as_ever() -> None:
    model = build("VAE", Gamma)
    model.sample(2)
    for call in (Bound(model), model.encode, model.reconstruct):
        with pytest.raises(ValueError, match="a Gamma likelihood needs positive numbers"):
            call(torch.zeros(2, *X_SHAPE))
    with pytest.raises(ValueError, match="pixels that are 0 or 1"):
        member("VAE", z_dim=Z_DIM).encode(torch.full((2, *X_SHAPE), 0.5))
