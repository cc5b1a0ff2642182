"""Codes in a plane: of images and of the prior, and the way back from a point to a code."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vaezoo.models import LatentVariableModel
from vaezoo.models.drawing import prior_codes
from vaezoo.models.parts import has_lone_prior, lone_prior
from vaezoo.scopes import in_mode, one_thread, own_generator

__all__ = ["NEAREST", "Codes", "Plane", "codes_of", "nearest_classes", "plane_of"]

DRAWS, NEAREST = 300, 15  # of the prior; codes that vote on a class


class Plane(NamedTuple):
    """A plane in the space of codes.

    Attributes:
        centre: the code at (0, 0), shape (z_dim,).
        axes: two directions of length 1, at right angles, shape (2, z_dim).
        name: what it is called.
    """

    centre: Tensor
    axes: Tensor
    name: str

    def shown(self, z: Tensor) -> Tensor:
        """The coordinates (n, 2) of codes (n, z_dim)."""
        return (z - self.centre).to(self.axes) @ self.axes.T

    def code(self, across: float, up: float) -> Tensor:
        """The code (z_dim,) at a point of the plane.

        Example:
            >>> plane = Plane(torch.ones(3), torch.eye(3)[:2], "")
            >>> plane.code(1.0, -1.0)
            tensor([2., 0., 1.])
        """
        return self.centre + self.axes.new_tensor([across, up]) @ self.axes


class Codes(NamedTuple):
    """What is drawn of a latent space.

    Attributes:
        z: posterior means (n, z_dim) of images.
        prior: draws of the prior (m, z_dim).
        plane: in which they are shown.
    """

    z: Tensor
    prior: Tensor
    plane: Plane


@torch.no_grad()
def codes_of(
    model: LatentVariableModel, x: Tensor, y: Tensor | None, before: Plane | None = None
) -> Codes:
    """The codes of images (n, *x_shape) in the latent of the prior, and draws of that prior.

    They are in float32 at least: of shorter numbers there are no principal components.

    Args:
        model: any member; y is passed to one that cannot do without.
        x, y: images, and their labels if there are any.
        before: the plane shown until now, from which the new one turns as little as it can.

    Example:
        >>> from vaezoo.models import VAE
        >>> codes = codes_of(VAE(z_dim=2), torch.zeros(3, 1, 28, 28), None)
        >>> codes.z.shape, codes.plane.name
        (torch.Size([3, 2]), 'z₁ and z₂')
    """
    latent = model.parts["prior"].of
    with own_generator(0), one_thread(), in_mode(model, False):
        z = model.encode(x, y, latent=latent)
        alone = has_lone_prior(model)
        prior = lone_prior(model).sample((DRAWS,)) if alone else prior_codes(model, DRAWS, latent)
    z, prior = (t.to(torch.promote_types(t.dtype, torch.float32)) for t in (z, prior))
    return Codes(z, prior, plane_of(z, before))


def plane_of(z: Tensor, before: Plane | None = None) -> Plane:
    """The plane of two latent dimensions, or of the first two principal components of more.

    Principal components are turned within their plane towards the axes before, so that a picture
    of them does not flip while a model trains.

    Example:
        >>> z = torch.tensor([[3.0, 0, 0], [-3, 0, 0], [0, 2, 0], [0, -2, 0], [0, 0, 0.1]])
        >>> first = plane_of(z)
        >>> later = plane_of(-z, first)
        >>> torch.allclose(first.axes, later.axes, atol=1e-5)
        True
    """
    size = z.shape[1]
    if size <= 2:
        axes = torch.eye(2, size, dtype=z.dtype, device=z.device)
        return Plane(z.new_zeros(size), axes, "z₁ and z₂" if size == 2 else "z")
    centre = z.mean(0)
    _, spread, directions = torch.linalg.svd(z - centre, full_matrices=False)
    axes = directions[:2]
    if len(axes) < 2:  # of a single image
        axes = torch.eye(2, size, dtype=z.dtype, device=z.device)
    if before is not None and before.axes.shape == axes.shape:
        u, _, v = torch.linalg.svd(before.axes.to(axes) @ axes.T)
        axes = u @ v @ axes
    share = spread[:2].square().sum() / spread.square().sum().clamp_min(1e-30)
    return Plane(centre, axes, f"plane of two principal components, {share:.0%} of the variance")


def nearest_classes(z: Tensor, codes: Tensor, y: Tensor, k: int = NEAREST) -> Tensor:
    """The share of each class (classes,) among the k codes nearest to one, for want of a q(y|x).

    Example:
        >>> codes, y = torch.tensor([[0.0], [0.1], [5.0]]), torch.tensor([1, 1, 0])
        >>> nearest_classes(torch.zeros(1), codes, y, k=2)
        tensor([0., 1.])
    """
    labelled = y >= 0
    distances = (codes[labelled] - z).square().sum(1)
    near = y[labelled][distances.argsort()[:k]]
    return torch.bincount(near, minlength=int(y.max()) + 1) / len(near)
