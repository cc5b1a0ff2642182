"""Batches of one image, on which a batch norm cannot train: said before, or with its name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from zoo import X_SHAPE, Z_DIM, images, member

from vaezoo import data, fit
from vaezoo.posteriors import DiagonalNormal

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
