"""Images at codes of your own: one code, one unit of it varied, the way from one image to another.

They are methods of every member (`vae.decode(z)`), with no gradients and in evaluation mode; for
gradients through the decoder take `vae.likelihood(z).mean`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vaezoo import arguments
from vaezoo.data.batches import as_tensor
from vaezoo.distributions.known import known_moments
from vaezoo.models import drawing
from vaezoo.models.batches import as_batch
from vaezoo.models.parts import flat, has_lone_prior, lone_prior
from vaezoo.posteriors import Classifier, Posterior
from vaezoo.scopes import in_mode, one_thread

if TYPE_CHECKING:
    from vaezoo.models.base import LatentVariableModel

__all__ = ["decode", "interpolate", "prior_moments", "traverse"]

Labels = Tensor | Sequence[int] | int


def decode(
    model: LatentVariableModel, z: Any, y: Labels | None = None, *, latent: str | None = None
) -> Tensor:
    """E[x|z] at codes z, the same images each time.

    Latents between z and the image take their means, such as z1 of M1+M2 the mean of p(z1|y, z2);
    one without a known mean, as a `posteriors.Flow` has none, takes a draw by a fixed seed.

    Args:
        z: codes (n, z_dim), in a tensor, an array or lists.
        y: labels (n,) or one class for all, for members whose p(x|z, y) takes them.
        latent: the name of another latent than z, in a member with several.

    Returns:
        Images, shape (n, *x_shape).

    Raises:
        ValueError: codes or labels have other shapes, a label is missing, x does not depend on
            that latent, or p(x|z) has no known mean.
        TypeError: codes are no numbers.

    Example:
        >>> from vaezoo.models import VAE
        >>> vae, z = VAE(), torch.zeros(3, 10)
        >>> torch.equal(vae.decode(z), vae.likelihood(z).mean)
        True
    """
    latent, kind = model.code if latent is None else latent, type(model).__name__
    if latent not in (above := _above_x(model)) or latent in ("x", "y"):
        latents = ", ".join(sorted(above - {"y"}))
        raise ValueError(f"in {kind} the image x depends on the latents {latents}, got {latent!r}")
    if y is None and "y" in above and set(flat(model.parts["likelihood"].given)) != {latent}:
        raise ValueError(
            f"{kind} decodes a code with a label, got none: decode({latent}, y=…), classes (n,) or "
            f"one for all in 0..{model.classes - 1}"
        )
    return drawing.decode(model, z, y, latent)


def traverse(
    model: LatentVariableModel,
    x: Tensor,
    unit: int,
    y: Tensor | Sequence[int] | None = None,
    *,
    values: Any = None,
    latent: str | None = None,
) -> Tensor:
    """Images as one unit of their codes takes several values, the other units staying as they are.

    Args:
        x: images (N, *x_shape), whose codes are `encode(x, y)`.
        unit: the number of the unit, from 0.
        y: labels (N,), as in `encode`.
        values: those that it takes (V,); by default seven, from three standard deviations below
            its mean under the prior to three above. Where these have no closed form they are those
            of 1,000 draws.
        latent: the name of another latent than z, in a member with several.

    Returns:
        Images (N · V, *x_shape), those of the first image first: for
        `plots.image_grid(…, rows=len(x))`.

    Raises:
        ValueError: x or y are no such images or labels, there is no such unit, or values are no
            row of finite numbers.

    Example:
        >>> from vaezoo.models import VAE
        >>> VAE().traverse(torch.zeros(2, 1, 28, 28), 3, values=[-2, 0, 2]).shape
        torch.Size([6, 1, 28, 28])
    """
    latent = model.code if latent is None else latent
    x, y = as_batch(model, x, y)
    z = model.encode(x, y, latent=latent)
    unit = arguments.size("unit", unit, least=0)
    if unit >= z.shape[1]:
        raise ValueError(f"{latent} has the units 0..{z.shape[1] - 1}, got {unit}")
    row = _prior_range(model, latent, unit) if values is None else _as_row(values, z)
    codes = z.repeat_interleave(len(row), 0)
    codes[:, unit] = row.repeat(len(z))
    return decode(model, codes, None if y is None else y.repeat_interleave(len(row)), latent=latent)


def interpolate(
    model: LatentVariableModel,
    x1: Tensor,
    x2: Tensor,
    y1: Tensor | Sequence[int] | None = None,
    y2: Tensor | Sequence[int] | None = None,
    *,
    steps: int = 9,
    latent: str | None = None,
) -> Tensor:
    """Images on the straight way between the codes of x1 and those of x2, both ends included.

    Where the member takes labels, each step has that of the nearer end, the middle that of x1.

    Args:
        x1, x2: images (N, *x_shape), as many of each.
        y1, y2: their labels (N,), as in `encode`.
        steps: images on each way, at least 2.
        latent: the name of another latent than z, in a member with several.

    Returns:
        Images (N · steps, *x_shape), those of the first pair first: for
        `plots.image_grid(…, rows=len(x1))`.

    Raises:
        ValueError: these are no such images or labels, or not as many.

    Example:
        >>> from vaezoo.models import VAE
        >>> x = torch.zeros(4, 1, 28, 28)
        >>> VAE().interpolate(x[:2], x[2:], steps=5).shape
        torch.Size([10, 1, 28, 28])
    """
    latent, steps = (
        model.code if latent is None else latent,
        arguments.size("steps", steps, least=2),
    )
    (x1, y1), (x2, y2) = as_batch(model, x1, y1), as_batch(model, x2, y2)
    start, end = (model.encode(x, y, latent=latent) for x, y in ((x1, y1), (x2, y2)))
    if len(start) != len(end):
        raise ValueError(f"x1 and x2 must be as many images, got {len(start)} and {len(end)}")
    share = torch.linspace(0, 1, steps, dtype=start.dtype, device=start.device)
    codes = torch.lerp(start[:, None], end[:, None], share[:, None]).flatten(0, 1)
    if y1 is None or y2 is None:
        return decode(model, codes, latent=latent)
    nearer = torch.where(share <= 0.5, y1[:, None], y2[:, None]).flatten()
    return decode(model, codes, nearer, latent=latent)


def _above_x(model: LatentVariableModel) -> set[str]:
    """The variables that the image depends on in the generative program, by the parts; y too."""
    above = set(flat(model.parts["likelihood"].conditions(labels=model.classes > 0)))
    for _ in model.parts:
        for part in model.parts.values():
            if part.of in above and not issubclass(part.kind, Posterior | Classifier):
                above |= set(flat(part.conditions(labels=model.classes > 0)))
    return above


def _prior_range(model: LatentVariableModel, latent: str, unit: int) -> Tensor:
    """Seven values of a unit, as far as three standard deviations from its mean under the prior."""
    mean, deviation = prior_moments(model, latent)
    steps = torch.linspace(-3, 3, 7, dtype=mean.dtype, device=mean.device)
    return mean[unit] + deviation[unit] * steps


@torch.no_grad()
def prior_moments(model: LatentVariableModel, latent: str) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each unit under the prior, those of 1,000 draws if unknown.

    Of a prior that depends on the label, those of draws for all classes.

    Example:
        >>> from vaezoo.models import VAE
        >>> prior_moments(VAE(z_dim=2), "z")
        (tensor([0., 0.]), tensor([1., 1.]))
    """
    if model.parts["prior"].of == latent and has_lone_prior(model):
        with one_thread(), in_mode(model, False):
            prior = lone_prior(model)
        moments = known_moments(prior)
        if moments is not None:
            return moments[0], moments[1].sqrt()
    draws = drawing.prior_codes(model, 1000, latent)
    return draws.mean(0), draws.std(0)


def _as_row(values: Any, like: Tensor) -> Tensor:
    row = as_tensor(values, like).to(like.dtype)
    if row.dim() != 1 or not len(row) or not row.isfinite().all():
        raise ValueError(f"values must be a row of finite numbers (V,), got {values!r}")
    return row
