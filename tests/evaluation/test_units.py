"""`units`: variances and KLs of units against closed forms, and collapse by its name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from linear import D, Linear
from pyro import poutine
from torch.distributions import Normal, kl_divergence
from zoo import (
    EACH_PART,
    GIVEN,
    MEMBERS,
    BadCall,
    batch_for,
    images,
    linear_hierarchy,
    member,
    refused,
    widen,
    with_parts,
)

from vaezoo import evaluate
from vaezoo.evaluation import Units, units


def found_of(model: Any, batches: Any, **options: Any) -> dict[str, Units]:
    return units(model, batches, progress=False, **options)


def test_units_of_a_linear_model() -> None:
    """Of 20 images: the variances of the means that q has, and their KLs, to 1e-9."""
    torch.manual_seed(0)
    linear = Linear((1.0, 0.03, 2.0))
    x = linear.draw(20)
    found = found_of(linear.vae, x.split(7))["z"]
    means = (x.flatten(1) - linear.b) @ linear.gain
    kl = kl_divergence(Normal(means, linear.scale), Normal(torch.zeros(3, **D), 1.0))
    assert (found.variance - means.var(0)).abs().max() < 1e-9
    assert found.kl is not None
    assert (found.kl - kl.mean(0)).abs().max() < 1e-9
    assert found.active.tolist() == [True, False, True]
    assert repr(found) == "z: 2 of 3 units active"
    assert not found.collapsed


def test_a_decoder_that_ignores_its_code_is_said() -> None:
    model = member("VAE")
    for parameter in model.posterior.parameters():
        torch.nn.init.zeros_(parameter)
    found = found_of(model, [images(9)])["z"]
    assert found.collapsed
    assert repr(found) == "z: collapsed, none of 3 units active"
    assert "collapsed" in found._repr_html_()


def test_the_means_of_an_upper_latent_are_drawn_without_their_noise() -> None:
    """z2 of a linear hierarchy, E[z2|x] = E[z1|x] gain: its variance to 10 %, of 2,000 images.

    With 2 draws the noise would be most of the variance of their mean.
    """
    torch.manual_seed(0)
    model, x, _ = linear_hierarchy()
    x = model.sample(2000, mean=False)
    with torch.no_grad():
        exact = model.upper_posterior(model.posterior(x).mean).mean.var(0)
    found = found_of(model, [x], draws=2)["z2"]
    assert torch.allclose(found.variance, exact, rtol=0.1, atol=0.005)


@pytest.mark.parametrize("name", MEMBERS)
def test_any_member_will_do(name: str) -> None:
    """The KLs of all units make the rate of members of one latent, to 1e-4; collapse is none."""
    torch.manual_seed(0)
    model, batch = widen(member(name), 0.6), batch_for(name, 12)
    found = found_of(model, [batch])
    assert all(each.variance.isfinite().all() for each in found.values())
    if set(found) == {"z"} and found["z"].kl is not None and name in ("VAE", "IWAE", *GIVEN):
        rate = evaluate(model, [batch], particles=1, progress=False)["kl"].mean
        assert found["z"].kl.sum().item() == pytest.approx(rate, rel=1e-4)
    assert (found[list(found)[-1]].kl is None) == (name == "GMVAE")


@pytest.mark.parametrize("parts", EACH_PART)
def test_any_parts_will_do(parts: tuple[str, str, str]) -> None:
    torch.manual_seed(0)
    found = found_of(with_parts("VAE", *parts), (images(4) for _ in range(3)))["z"]
    assert found.variance.shape == (3,)
    assert (found.kl is not None) == (parts[:2] == ("normal", "diagonal"))


@pytest.mark.parametrize("least", [7, 6], ids=["the same images", "others"])
def test_images_that_are_masked_add_nothing(least: int) -> None:
    """The units' KLs add up to evaluate's: in closed form to 1e-12, where it is drawn to 0.1."""
    torch.manual_seed(0)
    vae, x = widen(member("VAE")).double(), images(9, **D)
    own = vae.model, vae.guide
    vae.model = lambda x: poutine.mask(own[0], mask=x.flatten(1).sum(1) > 7)(x)
    vae.guide = lambda x: poutine.mask(own[1], mask=x.flatten(1).sum(1) > least)(x)
    kl = found_of(vae, [x], draws=4000)["z"].kl
    options: dict[str, Any] = {"particles": 4000, "max_decodes": 10**6, "progress": False}
    expected = evaluate(vae, [x], **options)["kl"]
    assert kl is not None
    assert expected.values is not None
    assert 0 < (expected.values == 0).sum() < 9
    assert kl.sum().item() == pytest.approx(expected.mean, abs=1e-12 if least == 7 else 0.1)


BAD_CALLS: list[BadCall] = [
    (lambda: found_of(member("VAE"), [images()], draws=1), ValueError, "draws must be at least 2, got 1"),
    (lambda: found_of(member("VAE"), [images(1)]), ValueError, "at least 2 images, got 1"),
    (lambda: found_of(torch.nn.Linear(2, 2), [images()]), TypeError, "a Linear has no program model"),
]  # fmt: skip


test_bad_calls = refused(BAD_CALLS)
