"""What is looked at of a model: the codes of some images, and one code that is decoded."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaezoo.models import LatentVariableModel
from vaezoo.models.batches import tensor_like
from vaezoo.panel.latents import Codes, codes_of, nearest_classes
from vaezoo.programs.pair import required_arguments
from vaezoo.scopes import own_generator

__all__ = ["Reading", "Viewer"]


class Reading(NamedTuple):
    """What a member makes of an image.

    Attributes:
        z: its code (z_dim,), in the latent of the prior.
        again: E[x|z], shape (*x_shape).
        classes: the probability of each (classes,), or None where no label is known.
    """

    z: Tensor
    again: Tensor
    classes: Tensor | None


class Viewer:
    """A look at a member, with random numbers of its own.

    Args:
        model: the member; another one may take its place.
        x, y: images (n, *x_shape), and their labels (n,) or None.

    Attributes:
        codes: of the images and of the prior, when last looked at.
        z: the code (z_dim,) that is decoded, in the latent of the prior.
        label: the class that is drawn, in a member with labels.

    Example:
        >>> from vaezoo.models import VAE
        >>> viewer = Viewer(VAE(z_dim=2), torch.zeros(3, 1, 28, 28), None)
        >>> viewer.at(1.0, 0.5).shape, viewer.z
        (torch.Size([1, 28, 28]), tensor([1.0000, 0.5000]))
    """

    def __init__(self, model: LatentVariableModel, x: Tensor, y: Tensor | None) -> None:
        self.model, self.x, self.y, self.label = model, x, y, 0
        self.codes: Codes = codes_of(model, *self.batch(len(x)))
        self.z = self.codes.plane.centre.clone()

    def batch(self, n: int) -> tuple[Tensor, Tensor | None]:
        """The first n images in the model's dtype, and labels if it cannot do without."""
        x, needed = self.x[:n].to(tensor_like(self.model)), required_arguments(self.model.model) > 1
        return x, self.y[:n] if needed and self.y is not None else None

    def look(self) -> None:
        """Encode the images anew."""
        self.codes = codes_of(self.model, *self.batch(len(self.x)), self.codes.plane)
        if self.z.shape != self.codes.plane.centre.shape:
            self.z = self.codes.plane.centre.clone()
        if self.label >= self.model.classes:
            self.label = 0

    def at(self, across: float, up: float) -> Tensor:
        """Move to a point of the plane shown, and decode it."""
        self.z = self.codes.plane.code(across, up)
        return self.decoded()

    def traverse(self, unit: int, value: float) -> Tensor:
        """Change one latent unit, from 0, and decode the code."""
        self.z = self.z.clone()
        self.z[unit] = value
        return self.decoded()

    def decoded(self) -> Tensor:
        """E[x|z] of the present code, shape (*x_shape)."""
        latent: Any = self.model.parts["prior"].of
        z = self.z[None].to(tensor_like(self.model))
        code: Any = {"z" if latent == self.model.code else latent: z}
        with own_generator(0):
            return self.model.sample(y=self.label if self.model.classes else None, **code)[0]

    def recognise(self, x: Tensor) -> Reading:
        """Read one image (*x_shape), such as a drawing.

        A member that cannot classify goes by the labels of the nearest codes.
        """
        model: Any = self.model
        x = x.to(tensor_like(model))[None]
        wants_label = required_arguments(model.model) > 1
        y = torch.tensor([self.label], device=x.device) if wants_label else None
        with own_generator(0):
            z = model.encode(x, y, latent=model.parts["prior"].of)[0]
            again = model.reconstruct(x, y)[0]
        if hasattr(model, "classify"):
            return Reading(z, again, model.classify(x)[0])
        if self.y is None or not bool((self.y >= 0).any()):
            return Reading(z, again, None)
        return Reading(z, again, nearest_classes(z, self.codes.z, self.y))
