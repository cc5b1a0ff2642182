"""What a member is asked by name: decode, traverse, interpolate, cluster, score."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from zoo import (
    GIVEN,
    INFERS,
    MEMBERS,
    X_SHAPE,
    batch_for,
    fixed,
    images,
    labels,
    member,
    refused,
    widen,
)

from vaezoo import data, evaluate, fit, priors, programs
from vaezoo.models import VAE, LatentVariableModel, drawing
from vaezoo.posteriors import Flow
from vaezoo.scopes import own_generator

NAMES = ("decode", "traverse", "interpolate", "cluster", "score")
x = fixed(6)


def double(name: str, **changes: Any) -> Any:
    return widen(member(name, **changes).double())


def labelled(name: str, n: int = 6) -> tuple[Tensor, ...]:
    return batch_for(name, n, dtype=torch.float64)


@pytest.mark.parametrize("name", NAMES)
def test_they_are_methods_with_docstrings(name: str) -> None:
    vae = VAE(X_SHAPE, 2)
    assert name in dir(vae)
    method = getattr(vae, name)
    assert "Example:" in method.__doc__
    assert "model" not in inspect.signature(method).parameters


@pytest.mark.parametrize("name", MEMBERS)
def test_decode_is_the_mean_of_the_likelihood(name: str) -> None:
    """At the code; of M1M2's z2, at the mean of p(z1|y, z2)."""
    model = double(name)
    z, y = torch.randn(6, model.z_dim, dtype=torch.float64), labels()
    takes = [y] if model.classes else []
    if name == "M1M2":
        expected = model.likelihood(model.conditional_prior(z, y).mean).mean
    else:
        expected = model.likelihood(z, *takes).mean
    assert torch.equal(model.decode(z, *takes), expected)
    state = torch.get_rng_state()
    for codes in (z.tolist(), z.numpy()):
        assert torch.equal(model.decode(codes, *(y.numpy() for _ in takes)), expected)
    assert torch.equal(torch.get_rng_state(), state), "it draws nothing"
    if takes:
        assert torch.allclose(model.decode(z[:1], y), model.decode(z[:1].expand(6, -1), y))
        assert torch.allclose(model.decode(z, 2), model.decode(z, torch.full((6,), 2)))


def test_decode_of_another_latent() -> None:
    """z2 of the hierarchical VAE goes through the mean of z1; z1 of M1M2 needs no label."""
    upper, m1m2 = double("HierarchicalVAE"), double("M1M2")
    z1, z2 = (torch.randn(5, n, dtype=torch.float64) for n in (4, 3))
    assert torch.equal(
        upper.decode(z2, latent="z2"), upper.likelihood(upper.conditional_prior(z2).mean).mean
    )
    assert torch.equal(m1m2.decode(z1, latent="z1"), m1m2.likelihood(z1).mean)


@pytest.mark.parametrize("name", MEMBERS)
def test_traverse_moves_one_unit(name: str) -> None:
    model, batch = double(name), labelled(name, 2)
    z, values = model.encode(*batch), [-1.5, 0.25, 4.0]
    y = (
        (batch[1] if name in GIVEN else model.classify(batch[0]).argmax(-1))
        if model.classes
        else None
    )
    found = model.traverse(batch[0], 1, *batch[1:], values=values).unflatten(0, (2, 3))
    for k, value in enumerate(values):
        moved = z.clone()
        moved[:, 1] = value
        assert torch.allclose(found[:, k], model.decode(moved, y))


def moved_prior() -> Any:
    where = torch.tensor([5.0, 0.0, -2.0]), torch.tensor([0.1, 1.0, 2.0])
    return dist.Normal(*where).to_event(1)


@pytest.mark.parametrize(
    ("name", "prior", "ends"),
    [
        ("VAE", None, (-3.0, 3.0)),
        ("VAE", moved_prior, (4.7, 5.3)),
        ("VAE", lambda: priors.Flow(3, hidden=(8,)), None),
        ("HierarchicalVAE", None, None),
    ],
)
def test_traverse_goes_three_deviations_to_either_side(name: str, prior: Any, ends: Any) -> None:
    """Of the prior in closed form, or of 1,000 draws where there is none."""
    model, one = double(name), images(1, dtype=torch.float64)
    if prior is not None:
        model.prior = prior()
    if ends is None:
        draws = drawing.prior_codes(model, 1000, model.code)[:, 0]
        ends = [(draws.mean() + draws.std() * s).item() for s in (-3, 3)]
    found = model.traverse(one, 0)
    assert torch.allclose(found, model.traverse(one, 0, values=np.linspace(*ends, 7)), atol=1e-6)


@pytest.mark.parametrize("name", MEMBERS)
def test_interpolate_goes_straight(name: str) -> None:
    """Codes by hand; each step has the label of the nearer end."""
    model, (x1, *y1), (x2, *y2) = double(name), labelled(name, 2), labelled(name, 2)
    y2 = [(y + 1) % 3 for y in y2]
    z1, z2 = model.encode(x1, *y1), model.encode(x2, *y2)
    found = model.interpolate(x1, x2, *y1, *y2, steps=5).unflatten(0, (2, 5))
    ends = (
        [*(y[0] if y else model.classify(x).argmax(-1) for x, y in ((x1, y1), (x2, y2)))]
        if model.classes
        else [None, None]
    )
    for k in range(5):
        y = ends[k > 2]
        assert torch.allclose(found[:, k], model.decode(z1 + k / 4 * (z2 - z1), y))


def by_hand(z: Tensor, loc: Tensor, scale: Tensor, weights: Tensor) -> Tensor:
    """w_i Π_d N(z_d; μ_id, σ_id), each row divided by its sum."""
    density = (-0.5 * ((z[:, None] - loc) / scale) ** 2).exp() / scale / math.sqrt(2 * math.pi)
    each = weights * density.prod(-1)
    return each / each.sum(-1, keepdim=True)


@pytest.mark.parametrize("name", MEMBERS)
def test_cluster_is_the_posterior_of_the_component(name: str) -> None:
    """At the code of the latent that the prior is of, by Bayes' rule to 1e-10."""
    model = double(name, prior=priors.MixtureOfGaussians(3, k=4, learn_weights=True))
    prior, (x, *y) = model.prior, labelled(name)
    z = model.encode(x, *y, latent=model.parts["prior"].of)
    scale = (nn.functional.softplus(prior.raw_scale) + 1e-8).sqrt()
    expected = by_hand(z, prior.loc, scale, prior.logits.softmax(-1))
    found = model.cluster(x, *y)
    assert found.shape == (6, 4)
    assert torch.allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("name", MEMBERS)
def test_score_is_what_evaluation_reports(name: str) -> None:
    """Draw for draw, in hundreds; and a given label's joint bound, exactly."""
    model, batch = double(name), labelled(name, 230)
    hundreds = list(zip(*(t.split(100) for t in batch), strict=True))
    found = evaluate(model, hundreds, particles=1, seed=7, progress=False)["nelbo"].values
    state = torch.get_rng_state()
    score = model.score(*batch, seed=7)
    assert torch.equal(score, -found)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(score, model.score(*batch, seed=8))


def test_score_of_images_as_they_are_evaluated() -> None:
    vae, few = VAE(hidden=(8,)), data.digits("test")[:230]
    found = evaluate(vae, few, particles=1, seed=3, progress=False)["nelbo"].values
    assert torch.equal(vae.score(few.tensors(seed=3)[0], seed=3).double(), -found)


@pytest.mark.parametrize("name", INFERS)
def test_score_with_a_label_bounds_the_joint_density(name: str) -> None:
    """The terms of one run with the label given; log p(y) is in it, and no q(y|x)."""
    model, batch = double(name), (images(dtype=torch.float64), labels())
    with own_generator(0):
        programs.run(model.model, model.guide, *batch)
        terms = programs.run(model.model, model.guide, *batch)
    expected = (terms.rec - terms.kl)[0, 0] - math.log(3)
    assert torch.allclose(model.score(*batch), expected, atol=1e-12)


def test_programs_of_ones_own_are_asked() -> None:
    """A model and a guide that were swapped in answer, not the written ones."""
    vae = double("VAE")
    written = vae.score(images(dtype=torch.float64) * 0)

    def model(x: Tensor) -> Tensor:
        with vae.images(x):
            z = pyro.sample("z", vae.prior())
            return pyro.sample("x", vae.likelihood(z + 1), obs=x)

    vae.model = model
    z = torch.zeros(2, 3, dtype=torch.float64)
    assert torch.allclose(vae.decode(z), vae.likelihood(z + 1).mean)
    assert not torch.allclose(vae.score(images(dtype=torch.float64) * 0), written)


def test_a_posterior_without_a_mean_answers_with_a_draw() -> None:
    vae = member("VAE", posterior=Flow(X_SHAPE, 3, layers=2, flow_hidden=(8,), hidden=(8,)))
    vae.prior = priors.MixtureOfGaussians(3, k=2)
    assert vae.cluster(x).sum(-1).allclose(torch.ones(6))
    assert vae.traverse(x, 2).shape == (42, *X_SHAPE)
    assert vae.score(x).isfinite().all()


def test_arrays_and_lists_will_do() -> None:
    vae = member("GMVAE")
    calls: list[Callable[[Any], Tensor]] = [
        *(vae.cluster, vae.score, lambda v: vae.traverse(v, 1), lambda v: vae.interpolate(v, v)),
    ]
    for call in calls:
        for same in (x.numpy(), x.tolist(), x.double().numpy()):
            assert torch.equal(call(same), call(x))


def test_they_leave_training_as_it_was() -> None:
    """No gradients, no mode changed, the same steps afterwards."""
    found = []
    for ask in (False, True):
        torch.manual_seed(0)
        model = member("SSVAE", prior=priors.MixtureOfGaussians(3, k=2))
        if ask:
            results = [model.decode(torch.zeros(1, 3), 1), model.traverse(x, 0), model.score(x)]
            results += [model.interpolate(x, x), model.cluster(x)]
            assert not any(t.requires_grad for t in results)
            assert all(m.training for m in model.modules())
        fit(model, [(x, x, labels())], steps=2, progress=False)
        found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*found)


def of(name: str) -> LatentVariableModel:
    found: LatentVariableModel = member(name)
    return found


test_bad_questions = refused(
    [
        (lambda: of("VAE")(x), TypeError, r"encode\(x\), decode\(z\), reconstruct\(x\), score\(x\)"),
        (lambda: of("VAE").decode(torch.zeros(3)), ValueError, r"\(n, 3\), got \(3,\): one code is z\[None\]"),
        (lambda: of("VAE").decode(torch.zeros(1, 4)), ValueError, r"codes z \(n, 3\), got \(1, 4\)"),
        (lambda: of("VAE").decode("abc"), TypeError, "codes z must be numbers"),
        (lambda: of("VAE").decode(torch.zeros(2, 3), 1), ValueError, "VAE has no labels: leave y out"),
        (lambda: of("VAE").decode(torch.zeros(2, 3), latent="w"), ValueError, "depends on the latents z, got 'w'"),
        (lambda: of("ADGM").decode(torch.zeros(2, 2), 1, latent="a"), ValueError, "in ADGM the image x depends on the latents z, got 'a'"),
        (lambda: of("SSVAE").decode(torch.zeros(2, 3)), ValueError, r"SSVAE decodes a code with a label, got none: decode\(z, y=…\).*0\.\.2"),
        (lambda: of("M1M2").decode(torch.zeros(2, 3)), ValueError, r"decode\(z2, y=…\)"),
        (lambda: of("FSVAE").decode(torch.zeros(2, 3), [0, 1, 2]), ValueError, r"y \(2,\), got \(3,\)"),
        (lambda: of("FSVAE").decode(torch.zeros(2, 3), 3), ValueError, r"0\.\.2, got 3\.\.3"),
        (lambda: of("VAE").traverse(x, 3), ValueError, r"z has the units 0\.\.2, got 3"),
        (lambda: of("VAE").traverse(x, -1), ValueError, "unit must be at least 0, got -1"),
        (lambda: of("VAE").traverse(x, 0.5), TypeError, "unit must be a whole number"),
        (lambda: of("VAE").traverse(x, 0, values=[[1.0]]), ValueError, r"a row of finite numbers \(V,\), got \[\[1"),
        (lambda: of("VAE").traverse(x, 0, values=[math.nan]), ValueError, "finite numbers"),
        (lambda: of("VAE").traverse(x[0], 0), ValueError, r"got \(1, 4, 4\): one image is x\[None\]"),
        (lambda: of("VAE").traverse(x, 0, labels()), ValueError, "VAE has no labels: leave y out"),
        (lambda: of("FSVAE").traverse(x, 0), ValueError, r"FSVAE is given labels: pass y, shape \(6,\)"),
        (lambda: of("M1M2").traverse(x, 0, latent="z3"), ValueError, "has the latents z1, z2, got 'z3'"),
        (lambda: of("VAE").interpolate(x, x[:2]), ValueError, "as many images, got 6 and 2"),
        (lambda: of("VAE").interpolate(x, x, steps=1), ValueError, "steps must be at least 2, got 1"),
        (lambda: of("FSVAE").interpolate(x, x, labels()), ValueError, "FSVAE is given labels: pass y"),
        (lambda: of("VAE").interpolate(x, x[0]), ValueError, r"one image is x\[None\]"),
        (lambda: of("VAE").cluster(x), TypeError, r"expected a mixture prior.* got a .*: assign one, model.prior ="),
        (lambda: of("GMVAE").cluster(x[0]), ValueError, r"one image is x\[None\]"),
        (lambda: of("VAE").score(x, labels()), ValueError, "VAE has no labels: leave y out"),
        (lambda: of("FSVAE").score(x), ValueError, "FSVAE is given labels: pass y"),
        (lambda: of("VAE").score(x + 0.5), ValueError, "pixels that are 0 or 1"),
        (lambda: of("VAE").score(x.byte().numpy()), ValueError, r"divide uint8 pixels by 255"),
        (lambda: of("VAE").score(x[0]), ValueError, r"one image is x\[None\]"),
        (lambda: of("VAE").score(x[:0]), ValueError, r"expected images \(N, 1, 4, 4\), got \(0,"),
    ]
)  # fmt: skip


@pytest.mark.parametrize("name", INFERS)
def test_images_that_no_network_takes_are_refused(name: str) -> None:
    """By a member that asks its classifier first, as by any other."""
    model, y = member(name), labels()
    asked = (model.encode, model.classify, model.reconstruct, lambda x: model.traverse(x, 0))
    for ask in (
        *asked,
        lambda x: model.interpolate(x, x),
        model.score,
        lambda x: model.encode(x, y),
    ):
        for bad in (x.byte(), x.byte().numpy(), x.double()):
            with pytest.raises(ValueError, match=r"expected images of dtype torch.float.*by 255"):
                ask(bad)
        with pytest.raises(ValueError, match="images hold NaN or infinite values"):
            ask(images() * math.nan)
