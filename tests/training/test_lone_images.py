"""Batches of one image, on which a batch norm cannot train: said before, or with its name."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from zoo import X_SHAPE, Z_DIM, images, member

from vaezoo import Bound, Step, data, fit
from vaezoo.posteriors import DiagonalNormal
from vaezoo.training.raising import put_back

OF_ONE = r"a batch is of one image, on which a batch norm .*drop_last=True, or choose another"


def normed(layer: nn.Module | None = None) -> Any:
    hidden = nn.BatchNorm1d(8) if layer is None else layer
    encoder = nn.Sequential(
        *(nn.Flatten(), nn.Linear(16, 8), hidden, nn.Linear(8, 2 * Z_DIM)),
        nn.Unflatten(-1, (2, Z_DIM)),
    )
    return member("VAE", posterior=DiagonalNormal(X_SHAPE, Z_DIM, network=encoder))


def pictures(n: int) -> data.Images:
    return data.Images(images(n).byte() * 255, binarisation="threshold")


QUIET: dict[str, Any] = {"progress": False, "compile": False}


@pytest.mark.parametrize("double", [False, True])
def test_known_before_the_first_step(double: bool) -> None:
    """Of images: no step is taken, and the look at one of them leaves the model as it was."""
    model = normed().double() if double else normed()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match=OF_ONE):
        fit(model, pictures(41), batch_size=20, epochs=2, **QUIET)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("n", "options"),
    [
        (41, {"drop_last": True}),
        (41, {"steps": 2}),  # which do not get there
        (42, {"epochs": 1}),
        (40, {"epochs": 1}),
    ],
)
def test_what_can_be_trained_is(n: int, options: dict[str, Any]) -> None:
    given = {"steps": 4} | options if "epochs" not in options else options
    assert fit(normed(), pictures(n), batch_size=20, **given, **QUIET)["step"]


def test_layers_that_can_are_left_alone() -> None:
    for layer in (nn.LayerNorm(8), nn.Identity()):
        assert fit(normed(layer), pictures(41), batch_size=20, epochs=1, **QUIET)["step"] == [3]


def test_batches_of_a_loader() -> None:
    """Nobody knows before: the error names the cause, and what the step had changed is put back."""
    model = normed()
    seen: list[int] = []
    norm = next(m for m in model.modules() if isinstance(m, nn.BatchNorm1d))

    def note(*_: Any) -> None:
        seen.append(int(norm.num_batches_tracked or 0))

    with pytest.raises(ValueError, match=OF_ONE) as caught:
        fit(model, images(41).split(20), epochs=2, callback=note, log_every=1, **QUIET)
    assert "Expected more than 1 value per channel" in str(caught.value.__cause__)
    assert norm.num_batches_tracked is not None
    assert int(norm.num_batches_tracked) == seen[-1] == 2


def test_other_errors_keep_their_words() -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) == 1:
                raise ValueError("one is odd")
            return x

    with pytest.raises(ValueError, match=r"^one is odd\n"):
        fit(normed(Odd()), images(41).split(20), epochs=1, **QUIET)


class Sloped(nn.Module):
    """A pair whose guide reads the slope of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(16, 2), nn.Linear(2, 16)
        self.norm = nn.BatchNorm2d(1)  # which can train on one image

    def model(self, x: torch.Tensor) -> None:
        with pyro.plate("images", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            law = dist.Bernoulli(logits=self.decoder(z).view(-1, *X_SHAPE)).to_event(3)
            pyro.sample("x", law, obs=x)

    def guide(self, x: torch.Tensor) -> None:
        x = self.norm(x.clone().requires_grad_())
        (slope,) = torch.autograd.grad(x.square().sum(), x, create_graph=True)
        with pyro.plate("images", len(x)):
            pyro.sample("z", dist.Normal(self.encoder(slope.flatten(1)), 1.0).to_event(1))


def test_programs_may_ask_for_gradients_in_that_look() -> None:
    assert fit(Sloped(), pictures(41), batch_size=20, epochs=1, **QUIET)["step"] == [3]


def test_a_compiled_step_that_raises_keeps_running_statistics() -> None:
    """Those of the steps that were taken, not of the first."""
    model = normed()
    norm = next(m for m in model.modules() if isinstance(m, nn.BatchNorm1d))
    bound = Bound(model)
    step = Step(bound, torch.optim.Adam(bound.parameters())).compile("eager")
    for x in images(40).split(8):
        step(x)
    assert norm.running_mean is not None
    before = norm.running_mean.clone()
    with pytest.raises(IndexError), put_back(step, [images(8)]):
        raise IndexError("out of bounds")
    assert torch.equal(norm.running_mean, before)
    assert before.any()
