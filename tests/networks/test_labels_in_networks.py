"""Networks under particles and labels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from zoo import CLASSES, X_SHAPE, Z_DIM, images, member

from vaezoo import networks, posteriors
from vaezoo.likelihoods import Bernoulli
from vaezoo.programs.run import run


@pytest.mark.parametrize("particles", [1, 3])
def test_conv_under_particles_and_enumeration(particles: int) -> None:
    """Trap 8: with labels summed out and particles, each value is the one a plain call gives."""
    conv = {
        "posterior": posteriors.DiagonalNormal(
            X_SHAPE,
            Z_DIM,
            network=networks.Conv(X_SHAPE, (4,), (2, Z_DIM), classes=CLASSES),
            classes=CLASSES,
        ),
        "likelihood": Bernoulli(
            Z_DIM,
            X_SHAPE,
            network=networks.Conv((Z_DIM,), (4,), X_SHAPE, classes=CLASSES),
            classes=CLASSES,
        ),
    }
    ssvae, x = member("SSVAE", **conv).double(), images(dtype=torch.float64)
    terms = run(ssvae.model, ssvae.guide, x, particles=particles)
    z = terms.value("z").reshape(CLASSES, particles, 6, Z_DIM)
    for y in range(CLASSES):
        for k in range(particles):
            code, label = z[y, k], torch.full((6,), y)
            rec = ssvae.likelihood(code, label).log_prob(x)
            assert torch.allclose(terms.rec[y, k], rec, atol=1e-10)


def test_labels_enter_by_their_own_weights() -> None:
    """W_x x + W_y[y] equals a linear layer on (x, one-hot y), and broadcasts over labels."""
    net = networks.MLP((5,), (4,), (2,), classes=3).double()
    x, y = torch.randn(7, 5).double(), torch.arange(7) % 3
    weight = torch.cat([net.first[1].weight, net.label.T], 1)
    joined = torch.cat([x, nn.functional.one_hot(y, 3).double()], 1)
    hidden = nn.functional.linear(joined, weight, net.first[1].bias)
    assert torch.allclose(net(x, y), net.rest(hidden), atol=1e-12)
    every = net(x, torch.arange(3)[:, None])
    assert torch.allclose(every[y, torch.arange(7)], net(x, y), atol=1e-12)


def test_label_weights_start_as_wide_as_asked() -> None:
    """U(-b, b) with b = scale / sqrt(inputs + classes): the largest of 5,000 is close to b."""
    for scale in (1.0, 10.0):
        net = networks.MLP((10,), (500,), (1,), classes=10, label_scale=scale)
        bound = scale / math.sqrt(20)
        assert 0.99 * bound < net.label.abs().max().item() <= bound


def test_plain_torch_modules_are_networks() -> None:
    """Where there are no labels, any module from codes to images will do."""
    network = nn.Sequential(nn.Linear(Z_DIM, 16), nn.Unflatten(-1, X_SHAPE))
    vae = member("VAE", likelihood=Bernoulli(Z_DIM, X_SHAPE, network=network))
    assert vae.sample(2).shape == (2, *X_SHAPE)
    with pytest.raises(ValueError, match="does not fit VAE"):
        vae.likelihood = Bernoulli(Z_DIM, X_SHAPE, network=nn.Linear(Z_DIM, 16))
