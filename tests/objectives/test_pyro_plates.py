"""Pyro's objectives under plates that take a share of the images, and those that torch.jit compiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import infer
from torch import Tensor, nn
from zoo import images, member, refused

from vaezoo import ELBO, Bound, fit
from vaezoo.objectives import IWELBO

OF_ALL = 600


class Linear(nn.Module):
    """A linear-Gaussian pair, whose plate is of all images or of those of the batch."""

    def __init__(self, size: int | None) -> None:
        super().__init__()
        self.decoder, self.encoder, self.size = nn.Linear(2, 5), nn.Linear(5, 4), size
        self.double()

    def plate(self, x: Tensor) -> Any:
        shares = {} if self.size is None else {"subsample": x}
        return pyro.plate("images", self.size or len(x), **shares)

    def model(self, x: Tensor) -> None:
        pyro.module("decoder", self.decoder)
        with self.plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.module("encoder", self.encoder)
        with self.plate(x):
            loc, scale = self.encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))


OBJECTIVES: dict[str, Callable[[], Any]] = {
    "Trace_ELBO": infer.Trace_ELBO,
    "particles": lambda: infer.Trace_ELBO(num_particles=3, vectorize_particles=True),
    "TraceMeanField_ELBO": infer.TraceMeanField_ELBO,
    "TraceEnum_ELBO": lambda: infer.TraceEnum_ELBO(max_plate_nesting=1),
    "TraceGraph_ELBO": infer.TraceGraph_ELBO,
    "RenyiELBO": lambda: infer.RenyiELBO(alpha=1.5, num_particles=2),
    "ELBO": ELBO,
    "IWELBO": lambda: IWELBO(2),
}


def loss_and_gradient(name: str, size: int | None) -> tuple[float, float, Tensor]:
    torch.manual_seed(0)
    pair, x = Linear(size), torch.randn(7, 5, dtype=torch.float64)
    bound = Bound(pair, OBJECTIVES[name]())
    torch.manual_seed(1)
    terms = bound(x)
    terms["loss"].backward()
    with torch.no_grad():
        torch.manual_seed(1)
        again = bound(x)["loss"].item()
    gradient = pair.decoder.weight.grad
    assert gradient is not None
    return terms["loss"].item(), again, gradient


@pytest.mark.filterwarnings("ignore:TraceEnum_ELBO found no sample sites")
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_share_is_per_image_too(name: str) -> None:
    """A sum that Pyro scales up to all images is over all images: the mean is that of the batch."""
    if name == "RenyiELBO":  # its weights are those of a whole data set, raised to a power
        _, again, _ = loss_and_gradient(name, OF_ALL)
        assert abs(again) < 1e3
        return
    (a, b, one), (c, d, other) = (loss_and_gradient(name, size) for size in (None, OF_ALL))
    assert abs(a - c) < 1e-9
    assert abs(b - d) < 1e-9
    assert (one - other).abs().max() < 1e-9


def test_histories_agree() -> None:
    x, bounds = torch.randn(50, 5, dtype=torch.float64), []
    for size in (None, OF_ALL):
        torch.manual_seed(0)
        pair = Linear(size)
        bounds.append(fit(pair, [x], infer.TraceMeanField_ELBO(), steps=5, progress=False)["bound"])
    assert bounds[0] == pytest.approx(bounds[1], abs=1e-9)


def test_plates_inside_count_as_they_are() -> None:
    """A plate over pixels, be it as long as the batch, or a share of them, is no plate over images."""

    class Pixels(Linear):
        def model(self, x: Tensor) -> None:
            with pyro.plate("images", len(x), dim=-2):
                z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 1, 2), 1.0).to_event(1))
                with pyro.plate("pixels", 5, dim=-1):
                    pyro.sample("x", dist.Normal(self.decoder(z).squeeze(1), 1.0), obs=x)

        def guide(self, x: Tensor) -> None:
            with pyro.plate("images", len(x), dim=-2):
                loc, scale = self.encoder(x).unsqueeze(1).chunk(2, -1)
                pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    torch.manual_seed(0)
    pair, x = Pixels(None), torch.randn(5, 5, dtype=torch.float64)
    torch.manual_seed(1)
    expected = infer.Trace_ELBO().loss(pair.model, pair.guide, x) / 5
    torch.manual_seed(1)
    assert abs(Bound(pair, infer.Trace_ELBO())(x)["loss"].item() - expected) < 1e-12


JIT = {
    "Trace": infer.JitTrace_ELBO,
    "TraceEnum": infer.JitTraceEnum_ELBO,
    "TraceGraph": infer.JitTraceGraph_ELBO,
    "TraceMeanField": infer.JitTraceMeanField_ELBO,
}
test_of_torch_jit = refused(
    {
        name: (
            lambda o=objective: fit(member("VAE"), [images()], o(), steps=1, progress=False),  # type: ignore[misc]
            ValueError,
            rf"Jit{name}_ELBO keeps what it traced.*: take {name}_ELBO, or an objective of vaezoo's",
        )
        for name, objective in JIT.items()
    }
)


def test_unchecked_too() -> None:
    with pyro.validation_enabled(False), pytest.raises(ValueError, match="keeps what it traced"):
        Bound(member("VAE"), infer.JitTrace_ELBO())(images())


@pytest.mark.parametrize("n", [3, 4])
def test_a_share_of_pixels_is_no_share_of_images(n: int) -> None:
    """Be there as many of them as images in the batch."""

    def model(x: Tensor) -> None:
        with pyro.plate("images", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x)), 1.0))
            with pyro.plate("pixels", 6, subsample_size=3, dim=-2) as chosen:
                pyro.sample("x", dist.Normal(z, 1.0), obs=x.T[chosen])

    def guide(x: Tensor) -> None:
        with pyro.plate("images", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x[:, 0], 1.0))

    pair, x = Linear(None), torch.randn(n, 6, dtype=torch.float64)
    pair.model, pair.guide = model, guide  # type: ignore[method-assign]
    torch.manual_seed(1)
    expected = infer.Trace_ELBO().loss(model, guide, x) / n
    torch.manual_seed(1)
    with torch.no_grad():
        assert abs(Bound(pair, infer.Trace_ELBO())(x)["loss"].item() - expected) < 1e-12
