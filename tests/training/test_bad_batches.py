"""Batches that `fit` and `Bound` refuse: the error, what it says, and that nothing is lost on the way."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from zoo import X_SHAPE, Z_DIM, BadCall, images, labels, member, refused

from vaezoo import (
    Bound,
    NonFiniteLoss,
    SemiSupervised,
    data,
    fit,
    likelihoods,
)


def vae_loss(x: Tensor) -> Any:
    return Bound(member("VAE"))(x)


def quick(model: nn.Module, batches: Any, **options: Any) -> Any:
    return fit(model, batches, progress=False, **{"steps": 2, **options})


GREY = torch.full((2, *X_SHAPE), 0.3)
NAN = torch.full((2, *X_SHAPE), float("nan"))
CALLS: list[BadCall] = [
    (lambda: vae_loss(images()[:, :, :3]), ValueError, r"expected images \(N, 1, 4, 4\), got \(6, 1, 3"),
    (lambda: vae_loss(images().flatten(1)), ValueError, r"expected images .* got \(6, 16\)"),
    (lambda: vae_loss(images()[:0]), ValueError, r"got \(0, 1, 4, 4\)"),
    (lambda: vae_loss(images().byte()), ValueError, "got torch.uint8: convert .* divide uint8"),
    (lambda: vae_loss(images().double()), ValueError, "dtype torch.float32 .* got torch.float64"),
    (lambda: vae_loss(GREY), ValueError, "pixels that are 0 or 1, got 0.3: .*binarisation='dynamic'"),
    (lambda: vae_loss(NAN), ValueError, "images hold NaN or infinite values"),
    (lambda: quick(member("FSVAE"), [(images(), labels() + 5)]), ValueError, r"labels must lie in 0\.\.2, got 5\.\.7"),
    (lambda: quick(member("FSVAE"), [(images(), labels() - 1)]), ValueError, r"0\.\.2, got -1\.\.1"),
    (lambda: quick(member("FSVAE"), [(images(), labels().float())]), ValueError, r"integer classes y \(6,\).* got \(6,\) of torch.float32"),
    (lambda: quick(member("SSVAE"), [(images(), images(), labels() + 1)]), ValueError, r"0\.\.2, got 1\.\.3"),
    (lambda: quick(member("VAE"), []), ValueError, "data hold no batch"),
    (lambda: quick(member("VAE"), (x for x in [images()])), ValueError, "ran out after 1 pass"),
    (lambda: quick(member("VAE"), images()), ValueError, "a tensor is not an iterable of batches"),
    (lambda: quick(member("SSVAE"), [images()]), ValueError, r"needs batches \(x, x_labelled, y_labelled\), got 1"),
    (lambda: quick(member("VAE"), [images()], steps=0), ValueError, "at least 1, got 0"),
    (lambda: quick(member("VAE"), [images()], epochs=1), ValueError, "steps or epochs, not both"),
    (lambda: quick(member("FSVAE"), [(images(), labels()[:, None])]), ValueError, r"integer classes y \(6,\), got \(6, 1\) .*y.squeeze"),
    (lambda: quick(member("VAE"), [images(2), GREY]), ValueError, "pixels that are 0 or 1, got 0.3"),
    (lambda: quick(member("FSVAE"), [(images(), labels()), (images(), labels() - 1)]), ValueError, r"got -1\.\.1"),
    (lambda: quick(member("VAE"), [(images(3), images(3), labels(3))], objective=SemiSupervised()), ValueError, "VAE has no labels, and the batch"),
    (lambda: Bound(member("VAE"), SemiSupervised())(images(3), images(3), labels(3)), ValueError, "needs a guide that infers 'y'"),
    (lambda: quick(member("VAE"), [images()], validation=(x for x in [images()])), ValueError, "must not be a generator"),
    (lambda: quick(member("VAE"), [images()], validation=[]), ValueError, "must hold a batch"),
    (lambda: quick(member("SSVAE"), [(images(), images(), labels())], validation=[images()]), ValueError, r"validation data: .*\(x, x_labelled, y_labelled\)"),
]  # fmt: skip


test_bad_batches = refused(CALLS)


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("seed", [0, 2])
def test_grey_images_are_refused_in_whichever_batch_they_come(seed: int, labelled: bool) -> None:
    """Under a Bernoulli, where most are black, and the first batch may be."""
    pixels = torch.zeros(60, *X_SHAPE, dtype=torch.uint8)
    pixels[55:] = 128
    found: Any = data.Images(pixels, torch.arange(60) % 3, binarisation="none")
    if labelled:
        found = data.semi_supervised(found, found[:30].labelled(3), batch_size=2)
    torch.manual_seed(seed)
    with pytest.raises(ValueError, match=r"pixels that are 0 or 1, got 0\.502"):
        quick(member("SSVAE" if labelled else "VAE"), found, steps=30, batch_size=2)


def test_batch_of_one_trains_and_draws() -> None:
    """One image is a batch like any other; only a standard error needs two."""
    for name in ("VAE", "GMVAE", "IWAE"):
        history = quick(member(name), [images(1)], log_every=1)
        assert len(history["bound"]) == 2
    quick(member("SSVAE"), [(images(1), images(1), labels(1))])
    quick(member("FSVAE"), [(images(1), labels(1))])
    assert member("SSVAE").reconstruct(images(1)).shape == (1, *X_SHAPE)


def test_non_finite_loss_names_step_and_term_and_keeps_the_weights() -> None:
    """The third batch is poisoned: weights from step 2 remain, history comes with the error."""
    vae = member("VAE", likelihood=likelihoods.Normal(Z_DIM, X_SHAPE, hidden=(6,)))
    batches = [images(), images(), torch.full((2, *X_SHAPE), 1e30)]
    twin = copy.deepcopy(vae)
    torch.manual_seed(1)
    quick(twin, batches[:2], steps=2)
    torch.manual_seed(1)
    with pytest.raises(
        NonFiniteLoss, match=r"step 3: .*rec.* not finite .*weights from before"
    ) as e:
        quick(vae, batches, steps=3, log_every=1)
    assert e.value.step == 3
    assert e.value.history["step"] == [1, 2]
    assert all(torch.equal(a, b) for a, b in zip(vae.parameters(), twin.parameters(), strict=True))
