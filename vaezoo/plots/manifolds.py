"""Images over a plane of latent space."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib import figure
from matplotlib.axes import Axes
from torch import Tensor

from vaezoo.data.counts import as_count
from vaezoo.models.base import LatentVariableModel
from vaezoo.models.decoding import prior_moments
from vaezoo.plots.drawing import drawn_from
from vaezoo.plots.grids import image_grid
from vaezoo.plots.planes import units_of
from vaezoo.programs.refusing import check_member

__all__ = ["manifold"]


def manifold(
    model: LatentVariableModel,
    *,
    y: int | None = None,
    dims: Sequence[int] | None = None,
    n: int = 20,
    ax: Axes | None = None,
) -> figure.Figure:
    """E[x|z] over a plane of latent space, at quantiles of a Normal as wide as the prior.

    Each of the n² images stands for as much of a Normal prior as any other. Units out of the plane
    have their mean under the prior. (Kingma, Welling. Auto-Encoding Variational Bayes. 2014.
    arXiv:1312.6114, figure 4.)

    Args:
        model: a member of the zoo.
        y: the class to draw, in a member with labels.
        dims: the numbers of the two units, from 0; needed where there are more than two.
        n: images each way.
        ax: axes to draw on, of a figure of yours.

    Raises:
        ValueError: the code has other than two dimensions and dims does not say which.

    Example:
        >>> from vaezoo import models
        >>> manifold(models.VAE(z_dim=2), n=3).axes[0].get_xlabel()
        'z₁ from -0.67 to 0.67'
    """
    check_member(model, "plots.manifold")
    n = as_count("n", n)
    if dims is None and model.z_dim != 2:
        raise ValueError(
            f"the code has {model.z_dim} dimensions, and a plane two: say which, dims=(0, 1)"
        )
    first, second = units_of(model.z_dim, (0, 1) if dims is None else dims)
    with drawn_from(model, seed=0):
        z = _codes(model, first, second, n)
        images = model.decode(z.flatten(0, 1), y)
    names = ("z₁", "z₂") if dims is None else (f"z, unit {first}", f"z, unit {second}")
    ends = [
        f"{name} from {z[-1, 0, k]:.2f} to {z[0, -1, k]:.2f}"
        for name, k in zip(names, (first, second), strict=True)
    ]
    return image_grid(images, rows=n, xlabel=ends[0], ylabel=ends[1], ax=ax)


def _codes(model: LatentVariableModel, first: int, second: int, n: int) -> Tensor:
    """Codes (n, n, z_dim), the first unit growing to the right and the second upwards."""
    centre, width = prior_moments(model, model.code)
    # (1 / (n + 1), …, n / (n + 1)) of a Normal
    shares = torch.arange(1, n + 1, dtype=_precise(centre), device=centre.device) / (n + 1)
    steps = torch.special.ndtri(shares).to(centre.dtype)
    z = centre.expand(n, n, -1).clone()
    z[..., first] = centre[first] + width[first] * steps
    z[..., second] = (centre[second] + width[second] * steps.flip(0))[:, None]
    return z


def _precise(t: Tensor) -> torch.dtype:
    """float32 in place of the shorter floats, for which there is no `ndtri`."""
    return torch.promote_types(t.dtype, torch.float32)
