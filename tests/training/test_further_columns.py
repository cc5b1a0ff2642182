"""Processes share out of a batch what the model takes, and leave alone what else a loader yields."""

from __future__ import annotations

from typing import Any

import pyro
import pytest
import torch
from several import in_processes
from torch import Tensor, nn
from zoo import CLASSES, X_SHAPE, fixed, labels, member

from vaezoo import accuracy, data, evaluate, fit, posteriors
from vaezoo.training.processes import alone

X, Y = fixed(9), labels(9)
FURTHER: dict[str, tuple[Any, ...]] = {
    "one number for all": (torch.tensor([0.5]),),
    "file names": ([f"{i}.png" for i in range(9)],),
    "a number": (3,),
    "None": (None,),
}


def _of(name: str, batch: tuple[Any, ...]) -> tuple[Tensor, Any]:
    """Weights and numbers of a member that was trained, validated and evaluated on a batch."""
    torch.manual_seed(0)
    model = member(name)
    options: dict[str, Any] = {"steps": 5, "log_every": 1, "lr": 0.05, "progress": False}
    history = fit(model, [batch], validation=[batch], **options)
    found = evaluate(model, [batch], particles=2, progress=False)
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    return weights, [history["loss"], history["validation_loss"], *found["nelbo"]]


def _with_further_columns(rank: int) -> dict[str, bool]:
    """Whether a run on batches with more columns is that on batches without."""
    found = {}
    for name, batch in (("VAE", (X,)), ("FSVAE", (X, Y))):
        weights, numbers = _of(name, batch)
        for further, columns in FURTHER.items():
            more, of_more = _of(name, batch + columns)
            found[f"{name}, {further}"] = torch.equal(weights, more) and numbers == of_more
    # what differs between processes, and is not taken, does not make a share of a batch
    random = (X, Y, torch.full((9,), float(rank)))
    found["random"] = torch.equal(_of("FSVAE", random)[0], weights)
    names = [(X, Y, FURTHER["file names"][0])]
    found["accuracy"] = accuracy(member("SSVAE"), names).n == 9
    return found


def test_what_the_model_does_not_take_is_left_alone() -> None:
    """Bitwise, in two processes of which one has 4 rows of a batch and the other 5."""
    for found in in_processes(_with_further_columns):
        assert len(found) == 10
        assert all(found.values()), found


class _Sharp(nn.Module):
    """An encoder without noise that could be told."""

    def forward(self, x: Tensor) -> Tensor:
        z = x.flatten(1)[:, :3]
        return torch.stack([z, torch.full_like(z, -40.0)], 1)


def _bound_beside_labels(rank: int) -> list[float]:
    """A VAE's, on semi-supervised batches, of which it takes the 7 unlabelled images; of one process."""
    images = data.Images((255 * fixed(12)).byte(), torch.arange(12) % CLASSES, binarisation="none")
    found = []
    for beside in (True, False):
        torch.manual_seed(0)
        sharp = posteriors.DiagonalNormal(X_SHAPE, 3, network=_Sharp())
        vae, batches = member("VAE", posterior=sharp), data.semi_supervised(images[:7], images[7:])
        options: dict[str, Any] = {"steps": 1, "lr": 1e-9, "progress": False}
        if beside:
            found += fit(vae, batches, **options)["bound"]
            continue
        with alone():
            found += fit(vae, batches, **options)["bound"]
    return found


def test_unlabelled_images_count_where_no_others_are_taken() -> None:
    """3 rows and 4, beside 2 labelled ones and 3; the posterior's scale is e^-20: to 1e-4."""
    for both, one in in_processes(_bound_beside_labels):
        assert both == pytest.approx(one, abs=1e-4)


class _Weighed(nn.Module):
    """A pair whose programs take a weight of each image, or one of all."""

    def __init__(self) -> None:
        super().__init__()
        self.vae = member("VAE")

    def model(self, x: Tensor, weight: Tensor) -> None:
        with pyro.poutine.scale(scale=1 + 0 * weight.sum()):
            self.vae.model(x)

    def guide(self, x: Tensor, weight: Tensor) -> None:
        self.vae.guide(x)


def _with_weights(rank: int) -> list[Any]:
    said: list[Any] = []
    for weight in (torch.ones(9), torch.ones(1), torch.ones(())):
        for ask in (fit, evaluate):
            options = {"steps": 1} if ask is fit else {"particles": 1}
            try:
                ask(_Weighed(), [(X, weight)], progress=False, **options)
                said.append(None)
            except ValueError as error:
                said.append(str(error))
    return said


def test_what_is_taken_has_a_row_for_each_image() -> None:
    """Half of what is for all images would be something else."""
    for of_each, _, *refused in in_processes(_with_weights):
        assert of_each is None
        assert all("must have a row for each image, got (9, 1, 4, 4), (" in r for r in refused)
