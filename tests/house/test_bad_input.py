"""Bad input, as a table: the call, the error, and what it says; nothing is lost on the way."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from zoo import X_SHAPE, Z_DIM, images, labels, member

from vaezoo import (
    ELBO,
    IWELBO,
    Bound,
    NonFiniteLoss,
    SemiSupervised,
    accuracy,
    crosscheck,
    data,
    evaluate,
    fit,
    likelihoods,
    load,
    networks,
    posteriors,
    priors,
)


def vae_loss(x: Tensor) -> Any:
    return Bound(member("VAE"))(x)


def quick(model: nn.Module, batches: Any, **options: Any) -> Any:
    return fit(model, batches, progress=False, **{"steps": 2, **options})


GREY = torch.full((2, *X_SHAPE), 0.3)
NAN = torch.full((2, *X_SHAPE), float("nan"))
CALLS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    # images
    (lambda: vae_loss(images()[:, :, :3]), ValueError, r"expected images \(N, 1, 4, 4\), got \(6, 1, 3"),
    (lambda: vae_loss(images().flatten(1)), ValueError, r"expected images .* got \(6, 16\)"),
    (lambda: vae_loss(images()[:0]), ValueError, r"got \(0, 1, 4, 4\)"),
    (lambda: vae_loss(images().byte()), ValueError, "got torch.uint8: convert .* divide uint8"),
    (lambda: vae_loss(images().double()), ValueError, "dtype torch.float32 .* got torch.float64"),
    (lambda: vae_loss(GREY), ValueError, "pixels that are 0 or 1, got 0.3: .*binarisation='dynamic'"),
    (lambda: vae_loss(NAN), ValueError, "images hold NaN or infinite values"),
    # labels
    (lambda: quick(member("FSVAE"), [(images(), labels() + 5)]), ValueError, r"labels must lie in 0\.\.2, got 5\.\.7"),
    (lambda: quick(member("FSVAE"), [(images(), labels() - 1)]), ValueError, r"0\.\.2, got -1\.\.1"),
    (lambda: quick(member("FSVAE"), [(images(), labels().float())]), ValueError, r"integer classes y \(6,\).* got \(6,\) of torch.float32"),
    (lambda: quick(member("SSVAE"), [(images(), images(), labels() + 1)]), ValueError, r"0\.\.2, got 1\.\.3"),
    (lambda: member("VAE").sample(3, y=1), ValueError, "VAE has no labels: leave y out"),
    (lambda: member("FSVAE").sample(3), ValueError, r"no p\(y\): say which classes"),
    # data
    (lambda: quick(member("VAE"), []), ValueError, "data hold no batch"),
    (lambda: quick(member("VAE"), (x for x in [images()])), ValueError, "ran out after 1 pass"),
    (lambda: quick(member("VAE"), images()), ValueError, "a tensor is not an iterable of batches"),
    (lambda: quick(member("SSVAE"), [images()]), ValueError, r"needs batches \(x, x_labelled, y_labelled\), got 1"),
    (lambda: data.digits("trian"), ValueError, "train"),
    (lambda: data.digits(binarisation="binary"), ValueError, "dynamic, static, threshold, none, got 'binary'"),
    (lambda: evaluate(member("VAE"), [], progress=False), ValueError, "at least one batch"),
    (lambda: evaluate(member("VAE"), [images(1)], progress=False), ValueError, "at least 2 images, got 1"),
    (lambda: evaluate(member("VAE"), [images()], particles=(0,), progress=False), ValueError, "particles must be at least 1, got 0"),
    (lambda: accuracy(member("VAE"), data.digits("test")[:5]), TypeError, "a model with classify, got a VAE"),
    # numbers
    (lambda: ELBO(-1), ValueError, "beta must be a number of at least 0, got -1"),
    (lambda: ELBO(float("nan")), ValueError, "beta .* got nan"),
    (lambda: ELBO(particles=0), ValueError, "particles must be at least 1, got 0"),
    (lambda: IWELBO(0), ValueError, "particles must be at least 1, got 0"),
    (lambda: SemiSupervised(alpha=-1), ValueError, "at least 0, got -1"),
    (lambda: SemiSupervised(labelled_fraction=2), ValueError, r"lie in \[0, 1\], got 2"),
    (lambda: quick(member("VAE"), [images()], steps=0), ValueError, "at least 1, got 0"),
    (lambda: quick(member("VAE"), [images()], epochs=1), ValueError, "steps or epochs, not both"),
    (lambda: priors.MixtureOfGaussians(2, k=0), ValueError, "k must be at least 1, got 0"),
    (lambda: priors.StandardNormal(0), ValueError, "z_dim must be at least 1, got 0"),
    (lambda: likelihoods.Normal(2, X_SHAPE, variance=0.0), ValueError, "positive number, got 0.0"),
    # networks
    (lambda: networks.MLP((4,), (), (2,)), ValueError, "hidden must be one or more sizes"),
    (lambda: networks.MLP((4,), (3,), (2,))(torch.zeros(2, 5)), ValueError, r"inputs \(\.\.\., 4\), got \(2, 5\)"),
    (lambda: networks.MLP((4,), (3,), (2,))(torch.zeros(2, 4), labels(2)), ValueError, "takes no labels"),
    (lambda: networks.Conv((1, 6, 6), (3, 3), (2,)), ValueError, "divisible by 4 on one side"),
    (lambda: networks.Conv((4,), (3,), (2,)), ValueError, r"needs an image \(C, H, W\)"),
    # parts and programs
    (lambda: setattr(member("VAE"), "prior", priors.StandardNormal(4)), ValueError, r"does not fit VAE.*got \(\(\), \(4,\)\)"),
    (lambda: setattr(member("VAE"), "prior", nn.Linear(1, 1)), TypeError, "must be a Prior, got a Linear"),
    (lambda: setattr(member("VAE"), "likelihood", likelihoods.Bernoulli(3, (1, 5, 5))), ValueError, "does not fit VAE"),
    (lambda: setattr(member("VAE"), "posterior", posteriors.DiagonalNormal((1, 5, 5), 3)), ValueError, "does not fit VAE.*expected inputs"),
    (lambda: setattr(member("FSVAE"), "posterior", posteriors.DiagonalNormal(X_SHAPE, 3)), ValueError, "takes no labels"),
    (lambda: setattr(member("VAE"), "guide", 3), TypeError, "must be a Pyro program or a Posterior, got a int"),
    (lambda: setattr(member("VAE"), "guide", priors.StandardNormal(3)), TypeError, "got a StandardNormal"),
    (lambda: setattr(member("VAE"), "model", lambda: None), TypeError, r"a model for VAE takes \(x: .*got \(\)"),
    (lambda: Bound(member("VAE"), "elbo"), TypeError, "or a pyro.infer ELBO, got a str"),
    (lambda: crosscheck(member("FSVAE"), images()), ValueError, "FSVAE is given labels, and got none: pass y"),
    (lambda: quick(member("FSVAE"), [(images(), labels()[:, None])]), ValueError, r"integer classes y \(6,\), got \(6, 1\) .*y.squeeze"),
    (lambda: quick(member("VAE"), [images(2), GREY]), ValueError, "pixels that are 0 or 1, got 0.3"),
    (lambda: quick(member("FSVAE"), [(images(), labels()), (images(), labels() - 1)]), ValueError, r"got -1\.\.1"),
    (lambda: quick(member("VAE"), [(images(3), images(3), labels(3))], objective=SemiSupervised()), ValueError, "VAE has no labels, and the batch"),
    (lambda: Bound(member("VAE"), SemiSupervised())(images(3), images(3), labels(3)), ValueError, "needs a guide that infers 'y'"),
    (lambda: quick(member("VAE"), [images()], validation=(x for x in [images()])), ValueError, "must not be a generator"),
    (lambda: quick(member("VAE"), [images()], validation=[]), ValueError, "must hold a batch"),
    (lambda: quick(member("SSVAE"), [(images(), images(), labels())], validation=[images()]), ValueError, r"validation data: .*\(x, x_labelled, y_labelled\)"),
    (lambda: crosscheck(member("VAE"), images(), repeats=1), ValueError, "at least 2 repeats, got 1"),
    # files
    (lambda: load("nowhere.safetensors"), FileNotFoundError, "no checkpoint at nowhere"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), CALLS, ids=range(len(CALLS)))
def test_bad_input(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_batch_of_one_trains_and_draws() -> None:
    """One image is a batch like any other; only a standard error needs two."""
    for name in ("VAE", "GMVAE", "IWAE"):
        history = quick(member(name), [images(1)], log_every=1)
        assert len(history["bound"]) == 2
    quick(member("SSVAE"), [(images(1), images(1), labels(1))])
    quick(member("FSVAE"), [(images(1), labels(1))])
    assert member("SSVAE").reconstruct(images(1)).shape == (1, *X_SHAPE)


def test_refused_part_leaves_the_model_as_it_was() -> None:
    vae = member("VAE")
    kept, story = vae.prior, repr(vae)
    with pytest.raises(ValueError, match="does not fit"):
        vae.prior = priors.StandardNormal(7)
    assert vae.prior is kept
    assert repr(vae) == story


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
