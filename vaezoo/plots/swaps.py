"""A member before and after a part of it was swapped."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib import figure
from matplotlib.axes import Axes
from torch import Tensor

from vaezoo.data.counts import as_count
from vaezoo.models.base import LatentVariableModel
from vaezoo.plots.drawing import drawn_from, labels_in_turn
from vaezoo.plots.figures import figure_of, panels_or_new
from vaezoo.plots.grids import image_grid
from vaezoo.plots.latents import latent_scatter
from vaezoo.programs.refusing import check_member

__all__ = ["before_after"]


def before_after(
    before: LatentVariableModel,
    after: LatentVariableModel,
    x: Tensor,
    y: Tensor | Sequence[int] | None = None,
    *,
    dims: Sequence[int] | None = None,
    n: int = 30,
    title: str | None = None,
    seed: int = 0,
    ax: Axes | None = None,
) -> figure.Figure:
    """Codes, prior and samples of two models side by side, each under its prior's equation.

    Args:
        before: what was there, such as `copy.deepcopy(vae)` before a swap.
        after: what is there now.
        x: images (N, *x_shape), at least two, whose codes are shown.
        y: labels (N,), as in `latent_scatter`.
        dims: the numbers of two units, as in `latent_scatter`.
        n: samples of each.
        title: above all of it, such as a paired difference of `vaezoo.compare`.
        seed: of all that is drawn; PyTorch's global generator is left alone.
        ax: axes of a figure of yours, made by `subplots`, in whose place all of it is drawn.

    Raises:
        ValueError: x, y or dims are no such images, labels or units.

    Example:
        >>> from vaezoo import models
        >>> import torch
        >>> vae, gmvae = models.VAE(z_dim=2), models.GMVAE(z_dim=2, k=9)
        >>> figure = before_after(vae, gmvae, torch.ones(6, 1, 28, 28), n=6)
        >>> [axes.get_title() for axes in figure.axes[:2]]
        ['before: p(z) = StandardNormal(2)', 'after: p(z) = MixtureOfGaussians(2, k=9)']
    """
    n, both = as_count("n", n), _members(before=before, after=after)
    with panels_or_new(ax, (10, 7), (2, 2), (5, 2)) as panels:
        for (name, model), above, below in zip(both.items(), *panels, strict=True):
            latent_scatter(model, x, y, dims=dims, legend=name == "after", seed=seed, ax=above)
            part = model.parts["prior"].left_side(labels=model.classes > 0)
            above.set_title(f"{name}: {part} = {model.prior!r}")
            image_grid(_samples(model, n, seed), rows=1 + (n - 1) // 10, ax=below)
        if title and ax is not None:
            panels[0, 0].set_title(f"{title}\n{panels[0, 0].get_title()}")
        elif title:
            figure_of(panels[0, 0]).suptitle(title)
    return figure_of(panels[0, 0])


def _members(**models: LatentVariableModel) -> dict[str, LatentVariableModel]:
    for model in models.values():
        check_member(model, "plots.before_after")
    return models


def _samples(model: LatentVariableModel, n: int, seed: int) -> Tensor:
    with drawn_from(model, seed):
        return model.sample(n, y=labels_in_turn(model, n))
